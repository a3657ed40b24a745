//! Sign-in by an identity provider: a real one of this machine, and a browser between the two.

use super::{Browser, Form, Seen, refund};
use countersign_it::{
    Client, TestServer,
    openid::{Account, Fault, OpenIdProvider},
};
use serde_json::{Value, json};

/// A control plane and its provider.
pub(super) struct World {
    pub(super) server: TestServer,
    pub(super) provider: OpenIdProvider,
}

impl World {
    pub(super) async fn start() -> Self {
        let provider = OpenIdProvider::start().await;
        let server = TestServer::with_identity(provider.options()).await;
        provider.account(Account::new("sub-ann", &["team-finance"]));
        Self { server, provider }
    }

    /// A person whom the provider knows.
    pub(super) async fn person(&self, id: &str, subject: &str) {
        let oidc = json!({ "issuer": self.provider.issuer(), "subject": subject });
        let body = json!({ "person": { "id": id, "oidc": oidc } });
        let (status, answer) = self.server.approver.post("/v1/persons", &body).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub(super) async fn rules(&self, rules: Value) {
        let body = json!({ "rules": rules });
        let (status, answer) = self.server.approver.post("/v1/sign-in", &body).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Presses the provider's button on our page; where the provider's page is.
    pub(super) async fn depart(&self, browser: &mut Browser, to: &str) -> String {
        let page = browser.get(&format!("/console/sign-in?to={to}")).await;
        let form = page.form("/console/sign-in/provider").with("workspace", "acme");
        leads_to(&browser.send(form).await)
    }

    /// Signs in there: the path that the provider leads back to.
    pub(super) async fn at_provider(&self, url: &str) -> String {
        let http = countersign_it::http();
        assert_eq!(http.get(url).send().await.unwrap().status(), 200);
        let answer = http.get(url.replace("/authorize?", "/login?")).send().await.unwrap();
        let back = answer.headers()["location"].to_str().unwrap().to_owned();
        back.strip_prefix(&self.server.url()).unwrap().to_owned()
    }

    /// What the page of the way back would send.
    pub(super) async fn back(&self, browser: &mut Browser, path: &str) -> Form {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        page.form("/console/sign-in/return")
    }

    /// All of it.
    pub(super) async fn sign_in(&self, browser: &mut Browser) -> Seen {
        let url = self.depart(browser, "").await;
        let path = self.at_provider(&url).await;
        let form = self.back(browser, &path).await;
        browser.send(form).await
    }

    pub(super) async fn log(&self, kind: &str) -> Vec<Value> {
        let (_, log) = self.server.approver.get("/v1/log?limit=200").await;
        let entries = log["entries"].as_array().unwrap_or_else(|| panic!("{log}")).iter();
        let of_kind = entries
            .map(|entry| &entry["event"])
            .filter(|event| event["type"].as_str().unwrap().ends_with(kind));
        of_kind.cloned().collect()
    }
}

/// Where a page leads by itself.
#[track_caller]
pub(super) fn leads_to(seen: &Seen) -> String {
    let refresh = seen.header("refresh");
    refresh.split_once("url=").unwrap_or_else(|| panic!("{}: {}", seen.status, seen.text)).1.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_by_the_provider_and_has_the_groups_of_its_claims() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let group = json!({ "group": { "name": "finance", "members": [], "claim": "team-finance" } });
    assert_eq!(world.server.approver.post("/v1/groups", &group).await.0, 200);

    let mut ann = Browser::new(&world.server);
    let answer = world.sign_in(&mut ann).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/console"), "{}", answer.text);
    let asked = world.provider.asked();
    assert_eq!(asked.get("prompt"), None, "who has a session there needs no password again");
    let page = ann.get("/console").await;
    assert!(page.status == 200 && page.text.contains("<b>ann</b>"), "{}", page.text);
    let (_, groups) = world.server.approver.get("/v1/groups").await;
    assert_eq!(groups["items"][0]["members"], json!(["ann"]));
    let started = world.log("session.started").await;
    let entry = &started.last().unwrap()["data"];
    assert_eq!((&entry["actorId"], &entry["method"]), (&json!("ann"), &json!("oidc")));
    assert_eq!(
        (&entry["groups"], &entry["oidc"]["subject"]),
        (&json!(["finance"]), &json!("sub-ann"))
    );

    // The provider says another thing the next time.
    world.provider.account(Account::new("sub-ann", &[]));
    assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 303);
    let (_, groups) = world.server.approver.get("/v1/groups").await;
    assert_eq!(groups["items"][0]["members"], json!([]), "the group stays, without her");
}

/// What the provider says is what it said before. Right: the directory is not said to have changed,
/// and what nobody has by a claim is not even written.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_changes_nothing_changes_no_directory() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    world.person("bob", "sub-bob").await;
    let group = json!({ "group": { "name": "finance", "members": [], "claim": "team-finance" } });
    assert_eq!(world.server.approver.post("/v1/groups", &group).await.0, 200);
    let engine = world.server.node().engine();
    let key = countersign_store::keys::directory(&world.server.identity.workspace);
    let version = async || engine.store().get(&key).await.unwrap().unwrap().version;
    let changes = async || world.log("governance.changed").await.len();
    assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 303);
    let before = changes().await;
    for _ in 0..2 {
        assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 303);
    }
    assert_eq!(changes().await, before, "she had these groups");
    let before = (version().await, before);
    world.provider.account(Account::new("sub-bob", &["team-of-nobody"]));
    assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 303);
    assert_eq!((version().await, changes().await), before, "he has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_in_stands_in_the_log_whatever_way() {
    let world = World::start().await;
    let key = world.server.identity.approver_key.clone();
    Browser::signed_in(&world.server, &key).await;
    let sessions = &world.server.node().engine().sessions;
    let code = sessions.deploy_code(&world.server.identity.workspace).await.unwrap().unwrap();
    let mut browser = Browser::new(&world.server);
    let page = browser.get(&format!("/console/sign-in?code={code}")).await;
    assert_eq!(browser.send(page.form("/console/sign-in")).await.status, 303);
    let started = world.log("session.started").await;
    let methods: Vec<&Value> = started.iter().map(|event| &event["data"]["method"]).collect();
    assert_eq!(methods, [&json!("api_key"), &json!("code")]);
    assert_eq!(started[0]["data"]["actorId"], "dev-approver");
    // A machine does not come in, and that stands there too.
    let mut machine = Browser::new(&world.server);
    machine.sign_in(&world.server.identity.agent_key).await;
    let refused = world.log("session.refused").await;
    assert_eq!(refused[0]["data"]["actorId"], "dev-agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_nobody_is_told_what_to_do() {
    let world = World::start().await;
    let mut browser = Browser::new(&world.server);
    let answer = world.sign_in(&mut browser).await;
    assert_eq!((answer.status, browser.session()), (403, ""));
    for told in ["sub-ann", world.provider.issuer(), "person put YOUR-ID --oidc"] {
        assert!(answer.text.contains(told), "{told}: {}", answer.text);
    }
    let refused = world.log("session.refused").await;
    assert_eq!(refused[0]["data"]["oidc"]["subject"], "sub-ann");
    // Neither a name nor a mail address makes anybody somebody.
    let named = json!({ "person": { "id": "dev-approver", "name": "sub-ann by name",
        "mail": "dev-approver@example.com" } });
    assert_eq!(world.server.approver.post("/v1/persons", &named).await.0, 200);
    assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 403);
}

/// What the person's keys may do, the session may; who revokes them takes it away.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_what_the_persons_keys_may_and_ends_with_the_person() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let key = json!({ "person": "ann", "grants": ["control-plane.audit"] });
    let (status, made) = world.server.approver.post("/v1/keys", &key).await;
    assert_eq!(status, 201, "{made}");
    let mut ann = Browser::new(&world.server);
    assert_eq!(world.sign_in(&mut ann).await.status, 303);
    assert_eq!(ann.get("/console/log").await.status, 200);
    let path = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(world.server.approver.post(&path, &json!({})).await.0, 200);
    assert_eq!(ann.get("/console/log").await.status, 403);
    assert_eq!(ann.get("/console/inbox").await.status, 200);
    // Known by another identity: the session was somebody else's.
    world.person("ann", "sub-other").await;
    assert_eq!(ann.get("/console/inbox").await.status, 401);
}

/// Tokens that nobody should believe: unsigned, forged, signed with what others know, of another
/// issuer, for another client, old, for another sign-in. Right: no session, whatever they say.
#[tokio::test(flavor = "multi_thread")]
async fn attack_id_tokens_that_must_not_be_believed() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    for fault in [
        Fault::Unsigned,
        Fault::Forged,
        Fault::Symmetric,
        Fault::Audience,
        Fault::Issuer,
        Fault::Expired,
        Fault::Nonce,
    ] {
        world.provider.fault(fault);
        let mut browser = Browser::new(&world.server);
        let answer = world.sign_in(&mut browser).await;
        assert_eq!((answer.status, browser.session()), (401, ""), "{fault:?}: {}", answer.text);
        assert!(answer.text.contains("not accepted"), "{fault:?}: {}", answer.text);
    }
    world.provider.fault(Fault::None);
    assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 303);
}

/// A code and state of one's own sign-in are put under another browser, which would work in the
/// attacker's name from then on (login CSRF); or those of a victim into the attacker's. Right: only
/// the browser that began it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_sign_in_is_finished_by_another_browser() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let mut attacker = Browser::new(&world.server);
    let url = world.depart(&mut attacker, "").await;
    let path = world.at_provider(&url).await;
    let mut victim = Browser::new(&world.server);
    // One that began nothing, and one that began another.
    assert_eq!(victim.get(&path).await.status, 401);
    world.depart(&mut victim, "").await;
    let form = world.back(&mut victim, &path).await;
    let answer = victim.send(form.clone()).await;
    assert_eq!((answer.status, victim.session()), (401, ""), "{}", answer.text);
    // A page of another site sends the form for the victim.
    victim.site = Some("cross-site");
    victim.origin = Some("https://evil.example".into());
    assert_eq!(victim.send(form).await.status, 403);
    // State and code that were not sent, or doubled, or swapped.
    let own = world.back(&mut attacker, &path).await;
    for (name, value) in [("state", ""), ("state", "0"), ("code", ""), ("code", "code-999")] {
        let answer = attacker.send(own.clone().with(name, value)).await;
        assert_eq!((answer.status, attacker.session()), (401, ""), "{name}={value}");
    }
    assert_eq!(attacker.send(own).await.status, 303, "its own browser");
}

/// The same way back twice; with a code that is good for once, and with another good code under the
/// old state. Right: one session.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_code_a_state_or_a_nonce_is_used_twice() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let mut ann = Browser::new(&world.server);
    let url = world.depart(&mut ann, "").await;
    let path = world.at_provider(&url).await;
    let form = world.back(&mut ann, &path).await;
    let kept = ann.cookies.clone();
    assert_eq!(ann.send(form.clone()).await.status, 303);
    let first = ann.session().to_owned();
    assert!(!ann.cookies.contains_key(&ann.named("sign-in")), "the browser forgets it");
    ann.cookies = kept;
    let again = ann.send(form.clone()).await;
    assert_eq!((again.status, ann.session()), (401, ""), "{}", again.text);
    // The provider gives another code for the same state and nonce.
    let path = world.at_provider(&url).await;
    let another = world.back(&mut ann, &path).await;
    assert_ne!(another.fields["code"], form.fields["code"]);
    let again = ann.send(another).await;
    assert_eq!((again.status, ann.session()), (401, ""), "{}", again.text);
    assert!(again.text.contains("finished already"), "{}", again.text);
    ann.cookies.insert(ann.named("session"), first);
    assert_eq!(ann.get("/console").await.status, 200);
}

/// Looking at the way back, a hundred times and by HEAD. Right: nothing is used up.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_way_back_is_prefetched() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let mut ann = Browser::new(&world.server);
    let url = world.depart(&mut ann, "").await;
    let path = world.at_provider(&url).await;
    for method in ["GET", "HEAD"].repeat(50) {
        assert_eq!(ann.ask(method, &path).await.status, 200);
    }
    let form = world.back(&mut ann, &path).await;
    assert_eq!(ann.send(form).await.status, 303);
}

/// The page to come back to is elsewhere. Right: only a page of the console.
#[tokio::test(flavor = "multi_thread")]
async fn attack_open_redirect_after_a_sign_in_by_the_provider() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    for (to, lands) in [
        ("/console/inbox", "/console/inbox"),
        ("https://evil.example/", "/console"),
        ("//evil.example/console", "/console"),
        ("/console/sign-out", "/console"),
    ] {
        let mut browser = Browser::new(&world.server);
        let page = browser.get("/console/sign-in").await;
        let form = page.form("/console/sign-in/provider").with("workspace", "acme").with("to", to);
        let url = leads_to(&browser.send(form).await);
        assert!(url.starts_with(world.provider.issuer()), "{url}");
        let path = world.at_provider(&url).await;
        let form = world.back(&mut browser, &path).await;
        let answer = browser.send(form.with("to", "https://evil.example/")).await;
        assert_eq!((answer.status, answer.header("location")), (303, lands), "{to}");
    }
}

/// A session that the attacker planted before. Right: another one after the sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn attack_session_fixation_over_a_sign_in_by_the_provider() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let key = world.server.identity.approver_key.clone();
    let mut browser = Browser::signed_in(&world.server, &key).await;
    let planted = browser.session().to_owned();
    browser.cookies.remove(&browser.named("session"));
    let url = world.depart(&mut browser, "").await;
    let path = world.at_provider(&url).await;
    browser.cookies.insert(browser.named("session"), planted.clone());
    let form = world.back(&mut browser, &path).await;
    assert_eq!(browser.send(form).await.status, 303);
    assert_ne!(browser.session(), planted);
    let page = browser.get("/console").await;
    assert!(page.text.contains("<b>ann</b>"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_a_clear_page_and_loses_nothing() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let mut ann = Browser::new(&world.server);
    let url = world.depart(&mut ann, "").await;
    let path = world.at_provider(&url).await;
    let form = world.back(&mut ann, &path).await;
    world.provider.fault(Fault::Down);
    let answer = ann.send(form.clone()).await;
    assert!(answer.status >= 500 || answer.status == 401, "{}", answer.status);
    assert!(answer.text.contains("identity provider"), "{}", answer.text);
    world.provider.fault(Fault::None);
    assert_eq!(ann.send(form).await.status, 303, "the same form again");
    // Nobody answers at all.
    let stopped = World::start().await;
    stopped.provider.stop();
    let mut browser = Browser::new(&stopped.server);
    let page = browser.get("/console/sign-in").await;
    assert_eq!(page.status, 200, "keys open the console still");
    let form = page.form("/console/sign-in/provider").with("workspace", "acme");
    let answer = browser.send(form).await;
    assert_eq!(answer.status, 504, "{}", answer.text);
    assert!(answer.text.contains("does not answer"), "{}", answer.text);
    let key = stopped.server.identity.approver_key.clone();
    assert_eq!(browser.sign_in(&key).await.status, 303);
}

/// Who keeps the directory, and may do little else, makes their own identity that of a person who
/// may more. Right: refused; and nobody takes a place by a claim that they chose themselves.
#[tokio::test(flavor = "multi_thread")]
async fn attack_authority_by_an_identity_or_a_claim_of_ones_own_choice() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let powerful = json!({ "person": "ann", "grants": ["control-plane.keys"] });
    assert_eq!(world.server.approver.post("/v1/keys", &powerful).await.0, 201);
    world.person("mal", "sub-mal").await;
    let little = json!({ "person": "mal", "grants": ["control-plane.directory"] });
    let (_, made) = world.server.approver.post("/v1/keys", &little).await;
    let mal = Client::new(&world.server.url(), made["apiKey"].as_str().unwrap());
    let oidc = json!({ "issuer": world.provider.issuer(), "subject": "sub-mal-2" });
    let body = json!({ "person": { "id": "ann", "oidc": oidc } });
    let (status, answer) = mal.post("/v1/persons", &body).await;
    assert_eq!(status, 403, "{answer}");

    let group = json!({ "group": { "name": "finance", "members": [], "claim": "team-finance" } });
    assert_eq!(mal.post("/v1/groups", &group).await.0, 200);
    world.provider.account(Account::new("sub-mal", &["team-finance"]));
    assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 303);
    let (_, groups) = world.server.approver.get("/v1/groups").await;
    assert_eq!(groups["items"][0]["members"], json!([]));
    world.provider.account(Account::new("sub-ann", &["team-finance"]));
    assert_eq!(world.sign_in(&mut Browser::new(&world.server)).await.status, 303);
    let (_, groups) = world.server.approver.get("/v1/groups").await;
    assert_eq!(groups["items"][0]["members"], json!(["ann"]));
}

/// The provider is another site: its leading back sends no cookie that is `Strict`, and the form of
/// the page that comes sends them all.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_session_is_led_back_from_another_site() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let mut ann = Browser::new(&world.server);
    let url = world.depart(&mut ann, "").await;
    let path = world.at_provider(&url).await;
    assert_eq!(ann.sign_in(&world.server.identity.approver_key).await.status, 303);
    let before = ann.cookies.clone();
    let own = ann.named("sign-in");
    ann.cookies.retain(|name, _| *name == own);
    assert_eq!(ann.cookies.len(), 1, "{before:?}");
    let form = world.back(&mut ann, &path).await;
    for (name, value) in before {
        ann.cookies.entry(name).or_insert(value);
    }
    assert!(!ann.session().is_empty());
    let answer = ann.send(form).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
}

/// Who gave a person their identity, and so could have given their own, asks for something. Right:
/// the person does not decide on it by that identity. Nobody sheds or changes an own one.
#[tokio::test(flavor = "multi_thread")]
async fn attack_who_gave_an_identity_asks_and_its_person_approves() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let id = refund(&world.server.approver, &world.server, "Pay Ada back").await;
    let mut ann = Browser::new(&world.server);
    assert_eq!(world.sign_in(&mut ann).await.status, 303);
    let page = ann.get(&format!("/console/executions/{id}")).await;
    assert!(page.text.contains("may not decide himself"), "{}", page.text);
    // What others ask for she decides.
    let other = refund(&world.server.agent, &world.server, "Pay Ada back").await;
    let page = ann.get(&format!("/console/executions/{other}")).await;
    assert!(!page.text.contains("You cannot decide this"), "{}", page.text);

    let directory = json!({ "person": "ann", "grants": ["control-plane.directory"] });
    let (_, made) = world.server.approver.post("/v1/keys", &directory).await;
    let own = Client::new(&world.server.url(), made["apiKey"].as_str().unwrap());
    let another = json!({ "issuer": world.provider.issuer(), "subject": "sub-mal" });
    for person in [json!({ "id": "ann" }), json!({ "id": "ann", "oidc": another })] {
        let (status, answer) = own.post("/v1/persons", &json!({ "person": person })).await;
        assert!((400..500).contains(&status), "{answer}");
        assert!(answer.to_string().contains("sub-ann"), "{answer}");
    }
}

/// A mandate ends with the key that gave it, and a session of the provider has none. Right: none is
/// given in it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_mandate_that_no_key_ends() {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    let mut ann = Browser::new(&world.server);
    assert_eq!(world.sign_in(&mut ann).await.status, 303);
    let page = ann.get("/console/mandates").await;
    let tomorrow = world.server.node().engine().now().plus_ms(24 * 3_600_000);
    let form = page.form("/console/mandates");
    let form = form.with("operation", "payments/refund.create").with("count", "1");
    let form = form.with("reason", "small ones").with("expiresAt", &tomorrow.to_string());
    let answer = ann.send(form).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("with your API key"), "{}", answer.text);
    let (_, mandates) = world.server.approver.get("/v1/mandates").await;
    assert_eq!(mandates["items"], json!([]));
}
