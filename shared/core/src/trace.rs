//! The trace: an append-only log of one execution, each entry carrying the hash of the one before.
//!
//! INVARIANT (append-only): sequence numbers have no gaps, and `hash = sha256(JCS(entry without
//! hash))`.

use crate::canonical::{self, CanonicalError};
use contracts::{
    Digest, Timestamp,
    event::{Actor, Entry, Event},
    limits::EVENT_BYTES_MAX,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `hash` adds to an entry, in bytes.
const HASH_BYTES: usize = 82;

/// The end of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Sequence number of the last entry; 0 for none.
    pub seq: u64,
    /// Its hash; zeros for none.
    pub hash: Digest,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: Digest::zero() }
    }
}

/// What every entry of one commit shares: when, and who, with which key, for whom, from which
/// channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub at: Timestamp,
    pub actor: Actor,
    /// The API key that was used.
    pub key_id: Option<String>,
    /// For whom the actor acts.
    pub subject: Option<String>,
    /// How the actor was authenticated.
    pub channel: Option<String>,
    pub traceparent: Option<String>,
}

impl Stamp {
    /// A stamp without key and channel, for the engine itself.
    pub fn new(at: Timestamp, actor: Actor, traceparent: Option<String>) -> Self {
        Self { at, actor, key_id: None, subject: None, channel: None, traceparent }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unhashed<'e> {
    seq: u64,
    at: Timestamp,
    actor: &'e Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'e String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'e String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'e String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'e String>,
    #[serde(flatten)]
    event: &'e Event,
    prev: &'e Digest,
}

/// Why an event cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    NotCanonical(#[from] CanonicalError),
    #[error("an event `{kind}` of {bytes} bytes; at most {EVENT_BYTES_MAX}")]
    TooLarge { kind: &'static str, bytes: usize },
}

/// Appends events to a chain. Text from outside is clipped.
pub fn append(
    head: &mut Head,
    stamp: &Stamp,
    events: impl IntoIterator<Item = impl Into<Event>>,
) -> Result<Vec<Entry>, AppendError> {
    events.into_iter().map(|event| append_one(head, stamp, event.into().clipped())).collect()
}

fn append_one(head: &mut Head, stamp: &Stamp, event: Event) -> Result<Entry, AppendError> {
    let seq = head.seq + 1;
    let unhashed = canonical::to_bytes(&Unhashed {
        seq,
        at: stamp.at,
        actor: &stamp.actor,
        key_id: stamp.key_id.as_ref(),
        subject: stamp.subject.as_ref(),
        channel: stamp.channel.as_ref(),
        traceparent: stamp.traceparent.as_ref(),
        event: &event,
        prev: &head.hash,
    })?;
    // INVARIANT (bounded-work): the size limit holds for every event of every log.
    let bytes = unhashed.len() + HASH_BYTES;
    if bytes > EVENT_BYTES_MAX {
        return Err(AppendError::TooLarge { kind: event.key(), bytes });
    }
    let hash = canonical::digest_bytes(&unhashed);
    let prev = std::mem::replace(&mut head.hash, hash.clone());
    head.seq = seq;
    let Stamp { at, actor, key_id, subject, channel, traceparent } = stamp.clone();
    Ok(Entry { seq, at, actor, key_id, subject, channel, traceparent, event, prev, hash })
}

/// Where a chain breaks, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("event {seq} cannot be read: {why}")]
    Unreadable { seq: u64, why: String },
    #[error("event {expected} is missing; event {found} stands in its place")]
    Gap { expected: u64, found: u64 },
    #[error("event {seq} does not follow the one before it: its `prev` is another hash")]
    Unlinked { seq: u64 },
    #[error("event {seq} was changed: its content does not have its hash")]
    Changed { seq: u64 },
    #[error(
        "the chain ends at event {seq}, but its head is event {head}: the tail was cut or forged"
    )]
    Cut { seq: u64, head: u64 },
}

/// Verifies stored entries one after the other, as JSON, whatever fields they have.
#[derive(Debug, Default)]
pub struct Verifier {
    head: Head,
}

impl Verifier {
    /// Continues after a prefix that was verified before.
    pub fn behind(head: Head) -> Self {
        Self { head }
    }

    /// Checks the next entry.
    pub fn push(&mut self, entry: &Value) -> Result<(), ChainError> {
        let expected = self.head.seq + 1;
        let unreadable = |why: &str| ChainError::Unreadable { seq: expected, why: why.to_owned() };
        let object = entry.as_object().ok_or_else(|| unreadable("not an object"))?;
        let seq =
            object.get("seq").and_then(Value::as_u64).ok_or_else(|| unreadable("no `seq`"))?;
        if seq != expected {
            return Err(ChainError::Gap { expected, found: seq });
        }
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        if text("prev") != Some(self.head.hash.as_str()) {
            return Err(ChainError::Unlinked { seq });
        }
        let hash: Digest = text("hash")
            .and_then(|hash| hash.parse().ok())
            .ok_or_else(|| unreadable("no `hash`"))?;
        let actual = canonical::digest_without(object, "hash")
            .map_err(|error| unreadable(&error.to_string()))?;
        if actual != hash {
            return Err(ChainError::Changed { seq });
        }
        self.head = Head { seq, hash };
        Ok(())
    }

    /// Checks that the chain ends at its stored head.
    pub fn finish(self, head: &Head) -> Result<(), ChainError> {
        if self.head == *head {
            Ok(())
        } else {
            Err(ChainError::Cut { seq: self.head.seq, head: head.seq })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::event::{ExecutionEvent, WorkspaceEvent};
    use contracts::{
        ExecutionId,
        event::{ActorKind, ExecutionSteered},
    };

    fn chain(count: usize) -> (Vec<Value>, Head) {
        let stamp = Stamp {
            key_id: Some("ab12".into()),
            subject: Some("grace".into()),
            channel: Some("api_key".into()),
            ..Stamp::new(
                Timestamp::from_ms(1_000),
                Actor { kind: ActorKind::Human, id: "ada".into() },
                None,
            )
        };
        let event = |n: usize| {
            ExecutionEvent::ExecutionPaused(ExecutionSteered {
                execution_id: ExecutionId::from_bytes([1; 16]),
                run_id: None,
                at: Timestamp::from_ms(n as i64),
                actor_id: "ada".into(),
                reason: None,
            })
        };
        let mut head = Head::default();
        let entries = append(&mut head, &stamp, (0..count).map(event)).unwrap();
        (entries.iter().map(|entry| serde_json::to_value(entry).unwrap()).collect(), head)
    }

    #[test]
    fn bounded_work_every_event_is_below_its_limit() {
        let actor = Actor { kind: ActorKind::Tool, id: "t".into() };
        let stamp = Stamp::new(Timestamp::from_ms(0), actor, None);
        let loud = "\u{0}\"é".repeat(30_000);
        let failed = ExecutionEvent::StepFailed(contracts::event::StepChanged {
            execution_id: ExecutionId::from_bytes([1; 16]),
            run_id: None,
            step_id: "a".parse().unwrap(),
            at: stamp.at,
            code: Some(loud.clone()),
            message: Some(loud.clone()),
            budget_refunded: false,
            unanswered: false,
        });
        let issues = vec![
            contracts::Issue {
                pointer: loud.clone(),
                message: loud.clone(),
                code: Some(loud.clone())
            };
            20
        ];
        let rejected = WorkspaceEvent::SkillRejected(contracts::event::SkillRejected {
            skill_key: loud.clone(),
            version: Some(loud.clone()),
            rejected_at: stamp.at,
            reason: loud.clone(),
            provenance: Some(loud.clone()),
            manifest_digest: None,
            issues,
            actor_id: "a".into(),
            unrecorded: None,
        });
        for event in [Event::from(failed), Event::from(rejected)] {
            assert_eq!(event.clone().clipped().clipped(), event.clone().clipped());
            let entries = append(&mut Head::default(), &stamp, vec![event]).unwrap();
            assert!(serde_json::to_vec(&entries[0]).unwrap().len() <= EVENT_BYTES_MAX);
        }
        // A field that cannot be clipped, because decisions depend on it, makes `append` fail.
        let many = ExecutionEvent::StepCompleted(contracts::event::StepCompleted {
            execution_id: ExecutionId::from_bytes([1; 16]),
            run_id: contracts::RunId::from_bytes([1; 16]),
            step_id: "a".parse().unwrap(),
            completed_at: stamp.at,
            output_digest: Digest::zero(),
            attempt: 1,
        });
        let stamp = Stamp {
            actor: Actor { kind: ActorKind::Tool, id: "x".repeat(EVENT_BYTES_MAX) },
            ..stamp
        };
        let refused = append(&mut Head::default(), &stamp, vec![many]);
        assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
    }

    fn verify(entries: &[Value], head: &Head) -> Result<(), ChainError> {
        let mut verifier = Verifier::default();
        entries.iter().try_for_each(|entry| verifier.push(entry))?;
        verifier.finish(head)
    }

    #[test]
    fn append_only() {
        let (entries, head) = chain(4);
        assert_eq!(verify(&entries, &head), Ok(()));
        let mut changed = entries.clone();
        changed[2]["data"]["actorId"] = "eve".into();
        assert_eq!(verify(&changed, &head), Err(ChainError::Changed { seq: 3 }));
        for field in ["keyId", "subject", "channel"] {
            let mut changed = entries.clone();
            changed[2][field] = "other".into();
            assert_eq!(
                verify(&changed, &head),
                Err(ChainError::Changed { seq: 3 }),
                "{field} is hashed like the rest"
            );
        }
        let mut gap = entries.clone();
        gap.remove(1);
        assert_eq!(verify(&gap, &head), Err(ChainError::Gap { expected: 2, found: 3 }));
        assert_eq!(verify(&entries[..3], &head), Err(ChainError::Cut { seq: 3, head: 4 }));
        let mut extra = entries.clone();
        extra[1]["unknown"] = 1.into();
        assert_eq!(verify(&extra, &head), Err(ChainError::Changed { seq: 2 }));
    }
}
