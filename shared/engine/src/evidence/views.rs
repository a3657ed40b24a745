//! What people are shown when they decide: made of stored documents when a plan is verified and
//! when a step asks, and whenever somebody looks. INVARIANT (seen-is-signed): what is shown has the
//! digest that decisions name, or is not shown.

use crate::{
    Answer, Base, InForce, Snapshot,
    records::{IntentRecord, PolicyRecord},
};
use contracts::{
    Code, Digest, ExecutionId, Problem, StepId, WorkspaceId,
    event::{Purpose, Requirement},
    limits::{VIEW_COLUMNS, VIEWS_MAX},
    manifest::Operation,
    plan::{Call, PlanStep, Radius},
    query::ApprovalView,
    status::ApprovalStatus,
    verdict::Verdict,
    view::View,
};
use countersign_store::{Loaded, Write, keys};
use cs_core::{
    canonical,
    execution::{
        Approval, Execution,
        ballot::{self, PlanRequirement},
    },
    plan::Compiled,
    seal::Sealed,
    skill::{CompiledOperation, Registry},
    view::{self, Actual, Calls, DecidingRule, Intent, PlanVerdictView, StepVerdictView, Subject},
};
use policy::{CompiledPolicySet, Facts, PlanVerdict, StepVerdict};
use serde::de::DeserializeOwned;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// A call with its input as it would be sent, and what speaks of it.
pub(crate) struct ActualCall<'a> {
    /// In the form of a step.
    pub(crate) called: &'a PlanStep,
    pub(crate) purpose: Purpose,
    /// The manifest's word on it.
    pub(crate) spec: &'a Operation,
    pub(crate) input: &'a Sealed,
    pub(crate) digest: &'a Digest,
    pub(crate) radius: &'a Radius,
    pub(crate) verdict: &'a StepVerdict,
    /// Whom it asks for.
    pub(crate) requirement: &'a [Requirement],
}

/// What people are shown before they decide.
pub struct Views {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    /// The set that was asked for last, by its digest.
    last_rules: Mutex<Option<(Digest, Arc<CompiledPolicySet>)>>,
}

impl Views {
    pub(crate) fn new(base: Arc<Base>, in_force: Arc<InForce>) -> Self {
        Self { base, in_force, last_rules: Mutex::default() }
    }

    /// Any verdict that an execution ever had, by its digest.
    pub(crate) async fn verdict_of<T: DeserializeOwned>(
        &self,
        state: &Execution,
        digest: &Digest,
    ) -> Answer<Option<T>> {
        Ok(self.base.store.body(&keys::verdict(&state.workspace, &state.id, digest)).await?)
    }

    /// The verdict under which an execution stands, or what a reader wants of it.
    pub(crate) async fn stored_verdict<T: DeserializeOwned>(
        &self,
        state: &Execution,
    ) -> Answer<Option<T>> {
        match &state.ruling {
            Some(ruling) => self.verdict_of(state, &ruling.verdict_digest).await,
            None => Ok(None),
        }
    }

    /// The view of a verified plan and its digest.
    pub(crate) fn plan_view(
        &self,
        state: &Execution,
        intent: &IntentRecord,
        verdict: &PlanVerdict,
        authority: &CompiledPolicySet,
        snapshot: &Snapshot,
    ) -> Answer<(View, Digest)> {
        let plan = state.plan().ok_or_else(|| missing("the plan"))?;
        let operations = operations(plan, snapshot);
        let calls = verdict.steps.iter();
        let calls = calls
            .map(|call| ((call.step_id.clone(), call.purpose), judged(state, call, authority)))
            .collect();
        let ruled = PlanVerdictView {
            verdict: ruled(state, verdict.verdict),
            risk_tier: verdict.risk_tier,
            policy_version: &verdict.policy_version,
            policy_digest: &verdict.policy_digest,
            signals: phrases(&verdict.facts),
            budget: verdict.facts.budget.as_ref(),
            requirement: plan_requirement(plan, verdict).requirement(),
        };
        let operation = |call: &Call| {
            operations
                .get(&call.skill)?
                .get(call.operation.as_str())
                .map(|operation| &operation.spec)
        };
        let made = view::of_plan(&subject(state, intent, ruled, &calls, &operation)?);
        let made = made.map_err(|error| missing(&error.to_string()))?;
        let digest = view::digest(&made).map_err(crate::not_canonical)?;
        Ok((made, digest))
    }

    /// The view that people are shown of a call with its actual input: its digest, and the write
    /// that stores it.
    pub(crate) async fn actual_view(
        &self,
        state: &Execution,
        actual: &ActualCall<'_>,
        facts: &Facts,
        authority: &CompiledPolicySet,
    ) -> Answer<(Digest, Write)> {
        let intent = self.intent(&state.workspace, &state.id).await?;
        let ruling = state.ruling.as_ref().ok_or_else(|| missing("the verdict"))?;
        let ruled = PlanVerdictView {
            verdict: ruling.verdict,
            risk_tier: ruling.risk_tier,
            policy_version: &ruling.policy_version,
            policy_digest: &ruling.policy_digest,
            signals: phrases(facts),
            budget: None,
            requirement: Vec::new(),
        };
        let judged = judged(state, actual.verdict, authority);
        let ActualCall { called, purpose, input, digest, radius, .. } = *actual;
        let requirement = actual.requirement.to_vec();
        let shown = Actual { called, purpose, input, digest, radius, judged: &judged, requirement };
        let (calls, operation) = (Calls::new(), |_: &Call| Some(actual.spec));
        let made = view::of_actual(&subject(state, &intent, ruled, &calls, &operation)?, &shown);
        let made = made.map_err(|error| missing(&error.to_string()))?;
        let digest = view::digest(&made).map_err(crate::not_canonical)?;
        let write = self
            .base
            .store
            .body_write(keys::view(&state.workspace, &state.id, &digest), &made)
            .await?;
        Ok((digest, write))
    }

    /// The stored intent.
    pub(crate) async fn intent(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<IntentRecord> {
        let intent: Option<IntentRecord> =
            self.base.store.body(&keys::body(workspace, id, "intent")).await?;
        intent.ok_or_else(|| Problem::new(Code::IntentNotFound, "the intent is gone"))
    }

    /// The view of the whole plan, made again. `None`: what is stored gives another one, so that
    /// nothing can be shown.
    pub(crate) async fn plan_view_again(
        &self,
        state: &Execution,
    ) -> Answer<Option<(View, Digest)>> {
        let (workspace, id) = (&state.workspace, &state.id);
        let Some(verdict) = self.stored_verdict::<PlanVerdict>(state).await? else {
            return Ok(None);
        };
        let snapshot = self.in_force.snapshot(workspace).await?;
        let Some(authority) = self.rules(workspace, &verdict.policy_digest).await? else {
            return Ok(None);
        };
        let intent = self.intent(workspace, id).await?;
        Ok(self.plan_view(state, &intent, &verdict, &authority, &snapshot).ok())
    }

    // What the rules of a set say of themselves: that does not depend on the skills that are
    // installed. An export asks for the same set again and again.
    async fn rules(
        &self,
        workspace: &WorkspaceId,
        digest: &Digest,
    ) -> Answer<Option<Arc<CompiledPolicySet>>> {
        let last = || self.last_rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, rules)) = &*last()
            && of == digest
        {
            return Ok(Some(rules.clone()));
        }
        let record: Option<PolicyRecord> =
            self.base.store.body(&keys::policy(workspace, digest)).await?;
        let text = record.map(|record| record.text);
        // It is kept by its digest for every workspace: what has not that digest is not kept.
        let text = text.filter(|text| canonical::digest_bytes(text.as_bytes()) == *digest);
        let rules =
            text.and_then(|text| CompiledPolicySet::new(&text, "", &Registry::default()).ok());
        let rules = rules.map(Arc::new);
        *last() = rules.clone().map(|rules| (digest.clone(), rules));
        Ok(rules)
    }

    /// What people are shown under an approval, if it is still what the approval is about.
    async fn view_of(&self, state: &Execution, step: Option<&StepId>) -> Answer<Option<View>> {
        let Some(wanted) = state.view_digest(step) else {
            return Ok(None);
        };
        let found = match step.and_then(|step| state.asked(step)) {
            Some(asked) => {
                let key = keys::view(&state.workspace, &state.id, &asked.about.view);
                let stored: Option<View> = self.base.store.body(&key).await?;
                stored.and_then(|view| Some((view::digest(&view).ok()?, view)))
            }
            None => self.plan_view_again(state).await?.map(|(view, digest)| (digest, view)),
        };
        match found {
            Some((digest, view)) if digest == *wanted => Ok(Some(view)),
            Some(_) | None => {
                tracing::error!(
                    execution = %state.id, %wanted,
                    "what is stored does not give the view that was bound"
                );
                Ok(None)
            }
        }
    }

    /// What was shown of a request that is not open any more, where it is still what was bound.
    pub(crate) async fn decided_view(
        &self,
        state: &Execution,
        approval: &Approval,
    ) -> Answer<Option<View>> {
        let key = keys::view(&state.workspace, &state.id, &approval.view);
        let stored: Option<View> = self.base.store.body(&key).await?;
        let found = match stored {
            Some(view) => Some((view::digest(&view).map_err(crate::not_canonical)?, view)),
            None => self.plan_view_again(state).await?.map(|(view, digest)| (digest, view)),
        };
        Ok(found.and_then(|(digest, view)| (digest == approval.view).then_some(view)))
    }

    /// Adds to each open approval what people are shown.
    pub(crate) async fn add_views(
        &self,
        loaded: &Loaded,
        approvals: &mut [ApprovalView],
    ) -> Answer<()> {
        let state = &loaded.state;
        let open = |approval: &&mut ApprovalView| approval.status == ApprovalStatus::Requested;
        let mut made: HashMap<Digest, View> = HashMap::new();
        for approval in approvals.iter_mut().filter(open).take(VIEWS_MAX) {
            let view = match made.get(&approval.view_digest) {
                Some(view) => Some(view.clone()),
                None => self.view_of(state, approval.step_id.as_ref()).await?,
            };
            let Some(view) = view else { continue };
            approval.lines = view::lines(&view, VIEW_COLUMNS);
            made.insert(approval.view_digest.clone(), view.clone());
            approval.view = Some(view.into());
        }
        Ok(())
    }
}

/// Why a step needs people that policy would let run on its own.
const EDITED: &str = "a person changed it: another one decides";

/// The verdict of a plan. INVARIANT (never-ones-own): what a person changed, another one decides.
pub(crate) fn ruled(state: &Execution, verdict: Verdict) -> Verdict {
    let edited = state.plan_facts.as_ref().is_some_and(|facts| facts.edits.is_some());
    if edited && verdict == Verdict::Autonomous { Verdict::Assist } else { verdict }
}

/// Whom a plan and its steps ask for, by a verdict: what undoes or looks up a step is the step's.
pub(crate) fn plan_requirement(plan: &Compiled, verdict: &PlanVerdict) -> PlanRequirement {
    let index = cs_core::plan::index(plan.plan());
    let assisted = verdict.steps.iter().filter(|step| step.verdict == Verdict::Assist);
    let asked: Vec<(usize, Vec<Requirement>)> =
        assisted.filter_map(|step| Some((*index.get(&step.step_id)?, wanted(step)))).collect();
    PlanRequirement {
        assist: asked.iter().map(|(index, _)| *index).collect(),
        steps: ballot::by_steps(asked, plan.plan().steps.len()),
    }
}

/// Whom a step's verdict asks for.
pub(crate) fn wanted(step: &StepVerdict) -> Vec<Requirement> {
    match step.approvers.as_slice() {
        [] => ballot::anybody(),
        named => named.to_vec(),
    }
}

// What a view is made of.
fn subject<'s>(
    state: &'s Execution,
    intent: &'s IntentRecord,
    ruled: PlanVerdictView<'s>,
    calls: &'s Calls,
    operation: &'s dyn Fn(&Call) -> Option<&'s Operation>,
) -> Answer<Subject<'s>> {
    let plan = state.plan().ok_or_else(|| missing("the plan"))?;
    let facts = state.intent.as_ref().ok_or_else(|| missing("the intent"))?;
    let intent = Intent {
        text: &intent.text,
        digest: &facts.digest,
        actor: &intent.actor,
        key_id: intent.key_id.as_deref(),
        on_behalf_of: intent.on_behalf_of.as_deref(),
        channel_key: intent.channel_key.as_deref(),
    };
    Ok(Subject { execution: &state.id, intent, plan, ruled, calls, operation })
}

// INVARIANT (fail-closed): what cannot be shown cannot be decided on.
fn missing(what: &str) -> Problem {
    Problem::new(Code::Conflict, format!("it cannot be shown to people: {what} is missing"))
}

fn phrases(facts: &Facts) -> Vec<String> {
    facts.signals.iter().map(|signal| signal.phrase.clone()).collect()
}

// The operations of a plan's calls, from the very skills that it pins.
fn operations(
    plan: &Compiled,
    snapshot: &Snapshot,
) -> HashMap<usize, HashMap<String, Arc<CompiledOperation>>> {
    let mut found: HashMap<usize, HashMap<String, Arc<CompiledOperation>>> = HashMap::new();
    for (index, pin) in plan.plan().skills.iter().enumerate() {
        let skill = snapshot.skill(&pin.key, &pin.version).map(|installed| &installed.skill);
        let Some(skill) = skill.filter(|skill| *skill.digest() == pin.manifest_digest) else {
            continue;
        };
        let operations = skill.operations().iter();
        let named =
            operations.map(|(name, operation)| (format!("{}/{name}", pin.key), operation.clone()));
        found.insert(index, named.collect());
    }
    found
}

fn judged(state: &Execution, step: &StepVerdict, authority: &CompiledPolicySet) -> StepVerdictView {
    let rule = |name: &String| {
        authority.describe(name).map(|policy| DecidingRule {
            id: policy.id.clone(),
            effect: policy.effect.clone(),
            reason: policy.reason.clone(),
        })
    };
    let edited = step.purpose.is_run() && state.was_edited(&step.step_id);
    StepVerdictView {
        verdict: if edited { ruled(state, step.verdict) } else { step.verdict },
        risk_tier: step.risk_tier,
        reasons: step.reasons.iter().cloned().chain(edited.then(|| EDITED.to_owned())).collect(),
        rules: step.determining.iter().filter_map(rule).collect(),
        requirement: step.approvers.clone(),
    }
}
