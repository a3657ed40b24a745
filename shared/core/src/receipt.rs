//! Receipts of steps: compact JWS (RFC 7515) with EdDSA (RFC 8037), signed with the key that signs
//! warrants. The `typ` of the header keeps the two apart.

use crate::{canonical, warrant::Key};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use contracts::evidence::Receipt;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

/// `typ` of a receipt's header.
pub const TYPE: &str = "receipt+jwt";
/// Longest receipt read, in bytes.
const RECEIPT_BYTES_MAX: usize = 8192;
/// Digits of a key's digest that are its id.
const KEY_ID_DIGITS: usize = 16;

/// Why a receipt is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("it is no receipt that can be read")]
    Malformed,
    #[error("it is not signed by EdDSA, or is no receipt")]
    Algorithm,
    #[error("it is signed by no key that was given")]
    UnknownKey,
    #[error("its signature does not verify")]
    Forged,
}

/// Signs a receipt.
pub fn sign(receipt: &Receipt, key: &Key) -> Result<String, serde_json::Error> {
    let header = json!({ "alg": "EdDSA", "kid": key.id(), "typ": TYPE });
    let claims = serde_json::to_vec(receipt)?;
    let body = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims));
    let signature = key.sign(body.as_bytes());
    Ok(format!("{body}.{}", B64.encode(signature)))
}

/// What a receipt says that one of the keys signed.
///
/// INVARIANT (fail-closed): nothing of the header chooses how it is verified, or with a key that
/// was not given.
pub fn open(jws: &str, keys: &[VerifyingKey]) -> Result<Receipt, ReceiptError> {
    if jws.len() > RECEIPT_BYTES_MAX {
        return Err(ReceiptError::Malformed);
    }
    let (body, signature) = jws.rsplit_once('.').ok_or(ReceiptError::Malformed)?;
    let (header, claims) = body.split_once('.').ok_or(ReceiptError::Malformed)?;
    let header: Value =
        contracts::json::decode(&decode(header)?).or(Err(ReceiptError::Malformed))?;
    let says = |name: &str, wanted: &str| header.get(name).and_then(Value::as_str) == Some(wanted);
    if !says("alg", "EdDSA") || !says("typ", TYPE) || header.get("crit").is_some() {
        return Err(ReceiptError::Algorithm);
    }
    let id = header.get("kid").and_then(Value::as_str).ok_or(ReceiptError::UnknownKey)?;
    let named = |key: &&VerifyingKey| {
        canonical::digest_bytes(key.as_bytes()).hex().get(..KEY_ID_DIGITS) == Some(id)
    };
    let key = keys.iter().find(named).ok_or(ReceiptError::UnknownKey)?;
    let signature = Signature::from_slice(&decode(signature)?).or(Err(ReceiptError::Malformed))?;
    key.verify_strict(body.as_bytes(), &signature).or(Err(ReceiptError::Forged))?;
    let receipt: Receipt =
        contracts::json::decode(&decode(claims)?).or(Err(ReceiptError::Malformed))?;
    match receipt.iss == crate::warrant::ISSUER {
        true => Ok(receipt),
        false => Err(ReceiptError::Malformed),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, ReceiptError> {
    B64.decode(text).or(Err(ReceiptError::Malformed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{Digest, Timestamp, event::Purpose, evidence::ReceiptOutcome};

    fn receipt() -> Receipt {
        Receipt {
            iss: crate::warrant::ISSUER.into(),
            ws: "acme".parse().unwrap(),
            exe: format!("exe_{}", "0".repeat(32)).parse().unwrap(),
            step: "refund".parse().unwrap(),
            attempt: 1,
            op: "payments/refund.create".into(),
            purpose: Purpose::Run,
            inp: Digest::zero(),
            out: None,
            outcome: ReceiptOutcome::Completed,
            at: Timestamp::from_ms(1_000),
            evt: Digest::zero(),
            seq: 7,
            plan: Digest::zero(),
        }
    }

    fn forged(header: &Value, key: &Key) -> String {
        let claims = serde_json::to_vec(&receipt()).unwrap();
        let body = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims));
        format!("{body}.{}", B64.encode(key.sign(body.as_bytes())))
    }

    #[test]
    fn attack_a_receipt_that_is_changed_signed_by_another_or_is_something_else() {
        let (key, other) = (Key::new(&[7; 32]), Key::new(&[8; 32]));
        let keys = [key.public()];
        let signed = sign(&receipt(), &key).unwrap();
        assert_eq!(open(&signed, &keys), Ok(receipt()));
        let claims = Receipt { attempt: 2, ..receipt() };
        let parts: Vec<&str> = signed.split('.').collect();
        let claims = B64.encode(serde_json::to_vec(&claims).unwrap());
        let changed = format!("{}.{claims}.{}", parts[0], parts[2]);
        assert_eq!(open(&changed, &keys), Err(ReceiptError::Forged));
        let by_other = sign(&receipt(), &other).unwrap();
        assert_eq!(open(&by_other, &keys), Err(ReceiptError::UnknownKey));
        let claimed = json!({ "alg": "EdDSA", "kid": key.id(), "typ": TYPE });
        assert_eq!(open(&forged(&claimed, &other), &keys), Err(ReceiptError::Forged));
        for header in [
            json!({ "alg": "none", "kid": key.id(), "typ": TYPE }),
            json!({ "alg": "EdDSA", "kid": key.id(), "typ": "warrant+jwt" }),
            json!({ "alg": "EdDSA", "kid": key.id() }),
            json!({ "alg": "EdDSA", "kid": key.id(), "typ": TYPE, "crit": ["b64"], "b64": false }),
        ] {
            assert_eq!(open(&forged(&header, &key), &keys), Err(ReceiptError::Algorithm));
        }
        for bad in ["", ".", "..", "a.b.c", &"a".repeat(9_000)] {
            assert_eq!(open(bad, &keys), Err(ReceiptError::Malformed), "{bad:.20}");
        }
    }
}
