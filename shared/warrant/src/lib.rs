//! The warrant: a short-lived signed capability that a step carries to the tool it calls (header
//! `countersign-warrant`), so that a tool can itself refuse what no plan asked for.
//!
//! A compact JWS (RFC 7515, 7519) with EdDSA (RFC 8037), verifiable offline with the key set that
//! the control plane publishes at `/.well-known/jwks.json`. A tool does:
//!
//! ```
//! # use countersign_warrant::WarrantError;
//! # use serde_json::Value;
//! # fn tool(warrant: &str, jwks: &Value, body: &[u8], now: i64) -> Result<(), WarrantError> {
//! use countersign_warrant::{Expected, KeySet, verify};
//! let keys = KeySet::from_jwks(jwks)?;
//! let expected = Expected {
//!     audience: "https://tools.example.com",
//!     operation: "payments/refund.create",
//!     input: body,
//!     now,
//! };
//! let claims = verify(warrant, &keys, &expected)?;
//! # let _ = claims; Ok(()) }
//! ```
//!
//! A tool that keeps `claims.jti` until `claims.exp` refuses a second use of the same warrant, too;
//! tools that honour `Idempotency-Key` need not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// `typ` of a warrant's header.
pub const TYPE: &str = "warrant+jwt";
/// `iss` of every warrant.
pub const ISSUER: &str = "countersign";
/// Accepted difference of clocks, in seconds.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 60;
/// Longest warrant read, in bytes.
pub const WARRANT_BYTES_MAX: usize = 4096;
/// Longest life of a warrant, in seconds: a call's time-out at the most, and a minute.
pub const LIFE_SECONDS_MAX: i64 = 960;
/// Keys read of one set.
const KEYS_MAX: usize = 16;

/// What a warrant says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: [`ISSUER`].
    pub iss: String,
    /// Audience: the origin of the tool (`https://host:port`), or what its binding names.
    pub aud: String,
    /// Id of this call: the idempotency key and the attempt.
    pub jti: String,
    /// Workspace.
    pub ws: String,
    /// Execution.
    pub exe: String,
    /// Step.
    pub step: String,
    /// Attempt.
    pub att: u32,
    /// Operation, `skill/operation`.
    pub op: String,
    /// Digest of the input as the tool gets it: `sha256:` and SHA-256 over its canonical JSON (RFC
    /// 8785). The body of an HTTP call is canonical already, so that its bytes can be hashed as
    /// they are.
    pub arg: String,
    /// Digest of the input as the trace records it, sensitive values as commitments.
    pub inp: String,
    /// Digest of the plan.
    pub plan: String,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, seconds since 1970.
    pub exp: i64,
}

/// What a tool expects of the warrant of a call.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// The tool's own origin.
    pub audience: &'e str,
    /// The operation that it was called for.
    pub operation: &'e str,
    /// The input as it came: JSON.
    pub input: &'e [u8],
    /// Seconds since 1970.
    pub now: i64,
}

/// Why a warrant is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WarrantError {
    #[error("the warrant cannot be read")]
    Malformed,
    #[error("the warrant is not signed by EdDSA, or is no warrant")]
    Algorithm,
    #[error("the warrant is signed by a key that is not published")]
    UnknownKey,
    #[error("the key set cannot be read")]
    KeySet,
    #[error("the warrant's signature does not verify")]
    Forged,
    #[error("the warrant is not valid at this time")]
    Expired,
    #[error("the warrant is for another tool")]
    Audience,
    #[error("the warrant is for another operation")]
    Operation,
    #[error("the warrant is for another input")]
    Input,
}

/// The public keys of a control plane.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<(String, VerifyingKey)>);

impl KeySet {
    /// Reads a JWK set (RFC 7517). Keys that are not Ed25519 signature keys are passed over; two
    /// keys of one id, or a key that is no point of the curve, refuse the set.
    pub fn from_jwks(jwks: &Value) -> Result<Self, WarrantError> {
        let list = jwks.get("keys").and_then(Value::as_array).ok_or(WarrantError::KeySet)?;
        let mut keys: Vec<(String, VerifyingKey)> = Vec::new();
        for jwk in list.iter().take(KEYS_MAX) {
            let text = |name: &str| jwk.get(name).and_then(Value::as_str);
            let fits = |name: &str, wanted: &str| text(name).is_none_or(|given| given == wanted);
            if text("kty") != Some("OKP")
                || text("crv") != Some("Ed25519")
                || !fits("use", "sig")
                || !fits("alg", "EdDSA")
            {
                continue;
            }
            let id = text("kid").ok_or(WarrantError::KeySet)?;
            let bytes: Option<[u8; 32]> =
                text("x").and_then(|x| B64.decode(x).ok()?.try_into().ok());
            let key = bytes
                .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
                .ok_or(WarrantError::KeySet)?;
            if key.is_weak() || keys.iter().any(|(other, _)| other == id) {
                return Err(WarrantError::KeySet);
            }
            keys.push((id.to_owned(), key));
        }
        Ok(Self(keys))
    }

    /// The keys.
    pub fn public_keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.0.iter().map(|(_, key)| key)
    }

    /// Whether a key of this id is in it: if not, the set may be older than the warrant.
    pub fn holds(&self, id: &str) -> bool {
        self.0.iter().any(|(other, _)| other == id)
    }
}

/// Key id of a warrant's header, unverified: to see whether the key set is older than the warrant.
pub fn key_id(warrant: &str) -> Option<String> {
    let header = decode(warrant.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(header.get("kid")?.as_str()?.to_owned())
}

/// Verifies a warrant for one call: its signature, its time, and that it is for this tool,
/// operation and input.
pub fn verify(
    warrant: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<Claims, WarrantError> {
    let claims = verify_issued(warrant, keys)?;
    let life = claims.exp.checked_sub(claims.iat).ok_or(WarrantError::Malformed)?;
    let begun = claims.iat.saturating_sub(CLOCK_SKEW_SECONDS_MAX) <= expected.now;
    let over = claims.exp.saturating_add(CLOCK_SKEW_SECONDS_MAX) <= expected.now;
    if !begun || over || !(0..=LIFE_SECONDS_MAX).contains(&life) {
        return Err(WarrantError::Expired);
    }
    if claims.aud != expected.audience {
        return Err(WarrantError::Audience);
    }
    if claims.op != expected.operation {
        return Err(WarrantError::Operation);
    }
    if input_digest(expected.input).as_ref() != Some(&claims.arg) {
        return Err(WarrantError::Input);
    }
    Ok(claims)
}

/// Verifies that a warrant was issued, whenever that was and for whatever. For the issuer itself,
/// whose own state says how long it waits for a callback.
pub fn verify_issued(warrant: &str, keys: &KeySet) -> Result<Claims, WarrantError> {
    if warrant.len() > WARRANT_BYTES_MAX {
        return Err(WarrantError::Malformed);
    }
    let (body, signature) = warrant.rsplit_once('.').ok_or(WarrantError::Malformed)?;
    let (header, claims) = body.split_once('.').ok_or(WarrantError::Malformed)?;
    let header: Value =
        serde_json::from_slice(&decode(header)?).map_err(|_| WarrantError::Malformed)?;
    let says = |name: &str, wanted: &str| header.get(name).and_then(Value::as_str) == Some(wanted);
    // Nothing of the header chooses how, or with whose key, it is verified; `crit` asks for what is
    // not understood.
    if !says("alg", "EdDSA") || !says("typ", TYPE) || header.get("crit").is_some() {
        return Err(WarrantError::Algorithm);
    }
    let id = header.get("kid").and_then(Value::as_str).ok_or(WarrantError::UnknownKey)?;
    let (_, key) = keys.0.iter().find(|(other, _)| other == id).ok_or(WarrantError::UnknownKey)?;
    let signature =
        Signature::from_slice(&decode(signature)?).map_err(|_| WarrantError::Malformed)?;
    key.verify_strict(body.as_bytes(), &signature).map_err(|_| WarrantError::Forged)?;
    let claims: Claims =
        serde_json::from_slice(&decode(claims)?).map_err(|_| WarrantError::Malformed)?;
    if claims.iss == ISSUER { Ok(claims) } else { Err(WarrantError::UnknownKey) }
}

/// `sha256:` and the SHA-256 of a JSON text in canonical form (RFC 8785). `None`: not JSON.
pub fn input_digest(json: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let bytes = serde_json_canonicalizer::to_vec(&value).ok()?;
    Some(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
}

fn decode(text: &str) -> Result<Vec<u8>, WarrantError> {
    B64.decode(text).map_err(|_| WarrantError::Malformed)
}
