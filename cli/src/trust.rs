//! Whose skills may be installed.

use crate::{
    context::Context,
    error::{CliError, Exit},
    publisher_keys,
    render::{self, bold, dim},
    visible::Visible,
};
use anstream::println;
use clap::Subcommand;
use contracts::{
    Digest,
    governance::{EmptyQuery, SetTrust, TrustAnswer, TrustPolicy, TrustedPublisher},
    operation as op,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum TrustCommand {
    /// The trust policy.
    Show,
    /// Trust a publisher's key, and where it builds.
    Add {
        publisher: String,
        /// The `.pub` file that `keys generate` wrote, or a public key in PEM.
        #[arg(long)]
        public: PathBuf,
        /// Where its skills may be built; may be given several times.
        #[arg(long, required = true)]
        provenance: Vec<String>,
    },
    /// Trust a publisher no longer: its skills are no longer used.
    Remove { publisher: String },
    /// Revoke a manifest or an artifact by its digest.
    Revoke { digest: Digest },
    /// Let no version below this be installed or used.
    Minimum { skill: String, version: String },
}

/// Runs a command on the trust policy.
pub async fn run(context: &Context, command: TrustCommand) -> Result<Exit, CliError> {
    let current = context.client.call(&op::TRUST_GET, &EmptyQuery {}).await?;
    if matches!(command, TrustCommand::Show) {
        context.output.show(&current, shown)?;
        return Ok(Exit::Done);
    }
    // What this version does not know would be lost.
    let known = current.trust.known().cloned();
    let mut trust = known.ok_or_else(|| {
        CliError::Local("the trust policy holds what this version does not know".into())
    })?;
    change(&mut trust, command)?;
    let request = SetTrust { trust, expected_version: Some(current.version), reason: None };
    let answer = context.client.call(&op::TRUST_SET, &request).await?;
    context.output.show(&answer, shown)?;
    Ok(Exit::Done)
}

fn change(trust: &mut TrustPolicy, command: TrustCommand) -> Result<(), CliError> {
    match command {
        TrustCommand::Show => {}
        TrustCommand::Add { publisher, public, provenance } => {
            let key = publisher_keys::pinned(&public)?;
            let known = trust.trusted_publishers.iter().position(|known| known.id == publisher);
            let mut entry = match known {
                Some(index) => trust.trusted_publishers.remove(index),
                None => TrustedPublisher {
                    id: publisher,
                    keys: Vec::new(),
                    provenance_prefixes: Vec::new(),
                },
            };
            entry.keys.retain(|other| other.key_id != key.key_id);
            entry.keys.push(key);
            entry.provenance_prefixes.retain(|other| !provenance.contains(other));
            entry.provenance_prefixes.extend(provenance);
            trust.trusted_publishers.push(entry);
        }
        TrustCommand::Remove { publisher } => {
            trust.trusted_publishers.retain(|known| known.id != publisher);
        }
        TrustCommand::Revoke { digest } => {
            trust.revoked_digests.retain(|other| *other != digest);
            trust.revoked_digests.push(digest);
        }
        TrustCommand::Minimum { skill, version } => {
            trust.minimum_versions.insert(skill, version);
        }
    }
    Ok(())
}

fn shown(answer: &Visible<TrustAnswer>) {
    println!("{} {}", dim("trust policy, version"), answer.version);
    match answer.trust.known() {
        Some(trust) => policy(trust),
        None => render::field(2, "", &answer.trust.to_string()),
    }
    for skill in &answer.revoked {
        println!(
            "  {} {} {}  {}",
            render::status("revoked"),
            skill.skill_key,
            skill.version,
            dim(&skill.reason)
        );
    }
    if answer.voided_steps > 0 {
        println!("  {}", dim(&format!("{} unstarted steps will not run", answer.voided_steps)));
    }
    for warning in &answer.warnings {
        render::field(2, "warning", &warning.message);
    }
}

fn policy(trust: &TrustPolicy) {
    for publisher in &trust.trusted_publishers {
        let keys: Vec<&str> = publisher.keys.iter().map(|key| key.key_id.as_str()).collect();
        println!("  {}", bold(&publisher.id));
        render::field(4, "keys", &keys.join(", "));
        render::field(4, "builds at", &publisher.provenance_prefixes.join(", "));
    }
    if trust.trusted_publishers.is_empty() {
        println!("  {}", dim("nobody: no skill can be installed"));
    }
    for digest in &trust.revoked_digests {
        println!("  {} {digest}", render::status("revoked"));
    }
    for (skill, version) in &trust.minimum_versions {
        println!("  {skill} {} {version}", dim("from"));
    }
}
