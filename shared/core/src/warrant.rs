//! The warrant: a short-lived signed capability that a step carries to the tool it calls, so that a tool can itself
//! refuse what no plan asked for. A compact JWS (RFC 7515, 7519) with EdDSA (RFC 8037), verifiable offline.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use contracts::{Digest, ExecutionId, StepId};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Accepted difference of clocks, in seconds.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 60;
/// Longest warrant read, in bytes.
const WARRANT_BYTES_MAX: usize = 4096;

/// What a warrant says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: `countersign`.
    pub iss: String,
    /// Audience: the origin of the tool.
    pub aud: String,
    /// Workspace.
    pub ws: String,
    /// Execution.
    pub exe: ExecutionId,
    /// Step.
    pub step: StepId,
    /// Attempt.
    pub att: u32,
    /// Operation, `skill/operation`.
    pub op: String,
    /// Digest of the input as recorded in the trace.
    pub inp: Digest,
    /// Digest of the plan.
    pub plan: Digest,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, seconds since 1970.
    pub exp: i64,
}

/// Why a warrant is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the warrant cannot be read")]
    Malformed,
    #[error("the warrant is signed by an unknown key or with another algorithm")]
    UnknownKey,
    #[error("the warrant's signature does not verify")]
    Forged,
    #[error("the warrant is not valid at this time")]
    Expired,
}

/// The key that signs warrants.
pub struct Key {
    signing: SigningKey,
    id: String,
}

impl Key {
    /// From 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(secret);
        let id = crate::canonical::digest_bytes(signing.verifying_key().as_bytes()).hex().chars().take(16).collect();
        Self { signing, id }
    }

    /// The public half as a JWK set (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id,
            "x": B64.encode(self.signing.verifying_key().as_bytes()) }] })
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> Result<String, serde_json::Error> {
        let header = json!({ "alg": "EdDSA", "kid": self.id, "typ": "warrant+jwt" });
        let body = format!("{}.{}", B64.encode(header.to_string()), B64.encode(serde_json::to_vec(claims)?));
        let signature = self.signing.sign(body.as_bytes());
        Ok(format!("{body}.{}", B64.encode(signature.to_bytes())))
    }

    /// Verifies a warrant of this key at `now` (seconds since 1970).
    pub fn verify(&self, warrant: &str, now: i64) -> Result<Claims, Refused> {
        verify(warrant, &self.jwks(), now)
    }
}

/// Verifies a warrant against a published key set at `now` (seconds since 1970).
pub fn verify(warrant: &str, jwks: &Value, now: i64) -> Result<Claims, Refused> {
    let claims = verify_issued(warrant, jwks)?;
    let valid = claims.iat - CLOCK_SKEW_SECONDS_MAX <= now && now < claims.exp + CLOCK_SKEW_SECONDS_MAX;
    if valid { Ok(claims) } else { Err(Refused::Expired) }
}

/// Verifies that a warrant was issued, whenever that was. For the issuer itself, whose own state says how long it
/// waits for a callback.
pub fn verify_issued(warrant: &str, jwks: &Value) -> Result<Claims, Refused> {
    if warrant.len() > WARRANT_BYTES_MAX {
        return Err(Refused::Malformed);
    }
    let (body, signature) = warrant.rsplit_once('.').ok_or(Refused::Malformed)?;
    let (header, claims) = body.split_once('.').ok_or(Refused::Malformed)?;
    let decode = |text: &str| B64.decode(text).map_err(|_| Refused::Malformed);
    let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| Refused::Malformed)?;
    if header.get("alg") != Some(&json!("EdDSA")) || header.get("typ") != Some(&json!("warrant+jwt")) {
        return Err(Refused::UnknownKey);
    }
    let keys = jwks.get("keys").and_then(Value::as_array).ok_or(Refused::UnknownKey)?;
    let key = keys
        .iter()
        .find(|key| key.get("kid") == header.get("kid") && key.get("crv") == Some(&json!("Ed25519")))
        .and_then(|key| B64.decode(key.get("x")?.as_str()?).ok()?.try_into().ok())
        .and_then(|bytes: [u8; 32]| VerifyingKey::from_bytes(&bytes).ok())
        .ok_or(Refused::UnknownKey)?;
    let signature = Signature::from_slice(&decode(signature)?).map_err(|_| Refused::Malformed)?;
    key.verify_strict(body.as_bytes(), &signature).map_err(|_| Refused::Forged)?;
    serde_json::from_slice(&decode(claims)?).map_err(|_| Refused::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: "countersign".into(),
            aud: "http://127.0.0.1:1".into(),
            ws: "acme".into(),
            exe: ExecutionId::from_bytes([2; 16]),
            step: "refund".parse().unwrap(),
            att: 1,
            op: "payments/refund.create".into(),
            inp: Digest::zero(),
            plan: Digest::zero(),
            iat: 1_000,
            exp: 1_300,
        }
    }

    #[test]
    fn only_this_key_this_time_these_claims() {
        let key = Key::new(&[7; 32]);
        let warrant = key.sign(&claims()).unwrap();
        assert_eq!(key.verify(&warrant, 1_100), Ok(claims()));
        assert_eq!(key.verify(&warrant, 1_400), Err(Refused::Expired));
        assert_eq!(key.verify(&warrant, 900), Err(Refused::Expired));
        assert_eq!(Key::new(&[8; 32]).verify(&warrant, 1_100), Err(Refused::UnknownKey));
        let parts: Vec<&str> = warrant.split('.').collect();
        let none = B64.encode(json!({"alg":"none","kid":key.id,"typ":"warrant+jwt"}).to_string());
        assert_eq!(key.verify(&format!("{none}.{}.", parts[1]), 1_100), Err(Refused::UnknownKey));
        let other = B64.encode(serde_json::to_vec(&Claims { step: "other".parse().unwrap(), ..claims() }).unwrap());
        assert_eq!(key.verify(&format!("{}.{other}.{}", parts[0], parts[2]), 1_100), Err(Refused::Forged));
    }
}
