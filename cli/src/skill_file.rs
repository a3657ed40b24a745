//! The files of a skill: a manifest to begin with, and the signed bundle of a folder.

use crate::{
    context::read_document,
    error::CliError,
    mcp_import::{Imported, Server},
    publisher_keys,
    render::{self, bold, dim, green},
};
use anstream::println;
use contracts::{Digest, Issue, Timestamp, manifest::Manifest};
use countersign_store::Clock as _;
use cs_core::{artifact, publisher::SkillSigner, skill::Skill, text::escape_foreign};
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

/// A signed skill, and the file that it goes into unless another is named.
pub struct Signed {
    pub bundle: Value,
    pub artifact_digest: Digest,
    pub file: PathBuf,
}

/// Makes a folder with a manifest and the files that go with it.
pub async fn init(name: &str, publisher: &str, server: Option<Server>) -> Result<(), CliError> {
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
    fs::create_dir_all(&files).map_err(|error| CliError::file(&files, error))?;
    for (path, content) in [
        (folder.join("skill.json"), format!("{manifest:#}\n")),
        (files.join("README.md"), format!("# {key}\n\nWhat its operations do, and for whom.\n")),
    ] {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = file.map_err(|error| CliError::file(&path, error))?;
        file.write_all(content.as_bytes()).map_err(|error| CliError::file(&path, error))?;
    }
    println!("{} {}", green("✓"), bold(&format!("{}/skill.json", folder.display())));
    println!("  {}", dim("the manifest: look at effects and risk tiers"));
    println!("  {}/files/  {}", folder.display(), dim("what is packed and signed with it"));
    for (tool, why) in &imported.left_out {
        let line = format!("{}: {}", escape_foreign(tool), escape_foreign(why));
        render::field(2, "left out", &line);
    }
    Ok(())
}

fn example(key: &str) -> Value {
    json!({
        "key": "note.add", "title": "Add a note",
        "inputSchema": { "type": "object", "additionalProperties": false, "required": ["text"],
            "properties": { "text": { "type": "string", "minLength": 1 } } },
        "outputSchema": { "type": "object", "required": ["noteId"],
            "properties": { "noteId": { "type": "string" } } },
        "effect": "idempotent", "riskTier": "low", "timeoutSeconds": 10,
        "binding": { "kind": "http", "url": format!("http://127.0.0.1:7412/{key}/note.add") },
    })
}

// Everything that the control plane would say of the manifest, before it is signed.
fn check(path: &Path, manifest: &Value) -> Result<Manifest, CliError> {
    let manifest: Manifest =
        contracts::json::typed(manifest.clone()).map_err(|problem| wrong(path, &problem.issues))?;
    Skill::new(manifest.clone()).map_err(|(_, issues)| wrong(path, &issues))?;
    Ok(manifest)
}

fn wrong(path: &Path, issues: &[Issue]) -> CliError {
    let lines: Vec<String> =
        issues.iter().map(|issue| format!("\n  {}: {}", issue.pointer, issue.message)).collect();
    CliError::file(path, format!("not a manifest that can be signed{}", lines.concat()))
}

/// Signs a folder that [`init`] made, or a manifest file.
pub fn sign(skill: &Path, key: &Path, days: u32) -> Result<Signed, CliError> {
    let signing = publisher_keys::private(key)?;
    let folder = skill.is_dir();
    let file = if folder { skill.join("skill.json") } else { skill.to_owned() };
    let manifest = check(&file, &read_document(&file)?)?;
    let mut files = BTreeMap::new();
    if folder {
        gather(&skill.join("files"), "", &mut files)?;
    }
    let bytes = artifact::pack(&files).map_err(|error| CliError::file(skill, error))?;
    let now = SystemClock.now();
    let until = now.plus_ms(i64::from(days) * DAY_MS);
    let name = format!("{}-{}.skill.json", manifest.skill.key, manifest.skill.version);
    let from: Timestamp = now.plus_ms(-BACKDATED_MS);
    let bundle = SkillSigner::new(signing)
        .sign(manifest, &bytes, from, until)
        .map_err(|error| CliError::file(skill, error))?;
    let artifact_digest = bundle.artifact_digest.clone();
    let bundle = serde_json::to_value(bundle).map_err(|error| CliError::file(skill, error))?;
    Ok(Signed { bundle, artifact_digest, file: name.into() })
}

fn gather(
    folder: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), CliError> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(()); // no files are no fault
    };
    for entry in entries {
        let entry = entry.map_err(|error| CliError::file(folder, error))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let packed = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().map_err(|error| CliError::file(&path, error))?;
        if kind.is_dir() {
            gather(&path, &packed, files)?;
        } else if kind.is_file() {
            files.insert(packed, fs::read(&path).map_err(|error| CliError::file(&path, error))?);
        } else {
            return Err(CliError::file(&path, "a link or the like; an artifact has files only"));
        }
    }
    Ok(())
}
