//! controlPlane.execution.start, cancel, pause, resume, retry, abort, resolve, and the callback of
//! a tool.

use crate::{
    Answer, Base, Caller, InForce, Parts, Updates, Values, Verdicts, Waker, boxed,
    decide::approve::check_text,
    decide::update::{Update, committed},
    drive_name,
    govern::deciders::Deciding,
    operate::wake::Before,
    refused, run_of, status,
};
use contracts::{
    Code, ExecutionId, Issue, Problem, RunId, StepId, Timestamp,
    command::{
        CancelExecution, ExecutionCancelledAnswer, ExecutionStartedAnswer, ExecutionSteeredAnswer,
        ResolveStep, RetryExecution, StartExecution, SteerExecution, StepResolvedAnswer,
    },
    event::{Actor, ActorKind, Resolution, SubmitMode},
    verdict::{RunMode, Verdict},
};
use countersign_store::{Commit, Loaded, Write};
use cs_core::{
    execution::{
        Execution, Status,
        decide::{Command, Outcome, Transition},
    },
    trace::Stamp,
    warrant::{self, Claims},
};
use serde_json::Value;
use std::sync::Arc;

/// What a verb of [`SteerExecution`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    Pause,
    Resume,
    Abort,
}

/// What callers and tools do to an execution: start, cancel, steer, retry, resolve, call back.
pub struct Controls {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) values: Arc<Values>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) waker: Arc<Waker>,
}

impl Controls {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            updates: parts.updates.clone(),
            values: parts.values.clone(),
            verdicts: parts.verdicts.clone(),
            waker: parts.waker.clone(),
        }
    }

    /// Starts a verified plan.
    #[boxed]
    pub async fn start(
        &self,
        caller: &Caller,
        request: StartExecution,
    ) -> Answer<ExecutionStartedAnswer> {
        caller.require("control-plane.execution.start")?;
        let run_id = RunId::from_bytes(self.base.ports.ids.id());
        let id = &request.execution_id;
        self.verify_again(caller, id).await?;
        let answer = self
            .updates
            .update(
                caller,
                Update::new(id, "execution.start", &request),
                |loaded, _| {
                    let facts = loaded.state.plan_facts.as_ref();
                    if facts.is_none_or(|facts| facts.plan_id != request.plan_id) {
                        let message = "the execution has another plan, or none";
                        return Err(Problem::new(Code::PreconditionFailed, message)
                            .issue(Issue::new("/planId", "name the plan that was verified")));
                    }
                    let mode = request.mode.unwrap_or_else(|| default_mode(&loaded.state));
                    Ok(vec![Command::Start { run_id: run_id.clone(), mode }])
                },
                |state, at| {
                    let run = state.run.as_ref().map(|run| run.run_id.clone());
                    Ok(ExecutionStartedAnswer {
                        execution_id: state.id.clone(),
                        run_id: run.unwrap_or_else(|| run_id.clone()),
                        status: status(state),
                        started_at: at,
                    })
                },
            )
            .await?;
        // Repeating the start of a state machine by its name is one start.
        self.base.ports.orchestrator.start(&caller.workspace, id, &drive_name(id, 0)).await?;
        Ok(answer)
    }

    // INVARIANT (context-is-fresh): a plan is judged again before it starts, whatever its verdict
    // read: the hour, what was used, the requester's grants, the policy set. Where nothing came out
    // otherwise, the verdict stands as it is.
    async fn verify_again(&self, caller: &Caller, id: &ExecutionId) -> Answer<()> {
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            let mut loaded = self.updates.load_for(caller, id).await?;
            let intent = loaded.state.intent.as_ref();
            let dry = intent.is_some_and(|intent| intent.mode == SubmitMode::DryRun);
            if dry
                || loaded.state.status != Status::Verified
                || self.verdicts.stands(&loaded).await?
            {
                return Ok(());
            }
            self.verdicts.verify_once(&mut loaded, Some(caller), None).await?;
        }
    }

    /// Cancels an execution.
    #[boxed]
    pub async fn cancel(
        &self,
        caller: &Caller,
        request: CancelExecution,
    ) -> Answer<ExecutionCancelledAnswer> {
        caller.require("control-plane.execution.cancel")?;
        check_text("/reason", request.reason.as_deref())?;
        self.updates
            .update(
                caller,
                Update::new(&request.execution_id, "execution.cancel", &request),
                |_, _| {
                    let (actor, reason) = (caller.actor.clone(), request.reason.clone());
                    Ok(vec![Command::Cancel { actor, reason, compensate: request.compensate }])
                },
                |state, at| {
                    Ok(ExecutionCancelledAnswer {
                        execution_id: state.id.clone(),
                        run_id: run_of(state),
                        status: status(state),
                        cancelled_at: at,
                        cancelled_by: caller.actor.id.clone(),
                    })
                },
            )
            .await
    }

    /// Pauses, resumes or aborts an execution.
    #[boxed]
    pub async fn steer(
        &self,
        caller: &Caller,
        request: SteerExecution,
        verb: Steer,
    ) -> Answer<ExecutionSteeredAnswer> {
        let (grant, operation) = match verb {
            Steer::Pause => ("control-plane.execution.pause", "execution.pause"),
            Steer::Resume => ("control-plane.execution.resume", "execution.resume"),
            Steer::Abort => ("control-plane.execution.abort", "execution.abort"),
        };
        caller.require(grant)?;
        check_text("/reason", request.reason.as_deref())?;
        self.updates
            .update(
                caller,
                Update::new(&request.execution_id, operation, &request),
                |_, _| {
                    let (actor, reason) = (caller.actor.clone(), request.reason.clone());
                    Ok(vec![match verb {
                        Steer::Pause => Command::Pause { actor, reason },
                        Steer::Resume => Command::Resume { actor, reason },
                        Steer::Abort => Command::Abort { actor, reason },
                    }])
                },
                steered,
            )
            .await
    }

    /// Tries failed or expired steps again.
    #[boxed]
    pub async fn retry(
        &self,
        caller: &Caller,
        request: RetryExecution,
    ) -> Answer<ExecutionSteeredAnswer> {
        caller.require("control-plane.execution.retry")?;
        check_text("/reason", request.reason.as_deref())?;
        let Deciding { by, unchanged } = self.in_force.deciding(caller).await?;
        let retried = Update::new(&request.execution_id, "execution.retry", &request);
        self.updates
            .update(
                caller,
                Update { extra: unchanged, ..retried },
                |_, _| {
                    let (step, reason) = (request.step_id.clone(), request.reason.clone());
                    Ok(vec![Command::Retry { by: by.clone(), step, reason }])
                },
                steered,
            )
            .await
    }

    /// Says what became of a call whose outcome is not known.
    #[boxed]
    pub async fn resolve(
        &self,
        caller: &Caller,
        request: ResolveStep,
    ) -> Answer<StepResolvedAnswer> {
        caller.require("control-plane.execution.resolve")?;
        let (id, step) = (&request.execution_id, &request.step_id);
        let Deciding { by, unchanged: mut extra } = self.in_force.require_decider(caller).await?;
        let mut output = None;
        if let (Resolution::Completed, Some(evidence)) = (request.outcome, &request.evidence) {
            let loaded = self.updates.load_for(caller, id).await?;
            let (digest, stored) =
                self.values.output_writes(&loaded.state, step, evidence.clone()).await?;
            output = Some(digest);
            extra.extend(stored);
        }
        self.updates
            .update(
                caller,
                Update { extra, ..Update::new(id, "execution.resolve", &request) },
                |_, _| {
                    Ok(vec![Command::Resolve {
                        by: by.clone(),
                        step: step.clone(),
                        outcome: request.outcome,
                        output: output.clone(),
                    }])
                },
                |state, _| {
                    Ok(StepResolvedAnswer {
                        execution_id: state.id.clone(),
                        run_id: run_of(state),
                        step_id: step.clone(),
                        status: state.step(step).map_or_else(
                            || contracts::Open::word("unknown"),
                            |step| step.state.into(),
                        ),
                    })
                },
            )
            .await
    }

    /// Who brings the result of a tool that answered 202. The warrant that the call carried is the
    /// credential; it is looked at before anything else of the request is.
    #[boxed]
    pub async fn callback_claims(
        &self,
        id: &ExecutionId,
        step: &StepId,
        token: Option<&str>,
    ) -> Answer<Claims> {
        let refuse = |why: &str| Problem::new(Code::Unauthenticated, why.to_owned());
        let token = token
            .ok_or_else(|| refuse("send `Authorization: Bearer <the warrant of the call>`"))?;
        // The warrant says who may answer; how long, the step's own deadline says, which the
        // decision checks.
        let claims = warrant::verify_issued(token, &self.base.ports.signer.ring().await?.key_set())
            .map_err(|error| refuse(&error.to_string()))?;
        if claims.exe != id.as_str() || claims.step != step.as_str() {
            return Err(refuse("the warrant is for another step"));
        }
        Ok(claims)
    }

    /// The result of a tool that answered 202.
    #[boxed]
    pub async fn callback(
        &self,
        id: &ExecutionId,
        step: &StepId,
        claims: &Claims,
        body: Value,
    ) -> Answer<ExecutionSteeredAnswer> {
        let unknown = |_| Problem::new(Code::Unauthenticated, "the warrant names no workspace");
        let workspace = claims.ws.parse().map_err(unknown)?;
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            let mut loaded = self.base.store.load(&workspace, id).await?;
            expects_callback(&loaded, step, claims)?;
            let (outcome, extra) = self.callback_outcome(&loaded, step, &body).await?;
            let now = self.base.now();
            let mut transition = Transition::begin(&loaded.state, now);
            transition
                .apply(Command::Callback { step: step.clone(), attempt: claims.att, outcome })
                .map_err(refused)?;
            let (state, events) = transition.into_parts();
            let before = Before::of(&mut loaded);
            let answer = steered(&state, now)?;
            let actor = Actor { kind: ActorKind::Tool, id: claims.op.clone() };
            let stamp = Stamp {
                channel: Some("warrant".into()),
                ..Stamp::new(now, actor, loaded.traceparent.clone())
            };
            let commit = Commit { extra, ..Commit::new(state, events, stamp) };
            if committed(self.base.store.commit(&mut loaded, commit).await)? {
                self.waker.wake(&loaded, before).await;
                return Ok(answer);
            }
        }
    }

    // What a tool reports: an output that fits, with the writes that store it, or a failure.
    async fn callback_outcome(
        &self,
        loaded: &Loaded,
        step: &StepId,
        body: &Value,
    ) -> Answer<(Outcome, Vec<Write>)> {
        match (body.get("output"), body.get("error")) {
            (Some(given), None) => {
                let (output, stored) =
                    self.values.output_writes(&loaded.state, step, given.clone()).await?;
                Ok((Outcome::Completed { output }, stored))
            }
            (None, Some(error)) => {
                let text = |key: &str| error.get(key).and_then(Value::as_str);
                let words = self.values.words_of_step(&loaded.state, step).await?;
                let code = words.code(text("code"), "TOOL_FAILED");
                let message = words.message("the tool reported a failure", &[text("message")]);
                Ok((Outcome::Failed { code, message }, Vec::new()))
            }
            _ => {
                let wanted = "`{\"output\": ...}` or `{\"error\": {\"code\", \"message\"}}`";
                let issue = Issue::new("", wanted);
                Err(Problem::new(Code::ValidationFailed, "not a result").issue(issue))
            }
        }
    }
}

impl Values {
    /// Checks and seals the output of a step; its digest, and the writes that store it.
    pub(crate) async fn output_writes(
        &self,
        state: &Execution,
        step: &StepId,
        output: Value,
    ) -> Answer<(contracts::Digest, Vec<Write>)> {
        let operation = self.operation_of(state, step).await?;
        let issues = operation.output.issues(&output, &Default::default(), "/evidence");
        if !issues.is_empty() {
            let message = "the output does not fit the operation's schema";
            return Err(Problem::new(Code::ValidationFailed, message).issues(issues));
        }
        let stored =
            self.store_output((&state.workspace, &state.id), step, &operation, output).await?;
        Ok((stored.digest, stored.writes))
    }
}

// Refuses a result that the step does not wait for.
fn expects_callback(loaded: &Loaded, step: &StepId, claims: &Claims) -> Answer<()> {
    let planned = loaded.state.index_of(step).and_then(|place| loaded.state.planned(place));
    if planned.is_none_or(|planned| planned.call.operation != claims.op) {
        let message = "the warrant is for another call of the step";
        return Err(Problem::new(Code::Unauthenticated, message));
    }
    let waits = |step: &cs_core::execution::Step| {
        step.takes_callback() && step.call_attempt() == claims.att
    };
    if loaded.state.step(step).is_some_and(waits) {
        return Ok(());
    }
    Err(Problem::new(Code::Conflict, "this step does not wait for that result (any more)"))
}

/// Autonomous where the verdict allows a step to be.
pub(crate) fn default_mode(state: &Execution) -> RunMode {
    match state.ruling.as_ref().map(|ruling| ruling.verdict) {
        Some(Verdict::Autonomous | Verdict::Assist) => RunMode::Autonomous,
        Some(Verdict::Blocked) | None => RunMode::Assist,
    }
}

fn steered(state: &Execution, at: Timestamp) -> Answer<ExecutionSteeredAnswer> {
    debug_assert_ne!(state.status, Status::New);
    Ok(ExecutionSteeredAnswer {
        execution_id: state.id.clone(),
        run_id: run_of(state),
        status: status(state),
        at,
    })
}
