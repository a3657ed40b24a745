//! The key that the vault is encrypted under, in a file of its own that only the owner may read.

use async_trait::async_trait;
use countersign_store::Ids as _;
use countersign_store::PortError;
use engine::ports::{DataKey, VaultKeys};
use host::SystemIds;
use std::{
    fs,
    io::{Error, ErrorKind, Result, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

const FILE: &str = "vault.key";
/// Bytes of the name of a key, which is the beginning of its hash.
const NAME_BYTES: usize = 8;

/// The key of a data folder.
pub struct FileVaultKey {
    key: [u8; 32],
    /// Entries say under which key they are, so that another one is told from a changed entry.
    name: Vec<u8>,
}

impl FileVaultKey {
    /// Opens the key of a data folder, making it if there is none.
    pub fn open(data: &Path) -> Result<Self> {
        let key = secret_file(&data.join(FILE))?;
        let name = cs_core::canonical::digest_parts(&[b"countersign/vault-key/1", &key]);
        Ok(Self { key, name: name.short().iter().take(NAME_BYTES).copied().collect() })
    }
}

/// The 32 random bytes of a file that only the owner may read, made if it is not there.
pub(crate) fn secret_file(path: &Path) -> Result<[u8; 32]> {
    let stored = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = SystemIds.secret();
            let aside = path.with_extension("part");
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&aside)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            secret.to_vec()
        }
        Err(error) => return Err(error),
    };
    stored.try_into().map_err(|_| {
        Error::new(ErrorKind::InvalidData, format!("{} is not 32 bytes", path.display()))
    })
}

#[async_trait]
impl VaultKeys for FileVaultKey {
    async fn data_key(&self) -> std::result::Result<DataKey, PortError> {
        Ok(DataKey { key: self.key, wrapped: self.name.clone() })
    }

    async fn open_key(&self, wrapped: &[u8]) -> std::result::Result<[u8; 32], PortError> {
        if wrapped != self.name {
            return Err(PortError::Corrupt("the vault's entry is under another key".into()));
        }
        Ok(self.key)
    }
}
