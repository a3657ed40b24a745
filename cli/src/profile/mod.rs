//! Profiles: log in, log out, and say which one is used.

mod store;

pub use store::{Profile, Profiles};

use crate::{
    error::{CliError, Exit},
    output::{self, Output},
    render::{self, bold, dim, green},
    target::{ENDPOINT_DEFAULT, Environment, Target, unknown},
};
use anstream::println;
use clap::Subcommand;
use client::Client;
use contracts::{operation as op, query::GetCapabilities};
use serde_json::json;
use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

/// The profile that `login` makes unless it is told another.
const NAME_DEFAULT: &str = "default";
/// Profiles of the default workspace that `dev` keeps ready.
const DEV_NAMES: [&str; 2] = ["agent", "approver"];

#[derive(Subcommand)]
pub enum ProfileCommand {
    /// List the profiles; their keys are not shown.
    List,
    /// Use this profile where none is named.
    Use { name: String },
}

/// Runs a command on profiles.
pub fn run(command: ProfileCommand, output: Output) -> Result<Exit, CliError> {
    let mut profiles = Profiles::load()?;
    match command {
        ProfileCommand::List => list(&profiles, output)?,
        ProfileCommand::Use { name } => {
            if !profiles.profiles.contains_key(&name) {
                return Err(unknown(&name, &profiles));
            }
            profiles.default = Some(name.clone());
            profiles.save()?;
            told(output, &name, "is used where none is named");
        }
    }
    Ok(Exit::Done)
}

fn list(profiles: &Profiles, output: Output) -> Result<(), CliError> {
    let is_default = |name: &str| profiles.default.as_deref() == Some(name);
    if output.json {
        let items: Vec<_> = profiles
            .profiles
            .iter()
            .map(|(name, profile)| {
                json!({ "profile": name, "endpoint": profile.endpoint,
                    "default": is_default(name), "dev": profile.dev })
            })
            .collect();
        output::json(&json!({ "items": items }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = profiles
        .profiles
        .iter()
        .map(|(name, profile)| {
            let mark = if is_default(name) { "default" } else { "" };
            let by = if profile.dev.is_some() { "countersign dev" } else { "login" };
            vec![name.clone(), profile.endpoint.clone(), mark.to_owned(), by.to_owned()]
        })
        .collect();
    match rows.is_empty() {
        true => println!("{}", dim("no profiles; `countersign login` makes one")),
        false => render::table(&["profile", "endpoint", "", "made by"], &rows),
    }
    Ok(())
}

/// Keeps an endpoint and a key, once the control plane took the key.
pub async fn login(target: &Target, make_default: bool, output: Output) -> Result<Exit, CliError> {
    let mut profiles = Profiles::load()?;
    let environment = Environment::read();
    let name = target.profile.clone().or(environment.profile);
    let name = name.unwrap_or_else(|| NAME_DEFAULT.to_owned());
    check_name(&name)?;
    let asked = std::io::stdin().is_terminal();
    let known = profiles.profiles.get(&name).map(|profile| profile.endpoint.clone());
    let endpoint = match target.endpoint.clone().or(environment.url) {
        Some(endpoint) => endpoint,
        None => {
            let usual = known.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
            if asked { ask_endpoint(&usual)? } else { usual }
        }
    };
    let key = read_key(asked)?;
    let client = Client::new(&endpoint, &key)?;
    client.call(&op::CAPABILITIES, &GetCapabilities {}).await?;
    let profile = Profile { endpoint: client.endpoint().to_owned(), key, dev: None };
    profiles.profiles.insert(name.clone(), profile);
    if make_default || profiles.default.is_none() {
        profiles.default = Some(name.clone());
    }
    profiles.save()?;
    told(output, &name, &format!("calls {} from now on", client.endpoint()));
    Ok(Exit::Done)
}

/// Forgets a key. It stays valid: `keys revoke` ends it.
pub fn logout(target: &Target, output: Output) -> Result<Exit, CliError> {
    let mut profiles = Profiles::load()?;
    let named = target.profile.clone().or(Environment::read().profile);
    let Some(name) = named.or_else(|| profiles.default.clone()) else {
        return Err(CliError::Local("there is no default profile; name one by --profile".into()));
    };
    if profiles.profiles.remove(&name).is_none() {
        return Err(unknown(&name, &profiles));
    }
    if profiles.default.as_ref() == Some(&name) {
        profiles.default = None;
    }
    profiles.save()?;
    told(output, &name, "is forgotten here; its key is valid until `countersign keys revoke`");
    Ok(Exit::Done)
}

fn told(output: Output, name: &str, what: &str) {
    if output.json {
        output::json(&json!({ "profile": name }));
    } else {
        println!("{} profile {} {}", green("✓"), bold(name), dim(what));
    }
}

fn check_name(name: &str) -> Result<(), CliError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        true => Ok(()),
        false => Err(CliError::Local(
            "the name of a profile has 1 to 64 letters, digits, `-`, `_`, `.` or `@`".into(),
        )),
    }
}

fn ask_endpoint(usual: &str) -> Result<String, CliError> {
    eprint!("URL of the control plane [{usual}]: ");
    std::io::stderr().flush().map_err(CliError::local)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(CliError::local)?;
    Ok(match line.trim() {
        "" => usual.to_owned(),
        endpoint => endpoint.to_owned(),
    })
}

// From the terminal, without showing it, or the first line of standard input.
fn read_key(asked: bool) -> Result<String, CliError> {
    let key = if asked {
        rpassword::prompt_password("API key (it is not shown): ").map_err(CliError::local)?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(CliError::local)?;
        line
    };
    match key.trim() {
        "" => Err(CliError::Local("no key was given".into())),
        key if key.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(CliError::Local("that is no key: it holds white space".into()))
        }
        key => Ok(key.to_owned()),
    }
}

/// What `dev` keeps ready for one workspace: an agent's key and an approver's.
pub struct DevKeys<'k> {
    pub workspace: &'k str,
    pub is_first: bool,
    pub keys: [&'k str; 2],
}

/// Keeps the keys of a `dev` as profiles, and says under which names. A profile of a person's own
/// is left as it is.
pub fn keep_dev(
    endpoint: &str,
    data: &Path,
    workspaces: &[DevKeys<'_>],
) -> Result<Vec<String>, CliError> {
    let mut profiles = Profiles::load()?;
    // Where it listens now, for keys that were made before.
    for profile in profiles.profiles.values_mut() {
        if profile.dev.as_deref() == Some(data) {
            endpoint.clone_into(&mut profile.endpoint);
        }
    }
    let mut names = Vec::new();
    for workspace in workspaces {
        for (name, key) in DEV_NAMES.iter().zip(workspace.keys) {
            let name = match workspace.is_first {
                true => (*name).to_owned(),
                false => format!("{name}@{}", workspace.workspace),
            };
            if profiles.profiles.get(&name).is_some_and(|known| known.dev.is_none()) {
                continue;
            }
            let profile = Profile {
                endpoint: endpoint.to_owned(),
                key: key.to_owned(),
                dev: Some(data.to_owned()),
            };
            profiles.profiles.insert(name.clone(), profile);
            names.push(name);
        }
    }
    if profiles.default.is_none() {
        profiles.default = names.first().cloned();
    }
    profiles.save()?;
    Ok(names)
}
