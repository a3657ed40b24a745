//! Decisions of high risk that need a second factor: the person signs in once more, for that very
//! request, in the browser that decides.

use super::{Browser, Form, Seen, openid::World, openid::leads_to, refund};
use countersign_it::openid::{ACR, Account, Fault};
use serde_json::{Value, json};

const CONFIRM: &str = "/console/second-factor";
const COOKIE: &str = "second-factor";

async fn world() -> World {
    let world = World::start().await;
    world.person("ann", "sub-ann").await;
    world.person("bob", "sub-bob").await;
    world.rules(json!({ "secondFactor": "high_risk" })).await;
    world
}

async fn signed_in(world: &World, subject: &str) -> Browser {
    world.provider.account(Account::new(subject, &[]));
    let mut browser = Browser::new(&world.server);
    assert_eq!(world.sign_in(&mut browser).await.status, 303);
    browser
}

/// Signs in once more, as whoever the provider has: the answer to the way back.
async fn confirm(world: &World, browser: &mut Browser, form: Form) -> Seen {
    let url = leads_to(&browser.send(form).await);
    let asked = world.at_provider(&url).await;
    let form = world.back(browser, &asked).await;
    browser.send(form).await
}

async fn page(browser: &mut Browser, id: &str) -> Seen {
    browser.get(&format!("/console/executions/{id}")).await
}

// A decision as the form would send it, that the page does not offer.
fn by_hand(seen: &Seen, id: &str, shown: &Value) -> Form {
    let csrf = seen.form("/console/sign-out").fields["csrf"].clone();
    let approval = &shown["execution"]["approvals"][0];
    let text = |name: &str| approval[name].as_str().unwrap().to_owned();
    let fields = [
        ("csrf".to_owned(), csrf),
        ("bindingDigest".to_owned(), text("bindingDigest")),
        ("viewDigest".to_owned(), text("viewDigest")),
    ];
    Form { action: format!("/console/executions/{id}/approve"), fields: fields.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_approved_with_a_second_factor() {
    let world = world().await;
    let id = refund(&world.server.agent, &world.server, "Refund Ada").await;
    let mut ann = signed_in(&world, "sub-ann").await;
    let seen = page(&mut ann, &id).await;
    assert!(!seen.text.contains("/approve\""), "nothing to approve before: {}", seen.text);
    let answer = confirm(&world, &mut ann, seen.form(CONFIRM)).await;
    let back = format!("/console/executions/{id}");
    assert_eq!((answer.status, answer.header("location")), (303, back.as_str()), "{}", answer.text);
    let asked = world.provider.asked();
    assert_eq!((asked["prompt"].as_str(), asked["max_age"].as_str()), ("login", "0"));
    assert_eq!(asked["acr_values"], ACR);
    let seen = page(&mut ann, &id).await;
    let answer = ann.send(seen.form("/approve")).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let (_, shown) = world.server.approver.get(&format!("/v1/executions/{id}")).await;
    let vote = &shown["execution"]["approvals"][0]["votes"][0];
    assert_eq!(vote["actorId"], "ann");
    let channel = vote["channel"].as_str().unwrap();
    assert!(channel.starts_with("oidc") && channel.ends_with("+second_factor"), "{channel}");
    // It is used up: what asks next asks for another.
    let other = refund(&world.server.agent, &world.server, "Refund Ada again").await;
    let seen = page(&mut ann, &other).await;
    assert!(seen.text.contains(CONFIRM), "{}", seen.text);
}

/// Who lost a group at the provider since they signed in decides with a second factor, whose token
/// says so. Right: they lose the place at once, and decide for themselves alone; nobody gains one.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_place_that_the_provider_took_away_meanwhile() {
    let world = world().await;
    for (name, claim) in [("finance", "team-finance"), ("security", "team-security")] {
        let group = json!({ "group": { "name": name, "members": [], "claim": claim } });
        assert_eq!(world.server.approver.post("/v1/groups", &group).await.0, 200);
    }
    let members = async || {
        let (_, groups) = world.server.approver.get("/v1/groups").await;
        let of = |index: usize| groups["items"][index]["members"].clone();
        (of(0), of(1))
    };
    let id = refund(&world.server.agent, &world.server, "Refund Ada").await;
    world.provider.account(Account::new("sub-ann", &["team-finance"]));
    let mut ann = Browser::new(&world.server);
    assert_eq!(world.sign_in(&mut ann).await.status, 303);
    assert_eq!(members().await, (json!(["ann"]), json!([])));
    let before = world.log("governance.changed").await.len();
    // Of the same groups, the token changes nothing; of others, it gives none.
    let seen = page(&mut ann, &id).await;
    assert_eq!(confirm(&world, &mut ann, seen.form(CONFIRM)).await.status, 303);
    assert_eq!(world.log("governance.changed").await.len(), before);
    ann.cookies.retain(|name, _| !name.contains(COOKIE));
    world.provider.account(Account::new("sub-ann", &["team-security"]));
    let seen = page(&mut ann, &id).await;
    assert_eq!(confirm(&world, &mut ann, seen.form(CONFIRM)).await.status, 303);
    assert_eq!(members().await, (json!([]), json!([])));
    let changed = world.log("governance.changed").await;
    assert_eq!(changed.len(), before + 1);
    let last = &changed.last().unwrap()["data"];
    assert_eq!((&last["actorId"], &last["entry"]), (&json!("ann"), &json!("person ann")));
}

/// By an API key, without one, whoever holds it. Right: refused, and told what to do; what is of no
/// high risk, and cancelling, need none.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_decision_of_high_risk_by_an_api_key() {
    let world = world().await;
    let id = refund(&world.server.agent, &world.server, "Refund Ada").await;
    let (_, shown) = world.server.approver.get(&format!("/v1/executions/{id}")).await;
    let approval = &shown["execution"]["approvals"][0];
    let approve = json!({ "bindingDigest": approval["bindingDigest"] });
    let vote = json!({ "approvals": [{ "executionId": id, "approvalId": approval["approvalId"],
        "viewDigest": approval["viewDigest"], "decision": "approve" }] });
    let alone = json!({ "viewDigest": approval["viewDigest"], "reason": "it burns" });
    let request = approval["approvalId"].as_str().unwrap();
    for (path, body) in [
        (format!("/v1/executions/{id}/approve"), approve),
        (format!("/v1/executions/{id}/reject"), json!({ "reason": "no" })),
        ("/v1/approvals/vote".to_owned(), vote),
        (format!("/v1/executions/{id}/approvals/{request}/override"), alone),
    ] {
        let (status, answer) = world.server.approver.post(&path, &body).await;
        assert_eq!((status, &answer["code"]), (403, &json!("SECOND_FACTOR_REQUIRED")), "{path}");
        assert!(answer["issues"].to_string().contains("page of the request"), "{answer}");
    }
    let cancel = format!("/v1/executions/{id}/cancel");
    assert_eq!(world.server.approver.post(&cancel, &json!({})).await.0, 200);
}

/// Another person signs in at the provider; the same one an hour ago, or in a weaker way. Right: no
/// second factor.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_second_factor_of_another_person_or_of_another_time() {
    let world = world().await;
    let id = refund(&world.server.agent, &world.server, "Refund Ada").await;
    let mut ann = signed_in(&world, "sub-ann").await;
    let seen = page(&mut ann, &id).await;
    for (subject, fault, status) in [
        ("sub-bob", Fault::None, 403),
        ("sub-nobody", Fault::None, 403),
        ("sub-ann", Fault::OldAuthTime, 401),
        ("sub-ann", Fault::NoAuthTime, 401),
        ("sub-ann", Fault::Acr, 401),
        ("sub-ann", Fault::Forged, 401),
    ] {
        world.provider.account(Account::new(subject, &[]));
        world.provider.fault(fault);
        let answer = confirm(&world, &mut ann, seen.form(CONFIRM)).await;
        assert_eq!(answer.status, status, "{subject} {fault:?}: {}", answer.text);
        assert!(!ann.cookies.contains_key(&ann.named(COOKIE)), "{subject} {fault:?}");
    }
    let refused = world.log("session.refused").await;
    assert!(refused.iter().any(|event| event["data"]["actorId"] == "bob"), "{refused:?}");
    world.provider.fault(Fault::None);
    world.provider.account(Account::new("sub-ann", &[]));
    assert_eq!(confirm(&world, &mut ann, seen.form(CONFIRM)).await.status, 303);
}

/// What was given for one request is shown for another; by another person; made up; twice. Right:
/// one decision on one request by one person.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_second_factor_for_another_request_by_another_person_or_twice() {
    let world = world().await;
    let one = refund(&world.server.agent, &world.server, "Refund one").await;
    let two = refund(&world.server.agent, &world.server, "Refund two").await;
    let mut ann = signed_in(&world, "sub-ann").await;
    let mut bob = signed_in(&world, "sub-bob").await;
    world.provider.account(Account::new("sub-ann", &[]));
    let seen = page(&mut ann, &one).await;
    assert_eq!(confirm(&world, &mut ann, seen.form(CONFIRM)).await.status, 303);
    let given = ann.cookies[&ann.named(COOKIE)].clone();
    let (_, first) = world.server.approver.get(&format!("/v1/executions/{one}")).await;
    let (_, second) = world.server.approver.get(&format!("/v1/executions/{two}")).await;
    // Another request.
    let seen = page(&mut ann, &two).await;
    let answer = ann.send(by_hand(&seen, &two, &second)).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("SECOND_FACTOR_REQUIRED"), "{}", answer.text);
    // Another person.
    bob.cookies.insert(bob.named(COOKIE), given.clone());
    let seen = page(&mut bob, &one).await;
    assert_eq!(bob.send(by_hand(&seen, &one, &first)).await.status, 403);
    // Made up, and none.
    for made_up in [format!("csf_{}", "0".repeat(64)), "x".into(), format!("{given}0")] {
        ann.cookies.insert(ann.named(COOKIE), made_up);
        let seen = page(&mut ann, &one).await;
        assert_eq!(ann.send(by_hand(&seen, &one, &first)).await.status, 403);
    }
    // Its own, once.
    ann.cookies.insert(ann.named(COOKIE), given.clone());
    let seen = page(&mut ann, &one).await;
    assert_eq!(ann.send(by_hand(&seen, &one, &first)).await.status, 303);
    let seen = page(&mut ann, &two).await;
    assert_eq!(ann.send(by_hand(&seen, &two, &second)).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_closed_a_second_factor_is_asked_for_only_where_there_is_a_provider() {
    let server = countersign_it::TestServer::start().await;
    let body = json!({ "rules": { "secondFactor": "high_risk" } });
    let (status, answer) = server.approver.post("/v1/sign-in", &body).await;
    assert_eq!((status, &answer["code"]), (422, &json!("VALIDATION_FAILED")), "{answer}");
    assert_eq!(answer["issues"][0]["pointer"], "/rules/secondFactor");
    // A person whom the provider does not know here is told so.
    let world = world().await;
    let id = refund(&world.server.agent, &world.server, "Refund Ada").await;
    let mut approver = Browser::signed_in(&world.server, &world.server.identity.approver_key).await;
    let seen = page(&mut approver, &id).await;
    let answer = approver.send(seen.form(CONFIRM)).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("person put YOUR-ID --oidc"), "{}", answer.text);
}

const ALLOWED: &str = "@id(\"small-refunds\") @reason(\"small ones\") @mandate(\"allowed\") permit \
    (principal, action == Action::\"payments/refund.create\", resource) when { context.mode == \
    \"assist\" };";

/// A mandate, made with an API key, for what each decision needs a second factor for. Right: people
/// are asked, each time, while the workspace asks for one.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_mandate_around_the_second_factor() {
    let world = world().await;
    world.rules(json!({})).await;
    let policies = format!("{}\n{ALLOWED}", policy::BASELINE);
    let body = json!({ "policies": policies, "backtestDays": 0 });
    assert_eq!(world.server.approver.post("/v1/policies", &body).await.0, 200);
    let expires = countersign_it::now().plus_ms(3_600_000);
    let mandate = json!({ "operation": "payments/refund.create", "count": 10, "reason": "small",
        "budget": { "money": { "EUR": 50_000 } }, "expiresAt": expires });
    let (status, answer) = world.server.approver.post("/v1/mandates", &mandate).await;
    assert_eq!(status, 201, "{answer}");
    let with = json!({ "customer": "cus_ada", "amount": 4_200, "currency": "EUR" });
    let steps = json!([{ "id": "refund", "use": "payments/refund.create", "with": with }]);
    let body = json!({ "text": "Pay it back", "draft": { "steps": steps } });
    for (rules, status) in
        [(json!({}), "completed"), (json!({ "secondFactor": "high_risk" }), "blocked")]
    {
        world.rules(rules).await;
        let (_, answer) = world.server.agent.post("/v1/intents", &body).await;
        let view = world.server.settled(answer["executionId"].as_str().unwrap()).await;
        assert_eq!(view["status"], status, "{view}");
    }
}
