//! INVARIANT (unmeasured-is-not-small): an amount that cannot be measured is not taken for zero.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_minor_units_want_an_integer_schema() {
    let server = TestServer::start().await;
    let input = object(
        json!({ "amount": { "type": "number" }, "currency": { "type": "string" } }),
        &["amount"],
    );
    let install = |radius: Value| {
        let pay = sends(&server, "pay", input.clone(), json!({ "blastRadius": radius }));
        let body = install_body(&manifest(&server, vec![pay]));
        let client = server.approver.clone();
        async move { client.post("/v1/skills", &body).await }
    };
    let (status, answer) = install(minor()).await;
    assert_eq!((status, &answer["code"]), (400, &json!("MANIFEST_INVALID")), "{answer}");
    assert_eq!(
        answer["issues"][0]["pointer"], "/manifest/operations/0/blastRadius/money/amount",
        "{answer}"
    );
    let unknown = json!({ "money": { "amount": "/amount", "currency": "BTC", "unit": "major" } });
    let (status, answer) = install(unknown).await;
    assert_eq!(
        (status, &answer["issues"][0]["pointer"]),
        (400, &json!("/manifest/operations/0/blastRadius/money/currency"))
    );
    let major = json!({ "money": { "amount": "/amount", "currency": "EUR", "unit": "major" } });
    assert_eq!(install(major).await.0, 201);
    // Counted exactly: 99,999.50 are 9,999,950 cents.
    set_budgets(&server, json!({ "plan": { "money": { "EUR": 9_999_949 } }, "meters": [] })).await;
    let id = submit(&server, pay(json!({ "amount": 99_999.5 }))).await;
    assert_eq!(server.settled(&id).await["status"], "rejected");
    set_budgets(&server, json!({ "plan": { "money": { "EUR": 9_999_950 } }, "meters": [] })).await;
    let id = submit(&server, pay(json!({ "amount": 99_999.5 }))).await;
    server.until(&id, "completed").await;
    // Not exact in the currency: more than any limit.
    let id = submit(&server, pay(json!({ "amount": 0.001 }))).await;
    assert_eq!(server.settled(&id).await["status"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_negative_absent_and_unknown_amounts() {
    let server = paying(json!({ "type": "integer" }), &[], minor()).await;
    let cases = [
        json!({ "amount": -99_999, "currency": "EUR" }),
        json!({ "currency": "EUR" }),
        json!({ "amount": 5 }),
        json!({ "amount": 5, "currency": "doubloons" }),
    ];
    for with in &cases {
        let id = submit(&server, pay(with.clone())).await;
        let view = server.settled(&id).await;
        assert_eq!(view["status"], "blocked", "without a limit people decide: {with} {view}");
        assert!(view["steps"][0]["reasons"].to_string().contains("unmeasured: money"), "{view}");
    }
    assert!(server.tools.effects(SENT).is_empty());
    let meter = json!({ "id": "spend", "scope": "workspace",
        "measure": { "kind": "money", "currency": "USD" },
        "windowSeconds": 3600, "limit": 1_000_000 });
    set_budgets(&server, json!({ "meters": [meter] })).await;
    let id = submit(&server, pay(cases[0].clone())).await;
    server.until(&id, "blocked").await;
    server.approve(&id).await;
    let view = waiting(&server, &id, ("pay", "budget_exceeded")).await;
    assert!(server.tools.effects(SENT).is_empty(), "a meter of whichever currency: {view}");
    for budget in [json!({ "money": { "EUR": 5_000 } }), json!({ "money": {} })] {
        set_budgets(&server, json!({ "plan": budget, "meters": [] })).await;
        for with in &cases {
            let id = submit(&server, pay(with.clone())).await;
            let view = server.settled(&id).await;
            assert_eq!(view["status"], "rejected", "under a limit it is blocked: {with} {view}");
        }
    }
    let mut draft = pay(cases[1].clone());
    draft["budget"] = json!({ "money": { "EUR": 5_000 } });
    set_budgets(&server, json!({ "meters": [] })).await;
    let id = submit(&server, draft).await;
    assert_eq!(server.settled(&id).await["reasons"][0]["code"], "BUDGET_EXCEEDED");
    assert!(server.tools.effects(SENT).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_no_currency_is_allowed_by_an_empty_budget() {
    let server = paying(json!({ "type": "integer" }), &["amount", "currency"], minor()).await;
    let mut draft = pay(json!({ "amount": 1, "currency": "EUR" }));
    draft["budget"] = json!({ "money": {} });
    let id = submit(&server, draft.clone()).await;
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &view["reasons"][0]["code"]),
        (&json!("rejected"), &json!("BUDGET_EXCEEDED"))
    );
    // Lower case is the same currency in an input, and refused where a limit is set.
    draft["budget"] = json!({ "money": { "EUR": 100 } });
    draft["steps"][0]["with"] = json!({ "amount": 101, "currency": "eur" });
    let id = submit(&server, draft.clone()).await;
    assert_eq!(server.settled(&id).await["reasons"][0]["code"], "BUDGET_EXCEEDED");
    draft["budget"] = json!({ "money": { "eur": 1_000 } });
    let id = submit(&server, draft).await;
    let view = server.settled(&id).await;
    assert_eq!(view["reasons"][0]["code"], "UNKNOWN_CURRENCY", "{view}");
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("`EUR`"), "{view}");
    let meter = json!({ "id": "spend", "scope": "workspace",
        "measure": { "kind": "money", "currency": "eur" },
        "windowSeconds": 3600, "limit": 100 });
    let (status, answer) =
        server.approver.post("/v1/budgets", &json!({ "budgets": { "meters": [meter] } })).await;
    assert_eq!(
        (status, &answer["issues"][0]["pointer"]),
        (422, &json!("/budgets/meters/0/measure/currency"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_recipients_are_counted_one_by_one() {
    let server =
        paying(json!({ "type": "integer" }), &["to"], json!({ "recipients": "/to" })).await;
    let sent = |to: &str, limit: u64| {
        let mut draft = pay(json!({ "to": to }));
        draft["budget"] = json!({ "recipients": limit });
        let server = &server;
        async move { server.settled(&submit(server, draft).await).await }
    };
    let view = sent("a@x, b@x; c@x", 1).await;
    assert_eq!(view["reasons"][0]["code"], "BUDGET_EXCEEDED", "{view}");
    let view = sent("a@x, b@x; c@x", 2).await;
    assert_eq!(view["reasons"][0]["code"], "BUDGET_EXCEEDED", "{view}");
    assert_eq!(sent("a@x, b@x; c@x", 3).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_policies_see_every_currency() {
    let server = paying(json!({ "type": "integer" }), &["amount", "currency"], minor()).await;
    let limit = policy::TEMPLATES.iter().find(|(name, _)| *name == "spending-limit").unwrap().1;
    activate(&server, &limit.replace("10000", "5000")).await;
    let two = |eur: i64, other: i64, code: &str| {
        let one = |id: &str, amount: i64, currency: &str| {
            json!({ "id": id, "use": "shop/pay",
            "with": { "amount": amount, "currency": currency } })
        };
        json!({ "steps": [one("a", eur, "EUR"), one("b", other, code)] })
    };
    let verdict = |draft: Value| {
        let server = &server;
        async move { server.settled(&submit(server, draft).await).await["verdict"].clone() }
    };
    assert_eq!(verdict(two(4_000, 3_000, "USD")).await, "autonomous", "each within its limit");
    assert_eq!(
        verdict(two(4_000, 5_001, "USD")).await,
        "assist",
        "each currency has a limit of its own"
    );
    assert_eq!(verdict(two(4_000, 3_000, "EUR")).await, "assist", "a sum of one currency");
    assert_eq!(verdict(two(4_000, 1, "JPY")).await, "assist", "a currency without a limit");
}
