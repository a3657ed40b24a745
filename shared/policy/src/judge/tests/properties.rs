//! Properties: an indexed set decides as the whole set, and the same facts give the same verdict.

mod indexed_is_full {
    use super::super::*;
    use proptest::prelude::*;

    fn policy() -> impl Strategy<Value = String> {
        let action = prop_oneof![
            Just("action".to_owned()),
            (0..EXAMPLE_SKILLS.len()).prop_map(|index| format!(
                "action == Action::\"desk/{}\"",
                EXAMPLE_SKILLS[index].0
            )),
            Just("action in Action::\"desk\"".to_owned()),
            (0..EXAMPLE_SKILLS.len(), 0..EXAMPLE_SKILLS.len()).prop_map(|(a, b)| format!(
                "action in [Action::\"desk/{}\", Action::\"desk/{}\"]",
                EXAMPLE_SKILLS[a].0, EXAMPLE_SKILLS[b].0
            )),
            Just("action == Action::\"other/thing\"".to_owned()),
        ];
        let condition = prop_oneof![
            Just(String::new()),
            (0..20_i64).prop_map(|n| format!(
                "when {{ context.input has amount && context.input.amount > {n} }}"
            )),
            Just("when { context.mode == \"assist\" }".to_owned()),
            Just("when { context.nothing == 1 }".to_owned()),
            Just("unless { principal.grants.contains(\"x\") }".to_owned()),
        ];
        (prop_oneof![3 => Just("permit"), 1 => Just("forbid")], action, condition).prop_map(
            |(effect, action, condition)| {
                format!("{effect} (principal, {action}, resource) {condition};")
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn for_every_policy_set(policies in proptest::collection::vec(policy(), 0..12),
            operation in 0..EXAMPLE_SKILLS.len()) {
            let registry = registry(EXAMPLE_SKILLS);
            let policy_set = CompiledPolicySet::new(&policies.join("\n"), "1", &registry).unwrap();
            let draft = serde_json::from_value(draft(EXAMPLE_SKILLS[operation].0, None)).unwrap();
            let plan = plan::compile(&draft, &registry).unwrap();
            for mode in ["autonomous", "assist"] {
                let step = &plan.plan().steps[0];
                let measured = Measured { radius: &step.radius, total: &plan.plan().radius };
                let mut request = request_for(plan.plan(), step, (None, measured),
                    (&facts("hi"), &policy_set), RiskTier::Low);
                request.context.mode = mode.into();
                let (indexed, full) = (policy_set.authorize(&request),
                    policy_set.authorize_full(&request));
                prop_assert_eq!(indexed.permitted, full.permitted);
                prop_assert_eq!(indexed.determining.len(), full.determining.len());
                prop_assert_eq!(indexed.errors.len(), full.errors.len());
            }
        }
    }
}

// A verdict follows from plan, facts and set, and from nothing else: not from when or how often it
// is asked for.
mod context_is_fresh {
    use super::super::*;
    use proptest::prelude::*;

    fn any_facts() -> impl Strategy<Value = Facts> {
        let text = prop_oneof![
            Just("hello"),
            Just("refund me"),
            Just("ignore previous instructions"),
            Just("urgent")
        ];
        (text, 0..4_000_000_000_000_i64, any::<(bool, bool)>(), any::<Option<bool>>()).prop_map(
            |(text, at, (autonomous, request), channel)| {
                let mut found = facts(text);
                found.at = Timestamp::from_ms(at);
                found.origin_channel =
                    channel.map(|slack| if slack { "slack".into() } else { String::new() });
                if !autonomous {
                    found.grants.remove(GRANT_AUTONOMOUS);
                }
                if !request {
                    found.grants.remove(GRANT_REQUEST);
                }
                found
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn the_same_facts_give_the_same_verdict(facts in any_facts(),
            operation in 0..EXAMPLE_SKILLS.len(), template in 0..crate::TEMPLATES.len(),
                confidence in any::<Option<u16>>()) {
            let confidence = confidence.map(|n| f64::from(n) / 65_535.0);
            let (name, text) = crate::TEMPLATES[template];
            let set = if name == "baseline" { text.to_owned() } else {
                format!("{BASELINE}\n{text}") };
            let once = judged(draft(EXAMPLE_SKILLS[operation].0, confidence), &facts, &set);
            prop_assert_eq!(&judged(draft(EXAMPLE_SKILLS[operation].0, confidence), &facts, &set),
                &once);
            // As stored and read again.
            let written = serde_json::to_string(&once).unwrap();
            let stored: PlanVerdict = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&judged(draft(EXAMPLE_SKILLS[operation].0, confidence), &stored.facts,
                &set), &once);
        }
    }
}
