//! Keys that sign skills: made, read in the forms that other programs write, and their public
//! halves shown.

use crate::{
    context,
    error::CliError,
    output,
    render::{bold, dim, green},
};
use anstream::println;
use contracts::governance::TrustedKey;
use countersign_store::Ids as _;
use cs_core::publisher::SkillSigner;
use ed25519_dalek::{
    SigningKey, VerifyingKey,
    pkcs8::{
        DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, KeypairBytes,
        spki::der::pem::LineEnding,
    },
};
use host::SystemIds;
use serde_json::json;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// What a file is that holds neither half of a key.
const NO_KEY: &str = "not a key: neither an Ed25519 key in PEM, private or public, nor the `.pub` \
                      file that `keys generate` writes";

/// Makes a key that signs skills: PKCS#8 (RFC 8410, version 1, which every program reads) in PEM,
/// readable by its owner only, and beside it what a trust policy pins.
pub fn generate(out: &Path, as_json: bool) -> Result<(), CliError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let key = SigningKey::from_bytes(&SystemIds.secret());
    let private = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let pem = private.to_pkcs8_pem(LineEnding::LF).map_err(|error| CliError::file(out, error))?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    file.as_mut()
        .map_err(|error| CliError::file(out, &*error))?
        .write_all(pem.as_bytes())
        .map_err(|error| CliError::file(out, error))?;
    let public = public_file(out);
    let pinned = shown(&SkillSigner::new(key).pinned());
    fs::write(&public, format!("{pinned:#}\n")).map_err(|error| CliError::file(&public, error))?;
    if as_json {
        output::json(&pinned);
    } else {
        println!(
            "{} {}  {}",
            green("✓"),
            bold(&out.display().to_string()),
            dim("keep it; whoever has it signs for you")
        );
        println!(
            "  {}  {}",
            public.display(),
            dim("for the trust policies of those who install your skills")
        );
    }
    Ok(())
}

/// Prints what a trust policy pins of a key, private or public.
pub fn public(file: &Path) -> Result<(), CliError> {
    context::read(file)?;
    let key = match private(file) {
        Ok(key) => SkillSigner::new(key).pinned(),
        Err(_) => pinned(file).map_err(|_| CliError::file(file, NO_KEY))?,
    };
    output::json(&shown(&key));
    Ok(())
}

/// The private key in a file: PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it,
/// too.
pub fn private(file: &Path) -> Result<SigningKey, CliError> {
    let pem = fs::read_to_string(file).map_err(|error| CliError::file(file, error))?;
    SigningKey::from_pkcs8_pem(&pem)
        .map_err(|error| CliError::file(file, format!("not an Ed25519 private key: {error}")))
}

/// The public key in a file: as [`generate`] writes it, or SubjectPublicKeyInfo in PEM, as `openssl
/// pkey -pubout` does.
pub fn pinned(file: &Path) -> Result<TrustedKey, CliError> {
    let bytes = context::read(file)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.trim_start().starts_with("-----BEGIN") {
        let key = VerifyingKey::from_public_key_pem(&text);
        let key = key
            .map_err(|error| CliError::file(file, format!("not an Ed25519 public key: {error}")))?;
        return Ok(cs_core::publisher::pinned(&key));
    }
    context::document(&bytes).map_err(|_| {
        let message = "neither a public key in PEM nor `{\"keyId\", \"publicKey\"}`";
        CliError::file(file, message)
    })
}

/// As files and requests write it.
pub fn shown(key: &TrustedKey) -> serde_json::Value {
    json!({ "keyId": key.key_id, "publicKey": key.public_key })
}

fn public_file(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}
