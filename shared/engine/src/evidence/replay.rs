//! controlPlane.trace.replay: fold, recompile, re-evaluate, and report the first difference of
//! each.
//!
//! INVARIANT (replayable).

use crate::{
    Answer, Base, Caller, InForce, Parts, Queries, Snapshot, Updates, Views, boxed,
    intents::compile::draft_digest,
    intents::verify::verdict_digest,
    records::{DraftRecord, IntentRecord, PolicyRecord},
    run::mandate::MandateProof,
};
use contracts::{
    Digest,
    event::{Entry, Event, ExecutionEvent, PlanCompiled},
    query::{Difference, Replay, ReplayTrace},
    view::View,
};
use countersign_store::{Loaded, PortError, keys};
use cs_core::{
    canonical,
    execution::{Execution, Step},
    plan::{self, Compiled},
    seal::Sealed,
    skill::Registry,
    trace::{ChainError, Verifier},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Folds a trace again and compares.
pub struct Replays {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) views: Arc<Views>,
}

impl Replays {
    pub(crate) fn new(parts: &Parts, queries: Arc<Queries>) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            queries,
            updates: parts.updates.clone(),
            views: parts.views.clone(),
        }
    }

    /// Replays a trace.
    #[boxed]
    pub async fn replay(&self, caller: &Caller, request: ReplayTrace) -> Answer<Replay> {
        caller.require("control-plane.audit")?;
        let loaded = self.updates.load_for(caller, &request.execution_id).await?;
        let entries = self.queries.entries(&loaded, 1).await?;
        let mut checked: Vec<String> =
            ["chain", "state", "intent", "outputs"].map(str::to_owned).into();
        let mut differences = Vec::new();
        let plans = self.plans(&loaded.state, &entries).await?;
        differences.extend(check_chain(&loaded, &entries));
        differences.extend(check_state(&loaded, &entries, &plans));
        differences.extend(self.check_intent(&loaded.state).await?);
        differences.extend(self.check_outputs(&loaded.state).await?);
        if let Some(plan) = loaded.state.plan().cloned() {
            checked.push("plan".into());
            let snapshot = self.in_force.snapshot(&caller.workspace).await?;
            for compiled in compilations(&entries) {
                differences
                    .extend(self.check_plan(&loaded.state, &compiled, &plans, &snapshot).await?);
            }
            if loaded.state.ruling.is_some() {
                checked.push("verdict".into());
                for digest in verdict_digests(&loaded, &entries) {
                    differences
                        .extend(self.check_verdict(&loaded, &digest, &plans, &snapshot).await?);
                }
            }
            let proofs = mandate_proofs(&entries);
            if !proofs.is_empty() {
                checked.push("mandates".into());
                differences.extend(self.check_mandates(&loaded, proofs, &plan, &snapshot).await?);
            }
            if loaded.state.view_digest(None).is_some() {
                checked.push("view".into());
                differences.extend(self.check_views(&loaded).await?);
            }
        }
        let (execution_id, run_id) = (loaded.state.id.clone(), crate::run_of(&loaded.state));
        Ok(Replay { execution_id, run_id, matches: differences.is_empty(), differences, checked })
    }

    // The intent as it is stored has the digest that the trace names.
    async fn check_intent(&self, state: &Execution) -> Answer<Option<Difference>> {
        let Some(facts) = &state.intent else { return Ok(None) };
        let stored: Option<IntentRecord> =
            self.base.store.body(&keys::body(&state.workspace, &state.id, "intent")).await?;
        let digest = stored.and_then(|intent| canonical::digest(&intent).ok());
        let same = digest.as_ref() == Some(&facts.digest);
        Ok((!same).then(|| difference("intent", "", json!(facts.digest), json!(digest))))
    }

    // So does each output.
    async fn check_outputs(&self, state: &Execution) -> Answer<Option<Difference>> {
        let mut stored = BTreeMap::new();
        let partition = keys::execution(&state.workspace, &state.id);
        let read = self.base.store.each_body(partition, keys::OUTPUT, |step, output: Sealed| {
            stored.insert(step.to_owned(), output.digest().ok());
            Ok(true)
        });
        read.await?;
        let differs = |step: &&Step| {
            step.output.is_some() && stored.get(step.id.as_str()).cloned().flatten() != step.output
        };
        Ok(state.steps.iter().find(differs).map(|step| {
            let digest = stored.get(step.id.as_str());
            difference("outputs", &format!("/steps/{}", step.id), json!(step.output), json!(digest))
        }))
    }

    // The plans that a trace names, as far as they are there.
    async fn plans(&self, state: &Execution, entries: &[Value]) -> Answer<Plans> {
        let mut plans = Plans::new();
        for compiled in compilations(entries) {
            let digest = compiled.plan_digest;
            match self.base.store.plan(&state.workspace, &state.id, &digest).await {
                Ok(plan) => {
                    plans.insert(digest, plan);
                }
                // It is missed where it is looked at.
                Err(PortError::Corrupt(fault)) => tracing::warn!(%fault, "a plan cannot be read"),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(plans)
    }

    // Recompiles a stored draft against the very skills its plan pinned, disabled or not.
    async fn check_plan(
        &self,
        state: &Execution,
        named: &PlanCompiled,
        plans: &Plans,
        snapshot: &Snapshot,
    ) -> Answer<Option<Difference>> {
        let Some(stored) = plans.get(&named.plan_digest) else {
            return Ok(Some(difference("plan", "", json!(named.plan_digest), Value::Null)));
        };
        let key = keys::draft(&state.workspace, &state.id, &named.draft_digest);
        let draft: Option<DraftRecord> = self.base.store.body(&key).await?;
        let Some(draft) = draft else {
            return Ok(Some(difference("plan", "/draft", json!(named.draft_digest), Value::Null)));
        };
        let digest = draft_digest(&draft)?;
        if digest != named.draft_digest {
            let (named, digest) = (json!(named.draft_digest), json!(digest));
            return Ok(Some(difference("plan", "/draft", named, digest)));
        }
        Ok(match plan::compile_parsed(&draft.draft, &pinned(stored, snapshot)) {
            Ok(compiled) if *compiled.digest() == named.plan_digest => None,
            Ok(compiled) => {
                let (stored, replayed) = (to_value(stored.plan()), to_value(compiled.plan()));
                let path = first_difference(&stored, &replayed, String::new()).unwrap_or_default();
                Some(difference_at("plan", &path, &stored, &replayed))
            }
            Err(rejected) => {
                let rejected = Value::String(rejected.to_string());
                Some(difference("plan", "", json!(named.plan_digest), rejected))
            }
        })
    }

    // Each call that a mandate let through: its condition holds on what it was asked.
    async fn check_mandates(
        &self,
        loaded: &Loaded,
        proofs: BTreeSet<Digest>,
        plan: &Arc<Compiled>,
        snapshot: &Snapshot,
    ) -> Answer<Option<Difference>> {
        let registry = pinned(plan, snapshot);
        for named in proofs {
            let key = keys::mandate_proof(&loaded.state.workspace, &loaded.state.id, &named);
            let stored: Option<MandateProof> = self.base.store.body(&key).await?;
            let digest = stored.as_ref().and_then(|proof| canonical::digest(proof).ok());
            if digest.as_ref() != Some(&named) {
                return Ok(Some(difference("mandates", "", json!(named), json!(digest))));
            }
            let holds = stored.is_some_and(|MandateProof { mandate, request, .. }| {
                let when = mandate.when.as_deref();
                let condition = policy::MandateCondition::new(&mandate.operation, when, &registry);
                condition.is_ok_and(|condition| condition.holds(&request))
            });
            if !holds {
                return Ok(Some(difference("mandates", "/when", json!(true), json!(false))));
            }
        }
        Ok(None)
    }

    // Makes what people were shown again. INVARIANT (seen-is-signed).
    async fn check_views(&self, loaded: &Loaded) -> Answer<Option<Difference>> {
        let state = &loaded.state;
        let again = self.views.plan_view_again(state).await?.map(|(_, digest)| digest);
        if again.as_ref() != state.view_digest(None) {
            return Ok(Some(difference("view", "", json!(state.view_digest(None)), json!(again))));
        }
        let mut stored = BTreeMap::new();
        let partition = keys::execution(&state.workspace, &state.id);
        let read = self.base.store.each_body(partition, keys::VIEW, |name, view: View| {
            let again = cs_core::view::digest(&view).ok();
            stored.insert(name.to_owned(), again.zip(view.input_digest));
            Ok(true)
        });
        read.await?;
        Ok(state.steps.iter().find_map(|step| {
            let asked = step.asked.as_ref()?;
            let found = stored.get(asked.about.view.hex()).and_then(Option::as_ref);
            let same = found.is_some_and(|(view, input)| {
                (view, input) == (&asked.about.view, &asked.about.input)
            });
            let what = || json!(found.map(|(view, input)| json!({ "input": input, "view": view })));
            (!same)
                .then(|| difference("view", &format!("/steps/{}", step.id), json!(asked), what()))
        }))
    }

    // Re-evaluates the policy set that a verdict pins, on the facts stored with it.
    async fn check_verdict(
        &self,
        loaded: &Loaded,
        named: &Digest,
        plans: &Plans,
        snapshot: &Snapshot,
    ) -> Answer<Option<Difference>> {
        let workspace = &loaded.state.workspace;
        let Some(stored) = self.views.verdict_of(&loaded.state, named).await? else {
            return Ok(Some(difference("verdict", "", json!(named), Value::Null)));
        };
        let digest = verdict_digest(&stored)?;
        if digest != *named {
            return Ok(Some(difference("verdict", "", json!(named), json!(digest))));
        }
        let Some(plan) = plans.get(&stored.plan_digest) else {
            let (path, named) = ("/planDigest", json!(stored.plan_digest));
            return Ok(Some(difference("verdict", path, named, Value::Null)));
        };
        let gone = || {
            Ok(Some(difference(
                "verdict",
                "/policyDigest",
                json!(stored.policy_digest),
                Value::Null,
            )))
        };
        let key = keys::policy(workspace, &stored.policy_digest);
        let Some(record) = self.base.store.body::<PolicyRecord>(&key).await? else {
            return gone();
        };
        let registry = pinned(plan, snapshot);
        let authority =
            policy::CompiledPolicySet::new(&record.text, stored.policy_version.clone(), &registry);
        let Ok(authority) = authority else {
            return gone();
        };
        let replayed = policy::judge(plan.plan(), plan.digest(), &stored.facts, &authority);
        let (stored, replayed) = (to_value(&stored), to_value(&replayed));
        Ok(first_difference(&stored, &replayed, String::new())
            .map(|path| difference_at("verdict", &path, &stored, &replayed)))
    }
}

/// Plans by digest.
type Plans = BTreeMap<Digest, Arc<Compiled>>;

// What was compiled, in the order of the trace.
fn compilations(entries: &[Value]) -> Vec<PlanCompiled> {
    let compiled = entries.iter().filter_map(|entry| {
        match serde_json::from_value::<Entry>(entry.clone()).ok()?.event {
            Event::Execution(ExecutionEvent::PlanCompiled(data)) => Some(data),
            _ => None,
        }
    });
    compiled.collect()
}

/// The skills that a plan pins, disabled or not.
pub(crate) fn pinned(plan: &Compiled, snapshot: &Snapshot) -> Registry {
    let pins = plan.plan().skills.iter();
    let skills = pins.filter_map(|pin| snapshot.skill(&pin.key, &pin.version));
    Registry::new(skills.map(|installed| installed.skill.clone()))
}

// What each claim that consumed a mandate says of it.
fn mandate_proofs(entries: &[Value]) -> BTreeSet<Digest> {
    let named = entries.iter().filter_map(|entry| {
        match serde_json::from_value::<Entry>(entry.clone()).ok()?.event {
            Event::Execution(ExecutionEvent::StepStarted(data)) => data.mandate_proof,
            _ => None,
        }
    });
    named.collect()
}

// Every verdict that the trace names, the current one among them.
fn verdict_digests(loaded: &Loaded, entries: &[Value]) -> BTreeSet<Digest> {
    let named = entries.iter().filter_map(|entry| {
        match serde_json::from_value::<Entry>(entry.clone()).ok()?.event {
            Event::Execution(ExecutionEvent::PlanVerified(data)) => Some(data.verdict_digest),
            Event::Execution(ExecutionEvent::PlanRejected(data)) => data.verdict_digest,
            _ => None,
        }
    });
    named.chain(loaded.state.ruling.iter().map(|ruling| ruling.verdict_digest.clone())).collect()
}

fn check_chain(loaded: &Loaded, entries: &[Value]) -> Option<Difference> {
    let mut verifier = Verifier::default();
    let broken = entries
        .iter()
        .try_for_each(|entry| verifier.push(entry))
        .and_then(|()| verifier.finish(&loaded.chain));
    let broken = broken.err()?;
    let seq = match &broken {
        ChainError::Unreadable { seq, .. }
        | ChainError::Unlinked { seq }
        | ChainError::Changed { seq }
        | ChainError::Cut { seq, .. } => *seq,
        ChainError::Gap { expected, .. } => *expected,
    };
    let path = format!("/entries/{}", seq.saturating_sub(1));
    Some(Difference {
        seq: Some(seq),
        ..difference("chain", &path, json!(loaded.chain.hash), json!(broken.to_string()))
    })
}

// Folds the events and compares with the stored state.
fn check_state(loaded: &Loaded, entries: &[Value], plans: &Plans) -> Option<Difference> {
    let mut folded = Execution::new(loaded.state.id.clone(), loaded.state.workspace.clone());
    for (index, value) in entries.iter().enumerate() {
        match serde_json::from_value::<Entry>(value.clone()) {
            Ok(Entry { event: Event::Workspace(_), .. }) | Err(_) => {
                let path = format!("/entries/{index}");
                let seq = Some(index as u64 + 1);
                return Some(Difference {
                    seq,
                    ..difference("state", &path, value.clone(), "unreadable".into())
                });
            }
            Ok(Entry { event: Event::Execution(event), at, .. }) => {
                if let ExecutionEvent::PlanCompiled(data) = &event
                    && let Some(plan) = plans.get(&data.plan_digest)
                {
                    folded.attach(plan.clone());
                }
                folded.evolve(&event, at);
            }
        }
    }
    let whole = |state: &Execution| {
        let mut value = to_value(state);
        if let Some(map) = value.as_object_mut() {
            map.insert("steps".into(), to_value(&state.steps));
            map.insert("approvals".into(), to_value(&state.approvals));
        }
        value
    };
    let (stored, replayed) = (whole(&loaded.state), whole(&folded));
    let path = first_difference(&stored, &replayed, String::new())?;
    Some(difference_at("state", &path, &stored, &replayed))
}

fn to_value<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn difference(check: &str, path: &str, stored: Value, replayed: Value) -> Difference {
    Difference { check: check.to_owned(), seq: None, path: path.to_owned(), stored, replayed }
}

fn difference_at(check: &str, path: &str, stored: &Value, replayed: &Value) -> Difference {
    let at = |value: &Value| value.pointer(path).cloned().unwrap_or_default();
    difference(check, path, at(stored), at(replayed))
}

/// Pointer to the first place where two values differ.
fn first_difference(left: &Value, right: &Value, at: String) -> Option<String> {
    if left == right {
        return None;
    }
    match (left, right) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> =
                one.keys().chain(other.keys()).collect();
            keys.into_iter().find_map(|key| {
                let inner = format!("{at}/{}", contracts::json::escape(key));
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => first_difference(one, other, inner),
                    (None, None) => None,
                    (Some(_), None) | (None, Some(_)) => Some(inner),
                }
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).enumerate().find_map(|(index, (one, other))| {
                first_difference(one, other, format!("{at}/{index}"))
            })
        }
        _ => Some(at),
    }
}
