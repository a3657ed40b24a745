//! Who signs in: by the API key of a person, by a code that was given out for one sign-in, or by
//! the identity provider.

use contracts::{
    Code, Issue, Problem,
    endpoint::{named, page},
};
use edge::{
    Routes,
    page::{Form, Place, Reply, Visit, place_of_path},
};
use engine::{Answer, Arrived, Credential, Engine, Returned};
use std::sync::Arc;

/// Its routes.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .form(const { named("console.sign-in.send") }, send)
        .form(const { named("console.sign-in.begin") }, begin)
        .form(const { named("console.sign-in.finish") }, finish)
        .form(const { named("console.second-factor") }, second_factor)
}

async fn send(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let text = |name: &str| form.text(name).map(|text| text.trim().to_owned());
    let credential = match (text("key"), text("code")) {
        (Some(key), None) => Credential::Key(key),
        (None, Some(code)) => Credential::Code(code),
        (Some(_), Some(_)) | (None, None) => {
            let message = "sign in with an API key or with a code";
            return Err(Problem::new(Code::ValidationFailed, message));
        }
    };
    let opened = engine.sessions.open(credential).await?;
    let place = Place::of(const { page("console.overview") }, &visit).or_path(form.text("to"));
    Ok(Reply::go(place).signed_in(opened))
}

async fn begin(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let name = form.text("workspace").map(str::trim).unwrap_or_default();
    let workspace = name.parse().map_err(|_| {
        let issue = Issue::new("/workspace", "the name of your workspace, as `default`");
        Problem::new(Code::ValidationFailed, "this is no workspace").issue(issue)
    })?;
    let to = form.text("to").and_then(place_of_path);
    let departure = engine.sign_ins.begin(workspace, to).await?;
    Reply::leave(&visit.base, departure)
}

async fn finish(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let text = |name: &str| form.text(name).map(str::to_owned);
    let returned = Returned {
        token: visit.flow().map(str::to_owned),
        state: text("state"),
        code: text("code"),
        error: text("error"),
    };
    match engine.sign_ins.finish(returned).await? {
        Arrived::SignedIn { opened, to } => {
            let place = Place::of(const { page("console.overview") }, &visit);
            Ok(Reply::go(place.or_path(to.as_deref())).signed_in(opened).arrived())
        }
        Arrived::Confirmed { token, life_seconds, execution, link } => {
            let place = match link {
                Some(link) => Place::at(const { page("link") }, ("token", link)),
                None => {
                    let execution = ("executionId", execution.to_string());
                    Place::at(const { page("console.execution") }, execution)
                }
            };
            Ok(Reply::go(place).confirmed(token, life_seconds).arrived())
        }
    }
}

// Who decides: by a session, or by an approval link, whose token the form carries.
async fn second_factor(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let departure = match form.text("link") {
        Some(token) => {
            let link = engine.links.open(token).await?.map_err(|refusal| {
                let issue = Issue::new("/link", refusal.advice());
                Problem::new(Code::Forbidden, refusal.to_string()).issue(issue)
            })?;
            let about = (link.claims().execution_id.clone(), link.claims().approval_id.clone());
            let token = Some(token.to_owned());
            engine.sign_ins.begin_second_factor(link.caller(), about, token).await?
        }
        None => {
            let invalid = |name: &str| {
                let issue = Issue::new(format!("/{name}"), "the page's own");
                Problem::new(Code::ValidationFailed, "the form is not valid").issue(issue)
            };
            let execution = form.text("executionId").and_then(|id| id.parse().ok());
            let approval = form.text("approvalId").and_then(|id| id.parse().ok());
            let about = (
                execution.ok_or_else(|| invalid("executionId"))?,
                approval.ok_or_else(|| invalid("approvalId"))?,
            );
            engine.sign_ins.begin_second_factor(visit.caller()?, about, None).await?
        }
    };
    Reply::leave(&visit.base, departure)
}
