//! Attacks on what people decide: the inbox, votes, and what follows from them.

mod edits;
mod overrides;
mod quorum;
mod votes;

use super::kit::*;
use countersign_it::{Client, TestServer};
use serde_json::{Value, json};

/// A payment that waits for people, asked by the agent.
async fn asked(server: &TestServer) -> Asked {
    Asked::of(server, submit_steps(&server.agent, json!([pay("p")])).await).await
}

/// An open request as it was shown.
#[derive(Clone)]
struct Asked {
    execution: String,
    approval: Value,
}

impl Asked {
    async fn of(server: &TestServer, execution: String) -> Self {
        let view = server.settled(&execution).await;
        let mut open = view["approvals"].as_array().unwrap().iter();
        let approval = open.rfind(|one| one["status"] == "requested").cloned();
        Self { approval: approval.unwrap_or_else(|| panic!("nobody is asked: {view}")), execution }
    }

    fn path(&self, verb: &str) -> String {
        let id = self.approval["approvalId"].as_str().unwrap();
        format!("/v1/executions/{}/approvals/{id}{verb}", self.execution)
    }

    fn vote(&self, decision: &str) -> Value {
        json!({ "executionId": self.execution, "approvalId": self.approval["approvalId"],
            "viewDigest": self.approval["viewDigest"], "decision": decision, "reason": "I looked" })
    }
}

async fn vote(by: &Client, votes: &[Value]) -> (u16, Value) {
    by.post("/v1/approvals/vote", &json!({ "approvals": votes })).await
}

async fn inbox(by: &Client, query: &str) -> Vec<Value> {
    let (status, answer) = by.get(&format!("/v1/approvals{query}")).await;
    assert_eq!(status, 200, "{answer}");
    answer["items"].as_array().unwrap().clone()
}

/// A person who decides.
async fn person(server: &TestServer, id: &str) -> Client {
    key(server, &server.approver, "human", id, &["approval", "execution.read"]).await
}

/// How often an event stands in a trace.
async fn count(server: &TestServer, execution: &str, event: &str) -> usize {
    let (_, trace) = server.approver.get(&format!("/v1/executions/{execution}/trace")).await;
    let entries = trace["entries"].as_array().unwrap().iter();
    entries.filter(|entry| entry["type"] == format!("controlPlane.{event}")).count()
}

/// Persons of a directory with keys of their own: two of finance, one of security, one of neither.
struct People {
    ann: Client,
    bob: Client,
    sam: Client,
    eve: Client,
}

impl People {
    async fn of(server: &TestServer) -> Self {
        let ann = Self::bound(server, json!({ "id": "ann", "aliases": ["ann-bot"] })).await;
        let bob = Self::bound(server, json!({ "id": "bob", "mail": "bob@x.org" })).await;
        let sam = Self::bound(server, json!({ "id": "sam" })).await;
        let eve = Self::bound(server, json!({ "id": "eve" })).await;
        group(server, json!({ "name": "finance", "members": ["ann", "bob"] })).await;
        group(server, json!({ "name": "security", "members": ["sam"] })).await;
        Self { ann, bob, sam, eve }
    }

    // The person, and a key that is bound to it.
    async fn bound(server: &TestServer, person: Value) -> Client {
        let answer = server.approver.post("/v1/persons", &json!({ "person": person })).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
        Self::key(server, person["id"].as_str().unwrap()).await
    }

    async fn key(server: &TestServer, person: &str) -> Client {
        let names = [
            "approval",
            "approval.override",
            "approval.request",
            "execution.read",
            "execution.start",
            "intent.submit",
        ];
        let body = json!({ "person": person, "grants": grants(&names) });
        client(server, server.approver.post("/v1/keys", &body).await)
    }
}

async fn group(server: &TestServer, group: Value) {
    let answer = server.approver.post("/v1/groups", &json!({ "group": group })).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

/// From now on payments ask for these.
async fn payments_ask_for(server: &TestServer, approvers: &str) -> (u16, Value) {
    let rule = format!(
        r#"@id("payments") @reason("people of these groups decide") @approvers("{approvers}")
        forbid (principal, action == Action::"payments/payout.create", resource)
        when {{ context.mode == "autonomous" }};"#
    );
    activate(server, &rule).await
}
