//! The keys that sign warrants, as files of the data folder: the one that signs, the one before it,
//! whose warrants may be on their way, and the next one, which is published for a while before it
//! signs.

use crate::vault_key::secret_file;
use async_trait::async_trait;
use countersign_store::PortError;
use cs_core::warrant::{Key, Ring};
use engine::ports::Signer;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

const CURRENT: &str = "warrant.key";
const PREVIOUS: &str = "warrant.previous.key";
const NEXT: &str = "warrant.next.key";
/// A new key is published for so long before it signs: tools keep the published keys for five
/// minutes.
const PUBLISHED_FIRST: Duration = Duration::from_secs(600);

/// Signs with the keys of a folder.
pub(crate) struct KeyFiles {
    data: PathBuf,
    state: Mutex<State>,
}

struct State {
    ring: Arc<Ring>,
    /// When the next key signs, if there is one.
    next_at: Option<SystemTime>,
}

impl KeyFiles {
    /// Opens the keys of a folder, and makes the first one. `renew`: makes the next one, unless one
    /// waits already.
    pub(crate) fn open(data: &Path, renew: bool) -> io::Result<Self> {
        let (current, next) = (data.join(CURRENT), data.join(NEXT));
        if !current.exists() && next.exists() {
            fs::rename(&next, &current)?; // an end in the middle of a promotion
        }
        if !current.exists() {
            secret_file(&current)?;
        } else if renew && !next.exists() {
            secret_file(&next)?;
        }
        let state = Mutex::new(State::read(data)?);
        Ok(Self { data: data.to_owned(), state })
    }
}

impl State {
    fn read(data: &Path) -> io::Result<Self> {
        let (previous, next) = (data.join(PREVIOUS), data.join(NEXT));
        let mut published = Vec::new();
        let mut next_at = None;
        if next.exists() {
            next_at = Some(fs::metadata(&next)?.modified()? + PUBLISHED_FIRST);
            published.push(read(&next)?);
        }
        if previous.exists() {
            published.push(read(&previous)?);
        }
        let ring = Arc::new(Ring::new(read(&data.join(CURRENT))?).with_published(published));
        Ok(Self { ring, next_at })
    }
}

#[async_trait]
impl Signer for KeyFiles {
    async fn ring(&self) -> Result<Arc<Ring>, PortError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next_at.is_some_and(|at| at <= SystemTime::now()) {
            *state = promote(&self.data)
                .map_err(|error| PortError::Unavailable(format!("the keys: {error}")))?;
        }
        Ok(state.ring.clone())
    }
}

fn promote(data: &Path) -> io::Result<State> {
    fs::rename(data.join(CURRENT), data.join(PREVIOUS))?;
    fs::rename(data.join(NEXT), data.join(CURRENT))?;
    State::read(data)
}

fn read(path: &Path) -> io::Result<Key> {
    Ok(Key::new(&secret_file(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_key_is_published_before_it_signs() {
        let folder = tempfile::tempdir().unwrap();
        let first = KeyFiles::open(folder.path(), false).unwrap().ring().await.unwrap();
        let keys = KeyFiles::open(folder.path(), true).unwrap();
        let ring = keys.ring().await.unwrap();
        assert_eq!(ring.current().id(), first.current().id(), "published, and not yet signing");
        let published = ring.jwks()["keys"].as_array().unwrap().clone();
        assert_eq!(published.len(), 2);
        let next = fs::File::options().write(true).open(folder.path().join(NEXT)).unwrap();
        next.set_modified(SystemTime::now() - PUBLISHED_FIRST).unwrap();
        let keys = KeyFiles::open(folder.path(), true).unwrap();
        let ring = keys.ring().await.unwrap();
        assert_eq!(ring.current().id(), published[1]["kid"], "it was published for long enough");
        assert_eq!(
            ring.jwks()["keys"].as_array().unwrap().len(),
            2,
            "the one before stays published"
        );
    }

    #[tokio::test]
    async fn an_end_between_two_renames_loses_no_key() {
        let folder = tempfile::tempdir().unwrap();
        KeyFiles::open(folder.path(), false).unwrap();
        KeyFiles::open(folder.path(), true).unwrap();
        fs::rename(folder.path().join(CURRENT), folder.path().join(PREVIOUS)).unwrap();
        let ring = KeyFiles::open(folder.path(), false).unwrap().ring().await.unwrap();
        assert_eq!(ring.jwks()["keys"].as_array().unwrap().len(), 2);
    }
}
