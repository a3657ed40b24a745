//! controlPlane.plan.verify, and the state machine's Verify task. An already verified plan is
//! returned as it is, unless another policy set is active.

use crate::{
    Answer, Base, Caller, Governance, InForce, Mandates, Meters, Snapshot, Updates, Views, boxed,
    evidence::views::{plan_requirement, ruled},
    govern::requester::RequesterKey,
    records::IntentRecord,
    refused,
    run::{mandate::CoveredCall, meters::Metering},
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, Timestamp, WorkspaceId,
    command::{PlanVerifiedAnswer, StepVerdictAnswer, VerifyPlan},
    event::{Actor, Purpose, SubmitMode},
    plan::{Plan, PlanStep},
    verdict::Verdict,
};
use countersign_store::{Commit, CommitError, Idempotency, Loaded, Write, keys};
use cs_core::{
    canonical,
    execution::{
        Execution, Status, VerdictSummary,
        ballot::PlanRequirement,
        decide::{Command, Transition},
    },
    plan::wiring,
};
use policy::{CompiledPolicySet, Facts, Measured, PlanVerdict, Signal};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Code of an issue that says whom people are missing to ask.
const UNMET: &str = "APPROVERS_MISSING";

/// Judges plans.
pub struct Verdicts {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) mandates: Arc<Mandates>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) views: Arc<Views>,
}

impl Verdicts {
    /// Verifies a compiled plan.
    #[boxed]
    pub async fn verify(&self, caller: &Caller, request: VerifyPlan) -> Answer<PlanVerifiedAnswer> {
        caller.require("control-plane.audit")?;
        let author = caller.author(self.base.now());
        let idempotency = Idempotency::of(&author, "plan.verify", &request)?;
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            if let Some(given) = self.base.store.stored_response(idempotency.as_ref()).await? {
                return Ok(given);
            }
            let mut loaded = self.updates.load_for(caller, &request.execution_id).await?;
            let facts = loaded.state.plan_facts.as_ref();
            if facts.is_none_or(|facts| facts.plan_id != request.plan_id) {
                let issue = Issue::new("/planId", "compile first, then name its plan");
                let message = "the execution has another plan, or none";
                return Err(Problem::new(Code::PreconditionFailed, message).issue(issue));
            }
            let wanted = request.policy_version.as_deref();
            if let Some(current) = self.current_verdict(&loaded, wanted).await? {
                return Ok(current);
            }
            let verified =
                self.verify_once(&mut loaded, Some(caller), idempotency.as_ref()).await?;
            if let Some((verdict, at)) = verified {
                return Ok(to_answer(&loaded.state, &verdict, at));
            }
        }
    }

    // The stored verdict, if it was given under the active policy set.
    async fn current_verdict(
        &self,
        loaded: &Loaded,
        wanted: Option<&str>,
    ) -> Answer<Option<PlanVerifiedAnswer>> {
        let workspace = &loaded.state.workspace;
        let snapshot = self.in_force.snapshot(workspace).await?;
        let authority = self.in_force.authority(workspace, &snapshot).await?;
        if wanted.is_some_and(|wanted| wanted != authority.version()) {
            let message = format!("policy version {} is active", authority.version());
            return Err(Problem::new(Code::PreconditionFailed, message).issue(Issue::new(
                "/policyVersion",
                "a plan is verified under the active policy set only",
            )));
        }
        let current = match (&loaded.state.ruling, loaded.state.status) {
            (Some(ruling), _) => ruling.policy_digest == *authority.digest(),
            (None, Status::Rejected) => true,
            (None, _) => false,
        };
        if !current {
            return Ok(None);
        }
        let at = loaded
            .state
            .ruling
            .as_ref()
            .map_or(loaded.state.updated_at, |ruling| ruling.verified_at);
        let stored = self.views.stored_verdict(&loaded.state).await?;
        Ok(stored.map(|verdict| to_answer(&loaded.state, &verdict, at)))
    }

    /// The Verify task. Idempotent; says what is next.
    #[boxed]
    pub async fn verify_task(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<&'static str> {
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            let mut loaded = self.base.store.load(workspace, id).await?;
            let mode = loaded.state.intent.as_ref().map(|intent| intent.mode);
            let runs = |status: Status| match status {
                Status::Verified if mode == Some(SubmitMode::Auto) => "advance",
                Status::Running | Status::Blocked | Status::Paused | Status::Cancelling => {
                    "advance"
                }
                Status::New
                | Status::Received
                | Status::Compiled
                | Status::Verified
                | Status::Completed => "done",
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
        idempotency: Option<&Idempotency>,
    ) -> Answer<Option<(PlanVerdict, Timestamp)>> {
        let (verdict, command, writes) = self.judge(&loaded.state).await?;
        let now = self.base.now();
        let mut transition = Transition::begin(&loaded.state, now);
        transition.apply(command).map_err(refused)?;
        let (state, events) = transition.into_parts();
        let stamp = caller.map_or_else(|| loaded.stamp(now), |caller| caller.stamp(now));
        let answer = to_answer(&state, &verdict, now);
        let commit = Commit {
            extra: writes,
            response: self.base.store.response_write(idempotency, &answer).await?,
            ..Commit::new(state, events, stamp)
        };
        match self.base.store.commit(loaded, commit).await {
            Ok(()) => Ok(Some((verdict, now))),
            Err(CommitError::Port(fault)) => Err(fault.into()),
            Err(CommitError::Conflict | CommitError::Repeated | CommitError::Extra(_)) => Ok(None),
        }
    }

    /// The verdict of a loaded plan under the active policy set; the command and the writes that
    /// record it.
    pub(crate) async fn judge(
        &self,
        state: &Execution,
    ) -> Answer<(PlanVerdict, Command, Vec<Write>)> {
        let (workspace, id) = (&state.workspace, &state.id);
        let plan = state.plan().ok_or_else(|| Problem::new(Code::Conflict, "it has no plan"))?;
        let snapshot = self.in_force.snapshot(workspace).await?;
        let authority = self.in_force.authority(workspace, &snapshot).await?;
        let governed = self.in_force.governed(workspace).await?;
        let intent = self.views.intent(workspace, id).await?;
        let (mut facts, _) = self.facts(state, &intent).await?;
        self.add_usage(workspace, &governed.record, plan.plan(), &mut facts).await?;
        let verdict = policy::judge(plan.plan(), plan.digest(), &facts, &authority);
        let verdict_digest = canonical::digest(&verdict).map_err(crate::not_canonical)?;
        let (_, view_digest) =
            self.views.plan_view(state, &intent, &verdict, &authority, &snapshot)?;
        let mut asked = plan_requirement(plan, &verdict);
        let edits = state.plan_facts.as_ref().and_then(|facts| facts.edits.as_ref());
        let edited = edits.map(|edits| edits.steps.clone()).unwrap_or_default();
        let unmet = self.unmet(state, &asked, verdict.approval_life_ms).await?;
        for covered in self.covered(state, &verdict, &authority, &snapshot).await? {
            asked.assist.remove(&covered);
        }
        asked.assist.extend(edited);
        let ruling = VerdictSummary {
            // Nobody is asked what nobody can answer.
            verdict: if unmet.is_empty() {
                ruled(state, verdict.verdict)
            } else {
                Verdict::Blocked
            },
            risk_tier: verdict.risk_tier,
            policy_version: verdict.policy_version.clone(),
            policy_digest: verdict.policy_digest.clone(),
            verdict_digest: verdict_digest.clone(),
            verified_at: self.base.now(),
            assist: asked.assist,
            requirements: asked.steps,
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
                let index = state.index_of(&step.step_id).unwrap_or_default();
                let message =
                    format!("step `{}`{which}: {}", step.step_id, step.reasons.join("; "));
                Issue::coded("POLICY_BLOCKED", format!("/plan/steps/{index}{place}"), message)
            })
            .chain(unmet)
            .collect();
        let mut writes = vec![
            self.base
                .store
                .body_write(keys::verdict(workspace, id, &verdict_digest), &verdict)
                .await?,
        ];
        let shadow = governed.record.shadow.as_ref();
        let registry = &snapshot.registry;
        writes.extend(self.shadow_write((workspace, id), shadow, plan, &verdict, registry).await?);
        Ok((verdict, Command::Verify { ruling, reasons }, writes))
    }

    // Steps that mandates cover as far as everything of them is known: nobody is asked before they
    // begin. Whether a mandate covers them then, their claims find.
    async fn covered(
        &self,
        state: &Execution,
        verdict: &PlanVerdict,
        authority: &CompiledPolicySet,
        snapshot: &Snapshot,
    ) -> Answer<BTreeSet<usize>> {
        let Some(compiled) = state.plan() else { return Ok(BTreeSet::new()) };
        let plan = compiled.plan();
        let mut covered = BTreeSet::new();
        let mut metering = Metering::default();
        for step in verdict.own().filter(|step| step.verdict == Verdict::Assist) {
            let index = state.index_of(&step.step_id);
            let Some((index, planned)) = index.and_then(|at| Some((at, state.planned(at)?))) else {
                continue;
            };
            let (input, unresolved) = wiring::known(planned);
            if !unresolved.is_empty() || !planned.unknown.is_empty() || !planned.wires.is_empty() {
                continue;
            }
            let total = cs_core::plan::radius_with(plan, planned, Purpose::Run);
            let call = (None, Measured { radius: &planned.radius, total: &total });
            let facts = &verdict.facts;
            let Some(request) = policy::mandate_request(plan, planned, call, facts, authority)
            else {
                continue;
            };
            let call = CoveredCall {
                state,
                called: planned,
                verdict: step,
                request,
                plain: policy::is_plain(&input),
                spend: &planned.radius,
                held: None,
            };
            let found = self.mandates.covering(call, &snapshot.whole(), &mut metering).await?;
            covered.extend(found.map(|_| index));
        }
        Ok(covered)
    }

    // What speaks against asking people: for each group that cannot give the voices, an issue.
    async fn unmet(
        &self,
        state: &Execution,
        asked: &PlanRequirement,
        life_ms: i64,
    ) -> Answer<Vec<Issue>> {
        let edited = state.plan_facts.as_ref().is_some_and(|facts| facts.edits.is_some());
        if asked.steps.is_empty() && !edited {
            return Ok(Vec::new());
        }
        let (requirement, excluded) = (asked.requirement(), state.excluded());
        let (workspace, life) = (&state.workspace, life_ms);
        let unmet = self.in_force.unmet(workspace, &requirement, &excluded, life).await?;
        Ok(unmet.into_iter().map(|message| Issue::coded(UNMET, "/plan", message)).collect())
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
            probe
                .into_iter()
                .chain(step.compensate.as_ref().map(|undo| undo.call.operation.clone()))
        };
        let own = plan.steps.iter().map(|step| step.call.operation.clone());
        let operations: BTreeSet<String> = own.chain(plan.steps.iter().flat_map(beside)).collect();
        let operations = operations.iter().map(String::as_str);
        let mut metering = Metering::default();
        facts.usage = self
            .meters
            .metered(workspace, governance, operations, &facts.actor.id, &mut metering)
            .await?;
        Ok(())
    }

    /// Whether the verdict of a plan would be the same if it were reached now.
    pub(crate) async fn stands(&self, loaded: &Loaded) -> Answer<bool> {
        let (_, command, _) = self.judge(&loaded.state).await?;
        Ok(match (command, &loaded.state.ruling) {
            (Command::Verify { ruling, .. }, Some(stored)) => {
                let moved = VerdictSummary {
                    verified_at: stored.verified_at,
                    verdict_digest: stored.verdict_digest.clone(),
                    ..ruling
                };
                moved == *stored
            }
            _ => false,
        })
    }

    /// What a verdict depends on now, but for budget and usage: with the grants that the
    /// requester's key has now, and the workspace's phrases as they are now. INVARIANT
    /// (context-is-fresh).
    pub(crate) async fn facts(
        &self,
        state: &Execution,
        intent: &IntentRecord,
    ) -> Answer<(Facts, RequesterKey)> {
        let workspace = &state.workspace;
        let key = self.in_force.requester_key(workspace, intent.key_id.as_deref()).await?;
        let grants = key.grants().cloned().unwrap_or_else(|| intent.grants.clone());
        let metadata = intent.metadata.clone().map(Value::Object);
        let plan = state.plan().map(|plan| plan.plan());
        let signals = self.find_signals(workspace, &intent.text, metadata.as_ref(), plan).await?;
        Ok((self.facts_of(intent.actor.clone(), grants, intent.channel_key.clone(), signals), key))
    }

    /// The workspace's phrases that stand in a text, in metadata, or in the literal inputs of a
    /// plan.
    pub(crate) async fn find_signals(
        &self,
        workspace: &WorkspaceId,
        text: &str,
        metadata: Option<&Value>,
        plan: Option<&Plan>,
    ) -> Answer<Vec<Signal>> {
        let phrases = self.in_force.risk_phrases(workspace).await?;
        let inputs: Vec<Value> =
            plan.iter().flat_map(|plan| &plan.steps).map(|step| wiring::known(step).0).collect();
        Ok(phrases.find_in([text], metadata.into_iter().chain(&inputs)))
    }

    pub(crate) fn facts_of(
        &self,
        actor: Actor,
        grants: BTreeSet<String>,
        origin_channel: Option<String>,
        signals: Vec<Signal>,
    ) -> Facts {
        Facts {
            actor,
            grants,
            origin_channel,
            signals,
            at: self.base.now(),
            budget: None,
            usage: Vec::new(),
        }
    }
}

/// The verdict as callers see it.
pub(crate) fn to_answer(
    state: &Execution,
    verdict: &PlanVerdict,
    at: Timestamp,
) -> PlanVerifiedAnswer {
    let blocked = verdict.steps.iter().filter(|step| step.verdict == Verdict::Blocked);
    let blocked = blocked
        .flat_map(|step| step.reasons.iter().map(|reason| format!("{}: {reason}", step.step_id)));
    // Nobody can be asked, whatever policy says.
    let unmet = state.reasons.iter().filter(|issue| issue.code.as_deref() == Some(UNMET));
    let ruled = state.ruling.as_ref().map_or(verdict.verdict, |ruling| ruling.verdict);
    PlanVerifiedAnswer {
        execution_id: state.id.clone(),
        run_id: crate::run_of(state),
        verdict: ruled.into(),
        risk_tier: verdict.risk_tier.into(),
        requires_approval: ruled == Verdict::Assist,
        blocked_reasons: blocked.chain(unmet.map(|issue| issue.message.clone())).collect(),
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
        verdict: step.verdict.into(),
        risk_tier: step.risk_tier.into(),
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
