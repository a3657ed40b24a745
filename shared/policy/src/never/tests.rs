//! Conditions that can never hold, wherever they stand; and those that may.

use super::*;
use crate::{BASELINE, TEMPLATES};

fn faults(condition: &str) -> Vec<String> {
    let labels = BTreeSet::from(["customer-data".to_owned()]);
    let signals = BTreeSet::from(["refund".to_owned()]);
    let names = KnownNames { labels: Some(&labels), signals: Some(&signals) };
    let text = format!("permit (principal, action, resource) {condition};");
    let set: cedar_policy::PolicySet = text.parse().unwrap();
    set.policies().flat_map(|policy| Check::new(names).policy(policy)).collect()
}

#[track_caller]
fn never(condition: &str) {
    assert_ne!(faults(&format!("when {{ {condition} }}")), [] as [String; 0], "{condition}");
}

#[track_caller]
fn may(condition: &str) {
    assert_eq!(faults(&format!("when {{ {condition} }}")), [] as [String; 0], "{condition}");
}

#[test]
fn the_samples_are_refused() {
    assert_eq!(
        faults("when { context.tier == \"enormous\" }"),
        ["`context.tier` is never `enormous`: it is `low`, `medium`, `high`, `blocked`"]
    );
    assert_eq!(
        faults("when { context.hour == 25 }"),
        ["`context.hour` is never `25`: it is 0 to 23"]
    );
    assert!(faults("when { context.tier == \"meduim\" }")[0].ends_with("did you mean `medium`?"));
}

#[test]
fn a_value_that_is_not_on_the_scale_is_refused_in_any_position() {
    for inner in [
        "context.tier == \"enormous\"",
        "\"enormous\" == context.tier",
        "context.tier != \"enormous\"",
        "[\"low\", \"enormous\"].contains(context.tier)",
        "[context.tier].containsAny([\"low\"]) && context[\"tier\"] == \"enormous\"",
        "context.mode == \"auto\"",
        "context.effect == \"write\"",
        "context.weekday == \"Monday\"",
        "principal.kind == \"robot\"",
        "context.tier like \"enorm*\"",
        "context.hour == 24",
        "context.hour > 23",
        "24 <= context.hour",
        "context.hour < 0",
        "context.hour <= 23",
        "0 <= context.hour",
        "context.hour == -1",
        "context.plan.writes < 0",
        "context.plan.steps == 0",
        "context.plan.steps > 1000",
        "context.usage.sent < 0",
        "context.confidence.greaterThan(decimal(\"1.0\"))",
        "context.confidence.lessThan(decimal(\"0.0\"))",
        "decimal(\"1.5\").lessThan(context.confidence)",
        "context.confidence == decimal(\"85.0\")",
        "context.signals.contains(\"refunds\")",
        "context.labels.contains(\"custmer-data\")",
        "context.taint.containsAny([\"untrustd\"])",
    ] {
        for around in [
            "{}",
            "!({})",
            "context.input.a == 1 && {}",
            "{} || context.input.a == 1",
            "if {} then context.input.a == 1 else context.input.b == 1",
            "if context.input.a == 1 then {} else true",
            "[{}].contains(true)",
            "(context has channel && ((context.plan.open || {})))",
        ] {
            never(&around.replace("{}", inner));
        }
        assert!(!faults(&format!("unless {{ {inner} }}")).is_empty(), "unless {inner}");
    }
}

#[test]
fn conditions_that_exclude_each_other_are_refused() {
    never("context.hour > 20 && context.hour < 5");
    never("context.mode == \"autonomous\" && context.mode == \"assist\"");
    never("context.tier == context.effect");
    never("context.plan.writes > 5 && context.plan.writes < 3");
    never("context.usage.sent >= 10 && !(context.usage.sent > 8)");
    never("context.hour + 24 == 5");
    never("[\"saturday\", \"sunday\"].contains(context.weekday) && context.weekday == \"monday\"");
    never("context.plan.open && !context.plan.open");
    never(
        "context.confidence.lessThan(decimal(\"0.5\")) && \
         context.confidence.greaterThan(decimal(\"0.6\"))",
    );
    never(
        "if context.input.a == 1 then context.hour > 20 && context.hour < 2 else context.hour > 21 \
         && context.hour < 3",
    );
    assert!(!faults("when { context.hour > 12 } unless { context.hour > 11 }").is_empty());
    assert!(!faults("when { context.hour > 12 } when { context.hour < 11 }").is_empty());
}

#[test]
fn what_may_match_is_taken() {
    may("context.hour > 20 || context.hour < 5");
    may("context.hour >= 18 && context.weekday != \"sunday\"");
    may("context.plan.writes > 5 && context.plan.writes < 7");
    may("context.plan.writes + context.plan.recipients > 5 && context.plan.writes < 1");
    may("context.plan.writes == context.plan.recipients");
    may("context.usage.sent > context.plan.writes && context.usage.sent < 2");
    may("context.input.tier == \"enormous\"");
    may("context.input.hour == 25");
    may("context.plan.money > 10000");
    may("context.confidence.greaterThanOrEqual(decimal(\"0.85\"))");
    may("context.confidence == decimal(\"1.0\")");
    may("context.tier like \"*igh\" || context.tier like \"l*\"");
    may("context.signals.contains(\"refund\")");
    may("context.labels.contains(\"untrusted\") || context.labels.contains(\"customer-data\")");
    may("context.labels.contains(\"zzzzzzzzzzzz\")");
    may("principal.kind == \"human\" && principal.grants.contains(\"x\")");
    assert_eq!(faults(""), [] as [String; 0]);
    for (name, text) in TEMPLATES.iter().chain([&("baseline", BASELINE)]) {
        let set: cedar_policy::PolicySet = text.parse().unwrap();
        for policy in set.policies() {
            assert_eq!(
                Check::new(KnownNames::default()).policy(policy),
                [] as [String; 0],
                "{name}"
            );
        }
    }
}

// For random conditions over small scales: what is refused as never matching matches no request at
// all.
mod what_is_refused_never_matches {
    use super::*;
    use proptest::prelude::*;

    fn atom() -> impl Strategy<Value = String> {
        prop_oneof![
            (0..24_i64, prop_oneof!["<", "<=", ">", ">=", "==", "!="].prop_map(|op: String| op))
                .prop_map(|(n, op)| format!("context.hour {op} {n}")),
            prop_oneof!["low", "medium", "high"]
                .prop_map(|tier: String| format!("context.tier == \"{tier}\"")),
            prop_oneof!["autonomous", "assist"]
                .prop_map(|mode: String| format!("\"{mode}\" != context.mode")),
            (0..4_i64).prop_map(|n| format!("context.plan.writes > {n}")),
            (1..4_i64).prop_map(|n| format!("{n} > context.plan.writes")),
            Just("context.plan.open".to_owned()),
            (0..3_i64)
                .prop_map(|n| format!("context.plan.writes + context.plan.recipients == {n}")),
        ]
    }

    fn condition() -> impl Strategy<Value = String> {
        atom().prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
                inner.clone().prop_map(|a| format!("!({a})")),
                (inner.clone(), inner.clone(), inner)
                    .prop_map(|(a, b, c)| format!("(if {a} then {b} else {c})")),
            ]
        })
    }

    fn matches(text: &str) -> bool {
        let set: cedar_policy::PolicySet = text.parse().unwrap();
        let euid = |text: &str| text.parse::<cedar_policy::EntityUid>().unwrap();
        for (hour, tier, mode) in (0..24).flat_map(|hour| {
            ["low", "medium", "high", "blocked"]
                .into_iter()
                .flat_map(move |tier| ["autonomous", "assist"].map(|mode| (hour, tier, mode)))
        }) {
            for (writes, recipients, open) in (0..6).flat_map(|w| {
                [0, 1, 2].into_iter().flat_map(move |r| [true, false].map(|o| (w, r, o)))
            }) {
                let context = cedar_policy::Context::from_json_value(
                    serde_json::json!({ "hour": hour, "tier": tier, "mode": mode,
                        "plan": { "writes": writes, "recipients": recipients, "open": open } }),
                    None,
                )
                .unwrap();
                let request = cedar_policy::Request::new(
                    euid("Actor::\"a\""),
                    euid("Action::\"b\""),
                    euid("Target::\"c\""),
                    context,
                    None,
                )
                .unwrap();
                let answer = cedar_policy::Authorizer::new().is_authorized(
                    &request,
                    &set,
                    &cedar_policy::Entities::empty(),
                );
                if answer.decision() == cedar_policy::Decision::Allow {
                    return true;
                }
            }
        }
        false
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn for_random_conditions(condition in condition()) {
            let text = format!("permit (principal, action, resource) when {{ {condition} }};");
            let faults = faults(&format!("when {{ {condition} }}"));
            let constant = faults.iter().any(|fault| fault.contains(" true: it is "));
            // Both ways: nothing that may match is refused, and nothing is taken that never
            // matches, unless for a sum, which counts as unknown.
            if !faults.is_empty() && !constant {
                prop_assert!(!matches(&text), "{} {:?}", condition, faults);
            }
            if faults.is_empty() && !condition.contains('+') {
                prop_assert!(matches(&text), "{}", condition);
            }
        }
    }
}
