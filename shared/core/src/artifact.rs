//! Artifacts: the bytes that a manifest's digest covers, a tar of plain files, gzipped or not.
//!
//! The digest is that of the bytes as sent. Nothing is unpacked onto a disk here. What could do
//! harm when unpacked is refused: paths outside the artifact, links and devices, duplicate paths,
//! files that the manifest does not list, and sizes above the limits.

use crate::canonical;
use contracts::{
    Digest,
    limits::{ARTIFACT_FILES_MAX, ARTIFACT_UNPACKED_BYTES_MAX, NAME_BYTES_MAX},
    manifest::ArtifactFile,
};
use flate2::read::GzDecoder;
use std::{collections::BTreeMap, io::Read};
use tar::{Archive, EntryType};

/// Longest path in an artifact, in bytes.
const PATH_BYTES_MAX: usize = 2 * NAME_BYTES_MAX;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why an artifact is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    #[error("the artifact is not a tar that can be read: {0}")]
    Unreadable(String),
    #[error("`{0}` leads out of the artifact, or is no plain relative path")]
    Path(String),
    #[error("`{0}` is a link, a device or the like; an artifact has files only")]
    Kind(String),
    #[error("`{0}` stands in it twice")]
    Twice(String),
    #[error("more than {ARTIFACT_FILES_MAX} files")]
    Files,
    #[error("more than {ARTIFACT_UNPACKED_BYTES_MAX} bytes unpacked")]
    Bomb,
    #[error("{0}")]
    Listing(String),
}

/// The files of an artifact, by path; none for no bytes.
pub fn files(bytes: &[u8]) -> Result<Vec<ArtifactFile>, ArtifactError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    // One byte above the limit, so that an excess is detected and not truncated.
    let limit = ARTIFACT_UNPACKED_BYTES_MAX + 1;
    if bytes.starts_with(&GZIP) {
        read(GzDecoder::new(bytes).take(limit))
    } else {
        read(bytes.take(limit))
    }
}

/// Checks that an artifact has the files that its manifest lists. A manifest that lists none relies
/// on the digest.
pub fn check(bytes: &[u8], listed: &[ArtifactFile]) -> Result<(), ArtifactError> {
    let found = files(bytes)?;
    if listed.is_empty() {
        return Ok(());
    }
    let by_path: BTreeMap<&str, &ArtifactFile> =
        found.iter().map(|file| (file.path.as_str(), file)).collect();
    if let Some(wrong) = listed.iter().find(|file| by_path.get(file.path.as_str()) != Some(file)) {
        return Err(ArtifactError::Listing(format!(
            "`{}` is not in the artifact as the manifest lists it",
            wrong.path
        )));
    }
    let unlisted = found.iter().find(|file| !listed.iter().any(|other| other.path == file.path));
    unlisted.map_or(Ok(()), |file| {
        Err(ArtifactError::Listing(format!("the manifest does not list `{}`", file.path)))
    })
}

fn read<R: Read>(mut reader: R) -> Result<Vec<ArtifactFile>, ArtifactError> {
    let unreadable = |error: std::io::Error| ArtifactError::Unreadable(error.to_string());
    let mut found: BTreeMap<String, ArtifactFile> = BTreeMap::new();
    let mut total = 0;
    let mut archive = Archive::new(&mut reader);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.header().entry_type() {
            EntryType::Regular => {}
            EntryType::Directory => continue,
            _ => return Err(ArtifactError::Kind(path)),
        }
        if !plain(&path) {
            return Err(ArtifactError::Path(path));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(unreadable)?;
        total += content.len() as u64;
        if total > ARTIFACT_UNPACKED_BYTES_MAX {
            return Err(ArtifactError::Bomb);
        }
        let (digest, size) = (canonical::digest_bytes(&content), content.len() as u64);
        if found.insert(path.clone(), ArtifactFile { path: path.clone(), digest, size }).is_some() {
            return Err(ArtifactError::Twice(path));
        }
        if found.len() > ARTIFACT_FILES_MAX {
            return Err(ArtifactError::Files);
        }
    }
    Ok(found.into_values().collect())
}

fn plain(path: &str) -> bool {
    // Paths have one form, so that no two name the same file: no empty part, no dot. Backslashes
    // and colons are special on other systems.
    let normal = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    normal && path.len() <= PATH_BYTES_MAX && !path.contains(['\\', ':', '\0'])
}

/// An artifact of these files, the same bytes for the same files.
pub fn pack(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, ArtifactError> {
    let unreadable = |error: std::io::Error| ArtifactError::Unreadable(error.to_string());
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        if !plain(path) {
            return Err(ArtifactError::Path(path.clone()));
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_slice()).map_err(unreadable)?;
    }
    builder.into_inner().map_err(unreadable)
}

/// The digest of an artifact.
pub fn digest(bytes: &[u8]) -> Digest {
    canonical::digest_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn tar_of(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            // As an attacker writes it: the library's own setters refuse such paths.
            let raw = header.as_ustar_mut().unwrap();
            raw.name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn attack_archive_escapes_links_and_bombs() {
        let one = |path, kind| files(&tar_of(&[(path, kind, b"x")])).unwrap_err();
        for path in [
            "../escape",
            "a/../../escape",
            "/etc/cron.d/x",
            "a\\..\\b",
            "C:evil",
            "./a",
            "a//b",
            "a/./b",
            "a/",
        ] {
            assert!(matches!(one(path, EntryType::Regular), ArtifactError::Path(_)), "{path}");
        }
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
        ] {
            assert!(matches!(one("a", kind), ArtifactError::Kind(_)), "{kind:?}");
        }
        let twice = tar_of(&[("a", EntryType::Regular, b"x"), ("a", EntryType::Regular, b"y")]);
        assert_eq!(files(&twice), Err(ArtifactError::Twice("a".into())));
        let zeros = vec![0; ARTIFACT_UNPACKED_BYTES_MAX as usize + 1024];
        let bomb = gzip(&tar_of(&[("zeros", EntryType::Regular, &zeros)]));
        assert!(bomb.len() < 100_000);
        assert!(matches!(files(&bomb), Err(ArtifactError::Bomb | ArtifactError::Unreadable(_))));
        let many: Vec<String> = (0..=ARTIFACT_FILES_MAX).map(|n| format!("f{n}")).collect();
        let many: Vec<_> =
            many.iter().map(|name| (name.as_str(), EntryType::Regular, b"".as_slice())).collect();
        assert_eq!(files(&tar_of(&many)), Err(ArtifactError::Files));
        assert!(matches!(
            files(b"not a tar at all, but some text that is long enough"),
            Err(ArtifactError::Unreadable(_))
        ));
    }

    #[test]
    fn what_is_listed_is_what_is_there() {
        let content = BTreeMap::from([
            ("a.md".to_owned(), b"one".to_vec()),
            ("d/b.md".to_owned(), b"two".to_vec()),
        ]);
        let packed = pack(&content).unwrap();
        assert_eq!(packed, pack(&content).unwrap(), "the same bytes");
        let listed = files(&packed).unwrap();
        assert_eq!(
            listed.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["a.md", "d/b.md"]
        );
        assert_eq!(check(&packed, &listed), Ok(()));
        assert_eq!(check(&gzip(&packed), &listed), Ok(()));
        assert!(
            matches!(check(&packed, &listed[..1]), Err(ArtifactError::Listing(_))),
            "one more than listed"
        );
        let mut changed = listed.clone();
        changed[0].size += 1;
        assert!(matches!(check(&packed, &changed), Err(ArtifactError::Listing(_))));
        assert!(matches!(check(b"", &listed), Err(ArtifactError::Listing(_))), "nothing there");
        assert_eq!(check(b"", &[]), Ok(()));
    }
}
