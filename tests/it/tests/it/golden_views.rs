//! INVARIANT (seen-is-signed): what people are shown, as golden files; whatever is in it, no line
//! acts on a terminal, and whatever matters has its share in the digest.

use crate::generated::golden;
use contracts::{
    Digest, ExecutionId,
    event::{Actor, ActorKind, Purpose, Requirement},
    manifest::{Manifest, Operation},
    plan::Call,
    verdict::{RiskTier, Verdict},
    view::View,
};
use cs_core::{
    canonical,
    plan::{Compiled, call_of, compile, resolved_radius},
    seal::Sealed,
    skill::{Registry, Skill},
    text::{is_hidden, width},
    view::{self, Actual, Calls, DecidingRule, Intent, PlanVerdictView, StepVerdictView, Subject},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

const HOSTILE: &str = "\u{1b}[2J\u{1b}[1A\r\u{202e}approved\u{2066}\nrisk        low, autonomous";

fn skills() -> Vec<Arc<Skill>> {
    let texts = [
        include_str!("../../../../examples/skills/crm.json"),
        include_str!("../../../../examples/skills/payments.json"),
        include_str!("../../../../examples/skills/mail.json"),
    ];
    let skill = |text: &str| {
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        Arc::new(Skill::new(manifest).unwrap())
    };
    texts.into_iter().map(skill).collect()
}

fn execution() -> ExecutionId {
    ExecutionId::from_bytes([7; 16])
}

fn zero() -> Digest {
    Digest::from_bytes([0; 32])
}

fn judged(verdict: Verdict, risk_tier: RiskTier, reason: &str) -> StepVerdictView {
    let rule = DecidingRule {
        id: "baseline.assist".into(),
        effect: "permit".into(),
        reason: Some("people decide".into()),
    };
    let requirement = match verdict {
        Verdict::Assist => named(),
        Verdict::Autonomous | Verdict::Blocked => Vec::new(),
    };
    StepVerdictView {
        verdict,
        risk_tier,
        reasons: vec![reason.into()],
        rules: vec![rule],
        requirement,
    }
}

// Whom the policies of these views ask for.
fn named() -> Vec<Requirement> {
    let of = |group: &str, count| Requirement { group: group.into(), count };
    vec![of("finance", 2), of("security", 1)]
}

fn operations() -> BTreeMap<String, Operation> {
    let mut all = BTreeMap::new();
    for skill in skills() {
        for (key, operation) in skill.operations() {
            all.insert(format!("{}/{key}", skill.manifest().skill.key), operation.spec.clone());
        }
    }
    all
}

fn with_subject<R>(
    text: &str,
    plan: &Compiled,
    calls: &Calls,
    make: impl FnOnce(&Subject<'_>) -> R,
) -> R {
    let operations = operations();
    let digest = canonical::digest(&json!(text)).unwrap();
    let actor = Actor { kind: ActorKind::Agent, id: "planner-1".into() };
    make(&Subject {
        execution: &execution(),
        intent: Intent {
            text,
            digest: &digest,
            actor: &actor,
            key_id: Some("key_1"),
            on_behalf_of: None,
            channel_key: Some("support"),
        },
        plan,
        ruled: PlanVerdictView {
            verdict: Verdict::Assist,
            risk_tier: RiskTier::High,
            policy_version: "3",
            policy_digest: &zero(),
            signals: vec!["refund".into()],
            budget: None,
            requirement: named(),
        },
        calls,
        operation: &|call: &Call| operations.get(&call.operation),
    })
}

fn plan(draft: &Value) -> Compiled {
    let registry = Registry::new(skills());
    compile(&serde_json::from_value(draft.clone()).unwrap(), &registry).unwrap()
}

fn plan_view(text: &str, draft: &Value, reason: &str) -> View {
    let plan = plan(draft);
    let judged = |effect| match effect {
        contracts::verdict::Effect::Read => judged(Verdict::Autonomous, RiskTier::Low, "reads"),
        _ => judged(Verdict::Assist, RiskTier::High, reason),
    };
    let mut calls = Calls::new();
    for step in &plan.plan().steps {
        for purpose in [Purpose::Run, Purpose::Probe, Purpose::Compensate] {
            if let Some(call) = call_of(step, purpose) {
                calls.insert((step.id.clone(), purpose), judged(call.call.effect));
            }
        }
    }
    with_subject(text, &plan, &calls, |subject| view::of_plan(subject).unwrap())
}

#[track_caller]
fn check(name: &str, view: &View) {
    let lines = view::lines(view, 80);
    for line in &lines {
        assert!(width(line) <= 80 && !line.chars().any(is_hidden), "{line:?}");
    }
    golden(&format!("tests/golden/views/{name}.txt"), &(lines.join("\n") + "\n"));
}

fn refund(amount: u64, customer: &str) -> Value {
    json!({ "steps": [{ "id": "refund", "use": "payments/refund.create@^2",
        "with": { "customer": customer, "amount": amount, "currency": "EUR" } }],
        "budget": { "writes": 2, "money": { "EUR": 5000 } } })
}

#[test]
fn golden_a_refund() {
    check(
        "refund",
        &plan_view("Refund Ada 42 euros", &refund(4200, "cus_1"), "high_risk_operation: refund"),
    );
}

fn wired() -> Value {
    json!({ "steps": [
        { "id": "ticket", "use": "crm/ticket.read", "with": { "ticket": "T-7" } },
        { "id": "reply", "use": "mail/message.send", "with": { "subject": "Re: T-7",
            "to": [{ "$from": "ticket", "path": "/customer" }, "ada@example.com"],
            "body": { "$from": "ticket", "path": "/text" } } },
        { "id": "refund", "use": "payments/refund.create", "after": ["reply"],
          "when": { "$from": "ticket", "path": "/customer", "equals": "cus_1" },
          "with": { "customer": { "$from": "ticket", "path": "/customer" }, "amount": 100,
              "currency": "EUR" } },
        { "id": "payout", "use": "payments/payout.create",
            "with": { "account": "DE02", "amount": 5, "currency": "USD" } } ],
        "onFailure": "compensate" })
}

#[test]
fn golden_several_steps_with_taint_and_unknown_places() {
    check(
        "several-steps",
        &plan_view(
            "Answer ticket T-7 and refund",
            &wired(),
            "taint: `untrusted` reaches this step",
        ),
    );
}

fn actual_view(amount: u64, text: &str) -> View {
    let plan = plan(&wired());
    let step = plan.plan().steps.iter().find(|step| step.id.as_str() == "refund").unwrap();
    let input = json!({ "customer": text, "amount": amount, "currency": "EUR", "card": null });
    let spec = &operations()["payments/refund.create"];
    let radius = resolved_radius(&input, spec, step);
    let sealed = Sealed { value: input, seals: [("/card".to_owned(), zero())].into() };
    let digest = sealed.digest().unwrap();
    let judged = judged(Verdict::Assist, RiskTier::High, "high_risk_never_autonomous");
    let purpose = Purpose::Run;
    let actual = Actual {
        called: step,
        purpose,
        input: &sealed,
        digest: &digest,
        radius: &radius,
        judged: &judged,
        requirement: named(),
    };
    with_subject("Answer ticket T-7 and refund", &plan, &Calls::new(), |subject| {
        view::of_actual(subject, &actual).unwrap()
    })
}

#[test]
fn golden_a_step_with_its_actual_input() {
    check("actual-input", &actual_view(7_777_777, "cus_1"));
}

#[test]
fn golden_hostile_words() {
    check("hostile-words", &plan_view(HOSTILE, &refund(4200, HOSTILE), HOSTILE));
}

#[test]
fn golden_more_than_has_room() {
    let mail = |number: usize| {
        let to: Vec<String> = (0..30).map(|index| format!("p{index}@example.com")).collect();
        json!({ "id": format!("mail{number:03}"), "use": "mail/message.send",
            "with": { "to": to, "subject": "s", "body": "b".repeat(400) } })
    };
    let steps: Vec<Value> = (0..120).map(mail).collect();
    let view = plan_view(&"long ".repeat(1_000), &json!({ "steps": steps }), "many");
    assert_eq!(
        (view.steps.len(), view.omitted_steps, view.omitted_steps_for_people),
        (100, 20, 20)
    );
    assert!(serde_json::to_vec(&view).unwrap().len() < 400_000, "a view is bounded");
    check("more-than-has-room", &View { steps: view.steps[..2].to_vec(), ..view });
}

#[test]
fn whatever_matters_has_its_share_in_the_digest() {
    let digest = |view: &View| view::digest(view).unwrap();
    let views = [
        plan_view("Refund", &refund(4200, "cus_1"), "r"),
        plan_view("Refund", &refund(4201, "cus_1"), "r"),
        plan_view("Refund", &refund(4200, "cus_2"), "r"),
        plan_view("Refund!", &refund(4200, "cus_1"), "r"),
        plan_view("Refund", &refund(4200, "cus_1"), "another reason"),
        plan_view("Refund", &wired(), "r"),
        actual_view(100, "cus_1"),
        actual_view(7_777_777, "cus_1"),
        actual_view(100, "cus_2"),
    ];
    let digests: std::collections::BTreeSet<Digest> = views.iter().map(digest).collect();
    assert_eq!(digests.len(), views.len());
    let again: View = serde_json::from_value(serde_json::to_value(&views[0]).unwrap()).unwrap();
    assert_eq!(digest(&again), digest(&plan_view("Refund", &refund(4200, "cus_1"), "r")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_line_of_a_view_acts_on_a_terminal(
        goal in any::<String>(), customer in any::<String>(), reason in any::<String>(),
            columns in 0_usize..200,
    ) {
        let view = plan_view(&goal, &refund(4200, &customer), &reason);
        for line in view::lines(&view, columns) {
            prop_assert!(!line.chars().any(is_hidden), "{line:?}");
            prop_assert!(width(&line) <= columns.max(40), "{line:?}");
        }
    }

    // Foreign text never stands where a label does.
    #[test]
    fn no_foreign_text_stands_in_the_column_of_labels(words in "[a-z \n\r\t]{0,300}") {
        let plain = plan_view("", &refund(4200, "x"), "r");
        let view = plan_view(&format!("{words}ZZZ"), &refund(4200, "x"), "r");
        let labels = |view: &View| -> std::collections::BTreeSet<String> {
            let lines = view::lines(view, 60);
            let label = |line: &String| line.chars().take(12).collect::<String>();
            lines.iter().map(|line| label(line).trim().to_owned()).collect()
        };
        let (mut labels, known) = (labels(&view), labels(&plain));
        labels.remove("");
        prop_assert!(labels.is_subset(&known), "{labels:?} {known:?}");
    }
}
