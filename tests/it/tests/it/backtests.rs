//! What a backtest says that a policy set would affect, by the API and on the console's page.

use crate::pages::Browser;
use contracts::Timestamp;
use countersign_it::{TestServer, now};
use serde_json::{Value, json};

fn candidate() -> String {
    let rules = r#"
@id("no-mail") @reason("no mails")
forbid (principal, action == Action::"mail/message.send", resource);
@id("no-refunds") @reason("no refunds")
forbid (principal, action == Action::"payments/refund.create", resource);
@id("reads-by-people") @reason("people look")
forbid (principal, action == Action::"crm/customer.find", resource)
when { context.mode == "autonomous" };
"#;
    format!("// file: baseline.cedar\n{}\n// file: own.cedar\n{rules}", policy::BASELINE)
}

fn window() -> (Timestamp, Timestamp) {
    (now().plus_ms(-86_400_000), now().plus_ms(86_400_000))
}

async fn backtest(server: &TestServer) -> Value {
    let (from, to) = window();
    let body = json!({ "policies": candidate(), "from": from, "to": to });
    let (status, answer) = server.approver.post("/v1/policies/backtest", &body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn counts(affected: &Value) -> [u64; 4] {
    let count = |name: &str| affected[name].as_u64().unwrap();
    let recipients = affected["touched"]["recipients"].as_u64().unwrap();
    [count("executions"), count("steps"), count("actors"), recipients]
}

fn minor(affected: &Value) -> Vec<(&str, u64)> {
    let money = affected["touched"]["money"].as_array().into_iter().flatten();
    money
        .map(|money| (money["currency"].as_str().unwrap(), money["minor"].as_u64().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_says_how_much_is_affected_by_kind_of_change() {
    let server = TestServer::start().await;
    let find = json!({ "id": "who", "use": "crm/customer.find", "with": { "email": "ada@x.org" } });
    let refund = |amount: u64, currency: &str| {
        json!({ "id": "refund", "use": "payments/refund.create", "with": { "customer": "cus_ada",
            "amount": amount, "currency": currency, "card": "4111" } })
    };
    let mail = json!({ "id": "tell", "use": "mail/message.send",
        "with": { "to": ["a@x.org", "b@x.org"], "subject": "s", "body": "b" } });
    let nothing = backtest(&server).await;
    assert_eq!((&nothing["evaluated"], counts(&nothing["impact"])), (&json!(0), [0; 4]));
    assert_eq!(nothing["impact"]["byChange"], json!([]));

    for steps in [json!([find, refund(500, "EUR")]), json!([refund(70, "USD")]), json!([mail])] {
        let id = server.submit(steps).await;
        server.settled(&id).await;
    }
    let body = json!({ "text": "x", "mode": "dryRun", "draft": { "steps": [refund(1, "EUR")] } });
    assert_eq!(server.approver.post("/v1/intents", &body).await.0, 202);
    let answer = backtest(&server).await;
    let impact = &answer["impact"];
    assert_eq!(counts(impact), [4, 5, 2, 2], "{answer}");
    assert_eq!(minor(impact), [("EUR", 501), ("USD", 70)], "{answer}");
    let kinds: Vec<_> = impact["byChange"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| {
            let change = (kind["was"].as_str().unwrap(), kind["would"].as_str().unwrap());
            (change, counts(kind), minor(kind))
        })
        .collect();
    assert_eq!(
        kinds,
        [
            (("assist", "blocked"), [3, 3, 2, 0], vec![("EUR", 501), ("USD", 70)]),
            (("autonomous", "blocked"), [1, 1, 1, 2], vec![]),
            (("autonomous", "assist"), [1, 1, 1, 0], vec![]),
        ],
        "{answer}"
    );
    let change = answer["changed"].as_array().unwrap().iter();
    let mut change = change.filter(|change| change["stepId"] == "tell");
    let change = change.next().unwrap();
    assert_eq!(
        (&change["operation"], &change["actorKind"], &change["touched"]["recipients"]),
        (&json!("mail/message.send"), &json!("agent"), &json!(2)),
        "{change}"
    );

    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let page = person.get("/console/policies/simulator").await;
    let page = person.send(page.form("/backtest").with("policies", &candidate())).await;
    for tile in [
        "<b>4</b>executions",
        "<b>5</b>steps",
        "<b>2</b>actors",
        "<b>5.01</b>EUR",
        "<b>0.70</b>USD",
        "<b>2</b>recipients",
    ] {
        assert!(page.text.contains(tile), "{tile}: {}", page.text);
    }
}

/// A set under which the same step waits for two persons instead of one. Right: it is a change,
/// though the verdict is the same, and says whom it would ask for.
#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_says_that_others_would_be_asked() {
    let server = TestServer::start().await;
    crate::pages::refund(&server.agent, &server, "Refund Ada").await;
    let rule = r#"@id("two") @reason("two look") @approvers("approvers:2")
        forbid (principal, action == Action::"payments/refund.create", resource)
        when { context.mode == "autonomous" };"#;
    let policies =
        format!("// file: baseline.cedar\n{}\n// file: own.cedar\n{rule}", policy::BASELINE);
    let (from, to) = window();
    let body = json!({ "policies": policies, "from": from, "to": to });
    let (status, answer) = server.approver.post("/v1/policies/backtest", &body).await;
    assert_eq!(status, 200, "{answer}");
    let changed = answer["changed"].as_array().unwrap();
    let change = changed.iter().find(|one| one["operation"] == "payments/refund.create");
    let change = change.unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(
        (&change["was"], &change["would"]),
        (&json!("assist"), &json!("assist")),
        "{answer}"
    );
    let reason = "it asks for 2 of approvers, and asked for 1 of approvers";
    assert_eq!(change["reasons"][0], reason, "{answer}");
}
