//! How large pages become: everything on them as long as somebody could make it.

use super::*;
use contracts::limits::PAGE_BYTES_MAX;

/// Executions of each kind.
const MANY: usize = 60;
/// Steps of the largest plan: what is decided on is shown whole, and has room.
const STEPS: usize = 10;

// A text whose every character takes five bytes of HTML.
fn long(of: usize) -> String {
    "<".repeat(of)
}

async fn ask(server: &TestServer, text: &str, steps: Value) -> String {
    let body = json!({ "text": text, "draft": { "steps": steps } });
    let (status, answer) = server.agent.post("/v1/intents", &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["executionId"].as_str().unwrap().to_owned()
}

fn refunds(count: usize) -> Value {
    let step = |index: usize| {
        json!({ "id": format!("refund-of-a-step-with-a-long-name-{index}"),
            "use": "payments/refund.create",
            "with": { "customer": long(200 / count), "amount": 100 + index, "currency": "EUR" } })
    };
    (0..count).map(step).collect()
}

#[track_caller]
fn fits(seen: &Seen) {
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert!(seen.text.len() <= PAGE_BYTES_MAX, "{} bytes", seen.text.len());
}

// Policies under which refunds are judged otherwise, for long reasons.
fn contrary() -> String {
    let rule = |index: usize| {
        format!(
            "@id(\"never-{index}\") @reason(\"{}\") forbid (principal, action == \
            Action::\"payments/refund.create\", resource);",
            long(300)
        )
    };
    format!("{}\n{}", policy::BASELINE, (0..4).map(rule).collect::<Vec<_>>().join("\n"))
}

/// Long texts, large plans, many requests, comments, keys, persons and mandates. Right: no page is
/// larger than its limit, and what has no room is on the next one.
#[tokio::test(flavor = "multi_thread")]
async fn bounded_work_no_page_is_larger_than_its_limit() {
    let server = TestServer::start().await;
    let by = &server.approver;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let mut last = String::new();
    for _ in 0..MANY {
        last = ask(&server, &long(2_000), refunds(1)).await;
    }
    let large = ask(&server, &long(2_000), refunds(STEPS)).await;
    server.until(&last, "blocked").await;
    server.until(&large, "blocked").await;
    for index in 0..40 {
        let mandate = json!({ "operation": "payments/refund.create", "count": 1,
            "reason": long(2_000), "expiresAt": countersign_it::now().plus_ms(3_600_000) });
        assert_eq!(by.post("/v1/mandates", &mandate).await.0, 201);
        let key = json!({ "actor": { "kind": "human", "id": format!("person-{index}") },
            "grants": contracts::grant::known() });
        assert_eq!(by.post("/v1/keys", &key).await.0, 201);
        let own = format!("/console/executions/{large}");
        let comment = person.get(&own).await.form("/comment").with("text", &long(2_000));
        assert_eq!(person.send(comment).await.status, 303);
    }
    let mut paths: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(views(&last));
    paths.extend(views(&large));
    let inbox = person.get("/console/inbox").await;
    let boxes = inbox.text.split("class=\"pick\"").skip(1);
    let ticked: Vec<String> =
        boxes.map(|rest| format!("{}=1", attribute(rest, "name").unwrap())).collect();
    paths.push(format!("/console/inbox/several?{}", ticked.join("&")));
    // What comes of a form is a page like any other.
    let simulator = person.get("/console/policies/simulator").await;
    let draft = json!({ "steps": refunds(60) }).to_string();
    for (name, of) in [("draft", 11_000), ("draft", 30_000)] {
        let form = simulator.form("/simulator").with("text", &long(3_000)).with(name, &long(of));
        fits(&person.send(form).await);
    }
    let form = simulator.form("/simulator").with("text", &long(3_000)).with("draft", &draft);
    let seen = person.send(form).await;
    assert!(seen.text.contains("refund-of-a-step-with-a-long-name-0"), "{}", seen.text);
    fits(&seen);
    let policies = format!("{}\n//{}", contrary(), long(8_000));
    let seen = person.send(simulator.form("/backtest").with("policies", &policies)).await;
    assert!(seen.text.contains("would be judged otherwise"), "{}", seen.text);
    fits(&seen);
    let mut largest = 0;
    for path in &paths {
        let seen = person.get(path).await;
        assert_eq!(seen.status, 200, "{path}: {}", seen.text);
        assert!(seen.text.len() <= PAGE_BYTES_MAX, "{path}: {} bytes", seen.text.len());
        largest = largest.max(seen.text.len());
    }
    assert!(largest > PAGE_BYTES_MAX / 2, "{largest}: nothing was near the limit");
    // All of it is reached, page by page.
    let (mut seen, mut path) = (std::collections::BTreeSet::new(), "/console/inbox".to_owned());
    loop {
        let page = person.get(&path).await;
        let ids = page.text.split("/console/executions/").skip(1);
        seen.extend(ids.map(|rest| rest.split('"').next().unwrap().to_owned()));
        let Some(next) =
            page.text.split("rel=\"next\"").next().filter(|_| page.text.contains("rel=\"next\""))
        else {
            break;
        };
        let next = next.rsplit("href=\"").next().unwrap().split('"').next().unwrap();
        path = next.replace("&#38;", "&");
    }
    assert!(seen.len() > MANY, "{}", seen.len());
}
