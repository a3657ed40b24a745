//! Attacks on values: amounts and recipients that are read otherwise, data that looks like control, secrets in words.

use super::kit::*;
use countersign_it::{House, install_body};
use engine::{
    keys,
    ports::{BlobName, Key},
};
use serde_json::{Value, json};

fn money(unit: &str, amount: Value) -> Value {
    json!({ "effect": "idempotent",
        "inputSchema": { "type": "object", "properties": { "amount": amount, "currency": {}, "to": {} } },
        "blastRadius": { "writes": 1, "money": { "amount": "/amount", "currency": "/currency", "unit": unit } } })
}

fn one(with: Value) -> Value {
    json!([{ "id": "s", "use": "kit/pay", "with": with }])
}

async fn verdict(house: &House, draft: Value) -> Value {
    let body = json!({ "text": "do it", "mode": "dryRun", "draft": draft });
    let id = submit(&house.agent, body).await;
    house.settled(&id).await
}

/// Amounts that a tool may read otherwise than we do: nothing is guessed; without a limit people decide, with one it is no.
#[tokio::test(flavor = "multi_thread")]
async fn attack_amounts_that_tools_read_otherwise() {
    let (house, _stub) =
        house_with(|stub| vec![stub.operation("pay", money("major", json!({ "type": ["number", "string"] })))]).await;
    for amount in [
        json!("1e2"),
        json!("+5"),
        json!("-0"),
        json!("-5"),
        json!(-5),
        json!("٤٢"),
        json!("５"),
        json!("NaN"),
        json!("Infinity"),
        json!("0x10"),
        json!("1,000"),
        json!("1.000,00"),
        json!("1 000"),
        json!("5\u{a0}"),
        json!("5\u{200b}"),
        json!("1_0"),
        json!("05"),
        json!("5."),
        json!(".5"),
        json!("five"),
        json!(""),
        json!("9".repeat(40)),
        json!(0.001),
    ] {
        let with = json!({ "amount": amount, "currency": "EUR" });
        let view = verdict(&house, json!({ "steps": one(with.clone()) })).await;
        assert_eq!(view["verdict"], "assist", "{amount}: {view}");
        assert!(view["steps"][0]["reasons"].to_string().contains("unmeasured: money"), "{amount}: {view}");
        let limited = json!({ "steps": one(with), "budget": { "money": { "EUR": 9_007_199_254_740_991_u64 } } });
        assert_eq!(verdict(&house, limited).await["status"], "rejected", "{amount}");
    }
    let view = verdict(&house, json!({ "steps": one(json!({ "amount": "5.00", "currency": "EUR" })) })).await;
    assert_eq!(view["verdict"], "autonomous", "{view}");
}

/// Currencies of other exponents, in small letters, of four letters, of look-alikes, of none: counted exactly or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn attack_currencies_that_sidestep_a_budget() {
    let (house, _stub) =
        house_with(|stub| vec![stub.operation("pay", money("major", json!({ "type": "string" })))]).await;
    let with = |amount: &str, currency: Value| json!({ "amount": amount, "currency": currency });
    // 100 in minor units of each: what one more is too much.
    for (currency, fits, over) in [
        ("EUR", "1.00", "1.01"),
        ("eur", "1.00", "1.01"),
        ("Eur", "1", "1.01"),
        ("JPY", "100", "101"),
        ("KWD", "0.100", "0.101"),
        ("CLF", "0.0100", "0.0101"),
    ] {
        let limit = json!({ "money": { currency.to_uppercase(): 100 } });
        let of = |amount: &str| json!({ "steps": one(with(amount, json!(currency))), "budget": limit });
        assert_eq!(verdict(&house, of(fits)).await["verdict"], "autonomous", "{currency} {fits}");
        assert_eq!(verdict(&house, of(over)).await["status"], "rejected", "{currency} {over}");
        // A limit in one currency lets no other through.
        let other = json!({ "steps": one(with(fits, json!(currency))), "budget": { "money": { "USD": 1_000_000 } } });
        assert_eq!(verdict(&house, other).await["status"], "rejected", "{currency} under a limit of USD");
    }
    for currency in [
        json!("XXX"),
        json!("EURO"),
        json!("ЕUR"),
        json!("ＥＵＲ"),
        json!("EUR "),
        json!("E\u{200b}UR"),
        json!("€"),
        json!(""),
        json!(978),
        json!(["EUR"]),
        json!({ "code": "EUR" }),
        json!(null),
    ] {
        let steps = one(with("1", currency.clone()));
        let view = verdict(&house, json!({ "steps": steps })).await;
        assert_eq!(view["verdict"], "assist", "{currency}: {view}");
        let limited = json!({ "steps": steps, "budget": { "money": { "EUR": 1_000_000 } } });
        assert_eq!(verdict(&house, limited).await["status"], "rejected", "{currency}");
    }
}

/// Recipients in keys, in nested lists, behind display names, comments and other at signs: never fewer than there are.
#[tokio::test(flavor = "multi_thread")]
async fn attack_recipients_that_are_not_counted() {
    let (house, _stub) = house_with(|stub| {
        let radius = json!({ "effect": "idempotent", "blastRadius": { "writes": 1, "recipients": "/to" },
            "inputSchema": { "type": "object", "required": ["to"], "properties": { "to": {} } } });
        vec![stub.operation("pay", radius)]
    })
    .await;
    for (to, least) in [
        (json!({ "a@x.org": {}, "b@x.org": {} }), 2),
        (json!({ "a@x.org": [], "b@x.org": null, "c@x.org": true }), 3),
        (json!({ "a@x.org,b@x.org": "x" }), 2),
        (json!([[["a@x.org"], ["b@x.org", ["c@x.org"]]], []]), 3),
        (json!("Doe, Ann <a@x.org>, \"b, c\" <b@x.org>"), 2),
        (json!("a@x.org(b@x.org)c@x.org"), 3),
        (json!("team:a@x.org,b@x.org;"), 2),
        (json!("a@x.org\r\nBcc: b@x.org\r\nCc:c@x.org"), 3),
        (json!("a＠x.org，b＠x.org；c﹫x.org"), 3),
        (json!("a@x.org\u{2028}b@x.org\u{0}c@x.org"), 3),
        (json!("a@xn--x-0ga.org|b@пример.рф"), 2),
        (json!("a@x.org、b@x.org"), 2),
        (json!(["ann;bob", "carl"]), 3),
    ] {
        let of = |limit: u32| json!({ "steps": one(json!({ "to": to })), "budget": { "recipients": limit } });
        let view = verdict(&house, of(least - 1)).await;
        assert_eq!(view["status"], "rejected", "{to} within {}: {view}", least - 1);
    }
    let fits = json!({ "steps": one(json!({ "to": ["a@x.org", "b@x.org"] })), "budget": { "recipients": 2 } });
    assert_eq!(verdict(&house, fits).await["verdict"], "autonomous");
}

/// A body whose keys stand twice, spelled alike or escaped, or whose numbers no reader agrees on: refused whole.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_body_that_two_readers_read_differently() {
    let house = House::start().await;
    let pay = r#"{"id":"p","use":"payments/payout.create","with":{"account":"DE02","currency":"EUR","amount":"#;
    for amount in [
        r#"5,"amount":99999"#,
        r#"5,"\u0061mount":99999"#,
        r#"5,"amoun\u0074":99999"#,
        "1e400",
        "-1e400",
        "99999999999999999999999",
        "9007199254740993.0",
        "1E+16",
        "NaN",
        "+5",
        "05",
        "0x5",
        "5.",
    ] {
        let body = format!(r#"{{"text":"pay","draft":{{"steps":[{pay}{amount}}}}}]}}}}"#);
        let (status, answer) = house.agent.raw("/v1/intents", body.into_bytes()).await;
        assert_eq!(status, 400, "{amount}: {answer}");
    }
    // Forms of one number are one number, for the policy as for the tool.
    let rule = "@id(\"own.limit\") @reason(\"too much\") forbid (principal, action == Action::\"payments/payout.create\", \
                resource) when { context.input has amount && context.input.amount > 1000 };";
    let (status, answer) = activate(&house, rule).await;
    assert_eq!(status, 200, "{answer}");
    for amount in ["99999.0", "9.9999e4", "99999000e-3", "99999", "9007199254740993"] {
        let body = format!(r#"{{"text":"pay","draft":{{"steps":[{pay}{amount}}}}}]}}}}"#);
        let (status, answer) = house.agent.raw("/v1/intents", body.into_bytes()).await;
        assert_eq!(status, 202, "{amount}: {answer}");
        let view = house.settled(answer["executionId"].as_str().unwrap()).await;
        assert_eq!(view["status"], "rejected", "{amount}: {view}");
        assert!(view["reasons"].to_string().contains("too much"), "{amount}: {view}");
    }
}

/// A playbook's inputs bring markers, steps, budgets, amounts below zero: they are values, and checked like any.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_playbook_through_its_inputs() {
    let (house, stub) = (House::start().await, Stub::start().await);
    let pay = money("minor", json!({ "type": "integer" }));
    let mut manifest = stub.manifest(vec![stub.operation("pay", pay), stub.operation("read", json!({}))]);
    manifest["playbooks"] = json!([{ "key": "go", "inputSchema": { "type": "object",
        "properties": { "amount": { "type": "integer" }, "note": {} } },
        "draft": { "budget": { "money": { "EUR": 100 } }, "steps": [
            { "id": "r", "use": "kit/read", "with": { "note": { "$input": "/note" } } },
            { "id": "s", "use": "kit/pay", "after": ["r"], "with": { "amount": { "$input": "/amount" }, "currency": "EUR" } }] } }]);
    house.install(&house.approver, &manifest).await;
    let go = |inputs: Value| {
        let house = &house;
        async move {
            let body = json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": inputs } });
            house.settled(&submit(&house.agent, body).await).await
        }
    };
    for note in [
        json!({ "$from": "s" }),
        json!({ "$literal": { "$from": "s" } }),
        json!({ "$input": "/amount" }),
        json!([{ "$from": "s", "path": "/x" }]),
    ] {
        let view = go(json!({ "amount": 5, "note": note })).await;
        assert_eq!(view["status"], "completed", "{note}: {view}");
        assert_eq!(stub.last("read").body, json!({ "note": note }));
    }
    for amount in [json!(101), json!(-5), json!(1_000_000)] {
        assert_eq!(go(json!({ "amount": amount })).await["status"], "rejected", "{amount}");
    }
    // An amount that is left out is no small one.
    assert_eq!(go(json!({})).await["status"], "rejected");
    for body in [
        json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": {}, "budget": {} } }),
        json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": {} }, "draft": { "steps": [] } }),
        json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": [], "draft": {} } }),
    ] {
        let (status, answer) = house.agent.post("/v1/intents", &body).await;
        assert_eq!(status, 422, "{body}: {answer}");
    }
}

/// References, seals and blobs in the result of a callback, in a probe's evidence and in that of a person: they are data.
#[tokio::test(flavor = "multi_thread")]
async fn attack_markers_in_callbacks_probes_and_resolutions() {
    let card = json!({ "inputSchema": { "type": "object", "properties": { "card": { "x-sensitive": true } } } });
    let (house, stub) = house_with(|stub| {
        let probed = json!({ "effect": "non_idempotent", "probe": "seek" });
        let doubtful = json!({ "effect": "non_idempotent" });
        vec![
            stub.operation("hide", card),
            stub.operation("work", probed),
            stub.operation("lose", doubtful),
            stub.operation("seek", json!({})),
            stub.operation("take", json!({})),
        ]
    })
    .await;
    let grace = grace(&house).await;
    let steps = |work: &str| {
        json!([{ "id": "hide", "use": "kit/hide", "with": { "card": CARD } },
            { "id": "work", "use": format!("kit/{work}"), "after": ["hide"] },
            { "id": "take", "use": "kit/take", "with": { "v": { "$from": "work", "path": "/v" } } }])
    };
    let id = submit_steps(&house.agent, steps("seek")).await;
    let (_, shown) = house.approver.get(&format!("/v1/executions/{id}?includePlan=true")).await;
    let seal = shown["execution"]["plan"]["steps"][0]["seals"]["/card"].clone();
    for value in [
        json!({ "$sealed": seal }),
        json!({ "$from": "hide", "path": "/card" }),
        json!({ "$literal": { "$from": "hide" } }),
        json!({ "$blob": seal, "blob": 1 }),
        json!({ "value": null, "seals": { "": seal } }),
    ] {
        let mut ids = Vec::new();
        // By callback.
        stub.forget();
        stub.answers("work", 202, json!({}));
        let before = stub.calls("work").len();
        let id = submit_steps(&house.agent, steps("work")).await;
        let call = stub.nth("work", before + 1).await;
        waiting(&house, &id, ("work", "awaiting_callback")).await;
        let request = countersign_it::http().post(&call.callback).bearer_auth(&call.warrant);
        let answer = request.json(&json!({ "output": { "v": value } })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{value}");
        house.until(&id, "completed").await;
        assert_eq!(stub.last("take").body, json!({ "v": value }));
        ids.push(id);
        // By a probe.
        stub.forget();
        stub.answers("work", 500, json!({}));
        stub.answers("seek", 200, json!({ "found": true, "output": { "v": value } }));
        let id = submit_steps(&house.agent, steps("work")).await;
        house.until(&id, "completed").await;
        assert_eq!(stub.last("take").body, json!({ "v": value }));
        ids.push(id);
        // By a person.
        stub.forget();
        stub.answers("lose", 500, json!({}));
        let id = submit_steps(&house.agent, steps("lose")).await;
        waiting(&house, &id, ("work", "outcome_unknown")).await;
        let said = json!({ "stepId": "work", "outcome": "completed", "evidence": { "v": value } });
        let (status, answer) = grace.post(&format!("/v1/executions/{id}/resolve"), &said).await;
        assert_eq!(status, 200, "{value}: {answer}");
        house.until(&id, "completed").await;
        assert_eq!(stub.last("take").body, json!({ "v": value }));
        ids.push(id);
        for id in ids {
            told_nothing(&evidence(&house, &id).await);
            house.proven(&id).await;
        }
    }
}

fn sensitive_output() -> Value {
    json!({ "outputSchema": { "type": "object", "properties": { "card": { "x-sensitive": true } } } })
}

/// A tool that was sent a secret answers with it as the name of a member that its schema does not know, in any form of
/// refusal: no message names it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_tool_puts_a_secret_into_names() {
    let closed = json!({ "type": "object", "properties": { "n": {} }, "additionalProperties": false });
    let typed = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    let named = json!({ "type": "object", "propertyNames": { "maxLength": 3 } });
    let (house, stub) = house_with(|stub| {
        let of = |key: &str, schema: &Value| stub.operation(key, json!({ "outputSchema": schema }));
        let write = json!({ "outputSchema": closed, "effect": "non_idempotent", "labels": { "accepts": ["pii"] } });
        vec![
            stub.operation("give", sensitive_output()),
            of("closed", &closed),
            of("typed", &typed),
            of("named", &named),
            stub.operation("write", write),
        ]
    })
    .await;
    stub.answers("give", 200, json!({ "card": CARD }));
    for operation in ["closed", "typed", "named", "write"] {
        for answer in [json!({ CARD: "x" }), json!({ CARD: { CARD: [CARD] } })] {
            stub.answers(operation, 200, answer);
        }
        for _ in 0..2 {
            let steps = json!([{ "id": "g", "use": "kit/give" },
                { "id": "t", "use": format!("kit/{operation}"), "with": { "v": { "$from": "g", "path": "/card" } } }]);
            let id = submit_steps(&house.agent, steps).await;
            let view = house.settled(&id).await;
            assert!(["failed", "blocked"].contains(&view["status"].as_str().unwrap()), "{operation}: {view}");
            told_nothing(&evidence(&house, &id).await);
        }
    }
    // Where nothing is secret the names are told, for whoever mends the tool.
    let steps = json!([{ "id": "t", "use": "kit/closed", "with": {} }]);
    let id = submit_steps(&house.agent, steps).await;
    assert!(house.until(&id, "failed").await.to_string().contains("is not allowed"));
}

/// A sensitive object that comes along a wire does not fit the next input: the refusal names none of its members.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_sensitive_object_that_does_not_fit_the_next_input() {
    let (house, stub) = house_with(|stub| {
        let of = |key: &str, schema: Value| {
            let input = json!({ "type": "object", "properties": { "v": schema } });
            stub.operation(key, json!({ "inputSchema": input }))
        };
        vec![
            stub.operation("give", sensitive_output()),
            of("closed", json!({ "type": "object", "properties": {}, "additionalProperties": false })),
            of("typed", json!({ "type": "object", "additionalProperties": { "type": "integer" } })),
            of("items", json!({ "type": "object", "additionalProperties": { "items": { "type": "integer" } } })),
        ]
    })
    .await;
    stub.answers("give", 200, json!({ "card": { CARD: [CARD] } }));
    for operation in ["closed", "typed", "items"] {
        let steps = json!([{ "id": "g", "use": "kit/give" },
            { "id": "t", "use": format!("kit/{operation}"), "with": { "v": { "$from": "g", "path": "/card" } } }]);
        let id = submit_steps(&house.agent, steps).await;
        let view = house.until(&id, "failed").await;
        assert_eq!(step(&view, "t")["code"], "INPUT_INVALID", "{operation}: {view}");
        told_nothing(&evidence(&house, &id).await);
        assert!(stub.calls(operation).is_empty());
    }
}

/// A sensitive literal that looks like a marker nobody knows: the diagnostics do not repeat it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_secret_that_looks_like_a_marker() {
    let input = json!({ "type": "object", "properties": { "card": { "x-sensitive": true }, "free": {} } });
    let (house, _stub) = house_with(|stub| vec![stub.operation("take", json!({ "inputSchema": input }))]).await;
    for card in [
        json!({ "$S3CRET": 1 }),
        json!({ "S3CRET": { "$x": 1 } }),
        json!([{ "$S3CRET": { "$S3CRET": 1 } }]),
        json!({ "$from": "t", "S3CRET": 1 }),
        json!({ "$from": { "S3CRET": 1 } }),
        json!({ "$literal": 1, "S3CRET": 2 }),
    ] {
        let draft = json!({ "steps": [{ "id": "t", "use": "kit/take", "with": { "card": card } }] });
        let (_, answer) = house.agent.post("/v1/intents", &json!({ "text": "do it", "draft": draft })).await;
        told_nothing(&answer.to_string());
        if let Some(id) = answer["executionId"].as_str() {
            assert_eq!(house.settled(id).await["status"], "rejected", "{card}");
            told_nothing(&evidence(&house, id).await);
        }
        let (_, explained) = house.approver.post("/v1/policies/explain", &json!({ "draft": draft })).await;
        told_nothing(&explained.to_string());
    }
    // What is not sensitive is named, so that the draft can be mended.
    let draft = json!({ "steps": [{ "id": "t", "use": "kit/take", "with": { "free": { "$frm": "t" } } }] });
    let (_, explained) = house.approver.post("/v1/policies/explain", &json!({ "draft": draft })).await;
    assert!(explained.to_string().contains("$frm"), "{explained}");
}

/// A tool that was sent a secret repeats it in the error of its callback, in every field.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_callbacks_error_repeats_the_secret() {
    let input = json!({ "type": "object", "properties": { "card": { "x-sensitive": true } } });
    let closed = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let (house, stub) = house_with(|stub| {
        vec![stub.operation("take", json!({ "inputSchema": input, "outputSchema": closed, "effect": "idempotent" }))]
    })
    .await;
    stub.answers("take", 202, json!({}));
    for (round, result) in [
        json!({ "error": { "code": "S3CRET", "message": CARD, "title": CARD, CARD: CARD } }),
        json!({ "error": { "code": CARD, "message": [CARD] } }),
        json!({ "error": CARD }),
    ]
    .into_iter()
    .enumerate()
    {
        let id =
            submit_steps(&house.agent, json!([{ "id": "t", "use": "kit/take", "with": { "card": CARD } }])).await;
        let call = stub.nth("take", round + 1).await;
        waiting(&house, &id, ("t", "awaiting_callback")).await;
        let bring = |body: Value| {
            let request = countersign_it::http().post(&call.callback).bearer_auth(&call.warrant).json(&body);
            async move { request.send().await.unwrap().status().as_u16() }
        };
        // A result that does not fit leaves no trace.
        assert_eq!(bring(json!({ "output": { CARD: CARD } })).await, 422);
        assert_eq!(bring(json!({ "output": {}, "error": {} })).await, 422);
        assert_eq!(bring(result.clone()).await, 200, "{result}");
        house.until(&id, "failed").await;
        told_nothing(&evidence(&house, &id).await);
    }
}

/// Commitments of one value in two places, two executions, or beside a guess of the value: none says that they are equal.
#[tokio::test(flavor = "multi_thread")]
async fn attack_commitments_are_compared_and_guessed() {
    let both =
        json!({ "type": "object", "properties": { "a": { "x-sensitive": true }, "b": { "x-sensitive": true } } });
    let (house, stub) =
        house_with(|stub| vec![stub.operation("take", json!({ "inputSchema": both, "outputSchema": both }))]).await;
    stub.answers("take", 200, json!({ "a": "1", "b": "1" }));
    let mut seen = std::collections::BTreeSet::new();
    let mut count = 0;
    for _ in 0..3 {
        let steps = json!([{ "id": "t", "use": "kit/take", "with": { "a": "1", "b": "1" } }]);
        let id = submit_steps(&house.agent, steps).await;
        house.until(&id, "completed").await;
        let (_, shown) = house.approver.get(&format!("/v1/executions/{id}?includePlan=true")).await;
        let (_, trace) = house.approver.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
        let plan = &shown["execution"]["plan"]["steps"][0]["seals"];
        for seals in [plan, &trace["seals"]["t"]] {
            for place in ["/a", "/b"] {
                count += 1;
                seen.insert(seals[place].as_str().unwrap().to_owned());
            }
        }
        // Neither the value alone nor any salt that stands in evidence gives the commitment.
        let mut salts = vec![String::new(), id.clone(), "t".into()];
        let text = evidence(&house, &id).await;
        let words = text.split(|c: char| !c.is_ascii_hexdigit());
        salts.extend(words.filter(|word| word.len() == 32).map(str::to_owned));
        for salt in salts {
            assert!(!seen.contains(cs_core::seal::commitment(&salt, &json!("1")).unwrap().as_str()), "{salt}");
        }
    }
    assert_eq!(seen.len(), count);
}

/// The store is changed so that one execution finds the secrets, or the output, of another: nothing of it reaches a tool.
#[tokio::test]
async fn attack_secrets_and_outputs_are_moved_between_executions() {
    let input = json!({ "inputSchema": { "type": "object", "properties": { "card": { "x-sensitive": true } } } });
    let free = json!({ "type": "object" });
    let operations = [
        ("take", input),
        ("give", sensitive_output()),
        ("plain", json!({ "outputSchema": free })),
        ("next", json!({})),
    ];
    let rig = Rig::new(&operations).await;
    let workspace = &rig.caller.workspace;
    let take = |card: &str| json!([{ "id": "t", "use": "kit/take", "with": { "card": card } }]);
    let (theirs, ours) = (rig.submit(take(CARD)).await, rig.submit(take("own")).await);
    rig.copy(&keys::vault(workspace, &theirs, "draft"), &keys::vault(workspace, &ours, "draft")).await;
    let _ = rig.drive(&ours).await;
    let sent = |what: &str| json!(*rig.tools.received.lock().unwrap()).to_string().contains(what);
    assert!(!sent("S3CRET") && !sent("own"), "neither the other's nor, for it is gone, its own");
    // Another name within one execution, and another workspace of the same name's beginning.
    let steps = json!([{ "id": "g", "use": "kit/give" },
        { "id": "n", "use": "kit/next", "with": { "v": { "$from": "g", "path": "/card" } } }]);
    rig.tools.answers.lock().unwrap().insert("give".into(), json!({ "card": CARD }));
    let theirs = rig.run(steps.clone()).await;
    assert!(sent("S3CRET"));
    rig.tools.received.lock().unwrap().clear();
    rig.tools.answers.lock().unwrap().insert("give".into(), json!({ "card": "own" }));
    let gated = json!([{ "id": "g", "use": "kit/give" },
        { "id": "w", "use": "kit/plain", "after": ["g"], "when": { "$from": "g", "path": "/card", "exists": true } },
        { "id": "n", "use": "kit/next", "after": ["w"], "with": { "v": { "$from": "g", "path": "/card" } } }]);
    let ours = rig.submit(gated).await;
    freeze_operation(&rig, "kit/next", true).await;
    let _ = rig.drive(&ours).await;
    let step = "g".parse().unwrap();
    rig.copy(&keys::vault(workspace, &theirs, "out#g"), &keys::vault(workspace, &ours, "out#g")).await;
    freeze_operation(&rig, "kit/next", false).await;
    let _ = rig.drive(&ours).await;
    assert!(!sent("S3CRET"), "{:?}", rig.tools.received.lock().unwrap());
    // The output as a whole.
    rig.copy(&keys::output(workspace, &theirs, &step), &keys::output(workspace, &ours, &step)).await;
    let _ = rig.drive(&ours).await;
    assert!(!sent("S3CRET"), "{:?}", rig.tools.received.lock().unwrap());
}

async fn freeze_operation(rig: &Rig, key: &str, frozen: bool) {
    let request = json!({ "scope": "operation", "key": key, "frozen": frozen });
    rig.engine.set_freeze(&rig.caller, serde_json::from_value(request).unwrap()).await.unwrap();
}

/// Names that climb out of their folder: every record's blobs lie in a folder of their own, whatever it is called.
#[test]
fn attack_blob_names_that_climb_or_collide() {
    let digest = cs_core::canonical::digest_bytes(b"x");
    let path =
        |partition: &str| BlobName::of(&Key { partition: partition.into(), sort: "b".into() }, digest.clone()).path();
    let mut seen = std::collections::BTreeSet::new();
    let partitions = [
        "ws#acme#exe#1",
        "ws#acme#exe#..",
        "ws#..#..#etc",
        "../../etc",
        "..",
        ".",
        "",
        "#",
        "##",
        "ws#acme/exe#1",
        "ws#acme#exe/1",
        "ws#acme#exe#1\u{0}",
        "ws#acme#exe#1=2f",
        "ws#acme#exe#1/2f",
        "ws#ACME#exe#1",
        "ws#=41cme#exe#1",
        "ws#Acme#exe#1",
        "ws#аcme#exe#1",
        "=-",
        "/etc/passwd",
        "C:\\x",
    ];
    for partition in partitions {
        let path = path(partition);
        let words: Vec<&str> = path.split('/').collect();
        let plain = |word: &&str| !word.is_empty() && **word != *"." && **word != *".." && word.is_ascii();
        assert!(words.iter().all(plain) && !path.contains(['\\', '\0', ':']), "{partition:?}: {path}");
        assert!(seen.insert(path.to_lowercase()), "{partition:?}, where capitals do not count: {path}");
    }
    assert!("..".parse::<contracts::WorkspaceId>().is_err() && "a/b".parse::<contracts::StepId>().is_err());
}

/// A blob or an output of another workspace, named by its digest wherever a caller may write one: nothing is opened.
#[tokio::test(flavor = "multi_thread")]
async fn attack_another_workspaces_artifact_is_named_by_digest() {
    let house = House::start().await;
    let other = countersign_it::Client::new(&house.url(), &house.another().await.approver_key);
    let mut manifest = house.tools.manifests().unwrap().remove(0);
    manifest["skill"]["key"] = json!("stolen");
    let body = install_body(&manifest);
    let mut named = body.clone();
    named["artifact"] = json!({ "blob": format!("sha256:{}", "a".repeat(64)) });
    let (status, answer) = other.post("/v1/skills", &named).await;
    assert!(status >= 400, "{answer}");
    for blob in ["../../settings", "sha256:../../x", "", "sha256:", &"a".repeat(64)] {
        let mut named = body.clone();
        named["artifact"] = json!({ "blob": blob });
        let (status, answer) = house.approver.post("/v1/skills", &named).await;
        assert_eq!((status, &answer["code"]), (422, &json!("VALIDATION_FAILED")), "{blob:?}: {answer}");
    }
}
