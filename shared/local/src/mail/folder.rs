//! Mails as files, where no mail server is set up: everything works on one machine without any. A
//! file is its owner's alone, for what is in it decides; so many are kept.

use async_trait::async_trait;
use contracts::limits::KEPT_MAILS_MAX;
use cs_core::mail::MailAddress;
use engine::ports::{Mail, MailError, Mailer};
use std::{
    fs::{self, OpenOptions},
    io::{Result, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// How the name of a mail's file ends.
const SUFFIX: &str = ".eml";

/// A folder of mails.
#[derive(Clone, Debug)]
pub struct MailFolder {
    folder: PathBuf,
    from: MailAddress,
}

/// A mail of a folder.
#[derive(Clone, Debug)]
pub struct KeptMail {
    /// Its name among them, in the order in which they were sent.
    pub id: String,
    pub path: PathBuf,
}

impl MailFolder {
    /// Opens a folder, making it if it is not there.
    pub fn open(folder: &Path, from: MailAddress) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), from })
    }

    /// The mails of a folder, the oldest first.
    pub fn list(folder: &Path) -> Result<Vec<KeptMail>> {
        let mut mails = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(id) = name.strip_suffix(SUFFIX) {
                mails.push(KeptMail { id: id.to_owned(), path: path.clone() });
            }
        }
        mails.sort_by(|left, right| left.id.cmp(&right.id));
        Ok(mails)
    }

    fn keep(&self, message: &[u8]) -> Result<()> {
        // Ordered by time.
        let id = uuid::Uuid::now_v7().simple().to_string();
        let aside = self.folder.join(format!("{id}.part"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(message)?;
        fs::rename(&aside, self.folder.join(id + SUFFIX))?;
        let mails = Self::list(&self.folder)?;
        let surplus = mails.len().saturating_sub(KEPT_MAILS_MAX);
        mails.iter().take(surplus).try_for_each(|mail| fs::remove_file(&mail.path))
    }
}

#[async_trait]
impl Mailer for MailFolder {
    fn sender(&self) -> Option<&MailAddress> {
        Some(&self.from)
    }

    async fn send(&self, mail: Mail) -> std::result::Result<(), MailError> {
        let own = self.clone();
        let kept = tokio::task::spawn_blocking(move || own.keep(&mail.message)).await;
        let kept = kept.map_err(|error| MailError::Deferred(error.to_string()))?;
        kept.map_err(|error| MailError::Unreached(format!("its folder: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn mails_are_their_owners_and_the_oldest_go_first() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("mail");
        let mails = MailFolder::open(&folder, "a@example.com".parse().unwrap()).unwrap();
        for index in 0..KEPT_MAILS_MAX + 3 {
            let (to, message) = ("b@example.com".parse().unwrap(), index.to_string().into_bytes());
            mails.send(Mail { to, message, timeout_ms: 1_000 }).await.unwrap();
        }
        let kept = MailFolder::list(&folder).unwrap();
        assert_eq!(kept.len(), KEPT_MAILS_MAX);
        assert_eq!(fs::read(&kept[0].path).unwrap(), b"3");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&kept[0].path)), (0o700, 0o600));
    }
}
