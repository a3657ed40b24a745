//! Approving and rejecting: what is decided on is shown, then asked about. INVARIANT (seen-is-signed): the digest that is
//! sent is that of the very document that was shown, computed here and not taken from the server.

use crate::{
    client::{Client, Failure},
    commands::{get, items, object},
    render::{self, bold, dim},
    visible::columns,
};
use anstream::{print, println};
use contracts::view::View;
use cs_core::{canonical, text::escape_foreign, view};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// What a person decides on.
struct Question {
    step: Option<String>,
    /// Of plan, policy, skills, view and input.
    binding: String,
    /// Of what is shown.
    view: String,
    lines: Vec<String>,
    expires: String,
    needs: String,
}

/// What a person says.
pub struct Decision<'d> {
    pub execution: &'d str,
    pub step: Option<&'d str>,
    /// The view that the person saw elsewhere.
    pub digest: Option<String>,
    /// With nobody at a terminal, or with JSON, nothing is asked.
    pub as_json: bool,
}

/// Approves what is shown, once the person says so.
pub async fn approve(
    client: &Client,
    decision: Decision<'_>,
    note: Option<String>,
) -> Result<Option<Value>, Failure> {
    let execution = get(client, decision.execution, 0).await?;
    let question = question(&execution, decision.step)?;
    if !decision.as_json {
        show(&question);
    }
    let view = match decision.digest {
        Some(seen) => seen,
        None if decision.as_json || !interactive() => {
            let message = "without a terminal, name the view that was seen: --digest DIGEST";
            return Err(Failure::Local(message.into()));
        }
        None if ask("approve this?") => question.view,
        None => return Ok(None),
    };
    let body = object([
        ("stepId", question.step.map(Value::from)),
        ("bindingDigest", Some(question.binding.into())),
        ("viewDigest", Some(view.into())),
        ("note", note.map(Value::from)),
    ]);
    let path = format!("/v1/executions/{}/approve", decision.execution);
    client.command(&path, &body, None).await.map(Some)
}

/// Shows what is decided on, and rejects it.
pub async fn reject(client: &Client, decision: Decision<'_>, reason: String) -> Result<Value, Failure> {
    let execution = get(client, decision.execution, 0).await?;
    let question = question(&execution, decision.step)?;
    if !decision.as_json {
        show(&question);
    }
    let body = object([
        ("stepId", question.step.map(Value::from)),
        ("viewDigest", Some(decision.digest.unwrap_or(question.view).into())),
        ("reason", Some(reason.into())),
    ]);
    client.command(&format!("/v1/executions/{}/reject", decision.execution), &body, None).await
}

/// Shows every open question of an execution.
pub fn show_open(execution: &Value) {
    for approval in open(execution) {
        match question_of(approval) {
            Ok(question) => {
                println!();
                show(&question);
                let step = question.step.map(|step| format!(" --step {step}")).unwrap_or_default();
                let id = field(execution, "executionId");
                println!("{}", dim(&format!("countersign approve {id}{step}")));
            }
            Err(failure) => render::failure(&failure),
        }
    }
}

/// Shows the question about a whole plan; whether there is one.
pub fn show_plan(execution: &Value) -> bool {
    let question = question(execution, None);
    question.as_ref().inspect(|question| show(question)).is_ok()
}

/// Asks a person at the terminal; anything but `y` is a no.
pub fn ask(question: &str) -> bool {
    print!("{} [y/N] ", bold(question));
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("y")
}

fn interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

fn show(question: &Question) {
    for line in &question.lines {
        println!("{line}");
    }
    println!();
    println!("{:<12}{}", "needs", question.needs);
    println!("{:<12}{}", "until", question.expires);
    println!("digest {}", question.view);
}

fn open(execution: &Value) -> impl Iterator<Item = &Value> + Clone {
    items(execution, "approvals").iter().filter(|approval| approval.get("status") == Some(&"requested".into()))
}

fn field(value: &Value, key: &str) -> String {
    escape_foreign(value.get(key).and_then(Value::as_str).unwrap_or_default()).into_owned()
}

// The open question about the plan or about one step.
fn question(execution: &Value, step: Option<&str>) -> Result<Question, Failure> {
    let of =
        |step: Option<&str>| open(execution).find(|approval| approval.get("stepId").and_then(Value::as_str) == step);
    // Where nothing is asked about the plan and one step asks, that step is meant; what is shown says so.
    let only = || Some(open(execution)).filter(|open| open.clone().count() == 1).and_then(|mut open| open.next());
    if let Some(approval) = of(step).or_else(|| if step.is_none() { only() } else { None }) {
        return question_of(approval);
    }
    let (Some(step), Some(whole)) = (step, of(None)) else {
        let asks: Vec<String> =
            open(execution).map(|approval| format!("--step {}", field(approval, "stepId"))).collect();
        return Err(Failure::Local(match asks.as_slice() {
            [] => "nothing here waits for an approval".into(),
            asks => format!("the plan waits for nobody, but steps do: {}", asks.join(", ")),
        }));
    };
    // One step out of a question about the whole plan: the plan is what is shown.
    let steps = items(execution, "steps").iter();
    let mut steps = steps.filter(|known| known.get("stepId").and_then(Value::as_str) == Some(step));
    let binding = steps.next().map(|known| field(known, "bindingDigest")).filter(|digest| !digest.is_empty());
    let binding =
        binding.ok_or_else(|| Failure::Local(format!("step `{}` waits for nobody", escape_foreign(step))))?;
    Ok(Question { step: Some(step.to_owned()), binding, ..question_of(whole)? })
}

fn question_of(approval: &Value) -> Result<Question, Failure> {
    let unseen = |why: &str| Failure::Local(format!("what is to be approved cannot be shown: {why}"));
    let raw = approval.get("view").ok_or_else(|| unseen("the answer holds no view"))?;
    let parsed: View = serde_json::from_value(raw.clone()).map_err(|error| unseen(&error.to_string()))?;
    let digest = canonical::digest(raw).map_err(|error| unseen(&error.to_string()))?.to_string();
    // What this program does not know it does not show: then it lets nobody sign it either.
    if view::digest(&parsed).map_err(|error| unseen(&error.to_string()))?.as_str() != digest {
        return Err(unseen("it holds what this version does not know"));
    }
    if field(approval, "viewDigest") != digest {
        return Err(unseen("it is not the view that the approval names"));
    }
    let needs = items(approval, "requirement").iter().map(|need| {
        let count = need.get("count").and_then(Value::as_u64).unwrap_or(1);
        format!("{count} of {}", field(need, "group"))
    });
    Ok(Question {
        step: approval.get("stepId").and_then(Value::as_str).map(str::to_owned),
        binding: field(approval, "bindingDigest"),
        view: digest,
        lines: view::lines(&parsed, columns()),
        expires: field(approval, "expiresAt"),
        needs: needs.collect::<Vec<_>>().join(", "),
    })
}
