//! Attacks on approvals given beforehand: what they cover, how often, and for whom.

use super::kit::*;
use countersign_it::{Client, TestServer, now};
use serde_json::{Value, json};

const ALLOWED: &str = "@id(\"small-refunds\") @reason(\"small ones\") @mandate(\"allowed\") permit \
    (principal, action == Action::\"kit/refund.create\", resource) when { context.mode == \
    \"assist\" };";

// `pay` moves money at medium risk, `refund.create` at high; `slow` waits for its callback.
async fn shop() -> (TestServer, StubServer) {
    server_with(|stub| {
        let input = json!({ "type": "object", "required": ["amount", "currency"], "properties": {
            "amount": { "type": "integer" },
            "currency": { "type": "string" }, "note": { "type": "string" },
            "units": { "type": "integer" },
            "secret": { "type": "string", "x-sensitive": true } } });
        let pays = json!({ "effect": "idempotent", "riskTier": "medium", "inputSchema": input,
            "blastRadius": { "money": { "amount": "/amount", "currency": "/currency" } },
            "retry": { "maxAttempts": 3, "backoffSeconds": 0, "maxBackoffSeconds": 0 } });
        let slow = json!({ "effect": "idempotent" });
        vec![
            stub.operation("pay", pays.clone()),
            stub.operation("refund.create", pays),
            stub.operation("slow", slow),
        ]
    })
    .await
}

fn pay_of(id: &str, with: Value) -> Value {
    json!({ "id": id, "use": "kit/pay", "with": with })
}

fn euros(amount: u64) -> Value {
    json!({ "amount": amount, "currency": "EUR", "units": amount })
}

// For at most 10 calls of at most 5,000 units, 10,000 EUR cents together.
fn usual() -> Value {
    json!({ "operation": "kit/pay", "count": 10, "reason": "small payments",
        "when": "context.input has units && context.input.units <= 5000",
        "budget": { "money": { "EUR": 10_000 } }, "expiresAt": now().plus_ms(3_600_000) })
}

async fn mandate(by: &Client, body: Value) -> String {
    let (status, answer) = by.post("/v1/mandates", &body).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn asks_people(server: &TestServer, steps: Value) -> String {
    let id = submit_steps(&server.agent, steps).await;
    let view = server.settled(&id).await;
    assert_eq!(view["status"], "blocked", "{view}");
    id
}

async fn runs(server: &TestServer, steps: Value) -> String {
    let id = submit_steps(&server.agent, steps).await;
    server.until(&id, "completed").await;
    id
}

async fn view(server: &TestServer) -> Value {
    let (_, list) = server.approver.get("/v1/mandates?includeEnded=true").await;
    list["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_mandate_is_widened_by_a_crafted_input() {
    let (server, stub) = shop().await;
    let made = mandate(&server.approver, usual()).await;
    let id = runs(&server, json!([pay_of("p", euros(4_000))])).await;
    let trace = evidence(&server, &id).await;
    assert!(trace.contains(&format!("\"mandateId\":\"{made}\"")), "{trace}");
    assert!(!trace.contains("approval.requested"), "nobody is asked first: {trace}");
    server.proven(&id).await;
    for with in [
        json!({ "amount": 4_000, "currency": "EUR", "units": 5_001 }),
        json!({ "amount": 4_000, "currency": "EUR" }),
        json!({ "amount": 4_000, "currency": "USD", "units": 1 }),
        json!({ "amount": 4_000, "currency": "JPY", "units": 1 }),
        json!({ "amount": 4_000, "currency": "XXQ", "units": 1 }),
        json!({ "amount": -4_000, "currency": "EUR", "units": 1 }),
        json!({ "amount": 10.5, "currency": "EUR", "units": 1 }),
        json!({ "amount": null, "currency": "EUR", "units": 1 }),
        json!({ "amount": "1e2", "currency": "EUR", "units": 1 }),
        json!({ "amount": [1], "currency": "EUR", "units": 1 }),
        json!({ "amount": 9_007_199_254_740_993_u64, "currency": "EUR", "units": 1 }),
        json!({ "amount": 1, "currency": "EUR", "units": 1, "secret": "s" }),
        json!({ "amount": 1, "currency": "EUR", "units": 1, "note": null }),
    ] {
        let body = json!({ "text": "do it", "draft": { "steps": [pay_of("p", with.clone())] } });
        let (status, answer) = server.agent.post("/v1/intents", &body).await;
        if status == 202 {
            let id = answer["executionId"].as_str().unwrap();
            let view = server.settled(id).await;
            assert_ne!(view["status"], "completed", "{with}: {view}");
        }
    }
    assert_eq!(stub.calls("pay").len(), 1);
    // What is used up is used up: 4,000 of 10,000 are.
    runs(&server, json!([pay_of("p", euros(5_000))])).await;
    asks_people(&server, json!([pay_of("p", euros(2_000))])).await;
    runs(&server, json!([pay_of("p", euros(1_000))])).await;
    asks_people(&server, json!([pay_of("p", euros(1))])).await;
    let view = view(&server).await;
    assert_eq!(
        (&view["used"], &view["spent"]["money"]["EUR"]),
        (&json!(3), &json!(10_000)),
        "{view}"
    );
    assert_eq!(view["uses"].as_array().unwrap().len(), 3, "{view}");
    // Two steps of one plan that only together are too much.
    let body = json!({ "operation": "kit/pay", "count": 1, "reason": "one",
        "expiresAt": now().plus_ms(3_600_000) });
    mandate(&server.approver, body).await;
    let both = json!([pay_of("p", euros(1)), pay_of("q", euros(1))]);
    let id = asks_people(&server, both).await;
    assert_eq!(approve(&server, &server.approver, &id).await.0, 200);
    server.until(&id, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_mandate_above_the_floor() {
    let (server, stub) = shop().await;
    let body = json!({ "operation": "kit/refund.create", "count": 10, "reason": "refunds",
        "expiresAt": now().plus_ms(3_600_000) });
    mandate(&server.approver, body).await;
    let refund = || json!([{ "id": "r", "use": "kit/refund.create", "with": euros(1) }]);
    asks_people(&server, refund()).await;
    // Only policy lets people approve beforehand what is of high risk,
    assert_eq!(activate(&server, ALLOWED).await.0, 200);
    runs(&server, refund()).await;
    // and a rule beside it that puts a call before people does so each time.
    let each = "@id(\"each\") forbid (principal, action, resource) when { context.mode == \
        \"autonomous\" && context.effect == \"idempotent\" };";
    assert_eq!(activate(&server, &format!("{ALLOWED}\n{each}")).await.0, 200);
    asks_people(&server, refund()).await;
    let two = "@id(\"two\") @approvers(\"approvers:1\") @mandate(\"allowed\") forbid (principal, \
        action, resource) when { context.mode == \"autonomous\" };";
    assert_eq!(activate(&server, &format!("{ALLOWED}\n{two}")).await.0, 200);
    runs(&server, refund()).await;
    // A person who chose to be asked is asked.
    let body = json!({ "text": "do it", "mode": "manual", "draft": { "steps": refund() } });
    let id = submit(&server.agent, body).await;
    let (_, plan) = server.agent.get(&format!("/v1/executions/{id}")).await;
    let plan = &plan["execution"];
    let verify = json!({ "planId": plan["planId"] });
    let answer = server.agent.post(&format!("/v1/executions/{id}/plan/verify"), &verify).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let start = json!({ "planId": plan["planId"], "mode": "assist" });
    let answer = server.agent.post(&format!("/v1/executions/{id}/start"), &start).await;
    assert_eq!(answer.0, 202, "{}", answer.1);
    assert_eq!(server.settled(&id).await["status"], "blocked");
    assert_eq!(stub.calls("refund.create").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_claims_race_for_the_last_call_of_a_mandate() {
    let (server, stub) = shop().await;
    mandate(
        &server.approver,
        json!({ "operation": "kit/pay", "count": 1, "reason": "one",
        "expiresAt": now().plus_ms(3_600_000) }),
    )
    .await;
    let submits = (0..8).map(|_| submit_steps(&server.agent, json!([pay_of("p", euros(1))])));
    let ids = futures_util::future::join_all(submits).await;
    let mut completed = 0;
    for id in &ids {
        completed += usize::from(server.settled(id).await["status"] == "completed");
    }
    assert_eq!((completed, stub.calls("pay").len()), (1, 1));
    assert_eq!(view(&server).await["used"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_mandate_is_revoked_between_verdict_and_claim() {
    let (server, stub) = shop().await;
    let made = mandate(&server.approver, usual()).await;
    stub.answers("slow", 202, json!({}));
    let steps = json!([{ "id": "s", "use": "kit/slow" },
        { "id": "p", "use": "kit/pay", "after": ["s"], "with": euros(1) }]);
    let id = submit_steps(&server.agent, steps).await;
    let waits = waiting(&server, &id, ("s", "awaiting_callback")).await;
    assert_eq!(waits["approvals"], json!([]), "covered when it was judged: {waits}");
    let revoke = format!("/v1/mandates/{made}/revoke");
    assert_eq!(server.approver.post(&revoke, &json!({ "reason": "enough" })).await.0, 200);
    let call = stub.last("slow");
    let request = countersign_it::http().post(&call.callback).bearer_auth(&call.warrant);
    let answer = request.json(&json!({ "output": {} })).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{}", answer.text().await.unwrap());
    waiting(&server, &id, ("p", "approval_required")).await;
    assert!(stub.calls("pay").is_empty());
    let (_, list) = server.approver.get("/v1/mandates").await;
    assert_eq!(list["items"], json!([]));
    let log = server.approver.get("/v1/log?limit=200").await.1.to_string();
    assert!(log.contains(&format!("mandate {made}")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_the_maker_of_a_mandate_has_a_stake_in_it() {
    let (server, stub) = shop().await;
    let names = [
        "approval",
        "keys",
        "intent.submit",
        "execution.read",
        "execution.autonomous",
        "approval.request",
        "execution.start",
        "execution.cancel",
        "audit",
    ];
    let mallory = key(&server, &server.approver, "human", "mallory", &names).await;
    mandate(&mallory, usual()).await;
    let bot = key(&server, &mallory, "agent", "bot", &AGENT).await;
    for (who, by) in [("mallory", &mallory), ("her bot", &bot)] {
        let id = submit_steps(by, json!([pay_of("p", euros(1))])).await;
        assert_eq!(server.settled(&id).await["status"], "blocked", "{who}");
    }
    let body = json!({ "text": "do it", "onBehalfOf": "mallory",
        "draft": { "steps": [pay_of("p", euros(1))] } });
    let id = submit(&server.agent, body).await;
    assert_eq!(server.settled(&id).await["status"], "blocked", "for her");
    // Under another name of hers.
    let person = json!({ "person": { "id": "mallory", "aliases": ["dev-agent"] } });
    assert_eq!(server.approver.post("/v1/persons", &person).await.0, 200);
    asks_people(&server, json!([pay_of("p", euros(1))])).await;
    // For somebody else than it says.
    let mut other = usual();
    other["requestedBy"] = json!("bot");
    mandate(&server.approver, other).await;
    asks_people(&server, json!([pay_of("p", euros(1))])).await;
    assert!(stub.calls("pay").is_empty());
    // No machine gives one, and not more than people may.
    let service = key(&server, &server.approver, "service", "clerk", &["approval"]).await;
    assert_eq!(code(&service.post("/v1/mandates", &usual()).await), (403, "FORBIDDEN"));
    for (field, value) in [
        ("operation", json!("kit/none")),
        ("operation", json!("kit")),
        ("when", json!("true }; permit (principal, action, resource) when { true")),
        ("when", json!("context.input.nope == 1")),
        ("count", json!(0)),
        ("count", json!(10_001)),
        ("expiresAt", json!(now())),
        ("expiresAt", json!(now().plus_ms(91 * 86_400_000))),
        ("requestedBy", json!("nobody")),
        ("budget", json!({ "money": { "eur": 1 } })),
        ("reason", json!(" ")),
    ] {
        let mut body = usual();
        body[field] = value;
        let answer = server.approver.post("/v1/mandates", &body).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{field}: {}", answer.1);
        let pointer = answer.1["issues"][0]["pointer"].as_str().unwrap();
        assert!(pointer.starts_with(&format!("/{field}")), "{}", answer.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_the_maker_of_a_mandate_is_gone() {
    let (server, stub) = shop().await;
    let person = json!({ "person": { "id": "ann" } });
    assert_eq!(server.approver.post("/v1/persons", &person).await.0, 200);
    let bound = json!({ "person": "ann", "grants": grants(&["approval"]) });
    let ann = client(&server, server.approver.post("/v1/keys", &bound).await);
    mandate(&ann, usual()).await;
    runs(&server, json!([pay_of("p", euros(1))])).await;
    assert_eq!(server.approver.post("/v1/persons/ann/remove", &json!({})).await.0, 200);
    asks_people(&server, json!([pay_of("p", euros(1))])).await;
    assert_eq!(server.approver.post("/v1/persons", &person).await.0, 200);
    asks_people(&server, json!([pay_of("p", euros(1))])).await;
    // Who is in no directory stands by the key.
    let (status, made) = try_key(&server.approver, "human", "grace", &["approval"]).await;
    assert_eq!(status, 201, "{made}");
    let grace = Client::new(&server.url(), made["apiKey"].as_str().unwrap());
    mandate(&grace, usual()).await;
    runs(&server, json!([pay_of("p", euros(1))])).await;
    let revoke = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(server.approver.post(&revoke, &json!({})).await.0, 200);
    asks_people(&server, json!([pay_of("p", euros(1))])).await;
    assert_eq!(stub.calls("pay").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_one_call_consumes_a_mandate_more_or_less_than_once() {
    let (server, stub) = shop().await;
    mandate(&server.approver, usual()).await;
    // The same call again, under its idempotency key, is the same one.
    stub.answers("pay", 500, json!({}));
    stub.answers("pay", 200, json!({}));
    let id = runs(&server, json!([pay_of("p", euros(4_000))])).await;
    assert_eq!(stub.calls("pay").len(), 2);
    let used = view(&server).await;
    assert_eq!(
        (&used["used"], &used["spent"]["money"]["EUR"]),
        (&json!(1), &json!(4_000)),
        "{used}"
    );
    server.proven(&id).await;
    // One that is known to have had no effect is none.
    stub.forget();
    stub.answers("pay", 422, json!({ "code": "NO", "message": "no" }));
    let id = submit_steps(&server.agent, json!([pay_of("p", euros(4_000))])).await;
    server.until(&id, "failed").await;
    let used = view(&server).await;
    assert_eq!(
        (&used["used"], &used["spent"]["money"]["EUR"]),
        (&json!(1), &json!(4_000)),
        "{used}"
    );
    server.proven(&id).await;
}

/// What is wired is known when the step is claimed, and decided on then.
#[tokio::test(flavor = "multi_thread")]
async fn a_wired_input_is_covered_when_it_is_there_or_not() {
    let (server, stub) = shop().await;
    mandate(&server.approver, usual()).await;
    let wired = || {
        json!([{ "id": "s", "use": "kit/slow" }, { "id": "p", "use": "kit/pay", "with": {
            "amount": { "$from": "s", "path": "/amount" }, "currency": "EUR", "units": 1 } }])
    };
    stub.answers("slow", 200, json!({ "amount": 4_000 }));
    let id = runs(&server, wired()).await;
    server.proven(&id).await;
    stub.forget();
    stub.answers("slow", 200, json!({ "amount": 6_001 }));
    let id = submit_steps(&server.agent, wired()).await;
    waiting(&server, &id, ("p", "approval_required")).await;
    assert_eq!(stub.calls("pay").len(), 1);
}
