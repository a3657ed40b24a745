//! The key that asked for an execution, as it is now: who lost it can no longer act through what he
//! asked before. INVARIANT (one-gate): every claim looks at it, and its transaction looks again.

use crate::{Answer, InForce};
use contracts::{Digest, Timestamp, WorkspaceId};
use countersign_store::{Condition, Key, keys};
use std::collections::BTreeSet;

/// What became of the requester's key.
#[derive(Clone, Debug)]
pub(crate) enum RequesterKey {
    /// It was asked for without a key: by the process itself.
    None,
    /// The record, and where it is.
    Known { key: Key, record: Box<crate::ApiKey> },
    /// It is bound to a person who was removed from the directory.
    PersonGone { record: Box<crate::ApiKey> },
    /// There is no such key.
    Gone { id: String },
}

impl RequesterKey {
    /// The grants that it has.
    pub(crate) fn grants(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Known { record, .. } | Self::PersonGone { record } => Some(&record.grants),
            Self::None | Self::Gone { .. } => None,
        }
    }

    /// When it ends.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Known { record, .. } | Self::PersonGone { record } => record.expires_at,
            Self::None | Self::Gone { .. } => None,
        }
    }

    /// What speaks against acting for it at a moment.
    pub(crate) fn fault(&self, now: Timestamp) -> Option<String> {
        match self {
            Self::None => None,
            Self::Gone { id } => Some(format!("the key `{id}` that asked for it does not exist")),
            Self::PersonGone { record } => Some(format!(
                "the key `{}` that asked for it was of `{}`, who was removed",
                record.id, record.actor.id
            )),
            Self::Known { record, .. } => match (record.revoked_at, record.expires_at) {
                (Some(at), _) => {
                    Some(format!("the key `{}` that asked for it was revoked at {at}", record.id))
                }
                (None, Some(at)) if at <= now => {
                    Some(format!("the key `{}` that asked for it expired at {at}", record.id))
                }
                (None, _) => None,
            },
        }
    }

    /// What a claim's transaction checks: that it is not revoked meanwhile.
    pub(crate) fn check(&self) -> Option<(Key, Condition)> {
        match self {
            Self::Known { key, .. } => {
                Some((key.clone(), Condition::FieldAtMost("revoked".into(), 0)))
            }
            // Who is in the directory is behind the guard, which every claim checks.
            Self::None | Self::Gone { .. } | Self::PersonGone { .. } => None,
        }
    }
}

impl InForce {
    /// A key of a workspace, by its id.
    pub(crate) async fn requester_key(
        &self,
        workspace: &WorkspaceId,
        id: Option<&str>,
    ) -> Answer<RequesterKey> {
        let Some(id) = id else {
            return Ok(RequesterKey::None);
        };
        let key = keys::api_key_of(workspace, id);
        Ok(match self.base.store.get(&key).await? {
            Some(item) => {
                let (record, _): (crate::ApiKey, Digest) =
                    countersign_store::decode(&key, &item.body)?;
                let record = Box::new(record);
                if self.person_gone(&record).await? {
                    RequesterKey::PersonGone { record }
                } else {
                    RequesterKey::Known { key, record }
                }
            }
            None => RequesterKey::Gone { id: id.to_owned() },
        })
    }
}
