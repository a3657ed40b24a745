//! Several requests decided on at once, by the forms of the inbox.

use super::*;

// Ticks what the inbox offers, and opens what the browser would open.
pub(super) async fn ticked(person: &mut Browser) -> Seen {
    let inbox = person.get("/console/inbox").await;
    let boxes = inbox.text.split("class=\"pick\"").skip(1);
    let names: Vec<String> =
        boxes.map(|rest| format!("{}=1", attribute(rest, "name").unwrap())).collect();
    assert!(names.len() > 1, "{}", inbox.text);
    person.get(&format!("/console/inbox/several?{}", names.join("&"))).await
}

async fn voices(server: &TestServer, id: &str) -> usize {
    let (_, trace) = server.approver.get(&format!("/v1/executions/{id}/trace")).await;
    let entries = trace["entries"].as_array().unwrap().iter();
    entries.filter(|entry| entry["type"] == "controlPlane.approval.voted").count()
}

/// Two refunds are ticked in the inbox, looked at on one page and approved by one press.
#[tokio::test(flavor = "multi_thread")]
async fn several_are_decided_on_together() {
    let server = TestServer::start().await;
    let one = refund(&server.agent, &server, "Refund Ada").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let inbox = person.get("/console/inbox").await;
    assert!(!inbox.text.contains("class=\"pick\""), "one is decided on its page");
    let two = refund(&server.agent, &server, "Refund Ada again").await;
    let page = ticked(&mut person).await;
    assert_eq!(page.status, 200, "{}", page.text);
    // Each is shown as on its own page.
    assert_eq!(page.text.matches("<pre class=\"view\"").count(), 2, "{}", page.text);
    let decide = page.form("/console/inbox/several").with("decision", "approve");
    let answer = person.send(decide.clone().with("reason", "both fit")).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let inbox = person.get(answer.header("location")).await;
    assert!(inbox.text.contains("Your decision on all of them is on record."));
    for id in [&one, &two] {
        assert_eq!(voices(&server, id).await, 1);
    }
    // Sent again by a reload, it is the same decision.
    let answer = person.send(decide.with("reason", "both fit")).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    // What the page offers when nothing, or nonsense, is ticked.
    for path in ["", "?x=1", "?exe_1.apr_2=1", &format!("?{one}.apr_{}=1", "0".repeat(32))] {
        let page = person.get(&format!("/console/inbox/several{path}")).await;
        assert!(page.status == 200 && page.text.contains("Nothing is ticked"), "{}", page.text);
    }
}

/// One of a batch is decided by somebody else, or was not seen as it is, in the form of a batch.
/// Right: nothing of it is decided; the page says which stood in the way, and leads to the others.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_form_of_several_where_one_is_stale() {
    let server = TestServer::start().await;
    let free = refund(&server.agent, &server, "Refund Ada").await;
    let gone = refund(&server.agent, &server, "Refund Ada again").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let form = ticked(&mut person).await.form("/console/inbox/several");
    let form = form.with("decision", "approve");
    let field = form.fields.keys().find(|name| name.starts_with(&gone)).unwrap().clone();
    let zero = format!("sha256:{}", "0".repeat(64));
    let answer = person.send(form.clone().with(&field, &zero)).await;
    assert_eq!(answer.status, 409, "{}", answer.text);
    let way = answer.text.split("in the way").next().unwrap();
    assert!(way.contains(&gone) && answer.text.contains("Nothing was decided"), "{}", answer.text);
    assert_eq!((voices(&server, &free).await, voices(&server, &gone).await), (0, 0));
    // Somebody else was faster.
    let reject = json!({ "reason": "no such order" });
    server.approver.post(&format!("/v1/executions/{gone}/reject"), &reject).await;
    server.until(&gone, "failed").await;
    let answer = person.send(form.clone().with("once", "later")).await;
    assert_eq!(answer.status, 409, "{}", answer.text);
    assert_eq!(voices(&server, &free).await, 0);
    let others = answer.text.split("href=\"").find(|part| part.contains("several?")).unwrap();
    let others = others.split('"').next().unwrap().replace("&#38;", "&");
    assert!(others.contains(&free) && !others.contains(&gone), "{others}");
    let page = person.get(&others).await;
    let form = page.form("/console/inbox/several").with("decision", "approve");
    assert_eq!(person.send(form).await.status, 303);
    assert_eq!(voices(&server, &free).await, 1);
}

/// Forms of several that no page made. Right: refused as a whole, whatever is in them.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_form_of_several_that_no_page_made() {
    let server = TestServer::start().await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    refund(&server.agent, &server, "Refund Ada again").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let form = ticked(&mut person).await.form("/console/inbox/several");
    let zero = format!("sha256:{}", "0".repeat(64));
    let stranger = format!("exe_{}.apr_{}", "1".repeat(32), "2".repeat(32));
    let mut many = form.clone().with("decision", "approve");
    for index in 0..20 {
        many = many.with(&format!("exe_{index:032x}.apr_{index:032x}"), &zero);
    }
    let mut none = form.clone().with("decision", "approve");
    none.fields.retain(|name, _| !name.starts_with("exe_"));
    let mut undecided = form.clone();
    undecided.fields.remove("decision");
    for (bad, wanted) in [
        (undecided, 422),
        (form.clone().with("decision", "both"), 422),
        (form.clone().with("decision", "reject"), 422),
        (form.clone().with("decision", "approve").with(&stranger, &zero), 404),
        (form.clone().with("decision", "approve").with("viewDigest", &zero), 422),
        (form.clone().with("decision", "approve").with(&stranger, "sha256:1"), 422),
        (many, 422),
        (none, 422),
    ] {
        let fields = format!("{:?}", bad.fields);
        let answer = person.send(bad).await;
        assert_eq!(answer.status, wanted, "{fields}: {}", answer.text);
    }
    assert_eq!(voices(&server, &id).await, 0);
}

/// The form of several is pressed twice at once, and sent again. Right: each is decided once.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_form_of_several_is_sent_twice() {
    let server = TestServer::start().await;
    let one = refund(&server.agent, &server, "Refund Ada").await;
    let two = refund(&server.agent, &server, "Refund Ada again").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let form = ticked(&mut person).await.form("/console/inbox/several");
    let form = form.with("decision", "approve");
    let mut same = Browser::new(&server);
    same.cookies = person.cookies.clone();
    let (first, second) = tokio::join!(person.send(form.clone()), same.send(form.clone()));
    assert_eq!((first.status, second.status), (303, 303), "{} {}", first.text, second.text);
    assert_eq!(person.send(form).await.status, 303);
    assert_eq!((voices(&server, &one).await, voices(&server, &two).await), (1, 1));
}
