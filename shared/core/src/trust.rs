//! Which skills may be installed: DSSE envelopes, pinned keys, and trust policies.
//!
//! Publisher, key id and validity are read from the signed bytes only. The envelope just carries
//! them.

use crate::{canonical, lenient_base64, skill::manifest_digest};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Code, Digest, Issue, Timestamp,
    governance::{TrustPolicy, TrustedPublisher},
    limits::{NAME_BYTES_MAX, TRUST_ENTRIES_MAX},
    manifest::{ALGORITHM, Envelope, EnvelopeSignature, Manifest, PAYLOAD_TYPE, Signature},
};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use semver::Version;
use serde_json::Value;
use std::collections::BTreeSet;

/// Accepted difference of clocks, in milliseconds.
pub const CLOCK_SKEW_MS: i64 = 60_000;

/// The result of examining an envelope, with every issue found.
#[derive(Debug, Default)]
pub struct Examined {
    /// The manifest, as far as it can be read.
    pub manifest: Option<Manifest>,
    /// Signed, now, by the key that it names and that is pinned for its publisher.
    pub signature_verified: bool,
    /// Its publisher, provenance, digest and version are trusted.
    pub publisher_trusted: bool,
    /// The first is the reason for a refusal.
    pub issues: Vec<(Code, Issue)>,
}

impl Examined {
    fn against(&mut self, code: Code, pointer: &str, message: impl Into<String>) {
        self.issues.push((code, Issue::coded(code.as_str(), pointer, message)));
    }
}

/// Examines a manifest as it was submitted.
pub fn examine(given: &Value, trust: &TrustPolicy, now: Timestamp) -> Examined {
    let mut found = Examined::default();
    let Some((envelope, payload)) = open(given, &mut found) else {
        return found;
    };
    let Some((manifest, signature)) = read(&payload, &mut found) else {
        return found;
    };
    let signed = SignedManifest {
        envelope: &envelope,
        payload: &payload,
        manifest: &manifest,
        signature: &signature,
    }
    .verify(trust, now, &mut found);
    found.signature_verified = signed;
    let issues = found.issues.len();
    judge(&manifest, trust, &mut found);
    found.publisher_trusted = found.issues.len() == issues && publisher(&manifest, trust).is_some();
    found.manifest = Some(manifest);
    found
}

/// Checks an installed manifest again, without its signature's bytes: publisher and key are still
/// trusted, it is not revoked, and its signature has not expired. Returns the first problem, if
/// any.
pub fn trust_problem(manifest: &Manifest, trust: &TrustPolicy, now: Timestamp) -> Option<String> {
    let mut found = Examined::default();
    let Some(signature) = &manifest.signature else {
        return Some("it was never signed".into());
    };
    if pinned(manifest, signature, trust, &mut found).is_some() {
        check_validity(signature, now, &mut found);
    }
    judge(manifest, trust, &mut found);
    found.issues.into_iter().next().map(|(_, issue)| issue.message)
}

/// Whether a skill is revoked: by the digest of its manifest, or of its files.
pub fn revoked(manifest: &Manifest, trust: &TrustPolicy) -> bool {
    let named = |digest: &Digest| trust.revoked_digests.contains(digest);
    manifest_digest(manifest).is_ok_and(|digest| named(&digest))
        || (named(&manifest.artifact.digest) && !empty(&manifest.artifact.digest))
}

// The envelope's form; its payload's bytes.
fn open(given: &Value, found: &mut Examined) -> Option<(Envelope, Vec<u8>)> {
    if given.get("payloadType").is_none() {
        found.against(
            Code::SignatureMissing,
            "/manifest",
            "a manifest comes in a DSSE envelope: `skill sign` makes one",
        );
        return None;
    }
    let envelope: Envelope = match contracts::json::typed(given.clone()) {
        Ok(envelope) => envelope,
        Err(problem) => {
            let what =
                problem.issues.first().map(|issue| format!("{}: {}", issue.pointer, issue.message));
            let message = format!("not a DSSE envelope: {}", what.unwrap_or_default());
            found.against(Code::SignatureInvalid, "/manifest", message);
            return None;
        }
    };
    if envelope.payload_type != PAYLOAD_TYPE {
        let message = format!("`{}` is not `{PAYLOAD_TYPE}`", envelope.payload_type);
        found.against(Code::SignatureInvalid, "/manifest/payloadType", message);
        return None;
    }
    if envelope.signatures.is_empty() {
        found.against(Code::SignatureMissing, "/manifest/signatures", "nobody signed it");
        return None;
    }
    if envelope.signatures.len() > 1 {
        found.against(
            Code::SignatureInvalid,
            "/manifest/signatures",
            "one signature, by the publisher",
        );
        return None;
    }
    match lenient_base64::decode(&envelope.payload) {
        Some(payload) => Some((envelope, payload)),
        None => {
            found.against(Code::SignatureInvalid, "/manifest/payload", "not base64");
            None
        }
    }
}

// The manifest and what its signature says, out of the signed bytes.
fn read(payload: &[u8], found: &mut Examined) -> Option<(Manifest, Signature)> {
    let value = match contracts::json::parse(payload) {
        Ok(value) => value,
        Err(problem) => {
            let what =
                problem.issues.first().map(|issue| issue.message.clone()).unwrap_or_default();
            found.against(
                Code::ManifestInvalid,
                "/manifest/payload",
                format!("not a JSON document we take: {what}"),
            );
            return None;
        }
    };
    if canonical::to_bytes(&value).ok().as_deref() != Some(payload) {
        found.against(
            Code::SignatureInvalid,
            "/manifest/payload",
            "the signed bytes are not canonical JSON (RFC 8785)",
        );
        return None;
    }
    let Some(signature) = value.get("signature") else {
        let message = "the signed bytes do not say who signs and for how long (`signature`)";
        found.against(Code::SignatureMissing, "/manifest/payload/signature", message);
        return None;
    };
    let signature: Signature = match contracts::json::typed(signature.clone()) {
        Ok(signature) => signature,
        Err(problem) => {
            let what =
                problem.issues.first().map(|issue| format!("{} {}", issue.pointer, issue.message));
            found.against(
                Code::SignatureInvalid,
                "/manifest/payload/signature",
                what.unwrap_or_default(),
            );
            return None;
        }
    };
    match contracts::json::typed::<Manifest>(value) {
        Ok(manifest) => Some((manifest, signature)),
        Err(problem) => {
            for issue in problem.issues {
                let pointer = format!("/manifest/payload{}", issue.pointer);
                found.against(Code::ManifestInvalid, &pointer, issue.message);
            }
            None
        }
    }
}

fn publisher<'t>(manifest: &Manifest, trust: &'t TrustPolicy) -> Option<&'t TrustedPublisher> {
    trust.trusted_publishers.iter().find(|publisher| publisher.id == manifest.publisher.id)
}

// The key pinned for the publisher under the id that the signed bytes name.
fn pinned(
    manifest: &Manifest,
    signature: &Signature,
    trust: &TrustPolicy,
    found: &mut Examined,
) -> Option<VerifyingKey> {
    let Some(publisher) = publisher(manifest, trust) else {
        let message = format!(
            "the workspace's trust policy does not name the publisher `{}`",
            manifest.publisher.id
        );
        found.against(Code::PublisherUntrusted, "/manifest/payload/publisher/id", message);
        return None;
    };
    let key = publisher.keys.iter().find(|key| key.key_id == signature.key_id);
    let Some(key) = key.and_then(|key| public_key(&key.public_key)) else {
        let message = format!("no key `{}` is pinned for `{}`", signature.key_id, publisher.id);
        found.against(Code::KeyUntrusted, "/manifest/payload/signature/keyId", message);
        return None;
    };
    Some(key)
}

/// A manifest that was read out of signed bytes, with what signs it.
struct SignedManifest<'a> {
    envelope: &'a Envelope,
    payload: &'a [u8],
    manifest: &'a Manifest,
    signature: &'a Signature,
}

impl SignedManifest<'_> {
    // Whether a key that is pinned for its publisher signed it, for this moment.
    fn verify(&self, trust: &TrustPolicy, now: Timestamp, found: &mut Examined) -> bool {
        let Self { envelope, payload, manifest, signature } = *self;
        if signature.algorithm != ALGORITHM {
            let message = format!("`{}` is not {ALGORITHM}", signature.algorithm);
            found.against(Code::SignatureInvalid, "/manifest/payload/signature/algorithm", message);
            return false;
        }
        let Some(carried) = envelope.signatures.first() else {
            return false;
        };
        if carried.keyid.as_ref().is_some_and(|hint| *hint != signature.key_id) {
            let message = "the envelope names another key than the signed bytes";
            found.against(Code::SignatureInvalid, "/manifest/signatures/0/keyid", message);
            return false;
        }
        let Some(key) = pinned(manifest, signature, trust, found) else {
            return false;
        };
        let bytes = lenient_base64::decode(&carried.sig)
            .and_then(|bytes| ed25519_dalek::Signature::from_slice(&bytes).ok());
        let verified = bytes.is_some_and(|bytes| key.verify_strict(&pae(payload), &bytes).is_ok());
        if !verified {
            let message = format!(
                "it was not signed by the key `{}`, or was changed since",
                signature.key_id
            );
            found.against(Code::SignatureInvalid, "/manifest/signatures/0/sig", message);
            return false;
        }
        check_validity(signature, now, found)
    }
}

fn check_validity(signature: &Signature, now: Timestamp, found: &mut Examined) -> bool {
    let pointer = "/manifest/payload/signature/expiresAt";
    if signature.expires_at <= signature.issued_at {
        found.against(Code::SignatureExpired, pointer, "it ends before it begins");
        return false;
    }
    if signature.issued_at > now.plus_ms(CLOCK_SKEW_MS) {
        let message = format!("it is valid from {} on", signature.issued_at);
        found.against(Code::SignatureExpired, "/manifest/payload/signature/issuedAt", message);
        return false;
    }
    if signature.expires_at <= now {
        let message = format!("the signature ended at {}: sign it anew", signature.expires_at);
        found.against(Code::SignatureExpired, pointer, message);
        return false;
    }
    true
}

// Checks provenance, digests and version against the trust policy.
fn judge(manifest: &Manifest, trust: &TrustPolicy, found: &mut Examined) {
    if let Some(publisher) = publisher(manifest, trust) {
        let provenance = &manifest.publisher.provenance;
        if !publisher.provenance_prefixes.iter().any(|prefix| is_under(provenance, prefix)) {
            let message = format!("`{}` is not trusted to build at `{provenance}`", publisher.id);
            found.against(
                Code::ProvenanceUntrusted,
                "/manifest/payload/publisher/provenance",
                message,
            );
        }
    }
    if revoked(manifest, trust) {
        found.against(Code::RollbackRefused, "/manifest", "this skill is revoked");
    }
    if let Some(minimum) = trust.minimum_versions.get(&manifest.skill.key) {
        let enough = match (Version::parse(&manifest.skill.version), Version::parse(minimum)) {
            (Ok(version), Ok(minimum)) => version >= minimum,
            _ => false,
        };
        if !enough {
            let message =
                format!("the workspace asks for `{}` {minimum} or later", manifest.skill.key);
            found.against(Code::RollbackRefused, "/manifest/payload/skill/version", message);
        }
    }
}

// All skills without files share the digest of no bytes: revoking it would revoke them all.
fn empty(digest: &Digest) -> bool {
    *digest == canonical::digest_bytes(b"")
}

// Whole path segments only: `github.com/acme/skills` is under `github.com/acme`,
// `github.com/acme-evil` is not.
fn is_under(provenance: &str, prefix: &str) -> bool {
    let rest = provenance.strip_prefix(prefix).filter(|_| !prefix.is_empty());
    rest.is_some_and(|rest| {
        rest.is_empty() || prefix.ends_with('/') || rest.starts_with(['/', '@', '#', ':'])
    })
}

fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = lenient_base64::decode(text)?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())
}

/// What is wrong with a trust policy itself.
pub fn check(trust: &TrustPolicy) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut sizes = vec![
        ("/trust/trustedPublishers".to_owned(), trust.trusted_publishers.len()),
        ("/trust/revokedDigests".to_owned(), trust.revoked_digests.len()),
        ("/trust/minimumVersions".to_owned(), trust.minimum_versions.len()),
    ];
    let mut publishers = BTreeSet::new();
    for (index, publisher) in trust.trusted_publishers.iter().enumerate() {
        let at = format!("/trust/trustedPublishers/{index}");
        if publisher.id.is_empty()
            || publisher.id.len() > NAME_BYTES_MAX
            || !publishers.insert(&publisher.id)
        {
            issues.push(Issue::new(
                format!("{at}/id"),
                format!("a name of 1 to {NAME_BYTES_MAX} bytes, once"),
            ));
        }
        let mut keys = BTreeSet::new();
        for (place, key) in publisher.keys.iter().enumerate() {
            if key.key_id.is_empty()
                || key.key_id.len() > NAME_BYTES_MAX
                || !keys.insert(&key.key_id)
            {
                let message = format!("a name of 1 to {NAME_BYTES_MAX} bytes, once");
                issues.push(Issue::new(format!("{at}/keys/{place}/keyId"), message));
            }
            if public_key(&key.public_key).is_none() {
                let message = "base64 of the 32 bytes of an Ed25519 public key";
                issues.push(Issue::new(format!("{at}/keys/{place}/publicKey"), message));
            }
        }
        for (place, prefix) in publisher.provenance_prefixes.iter().enumerate() {
            if prefix.trim().is_empty() {
                let message = "an empty prefix would trust every place";
                issues.push(Issue::new(format!("{at}/provenancePrefixes/{place}"), message));
            }
        }
        sizes.push((format!("{at}/keys"), publisher.keys.len()));
        sizes.push((format!("{at}/provenancePrefixes"), publisher.provenance_prefixes.len()));
    }
    for (key, version) in &trust.minimum_versions {
        if let Err(error) = Version::parse(version) {
            let pointer = format!("/trust/minimumVersions/{}", contracts::json::escape(key));
            issues.push(Issue::new(pointer, format!("not a semantic version: {error}")));
        }
    }
    let large = sizes.into_iter().filter(|(_, size)| *size > TRUST_ENTRIES_MAX);
    issues.extend(
        large.map(|(pointer, _)| Issue::new(pointer, format!("at most {TRUST_ENTRIES_MAX}"))),
    );
    issues
}

// Pre-authentication encoding (DSSE v1.0.2): what is signed cannot be taken for a document of
// another type.
fn pae(payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Signs a manifest whose `signature` says by whom and for how long.
pub fn sign(manifest: &Manifest, key: &SigningKey) -> Result<Envelope, canonical::CanonicalError> {
    let payload = canonical::to_bytes(manifest)?;
    let sig = B64.encode(key.sign(&pae(&payload)).to_bytes());
    let keyid = manifest.signature.as_ref().map(|signature| signature.key_id.clone());
    Ok(Envelope {
        payload_type: PAYLOAD_TYPE.into(),
        payload: B64.encode(payload),
        signatures: vec![EnvelopeSignature { keyid, sig }],
    })
}

#[cfg(test)]
mod tests;
