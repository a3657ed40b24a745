//! Packs for auditors: made offline, of a folder of exports.

use crate::{
    error::{CliError, Exit},
    output::{self, Output},
    verify,
};
use anstream::{eprintln, println};
use audit::{Code, ExportFolder, Options, PACK_EXPORTS, PACK_FILE, PackRequest, Report};
use clap::{Args, ValueEnum};
use contracts::{
    Timestamp, WorkspaceId,
    pack::{Control, Pack},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const DAY_MS: i64 = 86_400_000;
/// The report, for people.
const PAGE_FILE: &str = "index.html";

#[derive(Args)]
pub struct PackArgs {
    /// What the auditor asks about.
    #[arg(long, value_enum)]
    control: ControlName,
    /// First day of the period (UTC).
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: Timestamp,
    /// Last day of the period (UTC).
    #[arg(long, value_name = "DAY", value_parser = day)]
    to: Timestamp,
    /// A folder of exports.
    #[arg(long, value_name = "FOLDER")]
    exports: PathBuf,
    /// A file with the public keys of the control plane (countersign evidence keys); more than once
    /// where keys were rotated.
    #[arg(long, value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// The folder that is made.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The workspace, where the exports have several.
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// The first export here: earlier ones are elsewhere.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    first: u64,
    /// Make it although the exports are not whole: the report says so.
    #[arg(long)]
    even_so: bool,
}

/// The controls, by their names.
#[derive(Clone, Copy, ValueEnum)]
enum ControlName {
    /// Record-keeping.
    #[value(name = Control::EuAiAct12.as_str())]
    EuAiAct12,
    /// Human oversight.
    #[value(name = Control::EuAiAct14.as_str())]
    EuAiAct14,
    /// System operations, changes, incidents.
    #[value(name = Control::Soc2Cc7.as_str())]
    Soc2Cc7,
    /// A management system for artificial intelligence.
    #[value(name = Control::Iso42001.as_str())]
    Iso42001,
}

impl From<ControlName> for Control {
    fn from(name: ControlName) -> Self {
        match name {
            ControlName::EuAiAct12 => Self::EuAiAct12,
            ControlName::EuAiAct14 => Self::EuAiAct14,
            ControlName::Soc2Cc7 => Self::Soc2Cc7,
            ControlName::Iso42001 => Self::Iso42001,
        }
    }
}

fn day(text: &str) -> Result<Timestamp, String> {
    let moment = format!("{text}T00:00:00Z").parse::<Timestamp>();
    let moment = moment.ok().filter(|moment| moment.day() == text);
    moment.ok_or_else(|| "a day is written as 2026-11-27".to_owned())
}

/// Makes a pack. What is made is checked as it lies there: nothing is read twice.
pub fn run(args: PackArgs, output: Output) -> Result<Exit, CliError> {
    let PackArgs { control, from, to, .. } = args;
    if to < from {
        return Err(CliError::local("--to is a day before --from"));
    }
    let options =
        Options { from: args.first.max(1), ..Options::new(verify::read_keys(&args.keys)?) };
    let exports = audit::export_folders(&args.exports).map_err(CliError::local)?;
    let workspace = one_workspace(&exports, args.workspace.as_deref())?;
    let mut own = exports.iter().filter(|export| export.workspace == workspace);
    let request = PackRequest {
        control: control.into(),
        workspace: workspace.clone(),
        from,
        to: to.plus_ms(DAY_MS),
    };
    fs::create_dir(&args.out).map_err(|error| CliError::file(&args.out, error))?;
    let made = own
        .try_for_each(|export| copy(export, &args.exports, &args.out.join(PACK_EXPORTS)))
        .and_then(|()| make(&args, &request, &options));
    match made {
        Ok((pack, report)) if report.is_whole() || args.even_so => {
            told(&args.out, &pack, &report, output);
            Ok(Exit::Done)
        }
        Ok((_, report)) => {
            remove(&args.out)?;
            if output.json {
                verify::json(&report);
            } else {
                verify::findings(&report);
            }
            eprintln!(
                "the exports are not whole: no pack is made; `--even-so` makes one that says so"
            );
            Ok(Exit::done_if(false))
        }
        Err(error) => {
            remove(&args.out)?;
            Err(error)
        }
    }
}

// The folder that this command made a moment ago.
fn remove(out: &Path) -> Result<(), CliError> {
    fs::remove_dir_all(out).map_err(|error| CliError::file(out, error))
}

fn one_workspace(exports: &[ExportFolder], wanted: Option<&str>) -> Result<WorkspaceId, CliError> {
    let there: BTreeSet<&WorkspaceId> = exports.iter().map(|export| &export.workspace).collect();
    let mut matching = there.iter().filter(|id| wanted.is_none_or(|name| id.as_str() == name));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok((*one).clone()),
        (None, _) if there.is_empty() => Err(CliError::local("there is no export in the folder")),
        _ => {
            let names: Vec<&str> = there.iter().map(|id| id.as_str()).collect();
            let advice = format!("--workspace names one of: {}", names.join(", "));
            Err(CliError::local(advice))
        }
    }
}

// Byte for byte, at the same place below the folder.
fn copy(export: &ExportFolder, root: &Path, target: &Path) -> Result<(), CliError> {
    let inner = export.path.strip_prefix(root).map_err(CliError::local)?;
    let target = target.join(inner);
    fs::create_dir_all(&target).map_err(|error| CliError::file(&target, error))?;
    for name in &export.files {
        let file = export.path.join(name);
        fs::copy(&file, target.join(name)).map_err(|error| CliError::file(&file, error))?;
    }
    Ok(())
}

fn make(
    args: &PackArgs,
    request: &PackRequest,
    options: &Options,
) -> Result<(Pack, Report), CliError> {
    let exports = args.out.join(PACK_EXPORTS);
    let made = audit::pack(&exports, request, options, &mut |_| {});
    let (pack, report) = made.map_err(CliError::local)?;
    let text = serde_json::to_string_pretty(&pack).map_err(CliError::local)? + "\n";
    let page = pages::pack_report(&pack).map_err(CliError::local)?;
    for (name, text) in [(PACK_FILE, text.as_str()), (PAGE_FILE, page.as_str())] {
        let file = args.out.join(name);
        fs::write(&file, text).map_err(|error| CliError::file(&file, error))?;
    }
    Ok((pack, report))
}

fn told(out: &Path, pack: &Pack, report: &Report, output: Output) {
    let lines: usize = pack.groups.iter().map(|group| group.lines.len()).sum();
    if output.json {
        output::json(&json!({
            "out": out,
            "control": pack.control,
            "workspaceId": pack.workspace_id,
            "lines": lines,
            "exports": pack.exports,
            "whole": report.is_whole(),
            "found": report.found,
        }));
        return;
    }
    println!("{}: {lines} lines of {} events", out.display(), report.checked.events);
    if !report.is_whole() {
        verify::findings(report);
    }
}

/// Adds to the report of a pack whether its page is the one that is made of it.
pub fn check_page(folder: &Path, report: &mut Report) -> Result<(), CliError> {
    let file = folder.join(PACK_FILE);
    let text = fs::read(&file).map_err(|error| CliError::file(&file, error))?;
    let pack: Pack = contracts::json::decode(&text).map_err(CliError::local)?;
    let page = pages::pack_report(&pack).map_err(CliError::local)?;
    match fs::read(folder.join(PAGE_FILE)) {
        Ok(bytes) if bytes == page.as_str().as_bytes() => {}
        Ok(_) => {
            let message = "it was changed, or another version made it: it is not the page that \
                comes of pack.json";
            report.add(Code::FileChanged, PAGE_FILE, message);
        }
        Err(error) => report.add(Code::FileChanged, PAGE_FILE, error.to_string()),
    }
    Ok(())
}
