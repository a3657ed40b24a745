//! The data folder is its owner's: nobody else on the machine reads what is in it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{Error, ErrorKind, Result},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// What this process makes from now on is readable by its owner only. Of the whole process: for a
/// program's beginning.
pub fn private_files() {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(!FOLDER_MODE & 0o777));
}

/// Entries of which a data folder has one at least, unless it is empty.
const OWN: [&str; 4] = ["table", "blobs", "warrant.key", "vault.key"];

/// Opens a folder that only its owner may enter, making it if it is not there. One that others
/// could enter is closed to them, with everything in it. One that holds other things than data is
/// refused: its files are not ours to close.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    if fs::read_dir(path)?.next().is_some() && !OWN.iter().any(|name| path.join(name).exists()) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "not a data folder: it holds other files. Take an empty one",
        ));
    }
    if fs::metadata(path)?.permissions().mode() & 0o777 == FOLDER_MODE {
        return Ok(());
    }
    // First the folder itself: from then on nobody else gets at what is in it.
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(FOLDER_MODE))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                fs::set_permissions(entry.path(), Permissions::from_mode(FILE_MODE))?;
            }
        }
    }
    Ok(())
}
