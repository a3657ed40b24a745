//! The key that asked for an execution, as it is now: who lost it can no longer act through what he asked before.
//! INVARIANT (one-gate): every claim looks at it, and its transaction looks again.

use crate::{
    Answer, Engine, bodies, keys,
    ports::{Condition, Key},
};
use contracts::{Digest, Timestamp, WorkspaceId};
use std::collections::BTreeSet;

/// What became of the requester's key.
#[derive(Clone, Debug)]
pub(crate) enum RequesterKey {
    /// It was asked for without a key: by the process itself.
    None,
    /// The record, and where it is.
    Known { key: Key, record: Box<crate::ApiKey> },
    /// There is no such key.
    Gone { id: String },
}

impl RequesterKey {
    /// The grants that it has.
    pub(crate) fn grants(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Known { record, .. } => Some(&record.grants),
            Self::None | Self::Gone { .. } => None,
        }
    }

    /// When it ends.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Known { record, .. } => record.expires_at,
            Self::None | Self::Gone { .. } => None,
        }
    }

    /// What speaks against acting for it at a moment.
    pub(crate) fn fault(&self, now: Timestamp) -> Option<String> {
        match self {
            Self::None => None,
            Self::Gone { id } => Some(format!("the key `{id}` that asked for it does not exist")),
            Self::Known { record, .. } => match (record.revoked_at, record.expires_at) {
                (Some(at), _) => Some(format!("the key `{}` that asked for it was revoked at {at}", record.id)),
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
            Self::Known { key, .. } => Some((key.clone(), Condition::FieldAtMost("revoked".into(), 0))),
            Self::None | Self::Gone { .. } => None,
        }
    }
}

impl Engine {
    /// A key of a workspace, by its id.
    pub(crate) async fn requester_key(&self, workspace: &WorkspaceId, id: Option<&str>) -> Answer<RequesterKey> {
        let Some(id) = id else {
            return Ok(RequesterKey::None);
        };
        let key = keys::api_key_of(workspace, id);
        Ok(match self.ports.table.get(&key).await? {
            Some(item) => {
                let (record, _): (crate::ApiKey, Digest) = bodies::decode(&key, &item.body)?;
                RequesterKey::Known { key, record: Box::new(record) }
            }
            None => RequesterKey::Gone { id: id.to_owned() },
        })
    }
}
