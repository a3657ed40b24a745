//! controlPlane.plan.verify, and the state machine's Verify task. An already verified plan is returned as it is, unless
//! another policy set is active.

use crate::{
    Answer, Caller, Engine, Governance,
    commit::{CommitError, Loaded, system},
    keys,
    ports::Write,
    records::IntentRecord,
    refused,
    usage::Metering,
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, Timestamp, WorkspaceId,
    command::{PlanVerifiedAnswer, StepVerdictAnswer, VerifyPlan},
    event::{Actor, SubmitMode},
    plan::Plan,
    verdict::Verdict,
};
use cs_core::{
    canonical,
    execution::{
        Execution, Ruling, Status,
        decide::{Command, Transition},
    },
    trace::Stamp,
};
use policy::{Facts, PlanVerdict};
use std::collections::BTreeSet;

impl Engine {
    /// Verifies a compiled plan.
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
            let answer =
                self.verify_once(&mut loaded, &caller.actor, caller.traceparent.clone(), once.as_ref()).await?;
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
        let stored = self.stored_verdict(workspace, &loaded.state.id).await?;
        Ok(stored.map(|verdict| to_answer(&loaded.state, &verdict, at)))
    }

    /// The Verify task. Idempotent; says what is next.
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
            if self.verify_once(&mut loaded, &system(), None, None).await?.is_some() {
                return Ok(runs(loaded.state.status));
            }
        }
    }

    /// Judges and commits; `None` if somebody else committed first.
    pub(crate) async fn verify_once(
        &self,
        loaded: &mut Loaded,
        actor: &Actor,
        traceparent: Option<String>,
        once: Option<&crate::commit::Once>,
    ) -> Answer<Option<(PlanVerdict, Timestamp)>> {
        let (verdict, command, writes) = self.judge(loaded).await?;
        let now = self.now();
        let mut transition = Transition::begin(&loaded.state, now);
        transition.apply(command).map_err(refused)?;
        let (state, events) = transition.into_parts();
        let traceparent = traceparent.or_else(|| loaded.traceparent.clone());
        let stamp = Stamp { at: now, actor: actor.clone(), traceparent };
        let once = once.map(|once| self.once_write(once, &to_answer(&loaded.state, &verdict, now))).transpose()?;
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
        let mut facts = self.facts(workspace, id).await?;
        self.add_usage(workspace, &governed.record, plan.plan(), &mut facts).await?;
        let verdict = policy::judge(plan.plan(), plan.digest(), &facts, &authority);
        let verdict_digest = canonical::digest(&verdict).map_err(crate::not_canonical)?;
        let assist: BTreeSet<_> = verdict
            .steps
            .iter()
            .filter(|step| step.verdict == Verdict::Assist)
            .map(|step| step.step_id.clone())
            .collect();
        let ruling = Ruling {
            verdict: verdict.verdict,
            risk_tier: verdict.risk_tier,
            policy_version: verdict.policy_version.clone(),
            policy_digest: verdict.policy_digest.clone(),
            verdict_digest,
            verified_at: self.now(),
            assist,
            approval_life_ms: verdict.approval_life_ms,
        };
        let reasons = verdict
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.verdict == Verdict::Blocked)
            .map(|(index, step)| {
                let message = format!("step `{}`: {}", step.step_id, step.reasons.join("; "));
                Issue::coded("POLICY_BLOCKED", format!("/plan/steps/{index}"), message)
            })
            .collect();
        let mut writes = vec![self.put_body(keys::body(workspace, id, "verdict"), &verdict).await?];
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
        let operations = plan.steps.iter().map(|step| step.call.operation.as_str());
        let mut metering = Metering::default();
        facts.usage = self.metered(workspace, governance, operations, &facts.actor.id, &mut metering).await?;
        Ok(())
    }

    /// Whether the policy set under which a plan was verified is still the active one.
    pub(crate) async fn verified_under_active(&self, loaded: &Loaded) -> Answer<bool> {
        let (_, active) = self.active(&loaded.state.workspace).await?;
        Ok(loaded.state.ruling.as_ref().is_some_and(|ruling| ruling.policy_digest == active))
    }

    async fn facts(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Facts> {
        let intent: Option<IntentRecord> = self.get_body(&keys::body(workspace, id, "intent")).await?;
        let intent = intent.ok_or_else(|| Problem::new(Code::IntentNotFound, "the intent is gone"))?;
        Ok(self.facts_of(intent.actor, intent.grants, intent.channel_key, &intent.text))
    }

    pub(crate) fn facts_of(
        &self,
        actor: Actor,
        grants: BTreeSet<String>,
        channel: Option<String>,
        text: &str,
    ) -> Facts {
        let hour = self.now().ms().div_euclid(3_600_000).rem_euclid(24) as u8;
        Facts { actor, grants, channel, signals: self.signals.find(text), hour, budget: None, usage: Vec::new() }
    }

    /// The verdict as stored.
    pub(crate) async fn stored_verdict(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<Option<PlanVerdict>> {
        Ok(self.get_body(&keys::body(workspace, id, "verdict")).await?)
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
        verdict: step.verdict,
        risk_tier: step.risk_tier,
        reasons: step.reasons.clone(),
    }
}

/// Digest of a stored verdict.
pub(crate) fn verdict_digest(verdict: &PlanVerdict) -> Answer<Digest> {
    canonical::digest(verdict).map_err(crate::not_canonical)
}
