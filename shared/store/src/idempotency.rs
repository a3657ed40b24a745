//! Answers kept for repetitions of their commands.
//!
//! INVARIANT (same-command-twice): the record of an answer commits with what the command did, under
//! a key of the actor, the operation and the `Idempotency-Key`; it holds the hash of the request.

use crate::{Answer, Author, Condition, IdempotencyRecord, Key, PortError, Store, Write, keys};
use contracts::{Code, Digest, Problem, limits::NAME_BYTES_MAX};
use cs_core::canonical::{self, CanonicalError};
use serde::{Serialize, de::DeserializeOwned};

/// An answer is kept for so long, in seconds: thirty days.
const KEPT_SECONDS: i64 = 30 * 86_400;

/// Where the answer of one command is kept, and the hash of its request.
#[derive(Clone, Debug)]
pub struct Idempotency {
    key: Key,
    request: Digest,
}

impl Idempotency {
    /// Of a command; none without an `Idempotency-Key`.
    pub fn of<T: Serialize>(author: &Author, operation: &str, request: &T) -> Answer<Option<Self>> {
        let Some(given) = &author.idempotency_key else {
            return Ok(None);
        };
        if given.is_empty() || given.len() > NAME_BYTES_MAX {
            let message = format!("`Idempotency-Key` is 1 to {NAME_BYTES_MAX} bytes");
            return Err(Problem::new(Code::BadRequest, message));
        }
        let not_canonical =
            |error: CanonicalError| Problem::new(Code::BadRequest, error.to_string());
        let request = canonical::digest(request).map_err(not_canonical)?;
        let key = keys::idempotency(&author.workspace, &author.stamp.actor, operation, given);
        Ok(Some(Self { key, request }))
    }
}

impl Store {
    /// The answer that a command got before, if it did.
    pub async fn stored_response<R: DeserializeOwned>(
        &self,
        idempotency: Option<&Idempotency>,
    ) -> Answer<Option<R>> {
        let Some(Idempotency { key, request }) = idempotency else {
            return Ok(None);
        };
        let Some(record) = self.body::<IdempotencyRecord>(key).await? else {
            return Ok(None);
        };
        if record.request != *request {
            let message = "this `Idempotency-Key` was used with another request; take a new one";
            return Err(Problem::new(Code::ValidationFailed, message));
        }
        let response = serde_json::from_value(record.response)
            .map_err(|error| PortError::Corrupt(error.to_string()))?;
        Ok(Some(response))
    }

    /// The write that keeps an answer. An answer may hold a whole plan.
    pub async fn response_write<R: Serialize>(
        &self,
        idempotency: Option<&Idempotency>,
        response: &R,
    ) -> Result<Option<Write>, PortError> {
        let Some(Idempotency { key, request }) = idempotency else {
            return Ok(None);
        };
        let response = serde_json::to_value(response)
            .map_err(|error| PortError::Corrupt(error.to_string()))?;
        let record = IdempotencyRecord { request: request.clone(), response };
        let mut write = self.body_write(key.clone(), &record).await?;
        if let Write::Put { item, condition, .. } = &mut write {
            item.expires_at = Some(self.now().ms() / 1_000 + KEPT_SECONDS);
            *condition = Condition::NotExists;
        }
        Ok(Some(write))
    }
}
