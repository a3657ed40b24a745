//! Receipts: what came in from outside, claimed once, worked on after.
//!
//! A receipt commits together with the note that its work is to be done. Whoever does the work
//! claims it for a while; what is stuck gets another note by `sweep`.

use crate::Base;
use contracts::{
    Digest, ExecutionId, Timestamp, WorkspaceId, channel::Provider, command::SubmitIntent,
};
use countersign_store::{Condition, Item, PortError, Record, Write, item, keys};
use cs_core::slack::Pressed;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long who works on a receipt has it for himself, in milliseconds.
const CLAIM_MS: i64 = 60_000;
/// A receipt is kept for so long, in seconds: thirty days. No provider sends an event again later.
const KEPT_SECONDS: i64 = 30 * 86_400;
/// Field of the note that work is to be done: since when.
pub(crate) const SINCE: &str = "since";

/// What came in, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    pub(crate) channel_key: String,
    pub(crate) provider: Provider,
    pub(crate) work: Work,
    pub(crate) received_at: Timestamp,
    pub(crate) tries: u32,
    /// Somebody works on it until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
}

/// What is to be done: settled when it came in, so that every try does the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Work {
    Submit {
        intent: Box<SubmitIntent>,
    },
    /// A person decided. Without a reason: approved.
    Decide {
        pressed: Box<Pressed>,
        person: String,
        reason: Option<String>,
    },
}

/// What became of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Outcome {
    #[serde(rename_all = "camelCase")]
    Submitted {
        execution_id: ExecutionId,
    },
    Decided,
    /// It will never be done, and why.
    Refused {
        code: String,
        message: String,
    },
}

/// A receipt that is worked on.
pub(crate) struct Claimed {
    pub(crate) workspace: WorkspaceId,
    pub(crate) id: Digest,
    pub(crate) receipt: Receipt,
    round: u32,
    version: u64,
    expires_at: Option<i64>,
}

/// Keeps receipts.
pub(crate) struct Receipts {
    pub(crate) base: Arc<Base>,
}

impl Receipts {
    /// Claims what came in, once: who is second finds the receipt and does nothing.
    pub(crate) async fn take(
        &self,
        workspace: &WorkspaceId,
        id: &Digest,
        (channel_key, provider): (&str, Provider),
        work: Work,
    ) -> Result<(), PortError> {
        let now = self.base.now();
        let receipt = Receipt {
            channel_key: channel_key.to_owned(),
            provider,
            work,
            received_at: now,
            tries: 0,
            claimed_until: None,
            outcome: None,
        };
        let item = Item {
            expires_at: Some(now.ms() / 1_000 + KEPT_SECONDS),
            ..item(self.base.store.fresh_version(), &receipt)?
        };
        let key = keys::receipt(workspace, id);
        let put = Write::Put { key, item, condition: Condition::NotExists };
        if self.base.store.write(vec![put, note(workspace, id, 0, now)]).await? {
            self.base.ports.notifier.came_in();
        }
        Ok(())
    }

    /// The receipt of a note, for whoever does its work now. None: it is done, or somebody else
    /// does it.
    pub(crate) async fn claim(&self, sort: &str) -> Result<Option<Claimed>, PortError> {
        let Some((workspace, id, round)) = keys::inbound_of(sort) else {
            return Err(PortError::Corrupt("a note names no receipt".into()));
        };
        let key = keys::receipt(&workspace, &id);
        let Some(found) = self.base.store.get(&key).await? else {
            // It had its time.
            self.forget(&workspace, &id, round).await?;
            return Ok(None);
        };
        let receipt: Receipt = countersign_store::decode(&key, &found.body)?;
        let now = self.base.now();
        if receipt.outcome.is_some() {
            self.forget(&workspace, &id, round).await?;
            return Ok(None);
        }
        if receipt.claimed_until.is_some_and(|until| until > now) {
            return Ok(None);
        }
        let receipt = Receipt {
            tries: receipt.tries + 1,
            claimed_until: Some(now.plus_ms(CLAIM_MS)),
            ..receipt
        };
        let expires_at = found.expires_at;
        let claimed = Claimed { workspace, id, receipt, round, version: found.version, expires_at };
        let taken = self.base.store.write(vec![kept(&claimed, &claimed.receipt)?]).await?;
        Ok(taken.then_some(Claimed { version: claimed.version + 1, ..claimed }))
    }

    /// Its work ends here. False: somebody else ended it.
    pub(crate) async fn end(&self, claimed: Claimed, outcome: Outcome) -> Result<bool, PortError> {
        let done =
            Receipt { outcome: Some(outcome), claimed_until: None, ..claimed.receipt.clone() };
        let key = keys::inbound(&claimed.workspace, &claimed.id, claimed.round);
        let ends = vec![kept(&claimed, &done)?, Write::Delete { key, condition: Condition::Any }];
        self.base.store.write(ends).await
    }

    async fn forget(
        &self,
        workspace: &WorkspaceId,
        id: &Digest,
        round: u32,
    ) -> Result<(), PortError> {
        let key = keys::inbound(workspace, id, round);
        self.base.store.write(vec![Write::Delete { key, condition: Condition::Any }]).await?;
        Ok(())
    }
}

/// The note that a receipt's work is to be done.
pub(crate) fn note(workspace: &WorkspaceId, id: &Digest, round: u32, since: Timestamp) -> Write {
    let fields = [(SINCE.to_owned(), since.ms())].into();
    let item = Item { version: 1, fields, ..Item::default() };
    Write::Put { key: keys::inbound(workspace, id, round), item, condition: Condition::Any }
}

fn kept(claimed: &Claimed, receipt: &Receipt) -> Result<Write, PortError> {
    let record = Record { version: claimed.version, value: () };
    let mut write = record.replace(keys::receipt(&claimed.workspace, &claimed.id), receipt)?;
    if let Write::Put { item, .. } = &mut write {
        item.expires_at = claimed.expires_at;
    }
    Ok(write)
}
