//! The client's commands.
#![expect(clippy::indexing_slicing, reason = "a JSON value indexed where it has nothing gives null")]

use crate::{
    Command, KeysCommand, SubmitArgs, Target,
    client::{Client, Failure},
    decide::{self, Decision},
    govern, publisher_keys,
    render::{self, bold, dim, green, text},
    skills,
    visible::{Visible, columns, cut},
};
use anstream::println;
use contracts::limits::PAGE_ITEMS_MAX;
use cs_core::{
    text::escape_foreign,
    trace::{Head, Verifier},
};
use serde_json::{Map, Value, json};
use std::{io::Read as _, path::Path, time::Duration};

/// Prints an answer: as JSON, or by the given renderer.
pub type Show<'s> = &'s dyn Fn(&Value, &dyn Fn(&Visible));

/// Runs a command of the client.
pub async fn run(command: Command, target: &Target) -> Result<u8, Failure> {
    let client = Client::new(&target.endpoint, &target.key)?;
    let show = |value: &Value, line: &dyn Fn(&Visible)| {
        if target.json { render::json(value) } else { line(&Visible::of(value)) }
    };
    let changed = |value: &Visible| {
        println!("{} {}", text(value, "executionId"), render::status(text(value, "status")));
    };
    let path = |execution: &str, verb: &str| format!("/v1/executions/{execution}/{verb}");
    match command {
        Command::Dev(_) | Command::Demo(_) | Command::Tools { .. } => {
            return Err(Failure::Local("not a command of the client".into()));
        }
        Command::Submit(args) => return submit(&client, args, target.json).await,
        Command::Plan(args) => return plan(&client, args, target.json).await,
        Command::Get { execution } => {
            let answer = get(&client, &execution, 0).await?;
            show(&answer, &render::execution);
            if !target.json {
                decide::show_open(&answer);
            }
        }
        Command::List(args) => {
            let mut query = vec![("limit", args.limit.to_string())];
            query.extend(args.status.map(|status| ("status", status)));
            query.extend(args.actor.map(|actor| ("actorId", actor)));
            query.extend(args.cursor.map(|cursor| ("cursor", cursor)));
            show(&client.get("/v1/executions", &query).await?, &list);
        }
        Command::Watch { execution } => return watch(&client, &execution, target.json).await,
        Command::Start { execution, assist } => {
            let view = get(&client, &execution, 0).await?;
            let mut body = json!({ "planId": view["planId"] });
            if assist {
                body["mode"] = "assist".into();
            }
            let answer = client.command(&path(&execution, "start"), &body, None).await?;
            show(&answer, &|value| {
                println!("{} {}", escape_foreign(&execution), render::status(text(value, "status")));
            });
        }
        Command::Approve { execution, step, digest, note } => {
            let step = step.as_deref();
            let decision = Decision { execution: &execution, step, digest, as_json: target.json };
            match decide::approve(&client, decision, note).await? {
                Some(answer) => show(&answer, &changed),
                None => {
                    println!("{}", dim("not approved; nothing was sent"));
                    return Ok(1);
                }
            }
        }
        Command::Reject { execution, step, digest, reason } => {
            let step = step.as_deref();
            let decision = Decision { execution: &execution, step, digest, as_json: target.json };
            show(&decide::reject(&client, decision, reason).await?, &changed);
        }
        Command::Cancel { execution, reason, compensate } => {
            let body = object([("reason", reason.map(Value::from)), ("compensate", Some(compensate.into()))]);
            show(&client.command(&path(&execution, "cancel"), &body, None).await?, &changed);
        }
        Command::Pause(args) => {
            let body = object([("reason", args.reason.map(Value::from))]);
            show(&client.command(&path(&args.execution, "pause"), &body, None).await?, &changed);
        }
        Command::Resume(args) => {
            let body = object([("reason", args.reason.map(Value::from))]);
            show(&client.command(&path(&args.execution, "resume"), &body, None).await?, &changed);
        }
        Command::Abort(args) => {
            let body = object([("reason", args.reason.map(Value::from))]);
            show(&client.command(&path(&args.execution, "abort"), &body, None).await?, &changed);
        }
        Command::Retry { execution, step, reason } => {
            let body = object([("stepId", step.map(Value::from)), ("reason", reason.map(Value::from))]);
            show(&client.command(&path(&execution, "retry"), &body, None).await?, &changed);
        }
        Command::Resolve { execution, step, outcome, evidence } => {
            let evidence = evidence.map(|file| read_json(&file)).transpose()?;
            let body =
                object([("stepId", Some(step.into())), ("outcome", Some(outcome.into())), ("evidence", evidence)]);
            show(&client.command(&path(&execution, "resolve"), &body, None).await?, &changed);
        }
        Command::Trace { execution, verify, payloads } => {
            return trace(&client, &execution, verify, payloads, target.json).await;
        }
        Command::Log { verify } => {
            let log = whole_log(&client).await?;
            return Ok(shown_trace(&log, verify, target.json));
        }
        Command::Output { execution, step } => {
            let query: Vec<(&str, String)> = step.into_iter().map(|step| ("stepId", step)).collect();
            let answer = client.get(&path(&execution, "output"), &query).await?;
            show(&answer, &|value| println!("{:#}", value["outputs"]));
        }
        Command::Replay { execution } => {
            let answer = client.get(&path(&execution, "replay"), &[]).await?;
            show(&answer, &replay);
            return Ok(u8::from(answer["matches"] != Value::Bool(true)));
        }
        Command::Explain { execution, step, draft, text } => {
            let draft = draft.map(|file| read_json(&file)).transpose()?;
            let body = object([
                ("executionId", execution.map(Value::from)),
                ("stepId", step.map(Value::from)),
                ("draft", draft),
                ("text", text.map(Value::from)),
            ]);
            show(&client.ask("/v1/policies/explain", &body).await?, &explain);
        }
        Command::Skill(command) => return skills::run(&client, command, &show, target.json).await,
        Command::Trust(command) => govern::trust(&client, command, &show).await?,
        Command::Policy(command) => return govern::policy(&client, command, &show).await,
        Command::Budget(command) => govern::budget(&client, command, &show).await?,
        Command::Signals(command) => govern::signals(&client, command, &show).await?,
        Command::Freeze(command) => govern::freeze(&client, command, &show).await?,
        Command::Keys(KeysCommand::Generate { out }) => publisher_keys::generate(&out, target.json)?,
        Command::Keys(KeysCommand::Public { file }) => publisher_keys::public(&file)?,
        Command::Keys(command) => keys(&client, command, &show).await?,
        Command::Capabilities => show(&client.get("/v1/capabilities", &[]).await?, &|value| {
            let rows: Vec<Vec<String>> = items(value, "capabilities")
                .iter()
                .map(|offer| {
                    let offered = if offer["offered"] == Value::Bool(true) { "enabled" } else { "absent" };
                    let count = items(offer, "operations").len();
                    vec![text(offer, "key").into(), text(offer, "version").into(), offered.into(), count.to_string()]
                })
                .collect();
            render::table(&["capability", "version", "offered", "operations"], &rows);
        }),
    }
    Ok(0)
}

pub fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let map: Map<String, Value> =
        fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    Value::Object(map)
}

pub fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub fn read_json(file: &Path) -> Result<Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Local(format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    } else {
        bytes = std::fs::read(file).map_err(|error| failed(&error))?;
    }
    contracts::json::decode(&bytes).map_err(|error| failed(&error))
}

/// An execution with its plan.
pub async fn get(client: &Client, execution: &str, wait_seconds: u32) -> Result<Value, Failure> {
    let query = [("waitSeconds", wait_seconds.to_string()), ("includePlan", "true".to_owned())];
    let mut answer = client.get(&format!("/v1/executions/{execution}"), &query).await?;
    Ok(answer["execution"].take())
}

fn body_of(args: &SubmitArgs, mode: &str) -> Result<Value, Failure> {
    let draft = args.draft.as_deref().map(read_json).transpose()?;
    let playbook = match &args.playbook {
        Some(key) => {
            let inputs: Value = contracts::json::decode(args.inputs.as_bytes())
                .map_err(|error| Failure::Local(format!("--inputs: {error}")))?;
            Some(json!({ "key": key, "inputs": inputs }))
        }
        None => None,
    };
    Ok(object([
        ("text", Some(args.text.clone().into())),
        ("draft", draft),
        ("playbook", playbook),
        ("mode", Some(mode.into())),
        ("channelKey", args.channel.clone().map(Value::from)),
        ("onBehalfOf", args.on_behalf_of.clone().map(Value::from)),
    ]))
}

async fn submit(client: &Client, args: SubmitArgs, as_json: bool) -> Result<u8, Failure> {
    let body = body_of(&args, &args.mode)?;
    let answer = client.command("/v1/intents", &body, args.idempotency_key.clone()).await?;
    let id = text(&answer, "executionId").to_owned();
    if args.watch {
        return watch(client, &id, as_json).await;
    }
    // A draft that is no plan is told of at once.
    let view = if args.mode == "manual" { None } else { judged(client, &id).await };
    let rejected = view.as_ref().is_some_and(|view| text(view, "status") == "rejected");
    match &view {
        Some(view) if as_json && rejected => render::json(view),
        Some(view) if rejected => render::execution(&Visible::of(view)),
        Some(_) | None if as_json => render::json(&answer),
        Some(view) => println!("{} {}", bold(&id), render::status(text(view, "status"))),
        None => println!("{} {}", bold(&id), render::status(text(&answer, "status"))),
    }
    Ok(u8::from(rejected))
}

// What became of a draft, if that is known within moments and the key may see it.
async fn judged(client: &Client, execution: &str) -> Option<Value> {
    for _ in 0..20 {
        let view = get(client, execution, 0).await.ok()?;
        if !matches!(text(&view, "status"), "received" | "compiled") {
            return Some(view);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

async fn plan(client: &Client, args: SubmitArgs, as_json: bool) -> Result<u8, Failure> {
    let answer = client.command("/v1/intents", &body_of(&args, "dryRun")?, args.idempotency_key.clone()).await?;
    let id = text(&answer, "executionId").to_owned();
    let view = get(client, &id, 20).await?;
    if as_json {
        render::json(&view)
    } else {
        render::execution(&Visible::of(&view))
    }
    Ok(u8::from(text(&view, "status") == "rejected"))
}

/// Follows an execution; its events are printed as they come.
async fn watch(client: &Client, execution: &str, as_json: bool) -> Result<u8, Failure> {
    let mut from = 1;
    let mut mode = String::new();
    loop {
        let query = [("fromSeq", from.to_string())];
        // The view first: when it says that nothing moves, the trace that follows is whole.
        let view = get(client, execution, 0).await?;
        let trace = client.get(&format!("/v1/executions/{execution}/trace"), &query).await?;
        for entry in items(&trace, "entries") {
            if as_json {
                render::json(&entry["event"])
            } else {
                render::entry(&Visible::of(entry))
            }
            from = entry["seq"].as_u64().unwrap_or(from) + 1;
            if entry["type"] == "controlPlane.intent.received" {
                mode = text(&entry["metadata"], "mode").to_owned();
            }
        }
        let status = text(&view, "status");
        let rests = match status {
            "completed" | "failed" | "cancelled" | "rejected" | "blocked" | "paused" => true,
            // One that runs on its own starts in a moment.
            "verified" => mode != "auto",
            "received" | "compiled" => mode == "manual",
            _ => false,
        };
        if rests {
            if !as_json {
                render::execution(&Visible::of(&view));
                decide::show_open(&view);
            }
            let well = matches!(status, "completed" | "verified" | "received" | "compiled");
            return Ok(u8::from(!well));
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

// Two lines an execution, so that both its id and its words have room.
fn list(value: &Visible) {
    println!("{}", dim("execution, status, risk, updated; what it touches, who asked, the intent"));
    for item in items(value, "items") {
        println!(
            "{}  {}  {}  {}",
            bold(text(item, "executionId")),
            render::status(text(item, "status")),
            render::status(text(item, "riskTier")),
            dim(text(item, "updatedAt").get(..19).unwrap_or_default())
        );
        let money = items(item, "money").iter().map(|money| match text(money, "amount") {
            "" => format!("{} minor units of {}", money["minor"], text(money, "currency")),
            amount => format!("{amount} {}", text(money, "currency")),
        });
        let recipients = item.get("recipients").and_then(Value::as_u64).map(|count| format!("{count} recipients"));
        let touches: Vec<String> = money.chain(recipients).collect();
        let touches = if touches.is_empty() { String::new() } else { format!("{}  ", touches.join(", ")) };
        let line = format!("{touches}{}: \"{}\"", text(item, "actorId"), text(item, "text").replace('"', "\\\""));
        println!("  {}", cut(&line, columns().saturating_sub(2)));
    }
    if let Some(next) = value.get("next").and_then(Value::as_str) {
        println!("{}", dim(&format!("more: --cursor '{next}'")));
    }
}

async fn trace(client: &Client, execution: &str, verify: bool, payloads: bool, as_json: bool) -> Result<u8, Failure> {
    let query = [("includePayloads", payloads.to_string())];
    let trace = client.get(&format!("/v1/executions/{execution}/trace"), &query).await?;
    Ok(shown_trace(&trace, verify, as_json))
}

/// Every page of the workspace log as one trace.
async fn whole_log(client: &Client) -> Result<Value, Failure> {
    let mut log = client.get("/v1/log", &[("limit", PAGE_ITEMS_MAX.to_string())]).await?;
    while let Some(next) = log["next"].as_str().map(str::to_owned) {
        let query = [("limit", PAGE_ITEMS_MAX.to_string()), ("cursor", next)];
        let mut page = client.get("/v1/log", &query).await?;
        let mut entries = log["entries"].take();
        if let (Some(all), Some(more)) = (entries.as_array_mut(), page["entries"].as_array_mut()) {
            all.append(more);
        }
        log = page;
        log["entries"] = entries;
    }
    Ok(log)
}

fn shown_trace(trace: &Value, verify: bool, as_json: bool) -> u8 {
    let broken = check(trace);
    match (as_json, verify) {
        (true, false) => render::json(trace),
        (true, true) => render::json(&json!({
            "verified": broken.is_none(),
            "events": items(trace, "entries").len(),
            "head": trace["head"],
            "problem": broken.as_deref(),
        })),
        (false, _) => {
            let shown = Visible::of(trace);
            items(&shown, "entries").iter().for_each(render::entry);
            for (step, output) in shown.get("payloads").and_then(Value::as_object).into_iter().flatten() {
                render::field(5, step, &output.to_string());
            }
            let omitted = items(&shown, "payloadsOmitted").len();
            if omitted > 0 {
                render::field(5, "left out", &format!("{omitted} more outputs: the answer is full"));
            }
        }
    }
    if verify && !as_json {
        match &broken {
            None => println!(
                "{} {} events, head {}",
                green("✓ the chain verifies:"),
                items(trace, "entries").len(),
                escape_foreign(trace["head"]["hash"].as_str().unwrap_or_default())
            ),
            Some(why) => println!("{} {}", render::status("failed"), escape_foreign(why)),
        }
    }
    u8::from(verify && broken.is_some())
}

/// Where a chain breaks, checked here from the stored entries.
pub fn check(trace: &Value) -> Option<String> {
    let head: Head =
        match serde_json::from_value(json!({ "seq": trace["head"]["seq"], "hash": trace["head"]["hash"] })) {
            Ok(head) => head,
            Err(error) => return Some(error.to_string()),
        };
    let mut verifier = Verifier::default();
    let outcome = items(trace, "entries").iter().try_for_each(|entry| verifier.push(&entry["event"]));
    outcome.and_then(|()| verifier.finish(&head)).err().map(|broken| broken.to_string())
}

fn replay(value: &Visible) {
    let checked = items(value, "checked").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    if value["matches"] == Value::Bool(true) {
        println!("{} {checked}", green("✓ replays to the stored"));
        return;
    }
    for difference in items(value, "differences") {
        println!("{} {} {}", render::status("failed"), bold(text(difference, "check")), text(difference, "path"));
        render::field(2, "stored  ", &difference["stored"].to_string());
        render::field(2, "replayed", &difference["replayed"].to_string());
    }
}

fn explain(value: &Visible) {
    println!(
        "{} {} {} {}",
        render::status(text(value, "verdict")),
        render::status(text(value, "riskTier")),
        dim("under policy version"),
        text(value, "policyVersion")
    );
    for step in items(value, "steps") {
        println!(
            "{} {} {}",
            bold(text(step, "stepId")),
            render::status(text(step, "verdict")),
            render::status(text(step, "riskTier"))
        );
        let say = |title: &str, key: &str| {
            for word in items(step, key).iter().filter_map(Value::as_str) {
                render::field(2, title, word);
            }
        };
        say("reason", "reasons");
        for policy in items(step, "policies") {
            let file = policy.get("file").and_then(Value::as_str).unwrap_or("line");
            let place = format!("{file}:{}", policy["line"]);
            println!("  {} {} {} {}", dim("policy"), text(policy, "effect"), bold(text(policy, "id")), dim(&place));
        }
        say("error ", "errors");
        render::field(2, "request", &step["request"].to_string());
    }
}

// All pages as one.
async fn every_key(client: &Client) -> Result<Value, Failure> {
    let mut all = Vec::new();
    let mut query = vec![("limit", "200".to_owned())];
    loop {
        let mut page = client.get("/v1/keys", &query).await?;
        if let Some(items) = page["items"].as_array_mut() {
            all.append(items);
        }
        match page["next"].as_str() {
            Some(next) => {
                query.truncate(1);
                query.push(("cursor", next.to_owned()));
            }
            None => return Ok(json!({ "items": all })),
        }
    }
}

async fn keys(client: &Client, command: KeysCommand, show: Show<'_>) -> Result<(), Failure> {
    match command {
        KeysCommand::Generate { .. } | KeysCommand::Public { .. } => {
            return Err(Failure::Local("not a command of the client".into()));
        }
        KeysCommand::Create { actor, kind, grant, expires_at } => {
            let defaults =
                if kind == "human" { engine::access::approver_grants() } else { engine::access::agent_grants() };
            let full = |grant: String| {
                if grant.starts_with("control-plane.") { grant } else { format!("control-plane.{grant}") }
            };
            let grants: Vec<String> =
                if grant.is_empty() { defaults.into_iter().collect() } else { grant.into_iter().map(full).collect() };
            let body = object([
                ("actor", Some(json!({ "kind": kind, "id": actor }))),
                ("grants", Some(grants.into())),
                ("expiresAt", expires_at.map(Value::from)),
            ]);
            show(&client.command("/v1/keys", &body, None).await?, &|value| {
                println!("{}", dim("shown once:"));
                println!("{}", text(value, "apiKey"));
            });
        }
        KeysCommand::Deciders { services, none, reason } => {
            let answer = if services.is_empty() && !none {
                client.get("/v1/deciders", &[]).await?
            } else {
                let body = object([("services", Some(services.into())), ("reason", reason.map(Value::from))]);
                client.command("/v1/deciders", &body, None).await?
            };
            show(&answer, &|value| {
                let services = items(value, "services").iter().filter_map(Value::as_str).collect::<Vec<_>>();
                let line = if services.is_empty() { "only people decide".to_owned() } else { services.join(", ") };
                println!("{line}");
            });
        }
        KeysCommand::List => show(&every_key(client).await?, &|value| {
            let rows: Vec<Vec<String>> = items(value, "items")
                .iter()
                .map(|key| {
                    let state = if key.get("revokedAt").is_some() { "revoked" } else { "enabled" };
                    let actor = &key["actor"];
                    [
                        text(key, "id"),
                        state,
                        text(actor, "kind"),
                        text(actor, "id"),
                        text(key, "createdAt"),
                        text(key, "expiresAt"),
                    ]
                    .map(str::to_owned)
                    .to_vec()
                })
                .collect();
            render::table(&["key", "status", "kind", "actor", "created", "expires"], &rows);
        }),
        KeysCommand::Revoke { id } => {
            let answer = client.command(&format!("/v1/keys/{id}/revoke"), &json!({}), None).await?;
            show(&answer, &|value| println!("{} revoked", text(value, "id")));
        }
    }
    Ok(())
}
