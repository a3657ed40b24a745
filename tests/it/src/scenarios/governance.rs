//! The scenarios of governance: what may be decided and touched; each attack by its name. They are
//! in the one list, so that they run on the embedded server and on the deployed stack.

mod flow;
mod swaps;

pub use flow::{
    attack_label_laundering_through_a_pass_through_step,
    attack_untrusted_text_reaches_no_sink_alone,
};
pub use swaps::{
    attack_policy_swapped_between_verify_start_approval_and_claim,
    attack_skill_swapped_after_approval,
};

use super::{
    skills::{DAY_MS, code, manifest_of},
    *,
};
use crate::{install_body, now};

fn rule(id: &str, effect: &str, action: &str, condition: &str) -> String {
    format!(
        "\n@id(\"{id}\")\n@reason(\"because of {id}\")\n{effect} (principal, action {action}, \
         resource)\nwhen {{ {condition} }};\n"
    )
}

fn with_baseline(rules: &str) -> String {
    format!("// file: baseline.cedar\n{}\n// file: own.cedar\n{rules}", policy::BASELINE)
}

async fn activate(server: &TestServer, policies: &str) -> Value {
    let (status, answer) =
        server.approver.post("/v1/policies", &json!({ "policies": policies })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// A set that errs, never matches, or does not fit the schema is refused by name; a dry run
/// activates nothing; what becomes active is tested on what really happened, decides from then on,
/// and says where it stands.
pub async fn policies_are_governed(server: &TestServer) {
    let id = server.submit(json!([send("m", json!("x"))])).await;
    server.until(&id, "completed").await;
    let no_mail = rule("own.no-mail", "forbid", "== Action::\"mail/message.send\"", "true");
    let refused: Vec<(&str, &str, String)> = vec![
        ("POLICY_SYNTAX", "", "permit (principal".into()),
        ("POLICY_EMPTY", "", "// nothing".into()),
        ("POLICY_INVALID", "own.typo", rule("own.typo", "forbid", "", "context.input.ammount > 5")),
        (
            "POLICY_INVALID",
            "own.unknown",
            rule("own.unknown", "forbid", "== Action::\"mail/message.sned\"", "true"),
        ),
        (
            "POLICY_SUSPECT",
            "own.never",
            rule("own.never", "forbid", "", "context.hour > 5 && false"),
        ),
        (
            "POLICY_TWICE",
            "own.twice",
            format!(
                "{}{}",
                rule("own.twice", "forbid", "", "context.hour > 22"),
                rule("own.twice", "forbid", "", "context.hour > 23")
            ),
        ),
        (
            "POLICY_ANNOTATION",
            "own.life",
            format!("@expires(\"soon\"){}", rule("own.life", "permit", "", "context.hour > 22")),
        ),
        (
            "POLICY_ERRORS",
            "own.overflow",
            rule(
                "own.overflow",
                "forbid",
                "== Action::\"payments/payout.create\"",
                "context.input has amount && context.input.amount * 9223372036854775807 > 5",
            ),
        ),
    ];
    for (wanted, name, rules) in refused {
        let text = if wanted == "POLICY_EMPTY" || wanted == "POLICY_SYNTAX" {
            rules
        } else {
            with_baseline(&rules)
        };
        let (status, answer) =
            server.approver.post("/v1/policies", &json!({ "policies": text })).await;
        let found = answer["issues"].as_array().unwrap().iter().any(|issue| {
            issue["code"] == wanted && issue["message"].as_str().unwrap().contains(name)
        });
        assert!(status == 422 && found, "{wanted} {name}: {answer}");
    }
    let text = with_baseline(&no_mail);
    let (status, dry) =
        server.approver.post("/v1/policies", &json!({ "policies": text, "dryRun": true })).await;
    assert_eq!(
        (status, &dry["active"], &dry["policyVersion"]),
        (200, &json!(false), &json!("1")),
        "{dry}"
    );
    assert_eq!(
        (&dry["changes"][0]["stepId"], &dry["changes"][0]["was"], &dry["changes"][0]["would"]),
        (&json!("m"), &json!("autonomous"), &json!("blocked")),
        "{dry}"
    );
    let (_, window) = server
        .approver
        .post(
            "/v1/policies/backtest",
            &json!({ "policies": text, "from": now().plus_ms(-DAY_MS),
                "to": now().plus_ms(DAY_MS) }),
        )
        .await;
    assert_eq!(
        (&window["evaluated"], window["changed"].as_array().unwrap().len()),
        (&json!(1), 1),
        "{window}"
    );
    // In shadow it decides nothing, and what it would have decided is recorded.
    let (status, shadow) =
        server.approver.post("/v1/policies/shadow", &json!({ "policies": text })).await;
    assert_eq!(status, 200, "{shadow}");
    let id = server.submit(json!([send("m", json!("x"))])).await;
    assert_eq!(server.until(&id, "completed").await["verdict"], "autonomous");
    let (_, shadow) = server.approver.get("/v1/policies/shadow").await;
    assert_eq!(
        (&shadow["changed"][0]["executionId"], &shadow["changed"][0]["would"]),
        (&json!(id), &json!("blocked")),
        "{shadow}"
    );
    server.approver.post("/v1/policies/shadow", &json!({})).await;

    let active = activate(server, &text).await;
    assert_eq!(
        (&active["active"], &active["policyVersion"]),
        (&json!(true), &json!("2")),
        "{active}"
    );
    let again = activate(server, &text).await;
    assert_eq!(again["policyVersion"], "2", "the same set again is the same version: {again}");
    let id = server.submit(json!([send("m", json!("x"))])).await;
    assert_eq!(server.until(&id, "rejected").await["reasons"][0]["code"], "POLICY_BLOCKED");
    let (_, why) = server
        .agent
        .post("/v1/policies/explain", &json!({ "executionId": id, "stepId": "m" }))
        .await;
    let policy = &why["steps"][0]["policies"][0];
    assert_eq!(
        (&policy["id"], &policy["reason"], &policy["file"], &policy["line"], &policy["effect"]),
        (
            &json!("own.no-mail"),
            &json!("because of own.no-mail"),
            &json!("own.cedar"),
            &json!(2),
            &json!("forbid")
        ),
        "{why}"
    );
    server.proven(&id).await;
    let (_, sets) = server.approver.get("/v1/policies").await;
    assert_eq!(
        (&sets["policyVersion"], sets["history"].as_array().unwrap().len()),
        (&json!("2"), 2),
        "{sets}"
    );
}

async fn budgets(server: &TestServer, budgets: Value) -> Value {
    let (status, answer) =
        server.approver.post("/v1/budgets", &json!({ "budgets": budgets })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn waits_for(server: &TestServer, id: &str, name: &str, reason: &str) -> Value {
    for _ in 0..400 {
        let (_, answer) = server.agent.get(&format!("/v1/executions/{id}")).await;
        let view = &answer["execution"];
        if step(view, name)["waitsFor"] == reason {
            return step(view, name).clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!(
        "{name} of {id} never waits for {reason}: {}",
        server.agent.get(&format!("/v1/executions/{id}")).await.1
    );
}

/// A budget cannot be passed by many small steps, in one plan or over many; what had no effect is
/// given back.
pub async fn attack_budget_split_over_many_small_steps(server: &TestServer) {
    budgets(
        server,
        json!({ "plan": { "writes": 3, "dataClasses": ["pii", "untrusted"] }, "meters": [] }),
    )
    .await;
    let steps: Vec<Value> = (0..4).map(|n| send(&format!("m{n}"), json!("x"))).collect();
    let id = server.submit(json!(steps)).await;
    let view = server.until(&id, "rejected").await;
    assert!(
        view["reasons"][0]["message"].as_str().unwrap().contains("budget_exceeded: writes: 4 of 3"),
        "{view}"
    );
    budgets(server, json!({ "plan": { "dataClasses": [] }, "meters": [] })).await;
    let id = server.submit(json!([find("c", "ada@x.org")])).await;
    let view = server.until(&id, "rejected").await;
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("dataClasses/pii"), "{view}");

    // Over many plans: a meter of the workspace, and one of each operation that only policies look
    // at.
    let answer = budgets(
        server,
        json!({ "meters": [
            { "id": "mails", "scope": "workspace", "measure": { "kind": "writes" },
                "windowSeconds": 86_400, "limit": 3, "only": ["mail"] },
            { "id": "perOperation", "scope": "operation", "measure": { "kind": "steps" },
                "windowSeconds": 86_400 } ] }),
    )
    .await;
    assert_eq!(answer["usage"], json!([]));
    for _ in 0..3 {
        let id = server.submit(json!([send("m", json!("x"))])).await;
        server.until(&id, "completed").await;
    }
    let id = server.submit(json!([send("m", json!("x"))])).await;
    let held = waits_for(server, &id, "m", "usage_exceeded").await;
    assert_eq!(held["status"], "held", "{held}");
    assert_eq!(server.tools.effects("mail/message.send").len(), 3);
    let used = |answer: &Value, meter: &str| {
        let usage =
            answer["usage"].as_array().unwrap().iter().filter(|usage| usage["meter"] == meter);
        usage.map(|usage| usage["used"].as_u64().unwrap()).sum::<u64>()
    };
    let (_, answer) = server.approver.get("/v1/budgets").await;
    assert_eq!((used(&answer, "mails"), used(&answer, "perOperation")), (3, 3), "{answer}");
    server.proven(&id).await;

    // More than the whole limit at once: no time will do.
    budgets(
        server,
        json!({ "meters": [{ "id": "money", "scope": "workspace",
            "measure": { "kind": "money", "currency": "EUR" }, "windowSeconds": 60,
                "limit": 3 }] }),
    )
    .await;
    let id = server.submit(json!([pay("p")])).await;
    server.until(&id, "blocked").await;
    server.approve(&id).await;
    assert_eq!(waits_for(server, &id, "p", "budget_exceeded").await["status"], "blocked");

    // What the tool refused had no effect: it is given back.
    budgets(
        server,
        json!({ "meters": [{ "id": "looks", "scope": "actor", "measure": { "kind": "steps" },
            "windowSeconds": 3600, "limit": 2, "only": ["crm/customer.find"] }] }),
    )
    .await;
    for _ in 0..3 {
        server
            .tools
            .behave("crm/customer.find", local::demo_tools::Behaviour::Fail { status: 422 });
        let id = server.submit(json!([find("c", "ada@x.org")])).await;
        server.until(&id, "failed").await;
        server.proven(&id).await;
    }
    let (_, answer) = server.approver.get("/v1/budgets").await;
    assert_eq!(used(&answer, "looks"), 0, "{answer}");
    let id = server
        .submit(json!([find("a", "a@x.org"), find("b", "b@x.org"), find("c", "c@x.org")]))
        .await;
    waits_for(server, &id, "c", "usage_exceeded").await;

    // Policies read usage: beyond so much, people decide.
    let text = with_baseline(&rule(
        "own.many-looks",
        "forbid",
        "== Action::\"crm/customer.find\"",
        "context.mode == \"autonomous\" && context.usage.looks >= 1",
    ));
    activate(server, &text).await;
    let id = server.submit(json!([find("c", "ada@x.org")])).await;
    assert_eq!(server.until(&id, "blocked").await["verdict"], "assist");
    let gone = server.approver.post("/v1/budgets", &json!({ "budgets": { "meters": [] } })).await;
    assert_eq!(gone.0, 422, "a meter that an active policy reads cannot go: {}", gone.1);
    activate(server, policy::BASELINE).await;
    budgets(server, json!({ "meters": [] })).await;
}

/// Freezes of a skill, an operation, an actor and the workspace hold for the very next claim, and
/// end when lifted.
pub async fn freezes_hold_for_the_next_claim(server: &TestServer) {
    let freeze = async |scope: &str, key: Option<&str>, frozen: bool| {
        let body = json!({ "scope": scope, "key": key, "frozen": frozen, "reason": "incident 7" });
        let (status, answer) = server.approver.post("/v1/freezes", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let bad = server
        .approver
        .post("/v1/freezes", &json!({ "scope": "operation", "key": "mail", "frozen": true }))
        .await;
    assert_eq!(code(&bad), (422, "VALIDATION_FAILED".into()));
    for (scope, key, reason) in [
        ("skill", Some("mail"), "frozen"),
        ("operation", Some("mail/message.send"), "frozen"),
        ("actor", Some("dev-agent"), "frozen"),
        ("workspace", None, "workspace_frozen"),
    ] {
        freeze(scope, key, true).await;
        let id = server.submit(json!([send("m", json!("x"))])).await;
        let held = waits_for(server, &id, "m", reason).await;
        assert!(held["message"].as_str().unwrap().contains("incident 7"), "{held}");
        let (_, list) = server.approver.get("/v1/freezes").await;
        assert_eq!(
            (list["items"].as_array().unwrap().len(), &list["items"][0]["actorId"]),
            (1, &json!("dev-approver"))
        );
        // Lifting wakes what waits for it at once: what is not to go on is cancelled before.
        server.approver.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await;
        freeze(scope, key, false).await;
    }
    assert!(server.tools.effects("mail/message.send").is_empty());
    let id = server.submit(json!([send("m", json!("x"))])).await;
    server.until(&id, "completed").await;
}

/// A tool refuses what no plan asked for, and takes what one did.
pub async fn tools_take_warrants_and_nothing_else(server: &TestServer) {
    let url = format!("{}/payments/payout.create", server.tools.url());
    let body = json!({ "account": "DE02", "amount": 5, "currency": "EUR" });
    for warrant in [None, Some("a.b.c")] {
        let mut request = crate::http().post(&url).json(&body);
        if let Some(warrant) = warrant {
            request = request.header("countersign-warrant", warrant);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), 401);
    }
    let (_, jwks) = server.agent.get("/.well-known/jwks.json").await;
    assert_eq!(jwks["keys"][0]["crv"], "Ed25519", "{jwks}");
    assert!(server.tools.effects("payments/payout.create").is_empty());
    let refused = server.tools.refused();
    let id = server.submit(json!([pay("p")])).await;
    server.approve(&id).await;
    server.until(&id, "completed").await;
    assert_eq!(
        (server.tools.effects("payments/payout.create").len(), server.tools.refused()),
        (1, refused)
    );
    // A manifest that sends a step to a tool of another operation gains nothing: the warrant names
    // the operation.
    let mut evil = manifest_of(server, 2);
    evil["skill"]["key"] = json!("post");
    server.install(&server.approver, &evil).await;
    let id = server
        .submit(json!([{ "id": "m", "use": "post/message.send",
            "with": { "to": ["a@x.org"], "subject": "hi", "body": "x" } }]))
        .await;
    let view = server.until(&id, "failed").await;
    assert_eq!(step(&view, "m")["code"], "TOOL_401", "{view}");
}
