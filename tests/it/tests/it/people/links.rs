//! Approval links: who may decide by one, once, on what was shown.

use super::kit::{ADA, BOB, HERE, PeopleFixture, fields};
use contracts::{Timestamp, command::RejectExecution, directory::RemovePerson, link::RevokeLinks};
use cs_core::{
    link::{Claims, LinkKey},
    warrant::{Key, Ring},
};
use engine::{Caller, ports::MailError};
use std::{
    io::Write,
    sync::{Arc, Mutex},
};

const DAY_MS: i64 = 24 * 3_600_000;

// The claims of a link, as its own deployment reads them.
fn claims(link: &str, now: Timestamp) -> Claims {
    let token = link.strip_prefix("/a/").unwrap();
    LinkKey::of(&Ring::new(Key::new(&[7; 32]))).verify(token, HERE, now).unwrap()
}

fn minted(secret: u8, claims: &Claims) -> String {
    let key = LinkKey::of(&Ring::new(Key::new(&[secret; 32])));
    format!("/a/{}", key.mint(claims).unwrap())
}

#[tokio::test]
async fn a_link_shows_the_view_and_its_form_decides_as_its_person() {
    let fixture = PeopleFixture::new().await;
    let (id, approval) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let page = fixture.get(&link).await;
    for shown in ["42.00 EUR", "cus_ada", "refund", "needs", "ada", id.as_str()] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    let decided = fixture.post(&link, &fields(&page, "approve", "looks right")).await;
    assert_eq!(decided.status, 303, "{}", decided.text);
    let after = fixture.get(&link).await;
    assert!(after.status == 200 && after.text.contains("You approved"), "{}", after.text);
    assert!(!after.text.contains("name=\"nonce\""), "there is nothing to decide any more");
    let loaded = fixture.engine.engine.store().load(&fixture.root.workspace, &id).await.unwrap();
    let votes = &loaded.state.approvals.iter().find(|one| one.id == approval).unwrap().votes;
    assert_eq!((votes.len(), votes[0].person.as_str()), (1, "ada"));
    assert_eq!(votes[0].channel.as_deref(), Some("link"));
    assert_eq!(votes[0].view.to_string(), page.field("view"));

    // Bob comes later, and learns that it is decided.
    let late = fixture.get(&fixture.link(BOB)).await;
    assert!(late.status == 200 && late.text.contains("It is decided"), "{}", late.text);
}

#[tokio::test]
async fn a_rejection_says_why_or_is_none() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let page = fixture.get(&link).await;
    let silent = fixture.post(&link, &fields(&page, "reject", " ")).await;
    assert_eq!(silent.status, 422, "{}", silent.text);
    let said = fixture.post(&link, &fields(&page, "reject", "not <b>this</b> month")).await;
    assert_eq!(said.status, 303, "{}", said.text);
    assert_eq!(fixture.count(&id, "approval.rejected").await, 1);
    let after = fixture.get(&link).await;
    assert!(after.text.contains("You rejected") && !after.text.contains("<b>this"));
}

#[tokio::test]
async fn attack_a_double_click_and_a_replayed_post() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let form = fields(&fixture.get(&link).await, "approve", "");
    let (one, two) = futures_util::join!(fixture.post(&link, &form), fixture.post(&link, &form));
    assert_eq!((one.status, two.status), (303, 303), "{} {}", one.text, two.text);
    let before = fixture.stored();
    for _ in 0..20 {
        let again = fixture.post(&link, &form).await;
        assert_eq!(again.status, 303);
        assert!(fixture.get(&link).await.text.contains("You approved"));
    }
    assert!(fixture.stored() == before, "a form that is sent again changes nothing");
    assert_eq!(fixture.count(&id, "approval.voted").await, 1);
    assert_eq!(fixture.count(&id, "approval.granted").await, 1);
}

#[tokio::test]
async fn attack_a_nonce_that_is_used_for_another_decision_view_person_or_link() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let (ada, bob) = (fixture.link(ADA), fixture.link(BOB));
    let (of_ada, of_bob) = (fixture.get(&ada).await, fixture.get(&bob).await);
    let before = fixture.stored();
    // Another person's, by both links.
    for (link, page) in [(&bob, &of_ada), (&ada, &of_bob)] {
        let stolen = fixture.post(link, &fields(page, "approve", "")).await;
        assert_eq!(stolen.status, 403, "{}", stolen.text);
    }
    // Another view.
    let mut other = fields(&of_ada, "approve", "");
    other[1].1 = format!("sha256:{}", "0".repeat(64));
    assert_eq!(fixture.post(&ada, &other).await.status, 403);
    // None, half of one, one of the person's own making.
    for nonce in ["", "x", "00000000000000000000000000000000.AAAA", &of_ada.field("nonce")[..40]] {
        let mut form = fields(&of_ada, "approve", "");
        form[0].1 = nonce.to_owned();
        let refused = fixture.post(&ada, &form).await;
        assert!([403, 422].contains(&refused.status), "{nonce}: {}", refused.status);
    }
    assert!(fixture.stored() == before);
    // Used: for the other decision it is none.
    assert_eq!(fixture.post(&ada, &fields(&of_ada, "approve", "")).await.status, 303);
    let changed_mind = fixture.post(&ada, &fields(&of_ada, "reject", "on reflection")).await;
    assert!(changed_mind.status >= 400, "{}", changed_mind.text);
    assert_eq!(fixture.count(&id, "approval.rejected").await, 0);
}

#[tokio::test]
async fn attack_links_that_are_forged_truncated_expired_or_of_another_workspace_or_person() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let form = fields(&fixture.get(&link).await, "approve", "");
    let now = fixture.engine.engine.now();
    let own = claims(&link, now);
    let before = fixture.stored();
    let elsewhere = Claims { workspace_id: "other".parse().unwrap(), ..own.clone() };
    let stranger = Claims { person_id: "eve".into(), ..own.clone() };
    let eternal = Claims { expires_at: now.plus_ms(30 * DAY_MS), ..own.clone() };
    let abroad = Claims { audience: "https://other.example".into(), ..own.clone() };
    let useless = [
        ("forged", minted(8, &own)),
        ("cut", link[..link.len() - 1].to_owned()),
        ("half", link[..link.len() / 2].to_owned()),
        ("nothing", "/a/x".to_owned()),
        ("another workspace's", minted(7, &elsewhere)),
        ("nobody's", minted(7, &stranger)),
        ("eternal", minted(7, &eternal)),
        ("of another deployment", minted(7, &abroad)),
    ];
    for (what, link) in &useless {
        for page in [fixture.get(link).await, fixture.post(link, &form).await] {
            assert_eq!(page.status, 410, "{what}: {}", page.text);
            assert!(page.text.contains("This link opens nothing"), "{what}: {}", page.text);
            assert!(!page.text.contains("cus_ada") && !page.text.contains(id.as_str()), "{what}");
        }
    }
    // Of another execution: what it is about is not there.
    let lost = Claims { execution_id: format!("exe_{}", "0".repeat(32)).parse().unwrap(), ..own };
    assert_eq!(fixture.get(&minted(7, &lost)).await.status, 410);
    assert!(fixture.stored() == before);
    fixture.engine.clock.pass(DAY_MS);
    let expired = fixture.get(&link).await;
    assert_eq!(expired.status, 410);
    assert!(expired.text.contains("time is over"), "{}", expired.text);
    assert_eq!(fixture.post(&link, &form).await.status, 410);
    assert_eq!(fixture.count(&id, "approval.granted").await, 0);
}

#[tokio::test]
async fn attack_the_link_of_a_person_who_was_removed_or_whose_links_were_revoked() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let (ada, bob) = (fixture.link(ADA), fixture.link(BOB));
    let form = fields(&fixture.get(&ada).await, "approve", "");
    let of_bob = fields(&fixture.get(&bob).await, "approve", "");
    let engine = &fixture.engine.engine;
    let request = RemovePerson { person_id: "ada".into(), reason: None };
    engine.access.remove_person(&fixture.root, request).await.unwrap();
    for page in [fixture.get(&ada).await, fixture.post(&ada, &form).await] {
        assert_eq!(page.status, 410);
        assert!(page.text.contains("not in the directory"), "{}", page.text);
    }
    // Who comes back under the same name is not who was sent the link.
    fixture.engine.clock.pass(1_000);
    fixture.person("ada", Some(ADA)).await;
    assert_eq!(fixture.get(&ada).await.status, 410);

    // A person ends their own; nobody without the grant those of others.
    let revoke = || RevokeLinks { person_id: "bob".into(), reason: Some("a lost phone".into()) };
    let actor = engine::actor(contracts::event::ActorKind::Human, "ada");
    let ada_herself = Caller { actor, grants: Default::default(), ..fixture.root.clone() };
    assert!(engine.links.revoke(&ada_herself, revoke()).await.is_err());
    let actor = engine::actor(contracts::event::ActorKind::Human, "bob");
    let bob_himself = Caller { actor, grants: Default::default(), ..fixture.root.clone() };
    engine.links.revoke(&bob_himself, revoke()).await.unwrap();
    for page in [fixture.get(&bob).await, fixture.post(&bob, &of_bob).await] {
        assert_eq!(page.status, 410);
        assert!(page.text.contains("revoked"), "{}", page.text);
    }
    assert_eq!(fixture.count(&id, "approval.granted").await, 0);
}

#[tokio::test]
async fn attack_a_form_of_another_site_and_a_place_to_be_led_to() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let page = fixture.get(&link).await;
    let mut form = fields(&page, "approve", "");
    for (origin, site) in [
        (Some("https://evil.example"), "cross-site"),
        (Some("null"), "cross-site"),
        (Some("null"), "none"),
        (Some("http://127.0.0.1:9"), "same-site"),
        (None, "cross-site"),
    ] {
        let refused = fixture.post_from(&link, &form, origin, site).await;
        assert_eq!(refused.status, 403, "{origin:?} {site}: {}", refused.text);
    }
    // Nothing that a link or a form says is a place that a browser is led to.
    for name in ["to", "next", "url", "redirect", "return_to", "done"] {
        form.push((name.to_owned(), "https://evil.example/".to_owned()));
        let looked = fixture.get(&format!("{link}?{name}=https://evil.example/")).await;
        assert_eq!(looked.header("location"), "");
        assert!(!looked.text.contains("evil.example"), "{name}");
    }
    let decided = fixture.post(&link, &form).await;
    assert_eq!((decided.status, decided.header("location")), (303, link.as_str()));
    assert_eq!(fixture.count(&id, "approval.granted").await, 1);
}

#[tokio::test]
async fn a_page_that_is_stale_decides_nothing_and_says_so() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let form = fields(&fixture.get(&link).await, "approve", "");
    let engine = &fixture.engine.engine;
    let request = RejectExecution {
        execution_id: id.clone(),
        step_id: None,
        view_digest: None,
        reason: "not now".into(),
    };
    engine.approvals.reject(&fixture.root, request).await.unwrap();
    let late = fixture.post(&link, &form).await;
    assert_eq!(late.status, 409, "{}", late.text);
    assert!(late.text.contains("Nothing was changed"), "{}", late.text);
    let after = fixture.get(&link).await;
    assert!(after.status == 200 && after.text.contains("The request is rejected"));
    assert_eq!(fixture.count(&id, "approval.granted").await, 0);
}

/// What is logged, as bytes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn attack_lines_of_the_log_and_tokens_in_it() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fixture = PeopleFixture::new().await;
    fixture.engine.mails.refuse(BOB, Some(MailError::Deferred("451 x\r\nWARN forged".into())));
    fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let page = fixture.get(&link).await;
    let mut form = fields(&page, "approve", "x\r\nWARN forged");
    for path in [
        "/a/x%0d%0aWARN%20forged",
        "/a/%0aWARN%20forged.%0aWARN%20forged.%0aWARN%20forged",
        &link[..link.len() - 3],
    ] {
        fixture.get(path).await;
        fixture.post(path, &form).await;
    }
    form[2].1 = "approve\r\nWARN forged".into();
    fixture.post(&link, &form).await;
    form[2].1 = "approve".into();
    assert_eq!(fixture.post(&link, &form).await.status, 303);
    fixture.wait().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let forged = text.lines().find(|line| line.trim_start().starts_with("WARN forged"));
    assert_eq!(forged, None, "{text}");
    let token = link.strip_prefix("/a/").unwrap();
    let (_, code) = token.rsplit_once('.').unwrap();
    assert!(!text.contains(token) && !text.contains(code) && !text.contains(&form[0].1));
}

/// A person who is asked for one of two voices decides by a link, and then by a key. Right: one
/// person has one voice, by whatever ways.
#[tokio::test]
async fn attack_one_person_votes_through_two_channels() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.ask_two(&id);
    fixture.relay().await;
    let link = fixture.link(ADA);
    let form = fields(&fixture.get(&link).await, "approve", "");
    assert_eq!(fixture.post(&link, &form).await.status, 303);
    let loaded = fixture.engine.engine.store().load(&fixture.root.workspace, &id).await.unwrap();
    let asked = loaded.state.approvals.last().unwrap();
    let ada = engine::actor(contracts::event::ActorKind::Human, "ada");
    for channel in ["api_key", "console", "slack"] {
        let caller = Caller { actor: ada.clone(), channel: channel.into(), ..fixture.root.clone() };
        let vote = contracts::approval::Vote {
            execution_id: id.clone(),
            approval_id: asked.id.clone(),
            view_digest: asked.view.clone(),
            decision: contracts::approval::Decision::Approve,
            reason: None,
        };
        let votes = contracts::approval::VoteApprovals { approvals: vec![vote] };
        let voted = fixture.engine.engine.approvals.vote(&caller, votes).await;
        let code = voted.unwrap_err().code;
        assert_eq!(code, contracts::Code::ApprovalAlreadyDecided, "{channel}");
    }
    assert_eq!(fixture.count(&id, "approval.voted").await, 1);
    assert_eq!(fixture.count(&id, "approval.granted").await, 0);
}
