//! What a command says of who sends it. INVARIANT (identity-from-transport): authentication says
//! it; a body may repeat it.

use contracts::{Code, Issue, Problem, endpoint::IDENTITY};
use engine::{Answer, Caller};
use serde_json::{Map, Value};

/// The body without what repeats the caller's identity; refused where it says otherwise.
pub(crate) fn checked(mut body: Map<String, Value>, caller: &Caller) -> Answer<Map<String, Value>> {
    for (name, what) in IDENTITY {
        let Some(said) = body.remove(*name) else { continue };
        let own = match *name {
            "workspaceId" => caller.workspace.as_str(),
            _ => caller.actor.id.as_str(),
        };
        if said.as_str() != Some(own) {
            let message = format!("`{name}` names another than {what}");
            return Err(Problem::new(Code::Forbidden, message.clone())
                .issue(Issue::new(format!("/{name}"), message)));
        }
    }
    Ok(body)
}
