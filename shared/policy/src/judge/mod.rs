//! The verdict of a plan: a floor in code, then policy, and the worst of the steps.

use crate::{
    annotations,
    policy_set::{Answer, CompiledPolicySet},
    request::{AuthzRequest, PlanSize, Principal, RequestContext},
    signals::Signal,
};
use contracts::{
    Digest, StepId, Timestamp,
    draft::Budget,
    event::{Actor, ActorKind, Purpose, Requirement},
    governance::MeterScope,
    limits::{APPROVAL_LIFE_CHANNEL_MS, APPROVAL_LIFE_MS_DEFAULT, APPROVAL_LIFE_MS_MAX},
    plan::{Plan, PlanStep, Radius},
    verdict::{Effect, RiskTier, Verdict},
};
use cs_core::{
    plan::{self, exceeded, wiring},
    skill::SECRET,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Everything except plan and policies that a verdict depends on. Stored with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub actor: Actor,
    pub grants: BTreeSet<String>,
    #[serde(rename = "channel")]
    pub origin_channel: Option<String>,
    /// Found in the intent's text, metadata and literal inputs.
    pub signals: Vec<Signal>,
    /// When it was asked: policies read its hour and weekday.
    pub at: Timestamp,
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

impl PlanVerdict {
    /// The verdicts of the steps' own calls.
    pub fn own(&self) -> impl Iterator<Item = &StepVerdict> {
        self.steps.iter().filter(|step| step.purpose.is_run())
    }
}

/// The verdict of a call of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepVerdict {
    pub step_id: StepId,
    /// Of which of the step's calls: its own, its probe, its compensation.
    #[serde(default, skip_serializing_if = "Purpose::is_run")]
    pub purpose: Purpose,
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    pub reasons: Vec<String>,
    /// Names of the policies that decided: those that permitted, and those that took autonomy away.
    pub determining: Vec<String>,
    pub errors: Vec<String>,
    /// The request that was evaluated last.
    pub request: Value,
    /// Shortest `@expires` of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// `@approvers` of those: of each group the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Requirement>,
}

const GRANT_AUTONOMOUS: &str = "control-plane.execution.autonomous";
const GRANT_REQUEST: &str = "control-plane.approval.request";
/// Operations that change something and speak of this are at least high (CONTRACTS 6).
const HIGH_WORDS: &[&str] = &["refund", "account", "permission", "grant", "role"];

/// Judges a plan.
pub fn judge(
    plan: &Plan,
    plan_digest: &Digest,
    facts: &Facts,
    policy_set: &CompiledPolicySet,
) -> PlanVerdict {
    let steps: Vec<StepVerdict> =
        plan.steps.iter().flat_map(|step| judge_calls(plan, step, facts, policy_set)).collect();
    let declared = steps.iter().filter_map(|step| step.expires_ms).min();
    let default = if facts.origin_channel.is_some() {
        APPROVAL_LIFE_CHANNEL_MS
    } else {
        APPROVAL_LIFE_MS_DEFAULT
    };
    PlanVerdict {
        // An empty plan is not autonomous: there is nothing that permitted it.
        verdict: steps.iter().map(|step| step.verdict).max().unwrap_or(Verdict::Blocked),
        risk_tier: steps.iter().map(|step| step.risk_tier).max().unwrap_or(RiskTier::Blocked),
        policy_version: policy_set.version().to_owned(),
        policy_digest: policy_set.digest().clone(),
        plan_digest: plan_digest.clone(),
        facts: facts.clone(),
        approval_life_ms: declared.unwrap_or(default).min(APPROVAL_LIFE_MS_MAX),
        steps,
    }
}

/// The verdicts of a step's own call and of those beside it, as known before the run. INVARIANT
/// (one-gate): what undoes a step, or asks about it, is judged as a step is; and a step needs
/// people if one of them does, for it leads there.
pub fn judge_calls(
    plan: &Plan,
    step: &PlanStep,
    facts: &Facts,
    policy_set: &CompiledPolicySet,
) -> Vec<StepVerdict> {
    let purposes = [Purpose::Run, Purpose::Probe, Purpose::Compensate];
    let calls =
        purposes.into_iter().filter_map(|purpose| Some((purpose, plan::call_of(step, purpose)?)));
    let mut verdicts: Vec<StepVerdict> = calls
        .map(|(purpose, call)| {
            let total = plan::radius_with(plan, &call, purpose);
            let measured = Measured { radius: &call.radius, total: &total };
            let (verdict, request, _) = asked(plan, &call, (None, measured), facts, policy_set);
            StepVerdict {
                purpose,
                request: serde_json::to_value(&request).unwrap_or_default(),
                ..verdict
            }
        })
        .collect();
    let worst = verdicts.iter().map(|verdict| verdict.verdict).max();
    if let (Some(own), Some(Verdict::Assist)) = (verdicts.first_mut(), worst)
        && own.verdict == Verdict::Autonomous
    {
        own.verdict = Verdict::Assist;
        own.reasons.push("what undoes it, or asks about it, needs people".into());
    }
    verdicts
}

/// The blast radius of a call, and of the plan with it.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'m> {
    pub radius: &'m Radius,
    pub total: &'m Radius,
}

/// What the floor says before policy is asked.
struct Floor {
    tier: RiskTier,
    least: Verdict,
    reasons: Vec<String>,
}

/// Judges one call, in the form of a step (`plan::call_of`); with an actual input, on that instead
/// of what is known before the run. Its `request` is left out.
pub fn judge_call(
    plan: &Plan,
    step: &PlanStep,
    call: (Option<&Value>, Measured<'_>),
    facts: &Facts,
    policy_set: &CompiledPolicySet,
) -> StepVerdict {
    asked(plan, step, call, facts, policy_set).0
}

/// The request on which a mandate's condition is evaluated, if a mandate may stand for the people
/// whom a call needs.
pub fn mandate_request(
    plan: &Plan,
    step: &PlanStep,
    call: (Option<&Value>, Measured<'_>),
    facts: &Facts,
    policy_set: &CompiledPolicySet,
) -> Option<Value> {
    let (_, request, allowed) = asked(plan, step, call, facts, policy_set);
    if allowed { serde_json::to_value(&request).ok() } else { None }
}

// The verdict, the request that was evaluated last, and whether a mandate may stand for people.
fn asked(
    plan: &Plan,
    step: &PlanStep,
    (actual, measured): (Option<&Value>, Measured<'_>),
    facts: &Facts,
    policy_set: &CompiledPolicySet,
) -> (StepVerdict, AuthzRequest, bool) {
    let floor = floor(step, measured, facts);
    let mut request = request_for(plan, step, (actual, measured), (facts, policy_set), floor.tier);
    let mut result = StepVerdict {
        step_id: step.id.clone(),
        purpose: Purpose::Run,
        verdict: Verdict::Blocked,
        risk_tier: floor.tier,
        reasons: floor.reasons,
        determining: Vec::new(),
        errors: Vec::new(),
        request: Value::Null,
        expires_ms: None,
        approvers: Vec::new(),
    };
    let mut decided = Decided::default();
    for (mode, verdict) in [("autonomous", Verdict::Autonomous), ("assist", Verdict::Assist)] {
        // What the floor blocks no policy is asked about. What it puts before people, policies are
        // still asked to run on its own: a rule that forbids that says who decides and for how
        // long, however risky the step is besides.
        if floor.least == Verdict::Blocked {
            break;
        }
        request.context.mode = mode.to_owned();
        let answer = policy_set.authorize(&request);
        if !answer.errors.is_empty() {
            decided.join(&answer);
            result.reasons.push("policy_error".into());
            result.errors = answer.errors.iter().cloned().collect();
            break;
        }
        if answer.permitted && verdict < floor.least {
            continue;
        }
        decided.join(&answer);
        if answer.permitted {
            result.verdict = verdict;
            break;
        }
        if verdict == Verdict::Assist && answer.determining.is_empty() {
            decided.reasons.push(no_policy_matched(&answer));
        }
    }
    result.reasons.append(&mut decided.reasons);
    result.determining = decided.determining.into_iter().collect();
    result.expires_ms = decided.expires_ms;
    result.approvers = annotations::requirement(decided.approvers);
    // What nobody could have looked at beforehand is looked at when it is there: data that must not
    // come here, and amounts that cannot be counted. What is of high risk is people's, one by one,
    // where no policy says otherwise (INVARIANT high-risk-never-autonomous).
    let mandate_allowed = result.verdict == Verdict::Assist
        && step.taint.is_empty()
        && measured.radius.unmeasured.is_empty()
        && !decided.mandate_refused
        && (result.risk_tier <= RiskTier::Medium || decided.mandate_allowed);
    (result, request, mandate_allowed)
}

/// What decided, of both rounds: a rule that took autonomy away as well as the one that lets people
/// decide.
#[derive(Default)]
struct Decided {
    determining: BTreeSet<String>,
    reasons: Vec<String>,
    expires_ms: Option<i64>,
    approvers: BTreeMap<String, u32>,
    mandate_allowed: bool,
    mandate_refused: bool,
}

impl Decided {
    fn join(&mut self, answer: &Answer) {
        self.determining.extend(answer.determining.iter().cloned());
        for reason in &answer.reasons {
            if !self.reasons.contains(reason) {
                self.reasons.push(reason.clone());
            }
        }
        self.mandate_allowed |= answer.mandate_allowed;
        self.mandate_refused |= answer.mandate_refused;
        self.expires_ms = self.expires_ms.into_iter().chain(answer.expires_ms).min();
        for (group, count) in &answer.approvers {
            let most = self.approvers.entry(group.clone()).or_default();
            *most = (*most).max(*count);
        }
    }
}

fn no_policy_matched(answer: &Answer) -> String {
    if answer.unmatched.is_empty() {
        return "no_policy_matched".into();
    }
    let names: Vec<String> = answer.unmatched.iter().map(|name| format!("`{name}`")).collect();
    format!("no_policy_matched: the conditions of {} do not hold", names.join(", "))
}

/// INVARIANT (high-risk-never-autonomous): here, in code, whatever the workspace's policies say.
fn floor(step: &PlanStep, measured: Measured<'_>, facts: &Facts) -> Floor {
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
        let least =
            if taint.refused || taint.label == SECRET { Verdict::Blocked } else { Verdict::Assist };
        let reason =
            format!("taint: `{}` reaches this step through {}", taint.label, path.join(" → "));
        raise(RiskTier::Medium, least, reason);
    }
    // INVARIANT (unmeasured-is-not-small): a budget blocks it; where there is none, people decide.
    for kind in &measured.radius.unmeasured {
        raise(RiskTier::Medium, Verdict::Assist, format!("unmeasured: {kind}"));
    }
    if let Some(over) = exceeded(measured.total, facts.budget.as_ref()) {
        raise(RiskTier::Low, Verdict::Blocked, format!("budget_exceeded: {over}"));
    }
    if facts.actor.id.trim().is_empty() {
        raise(RiskTier::Low, Verdict::Blocked, "missing_actor_identity".into());
    }
    if let Some(missing) = step.required_grants.iter().find(|grant| !facts.grants.contains(*grant))
    {
        raise(RiskTier::Low, Verdict::Blocked, format!("missing_capability_grant: {missing}"));
    }
    if !facts.grants.contains(GRANT_AUTONOMOUS) {
        if facts.grants.contains(GRANT_REQUEST) {
            raise(
                RiskTier::Low,
                Verdict::Assist,
                format!("downgraded: the actor lacks {GRANT_AUTONOMOUS}"),
            );
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

fn request_for(
    plan: &Plan,
    step: &PlanStep,
    (actual, measured): (Option<&Value>, Measured<'_>),
    (facts, policy_set): (&Facts, &CompiledPolicySet),
    tier: RiskTier,
) -> AuthzRequest {
    let (hour, weekday) = policy_set.hour_and_weekday(facts.at);
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
    AuthzRequest {
        principal: Principal {
            id: facts.actor.id.clone(),
            kind: kind.into(),
            grants: facts.grants.clone(),
        },
        action: step.call.operation.clone(),
        resource,
        context: RequestContext {
            mode: String::new(),
            tier: tier.to_string(),
            effect: step.call.effect.to_string(),
            hour,
            weekday: weekday.to_owned(),
            labels: step.labels.clone(),
            taint: step.taint.iter().map(|taint| taint.label.clone()).collect(),
            signals: facts.signals.iter().map(|signal| signal.phrase.clone()).collect(),
            unresolved,
            input,
            plan: PlanSize {
                writes: count(measured.total.writes),
                steps: count(plan.steps.len() as u64),
                recipients: count(measured.total.recipients),
                money: measured
                    .total
                    .money
                    .iter()
                    .map(|(code, sum)| (code.clone(), count(*sum)))
                    .collect(),
                open: measured.total.open,
                unmeasured: !measured.total.unmeasured.is_empty(),
            },
            usage: facts
                .usage
                .iter()
                .map(|one| (one.meter.clone(), count(one.of(step, &facts.actor))))
                .collect(),
            channel: facts.origin_channel.clone(),
            confidence_bps: plan.confidence_bps,
        },
    }
}

#[cfg(test)]
mod tests;
