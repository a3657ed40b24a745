//! Skills and their keys: made, signed, verified, installed.
#![expect(clippy::indexing_slicing, reason = "a JSON value indexed where it has nothing gives null")]

use crate::{
    SkillCommand,
    client::{Client, Failure},
    commands::{Show, items, object, read_json},
    mcp_import::{Imported, Server},
    publisher_keys,
    render::{self, bold, dim, green, text},
    visible::Visible,
};
use anstream::println;
use contracts::{Timestamp, manifest::Manifest};
use cs_core::{artifact, publisher::Publisher, skill::Skill, text::escape_foreign};
use engine::ports::Clock as _;
use host::SystemClock;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

const DAY_MS: i64 = 86_400_000;
/// How far back a signature is dated: clocks differ.
const BACKDATED_MS: i64 = 60_000;

fn failed(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Local(format!("{}: {error}", path.display()))
}

/// Runs a command on skills.
pub async fn run(client: &Client, command: SkillCommand, show: Show<'_>, as_json: bool) -> Result<u8, Failure> {
    match command {
        SkillCommand::Init { name, publisher, mcp, only, except } => {
            init(&name, &publisher, mcp.map(|url| Server { url, only, except })).await?;
        }
        SkillCommand::Sign { skill, with, days, out } => {
            let (bundle, file) = sign(&skill, &with, days, out)?;
            fs::write(&file, format!("{bundle:#}\n")).map_err(|error| failed(&file, error))?;
            if as_json {
                render::json(&json!({ "file": file, "artifactDigest": bundle["artifactDigest"] }));
            } else {
                println!(
                    "{} {}  {}",
                    green("✓"),
                    bold(&file.display().to_string()),
                    dim(&format!("signed for {days} days; install it with `countersign skill install`"))
                );
            }
        }
        SkillCommand::Verify { bundle } => {
            let answer = client.ask("/v1/skills/verify", &bundle_of(&bundle)?).await?;
            show(&answer, &verified);
            return Ok(u8::from(answer["verified"] != Value::Bool(true)));
        }
        SkillCommand::Install { bundle, allow_downgrade } => {
            let mut body = bundle_of(&bundle)?;
            if let (true, Some(body)) = (allow_downgrade, body.as_object_mut()) {
                body.insert("allowDowngrade".into(), true.into());
            }
            show(&client.command("/v1/skills", &body, None).await?, &installed);
        }
        SkillCommand::Disable { skill, version, reason } => {
            let body = object([("version", version.map(Value::from)), ("reason", reason.map(Value::from))]);
            show(&client.command(&format!("/v1/skills/{skill}/disable"), &body, None).await?, &installed);
        }
        SkillCommand::Enable { skill, version, reason } => {
            let body = object([("version", version.map(Value::from)), ("reason", reason.map(Value::from))]);
            show(&client.command(&format!("/v1/skills/{skill}/enable"), &body, None).await?, &installed);
        }
        SkillCommand::List { all } => {
            let query = [("includeDisabled", all.to_string()), ("limit", "200".to_owned())];
            show(&client.get("/v1/skills", &query).await?, &list);
        }
    }
    Ok(0)
}

// What `sign` wrote; a bare manifest is pointed out before the control plane refuses it.
fn bundle_of(file: &Path) -> Result<Value, Failure> {
    let bundle = read_json(file)?;
    if bundle.get("schemaVersion").is_some() {
        let message = "a manifest that nobody signed: `countersign skill sign` makes the bundle to install";
        return Err(failed(file, message));
    }
    Ok(bundle)
}

fn installed(value: &Visible) {
    println!(
        "{} {} {}",
        bold(text(value, "skillKey")),
        text(value, "version"),
        render::status(text(value, "status"))
    );
    for issue in items(value, "issues") {
        println!("  {} {}", dim(text(issue, "code")), text(issue, "message"));
    }
    if let Some(count) = value.get("voidedSteps") {
        println!("  {}", dim(&format!("{count} unstarted steps will not run")));
    }
}

fn verified(value: &Visible) {
    for (key, what) in [
        ("signatureVerified", "signed, now, by the key it names"),
        ("publisherTrusted", "by a publisher that the workspace trusts"),
        ("compatibilityVerified", "for this control plane"),
        ("verified", "can be installed"),
    ] {
        let mark = if value[key] == Value::Bool(true) { green("✓") } else { render::status("✗") };
        println!("{mark} {what}");
    }
    for issue in items(value, "issues") {
        println!("  {} {}", bold(text(issue, "code")), text(issue, "message"));
    }
}

fn list(value: &Visible) {
    let rows: Vec<Vec<String>> = items(value, "items")
        .iter()
        .map(|item| {
            let operations = items(item, "operations").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
            let until = text(item, "expiresAt").chars().take(10).collect();
            let words = ["skillKey", "version", "status", "publisher"].map(|key| text(item, key).to_owned());
            words.into_iter().chain([until, operations]).collect()
        })
        .collect();
    render::table(&["skill", "version", "status", "publisher", "until", "operations"], &rows);
}

// A folder with a manifest and the files that go with it.
async fn init(name: &str, publisher: &str, server: Option<Server>) -> Result<(), Failure> {
    let folder = Path::new(name);
    let key = folder.file_name().and_then(|name| name.to_str()).unwrap_or(name);
    let imported = match server {
        Some(server) => server.import().await?,
        None => Imported { operations: vec![example(key)], ..Imported::default() },
    };
    let manifest = json!({
        "schemaVersion": "1.0.0",
        "skill": { "key": key, "version": "0.1.0", "description": "What it is for" },
        "publisher": { "id": publisher, "provenance": format!("local/{publisher}") },
        "artifact": { "digest": artifact::digest(b"") },
        "compatibility": { "contractsSpec": { "minVersion": "1.0.0" } },
        "operations": imported.operations,
    });
    check(folder, &manifest)?;
    let files = folder.join("files");
    fs::create_dir_all(&files).map_err(|error| failed(&files, error))?;
    for (path, content) in [
        (folder.join("skill.json"), format!("{manifest:#}\n")),
        (files.join("README.md"), format!("# {key}\n\nWhat its operations do, and for whom.\n")),
    ] {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = file.map_err(|error| failed(&path, error))?;
        file.write_all(content.as_bytes()).map_err(|error| failed(&path, error))?;
    }
    println!(
        "{} {}  {}",
        green("✓"),
        bold(&format!("{}/skill.json", folder.display())),
        dim("the manifest: look at effects and risk tiers")
    );
    println!("  {}/files/  {}", folder.display(), dim("what is packed and signed with it"));
    for (tool, why) in &imported.left {
        render::field(2, "left out", &format!("{}: {}", escape_foreign(tool), escape_foreign(why)));
    }
    Ok(())
}

fn example(key: &str) -> Value {
    json!({
        "key": "note.add", "title": "Add a note",
        "inputSchema": { "type": "object", "additionalProperties": false, "required": ["text"],
            "properties": { "text": { "type": "string", "minLength": 1 } } },
        "outputSchema": { "type": "object", "required": ["noteId"], "properties": { "noteId": { "type": "string" } } },
        "effect": "idempotent", "riskTier": "low", "timeoutSeconds": 10,
        "binding": { "kind": "http", "url": format!("http://127.0.0.1:7412/{key}/note.add") },
    })
}

// Everything that the control plane would say of the manifest, before it is signed.
fn check(path: &Path, manifest: &Value) -> Result<Manifest, Failure> {
    let manifest: Manifest =
        contracts::json::typed(manifest.clone()).map_err(|problem| wrong(path, &problem.issues))?;
    Skill::new(manifest.clone()).map_err(|(_, issues)| wrong(path, &issues))?;
    Ok(manifest)
}

fn wrong(path: &Path, issues: &[contracts::Issue]) -> Failure {
    let lines: Vec<String> = issues.iter().map(|issue| format!("\n  {}: {}", issue.pointer, issue.message)).collect();
    failed(path, format!("not a manifest that can be signed{}", lines.concat()))
}

fn sign(skill: &Path, key: &Path, days: u32, out: Option<PathBuf>) -> Result<(Value, PathBuf), Failure> {
    let signing = publisher_keys::private(key)?;
    let folder = skill.is_dir();
    let file = if folder { skill.join("skill.json") } else { skill.to_owned() };
    let manifest = check(&file, &read_json(&file)?)?;
    let mut files = BTreeMap::new();
    if folder {
        gather(&skill.join("files"), "", &mut files)?;
    }
    let bytes = artifact::pack(&files).map_err(|error| failed(skill, error))?;
    let now = SystemClock.now();
    let until = now.plus_ms(i64::from(days) * DAY_MS);
    let name = format!("{}-{}.skill.json", manifest.skill.key, manifest.skill.version);
    let from: Timestamp = now.plus_ms(-BACKDATED_MS);
    let bundle = Publisher::new(signing).sign(manifest, &bytes, from, until).map_err(|error| failed(skill, error))?;
    let bundle = serde_json::to_value(bundle).map_err(|error| failed(skill, error))?;
    Ok((bundle, out.unwrap_or_else(|| name.into())))
}

fn gather(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(()); // no files are no fault
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed(folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().map_err(|error| failed(&entry.path(), error))?;
        if kind.is_dir() {
            gather(&entry.path(), &path, files)?;
        } else if kind.is_file() {
            files.insert(path, fs::read(entry.path()).map_err(|error| failed(&entry.path(), error))?);
        } else {
            return Err(failed(&entry.path(), "a link or the like; an artifact has files only"));
        }
    }
    Ok(())
}
