//! What a command does to an execution: the events it causes, or why it is refused. Pure.

pub use super::command::{Command, Outcome};

use super::duty::Drafter;
use super::gate::{Kind, allows};
use super::{
    Approval, ApprovalState, Execution, Ruling, Status, StepInput, StepState, approval::Seen, attempt::Loss,
    evolve::DEPENDENCY_FAILED, mask, step,
};
use crate::plan::Compiled;
use contracts::{
    Code, Digest, Issue, RunId, StepId, Timestamp,
    event::{
        Actor, BlockReason, Event, ExecutionCancelled, ExecutionCompleted, ExecutionFailed, ExecutionStarted,
        ExecutionSteered, IntentReceived, PlanCompiled, PlanRejected, PlanVerified, Purpose, StepChanged, SubmitMode,
    },
    verdict::{RunMode, Verdict},
};
use std::sync::Arc;

/// Steps that an event names one by one; more are a mask.
const ASSIST_LISTED_MAX: usize = 100;

/// Why a command is refused. Never retried as it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a command causes.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub events: Vec<Event>,
}

// What the issues say, each thing once.
fn words(issues: &[Issue]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for issue in contracts::json::clip_issues(issues.to_vec()) {
        if !words.contains(&issue.message) {
            words.push(issue.message);
        }
    }
    words
}

/// Decides one command.
pub fn decide(state: &Execution, command: Command, now: Timestamp) -> Result<Decision, Refusal> {
    let mut transition = Transition::begin(state, now);
    transition.apply(command)?;
    Ok(Decision { events: transition.events })
}

/// Several commands decided as one: the state moves along, the events gather.
#[derive(Clone, Debug)]
pub struct Transition {
    pub(super) state: Execution,
    events: Vec<Event>,
    pub(super) now: Timestamp,
}

impl Transition {
    /// Begins at a state.
    pub fn begin(state: &Execution, now: Timestamp) -> Self {
        Self { state: state.clone(), events: Vec::new(), now }
    }
    /// The state so far.
    pub fn state(&self) -> &Execution {
        &self.state
    }
    /// The events so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
    /// The moment at which it is decided; the entries of its events carry it.
    pub fn now(&self) -> Timestamp {
        self.now
    }
    /// The state and the events.
    pub fn into_parts(self) -> (Execution, Vec<Event>) {
        (self.state, self.events)
    }

    /// Decides one command. A refused command leaves everything as it was.
    pub fn apply(&mut self, command: Command) -> Result<(), Refusal> {
        self.allowed(&command)?;
        match command {
            Command::Receive { intent_id, requester, channel_key, mode, digest } => {
                self.emit(Event::IntentReceived(IntentReceived {
                    execution_id: self.state.id.clone(),
                    intent_id,
                    received_at: self.now,
                    actor_id: requester.actor.id,
                    actor_kind: Some(requester.actor.kind),
                    key_id: requester.key_id,
                    key_made_by: requester.key_made_by.as_ref().map(|maker| maker.actor.id.clone()),
                    key_makers_above: requester.key_made_by.map(|maker| maker.above).unwrap_or_default(),
                    on_behalf_of: requester.on_behalf_of,
                    channel_key,
                    mode,
                    intent_digest: digest,
                }));
            }
            Command::Compile { outcome, draft_digest, planner_model, drafted_by } => {
                self.compile(outcome, draft_digest, (planner_model, drafted_by));
            }
            Command::Verify { ruling, reasons } => self.verify(ruling, reasons),
            Command::Start { run_id, mode } => {
                if self.state.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::DryRun) {
                    let message = "a dry run never starts: submit the intent again in another mode";
                    return Err(Refusal::new(Code::PreconditionFailed, message));
                }
                self.start(run_id, mode);
            }
            Command::Approve { by, step, binding, view, note, channel } => {
                let seen = Seen { binding: Some(binding), view };
                let step = self.state.decided_on(step.as_ref()).cloned();
                self.approve(&by, step.as_ref(), &seen, note, channel)?;
            }
            Command::Reject { by, step, view, reason, channel } => {
                let seen = Seen { binding: None, view };
                let step = self.state.decided_on(step.as_ref()).cloned();
                self.reject(&by, step.as_ref(), &seen, reason, channel)?;
            }
            Command::Expire => self.expire(),
            Command::Cancel { actor, reason, compensate } => {
                self.emit(Event::ExecutionCancelled(ExecutionCancelled {
                    execution_id: self.state.id.clone(),
                    run_id: self.run_id(),
                    at: self.now,
                    actor_id: actor.id,
                    reason,
                    compensate,
                }));
            }
            Command::Pause { actor, reason } => {
                if self.state.paused {
                    return Err(Refusal::new(Code::Conflict, "it is paused already"));
                }
                let steered = self.steered(actor, reason);
                self.emit(Event::ExecutionPaused(steered));
            }
            Command::Resume { actor, reason } => {
                if !self.state.paused {
                    return Err(Refusal::new(Code::Conflict, "it is not paused"));
                }
                let steered = self.steered(actor, reason);
                self.emit(Event::ExecutionResumed(steered));
            }
            Command::Retry { by, step, reason } => self.retry(&by, step.as_ref(), reason)?,
            Command::Abort { actor, reason } => {
                let message = reason.unwrap_or_else(|| format!("aborted by {}", actor.id));
                self.fail("ABORTED", message);
            }
            Command::Resolve { by, step, outcome, output } => self.resolve(&by, &step, outcome, output)?,
            Command::Claim { step, purpose, fence, input, approval, spend, reserved } => {
                self.claim(&step, (purpose, fence), (input, approval), (spend, reserved))?;
            }
            Command::Block { step, purpose: Purpose::Run, reason, message, about } => {
                self.block(&step, reason, message, about)?;
            }
            Command::Block { step, purpose, reason, message, about } => {
                self.block_beside(&step, purpose, (reason, message), about)?;
            }
            Command::Refuse { step, code, message } => {
                self.takes(&step, StepInput::Fail)?;
                let mut changed = self.changed(&step, Some(code), Some(message));
                changed.unanswered = self.record(&step)?.unanswered;
                self.emit(Event::StepFailed(changed));
            }
            Command::Skip { step, message } => {
                self.takes(&step, StepInput::Skip)?;
                let changed = self.changed(&step, Some("CONDITION_FALSE".into()), Some(message));
                self.emit(Event::StepSkipped(changed));
            }
            Command::SkipCutOff { limit } => {
                let cut: Vec<StepId> = self.state.cut_off().take(limit).map(|step| step.id.clone()).collect();
                for step in cut {
                    let message = Some("a step before it was not completed".to_owned());
                    let changed = self.changed(&step, Some(DEPENDENCY_FAILED.into()), message);
                    self.emit(Event::StepSkipped(changed));
                }
            }
            Command::Settle { step, fence, attempt, outcome } => {
                let record = self.record(&step)?;
                // INVARIANT (fenced): only the claim that is in flight can be settled.
                if record.fence != Some(fence) || record.call_attempt() != attempt {
                    return Err(Refusal::new(Code::PreconditionFailed, "another worker has this step now"));
                }
                self.settle(&step, outcome)?;
            }
            Command::Callback { step, attempt, outcome } => {
                let record = self.record(&step)?;
                if !record.takes_callback() || record.call_attempt() != attempt {
                    return Err(Refusal::new(Code::Conflict, "this step does not wait for that result (any more)"));
                }
                self.settle(&step, outcome)?;
            }
            Command::Recover { step, fence } => {
                let record = self.record(&step)?;
                if record.fence != Some(fence) {
                    return Err(Refusal::new(Code::PreconditionFailed, "another worker has this step now"));
                }
                self.lost(&step, "WORKER_LOST", "the worker died before it learnt the outcome".into(), Loss::Worker)?;
            }
        }
        self.finish();
        Ok(())
    }

    // One match of status and command, no wildcard.
    fn allowed(&self, command: &Command) -> Result<(), Refusal> {
        let status = self.state.status;
        if allows(status, Kind::of(command)) {
            return Ok(());
        }
        let verb = Kind::of(command).as_str();
        Err(Refusal::new(Code::Conflict, format!("an execution that is {} cannot {verb}", status.as_str())))
    }

    pub(super) fn emit(&mut self, event: Event) {
        let event = event.clipped();
        self.state.evolve(&event, self.now);
        self.events.push(event);
    }

    pub(super) fn run_id(&self) -> Option<RunId> {
        self.state.run.as_ref().map(|run| run.run_id.clone())
    }

    pub(super) fn run(&self) -> Result<RunId, Refusal> {
        self.run_id().ok_or_else(|| Refusal::new(Code::Conflict, "it has not been started"))
    }

    pub(super) fn record(&self, id: &StepId) -> Result<&super::Step, Refusal> {
        self.state.step(id).ok_or_else(|| Refusal::new(Code::NotFound, format!("the plan has no step `{id}`")))
    }

    pub(super) fn takes(&self, id: &StepId, input: StepInput) -> Result<StepState, Refusal> {
        let record = self.record(id)?;
        step::next(record.state, input).ok_or_else(|| {
            let state = record.state.as_str();
            Refusal::new(Code::Conflict, format!("step `{id}` is {state}, which does not allow this"))
        })
    }

    pub(super) fn changed(&self, id: &StepId, code: Option<String>, message: Option<String>) -> StepChanged {
        StepChanged {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            step_id: id.clone(),
            at: self.now,
            code,
            message,
            released: false,
            unanswered: false,
        }
    }

    pub(super) fn steered(&self, actor: Actor, reason: Option<String>) -> ExecutionSteered {
        ExecutionSteered {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            at: self.now,
            actor_id: actor.id,
            reason,
        }
    }

    fn compile(
        &mut self,
        outcome: Result<Arc<Compiled>, Vec<Issue>>,
        draft: Digest,
        (model, drafted_by): (Option<String>, Option<Drafter>),
    ) {
        match outcome {
            Ok(plan) => {
                let (plan_id, plan_digest) = (plan.id(), plan.digest().clone());
                let step_count = plan.plan().steps.len() as u32;
                self.state.attach(plan);
                self.emit(Event::PlanCompiled(PlanCompiled {
                    execution_id: self.state.id.clone(),
                    plan_id,
                    compiled_at: self.now,
                    step_count,
                    plan_digest,
                    draft_digest: draft,
                    planner_model: model,
                    drafted_by: drafted_by.as_ref().map(|drafter| drafter.id.clone()),
                    drafter_key_makers: drafted_by.map(|drafter| drafter.key_makers).unwrap_or_default(),
                }));
            }
            Err(issues) => self.emit(Event::PlanRejected(PlanRejected {
                execution_id: self.state.id.clone(),
                plan_id: None,
                rejected_at: self.now,
                reasons: words(&issues),
                issues: contracts::json::clip_issues(issues),
                risk_tier: None,
                policy_digest: None,
                policy_version: None,
                verdict_digest: None,
                draft_digest: Some(draft),
            })),
        }
    }

    fn verify(&mut self, ruling: Ruling, reasons: Vec<Issue>) {
        let execution_id = self.state.id.clone();
        let plan_id = self.state.plan_facts.as_ref().map(|facts| facts.plan_id.clone());
        // What is being undone begins no step any more: each call that undoes one is judged by itself.
        let ends = ruling.verdict == Verdict::Blocked && !self.state.unwinding();
        let (assist, assist_mask) = if ruling.assist.len() <= ASSIST_LISTED_MAX {
            let id = |place: usize| self.state.steps.get(place).map(|step| step.id.clone());
            (ruling.assist.into_iter().filter_map(id).collect(), None)
        } else {
            (Vec::new(), Some(mask::to_mask(&ruling.assist, self.state.steps.len())))
        };
        // INVARIANT (fail-closed): a plan without a view is one that nobody can decide on.
        match (plan_id, ruling.view) {
            (Some(plan_id), Some(view_digest)) if !ends => self.emit(Event::PlanVerified(PlanVerified {
                execution_id,
                plan_id,
                verdict: ruling.verdict,
                risk_tier: ruling.risk_tier,
                policy_version: ruling.policy_version,
                policy_digest: ruling.policy_digest,
                verdict_digest: ruling.verdict_digest,
                verified_at: self.now,
                assist,
                assist_mask,
                approval_life_ms: ruling.approval_life_ms,
                view_digest,
            })),
            (plan_id, _) => {
                self.emit(Event::PlanRejected(PlanRejected {
                    execution_id,
                    plan_id,
                    rejected_at: self.now,
                    reasons: words(&reasons),
                    issues: contracts::json::clip_issues(reasons),
                    risk_tier: Some(ruling.risk_tier),
                    policy_digest: Some(ruling.policy_digest),
                    policy_version: Some(ruling.policy_version),
                    verdict_digest: Some(ruling.verdict_digest),
                    draft_digest: None,
                }));
            }
        }
        // INVARIANT (approval-binds-digest): a new verdict voids what was asked or given under the old one.
        let stale: Vec<Approval> = self
            .state
            .approvals
            .iter()
            .filter(|approval| matches!(approval.state, ApprovalState::Requested | ApprovalState::Granted))
            .filter(|approval| self.state.binding(approval.step.as_ref()).as_ref() != Some(&approval.binding))
            .cloned()
            .collect();
        let voided = !stale.is_empty();
        for approval in stale {
            let decided = self.decided(&approval, None, None, Some("verified again under another policy".into()));
            self.emit(Event::ApprovalVoided(decided));
        }
        if voided && self.state.status.under_way() && self.state.plan_approvable() {
            self.request(None, "verified again under another policy");
        }
        if voided {
            let asking = self.state.steps.iter().filter(|step| step.waits_for == Some(BlockReason::ApprovalRequired));
            let asking: Vec<_> =
                asking.filter_map(|step| Some((step.id.clone(), step.asked.as_ref()?.purpose))).collect();
            for (id, purpose) in asking {
                if !self.state.asked_for(&id, purpose) {
                    self.request(Some(&id), "verified again under another policy");
                }
            }
        }
    }

    fn start(&mut self, run_id: RunId, mode: RunMode) {
        self.emit(Event::ExecutionStarted(ExecutionStarted {
            execution_id: self.state.id.clone(),
            run_id,
            started_at: self.now,
            mode,
        }));
        let assist = self.state.ruling.as_ref().is_none_or(|ruling| ruling.verdict == Verdict::Assist);
        if (assist || mode == RunMode::Assist) && self.state.plan_approvable() {
            let reason = if assist { "the verdict is assist" } else { "the run was started in assist mode" };
            self.request(None, reason);
        }
    }

    pub(super) fn fail(&mut self, code: &str, message: String) {
        self.emit(Event::ExecutionFailed(ExecutionFailed {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            failed_at: self.now,
            error_code: code.to_owned(),
            error_message: Some(message),
            problem: None,
        }));
    }

    // Ends an execution whose steps have all settled and which undoes nothing any more.
    fn finish(&mut self) {
        let state = &self.state;
        let done = state.status == Status::Running && state.steps.iter().all(|step| step.state.settled());
        if !done || state.next_undo(Timestamp::from_ms(i64::MAX)).is_some() {
            return;
        }
        let Some(run_id) = self.run_id() else { return };
        match state.steps.iter().find(|step| step.state == StepState::Failed) {
            Some(failed) => {
                let code = failed.code.clone().unwrap_or_else(|| Code::InternalError.as_str().to_owned());
                let message = format!("step `{}`: {}", failed.id, failed.message.as_deref().unwrap_or("failed"));
                self.fail(&code, message);
            }
            None => {
                let skipped = state.steps.iter().filter(|step| step.state == StepState::Skipped).count();
                let outcome = if skipped == 0 { "succeeded".into() } else { format!("succeeded, {skipped} skipped") };
                self.emit(Event::ExecutionCompleted(ExecutionCompleted {
                    execution_id: self.state.id.clone(),
                    run_id,
                    completed_at: self.now,
                    outcome: Some(outcome),
                }));
            }
        }
    }
}
