//! Attacks on who may: identity, keys, separation of duties, steering, callbacks.

use super::kit::*;
use countersign_it::{Client, TestServer, now};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const KEYS: [&str; 4] = ["keys", "approval", "execution.read", "intent.submit"];

/// Mallory makes a key for a sock puppet, who makes one for another: the second one does not decide
/// for Mallory.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_sock_puppet_made_by_a_sock_puppet_decides() {
    let server = TestServer::start().await;
    let more: Vec<&str> =
        KEYS.iter().chain(&["approval.request", "execution.autonomous"]).copied().collect();
    let mallory = key(&server, &server.approver, "human", "mallory", &more).await;
    let first = key(&server, &mallory, "human", "first", &KEYS).await;
    let second = key(&server, &first, "human", "second", &["approval", "execution.read"]).await;
    let id = submit_steps(&mallory, json!([pay("p")])).await;
    for (who, by) in [("first", &first), ("second", &second)] {
        let answer = approve(&server, by, &id).await;
        assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{who}: {}", answer.1);
    }
    assert!(server.tools.effects("payments/payout.create").is_empty());
    let grace = grace(&server).await;
    assert_eq!(approve(&server, &grace, &id).await.0, 200, "a person whom somebody else let in");
    server.until(&id, "completed").await;
}

/// Mallory makes a service that makes keys, and with it the agent that asks: she does not decide on
/// what it asks.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_requesting_key_is_made_over_a_straw_man() {
    let server = TestServer::start().await;
    let names: Vec<&str> = KEYS.iter().chain(&AGENT).copied().collect();
    let mallory = key(&server, &server.approver, "human", "mallory", &names).await;
    let straw = key(&server, &mallory, "service", "straw", &names).await;
    let bot = key(&server, &straw, "agent", "bot", &AGENT).await;
    let id = submit_steps(&bot, json!([pay("p")])).await;
    let answer = approve(&server, &mallory, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    let view = server.settled(&id).await;
    let excludes = view["approvals"][0]["excludes"].as_array().unwrap();
    assert!(excludes.contains(&json!("mallory")) && excludes.contains(&json!("straw")), "{view}");
    assert!(server.tools.effects("payments/payout.create").is_empty());
}

/// Mallory has a machine of hers give the draft of somebody else's intent: she does not decide on
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_draft_is_given_by_a_key_of_the_approver() {
    let server = TestServer::start().await;
    let names: Vec<&str> =
        KEYS.iter().chain(&AGENT).chain(&["plan.compile", "execution.any"]).copied().collect();
    let mallory = key(&server, &server.approver, "human", "mallory", &names).await;
    let drafter =
        key(&server, &mallory, "service", "drafter", &["plan.compile", "execution.read"]).await;
    let id = submit(&server.agent, json!({ "text": "pay", "mode": "manual" })).await;
    let draft = json!({ "draft": { "steps": [pay("p")] } });
    let (status, plan) = drafter.post(&format!("/v1/executions/{id}/plan/compile"), &draft).await;
    assert_eq!(status, 200, "{plan}");
    let body = json!({ "planId": plan["planId"] });
    assert_eq!(server.agent.post(&format!("/v1/executions/{id}/plan/verify"), &body).await.0, 200);
    assert_eq!(server.agent.post(&format!("/v1/executions/{id}/start"), &body).await.0, 202);
    let answer = approve(&server, &mallory, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    assert_eq!(approve(&server, &grace(&server).await, &id).await.0, 200);
}

/// Ids that mix letters of several scripts look like others': refused, as zero-width characters
/// are.
#[tokio::test(flavor = "multi_thread")]
async fn attack_ids_that_look_like_others() {
    let server = TestServer::start().await;
    // Cyrillic а, Greek ο, Armenian օ, Cyrillic ѕ; invisible ones; a blank that is a letter;
    // right-to-left.
    for id in [
        "dev-аgent",
        "dev-apprοver",
        "dev-apprօver",
        "ѕervice.board",
        "dev\u{2060}-agent",
        "dev\u{180e}agent",
        "dev\u{115f}agent",
        "dev\u{2800}agent",
        "\u{202e}tnega-ved",
        "dev\u{e0061}agent",
    ] {
        let answer = try_key(&server.approver, "human", id, &["approval", "execution.read"]).await;
        assert_eq!(
            (answer.0, &answer.1["issues"][0]["pointer"]),
            (422, &json!("/actor/id")),
            "{id:?}: {}",
            answer.1
        );
    }
    // Whoever writes in one script may.
    for id in ["алиса@x.org", "さくら花子", "zoë", "ολγα", "grace.1"] {
        let answer = try_key(&server.approver, "human", id, &["approval", "execution.read"]).await;
        assert_eq!(answer.0, 201, "{id}: {}", answer.1);
    }
    // The subject is held to the same form, and is the same person in any of its spellings.
    let body = |subject: &str| {
        json!({ "text": "pay", "onBehalfOf": subject,
        "draft": { "steps": [pay("p")] } })
    };
    assert_eq!(server.agent.post("/v1/intents", &body("dev-apprοver")).await.0, 422);
    let id = submit(&server.agent, body("ＤＥＶ-approver")).await;
    assert_eq!(code(&approve(&server, &server.approver, &id).await), (403, "SELF_APPROVAL"));
}

/// A machine that makes keys makes itself one in the name of a service that decides: refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_machine_takes_the_name_of_a_service_that_decides() {
    let server = TestServer::start().await;
    let grants = ["approval", "execution.read"];
    let board = key(&server, &server.approver, "service", "board", &grants).await;
    assert_eq!(
        server.approver.post("/v1/deciders", &json!({ "services": ["board"] })).await.0,
        200
    );
    let clerk = key(&server, &server.approver, "service", "clerk", &KEYS).await;
    for id in ["board", "Board", "ｂｏａｒｄ"] {
        let answer = try_key(&clerk, "service", id, &grants).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{id}: {}", answer.1);
    }
    let id = submit_steps(&server.agent, json!([pay("p")])).await;
    assert_eq!(code(&approve(&server, &clerk, &id).await), (403, "NOT_AN_APPROVER"));
    // A name on the list is worth nothing to another kind of actor.
    for kind in ["agent", "tool"] {
        let twin = key(&server, &clerk, kind, "board", &grants).await;
        assert_eq!(code(&approve(&server, &twin, &id).await), (403, "NOT_AN_APPROVER"), "{kind}");
    }
    // Of a service's own name, the service's own key: a person makes it.
    let spare = key(&server, &server.approver, "service", "board", &grants).await;
    assert_eq!(approve(&server, &spare, &id).await.0, 200);
    let _ = board;
}

/// An agent that may make keys makes itself a service, which sees and steers everybody's
/// executions: refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_agent_makes_itself_a_service() {
    let server = TestServer::start().await;
    let names: Vec<&str> = AGENT.iter().chain(&["keys"]).copied().collect();
    let bot = key(&server, &server.approver, "agent", "bot", &names).await;
    for kind in ["service", "human"] {
        let answer = try_key(&bot, kind, "bot", &["execution.read", "execution.cancel"]).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{kind}: {}", answer.1);
    }
    // Nor does it take the right to everybody's from nowhere.
    let answer = try_key(&bot, "agent", "bot", &["execution.read", "execution.any"]).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    let child = key(&server, &bot, "agent", "child", &["execution.read"]).await;
    let id = submit_steps(&server.agent, json!([pay("p")])).await;
    assert_eq!(code(&child.get(&format!("/v1/executions/{id}")).await), (403, "FORBIDDEN"));
}

/// A machine's key that ends makes one that does not, or that ends later: refused. What has ended
/// makes none.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_key_outlives_the_machine_key_that_made_it() {
    let server = TestServer::start().await;
    let soon = now().plus_ms(60_000);
    let body = |id: &str, expires: Value| {
        let mut body = json!({ "actor": { "kind": "service", "id": id },
            "grants": grants(&["keys", "execution.read"]) });
        if !expires.is_null() {
            body["expiresAt"] = expires;
        }
        body
    };
    let clerk =
        client(&server, server.approver.post("/v1/keys", &body("clerk", json!(soon))).await);
    for expires in [Value::Null, json!(soon.plus_ms(1)), json!("9000-01-01T00:00:00Z")] {
        let answer = clerk.post("/v1/keys", &body("child", expires.clone())).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{expires}: {}", answer.1);
    }
    assert_eq!(clerk.post("/v1/keys", &body("child", json!(soon))).await.0, 201);
    for expires in [
        json!(now().plus_ms(-1)),
        json!("1970-01-01T00:00:00Z"),
        json!(0),
        json!("never"),
        json!(""),
    ] {
        let answer = server.approver.post("/v1/keys", &body("late", expires.clone())).await;
        assert_eq!(answer.0, 422, "{expires}: {}", answer.1);
    }
}

/// Grants by wildcard, by prefix, in capitals, with blanks, by the name of a route: unknown; and no
/// grant covers another.
#[tokio::test(flavor = "multi_thread")]
async fn attack_grants_by_wildcard_prefix_and_spelling() {
    let server = TestServer::start().await;
    for grant in [
        "control-plane.*",
        "control-plane.execution.*",
        "control-plane.execution",
        "control-plane",
        "CONTROL-PLANE.KEYS",
        " control-plane.keys",
        "control-plane.keys\u{0}",
        "control-plane.keys,control-plane.audit",
        "controlPlane.key.create",
        "control-plane.kеys",
        "control-plane.execution.evidence.export",
    ] {
        let body = json!({ "actor": { "kind": "agent", "id": "x" }, "grants": [grant] });
        let answer = server.approver.post("/v1/keys", &body).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{grant:?}: {}", answer.1);
    }
    let id = submit_steps(&server.agent, json!([pay("p")])).await;
    let view = server.until(&id, "blocked").await;
    let one =
        key(&server, &server.approver, "human", "one", &["execution.reject", "execution.read"])
            .await;
    let body = json!({ "bindingDigest": view["bindingDigest"] });
    let answer = one.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
}

/// An `Idempotency-Key` of another actor, kind, workspace or route, or with another body: no answer
/// of somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_idempotency_key_of_somebody_else() {
    let server = TestServer::start().await;
    let body = json!({ "text": "look", "draft": { "steps": [find("c")] } });
    let (status, first) = server.agent.keyed("/v1/intents", "k", &body).await;
    assert_eq!(status, 202, "{first}");
    let other = Client::new(&server.url(), &server.another().await.agent_key);
    let bot = key(&server, &server.approver, "agent", "bot", &AGENT).await;
    let tool = key(&server, &server.approver, "tool", "dev-agent", &AGENT).await;
    for (who, by) in
        [("another workspace", &other), ("another actor", &bot), ("another kind", &tool)]
    {
        let (_, answer) = by.keyed("/v1/intents", "k", &body).await;
        assert_ne!(answer["executionId"], first["executionId"], "{who}");
    }
    let (status, answer) =
        server.agent.keyed("/v1/intents", "k", &json!({ "text": "look", "mode": "manual" })).await;
    assert_eq!(
        (status, &answer["code"]),
        (422, &json!("VALIDATION_FAILED")),
        "another body: {answer}"
    );
    // The same key on another execution of the same actor is another request.
    let ids = [
        submit_steps(&server.agent, json!([pay("p")])).await,
        submit_steps(&server.agent, json!([pay("p")])).await,
    ];
    let cancel = |id: &str| format!("/v1/executions/{id}/cancel");
    assert_eq!(server.agent.keyed(&cancel(&ids[0]), "c", &json!({})).await.0, 200);
    let (status, answer) = server.agent.keyed(&cancel(&ids[1]), "c", &json!({})).await;
    assert_eq!(status, 422, "{answer}");
    assert_ne!(server.settled(&ids[1]).await["status"], "cancelled");
    // An answer that was given is not given to a key that may not ask any more.
    let weak = key(&server, &server.approver, "agent", "dev-agent", &["execution.read"]).await;
    assert_eq!(code(&weak.keyed("/v1/intents", "k", &body).await), (403, "FORBIDDEN"));
    // A key's secret is not in the answer that a repetition gets.
    let new =
        json!({ "actor": { "kind": "agent", "id": "n" }, "grants": grants(&["execution.read"]) });
    let (_, made) = server.approver.keyed("/v1/keys", "n", &new).await;
    let (_, again) = server.approver.keyed("/v1/keys", "n", &new).await;
    assert!(
        made["apiKey"].is_string() && again["apiKey"].is_null() && again["key"] == made["key"],
        "{again}"
    );
}

/// The narrow key of an agent reads what changed authority in the workspace: refused; it audits its
/// own executions.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_agent_reads_the_workspace_log() {
    let server = TestServer::start().await;
    let answer = server.agent.get("/v1/log").await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    let names: Vec<&str> = AGENT.iter().chain(&["execution.any"]).copied().collect();
    let auditor = key(&server, &server.approver, "agent", "auditor", &names).await;
    assert_eq!(auditor.get("/v1/log").await.0, 200, "granted more");
    let id = submit_steps(&server.agent, json!([find("c")])).await;
    server.until(&id, "completed").await;
    assert_eq!(server.agent.get(&format!("/v1/executions/{id}/trace")).await.0, 200);
}

/// A key ends between the approval and the claim: what it asked does not run.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_requesters_key_ends_after_the_approval_was_asked() {
    let server = TestServer::start().await;
    let body = json!({ "actor": { "kind": "agent", "id": "bot" }, "grants": grants(&AGENT),
        "expiresAt": now().plus_ms(4_000) });
    let bot = client(&server, server.approver.post("/v1/keys", &body).await);
    let id = submit_steps(&bot, json!([pay("p")])).await;
    server.until(&id, "blocked").await;
    while bot.get(&format!("/v1/executions/{id}")).await.0 != 401 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(approve(&server, &grace(&server).await, &id).await.0, 200);
    let view = waiting(&server, &id, ("p", "requester_revoked")).await;
    assert!(server.tools.effects("payments/payout.create").is_empty(), "{view}");
    // Nor does a new key of the same name bring it back to life.
    let twin = key(&server, &server.approver, "agent", "bot", &AGENT).await;
    let start = json!({ "planId": view["planId"] });
    assert!(twin.post(&format!("/v1/executions/{id}/start"), &start).await.0 >= 400);
    assert!(server.tools.effects("payments/payout.create").is_empty());
}

/// A key is revoked while eight clients submit with it: after the answer nothing is taken, and
/// nothing begins.
#[tokio::test(flavor = "multi_thread")]
async fn attack_submitting_while_the_key_is_revoked() {
    let server = Arc::new(TestServer::start().await);
    let (_, made) = try_key(&server.approver, "agent", "bot", &AGENT).await;
    let bot = Client::new(&server.url(), made["apiKey"].as_str().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..8)
        .map(|_| {
            let (bot, over) = (bot.clone(), over.clone());
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    let body = json!({ "text": "send", "draft": { "steps": [send("m")] } });
                    let (status, answer) = bot.post("/v1/intents", &body).await;
                    if status == 202 {
                        ids.push(answer["executionId"].as_str().unwrap().to_owned());
                    }
                }
                ids
            })
        })
        .collect();
    server.until(&submit_steps(&bot, json!([send("first")])).await, "completed").await;
    let revoke = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(server.approver.post(&revoke, &json!({})).await.0, 200);
    let body = json!({ "text": "send", "draft": { "steps": [send("m")] } });
    assert_eq!(bot.post("/v1/intents", &body).await.0, 401);
    over.store(true, Ordering::SeqCst);
    let mut ids = Vec::new();
    for task in flood {
        ids.extend(task.await.unwrap());
    }
    let mut done = 1;
    for id in &ids {
        let view = server.settled(id).await;
        match view["steps"][0]["status"].as_str() {
            Some("completed") => done += 1,
            _ => assert_eq!(
                waiting(&server, id, ("m", "requester_revoked")).await["status"],
                "blocked",
                "{view}"
            ),
        }
    }
    assert_eq!(server.tools.effects("mail/message.send").len(), done, "{} submitted", ids.len());
}

/// Agents, tools and services with every grant of an approver: no decision of theirs counts, by
/// whichever route.
#[tokio::test(flavor = "multi_thread")]
async fn attack_machines_with_an_approvers_grants_decide_by_any_route() {
    let server = TestServer::start().await;
    let id = submit_steps(&server.agent, json!([pay("p")])).await;
    let view = server.until(&id, "blocked").await;
    server
        .tools
        .behave("payments/payout.create", local::demo_tools::Behaviour::Fail { status: 422 });
    let failed = submit_steps(&server.agent, json!([pay("p")])).await;
    assert_eq!(approve(&server, &grace(&server).await, &failed).await.0, 200);
    server.until(&failed, "failed").await;
    let names =
        ["approval", "execution.read", "execution.resolve", "execution.retry", "execution.any"];
    for kind in ["agent", "tool", "service"] {
        let bot = key(&server, &server.approver, kind, "dev-judge", &names).await;
        let binding = json!({ "bindingDigest": view["bindingDigest"] });
        let step = json!({ "stepId": "p", "bindingDigest": view["steps"][0]["bindingDigest"] });
        for (id, verb, body) in [
            (&id, "approve", binding),
            (&id, "approve", step),
            (&id, "reject", json!({ "reason": "no" })),
            (
                &id,
                "resolve",
                json!({ "stepId": "p", "outcome": "completed", "evidence": { "payoutId": "x" } }),
            ),
            (&failed, "retry", json!({})),
            (&failed, "retry", json!({ "stepId": "p" })),
        ] {
            let answer = bot.post(&format!("/v1/executions/{id}/{verb}"), &body).await;
            assert_eq!(code(&answer), (403, "NOT_AN_APPROVER"), "{kind} {verb}: {}", answer.1);
        }
    }
    assert!(server.tools.effects("payments/payout.create").is_empty());
}

/// A result is brought by who was not asked: another step's warrant, another execution's, a
/// probe's, an old attempt's, a tampered one, no warrant, an API key. None is taken; the right one
/// is, once.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_callback_with_another_warrant() {
    let (server, stub) = server_with(|stub| {
        let probed = json!({ "effect": "non_idempotent", "probe": "seek" });
        vec![stub.operation("work", probed), stub.operation("seek", json!({}))]
    })
    .await;
    let bring = |url: String, warrant: String, output: Value| async move {
        let client = countersign_it::http();
        let request = client.post(url).bearer_auth(warrant).json(&json!({ "output": output }));
        request.send().await.unwrap().status().as_u16()
    };
    // Lost twice and sought twice, so that run and probe are both in their second attempt.
    for (status, found) in
        [(500, json!({ "found": false })), (500, json!({ "found": false })), (202, json!({}))]
    {
        stub.answers("work", status, json!({}));
        stub.answers("seek", 200, found);
    }
    let steps = json!([{ "id": "w", "use": "kit/work" }]);
    let id = submit_steps(&server.agent, steps.clone()).await;
    let view = waiting(&server, &id, ("w", "awaiting_callback")).await;
    assert_eq!((stub.calls("work").len(), stub.calls("seek").len()), (3, 2), "{view}");
    let right = stub.last("work");
    let (probe, first) = (stub.calls("seek"), stub.calls("work")[0].clone());
    let other_id = submit_steps(&server.agent, steps).await;
    waiting(&server, &other_id, ("w", "awaiting_callback")).await;
    let other = stub.last("work");
    let forged = json!({ "forged": true });
    let mut broken = right.warrant.clone();
    broken.replace_range(10..11, if &broken[10..11] == "A" { "B" } else { "A" });
    for (what, url, warrant) in [
        ("the first probe's", &right.callback, probe[0].warrant.clone()),
        ("the last probe's", &right.callback, probe[1].warrant.clone()),
        ("an old attempt's", &right.callback, first.warrant.clone()),
        ("another execution's", &right.callback, other.warrant.clone()),
        ("right, for another execution", &other.callback, right.warrant.clone()),
        ("tampered", &right.callback, broken),
        ("none", &right.callback, String::new()),
        ("an API key", &right.callback, server.identity.approver_key.clone()),
    ] {
        let status = bring(url.clone(), warrant, forged.clone()).await;
        assert!(matches!(status, 401 | 409), "{what}: {status}");
    }
    assert_eq!(
        bring(right.callback.clone(), right.warrant.clone(), json!({ "fine": true })).await,
        200
    );
    server.until(&id, "completed").await;
    assert_eq!(bring(right.callback, right.warrant, forged).await, 409, "once");
    let (_, trace) =
        server.approver.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
    assert_eq!(trace["payloads"]["w"], json!({ "fine": true }));
    server.proven(&id).await;
}

/// The warrant of a probe whose attempt has the number of the call that waits: it brings no result
/// of that call.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_probes_warrant_brings_the_calls_result() {
    let (server, stub) = server_with(|stub| {
        let probed = json!({ "effect": "non_idempotent", "probe": "seek" });
        vec![stub.operation("work", probed), stub.operation("seek", json!({}))]
    })
    .await;
    // The first answer to the second question: the call's second attempt meets the probe's second.
    for status in [500, 202] {
        stub.answers("work", status, json!({}));
    }
    stub.answers("seek", 200, json!({ "found": "perhaps" }));
    stub.answers("seek", 200, json!({ "found": false }));
    let id = submit_steps(&server.agent, json!([{ "id": "w", "use": "kit/work" }])).await;
    waiting(&server, &id, ("w", "awaiting_callback")).await;
    let probe = stub.last("seek");
    assert_eq!((stub.calls("work").len(), stub.calls("seek").len()), (2, 2));
    let request =
        countersign_it::http().post(&stub.last("work").callback).bearer_auth(&probe.warrant);
    let answer = request.json(&json!({ "output": { "forged": true } })).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401, "{}", answer.text().await.unwrap());
    assert_eq!(step(&server.settled(&id).await, "w")["waitsFor"], "awaiting_callback");
}
