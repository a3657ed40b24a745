//! Receipts of steps.

use super::{
    Story,
    exports::{audited, own_key},
};
use audit::{Code, Report};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use contracts::{
    Code as ProblemCode,
    event::ExecutionEvent,
    evidence::{GetReceipt, Receipt, ReceiptOutcome},
};
use cs_core::warrant::Key;
use serde_json::{Value, json};

async fn received(story: &Story, index: usize) -> Value {
    let mut auditor = story.fixture.agent.clone();
    auditor.grants.insert("control-plane.audit".into());
    let execution_id = story.ids[index].clone();
    let request = GetReceipt { execution_id, step_id: "find".parse().unwrap() };
    let answer = story.fixture.engine.receipts.receipt(&auditor, request).await.unwrap();
    json!(answer)
}

fn checked(receipt: &str, key: &Key) -> Report {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), receipt).unwrap();
    audited(file.path(), key, None)
}

async fn two() -> Story {
    let mut story = Story::new().await;
    story.execution().await;
    story.execution().await;
    story.fixture.engine.transparency.append_waiting().await.unwrap();
    story
}

#[tokio::test]
async fn a_receipt_says_what_the_trace_says_and_is_proven_with_the_end() {
    let story = two().await;
    let report = checked(&received(&story, 0).await.to_string(), &own_key());
    assert!(report.is_whole(), "{:#?}", report.findings);
    assert_eq!(report.checked.entries, 1);
    let receipt = report.checked.receipt.unwrap();
    let mut auditor = story.fixture.agent.clone();
    auditor.grants.insert("control-plane.audit".into());
    let request = contracts::command::ExportEvidence { execution_id: story.ids[0].clone() };
    let bundle = story.fixture.engine.bundles.export(&auditor, request).await.unwrap().bundle;
    let event = bundle.events.iter().find(|event| event.id == receipt.evt).unwrap();
    assert_eq!((event.sequence, event.time), (receipt.seq, receipt.at));
    let Some(ExecutionEvent::StepCompleted(completed)) = event.event.execution() else {
        panic!("{event:?}");
    };
    assert_eq!(receipt.out.as_ref(), Some(&completed.output_digest));
    let started = bundle.events.iter().find_map(|event| match event.event.execution() {
        Some(ExecutionEvent::StepStarted(started)) => Some(started),
        _ => None,
    });
    assert_eq!(receipt.inp, started.unwrap().input_digest);
    assert_eq!((receipt.op.as_str(), receipt.attempt), ("crm/customer.find", 1));
    assert_eq!((receipt.exe, receipt.outcome), (story.ids[0].clone(), ReceiptOutcome::Completed));
}

#[tokio::test]
async fn a_receipt_is_there_before_the_end_stands_in_the_log_and_proves_less() {
    let mut story = Story::new().await;
    story.execution().await;
    let early = received(&story, 0).await;
    assert!(early.get("proof").is_none(), "{early}");
    let alone = early["receipt"].as_str().unwrap();
    for text in [early.to_string(), alone.to_owned() + "\n"] {
        let report = checked(&text, &own_key());
        assert!(report.is_whole() && report.checked.entries == 0, "{:#?}", report.findings);
    }
}

#[tokio::test]
async fn attack_a_receipt_that_is_changed_or_has_another_proof() {
    let story = two().await;
    let (whole, other) = (received(&story, 0).await, received(&story, 1).await);
    let report = checked(&whole.to_string(), &Key::new(&[8; 32]));
    assert_eq!(report.findings[0].code, Code::UnknownKey);
    assert!(report.checked.receipt.is_none(), "nothing is said that nobody signed");
    // Each claim, changed; the signature stays.
    let jws = whole["receipt"].as_str().unwrap();
    let parts: Vec<&str> = jws.split('.').collect();
    let claims: Value = serde_json::from_slice(&B64.decode(parts[1]).unwrap()).unwrap();
    serde_json::from_value::<Receipt>(claims.clone()).unwrap();
    for name in claims.as_object().unwrap().keys() {
        let mut changed = claims.clone();
        changed[name] = match &claims[name] {
            Value::Number(_) => json!(99),
            _ => json!("sha256:0"),
        };
        let body = B64.encode(changed.to_string());
        let mut receipt = whole.clone();
        receipt["receipt"] = json!(format!("{}.{body}.{}", parts[0], parts[2]));
        let report = checked(&receipt.to_string(), &own_key());
        assert_eq!(report.findings[0].code, Code::Forged, "{name}");
    }
    let mut swapped = whole.clone();
    swapped["proof"] = other["proof"].clone();
    let report = checked(&swapped.to_string(), &own_key());
    assert_eq!(report.findings[0].code, Code::ReceiptChanged);
    let mut moved = whole.clone();
    moved["proof"]["index"] = json!(moved["proof"]["index"].as_u64().unwrap() ^ 1);
    let report = checked(&moved.to_string(), &own_key());
    assert_eq!(report.findings[0].code, Code::LogChanged);
    let mut earlier = whole;
    earlier["proof"]["leaf"]["seq"] = json!(1);
    let report = checked(&earlier.to_string(), &own_key());
    assert_eq!(report.findings[0].code, Code::ReceiptChanged);
}

#[tokio::test]
async fn attack_a_receipt_for_who_may_not_audit_of_another_or_of_no_call() {
    let story = two().await;
    let receipts = &story.fixture.engine.receipts;
    let request = |step: &str| GetReceipt {
        execution_id: story.ids[0].clone(),
        step_id: step.parse().unwrap(),
    };
    let mut agent = story.fixture.agent.clone();
    agent.grants.remove("control-plane.audit");
    let refused = receipts.receipt(&agent, request("find")).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::Forbidden);
    let mut stranger = agent.clone();
    stranger.grants.insert("control-plane.audit".into());
    let none = receipts.receipt(&stranger, request("other")).await.unwrap_err();
    assert_eq!(none.code, ProblemCode::NotFound);
    stranger.actor.id = "another-agent".into();
    stranger.grants.remove("control-plane.execution.any");
    let refused = receipts.receipt(&stranger, request("find")).await.unwrap_err();
    assert!(matches!(refused.code, ProblemCode::NotFound | ProblemCode::Forbidden), "{refused:?}");
    stranger = agent;
    stranger.grants.insert("control-plane.audit".into());
    stranger.workspace = "other".parse().unwrap();
    let refused = receipts.receipt(&stranger, request("find")).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::NotFound);
}
