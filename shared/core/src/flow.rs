//! A sign-in at an identity provider that is under way: what the browser that began it keeps until
//! it comes back.
//!
//! Nothing is stored for somebody who has not signed in yet. The token says what was begun, where
//! and when, and is signed with a key that is made of the deployment's signing key for nothing
//! else. What the provider is sent follows from the token and that key: who does not have the
//! browser's token cannot finish its sign-in, and who has only the token cannot say the nonce.

use crate::warrant::Ring;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use contracts::{
    Digest, ExecutionId, Timestamp, WorkspaceId, id::ApprovalId, json, limits::SIGN_IN_FLOW_LIFE_MS,
};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Form of the token.
const VERSION: &str = "1";
/// What the key is for. Another one makes another key.
const KEY_LABEL: &[u8] = b"countersign/sign-in/1";
const TOKEN_LABEL: &[u8] = b"token\n";
const STATE_LABEL: &[u8] = b"state\n";
const NONCE_LABEL: &[u8] = b"nonce\n";
const VERIFIER_LABEL: &[u8] = b"verifier\n";
/// Longest token, in bytes: browsers keep 4,096 of a cookie with its name and attributes.
const TOKEN_BYTES_MAX: usize = 3_600;
/// Clocks of two machines differ by no more, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 60_000;

/// What was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// URL of the deployment where.
    pub audience: String,
    pub workspace_id: WorkspaceId,
    pub purpose: Purpose,
    pub begun_at: Timestamp,
    /// Its own: no two are the same, and none is finished twice.
    pub id: String,
}

/// What for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Purpose {
    /// A session. `to`: a page of the console to begin with.
    SignIn {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// A second factor, for one person's decision on one request.
    SecondFactor(Box<Decided>),
}

/// What a second factor is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decided {
    pub person_id: String,
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    /// The token of the approval link by whose page the person came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Why a token is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    #[error("this browser did not begin the sign-in that came back")]
    Foreign,
    #[error("the sign-in took too long")]
    Expired,
}

/// What the provider is sent, and says again.
#[derive(Clone, PartialEq, Eq)]
pub struct FlowSecrets {
    /// In the address: names the browser's flow.
    pub state: String,
    /// In the ID token.
    pub nonce: String,
    /// Of PKCE (RFC 7636): 64 characters.
    pub verifier: String,
}

/// Makes and looks at them.
pub struct FlowKey([u8; 32]);

impl FlowKey {
    /// Of the key that signs warrants now: when that is replaced, what is under way begins anew.
    pub fn of(ring: &Ring) -> Self {
        Self(ring.current().derive(KEY_LABEL))
    }

    /// The token of a flow; none where it would be too long for a browser.
    pub fn mint(&self, flow: &Flow) -> Result<Option<String>, serde_json::Error> {
        let body = format!("{VERSION}.{}", B64.encode(serde_json::to_vec(flow)?));
        let code = self.code(&[TOKEN_LABEL, body.as_bytes()]).finalize().into_bytes();
        let token = format!("{body}.{}", B64.encode(code));
        Ok((token.len() <= TOKEN_BYTES_MAX).then_some(token))
    }

    /// What a token says, if it is one of this deployment's and not too old. Nothing of it is read
    /// before its signature holds.
    pub fn verify(&self, token: &str, audience: &str, now: Timestamp) -> Result<Flow, FlowError> {
        let parsed = (token.len() <= TOKEN_BYTES_MAX).then(|| token.rsplit_once('.')).flatten();
        let (body, code) = parsed.ok_or(FlowError::Foreign)?;
        let code = B64.decode(code).map_err(|_| FlowError::Foreign)?;
        let signed = self.code(&[TOKEN_LABEL, body.as_bytes()]);
        // In constant time.
        signed.verify_slice(&code).map_err(|_| FlowError::Foreign)?;
        let flow = body.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix('.'));
        let flow = B64.decode(flow.ok_or(FlowError::Foreign)?).map_err(|_| FlowError::Foreign)?;
        let flow: Flow = json::decode(&flow).map_err(|_| FlowError::Foreign)?;
        if flow.audience != audience {
            return Err(FlowError::Foreign);
        }
        let begun = flow.begun_at <= now.plus_ms(CLOCKS_DIFFER_MS);
        if !begun || now >= flow.begun_at.plus_ms(SIGN_IN_FLOW_LIFE_MS) {
            return Err(FlowError::Expired);
        }
        Ok(flow)
    }

    /// What the provider is sent for a flow.
    pub fn secrets(&self, flow: &Flow) -> FlowSecrets {
        let of = |label: &[u8]| {
            hex::encode(self.code(&[label, flow.id.as_bytes()]).finalize().into_bytes())
        };
        FlowSecrets { state: of(STATE_LABEL), nonce: of(NONCE_LABEL), verifier: of(VERIFIER_LABEL) }
    }

    /// Whether a state is that of a flow.
    pub fn is_state(&self, flow: &Flow, state: &str) -> bool {
        let own = self.code(&[STATE_LABEL, flow.id.as_bytes()]);
        hex::decode(state).is_ok_and(|state| own.verify_slice(&state).is_ok())
    }

    fn code(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        crate::warrant::keyed(&self.0, parts)
    }
}

impl Flow {
    /// What names it among those that were finished.
    pub fn digest(&self) -> Digest {
        crate::canonical::digest_parts(&[b"countersign/sign-in-flow/1", self.id.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warrant::Key;

    const HERE: &str = "https://control.example";

    fn key(secret: u8) -> FlowKey {
        FlowKey::of(&Ring::new(Key::new(&[secret; 32])))
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(1_795_000_000_000 + ms)
    }

    fn flow(id: &str) -> Flow {
        Flow {
            audience: HERE.into(),
            workspace_id: "acme".parse().unwrap(),
            purpose: Purpose::SignIn { to: Some("/console/inbox".into()) },
            begun_at: at(0),
            id: id.into(),
        }
    }

    #[test]
    fn attack_a_sign_in_that_is_forged_changed_late_or_of_another_deployment() {
        let token = key(7).mint(&flow("a")).unwrap().unwrap();
        assert_eq!(key(7).verify(&token, HERE, at(0)), Ok(flow("a")));
        let late = at(SIGN_IN_FLOW_LIFE_MS);
        assert_eq!(key(7).verify(&token, HERE, late), Err(FlowError::Expired));
        assert_eq!(key(7).verify(&token, HERE, at(-61_000)), Err(FlowError::Expired));
        assert_eq!(key(7).verify(&token, "https://x.example", at(0)), Err(FlowError::Foreign));
        assert_eq!(key(8).verify(&token, HERE, at(0)), Err(FlowError::Foreign));
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(key(7).verify(&changed, HERE, at(0)).is_err(), "changed at {index}");
            assert!(key(7).verify(&token[..index], HERE, at(0)).is_err(), "cut at {index}");
        }
        assert!(key(7).verify(&"A".repeat(10_000), HERE, at(0)).is_err());
    }

    #[test]
    fn what_the_provider_is_sent_is_of_one_flow_and_one_purpose() {
        let (one, other) = (key(7).secrets(&flow("a")), key(7).secrets(&flow("b")));
        let mut all = vec![one.state.clone(), one.nonce, one.verifier];
        all.extend([other.state, other.nonce, other.verifier, key(8).secrets(&flow("a")).state]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7);
        assert!(all.iter().all(|text| text.len() == 64));
        assert!(key(7).is_state(&flow("a"), &one.state));
        assert!(!key(7).is_state(&flow("b"), &one.state) && !key(7).is_state(&flow("a"), ""));
    }
}
