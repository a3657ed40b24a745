//! Checks evidence offline: a folder of exports, a pack, the bundle of one execution or the receipt
//! of one step, against the public keys of the control plane that made it. Nothing else is needed,
//! and nothing is called.
//!
//! Everything is read as a stream. What is kept in memory is the end of each stream of events, and
//! entries of the log whose events are still to come.

mod bundle;
mod events;
mod folder;
mod log;
mod pack;
mod receipt;
mod report;

pub use folder::{ExportFolder, export_folders};
pub use pack::{PACK_EXPORTS, PACK_FILE, PackRequest, pack};
pub use report::{Checked, Code, Finding, Report};

use contracts::Timestamp;
use cs_core::{note, warrant::KeySet};
use ed25519_dalek::VerifyingKey;
use std::{io, path::Path};

/// A time may lie so far before the one of the event before it, in milliseconds: machines' clocks
/// differ.
pub(crate) const SKEW_MS: i64 = 60_000;

/// Whether a time lies before another, whatever clocks differ by.
pub(crate) fn surely_before(at: Timestamp, other: Timestamp) -> bool {
    at.ms() + SKEW_MS < other.ms()
}

/// What is checked, and against what.
pub struct Options {
    pub keys: Vec<VerifyingKey>,
    /// The first export is not number 1 but this one: earlier ones are not there.
    pub from: u64,
    /// A checkpoint that was kept elsewhere: the log must be the one that it speaks of, and reach
    /// it.
    pub checkpoint: Option<String>,
}

impl Options {
    /// Everything from the first export on.
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        Self { keys, from: 1, checkpoint: None }
    }
}

/// Who is told while exports are read.
pub(crate) struct Watch<'w> {
    /// Of the count of events, now and then.
    pub(crate) progress: &'w mut dyn FnMut(u64),
    /// Of each event.
    pub(crate) event: Option<&'w mut dyn FnMut(pack::ReadEvent<'_>)>,
}

/// Nothing can be checked.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("{0}: {1}")]
    Io(String, io::Error),
    #[error("{0}: no evidence of Countersign: a folder with manifests, a bundle, or a receipt")]
    Nothing(String),
    #[error("the key: {0}")]
    Key(String),
}

/// Public keys as they are written: a JWK set (as `/.well-known/jwks.json` has it), or one key as
/// base64, as hexadecimal digits or as a verifier key of C2SP.
pub fn read_keys(text: &str) -> Result<Vec<VerifyingKey>, AuditError> {
    if let Ok(jwks) = contracts::json::decode::<serde_json::Value>(text.as_bytes())
        && jwks.is_object()
    {
        let set = KeySet::from_jwks(&jwks).map_err(|error| AuditError::Key(error.to_string()))?;
        return Ok(set.public_keys().copied().collect());
    }
    let key = note::read_key(text);
    let malformed = || AuditError::Key("neither a JWK set nor a public key of Ed25519".into());
    key.map(|key| vec![key]).ok_or_else(malformed)
}

/// Checks what is at a path. `progress` is told of the count of events, now and then.
pub fn check(
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, AuditError> {
    let shown = path.display().to_string();
    let about = std::fs::metadata(path).map_err(|error| AuditError::Io(shown.clone(), error))?;
    if about.is_dir() {
        if path.join(PACK_FILE).exists() {
            return pack::check(path, options, progress);
        }
        folder::check(path, options, &mut Watch { progress, event: None })
    } else {
        let bytes = std::fs::read(path).map_err(|error| AuditError::Io(shown.clone(), error))?;
        let receipt = || receipt::check(&bytes, options);
        bundle::check(&bytes, options).or_else(receipt).ok_or(AuditError::Nothing(shown))
    }
}
