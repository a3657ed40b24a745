//! Signs warrants. [`countersign_warrant`] defines and verifies them.
//!
//! Keys rotate with overlap: a ring signs with one key, and also publishes earlier keys as long as
//! their warrants may be in use, and the next key before it signs.

pub use countersign_warrant::{
    Claims, Expected, ISSUER, KeySet, WarrantError, verify, verify_issued,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use countersign_warrant::TYPE;
pub use ed25519_dalek::VerifyingKey;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, Mac as _, digest::KeyInit};
use serde_json::{Value, json};
use sha2::Sha256;

/// A key that signs warrants.
pub struct Key {
    signing: SigningKey,
    id: String,
}

impl Key {
    /// From 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(secret);
        let id = crate::canonical::digest_bytes(signing.verifying_key().as_bytes())
            .hex()
            .chars()
            .take(16)
            .collect();
        Self { signing, id }
    }

    /// Its id: the start of its public half's digest.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public half.
    pub fn public(&self) -> VerifyingKey {
        self.signing.verifying_key()
    }

    /// The signature of a message (Ed25519, RFC 8032).
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// Another secret, made of this one for one purpose: who learns it learns neither this one nor
    /// that of another purpose.
    pub(crate) fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        keyed(&self.signing.to_bytes(), &[purpose]).finalize().into_bytes().into()
    }

    fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id,
            "x": B64.encode(self.signing.verifying_key().as_bytes()) })
    }
}

/// The HMAC of some parts, one behind the other.
pub(crate) fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    // A key is filled up with zeros to a block (RFC 2104): so it has the one length that cannot be
    // wrong.
    let block: [u8; 64] = std::array::from_fn(|index| key.get(index).copied().unwrap_or_default());
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// The key that signs, and those that are published beside it.
pub struct Ring {
    current: Key,
    published: Vec<Key>,
}

impl Ring {
    /// A ring of one key.
    pub fn new(current: Key) -> Self {
        Self { current, published: Vec::new() }
    }

    /// With keys that are published beside it: those that signed before, and the one that will.
    pub fn with_published(self, others: impl IntoIterator<Item = Key>) -> Self {
        let distinct = others.into_iter().filter(|key| key.id != self.current.id).collect();
        Self { published: distinct, ..self }
    }

    /// The key that signs.
    pub fn current(&self) -> &Key {
        &self.current
    }

    /// The public halves as a JWK set (RFC 7517), the current one first.
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> =
            std::iter::once(&self.current).chain(&self.published).map(Key::jwk).collect();
        json!({ "keys": keys })
    }

    /// The same, to verify with.
    pub fn key_set(&self) -> KeySet {
        KeySet::from_jwks(&self.jwks()).unwrap_or_default()
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> Result<String, serde_json::Error> {
        let header = json!({ "alg": "EdDSA", "kid": self.current.id, "typ": TYPE });
        let body = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(serde_json::to_vec(claims)?)
        );
        let signature = self.current.signing.sign(body.as_bytes());
        Ok(format!("{body}.{}", B64.encode(signature.to_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"amount":5}"#;

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.into(),
            aud: "http://127.0.0.1:1".into(),
            jti: "k.1".into(),
            ws: "acme".into(),
            exe: "exe_1".into(),
            step: "refund".into(),
            att: 1,
            op: "payments/refund.create".into(),
            arg: countersign_warrant::input_digest(BODY).unwrap(),
            inp: "sha256:1".into(),
            plan: "sha256:2".into(),
            iat: 1_000,
            exp: 1_300,
        }
    }

    const EXPECTED: Expected<'_> = Expected {
        audience: "http://127.0.0.1:1",
        operation: "payments/refund.create",
        input: BODY,
        now: 1_100,
    };

    fn forged(header: Value, claims: &Claims, by: &Ring) -> String {
        let body = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(serde_json::to_vec(claims).unwrap())
        );
        format!("{body}.{}", B64.encode(by.current.signing.sign(body.as_bytes()).to_bytes()))
    }

    #[test]
    fn attack_a_warrant_replayed_on_another_step_input_tool_or_after_expiry() {
        let ring = Ring::new(Key::new(&[7; 32]));
        let (warrant, keys) = (ring.sign(&claims()).unwrap(), ring.key_set());
        assert_eq!(verify(&warrant, &keys, &EXPECTED), Ok(claims()));
        let spaced = Expected { input: b"{ \"amount\" : 5 }", ..EXPECTED };
        assert_eq!(
            verify(&warrant, &keys, &spaced),
            Ok(claims()),
            "the same input, written otherwise"
        );
        let refused = |expected: Expected<'_>| verify(&warrant, &keys, &expected).unwrap_err();
        assert_eq!(
            refused(Expected { operation: "payments/payout.create", ..EXPECTED }),
            WarrantError::Operation
        );
        assert_eq!(
            refused(Expected { input: br#"{"amount":50}"#, ..EXPECTED }),
            WarrantError::Input
        );
        assert_eq!(refused(Expected { input: b"not json", ..EXPECTED }), WarrantError::Input);
        assert_eq!(
            refused(Expected { audience: "http://127.0.0.1:2", ..EXPECTED }),
            WarrantError::Audience
        );
        assert_eq!(refused(Expected { now: 1_360, ..EXPECTED }), WarrantError::Expired);
        assert_eq!(refused(Expected { now: 939, ..EXPECTED }), WarrantError::Expired, "not yet");
        let parts: Vec<&str> = warrant.split('.').collect();
        let other =
            B64.encode(serde_json::to_vec(&Claims { step: "other".into(), ..claims() }).unwrap());
        let moved = format!("{}.{other}.{}", parts[0], parts[2]);
        assert_eq!(verify(&moved, &keys, &EXPECTED), Err(WarrantError::Forged), "another step");
        let eternal = ring.sign(&Claims { exp: i64::MAX, ..claims() }).unwrap();
        assert_eq!(
            verify(&eternal, &keys, &EXPECTED),
            Err(WarrantError::Expired),
            "no warrant lives for so long"
        );
    }

    #[test]
    fn attack_alg_none_and_other_algorithms() {
        let ring = Ring::new(Key::new(&[7; 32]));
        let keys = ring.key_set();
        let id = ring.current().id();
        for header in [
            json!({ "alg": "none", "kid": id, "typ": TYPE }),
            json!({ "alg": "HS256", "kid": id, "typ": TYPE }),
            json!({ "alg": "EdDSA", "kid": id, "typ": "JWT" }),
            json!({ "alg": "EdDSA", "kid": id, "typ": TYPE, "crit": ["b64"] }),
        ] {
            assert_eq!(
                verify(&forged(header, &claims(), &ring), &keys, &EXPECTED),
                Err(WarrantError::Algorithm)
            );
        }
        let none = forged(json!({ "alg": "none", "kid": id, "typ": TYPE }), &claims(), &ring);
        let unsigned = format!("{}.", none.rsplit_once('.').unwrap().0);
        assert_eq!(verify(&unsigned, &keys, &EXPECTED), Err(WarrantError::Algorithm));
        assert_eq!(verify(&"a".repeat(5_000), &keys, &EXPECTED), Err(WarrantError::Malformed));
    }

    #[test]
    fn attack_jwks_confusion() {
        let (ours, theirs) = (Ring::new(Key::new(&[7; 32])), Ring::new(Key::new(&[8; 32])));
        let keys = ours.key_set();
        // A key in the header, or a URL of keys, is ignored.
        let id = ours.current().id();
        let header = json!({ "alg": "EdDSA", "kid": id, "typ": TYPE, "jwk": theirs.current().jwk(),
            "jku": "https://evil.example/jwks.json" });
        assert_eq!(
            verify(&forged(header, &claims(), &theirs), &keys, &EXPECTED),
            Err(WarrantError::Forged)
        );
        let header = json!({ "alg": "EdDSA", "kid": theirs.current().id(), "typ": TYPE });
        assert_eq!(
            verify(&forged(header, &claims(), &theirs), &keys, &EXPECTED),
            Err(WarrantError::UnknownKey)
        );
        // A key that is none of Ed25519's, or meant for something else, is not taken for one.
        let mut set = ours.jwks();
        for (name, value) in [("crv", "X25519"), ("kty", "oct"), ("use", "enc"), ("alg", "HS256")] {
            let mut changed = set.clone();
            changed["keys"][0][name] = json!(value);
            let keys = KeySet::from_jwks(&changed).unwrap();
            assert_eq!(
                verify(&ours.sign(&claims()).unwrap(), &keys, &EXPECTED),
                Err(WarrantError::UnknownKey),
                "{name}"
            );
        }
        // Two keys with the same id are ambiguous.
        let mut twin = theirs.current().jwk();
        twin["kid"] = json!(id);
        set["keys"].as_array_mut().unwrap().push(twin);
        assert_eq!(KeySet::from_jwks(&set).unwrap_err(), WarrantError::KeySet);
        // A point of small order verifies forged signatures in lax verifiers.
        let weak = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "w",
            "x": B64.encode([0_u8; 32]) }] });
        assert_eq!(KeySet::from_jwks(&weak).unwrap_err(), WarrantError::KeySet);
    }

    #[test]
    fn keys_rotate_with_overlap() {
        let (old, new) = ([7; 32], [8; 32]);
        let before = Ring::new(Key::new(&old));
        let warrant = before.sign(&claims()).unwrap();
        let after = Ring::new(Key::new(&new)).with_published([Key::new(&old)]);
        assert_eq!(
            verify(&warrant, &after.key_set(), &EXPECTED),
            Ok(claims()),
            "on its way when the key changed"
        );
        assert_eq!(
            verify(&after.sign(&claims()).unwrap(), &after.key_set(), &EXPECTED),
            Ok(claims())
        );
        let gone = Ring::new(Key::new(&new));
        assert_eq!(
            verify(&warrant, &gone.key_set(), &EXPECTED),
            Err(WarrantError::UnknownKey),
            "the overlap is over"
        );
    }
}
