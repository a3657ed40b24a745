//! What a workspace lets happen: trust, policies, budgets, freezes.
#![expect(clippy::indexing_slicing, reason = "a JSON value indexed where it has nothing gives null")]

use crate::{
    BudgetCommand, FreezeCommand, PolicyCommand, SignalsCommand, TrustCommand,
    client::{Client, Failure},
    commands::{Show, items, object, read_json},
    publisher_keys,
    render::{self, bold, dim, green, text},
    visible::Visible,
};
use anstream::{print, println};
use engine::ports::Clock as _;
use host::SystemClock;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const DAY_MS: i64 = 86_400_000;
/// Proves properties of policy sets; a program of its own, for its solver is heavy.
const PROVER: &str = "countersign-prove";

/// Runs a command on the trust policy.
pub async fn trust(client: &Client, command: TrustCommand, show: Show<'_>) -> Result<(), Failure> {
    let mut current = client.get("/v1/trust", &[]).await?;
    let version = current["version"].clone();
    let policy = &mut current["trust"];
    match command {
        TrustCommand::Show => {
            show(&current, &shown_trust);
            return Ok(());
        }
        TrustCommand::Add { publisher, public, provenance } => {
            let key = publisher_keys::shown(&publisher_keys::pinned(&public)?);
            let own = |known: &Value| known["id"] == publisher.as_str();
            let known = items(policy, "trustedPublishers").iter().find(|known| own(known)).cloned();
            let new = json!({ "id": publisher, "keys": [], "provenancePrefixes": [] });
            let mut known = known.unwrap_or(new);
            put(&mut known, "keys", key.clone(), |other| other["keyId"] == key["keyId"]);
            for prefix in &provenance {
                put(&mut known, "provenancePrefixes", prefix.as_str().into(), |other| *other == prefix.as_str());
            }
            put(policy, "trustedPublishers", known, own);
        }
        TrustCommand::Remove { publisher } => {
            let mut known = items(policy, "trustedPublishers").to_vec();
            known.retain(|known| known["id"] != publisher.as_str());
            policy["trustedPublishers"] = known.into();
        }
        TrustCommand::Revoke { digest } => {
            put(policy, "revokedDigests", digest.as_str().into(), |other| *other == digest.as_str());
        }
        TrustCommand::Minimum { skill, version } => {
            if !policy["minimumVersions"].is_object() {
                policy["minimumVersions"] = json!({});
            }
            policy["minimumVersions"][skill] = version.into();
        }
    }
    let body = json!({ "trust": policy, "expectedVersion": version });
    show(&client.command("/v1/trust", &body, None).await?, &shown_trust);
    Ok(())
}

// Puts a value into a list of an object, in place of one that is the same.
fn put(object: &mut Value, key: &str, value: Value, same: impl Fn(&Value) -> bool) {
    let mut list = items(object, key).to_vec();
    list.retain(|other| !same(other));
    list.push(value);
    object[key] = list.into();
}

fn shown_trust(value: &Visible) {
    println!("{} {}", dim("trust policy, version"), value["version"]);
    for publisher in items(&value["trust"], "trustedPublishers") {
        let words = |key: &str, field: Option<&str>| {
            let items = items(publisher, key).iter();
            items.filter_map(|item| field.map_or(item, |field| &item[field]).as_str()).collect::<Vec<_>>().join(", ")
        };
        println!("  {}  {} {}", bold(text(publisher, "id")), dim("keys"), words("keys", Some("keyId")));
        println!("    {} {}", dim("builds at"), words("provenancePrefixes", None));
    }
    if items(&value["trust"], "trustedPublishers").is_empty() {
        println!("  {}", dim("nobody: no skill can be installed"));
    }
    for digest in items(&value["trust"], "revokedDigests") {
        println!("  {} {}", render::status("revoked"), digest.as_str().unwrap_or_default());
    }
    for (skill, version) in value["trust"]["minimumVersions"].as_object().into_iter().flatten() {
        println!("  {skill} {} {}", dim("from"), version.as_str().unwrap_or_default());
    }
    for skill in items(value, "revoked") {
        println!(
            "  {} {} {}  {}",
            render::status("revoked"),
            text(skill, "skillKey"),
            text(skill, "version"),
            dim(text(skill, "reason"))
        );
    }
    if let Some(count) = value["voidedSteps"].as_u64().filter(|count| *count > 0) {
        println!("  {}", dim(&format!("{count} unstarted steps will not run")));
    }
}

/// The files of a set as one text; a line above each says which it is, so that explanations name it.
fn gather(files: &[PathBuf]) -> Result<String, Failure> {
    let mut text = String::new();
    for file in files {
        let content =
            std::fs::read_to_string(file).map_err(|error| Failure::Local(format!("{}: {error}", file.display())))?;
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        text += &format!("// file: {name}\n{}\n", content.trim_end());
    }
    Ok(text)
}

/// Runs a command on policies.
pub async fn policy(client: &Client, command: PolicyCommand, show: Show<'_>) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Show => show(&client.get("/v1/policies", &[]).await?, &|value| {
            println!(
                "{} {}  {} {}",
                dim("policy set, version"),
                text(value, "policyVersion"),
                dim("active since"),
                text(value, "activatedAt")
            );
            print!("{}", value.document("policies"));
        }),
        PolicyCommand::Template { name } => template(name.as_deref())?,
        PolicyCommand::Activate { files, note, dry_run, days } => {
            let body = object([
                ("policies", Some(gather(&files)?.into())),
                ("note", note.map(Value::from)),
                ("dryRun", Some(dry_run.into())),
                ("backtestDays", days.map(Value::from)),
            ]);
            show(&client.command("/v1/policies", &body, None).await?, &activated);
        }
        PolicyCommand::Backtest { files, days } => {
            let now = SystemClock.now();
            let body = json!({ "policies": gather(&files)?, "from": now.plus_ms(-i64::from(days) * DAY_MS), "to": now.plus_ms(1) });
            show(&client.ask("/v1/policies/backtest", &body).await?, &|value| changes(value, "changed"));
        }
        PolicyCommand::Shadow { files, stop } => {
            let answer = if files.is_empty() && !stop {
                client.get("/v1/policies/shadow", &[]).await?
            } else {
                let policies = if stop { None } else { Some(gather(&files)?.into()) };
                client.command("/v1/policies/shadow", &object([("policies", policies)]), None).await?
            };
            show(&answer, &|value| {
                match value.get("digest").and_then(Value::as_str) {
                    Some(digest) => println!("{} {digest}", dim("in shadow")),
                    None => println!("{}", dim("no candidate is in shadow")),
                }
                changes(value, "changed");
            });
        }
        PolicyCommand::Prove { files, than } => return prove(client, &files, than.as_deref()).await,
    }
    Ok(0)
}

fn template(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else {
        let rows: Vec<Vec<String>> = policy::TEMPLATES
            .iter()
            .map(|(name, text)| {
                let says = text.lines().next().unwrap_or_default().trim_start_matches("// ").to_owned();
                vec![(*name).to_owned(), says]
            })
            .collect();
        render::table(&["template", "what it says"], &rows);
        return Ok(());
    };
    let found = policy::TEMPLATES.iter().find(|(known, _)| *known == name);
    let (_, text) =
        found.ok_or_else(|| Failure::Local(format!("no template `{name}`; `policy template` lists them")))?;
    anstream::print!("{text}");
    Ok(())
}

fn activated(value: &Visible) {
    changes(value, "changes");
    if value["active"] == Value::Bool(true) {
        println!(
            "{} version {} is active  {}",
            green("✓"),
            bold(text(value, "policyVersion")),
            dim(text(value, "digest"))
        );
    } else {
        println!("{}", dim("a dry run: nothing was activated"));
    }
}

fn changes(value: &Value, key: &str) {
    let changed = items(value, key);
    for change in changed {
        println!(
            "{} {}  {} → {}  {}",
            text(change, "executionId"),
            bold(text(change, "stepId")),
            render::status(text(change, "was")),
            render::status(text(change, "would")),
            dim(&items(change, "reasons").iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "))
        );
    }
    if let Some(evaluated) = value.get("evaluated") {
        println!(
            "{}",
            dim(&format!("{evaluated} steps evaluated again, {} verdicts would be others", changed.len()))
        );
    }
    if value["truncated"] == Value::Bool(true) {
        println!("{}", bold("not all of the window was evaluated: narrow it"));
    }
}

// The prover is a program of its own, beside this one or on the PATH. It proves for the operations of the workspace, and
// against its active set unless another is named.
async fn prove(client: &Client, files: &[PathBuf], than: Option<&Path>) -> Result<u8, Failure> {
    let local = |error: std::io::Error| Failure::Local(error.to_string());
    let active = client.get("/v1/policies", &[]).await?;
    let folder = std::env::temp_dir().join(format!("countersign-prove-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(local)?;
    let (schema, current) = (folder.join("schema.json"), folder.join("active.cedar"));
    std::fs::write(&schema, active["schema"].to_string()).map_err(local)?;
    std::fs::write(&current, text(&active, "policies")).map_err(local)?;
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(PROVER)).filter(|path| path.exists());
    let mut command = std::process::Command::new(beside.unwrap_or_else(|| PROVER.into()));
    command.arg("--schema").arg(&schema).arg("--than").arg(than.unwrap_or(&current));
    let outcome = command.args(files).status();
    let _ = std::fs::remove_dir_all(&folder);
    match outcome {
        Ok(status) => Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3)),
        Err(error) => Err(Failure::Local(format!(
            "`{PROVER}` cannot be run ({error}): build it with `cargo build --release --manifest-path cli/prove/Cargo.toml` \
             and put it on the PATH; it needs the solver cvc5"
        ))),
    }
}

/// Runs a command on freezes.
pub async fn freeze(client: &Client, command: FreezeCommand, show: Show<'_>) -> Result<(), Failure> {
    let answer = match command {
        FreezeCommand::List => client.get("/v1/freezes", &[]).await?,
        FreezeCommand::Set { scope, what, reason, force } => {
            let body = object([
                ("scope", Some(scope.into())),
                ("key", what.map(Value::from)),
                ("frozen", Some(true.into())),
                ("force", force.then(|| true.into())),
                ("reason", reason.map(Value::from)),
            ]);
            client.command("/v1/freezes", &body, None).await?
        }
        FreezeCommand::Lift { scope, what } => {
            let body = object([
                ("scope", Some(scope.into())),
                ("key", what.map(Value::from)),
                ("frozen", Some(false.into())),
            ]);
            client.command("/v1/freezes", &body, None).await?
        }
    };
    show(&answer, &|value| {
        let rows: Vec<Vec<String>> = items(value, "items")
            .iter()
            .map(|item| ["scope", "key", "since", "actorId", "reason"].map(|key| text(item, key).to_owned()).to_vec())
            .collect();
        if rows.is_empty() {
            println!("{}", dim("nothing is frozen"));
        } else {
            render::table(&["frozen", "key", "since", "by", "reason"], &rows);
        }
    });
    Ok(())
}

/// Runs a command on the phrases that raise an intent's risk.
pub async fn signals(client: &Client, command: SignalsCommand, show: Show<'_>) -> Result<(), Failure> {
    let answer = match command {
        SignalsCommand::Show => client.get("/v1/signals", &[]).await?,
        SignalsCommand::Set { file, reason } => {
            let phrases = file.map(|file| read_json(&file)).transpose()?;
            let body = object([("phrases", phrases), ("reason", reason.map(Value::from))]);
            client.command("/v1/signals", &body, None).await?
        }
    };
    show(&answer, &|value| {
        let row = |phrase: &Value| vec![text(phrase, "tier").to_owned(), text(phrase, "phrase").to_owned()];
        let rows: Vec<Vec<String>> = items(value, "phrases").iter().map(row).collect();
        render::table(&["raises to", "phrase"], &rows);
    });
    Ok(())
}

/// Runs a command on budgets.
pub async fn budget(client: &Client, command: BudgetCommand, show: Show<'_>) -> Result<(), Failure> {
    let answer = match command {
        BudgetCommand::Show => client.get("/v1/budgets", &[]).await?,
        BudgetCommand::Set { file, reason, force } => {
            let body = object([
                ("budgets", Some(read_json(&file)?)),
                ("reason", reason.map(Value::from)),
                ("force", force.then(|| true.into())),
            ]);
            client.command("/v1/budgets", &body, None).await?
        }
    };
    show(&answer, &|value| {
        if let Some(plan) = value["budgets"].get("plan") {
            println!("{} {plan}", dim("one plan"));
        }
        for meter in items(&value["budgets"], "meters") {
            let limit = meter.get("limit").map_or_else(|| "counted".to_owned(), |limit| format!("at most {limit}"));
            println!(
                "{}  {} {limit} within {} s",
                bold(text(meter, "id")),
                text(meter, "scope"),
                meter["windowSeconds"]
            );
            for usage in items(value, "usage").iter().filter(|usage| usage["meter"] == meter["id"]) {
                println!("  {} {}", usage["used"], dim(text(usage, "of")));
            }
        }
        if value["budgets"].get("plan").is_none() && items(&value["budgets"], "meters").is_empty() {
            println!("{}", dim("nothing is limited"));
        }
    });
    Ok(())
}
