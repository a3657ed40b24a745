//! Who calls, and what a caller may do.
//!
//! INVARIANT (identity-from-transport): actor and workspace come from the key, never from a body.

use crate::Answer;
use contracts::{
    Code, ExecutionId, Problem, Timestamp, WorkspaceId,
    access::KeyMaker,
    endpoint::Endpoint,
    event::{Actor, ActorKind},
    grant,
};
use countersign_store::Author;
use cs_core::{
    execution::{
        Execution,
        duty::{Drafter, Requester},
    },
    trace::Stamp,
};
use std::collections::BTreeSet;

/// An authenticated caller, and the circumstances of the call.
#[derive(Clone, Debug)]
pub struct Caller {
    pub workspace: WorkspaceId,
    pub actor: Actor,
    pub grants: BTreeSet<String>,
    /// The one execution for which the grants hold; none: for any.
    pub only: Option<ExecutionId>,
    /// The API key that was used, and who made it.
    pub key_id: Option<String>,
    pub key_made_by: Option<KeyMaker>,
    /// How the actor was authenticated, for example `api_key:ab12`.
    pub channel: String,
    /// What shows that the person signed in once more for a decision: the token of a browser.
    pub second_factor: Option<String>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// `Idempotency-Key` of the request.
    pub idempotency_key: Option<String>,
}

impl Caller {
    /// Refuses unless the caller has a grant (with `control-plane.`). `control-plane.approval`
    /// covers approve and reject.
    pub fn require(&self, grant: &str) -> Answer<()> {
        if grant::covers(&self.grants, grant) {
            return Ok(());
        }
        Err(Problem::new(
            Code::Forbidden,
            format!("this needs the grant `{grant}`, which the key does not have"),
        ))
    }

    /// Refuses unless the caller may use an endpoint: what the door asks, and the route again.
    pub fn require_endpoint(&self, endpoint: &Endpoint) -> Answer<()> {
        match endpoint.grant_key() {
            Some(grant) => self.require(&grant),
            None => Ok(()),
        }
    }

    /// Refuses unless the caller has a grant and is a person: for what no machine says, whatever
    /// its key may do.
    pub fn require_person(&self, grant: &str) -> Answer<()> {
        self.require(grant)?;
        if self.actor.kind == ActorKind::Human {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "only a person may do this, with a key of kind `human`"))
    }

    /// Whether the caller sees and steers only what it asked for itself: agents and tools without
    /// `control-plane.execution.any`, and who comes by a link.
    pub fn own_only(&self) -> bool {
        match self.actor.kind {
            _ if self.only.is_some() => true,
            ActorKind::Human | ActorKind::Service => false,
            ActorKind::Agent | ActorKind::Tool => !self.grants.contains(grant::ANY_EXECUTION),
        }
    }

    /// Refuses unless what the caller may do holds for this execution. Every use case that names an
    /// execution asks this of what it loaded.
    pub(crate) fn require_own(&self, state: &Execution) -> Answer<()> {
        if let Some(only) = &self.only {
            let other = || Problem::new(Code::Forbidden, "the link is for another execution");
            return if *only == state.id { Ok(()) } else { Err(other()) };
        }
        let own = state.intent.as_ref().is_some_and(|intent| {
            intent.actor_id == self.actor.id && intent.actor_kind == Some(self.actor.kind)
        });
        if own || !self.own_only() {
            return Ok(());
        }
        let message = format!(
            "another actor's execution; an agent needs the grant `{}` for it",
            grant::ANY_EXECUTION
        );
        Err(Problem::new(Code::Forbidden, message))
    }

    /// Refuses unless the caller may see what the workspace shows as a whole.
    pub(crate) fn require_whole(&self, grant: &str) -> Answer<()> {
        self.require(grant)?;
        if !self.own_only() {
            return Ok(());
        }
        let message = format!(
            "this shows the whole workspace; an agent needs the grant `{}`",
            grant::ANY_EXECUTION
        );
        Err(Problem::new(Code::Forbidden, message))
    }

    /// Who asks, as an intent records it.
    pub(crate) fn requester(&self, on_behalf_of: Option<String>) -> Requester {
        Requester {
            actor: self.actor.clone(),
            key_id: self.key_id.clone(),
            key_made_by: self.key_made_by.clone(),
            on_behalf_of,
        }
    }

    /// The same as who gives a draft.
    pub(crate) fn drafter(&self) -> Drafter {
        let key_makers = self.key_made_by.iter().flat_map(KeyMaker::ids).cloned().collect();
        Drafter { id: self.actor.id.clone(), key_makers }
    }

    /// Who changes something by this call.
    pub fn author(&self, now: Timestamp) -> Author {
        Author {
            workspace: self.workspace.clone(),
            stamp: self.stamp(now),
            idempotency_key: self.idempotency_key.clone(),
        }
    }

    /// What the events of this call are stamped with: who, with which key, from which channel.
    pub fn stamp(&self, at: Timestamp) -> Stamp {
        let channel = self.channel.split(':').next().map(str::to_owned);
        let key_id = self.key_id.clone();
        Stamp { key_id, channel, ..Stamp::new(at, self.actor.clone(), self.traceparent.clone()) }
    }
}

/// Grants of an agent backend: it asks, starts, watches and cancels what it asked for, and no more.
pub fn agent_grants() -> BTreeSet<String> {
    [
        "intent.submit",
        "execution.read",
        "execution.start",
        "execution.cancel",
        "execution.autonomous",
        "approval.request",
        "audit",
    ]
    .iter()
    .map(|grant| format!("{}{grant}", grant::PREFIX))
    .collect()
}

/// Grants of a person who decides and governs: every grant of the contract, so that he may hand any
/// of them on. On what he asks himself, or a key that he made, others decide.
pub fn approver_grants() -> BTreeSet<String> {
    grant::known()
}

/// An actor.
pub fn actor(kind: ActorKind, id: impl Into<String>) -> Actor {
    Actor { kind, id: id.into() }
}
