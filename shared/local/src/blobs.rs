//! Large bodies as files, in a folder for each record partition, and exports as files.

use async_trait::async_trait;
use countersign_store::{BlobName, Blobs, PortError};
use engine::ports::Archive;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// A folder of blobs.
#[derive(Debug)]
pub struct FileBlobs {
    folder: PathBuf,
}

impl FileBlobs {
    /// Opens a folder, making it if it is not there.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }
    fn path(&self, name: &BlobName) -> PathBuf {
        self.folder.join(name.path())
    }
}

/// A folder of documents.
#[derive(Clone, Debug)]
pub struct FileArchive {
    folder: PathBuf,
}

impl FileArchive {
    /// Opens a folder, making it if it is not there.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }
}

#[async_trait]
impl Archive for FileArchive {
    async fn holds(&self, name: &str) -> Result<bool, PortError> {
        tokio::fs::try_exists(self.folder.join(name)).await.map_err(fault)
    }

    async fn put(&self, name: &str, _media_type: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        let path = self.folder.join(name);
        let write = move || {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            write_whole(&path, folder, &bytes)
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| PortError::Unavailable(error.to_string()))?
            .map_err(fault)
    }
}

// Written aside and renamed: a crash leaves no half file under its name.
fn write_whole(path: &Path, folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension(format!("{:x}.part", rand_suffix()));
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(folder)?.sync_all()
}

fn fault(error: std::io::Error) -> PortError {
    PortError::Unavailable(error.to_string())
}

#[async_trait]
impl Blobs for FileBlobs {
    async fn put(&self, name: &BlobName, bytes: &[u8]) -> Result<(), PortError> {
        let (path, bytes) = (self.path(name), bytes.to_vec());
        let write = move || -> std::io::Result<()> {
            if path.exists() {
                return Ok(());
            }
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            write_whole(&path, folder, &bytes)
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| PortError::Unavailable(error.to_string()))?
            .map_err(fault)
    }

    async fn get(&self, name: &BlobName) -> Result<Option<Vec<u8>>, PortError> {
        match tokio::fs::read(self.path(name)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault(error)),
        }
    }
}

fn rand_suffix() -> u64 {
    uuid::Uuid::now_v7().as_u64_pair().1
}
