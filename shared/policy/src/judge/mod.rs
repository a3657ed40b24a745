//! The verdict of a plan: a floor in code, then policy, and the worst of the steps.

use crate::{
    authority::Authority,
    request::{Ask, Circumstances, PlanSize, Principal},
    signals::Signal,
};
use contracts::{
    Digest, StepId,
    draft::Budget,
    event::{Actor, ActorKind},
    governance::MeterScope,
    limits::{APPROVAL_LIFE_CHANNEL_MS, APPROVAL_LIFE_MS_DEFAULT, APPROVAL_LIFE_MS_MAX},
    plan::{Plan, PlanStep},
    verdict::{Effect, RiskTier, Verdict},
};
use cs_core::plan::{exceeded, wiring};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Everything besides plan and policy that a verdict depends on. Stored with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub actor: Actor,
    pub grants: BTreeSet<String>,
    pub channel: Option<String>,
    /// Found in the intent's text.
    pub signals: Vec<Signal>,
    /// UTC hour, 0 to 23.
    pub hour: u8,
    /// What any one plan of the workspace may touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What was used of the workspace's meters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Metered>,
}

/// A meter's usage when a verdict was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metered {
    pub meter: String,
    pub scope: MeterScope,
    /// By actor or operation; nothing for the workspace.
    pub used: BTreeMap<String, u64>,
}

impl Metered {
    fn of(&self, step: &PlanStep, actor: &Actor) -> u64 {
        let key = match self.scope {
            MeterScope::Workspace => "",
            MeterScope::Actor => &actor.id,
            MeterScope::Operation => &step.call.operation,
        };
        self.used.get(key).copied().unwrap_or(0)
    }
}

/// The verdict of a plan, with all that is needed to reach it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanVerdict {
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    pub policy_version: String,
    pub policy_digest: Digest,
    pub plan_digest: Digest,
    pub facts: Facts,
    pub steps: Vec<StepVerdict>,
    /// Life of the approval the plan asks for, in milliseconds.
    pub approval_life_ms: i64,
}

/// The verdict of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepVerdict {
    pub step_id: StepId,
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    pub reasons: Vec<String>,
    /// Names of the policies that decided.
    pub determining: Vec<String>,
    pub errors: Vec<String>,
    /// The request that was evaluated last.
    pub request: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

const GRANT_AUTONOMOUS: &str = "control-plane.execution.autonomous";
const GRANT_REQUEST: &str = "control-plane.approval.request";
/// Operations that change something and speak of this are at least high (CONTRACTS 6).
const HIGH_WORDS: &[&str] = &["refund", "account", "permission", "grant", "role"];
/// A label that never reaches a sink that does not accept it, not even with people.
const SECRET: &str = "secret";

/// Judges a plan.
pub fn judge(plan: &Plan, plan_digest: &Digest, facts: &Facts, authority: &Authority) -> PlanVerdict {
    let steps: Vec<StepVerdict> =
        plan.steps.iter().map(|step| judge_step(plan, step, None, facts, authority)).collect();
    let declared = steps.iter().filter_map(|step| step.expires_ms).min();
    let default = if facts.channel.is_some() { APPROVAL_LIFE_CHANNEL_MS } else { APPROVAL_LIFE_MS_DEFAULT };
    PlanVerdict {
        // An empty plan is not autonomous: there is nothing that permitted it.
        verdict: steps.iter().map(|step| step.verdict).max().unwrap_or(Verdict::Blocked),
        risk_tier: steps.iter().map(|step| step.risk_tier).max().unwrap_or(RiskTier::Blocked),
        policy_version: authority.version().to_owned(),
        policy_digest: authority.digest().clone(),
        plan_digest: plan_digest.clone(),
        facts: facts.clone(),
        approval_life_ms: declared.unwrap_or(default).min(APPROVAL_LIFE_MS_MAX),
        steps,
    }
}

/// What the floor says before policy is asked.
struct Floor {
    tier: RiskTier,
    least: Verdict,
    reasons: Vec<String>,
}

/// Judges one step; with `actual`, on the input it would be called with instead of what is known before the run.
pub fn judge_step(
    plan: &Plan,
    step: &PlanStep,
    actual: Option<&Value>,
    facts: &Facts,
    authority: &Authority,
) -> StepVerdict {
    let floor = floor(plan, step, facts);
    let mut ask = ask(plan, step, actual, facts, floor.tier);
    let mut result = StepVerdict {
        step_id: step.id.clone(),
        verdict: Verdict::Blocked,
        risk_tier: floor.tier,
        reasons: floor.reasons,
        determining: Vec::new(),
        errors: Vec::new(),
        request: Value::Null,
        expires_ms: None,
    };
    for (mode, verdict) in [("autonomous", Verdict::Autonomous), ("assist", Verdict::Assist)] {
        if verdict < floor.least {
            continue;
        }
        ask.context.mode = mode.to_owned();
        let answer = authority.ask(&ask);
        result.determining = answer.determining.into_iter().collect();
        if !answer.errors.is_empty() {
            result.reasons.push("policy_error".into());
            result.errors = answer.errors.into_iter().collect();
            break;
        }
        if answer.permitted {
            result.verdict = verdict;
            result.reasons.extend(answer.reasons);
            result.expires_ms = answer.expires_ms;
            break;
        }
        if verdict == Verdict::Assist {
            let none = answer.reasons.is_empty();
            result.reasons.extend(answer.reasons);
            if none {
                result.reasons.push("no_policy_matched".into());
            }
        }
    }
    result.request = serde_json::to_value(&ask).unwrap_or_default();
    result
}

/// INVARIANT (high-risk-never-autonomous): here, in code, whatever the workspace's policies say.
fn floor(plan: &Plan, step: &PlanStep, facts: &Facts) -> Floor {
    let mut floor = Floor { tier: step.risk_tier, least: Verdict::Autonomous, reasons: Vec::new() };
    let mut raise = |tier: RiskTier, least: Verdict, reason: String| {
        floor.tier = floor.tier.max(tier);
        floor.least = floor.least.max(least);
        floor.reasons.push(reason);
    };
    for signal in &facts.signals {
        let (kind, least) = match signal.tier {
            RiskTier::Blocked => ("blocked_signal", Verdict::Blocked),
            RiskTier::High | RiskTier::Medium | RiskTier::Low => ("signal", Verdict::Autonomous),
        };
        raise(signal.tier, least, format!("{kind}: {}", signal.phrase));
    }
    let words = || step.call.operation.split(['/', '.', '-', '_']);
    if step.call.effect != Effect::Read
        && let Some(word) = words().find(|word| HIGH_WORDS.contains(&word.trim_end_matches('s')))
    {
        raise(RiskTier::High, Verdict::Assist, format!("high_risk_operation: {word}"));
    }
    for taint in &step.taint {
        let path: Vec<&str> = taint.path.iter().map(StepId::as_str).collect();
        let least = if taint.refused || taint.label == SECRET { Verdict::Blocked } else { Verdict::Assist };
        let reason = format!("taint: `{}` reaches this step through {}", taint.label, path.join(" → "));
        raise(RiskTier::Medium, least, reason);
    }
    if let Some(over) = exceeded(&plan.radius, facts.budget.as_ref()) {
        raise(RiskTier::Low, Verdict::Blocked, format!("budget_exceeded: {over}"));
    }
    if facts.actor.id.trim().is_empty() {
        raise(RiskTier::Low, Verdict::Blocked, "missing_actor_identity".into());
    }
    if let Some(missing) = step.required_grants.iter().find(|grant| !facts.grants.contains(*grant)) {
        raise(RiskTier::Low, Verdict::Blocked, format!("missing_capability_grant: {missing}"));
    }
    if !facts.grants.contains(GRANT_AUTONOMOUS) {
        if facts.grants.contains(GRANT_REQUEST) {
            raise(RiskTier::Low, Verdict::Assist, format!("downgraded: the actor lacks {GRANT_AUTONOMOUS}"));
        } else {
            raise(RiskTier::Low, Verdict::Blocked, "missing_capability_grant".into());
        }
    }
    match floor.tier {
        RiskTier::Blocked => {
            floor.least = Verdict::Blocked;
            floor.reasons.push("blocked_risk_tier".into());
        }
        RiskTier::High => {
            floor.least = floor.least.max(Verdict::Assist);
            floor.reasons.push("high_risk_never_autonomous".into());
        }
        RiskTier::Medium | RiskTier::Low => {}
    }
    floor
}

fn ask(plan: &Plan, step: &PlanStep, actual: Option<&Value>, facts: &Facts, tier: RiskTier) -> Ask {
    let (input, unresolved) = match actual {
        Some(input) => (input.clone(), BTreeSet::new()),
        None => wiring::known(step),
    };
    let target = step.resource.as_ref().and_then(|pointer| input.pointer(pointer));
    let resource = match target {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => step.call.operation.clone(),
    };
    let kind = match facts.actor.kind {
        ActorKind::Human => "human",
        ActorKind::Service => "service",
        ActorKind::Agent => "agent",
        ActorKind::Tool => "tool",
    };
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ask {
        principal: Principal { id: facts.actor.id.clone(), kind: kind.into(), grants: facts.grants.clone() },
        action: step.call.operation.clone(),
        resource,
        context: Circumstances {
            mode: String::new(),
            tier: tier.to_string(),
            effect: step.call.effect.to_string(),
            hour: facts.hour,
            labels: step.labels.clone(),
            taint: step.taint.iter().map(|taint| taint.label.clone()).collect(),
            signals: facts.signals.iter().map(|signal| signal.phrase.clone()).collect(),
            unresolved,
            input,
            plan: PlanSize {
                writes: count(plan.radius.writes),
                steps: count(plan.steps.len() as u64),
                recipients: count(plan.radius.recipients),
                money: plan.radius.money.values().copied().max().map_or(0, count),
                open: plan.radius.open,
            },
            usage: facts.usage.iter().map(|one| (one.meter.clone(), count(one.of(step, &facts.actor)))).collect(),
            channel: facts.channel.clone(),
            confidence_bps: plan.confidence_bps,
        },
    }
}

#[cfg(test)]
mod tests;
