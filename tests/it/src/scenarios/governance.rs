//! The scenarios of governance: what may be decided and touched; each attack by its name. They are in the one list, so
//! that they run on the embedded server and on the deployed stack.

use super::{
    skills::{DAY_MS, code, manifest_of},
    *,
};
use crate::{install_body, now};

fn rule(id: &str, effect: &str, action: &str, condition: &str) -> String {
    format!(
        "\n@id(\"{id}\")\n@reason(\"because of {id}\")\n{effect} (principal, action {action}, resource)\nwhen {{ {condition} }};\n"
    )
}

fn with_baseline(rules: &str) -> String {
    format!("// file: baseline.cedar\n{}\n// file: own.cedar\n{rules}", policy::BASELINE)
}

async fn activate(house: &House, policies: &str) -> Value {
    let (status, answer) = house.approver.post("/v1/policies", &json!({ "policies": policies })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// A set that errs, never matches, or does not fit the schema is refused by name; a dry run activates nothing; what
/// becomes active is tested on what really happened, decides from then on, and says where it stands.
pub async fn policies_are_governed(house: &House) {
    let id = house.submit(json!([send("m", json!("x"))])).await;
    house.until(&id, "completed").await;
    let no_mail = rule("own.no-mail", "forbid", "== Action::\"mail/message.send\"", "true");
    let refused: Vec<(&str, &str, String)> = vec![
        ("POLICY_SYNTAX", "", "permit (principal".into()),
        ("POLICY_EMPTY", "", "// nothing".into()),
        ("POLICY_INVALID", "own.typo", rule("own.typo", "forbid", "", "context.input.ammount > 5")),
        ("POLICY_INVALID", "own.unknown", rule("own.unknown", "forbid", "== Action::\"mail/message.sned\"", "true")),
        ("POLICY_SUSPECT", "own.never", rule("own.never", "forbid", "", "context.hour > 5 && false")),
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
        let text = if wanted == "POLICY_EMPTY" || wanted == "POLICY_SYNTAX" { rules } else { with_baseline(&rules) };
        let (status, answer) = house.approver.post("/v1/policies", &json!({ "policies": text })).await;
        let found = answer["issues"]
            .as_array()
            .unwrap()
            .iter()
            .any(|issue| issue["code"] == wanted && issue["message"].as_str().unwrap().contains(name));
        assert!(status == 422 && found, "{wanted} {name}: {answer}");
    }
    let text = with_baseline(&no_mail);
    let (status, dry) = house.approver.post("/v1/policies", &json!({ "policies": text, "dryRun": true })).await;
    assert_eq!((status, &dry["active"], &dry["policyVersion"]), (200, &json!(false), &json!("1")), "{dry}");
    assert_eq!(
        (&dry["changes"][0]["stepId"], &dry["changes"][0]["was"], &dry["changes"][0]["would"]),
        (&json!("m"), &json!("autonomous"), &json!("blocked")),
        "{dry}"
    );
    let (_, window) = house
        .approver
        .post(
            "/v1/policies/backtest",
            &json!({ "policies": text, "from": now().plus_ms(-DAY_MS), "to": now().plus_ms(DAY_MS) }),
        )
        .await;
    assert_eq!((&window["evaluated"], window["changed"].as_array().unwrap().len()), (&json!(1), 1), "{window}");
    // In shadow it decides nothing, and what it would have decided is recorded.
    let (status, shadow) = house.approver.post("/v1/policies/shadow", &json!({ "policies": text })).await;
    assert_eq!(status, 200, "{shadow}");
    let id = house.submit(json!([send("m", json!("x"))])).await;
    assert_eq!(house.until(&id, "completed").await["verdict"], "autonomous");
    let (_, shadow) = house.approver.get("/v1/policies/shadow").await;
    assert_eq!(
        (&shadow["changed"][0]["executionId"], &shadow["changed"][0]["would"]),
        (&json!(id), &json!("blocked")),
        "{shadow}"
    );
    house.approver.post("/v1/policies/shadow", &json!({})).await;

    let active = activate(house, &text).await;
    assert_eq!((&active["active"], &active["policyVersion"]), (&json!(true), &json!("2")), "{active}");
    let again = activate(house, &text).await;
    assert_eq!(again["policyVersion"], "2", "the same set again is the same version: {again}");
    let id = house.submit(json!([send("m", json!("x"))])).await;
    assert_eq!(house.until(&id, "rejected").await["reasons"][0]["code"], "POLICY_BLOCKED");
    let (_, why) = house.agent.post("/v1/policies/explain", &json!({ "executionId": id, "stepId": "m" })).await;
    let policy = &why["steps"][0]["policies"][0];
    assert_eq!(
        (&policy["id"], &policy["reason"], &policy["file"], &policy["line"], &policy["effect"]),
        (&json!("own.no-mail"), &json!("because of own.no-mail"), &json!("own.cedar"), &json!(2), &json!("forbid")),
        "{why}"
    );
    house.proven(&id).await;
    let (_, sets) = house.approver.get("/v1/policies").await;
    assert_eq!((&sets["policyVersion"], sets["history"].as_array().unwrap().len()), (&json!("2"), 2), "{sets}");
}

/// A plan that was verified under one set and is started under another is verified again; an approval that was given
/// under the old one is void.
pub async fn attack_policy_swapped_between_verify_start_approval_and_claim(house: &House) {
    let tight = with_baseline(&rule("own.no-payouts", "forbid", "== Action::\"payments/payout.create\"", "true"));
    let other = with_baseline(&rule("own.huge", "forbid", "", "context.plan.steps > 500"));
    // Between verify and start.
    let draft = json!({ "text": "do it", "mode": "manual", "draft": { "steps": [pay("p")] } });
    let (_, answer) = house.agent.post("/v1/intents", &draft).await;
    let id = answer["executionId"].as_str().unwrap();
    let plan = json!({ "planId": house.until(id, "compiled").await["planId"] });
    assert_eq!(house.agent.post(&format!("/v1/executions/{id}/plan/verify"), &plan).await.0, 200);
    let view = house.until(id, "verified").await;
    activate(house, &tight).await;
    let start = json!({ "planId": view["planId"] });
    let answer = house.agent.post(&format!("/v1/executions/{id}/start"), &start).await;
    assert_eq!(answer.0, 409, "{}", answer.1);
    assert_eq!(house.until(id, "rejected").await["reasons"][0]["code"], "POLICY_BLOCKED");
    activate(house, policy::BASELINE).await;
    // Between approval and claim: paused, so that the claim comes last.
    let id = house.submit(json!([pay("p")])).await;
    house.until(&id, "blocked").await;
    house.approver.post(&format!("/v1/executions/{id}/pause"), &json!({})).await;
    let view = house.until(&id, "paused").await;
    let given = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(house.approver.post(&format!("/v1/executions/{id}/approve"), &given).await.0, 200);
    activate(house, &other).await;
    house.approver.post(&format!("/v1/executions/{id}/resume"), &json!({})).await;
    let view = house.until(&id, "blocked").await;
    assert!(house.tools.effects("payments/payout.create").is_empty(), "{view}");
    assert!(house.events(&id).await.contains(&"approval.voided".to_owned()), "{view}");
    let stale = house.approver.post(&format!("/v1/executions/{id}/approve"), &given).await;
    assert_eq!(code(&stale), (409, "BINDING_STALE".into()), "{}", stale.1);
    house.approve(&id).await;
    house.until(&id, "completed").await;
    house.proven(&id).await;
    activate(house, policy::BASELINE).await;
}

/// A skill that changes after the approval: the approved digest runs or nothing does.
pub async fn attack_skill_swapped_after_approval(house: &House) {
    let id = house.submit(json!([pay("p")])).await;
    house.until(&id, "blocked").await;
    house.approver.post(&format!("/v1/executions/{id}/pause"), &json!({})).await;
    let view = house.until(&id, "paused").await;
    let given = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(house.approver.post(&format!("/v1/executions/{id}/approve"), &given).await.0, 200);
    // The same version with other content is refused; a higher one is not what was approved.
    let mut evil = manifest_of(house, 1);
    evil["operations"][2]["binding"]["url"] = json!(format!("{}/mail/message.send", house.tools.url()));
    let swapped = install_body(&evil);
    assert_eq!(code(&house.approver.post("/v1/skills", &swapped).await), (409, "VERSION_CONFLICT".into()));
    evil["skill"]["version"] = json!("2.9.0");
    house.install(&house.approver, &evil).await;
    let disable = json!({ "version": "2.1.0", "reason": "swapped" });
    let (_, disabled) = house.approver.post("/v1/skills/payments/disable", &disable).await;
    let counted = disabled["voidedSteps"] == 1 || disabled["voidedStepsPartial"] == true;
    assert!(counted, "{disabled}");
    house.approver.post(&format!("/v1/executions/{id}/resume"), &json!({})).await;
    for _ in 0..100 {
        let view = house.settled(&id).await;
        if step(&view, "p")["waitsFor"] == "skill_disabled" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let view = house.settled(&id).await;
    assert_eq!(step(&view, "p")["waitsFor"], "skill_disabled", "{view}");
    assert!(
        house.tools.effects("payments/payout.create").is_empty()
            && house.tools.effects("mail/message.send").is_empty()
    );
}

async fn budgets(house: &House, budgets: Value) -> Value {
    let (status, answer) = house.approver.post("/v1/budgets", &json!({ "budgets": budgets })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn waits_for(house: &House, id: &str, name: &str, reason: &str) -> Value {
    for _ in 0..400 {
        let (_, answer) = house.agent.get(&format!("/v1/executions/{id}")).await;
        let view = &answer["execution"];
        if step(view, name)["waitsFor"] == reason {
            return step(view, name).clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{name} of {id} never waits for {reason}: {}", house.agent.get(&format!("/v1/executions/{id}")).await.1);
}

/// A budget cannot be passed by many small steps, in one plan or over many; what had no effect is given back.
pub async fn attack_budget_split_over_many_small_steps(house: &House) {
    budgets(house, json!({ "plan": { "writes": 3, "dataClasses": ["pii", "untrusted"] }, "meters": [] })).await;
    let steps: Vec<Value> = (0..4).map(|n| send(&format!("m{n}"), json!("x"))).collect();
    let id = house.submit(json!(steps)).await;
    let view = house.until(&id, "rejected").await;
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("budget_exceeded: writes: 4 of 3"), "{view}");
    budgets(house, json!({ "plan": { "dataClasses": [] }, "meters": [] })).await;
    let id = house.submit(json!([find("c", "ada@x.org")])).await;
    let view = house.until(&id, "rejected").await;
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("dataClasses/pii"), "{view}");

    // Over many plans: a meter of the workspace, and one of each operation that only policies look at.
    let answer = budgets(
        house,
        json!({ "meters": [
            { "id": "mails", "scope": "workspace", "measure": { "kind": "writes" }, "windowSeconds": 86_400, "limit": 3, "only": ["mail"] },
            { "id": "perOperation", "scope": "operation", "measure": { "kind": "steps" }, "windowSeconds": 86_400 } ] }),
    )
    .await;
    assert_eq!(answer["usage"], json!([]));
    for _ in 0..3 {
        let id = house.submit(json!([send("m", json!("x"))])).await;
        house.until(&id, "completed").await;
    }
    let id = house.submit(json!([send("m", json!("x"))])).await;
    let held = waits_for(house, &id, "m", "usage_exceeded").await;
    assert_eq!(held["status"], "held", "{held}");
    assert_eq!(house.tools.effects("mail/message.send").len(), 3);
    let used = |answer: &Value, meter: &str| {
        let usage = answer["usage"].as_array().unwrap().iter().filter(|usage| usage["meter"] == meter);
        usage.map(|usage| usage["used"].as_u64().unwrap()).sum::<u64>()
    };
    let (_, answer) = house.approver.get("/v1/budgets").await;
    assert_eq!((used(&answer, "mails"), used(&answer, "perOperation")), (3, 3), "{answer}");
    house.proven(&id).await;

    // More than the whole limit at once: no time will do.
    budgets(
        house,
        json!({ "meters": [{ "id": "money", "scope": "workspace", "measure": { "kind": "money", "currency": "EUR" }, "windowSeconds": 60, "limit": 3 }] }),
    )
    .await;
    let id = house.submit(json!([pay("p")])).await;
    house.until(&id, "blocked").await;
    house.approve(&id).await;
    assert_eq!(waits_for(house, &id, "p", "budget_exceeded").await["status"], "blocked");

    // What the tool refused had no effect: it is given back.
    budgets(
        house,
        json!({ "meters": [{ "id": "looks", "scope": "actor", "measure": { "kind": "steps" }, "windowSeconds": 3600, "limit": 2, "only": ["crm/customer.find"] }] }),
    )
    .await;
    for _ in 0..3 {
        house.tools.behave("crm/customer.find", local::demo_tools::Behaviour::Fail { status: 422 });
        let id = house.submit(json!([find("c", "ada@x.org")])).await;
        house.until(&id, "failed").await;
        house.proven(&id).await;
    }
    let (_, answer) = house.approver.get("/v1/budgets").await;
    assert_eq!(used(&answer, "looks"), 0, "{answer}");
    let id = house.submit(json!([find("a", "a@x.org"), find("b", "b@x.org"), find("c", "c@x.org")])).await;
    waits_for(house, &id, "c", "usage_exceeded").await;

    // Policies read usage: beyond so much, people decide.
    let text = with_baseline(&rule(
        "own.many-looks",
        "forbid",
        "== Action::\"crm/customer.find\"",
        "context.mode == \"autonomous\" && context.usage.looks >= 1",
    ));
    activate(house, &text).await;
    let id = house.submit(json!([find("c", "ada@x.org")])).await;
    assert_eq!(house.until(&id, "blocked").await["verdict"], "assist");
    let gone = house.approver.post("/v1/budgets", &json!({ "budgets": { "meters": [] } })).await;
    assert_eq!(gone.0, 422, "a meter that an active policy reads cannot go: {}", gone.1);
    activate(house, policy::BASELINE).await;
    budgets(house, json!({ "meters": [] })).await;
}

/// Freezes of a skill, an operation, an actor and the workspace hold for the very next claim, and end when lifted.
pub async fn freezes_hold_for_the_next_claim(house: &House) {
    let freeze = async |scope: &str, key: Option<&str>, frozen: bool| {
        let body = json!({ "scope": scope, "key": key, "frozen": frozen, "reason": "incident 7" });
        let (status, answer) = house.approver.post("/v1/freezes", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let bad =
        house.approver.post("/v1/freezes", &json!({ "scope": "operation", "key": "mail", "frozen": true })).await;
    assert_eq!(code(&bad), (422, "VALIDATION_FAILED".into()));
    for (scope, key, reason) in [
        ("skill", Some("mail"), "frozen"),
        ("operation", Some("mail/message.send"), "frozen"),
        ("actor", Some("dev-agent"), "frozen"),
        ("workspace", None, "workspace_frozen"),
    ] {
        freeze(scope, key, true).await;
        let id = house.submit(json!([send("m", json!("x"))])).await;
        let held = waits_for(house, &id, "m", reason).await;
        assert!(held["message"].as_str().unwrap().contains("incident 7"), "{held}");
        let (_, list) = house.approver.get("/v1/freezes").await;
        assert_eq!(
            (list["items"].as_array().unwrap().len(), &list["items"][0]["actorId"]),
            (1, &json!("dev-approver"))
        );
        // Lifting wakes what waits for it at once: what is not to go on is cancelled before.
        house.approver.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await;
        freeze(scope, key, false).await;
    }
    assert!(house.tools.effects("mail/message.send").is_empty());
    let id = house.submit(json!([send("m", json!("x"))])).await;
    house.until(&id, "completed").await;
}

// Skills that read what strangers wrote, pass it on, and act on it: after AgentDojo's suites.
async fn suite(house: &House) {
    let operation = |key: &str, tier: &str, labels: Value, url: &str| {
        json!({ "key": key, "title": key, "effect": "idempotent", "riskTier": tier, "timeoutSeconds": 5, "labels": labels,
            "inputSchema": { "type": "object", "properties": { "text": { "type": "string" }, "to": { "type": "string" } } },
            "outputSchema": { "type": "object" }, "binding": { "kind": "http", "url": format!("{}/{url}", house.tools.url()) } })
    };
    let read = |key: &str, labels: Value| {
        let mut read = operation(key, "low", labels, "crm/ticket.read");
        (read["effect"], read["outputSchema"]) =
            (json!("read"), json!({ "type": "object", "properties": { "text": { "type": "string" } } }));
        read
    };
    let manifest = json!({ "schemaVersion": "1.0.0", "skill": { "key": "suite", "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
        "artifact": { "digest": format!("sha256:{}", "0".repeat(64)) },
        "operations": [
            read("inbox.read", json!({ "output": ["untrusted"] })),
            read("directory.read", json!({})),
            // A step that only passes on what it gets.
            read("text.summarise", json!({ "accepts": ["untrusted"] })),
            read("vault.read", json!({ "output": ["secret"] })),
            operation("transfer.send", "low", json!({}), "mail/message.send"),
            operation("mail.forward", "low", json!({ "accepts": [] }), "mail/message.send"),
            operation("share.publish", "low", json!({ "refuses": ["untrusted"] }), "mail/message.send"),
            operation("note.keep", "low", json!({ "accepts": ["untrusted"] }), "mail/message.send"),
        ] });
    house.install(&house.approver, &manifest).await;
}

async fn judged(house: &House, steps: Value) -> Value {
    let (status, answer) = house.agent.post("/v1/policies/explain", &json!({ "draft": { "steps": steps } })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn source(operation: &str) -> Value {
    json!({ "id": "read", "use": format!("suite/{operation}"), "with": {} })
}

fn sink(operation: &str, from: &str) -> Value {
    json!({ "id": "sink", "use": format!("suite/{operation}"), "with": { "text": { "$from": from, "path": "/text" } } })
}

/// Untrusted text that reaches a payment, a recipient or a permission is stopped or put before people, with the way it
/// took; the same plan from trusted input runs. After AgentDojo's injections.
pub async fn attack_untrusted_text_reaches_no_sink_alone(house: &House) {
    suite(house).await;
    for (from, to, verdict) in [
        ("inbox.read", "transfer.send", "assist"),
        ("inbox.read", "mail.forward", "assist"),
        ("inbox.read", "share.publish", "blocked"),
        ("inbox.read", "note.keep", "autonomous"),
        ("vault.read", "mail.forward", "blocked"),
        ("vault.read", "note.keep", "blocked"),
        ("directory.read", "transfer.send", "autonomous"),
        ("directory.read", "mail.forward", "autonomous"),
        ("directory.read", "share.publish", "autonomous"),
    ] {
        let answer = judged(house, json!([source(from), sink(to, "read")])).await;
        assert_eq!(answer["verdict"], verdict, "{from} → {to}: {answer}");
        if verdict != "autonomous" {
            let reasons = answer["reasons"].to_string();
            assert!(reasons.contains("taint") && reasons.contains("through read"), "{reasons}");
        }
    }
    // Policies read labels.
    let text = with_baseline(&rule(
        "own.no-untrusted",
        "forbid",
        "in Action::\"suite\"",
        "context.labels.contains(\"untrusted\")",
    ));
    activate(house, &text).await;
    assert_eq!(judged(house, json!([source("inbox.read"), sink("note.keep", "read")])).await["verdict"], "blocked");
    activate(house, policy::BASELINE).await;
}

/// Through steps that take it and only pass it on, the label stays.
pub async fn attack_label_laundering_through_a_pass_through_step(house: &House) {
    suite(house).await;
    let launder = json!([source("inbox.read"),
        { "id": "one", "use": "suite/text.summarise", "with": { "text": { "$from": "read", "path": "/text" } } },
        { "id": "two", "use": "suite/text.summarise", "with": { "text": { "$from": "one", "path": "/text" } } },
        sink("share.publish", "two")]);
    let answer = judged(house, launder).await;
    assert_eq!(answer["verdict"], "blocked", "{answer}");
    assert!(answer["reasons"].to_string().contains("read → one → two"), "{answer}");
}

/// A tool refuses what no plan asked for, and takes what one did.
pub async fn tools_take_warrants_and_nothing_else(house: &House) {
    let url = format!("{}/payments/payout.create", house.tools.url());
    let body = json!({ "account": "DE02", "amount": 5, "currency": "EUR" });
    for warrant in [None, Some("a.b.c")] {
        let mut request = crate::http().post(&url).json(&body);
        if let Some(warrant) = warrant {
            request = request.header("countersign-warrant", warrant);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), 401);
    }
    let (_, jwks) = house.agent.get("/.well-known/jwks.json").await;
    assert_eq!(jwks["keys"][0]["crv"], "Ed25519", "{jwks}");
    assert!(house.tools.effects("payments/payout.create").is_empty());
    let refused = house.tools.refused();
    let id = house.submit(json!([pay("p")])).await;
    house.approve(&id).await;
    house.until(&id, "completed").await;
    assert_eq!((house.tools.effects("payments/payout.create").len(), house.tools.refused()), (1, refused));
    // A manifest that sends a step to a tool of another operation gains nothing: the warrant names the operation.
    let mut evil = manifest_of(house, 2);
    evil["skill"]["key"] = json!("post");
    house.install(&house.approver, &evil).await;
    let id = house
        .submit(json!([{ "id": "m", "use": "post/message.send", "with": { "to": ["a@x.org"], "subject": "hi", "body": "x" } }]))
        .await;
    let view = house.until(&id, "failed").await;
    assert_eq!(step(&view, "m")["code"], "TOOL_401", "{view}");
}
