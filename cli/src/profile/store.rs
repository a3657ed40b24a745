//! The file of profiles: where control planes are, and with which keys. It is its owner's alone
//! (0600, in a folder of 0700), and is not read where it is not.

use crate::error::CliError;
use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

const FOLDER: &str = "countersign";
const FILE: &str = "profiles.json";
/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;

/// One control plane and one key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub endpoint: String,
    pub key: String,
    /// The data folder of the `countersign dev` that made it, which makes it anew when its keys are
    /// others. Absent: a person logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<PathBuf>,
}

/// All profiles, and which one is used where none is named.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profiles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Reads the file; without one there are none.
    pub fn load() -> Result<Self, CliError> {
        Self::load_from(&path()?)
    }

    /// Writes the file.
    pub fn save(&self) -> Result<(), CliError> {
        self.save_to(&path()?)
    }

    fn load_from(path: &Path) -> Result<Self, CliError> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::file(path, error)),
        };
        // INVARIANT (fail-closed): a key that others could read or replace is not used.
        if !found.is_file() {
            return Err(CliError::file(path, "not a file; it is not read"));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(CliError::file(path, "it belongs to somebody else; it is not read"));
        }
        if found.mode() & OTHERS != 0 {
            let message = format!(
                "others can read or write it (mode {:03o}); it is not read: run `chmod 600` on it, \
                 and revoke its keys if others may have seen them",
                found.mode() & 0o777
            );
            return Err(CliError::file(path, message));
        }
        let bytes = fs::read(path).map_err(|error| CliError::file(path, error))?;
        contracts::json::decode(&bytes).map_err(|error| CliError::file(path, error))
    }

    // Beside it first, then in its place: who reads it meanwhile reads the one before it.
    fn save_to(&self, path: &Path) -> Result<(), CliError> {
        let failed = |error: std::io::Error| CliError::file(path, error);
        if let Some(folder) = path.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_string_pretty(self).map_err(CliError::local)? + "\n";
        let written = || {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        written().map_err(|error| {
            let _ = fs::remove_file(&beside);
            failed(error)
        })
    }
}

/// Where the file is: in the platform's folder for configuration.
fn path() -> Result<PathBuf, CliError> {
    let base = etcetera::choose_base_strategy().map_err(CliError::local)?;
    Ok(base.config_dir().join(FOLDER).join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_others_can_read_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/profiles.json");
        assert!(Profiles::load_from(&path).unwrap().profiles.is_empty());
        let mut profiles = Profiles::default();
        let profile =
            Profile { endpoint: "http://127.0.0.1:1".into(), key: "csk_1".into(), dev: None };
        profiles.profiles.insert("one".into(), profile);
        profiles.save_to(&path).unwrap();
        profiles.save_to(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(Profiles::load_from(&path).unwrap().profiles["one"].key, "csk_1");
        for open in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = Profiles::load_from(&path).err().unwrap().to_string();
            assert!(error.contains("chmod 600") && !error.contains("csk_1"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Profiles::load_from(&path).is_err(), "a link is not followed");
    }
}
