//! controlPlane.plan.verify, and the state machine's Verify task. An already verified plan is returned as it is, unless
//! another policy set is active.

use crate::{
    Answer, Caller, Engine, Governance, boxed,
    commit::{CommitError, Loaded},
    keys,
    ports::Write,
    records::IntentRecord,
    refused,
    requester::RequesterKey,
    usage::Metering,
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, Timestamp, WorkspaceId,
    command::{PlanVerifiedAnswer, StepVerdictAnswer, VerifyPlan},
    event::{Actor, Purpose, SubmitMode},
    plan::{Plan, PlanStep},
    verdict::Verdict,
};
use cs_core::{
    canonical,
    execution::{
        Execution, Ruling, Status,
        decide::{Command, Transition},
    },
    plan::wiring,
};
use policy::{Facts, PlanVerdict, Signal};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;

impl Engine {
    /// Verifies a compiled plan.
    #[boxed]
    pub async fn verify(&self, caller: &Caller, request: VerifyPlan) -> Answer<PlanVerifiedAnswer> {
        caller.require("control-plane.audit")?;
        let (once, given) = self.once(caller, "plan.verify", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        loop {
            let mut loaded = self.load_for(caller, &request.execution_id).await?;
            let facts = loaded.state.plan_facts.as_ref();
            if facts.is_none_or(|facts| facts.plan_id != request.plan_id) {
                return Err(Problem::new(Code::PreconditionFailed, "the execution has another plan, or none")
                    .issue(Issue::new("/planId", "compile first, then name the plan that came of it")));
            }
            if let Some(answer) = self.current_verdict(&loaded, request.policy_version.as_deref()).await? {
                return Ok(answer);
            }
            let answer = self.verify_once(&mut loaded, Some(caller), once.as_ref()).await?;
            if let Some((verdict, at)) = answer {
                return Ok(to_answer(&loaded.state, &verdict, at));
            }
        }
    }

    // The stored verdict, if it was given under the active policy set.
    async fn current_verdict(&self, loaded: &Loaded, wanted: Option<&str>) -> Answer<Option<PlanVerifiedAnswer>> {
        let workspace = &loaded.state.workspace;
        let snapshot = self.snapshot(workspace).await?;
        let authority = self.authority(workspace, &snapshot).await?;
        if wanted.is_some_and(|wanted| wanted != authority.version()) {
            let message = format!("policy version {} is active", authority.version());
            return Err(Problem::new(Code::PreconditionFailed, message)
                .issue(Issue::new("/policyVersion", "a plan is verified under the active policy set only")));
        }
        let current = match (&loaded.state.ruling, loaded.state.status) {
            (Some(ruling), _) => ruling.policy_digest == *authority.digest(),
            (None, Status::Rejected) => true,
            (None, _) => false,
        };
        if !current {
            return Ok(None);
        }
        let at = loaded.state.ruling.as_ref().map_or(loaded.state.updated_at, |ruling| ruling.verified_at);
        let stored = self.stored_verdict(&loaded.state).await?;
        Ok(stored.map(|verdict| to_answer(&loaded.state, &verdict, at)))
    }

    /// The Verify task. Idempotent; says what is next.
    #[boxed]
    pub async fn verify_task(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<&'static str> {
        loop {
            let mut loaded = self.load(workspace, id).await?;
            let mode = loaded.state.intent.as_ref().map(|intent| intent.mode);
            let runs = |status: Status| match status {
                Status::Verified if mode == Some(SubmitMode::Auto) => "advance",
                Status::Running | Status::Blocked | Status::Paused | Status::Cancelling => "advance",
                Status::New | Status::Received | Status::Compiled | Status::Verified | Status::Completed => "done",
                Status::Rejected | Status::Failed | Status::Cancelled => "failed",
            };
            if loaded.state.status != Status::Compiled {
                return Ok(runs(loaded.state.status));
            }
            if self.verify_once(&mut loaded, None, None).await?.is_some() {
                return Ok(runs(loaded.state.status));
            }
        }
    }

    /// Judges and commits; `None` if somebody else committed first.
    pub(crate) async fn verify_once(
        &self,
        loaded: &mut Loaded,
        caller: Option<&Caller>,
        once: Option<&crate::commit::Once>,
    ) -> Answer<Option<(PlanVerdict, Timestamp)>> {
        let (verdict, command, writes) = self.judge(loaded).await?;
        let now = self.now();
        let mut transition = Transition::begin(&loaded.state, now);
        transition.apply(command).map_err(refused)?;
        let (state, events) = transition.into_parts();
        let stamp = caller.map_or_else(|| loaded.stamp(now), |caller| caller.stamp(now));
        let once = self.once_write(once, &to_answer(&loaded.state, &verdict, now)).await?;
        match self.commit(loaded, state, events, &stamp, writes, once).await {
            Ok(()) => Ok(Some((verdict, now))),
            Err(CommitError::Fault(fault)) => Err(fault.into()),
            Err(CommitError::Conflict | CommitError::Repeated | CommitError::Extra(_)) => Ok(None),
        }
    }

    /// The verdict of a loaded plan under the active policy set; the command and the writes that record it.
    pub(crate) async fn judge(&self, loaded: &Loaded) -> Answer<(PlanVerdict, Command, Vec<Write>)> {
        let (workspace, id) = (&loaded.state.workspace, &loaded.state.id);
        let plan = loaded.state.plan().ok_or_else(|| Problem::new(Code::Conflict, "it has no plan"))?;
        let snapshot = self.snapshot(workspace).await?;
        let authority = self.authority(workspace, &snapshot).await?;
        let governed = self.governed(workspace).await?;
        let intent = self.intent(workspace, id).await?;
        let (mut facts, _) = self.facts(&loaded.state, &intent).await?;
        self.add_usage(workspace, &governed.record, plan.plan(), &mut facts).await?;
        let verdict = policy::judge(plan.plan(), plan.digest(), &facts, &authority);
        let verdict_digest = canonical::digest(&verdict).map_err(crate::not_canonical)?;
        let (_, view_digest) = self.plan_view(&loaded.state, &intent, &verdict, &authority, &snapshot)?;
        let assist: BTreeSet<_> = verdict
            .steps
            .iter()
            .filter(|step| step.verdict == Verdict::Assist)
            .filter_map(|step| loaded.state.place(&step.step_id))
            .collect();
        let ruling = Ruling {
            verdict: verdict.verdict,
            risk_tier: verdict.risk_tier,
            policy_version: verdict.policy_version.clone(),
            policy_digest: verdict.policy_digest.clone(),
            verdict_digest: verdict_digest.clone(),
            verified_at: self.now(),
            assist,
            approval_life_ms: verdict.approval_life_ms,
            view: Some(view_digest),
        };
        let reasons = verdict
            .steps
            .iter()
            .filter(|step| step.verdict == Verdict::Blocked)
            .map(|step| {
                let (which, place) = match step.purpose {
                    Purpose::Run => ("", ""),
                    Purpose::Probe => (", asking about it", "/probe"),
                    Purpose::Compensate => (", undoing it", "/compensate"),
                };
                let index = loaded.state.place(&step.step_id).unwrap_or_default();
                let message = format!("step `{}`{which}: {}", step.step_id, step.reasons.join("; "));
                Issue::coded("POLICY_BLOCKED", format!("/plan/steps/{index}{place}"), message)
            })
            .collect();
        let mut writes = vec![self.put_body(keys::verdict(workspace, id, &verdict_digest), &verdict).await?];
        let shadow = governed.record.shadow.as_ref();
        let registry = &snapshot.registry;
        writes.extend(self.shadow_write(workspace, id, shadow, plan, &verdict, registry).await?);
        Ok((verdict, Command::Verify { ruling, reasons }, writes))
    }

    /// What the workspace's budget is, and what was used of its meters.
    pub(crate) async fn add_usage(
        &self,
        workspace: &WorkspaceId,
        governance: &Governance,
        plan: &Plan,
        facts: &mut Facts,
    ) -> Answer<()> {
        facts.budget.clone_from(&governance.budgets.plan);
        let beside = |step: &'_ PlanStep| {
            let probe = step.probe.as_ref().map(|probe| probe.call.operation.clone());
            probe.into_iter().chain(step.compensate.as_ref().map(|undo| undo.call.operation.clone()))
        };
        let own = plan.steps.iter().map(|step| step.call.operation.clone());
        let operations: BTreeSet<String> = own.chain(plan.steps.iter().flat_map(beside)).collect();
        let operations = operations.iter().map(String::as_str);
        let mut metering = Metering::default();
        facts.usage = self.metered(workspace, governance, operations, &facts.actor.id, &mut metering).await?;
        Ok(())
    }

    /// Whether the verdict of a plan would be the same if it were reached now.
    pub(crate) async fn stands(&self, loaded: &Loaded) -> Answer<bool> {
        let (_, command, _) = self.judge(loaded).await?;
        Ok(match (command, &loaded.state.ruling) {
            (Command::Verify { ruling, .. }, Some(stored)) => {
                let moved = Ruling {
                    verified_at: stored.verified_at,
                    verdict_digest: stored.verdict_digest.clone(),
                    ..ruling
                };
                moved == *stored
            }
            _ => false,
        })
    }

    /// What a verdict depends on now, but for budget and usage: with the grants that the requester's key has now, and the
    /// workspace's phrases as they are now. INVARIANT (context-is-fresh).
    pub(crate) async fn facts(&self, state: &Execution, intent: &IntentRecord) -> Answer<(Facts, RequesterKey)> {
        let workspace = &state.workspace;
        let key = self.requester_key(workspace, intent.key_id.as_deref()).await?;
        let grants = key.grants().cloned().unwrap_or_else(|| intent.grants.clone());
        let metadata = intent.metadata.clone().map(Value::Object);
        let plan = state.plan().map(|plan| plan.plan());
        let signals = self.find_signals(workspace, &intent.text, metadata.as_ref(), plan).await?;
        Ok((self.facts_of(intent.actor.clone(), grants, intent.channel_key.clone(), signals), key))
    }

    /// The workspace's phrases that stand in a text, in metadata, or in the literal inputs of a plan.
    pub(crate) async fn find_signals(
        &self,
        workspace: &WorkspaceId,
        text: &str,
        metadata: Option<&Value>,
        plan: Option<&Plan>,
    ) -> Answer<Vec<Signal>> {
        let phrases = self.risk_phrases(workspace).await?;
        let inputs: Vec<Value> = plan.iter().flat_map(|plan| &plan.steps).map(|step| wiring::known(step).0).collect();
        Ok(phrases.find_in([text], metadata.into_iter().chain(&inputs)))
    }

    pub(crate) fn facts_of(
        &self,
        actor: Actor,
        grants: BTreeSet<String>,
        channel: Option<String>,
        signals: Vec<Signal>,
    ) -> Facts {
        Facts { actor, grants, channel, signals, at: self.now(), budget: None, usage: Vec::new() }
    }

    /// The verdict under which an execution stands, or what a reader wants of it.
    pub(crate) async fn stored_verdict<T: DeserializeOwned>(&self, state: &Execution) -> Answer<Option<T>> {
        match &state.ruling {
            Some(ruling) => self.verdict_of(state, &ruling.verdict_digest).await,
            None => Ok(None),
        }
    }

    /// Any verdict that an execution ever had, by its digest.
    pub(crate) async fn verdict_of<T: DeserializeOwned>(
        &self,
        state: &Execution,
        digest: &Digest,
    ) -> Answer<Option<T>> {
        Ok(self.get_body(&keys::verdict(&state.workspace, &state.id, digest)).await?)
    }
}

/// The verdict as callers see it.
pub(crate) fn to_answer(state: &Execution, verdict: &PlanVerdict, at: Timestamp) -> PlanVerifiedAnswer {
    let blocked = verdict.steps.iter().filter(|step| step.verdict == Verdict::Blocked);
    PlanVerifiedAnswer {
        execution_id: state.id.clone(),
        run_id: crate::commit::run_of(state),
        verdict: verdict.verdict,
        risk_tier: verdict.risk_tier,
        requires_approval: verdict.verdict == Verdict::Assist,
        blocked_reasons: blocked
            .flat_map(|step| step.reasons.iter().map(|reason| format!("{}: {reason}", step.step_id)))
            .collect(),
        verified_at: at,
        policy_version: verdict.policy_version.clone(),
        steps: verdict.steps.iter().map(step_answer).collect(),
    }
}

/// A step's verdict as callers see it.
pub(crate) fn step_answer(step: &policy::StepVerdict) -> StepVerdictAnswer {
    StepVerdictAnswer {
        step_id: step.step_id.clone(),
        purpose: step.purpose,
        verdict: step.verdict,
        risk_tier: step.risk_tier,
        reasons: step.reasons.clone(),
        determining: step.determining.clone(),
        approvers: step.approvers.clone(),
        expires_ms: step.expires_ms,
    }
}

/// Digest of a stored verdict.
pub(crate) fn verdict_digest(verdict: &PlanVerdict) -> Answer<Digest> {
    canonical::digest(verdict).map_err(crate::not_canonical)
}
