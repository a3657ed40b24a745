//! Where channels are stored, and what comes in through them.

use super::{WORK_SHARDS, key, own, shard};
use crate::Key;
use contracts::{Digest, WorkspaceId};

/// Channels by which a workspace is spoken to.
pub fn channels(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "channels")
}
/// A workspace with channels that reply, among those whose stage events somebody reads.
pub fn replying(workspace: &WorkspaceId) -> Key {
    key(super::SUBSCRIBED.to_owned(), format!("ws#{workspace}#channels"))
}
/// Prefix of the partitions of receipts.
pub const RECEIPT: &str = "receipt#";
/// The receipt of what came in, by the hash of what names it at its provider.
pub fn receipt(workspace: &WorkspaceId, id: &Digest) -> Key {
    let id = id.hex();
    key(format!("{RECEIPT}{workspace}#{}", id.get(..2).unwrap_or("00")), id)
}
/// Prefix of the partitions of receipts whose work is to be done.
pub const INBOUND: &str = "inbound#";
/// Partition of receipts whose work is to be done.
pub fn inbound_partition(shard: u8) -> String {
    format!("{INBOUND}{shard}")
}
/// A receipt among those. Each round is another item, whose coming the table's stream tells.
pub fn inbound(workspace: &WorkspaceId, id: &Digest, round: u32) -> Key {
    let partition = inbound_partition(shard(id.hex(), WORK_SHARDS));
    key(partition, format!("{workspace}#{}#{round:06}", id.hex()))
}
/// Workspace, receipt and round of such a sort key.
pub fn inbound_of(sort: &str) -> Option<(WorkspaceId, Digest, u32)> {
    let mut words = sort.split('#');
    let (workspace, id) = (words.next()?.parse().ok()?, words.next()?);
    Some((workspace, format!("sha256:{id}").parse().ok()?, words.next()?.parse().ok()?))
}
/// Whom a message was sent to: by the id of the subscription, and the hash of who got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentTo {
    pub target: String,
    recipient: String,
}

impl SentTo {
    /// Somebody, as the provider names him: a stranger's text, hashed.
    pub fn new(target: &str, recipient: &str) -> Self {
        let hash = cs_core::canonical::digest_bytes(recipient.as_bytes());
        let recipient = hash.hex().get(..32).unwrap_or_default().to_owned();
        Self { target: target.to_owned(), recipient }
    }
}
/// Partition and prefix of the messages that were sent about something of a stream: a request for
/// approval, or an event.
pub fn sent_of(workspace: &WorkspaceId, subject: &str, about: &str) -> (String, String) {
    (format!("ws#{workspace}#sent"), format!("{subject}#{about}#"))
}
/// A message among those.
pub fn sent(workspace: &WorkspaceId, subject: &str, about: &str, to: &SentTo) -> Key {
    let (partition, prefix) = sent_of(workspace, subject, about);
    key(partition, format!("{prefix}{}#{}", to.target, to.recipient))
}
/// Whom it was sent to, of such a sort key.
pub fn sent_to(sort: &str) -> Option<SentTo> {
    let mut words = sort.rsplit('#');
    let (recipient, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(SentTo { target, recipient })
}
