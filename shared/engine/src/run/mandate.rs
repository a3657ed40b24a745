//! Whether a mandate covers a call that needs people. INVARIANT (one-gate): the gate asks, and the
//! claim consumes in its transaction; what is asked at verification only says whether people are
//! asked at once.
//!
//! Its calls and what they touch are counted as meters are: reserved by the claim under compare and
//! set, given back where a call is known to have had no effect.

use crate::{
    Answer, Mandates,
    evidence::views::wanted,
    govern::mandates::{Maker, StoredMandate},
    run::meters::Metering,
};
use contracts::{
    Digest, WorkspaceId,
    event::Reserved,
    mandate::{Mandate, MandateUse},
    plan::{PlanStep, Radius},
    sign_in::SecondFactor,
    verdict::{Effect, RiskTier, RunMode, Verdict},
};
use countersign_store::{Condition, Key, Query, UsageRecord, Write, keys};
use cs_core::{
    canonical,
    execution::{Execution, Reservation, decide::MandateUsed},
    plan,
    skill::Registry,
};
use policy::{MandateCondition, StepVerdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The window in which usage counts, in seconds: longer than any mandate lives.
const WINDOW_SECONDS: u64 = 100 * 86_400;
/// Usage items of one mandate: calls, writes, recipients, and currencies.
const USAGE_ITEMS_MAX: usize = 300;
const CALLS: &str = "calls";
const WRITES: &str = "writes";
const RECIPIENTS: &str = "recipients";
const MONEY: &str = "money:";

/// A call that needs people, as the gate has it.
pub(crate) struct CoveredCall<'c> {
    pub(crate) state: &'c Execution,
    pub(crate) called: &'c PlanStep,
    pub(crate) verdict: &'c StepVerdict,
    /// What policies were asked, who let a mandate stand for people.
    pub(crate) request: Value,
    /// A condition sees the whole input.
    pub(crate) plain: bool,
    pub(crate) spend: &'c Radius,
    /// What an earlier attempt reserved.
    pub(crate) held: Option<&'c Reservation>,
}

/// A mandate that covers a call.
pub(crate) struct Covering {
    mandate: Mandate,
    request: Value,
    spend: Radius,
    /// Beside the meters; nothing for another attempt of the same call.
    pub(crate) reserved: Vec<Reserved>,
    /// What the claim checks beside the guard: the maker's key.
    pub(crate) check: Option<(Key, Condition)>,
}

/// What a claim consumed, so that it can be looked at again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MandateProof {
    pub(crate) mandate: Mandate,
    /// On which the condition held.
    pub(crate) request: Value,
    pub(crate) spend: Radius,
}

/// What was used of a mandate.
#[derive(Default)]
pub(crate) struct MandateUsage {
    pub(crate) calls: u64,
    pub(crate) spent: Radius,
}

impl MandateUsage {
    fn add(&mut self, of: &str, used: u64) {
        match of {
            CALLS => self.calls = used,
            WRITES => self.spent.writes = used,
            RECIPIENTS => self.spent.recipients = used,
            of => {
                if let Some(code) = of.strip_prefix(MONEY).filter(|_| used > 0) {
                    self.spent.money.insert(code.to_owned(), used);
                }
            }
        }
    }
}

// What a call uses of a mandate.
fn amounts(spend: &Radius) -> Vec<(String, u64)> {
    let money = spend.money.iter().map(|(code, sum)| (format!("{MONEY}{code}"), *sum));
    let counts = [(CALLS, 1), (WRITES, spend.writes), (RECIPIENTS, spend.recipients)];
    let counts = counts.into_iter().map(|(of, amount)| (of.to_owned(), amount));
    counts.chain(money).filter(|(_, amount)| *amount > 0).collect()
}

impl Mandates {
    /// What was used of a mandate.
    pub(crate) async fn used(
        &self,
        workspace: &WorkspaceId,
        stored: &StoredMandate,
    ) -> Answer<MandateUsage> {
        let (partition, prefix) = keys::usage_of(workspace, &stored.meter());
        let query = Query::prefix(partition, &prefix, USAGE_ITEMS_MAX);
        let (mut used, now) = (MandateUsage::default(), self.base.now());
        for (key, item) in self.base.store.query(&query).await? {
            let record: UsageRecord = countersign_store::decode(&key, &item.body)?;
            used.add(&record.of, record.used(WINDOW_SECONDS, now));
        }
        Ok(used)
    }

    /// A mandate that covers a call, if there is one: the oldest. What it reserves is counted as
    /// used for what `metering` is asked next.
    pub(crate) async fn covering(
        &self,
        call: CoveredCall<'_>,
        registry: &Registry,
        metering: &mut Metering,
    ) -> Answer<Option<Covering>> {
        let state = call.state;
        let chosen = state.run.as_ref().is_some_and(|run| run.mode == RunMode::Assist);
        // A second call of what counts each time is another one than was let through.
        let again = call.held.is_some() && call.called.call.effect == Effect::NonIdempotent;
        let unknown = call.spend.open || !call.spend.unmeasured.is_empty();
        if call.verdict.verdict != Verdict::Assist || chosen || again || unknown {
            return Ok(None);
        }
        let workspace = &state.workspace;
        let record = self.in_force.mandates(workspace).await?.value;
        if record.items.is_empty() {
            return Ok(None);
        }
        let directory = self.in_force.directory(workspace).await?;
        // What each decision needs a second factor for, nobody approves beforehand without one.
        let high = call.verdict.risk_tier >= RiskTier::High;
        if high && directory.rules().second_factor == SecondFactor::HighRisk {
            return Ok(None);
        }
        for stored in &record.items {
            let fits = self.fits(stored, &call, registry);
            if !fits || !self.may_decide(stored, &call).await? {
                continue;
            }
            let Maker::Stands(check) = self.in_force.maker(workspace, stored, &directory).await?
            else {
                continue;
            };
            if let Some(reserved) = self.reserve(stored, &call, metering).await? {
                let (mandate, spend) = (stored.mandate.clone(), call.spend.clone());
                return Ok(Some(Covering {
                    mandate,
                    request: call.request,
                    spend,
                    reserved,
                    check,
                }));
            }
        }
        Ok(None)
    }

    // Everything but its maker's standing and what is left of it.
    fn fits(&self, stored: &StoredMandate, call: &CoveredCall<'_>, registry: &Registry) -> bool {
        let mandate = &stored.mandate;
        let (operation, when) = (mandate.operation.as_str(), mandate.when.as_deref());
        let asker = call.state.intent.as_ref().map(|intent| intent.actor_id.as_str());
        operation == call.called.call.operation
            && stored.ended(self.base.now()).is_none()
            && mandate.requested_by.as_deref().is_none_or(|actor| asker == Some(actor))
            // What a condition cannot see might be what it forbids.
            && (when.is_none() || call.plain)
            && MandateCondition::new(operation, when, registry)
                .is_ok_and(|condition| condition.holds(&call.request))
    }

    // Its maker could approve this call alone, now.
    async fn may_decide(&self, stored: &StoredMandate, call: &CoveredCall<'_>) -> Answer<bool> {
        let (now, excluded) = (self.base.now(), call.state.excluded());
        let decider = self.in_force.decider(&stored.as_caller(&call.state.workspace)).await?;
        let has_voice = |group: &str| !decider.places(group, &excluded, (now, now)).is_empty();
        let required = wanted(call.verdict);
        let alone = required.iter().all(|one| one.count <= 1 && has_voice(&one.group));
        Ok(alone && decider.may_decide(call.state).is_ok())
    }

    // What the call reserves of a mandate that has room for it.
    async fn reserve(
        &self,
        stored: &StoredMandate,
        call: &CoveredCall<'_>,
        metering: &mut Metering,
    ) -> Answer<Option<Vec<Reserved>>> {
        let (meter, now) = (stored.meter(), self.base.now());
        if let Some(held) = call.held {
            let own = held.meters.iter().any(|one| one.meter == meter);
            return Ok(own.then(Vec::new));
        }
        let mut used = MandateUsage::default();
        let amounts = amounts(call.spend);
        for (of, _) in &amounts {
            let key = keys::usage(&call.state.workspace, &meter, of);
            let record = self.meters.record(key, metering).await?;
            used.add(of, record.used(WINDOW_SECONDS, now));
        }
        let total = plan::sum(&used.spent, call.spend);
        if used.calls >= u64::from(stored.mandate.count)
            || plan::exceeded(&total, stored.mandate.budget.as_ref()).is_some()
        {
            return Ok(None);
        }
        let reserved: Vec<Reserved> = amounts
            .into_iter()
            .map(|(of, amount)| Reserved {
                meter: meter.clone(),
                of,
                amount,
                window_seconds: WINDOW_SECONDS,
            })
            .collect();
        metering.take(&call.state.workspace, &reserved, now);
        Ok(Some(reserved))
    }

    /// What a claim records of the mandate that it consumes, and the writes that keep it.
    pub(crate) async fn used_by(
        &self,
        covering: Covering,
        state: &Execution,
        called: &PlanStep,
    ) -> Answer<(MandateUsed, Vec<Write>)> {
        let Covering { mandate, request, spend, .. } = covering;
        let (workspace, at) = (&state.workspace, self.base.now());
        let id = mandate.id.clone();
        let used = MandateUse {
            execution_id: state.id.clone(),
            step_id: called.id.clone(),
            at,
            spend: spend.clone(),
        };
        let proof = MandateProof { mandate, request, spend };
        let digest: Digest = canonical::digest(&proof).map_err(crate::not_canonical)?;
        let key = keys::mandate_proof(workspace, &state.id, &digest);
        let kept = self.base.store.body_write(key, &proof).await?;
        let listed = Write::Put {
            key: keys::mandate_use(workspace, &id, at, (&state.id, &called.id)),
            item: countersign_store::item(1, &used)?,
            condition: Condition::Any,
        };
        Ok((MandateUsed { id, proof: digest }, vec![kept, listed]))
    }
}
