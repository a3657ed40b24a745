//! What the attacks of the samples and those of our own both use.

use countersign_it::TestServer;
use serde_json::{Value, json};

/// What must be found nowhere in evidence.
pub(crate) const CARD: &str = "4111-1111-S3CRET";
/// Grants of the narrow key of an agent.
pub(crate) const AGENT: [&str; 7] = [
    "intent.submit",
    "execution.read",
    "execution.start",
    "execution.cancel",
    "execution.autonomous",
    "approval.request",
    "audit",
];

/// Grants of the contract by their short names.
pub(crate) fn grants(names: &[&str]) -> Value {
    names.iter().map(|name| json!(format!("control-plane.{name}"))).collect()
}

/// Everything that anybody can read of an execution, as text.
pub(crate) async fn evidence(server: &TestServer, id: &str) -> String {
    let mut text = String::new();
    for path in [
        format!("/v1/executions/{id}?includePlan=true"),
        format!("/v1/executions/{id}/trace?includePayloads=true"),
        format!("/v1/executions/{id}/replay"),
        "/v1/executions".to_owned(),
    ] {
        text += &server.approver.get(&path).await.1.to_string();
    }
    let (_, explained) =
        server.approver.post("/v1/policies/explain", &json!({ "executionId": id })).await;
    text + &explained.to_string()
}

/// Words with the mark of a secret stand nowhere in it.
#[track_caller]
pub(crate) fn told_nothing(evidence: &str) {
    assert!(!evidence.contains("S3CRET"), "{evidence}");
}
