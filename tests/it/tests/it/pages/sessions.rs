//! Signing in and out: who gets a session, and when it ends.

use super::*;

/// A cookie of the attacker's own, planted before the person signs in. Right: the person gets
/// another one, and the planted one opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn attack_session_fixation() {
    let server = TestServer::start().await;
    let mut attacker = Browser::signed_in(&server, &server.identity.approver_key).await;
    let planted = attacker.session().to_owned();
    attacker.get("/console").await;
    let mut person = Browser::new(&server);
    person.cookies.insert(person.named("session"), planted.clone());
    let page = person.get("/console/sign-in?code=x").await;
    let key = &server.identity.approver_key;
    let answer = person.send(page.form("/console/sign-in").with("key", key)).await;
    // The form holds the page's code as well: one of the two is taken out, as a person has it.
    assert_eq!(answer.status, 422);
    let mut form = page.form("/console/sign-in").with("key", key);
    form.fields.remove("code");
    let answer = person.send(form).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert!(person.session().starts_with("css_") && person.session() != planted);
    // A made-up one is none, signed in or not.
    let mut stranger = Browser::new(&server);
    let made_up = format!("css_{}.acme", "0".repeat(64));
    stranger.cookies.insert(stranger.named("session"), made_up.clone());
    assert_eq!(stranger.get("/console").await.status, 401);
    stranger.sign_in(key).await;
    assert_ne!(stranger.session(), made_up);
    assert_eq!(stranger.get("/console").await.status, 200);
}

/// The key of a session is revoked, or the person signs out, and the cookie is used again. Right:
/// it opens nothing from that moment.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_cookie_of_a_revoked_key() {
    let server = TestServer::start().await;
    let body = json!({ "actor": { "kind": "human", "id": "eve" },
        "grants": ["control-plane.execution.read", "control-plane.audit"] });
    let (_, made) = server.approver.post("/v1/keys", &body).await;
    let mut eve = Browser::signed_in(&server, made["apiKey"].as_str().unwrap()).await;
    assert_eq!(eve.get("/console").await.status, 200);
    // What her key does not open, her session does not: neither a page nor a form of it.
    assert_eq!(eve.get("/console/people").await.status, 403);
    let page = eve.get("/console/freezes").await;
    assert!(!page.text.contains("name=\"frozen\""), "what she may not do is not offered");
    let csrf = page.form("/console/sign-out").fields["csrf"].clone();
    let fields = BTreeMap::from([("csrf".into(), csrf)]);
    let form = Form { action: "/console/freezes".into(), fields };
    let form = form.with("scope", "workspace").with("frozen", "true");
    assert_eq!(eve.send(form).await.status, 403);

    let path = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(server.approver.post(&path, &json!({})).await.0, 200);
    assert_eq!(eve.get("/console").await.status, 401);

    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let kept = person.session().to_owned();
    let page = person.get("/console").await;
    assert_eq!(person.send(page.form("/console/sign-out")).await.status, 303);
    assert_eq!(person.session(), "", "the browser forgets it");
    person.cookies.insert(person.named("session"), kept);
    assert_eq!(person.get("/console").await.status, 401, "and so does the server");
}

/// Two consoles on one host, on two ports, whose cookies a browser keeps together. Right: who signs
/// in to one of them, or out, stays signed in to the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_consoles_on_one_host_keep_out_of_each_others_cookies() {
    let (one, two) = (TestServer::start().await, TestServer::start().await);
    let mut first = Browser::signed_in(&one, &one.identity.approver_key).await;
    let mut second = Browser::new(&two);
    second.cookies = first.cookies.clone();
    assert_eq!(second.get("/console").await.status, 401);
    assert_eq!(second.sign_in(&two.identity.approver_key).await.status, 303);
    first.cookies = second.cookies.clone();
    let page = first.get("/console").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(first.send(page.form("/console/sign-out")).await.status, 303);
    second.cookies = first.cookies.clone();
    assert_eq!(second.get("/console").await.status, 200);
}

/// The key of an agent at the sign-in, and what is no key. Right: no session.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_agents_key_at_the_sign_in() {
    let server = TestServer::start().await;
    let mut browser = Browser::new(&server);
    let answer = browser.sign_in(&server.identity.agent_key).await;
    assert_eq!((answer.status, browser.session()), (403, ""), "{}", answer.text);
    assert!(answer.text.contains("not of kind"), "{}", answer.text);
    for bad in ["csk_x", "", "' or 1=1 --", &"k".repeat(10_000)] {
        let answer = browser.sign_in(bad).await;
        assert!(matches!(answer.status, 401 | 422), "{bad}: {}", answer.status);
        assert!(answer.text.len() < 5_000 && browser.session().is_empty());
    }
}

/// A code is fetched by whoever sees the address, before and after its use. Right: looking burns
/// nothing, one form opens one session, the second opens none.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_code_is_prefetched_and_used_twice() {
    let server = TestServer::start().await;
    let workspace = &server.identity.workspace;
    let code = server.node().engine().sessions.deploy_code(workspace).await.unwrap().unwrap();
    let path = format!("/console?code={code}");
    let mut scanner = Browser::new(&server);
    for method in ["GET", "HEAD"].repeat(50) {
        assert_eq!(scanner.ask(method, &path).await.status, 401);
    }
    let led = scanner.get(&path).await.header("refresh").to_owned();
    let sign_in = led.split("url=").nth(1).unwrap().to_owned();
    for _ in 0..100 {
        assert_eq!(scanner.get(&sign_in).await.status, 200);
    }
    let mut person = Browser::new(&server);
    let page = person.get(&sign_in).await;
    assert_eq!(person.send(page.form("/console/sign-in")).await.status, 303);
    assert_eq!(person.get("/console").await.status, 200);
    let page = scanner.get(&sign_in).await;
    let answer = scanner.send(page.form("/console/sign-in")).await;
    assert_eq!(answer.status, 401, "{}", answer.text);
    assert!(answer.text.contains("ask for another"));
    assert_eq!(scanner.get("/console").await.status, 401);
}

/// After signing in the browser is led elsewhere. Right: only to a page of the console.
#[tokio::test(flavor = "multi_thread")]
async fn attack_open_redirect() {
    let server = TestServer::start().await;
    let key = server.identity.approver_key.clone();
    for (to, lands) in [
        ("/console/inbox", "/console/inbox"),
        ("https://evil.example/", "/console"),
        ("//evil.example/console", "/console"),
        ("/\\evil.example", "/console"),
        ("/console/../../evil", "/console"),
        ("/console/inbox%0d%0aset-cookie: a=b", "/console"),
        ("/console/inbox\r\nx: y", "/console"),
        ("/console/sign-out", "/console"),
        ("/console/sign-in", "/console"),
        ("/v1/executions", "/console"),
        ("javascript:alert(1)", "/console"),
        ("/console/assets/x", "/console"),
    ] {
        let mut browser = Browser::new(&server);
        let page = browser.get(&format!("/console/sign-in?to={}", edge::page::escaped(to))).await;
        let form = page.form("/console/sign-in").with("key", &key).with("to", to);
        let answer = browser.send(form).await;
        assert_eq!((answer.status, answer.header("location")), (303, lands), "{to}");
    }
    // Who comes without a session is led back to where he wanted to go.
    let mut browser = Browser::new(&server);
    let asked = browser.get("/console/freezes").await;
    assert_eq!(asked.status, 401);
    assert!(asked.header("refresh").contains("to=%2Fconsole%2Ffreezes"));
}
