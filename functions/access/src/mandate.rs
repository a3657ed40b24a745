//! The form that gives a mandate: the operation's request, whose budget is a few fields of its
//! own.

use contracts::{
    Code, Issue, Problem,
    endpoint::{named, page},
    json,
    mandate::CreateMandate,
};
use edge::page::{Form, Place, Reply, Visit};
use engine::{Answer, Engine};
use serde_json::{Map, Value};

pub(crate) async fn create(engine: &Engine, visit: &Visit, form: Form) -> Answer<Reply> {
    let mut caller = visit.caller()?.clone();
    caller.idempotency_key = form.once.clone();
    engine.mandates.create(&caller, request(form.fields)?).await?;
    let mandates = Place::of(const { page("console.mandates") }, visit);
    Ok(Reply::go(mandates.done(const { named("console.mandate.create") })))
}

fn request(mut fields: Map<String, Value>) -> Answer<CreateMandate> {
    let mut budget = Map::new();
    for name in ["writes", "recipients"] {
        if let Some(most) = number(&mut fields, name)? {
            budget.insert(name.to_owned(), most);
        }
    }
    let (amount, currency) = (number(&mut fields, "amount")?, fields.remove("currency"));
    match (amount, currency) {
        (Some(amount), Some(Value::String(currency))) => {
            let money = Map::from_iter([(currency, amount)]);
            budget.insert("money".to_owned(), Value::Object(money));
        }
        (None, None) => {}
        // INVARIANT (fail-closed): half a limit is none that anybody meant.
        (Some(_), _) => return Err(invalid("currency", "of which currency?")),
        (None, Some(_)) => return Err(invalid("amount", "how much of it?")),
    }
    if let Some(count) = number(&mut fields, "count")? {
        fields.insert("count".to_owned(), count);
    }
    if !budget.is_empty() {
        fields.insert("budget".to_owned(), Value::Object(budget));
    }
    json::typed(Value::Object(fields))
}

fn number(fields: &mut Map<String, Value>, name: &str) -> Answer<Option<Value>> {
    let Some(Value::String(text)) = fields.remove(name) else { return Ok(None) };
    let number = text.parse::<u64>().map_err(|_| invalid(name, "a whole number"))?;
    Ok(Some(Value::from(number)))
}

fn invalid(name: &str, message: &str) -> Problem {
    let issue = Issue::new(format!("/{name}"), message);
    Problem::new(Code::ValidationFailed, "the form is not valid").issue(issue)
}
