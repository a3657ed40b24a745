//! What a line says of an event, beside who and when. Names and order are a part of the format:
//! lines are made anew and compared.

use contracts::{
    event::{
        ApprovalDecided, ApprovalNoted, Event, ExecutionEvent, Requirement, StepBlocked,
        StepChanged, StepStarted, WorkspaceEvent,
    },
    pack::PackFact,
};
use serde::Serialize;
use std::fmt::Display;

/// Facts, one after the other.
#[derive(Default)]
pub(super) struct Facts(Vec<PackFact>);

impl Facts {
    pub(super) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.0.push(PackFact { name: name.to_owned(), value: value.to_string() });
        self
    }

    pub(super) fn with_any<V: Display>(self, name: &str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    // By its name on the wire.
    fn with_word(self, name: &str, value: &impl Serialize) -> Self {
        let word = serde_json::to_value(value).unwrap_or_default();
        self.with(name, word.as_str().unwrap_or_default().replace('_', " "))
    }

    fn with_all<V: Display>(self, name: &str, values: impl IntoIterator<Item = V>) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if values.is_empty() { self } else { self.with(name, values.join("; ")) }
    }

    pub(super) fn list(self) -> Vec<PackFact> {
        self.0
    }
}

/// Of any event.
pub(super) fn facts(event: &Event) -> Vec<PackFact> {
    let facts = match event {
        Event::Execution(event) => match event {
            ExecutionEvent::StepStarted(_)
            | ExecutionEvent::StepBlocked(_)
            | ExecutionEvent::StepCompleted(_)
            | ExecutionEvent::StepFailed(_)
            | ExecutionEvent::StepRetried(_)
            | ExecutionEvent::StepSkipped(_)
            | ExecutionEvent::StepResolved(_)
            | ExecutionEvent::StepCompensated(_) => of_step(event),
            ExecutionEvent::ApprovalRequested(_)
            | ExecutionEvent::ApprovalVoted(_)
            | ExecutionEvent::ApprovalWithdrawn(_)
            | ExecutionEvent::ApprovalCommented(_)
            | ExecutionEvent::ApprovalOverridden(_)
            | ExecutionEvent::ApprovalReviewed(_)
            | ExecutionEvent::ApprovalGranted(_)
            | ExecutionEvent::ApprovalRejected(_)
            | ExecutionEvent::ApprovalExpired(_)
            | ExecutionEvent::ApprovalVoided(_) => of_approval(event),
            ExecutionEvent::IntentReceived(_)
            | ExecutionEvent::PlanCompiled(_)
            | ExecutionEvent::PlanVerified(_)
            | ExecutionEvent::PlanRejected(_)
            | ExecutionEvent::ExecutionStarted(_)
            | ExecutionEvent::ExecutionCompleted(_)
            | ExecutionEvent::ExecutionFailed(_)
            | ExecutionEvent::ExecutionCancelled(_)
            | ExecutionEvent::ExecutionPaused(_)
            | ExecutionEvent::ExecutionResumed(_) => of_execution(event),
        },
        Event::Workspace(event) => of_workspace(event),
    };
    facts.list()
}

fn of_execution(event: &ExecutionEvent) -> Facts {
    let facts = Facts::default();
    match event {
        ExecutionEvent::IntentReceived(data) => facts.with("intent", &data.intent_digest),
        ExecutionEvent::PlanCompiled(data) => {
            let edit = data.edit.as_ref();
            facts
                .with("plan", &data.plan_digest)
                .with_any("request", edit.map(|edit| &edit.approval_id))
                .with_all("changes", edit.iter().flat_map(|edit| &edit.changes))
                .with_any("reason", edit.map(|edit| &edit.reason))
        }
        ExecutionEvent::PlanVerified(data) => facts
            .with("verdict", data.verdict)
            .with("risk", data.risk_tier)
            .with_all("needs people", &data.assist)
            .with("policy set", format!("{} {}", data.policy_version, data.policy_digest))
            .with("evidence", &data.verdict_digest),
        ExecutionEvent::PlanRejected(data) => facts
            .with_any("risk", data.risk_tier)
            .with_all("reasons", &data.reasons)
            .with_any("policy set", data.policy_digest.as_ref()),
        ExecutionEvent::ExecutionStarted(data) => facts.with_word("mode", &data.mode),
        ExecutionEvent::ExecutionCompleted(data) => {
            facts.with_any("outcome", data.outcome.as_ref())
        }
        ExecutionEvent::ExecutionFailed(data) => {
            facts.with("code", &data.error_code).with_any("message", data.error_message.as_ref())
        }
        ExecutionEvent::ExecutionCancelled(data) => facts
            .with_any("reason", data.reason.as_ref())
            .with("undoes what was done", if data.compensate { "yes" } else { "no" }),
        ExecutionEvent::ExecutionPaused(data) | ExecutionEvent::ExecutionResumed(data) => {
            facts.with_any("reason", data.reason.as_ref())
        }
        _ => facts,
    }
}

fn of_step(event: &ExecutionEvent) -> Facts {
    let facts = Facts::default().with_any("step", event.step_id());
    match event {
        ExecutionEvent::StepStarted(StepStarted {
            attempt,
            purpose,
            input_digest,
            approval_id,
            mandate_id,
            mandate_proof,
            ..
        }) => facts
            .with("attempt", attempt)
            .with_word("call", purpose)
            .with("input", input_digest)
            .with_any("request", approval_id.as_ref())
            .with_any("mandate", mandate_id.as_ref())
            .with_any("evidence", mandate_proof.as_ref()),
        ExecutionEvent::StepBlocked(StepBlocked { reason, message, purpose, .. }) => facts
            .with_word("call", purpose)
            .with_word("reason", reason)
            .with_any("message", message.as_ref()),
        ExecutionEvent::StepCompleted(data) => {
            facts.with("attempt", data.attempt).with("output", &data.output_digest)
        }
        ExecutionEvent::StepFailed(data)
        | ExecutionEvent::StepSkipped(data)
        | ExecutionEvent::StepCompensated(data) => of_change(facts, data),
        ExecutionEvent::StepRetried(data) => facts
            .with("attempt", data.attempt)
            .with_any("code", data.code.as_ref())
            .with_any("message", data.message.as_ref())
            .with_any("asked by", data.actor_id.as_ref()),
        ExecutionEvent::StepResolved(data) => facts
            .with_word("outcome", &data.outcome)
            .with("said by", &data.actor_id)
            .with_any("output", data.output_digest.as_ref()),
        _ => facts,
    }
}

fn of_change(facts: Facts, data: &StepChanged) -> Facts {
    facts
        .with_any("code", data.code.as_ref())
        .with_any("message", data.message.as_ref())
        .with_any("effect", data.unanswered.then_some("not known"))
}

fn of_approval(event: &ExecutionEvent) -> Facts {
    let facts = Facts::default();
    let step = event.step_id();
    match event {
        ExecutionEvent::ApprovalRequested(data) => facts
            .with("request", &data.approval_id)
            .with_any("step", step)
            .with("saw", &data.view_digest)
            .with_all("asks for", data.requirement.iter().map(required))
            .with_all("does not count", &data.excludes)
            .with("until", data.expires_at)
            .with_any("reason", data.reason.as_ref()),
        ExecutionEvent::ApprovalVoted(data) => facts
            .with("request", &data.approval_id)
            .with_any("step", step)
            .with("person", &data.actor_id)
            .with_word("decision", &data.decision)
            .with("saw", &data.view_digest)
            .with_all("for", &data.groups)
            .with_any("signed in by", data.channel.as_ref())
            .with_any("reason", data.reason.as_ref()),
        ExecutionEvent::ApprovalWithdrawn(data) => facts
            .with("request", &data.approval_id)
            .with_any("step", step)
            .with("person", &data.actor_id)
            .with_any("reason", data.reason.as_ref()),
        ExecutionEvent::ApprovalCommented(data) | ExecutionEvent::ApprovalReviewed(data) => {
            let ApprovalNoted { approval_id, actor_id, text, .. } = data;
            facts
                .with("request", approval_id)
                .with_any("step", step)
                .with("person", actor_id)
                .with("text", text)
        }
        ExecutionEvent::ApprovalOverridden(data)
        | ExecutionEvent::ApprovalGranted(data)
        | ExecutionEvent::ApprovalRejected(data)
        | ExecutionEvent::ApprovalExpired(data)
        | ExecutionEvent::ApprovalVoided(data) => {
            let ApprovalDecided { approval_id, view_digest, actor_id, reason, .. } = data;
            facts
                .with("request", approval_id)
                .with_any("step", step)
                .with_any("person", actor_id.as_ref())
                .with("saw", view_digest)
                .with_any("reason", reason.as_ref())
        }
        _ => facts,
    }
}

// Every grant is one of the control plane.
fn short(grant: &str) -> &str {
    grant.strip_prefix("control-plane.").unwrap_or(grant)
}

fn required(requirement: &Requirement) -> String {
    format!("{} of {}", requirement.count, requirement.group)
}

fn of_workspace(event: &WorkspaceEvent) -> Facts {
    let facts = Facts::default();
    match event {
        WorkspaceEvent::SkillInstalled(data) => facts
            .with("skill", format!("{} {}", data.skill_key, data.version))
            .with_any("publisher", data.publisher.as_ref())
            .with("signature", if data.verified { "verified" } else { "none" })
            .with_any("instead of", data.downgrade_from.as_ref())
            .with("manifest", &data.manifest_digest),
        WorkspaceEvent::SkillRejected(data) => facts
            .with("skill", &data.skill_key)
            .with_any("version", data.version.as_ref())
            .with("reason", &data.reason)
            .with_any("more before", data.unrecorded),
        WorkspaceEvent::SkillDisabled(data) => facts
            .with("skill", &data.key)
            .with_any("version", data.version.as_ref())
            .with_any("reason", data.reason.as_ref()),
        WorkspaceEvent::SkillEnabled(data) => facts
            .with("skill", &data.key)
            .with_any("version", data.version.as_ref())
            .with_any("reason", data.reason.as_ref()),
        WorkspaceEvent::PolicyActivated(data) => {
            facts.with("policy set", format!("{} {}", data.version, data.digest))
        }
        WorkspaceEvent::GovernanceChanged(data) => facts
            .with("what", &data.key)
            .with_any("entry", data.entry.as_ref())
            .with_any("reason", data.reason.as_ref())
            .with("in force now", &data.digest),
        WorkspaceEvent::WorkspaceCreated(data) => {
            facts.with("workspace", &data.key).with("policy set", &data.policy_digest)
        }
        WorkspaceEvent::KeyCreated(data) | WorkspaceEvent::KeyRevoked(data) => facts
            .with("key", &data.key)
            .with("of", format!("{} {}", data.holder.kind.as_str(), data.holder.id))
            .with_all("grants", data.grants.iter().map(|grant| short(grant)))
            .with_any("until", data.expires_at),
        WorkspaceEvent::SubscriptionCreated(data)
        | WorkspaceEvent::SubscriptionRemoved(data)
        | WorkspaceEvent::SubscriptionSecretRotated(data)
        | WorkspaceEvent::SubscriptionTested(data) => {
            facts.with("subscription", &data.key).with("target", &data.target)
        }
        WorkspaceEvent::ToolSecretRotated(data) => {
            facts.with("secret", &data.key).with("the one before ends", data.overlap_until)
        }
        WorkspaceEvent::SessionStarted(data) => facts.with_word("by", &data.method),
        WorkspaceEvent::SessionRefused(data) => facts
            .with_word("by", &data.method)
            .with("reason", &data.reason)
            .with_any("more before", data.unrecorded),
        WorkspaceEvent::EvidenceExported(data) => facts.with("of", &data.key),
    }
}
