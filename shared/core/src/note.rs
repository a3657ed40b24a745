//! Signed notes: a text with signatures of named keys (C2SP signed-note). Checkpoints of
//! transparency logs and manifests of exports are such notes.
//!
//! One algorithm today, Ed25519. A signature says its algorithm in the id of its key, and a reader
//! passes over signatures of keys that it does not have: another algorithm beside it breaks nobody.

use crate::warrant::Key;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Algorithm of Ed25519 in ids of keys.
const ED25519: u8 = 1;
/// How a line with a signature begins.
const SIGNATURE: &str = "\u{2014} ";
/// Longest note read, in bytes.
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Signatures of one note that are looked at.
const SIGNATURES_MAX: usize = 16;

/// Why a note is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is no signed note")]
    Malformed,
    #[error("no signature on it is of a key that was given")]
    UnknownKey,
    #[error("its signature does not verify: the text was changed, or another key signed it")]
    Forged,
}

/// A text, signed. The text ends with a line feed. `name`: of the key, without spaces and `+`.
pub fn sign(name: &str, key: &Key, text: &str) -> String {
    let mut signature = key_id(name, key.public().as_bytes()).to_vec();
    signature.extend(key.sign(text.as_bytes()));
    format!("{text}\n{SIGNATURE}{name} {}\n", B64.encode(signature))
}

/// The text of a note that one of the keys, under this name, signed.
///
/// INVARIANT (fail-closed): a signature that names a known key and does not verify refuses the
/// note, whatever other signatures it has.
pub fn open<'n>(note: &'n str, name: &str, keys: &[VerifyingKey]) -> Result<&'n str, NoteError> {
    let (text, signatures) = split(note).ok_or(NoteError::Malformed)?;
    let mut verified = false;
    for line in signatures {
        let line = line.strip_prefix(SIGNATURE).ok_or(NoteError::Malformed)?;
        let (by, signature) = line.split_once(' ').ok_or(NoteError::Malformed)?;
        let signature = B64.decode(signature).map_err(|_| NoteError::Malformed)?;
        let (id, signature) = signature.split_at_checked(4).ok_or(NoteError::Malformed)?;
        if by != name {
            continue;
        }
        for key in keys.iter().filter(|key| key_id(name, key.as_bytes()) == id) {
            let signature = Signature::from_slice(signature).map_err(|_| NoteError::Malformed)?;
            key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::Forged)?;
            verified = true;
        }
    }
    if verified { Ok(text) } else { Err(NoteError::UnknownKey) }
}

// Text with its last line feed, and the lines of signatures.
fn split(note: &str) -> Option<(&str, Vec<&str>)> {
    let allowed = |letter: char| letter == '\n' || !letter.is_control();
    if note.len() > NOTE_BYTES_MAX || !note.chars().all(allowed) {
        return None;
    }
    let end = note.rfind("\n\n")? + 1;
    let (text, rest) = note.split_at_checked(end)?;
    let lines: Vec<&str> = rest.strip_prefix('\n')?.strip_suffix('\n')?.split('\n').collect();
    (lines.len() <= SIGNATURES_MAX).then_some((text, lines))
}

/// The id of a key: the first four bytes of SHA-256 over name, line feed, algorithm and key.
fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]);
    let hash: [u8; 32] = hash.chain_update(public).finalize().into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// A key as tools of C2SP take it: name, id and bytes, with `+` between.
pub fn verifier_key(name: &str, public: &VerifyingKey) -> String {
    let mut bytes = vec![ED25519];
    bytes.extend(public.as_bytes());
    format!("{name}+{}+{}", hex::encode(key_id(name, public.as_bytes())), B64.encode(bytes))
}

/// A key that is written as base64 or hexadecimal digits of its 32 bytes, or as
/// [`verifier_key`] writes it.
pub fn read_key(text: &str) -> Option<VerifyingKey> {
    let text = text.trim();
    let plain = hex::decode(text).ok().or_else(|| crate::lenient_base64::decode(text));
    let bytes = match plain.filter(|bytes| bytes.len() == 32) {
        Some(bytes) => bytes,
        // The key itself may have a `+` in it.
        None => {
            let bytes = B64.decode(text.splitn(3, '+').nth(2)?).ok()?;
            bytes.strip_prefix(&[ED25519])?.to_vec()
        }
    };
    let key = VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok()?;
    (!key.is_weak()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of C2SP signed-note, written by Go's golang.org/x/mod/sumdb/note.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ\
        SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_implementation_is_read() {
        let key = read_key(KEY).unwrap();
        assert_eq!(verifier_key("PeterNeumann", &key), KEY);
        let text = open(NOTE, "PeterNeumann", &[key]).unwrap();
        assert!(text.starts_with("If you think") && text.ends_with("problem is.\n"));
        assert_eq!(open(NOTE, "Other", &[key]), Err(NoteError::UnknownKey));
        assert_eq!(
            open(&NOTE.replace("answer", "anwser"), "PeterNeumann", &[key]),
            Err(NoteError::Forged)
        );
    }

    #[test]
    fn attack_a_note_that_is_changed_cut_or_signed_by_another() {
        let (key, other) = (Key::new(&[7; 32]), Key::new(&[8; 32]));
        let note = sign("countersign/acme", &key, "countersign/acme\n3\nroot\n");
        let keys = [key.public()];
        assert_eq!(open(&note, "countersign/acme", &keys), Ok("countersign/acme\n3\nroot\n"));
        let refused = |note: &str| open(note, "countersign/acme", &keys).unwrap_err();
        assert_eq!(refused(&note.replace("\n3\n", "\n4\n")), NoteError::Forged);
        let by_other = sign("countersign/acme", &other, "countersign/acme\n3\nroot\n");
        assert_eq!(refused(&by_other), NoteError::UnknownKey);
        for bad in ["", "\n", "\n\n", "a\n", "a\n\n", "a\n\n\u{2014} x\n", "a\n\n\u{2014} x y z\n"]
        {
            assert_eq!(refused(bad), NoteError::Malformed, "{bad:?}");
        }
        let (text, _) = note.split_once("\n\n").unwrap();
        assert_eq!(refused(text), NoteError::Malformed);
        assert_eq!(refused(&note.replace('\n', "\r\n")), NoteError::Malformed);
        // A line more under the text is another text.
        assert_eq!(
            refused(&format!("{text}\nmore\n{}", &note[text.len() + 1..])),
            NoteError::Forged
        );
        // A signature of the right key that is wrong is not made good by another one.
        let lines = note.lines().last().unwrap();
        let forged = note.replace("\n3\n", "\n4\n") + lines + "\n";
        assert_eq!(refused(&forged), NoteError::Forged);
    }

    #[test]
    fn keys_are_read_as_people_write_them() {
        let key = Key::new(&[7; 32]);
        let public = key.public();
        let bytes = public.as_bytes();
        for text in [hex::encode(bytes), B64.encode(bytes), format!(" {}\n", B64.encode(bytes))] {
            assert_eq!(read_key(&text), Some(key.public()), "{text}");
        }
        for bad in ["", "abc", "name+00000000+AAAA", &hex::encode([0; 32])] {
            assert!(read_key(bad).is_none(), "{bad}");
        }
    }
}
