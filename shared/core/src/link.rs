//! Links that let one person decide on one request: tokens, and the nonces of their forms.
//!
//! A token is a secret of whoever holds it: it is shown nowhere, and no event names it. It says
//! whom it is for and about what, is signed with a key that is made of the deployment's signing key
//! for nothing else, and ends soon. Whether the person is still there, and the request still open,
//! it cannot say: who takes it looks.

use crate::warrant::Ring;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use contracts::{Digest, ExecutionId, Timestamp, WorkspaceId, id::ApprovalId, json};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How who came by a link was authenticated.
pub const LINK_CHANNEL: &str = "link";
/// Form of the token.
const VERSION: &str = "1";
/// What the key is for. Another one makes another key.
const KEY_LABEL: &[u8] = b"countersign/link/1";
/// What is signed: a token, or a nonce.
const TOKEN_LABEL: &[u8] = b"token\n";
const NONCE_LABEL: &[u8] = b"nonce\n";
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 2_048;
/// Longest life of a link, in milliseconds: a day.
pub const LINK_LIFE_MS_MAX: i64 = 24 * 3_600_000;
/// Clocks of two machines differ by no more, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 60_000;

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claims {
    /// URL of the deployment whose link it is.
    pub audience: String,
    pub workspace_id: WorkspaceId,
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    /// Who may use it.
    pub person_id: String,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// Its own: no two links are the same.
    pub id: String,
}

/// Why a link is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the link is incomplete; copy all of it")]
    Malformed,
    #[error("the link was not made here, or what made it was replaced since")]
    Forged,
    #[error("the link is for another deployment")]
    Audience,
    #[error("the link's time is over")]
    Expired,
}

/// Makes and looks at links.
pub struct LinkKey([u8; 32]);

impl LinkKey {
    /// Of the key that signs warrants now: when that is replaced, every link ends.
    pub fn of(ring: &Ring) -> Self {
        Self(ring.current().derive(KEY_LABEL))
    }

    /// The token of a link.
    pub fn mint(&self, claims: &Claims) -> Result<String, serde_json::Error> {
        let body = format!("{VERSION}.{}", B64.encode(serde_json::to_vec(claims)?));
        let code = self.code(&[TOKEN_LABEL, body.as_bytes()]).finalize().into_bytes();
        Ok(format!("{body}.{}", B64.encode(code)))
    }

    /// What a token says, if it is one of this deployment's and its time is not over. Nothing of it
    /// is read before its signature holds.
    pub fn verify(&self, token: &str, audience: &str, now: Timestamp) -> Result<Claims, LinkError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(LinkError::Malformed);
        }
        let (body, code) = token.rsplit_once('.').ok_or(LinkError::Malformed)?;
        let claims = body.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix('.'));
        let claims = B64.decode(claims.ok_or(LinkError::Malformed)?);
        let claims = claims.map_err(|_| LinkError::Malformed)?;
        let code = B64.decode(code).map_err(|_| LinkError::Malformed)?;
        let signed = self.code(&[TOKEN_LABEL, body.as_bytes()]);
        // In constant time.
        signed.verify_slice(&code).map_err(|_| LinkError::Forged)?;
        let claims: Claims = json::decode(&claims).map_err(|_| LinkError::Malformed)?;
        if claims.audience != audience {
            return Err(LinkError::Audience);
        }
        let begun = claims.issued_at <= now.plus_ms(CLOCKS_DIFFER_MS);
        let short = claims.expires_at <= claims.issued_at.plus_ms(LINK_LIFE_MS_MAX);
        if !begun || !short || now >= claims.expires_at {
            return Err(LinkError::Expired);
        }
        Ok(claims)
    }

    /// The nonce of a form that a link shows: for one decision, on what was shown. `draw` is drawn
    /// anew for each form.
    pub fn nonce(&self, claims: &Claims, view: &Digest, draw: &[u8; 16]) -> String {
        let draw = hex::encode(draw);
        let code = self.nonce_code(claims, view, &draw).finalize().into_bytes();
        format!("{draw}.{}", B64.encode(code))
    }

    /// Whether a nonce is of this link and of this view: then what names it among those that were
    /// used.
    pub fn check_nonce(&self, claims: &Claims, view: &Digest, nonce: &str) -> Option<String> {
        let (draw, code) = nonce.split_once('.')?;
        let drawn =
            draw.len() == 32 && draw.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let code = B64.decode(code).ok()?;
        let holds = self.nonce_code(claims, view, draw).verify_slice(&code).is_ok();
        (drawn && holds).then(|| draw.to_owned())
    }

    fn nonce_code(&self, claims: &Claims, view: &Digest, draw: &str) -> Hmac<Sha256> {
        // Each on a line of its own; none of them has line breaks but a person's id might.
        let person = hex::encode(&claims.person_id);
        let parts = [claims.id.as_str(), &person, view.hex(), draw].join("\n");
        self.code(&[NONCE_LABEL, parts.as_bytes()])
    }

    fn code(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        crate::warrant::keyed(&self.0, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warrant::Key;
    use serde_json::{Value, json};

    const HERE: &str = "https://control.example";

    fn key(secret: u8) -> LinkKey {
        LinkKey::of(&Ring::new(Key::new(&[secret; 32])))
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(1_795_000_000_000 + ms)
    }

    fn claims() -> Claims {
        Claims {
            audience: HERE.into(),
            workspace_id: "acme".parse().unwrap(),
            execution_id: format!("exe_{}", "1".repeat(32)).parse().unwrap(),
            approval_id: ApprovalId::from_bytes([7; 16]),
            person_id: "ada@example.com".into(),
            issued_at: at(0),
            expires_at: at(1_000),
            id: "l1".into(),
        }
    }

    fn view(digit: char) -> Digest {
        format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
    }

    #[test]
    fn attack_a_link_that_is_forged_truncated_expired_or_of_another_deployment() {
        let token = key(7).mint(&claims()).unwrap();
        assert_eq!(key(7).verify(&token, HERE, at(0)), Ok(claims()));
        assert_eq!(key(7).verify(&token, HERE, at(999)), Ok(claims()));
        let cases = [
            (&token[..], HERE, at(1_000), LinkError::Expired),
            (&token[..], HERE, at(-CLOCKS_DIFFER_MS - 1), LinkError::Expired),
            (&token[..], "https://other.example", at(0), LinkError::Audience),
            ("", HERE, at(0), LinkError::Malformed),
            ("1..", HERE, at(0), LinkError::Forged),
            ("2.e30.e30", HERE, at(0), LinkError::Malformed),
        ];
        for (token, audience, now, error) in cases {
            assert_eq!(key(7).verify(token, audience, now), Err(error), "{token}");
        }
        assert_eq!(key(8).verify(&token, HERE, at(0)), Err(LinkError::Forged), "another key");
        for end in 0..token.len() {
            assert!(key(7).verify(&token[..end], HERE, at(0)).is_err(), "cut at {end}");
        }
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(key(7).verify(&changed, HERE, at(0)).is_err(), "changed at {index}");
        }
        let long = format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX));
        assert_eq!(key(7).verify(&long, HERE, at(0)), Err(LinkError::Malformed));
    }

    #[test]
    fn attack_claims_that_are_exchanged_under_a_signature() {
        let token = key(7).mint(&claims()).unwrap();
        let (_, code) = token.rsplit_once('.').unwrap();
        for (name, value) in [
            ("workspaceId", json!("other")),
            ("personId", json!("eve@example.com")),
            ("executionId", json!(format!("exe_{}", "2".repeat(32)))),
            ("expiresAt", json!(at(1_000_000))),
        ] {
            let mut other: Value = serde_json::to_value(claims()).unwrap();
            other[name] = value;
            let body = B64.encode(other.to_string());
            let forged = format!("1.{body}.{code}");
            assert_eq!(key(7).verify(&forged, HERE, at(0)), Err(LinkError::Forged), "{name}");
        }
        let eternal = Claims { expires_at: at(LINK_LIFE_MS_MAX + 1), ..claims() };
        let eternal = key(7).mint(&eternal).unwrap();
        assert_eq!(key(7).verify(&eternal, HERE, at(0)), Err(LinkError::Expired), "no link is");
    }

    #[test]
    fn attack_a_nonce_of_another_link_person_or_view() {
        let (key, draw) = (key(7), [9; 16]);
        let nonce = key.nonce(&claims(), &view('a'), &draw);
        let used = key.check_nonce(&claims(), &view('a'), &nonce);
        assert_eq!(used.as_deref(), Some("09".repeat(16).as_str()));
        let others = [
            (Claims { id: "l2".into(), ..claims() }, view('a')),
            (Claims { person_id: "eve".into(), ..claims() }, view('a')),
            (claims(), view('b')),
        ];
        for (claims, view) in others {
            assert_eq!(key.check_nonce(&claims, &view, &nonce), None);
        }
        let (_, code) = nonce.split_once('.').unwrap();
        let drawn = "08".repeat(16);
        for bad in ["", ".", code, &format!("{drawn}.{code}"), &nonce[..nonce.len() - 1]] {
            assert_eq!(key.check_nonce(&claims(), &view('a'), bad), None, "{bad}");
        }
        let token = key.mint(&claims()).unwrap();
        assert_eq!(key.check_nonce(&claims(), &view('a'), &token), None, "a token is no nonce");
    }
}
