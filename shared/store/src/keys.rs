//! Where everything is stored. Every key but those of API keys begins with its workspace (INVARIANT
//! tenant-walls).

mod deliveries;
mod inbound;
mod notices;
mod people;
mod transparency;

pub use deliveries::*;
pub use inbound::*;
pub use notices::{digests, links, told, told_partition, told_people};
pub use people::{deciders, directory, mandate_proof, mandate_use, mandate_uses, mandates};
pub use transparency::*;

use crate::{Key, Stream};
use contracts::{Digest, ExecutionId, StepId, Timestamp, WorkspaceId, event::Actor};

/// Shards of a day's listing.
pub const LIST_SHARDS: u8 = 8;
/// Shards of the open executions and of the outbox.
pub const WORK_SHARDS: u8 = 8;
/// An hour, in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

fn key(partition: String, sort: impl Into<String>) -> Key {
    Key { partition, sort: sort.into() }
}

/// Partition of one execution.
pub fn execution(workspace: &WorkspaceId, id: &ExecutionId) -> String {
    format!("ws#{workspace}#exe#{id}")
}

/// Prefix of an execution's head and step records, which are loaded together.
pub const STATE: &str = "a#";
/// Prefix of an execution's events.
pub const EVENT: &str = "e#";

/// Its head.
pub fn head(workspace: &WorkspaceId, id: &ExecutionId) -> Key {
    key(execution(workspace, id), "a#head")
}
/// The record of a step.
pub fn step(workspace: &WorkspaceId, id: &ExecutionId, step: &StepId) -> Key {
    key(execution(workspace, id), format!("a#step#{step}"))
}
/// Prefix of pages of step records.
pub const STEP_PAGE: &str = "a#page#";
/// The records of neighbouring steps of a plan, in one item: written by a commit that changes many.
pub fn step_page(workspace: &WorkspaceId, id: &ExecutionId, page: usize) -> Key {
    key(execution(workspace, id), format!("{STEP_PAGE}{page:03}"))
}
/// Prefix of an execution's approvals, in the order in which they were asked for. Behind the head,
/// as all that belongs to it: what is read after a head is not older than it says.
pub const APPROVAL: &str = "a#request#";
/// The record of an approval.
pub fn approval(workspace: &WorkspaceId, id: &ExecutionId, place: usize) -> Key {
    key(execution(workspace, id), format!("{APPROVAL}{place:06}"))
}
/// One event of its trace.
pub fn event(workspace: &WorkspaceId, id: &ExecutionId, seq: u64) -> Key {
    key(execution(workspace, id), format!("e#{seq:010}"))
}
/// One of its bodies, such as `intent`.
pub fn body(workspace: &WorkspaceId, id: &ExecutionId, name: &str) -> Key {
    key(execution(workspace, id), format!("b#{name}"))
}
/// A draft, by its digest: it is never overwritten.
pub fn draft(workspace: &WorkspaceId, id: &ExecutionId, digest: &Digest) -> Key {
    body(workspace, id, &format!("draft#{}", digest.hex()))
}
/// A plan, by its digest: it is never overwritten.
pub fn plan(workspace: &WorkspaceId, id: &ExecutionId, digest: &Digest) -> Key {
    body(workspace, id, &format!("plan#{}", digest.hex()))
}
/// A verdict, by its digest: it is never overwritten.
pub fn verdict(workspace: &WorkspaceId, id: &ExecutionId, digest: &Digest) -> Key {
    body(workspace, id, &format!("verdict#{}", digest.hex()))
}
/// Prefix of the outputs of an execution's steps.
pub const OUTPUT: &str = "b#out#";
/// The output of a step.
pub fn output(workspace: &WorkspaceId, id: &ExecutionId, step: &StepId) -> Key {
    key(execution(workspace, id), format!("{OUTPUT}{step}"))
}
/// Prefix of the partitions of the vault.
pub const VAULT: &str = "vault#";
/// What the seals of one document hide: `draft`, `out#<step>`. In partitions of their own, which
/// only the function that calls tools may read: no other prefix is theirs.
pub fn vault(workspace: &WorkspaceId, id: &ExecutionId, document: &str) -> Key {
    key(format!("{VAULT}{workspace}#{id}"), document)
}
/// Uploaded artifacts of a workspace. No record: their blobs lie under its partition.
pub fn artifacts(workspace: &WorkspaceId) -> Key {
    key(format!("ws#{workspace}#artifact"), "")
}
/// Prefix of what people were shown of an execution.
pub const VIEW: &str = "b#view#";
/// A view that a step's question is about, by its digest.
pub fn view(workspace: &WorkspaceId, id: &ExecutionId, digest: &Digest) -> Key {
    key(execution(workspace, id), format!("{VIEW}{}", digest.hex()))
}

fn shard(text: &str, shards: u8) -> u8 {
    text.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % shards
}

/// Partition of a day's listing.
pub fn list_partition(workspace: &WorkspaceId, day: &str, shard: u8) -> String {
    format!("ws#{workspace}#list#{day}#{shard}")
}
/// An execution in its day's listing.
pub fn list(workspace: &WorkspaceId, id: &ExecutionId, created: Timestamp) -> Key {
    let partition = list_partition(workspace, &created.day(), shard(id.as_str(), LIST_SHARDS));
    key(partition, list_sort(created, id.as_str()))
}
/// Sort key in a listing.
pub fn list_sort(created: Timestamp, id: &str) -> String {
    format!("{:013}#{id}", created.ms())
}

/// Partition of a workspace's executions that wait for people: the highest risk first, then the
/// oldest.
pub fn people_partition(workspace: &WorkspaceId) -> String {
    format!("ws#{workspace}#people")
}
/// An execution among those. `risk`: the higher the more.
pub fn people(workspace: &WorkspaceId, id: &ExecutionId, risk: u8, since: Timestamp) -> Key {
    let rank = 9_u8.saturating_sub(risk);
    key(people_partition(workspace), format!("{rank}#{}", list_sort(since, id.as_str())))
}

/// Partition of executions that have not ended; what `sweep` and a restart look at.
pub fn open_partition(shard: u8) -> String {
    format!("open#{shard}")
}
/// Prefix of one workspace's among those.
pub fn open_of(workspace: &WorkspaceId) -> String {
    format!("{workspace}#")
}
/// An execution among those.
pub fn open(workspace: &WorkspaceId, id: &ExecutionId) -> Key {
    key(open_partition(shard(id.as_str(), WORK_SHARDS)), format!("{workspace}#{id}"))
}

/// Workspace and execution of a sort key that begins with both.
pub fn owner(sort: &str) -> Option<(WorkspaceId, ExecutionId)> {
    let mut words = sort.split('#');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Prefix of the partitions of stage events that have not been sent.
pub const OUTBOX: &str = "outbox#";
/// Partition of stage events that have not been sent.
pub fn outbox_partition(shard: u8) -> String {
    format!("outbox#{shard}")
}
/// The stage events of one commit.
pub fn outbox(workspace: &WorkspaceId, stream: &Stream, seq: u64) -> Key {
    let (partition, prefix) = outbox_of(workspace, stream);
    key(partition, format!("{prefix}{seq:010}"))
}
/// Partition and prefix of one stream's in the outbox.
pub fn outbox_of(workspace: &WorkspaceId, stream: &Stream) -> (String, String) {
    (outbox_partition(stream_shard(workspace, stream)), format!("{workspace}#{stream}#"))
}

/// Partition of a stream of events.
pub fn stream(workspace: &WorkspaceId, stream: &Stream) -> String {
    match stream {
        Stream::Log => journal_head(workspace).partition,
        Stream::Trace(id) => execution(workspace, id),
    }
}
/// One event of a stream.
pub fn stream_event(workspace: &WorkspaceId, stream: &Stream, seq: u64) -> Key {
    match stream {
        Stream::Log => journal(workspace, seq),
        Stream::Trace(id) => event(workspace, id, seq),
    }
}
/// Workspace and stream of a sort key that begins with both.
pub fn stream_owner(sort: &str) -> Option<(WorkspaceId, Stream)> {
    let mut words = sort.split('#');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
fn stream_shard(workspace: &WorkspaceId, stream: &Stream) -> u8 {
    match stream {
        Stream::Log => shard(workspace.as_str(), WORK_SHARDS),
        Stream::Trace(id) => shard(id.as_str(), WORK_SHARDS),
    }
}

/// Partition of streams of which something is not exported.
pub fn unexported_partition(shard: u8) -> String {
    format!("export#{shard}")
}
/// A stream among those, and from which event on.
pub fn unexported(workspace: &WorkspaceId, stream: &Stream, from: u64) -> Key {
    let (partition, prefix) = unexported_of(workspace, stream);
    key(partition, format!("{prefix}{from:010}"))
}
/// Partition and prefix of one stream among those.
pub fn unexported_of(workspace: &WorkspaceId, stream: &Stream) -> (String, String) {
    (unexported_partition(stream_shard(workspace, stream)), format!("{workspace}#{stream}#"))
}
/// From which event on, of such a sort key.
pub fn unexported_from(sort: &str) -> Option<u64> {
    sort.rsplit_once('#')?.1.parse().ok().filter(|from| *from > 0)
}
/// The hour in which the last export ran to its end.
pub fn exported() -> Key {
    key("export".into(), "hour")
}
/// How far the exports of a workspace are.
pub fn export_progress(workspace: &WorkspaceId) -> Key {
    let (partition, prefix) = exports_progress();
    key(partition, format!("{prefix}{workspace}"))
}
/// Partition and prefix of the same of all workspaces.
pub fn exports_progress() -> (String, &'static str) {
    ("export".into(), "ws#")
}

/// A command's idempotency record; the parts are hashed with their lengths, so that no two collide.
pub fn idempotency(
    workspace: &WorkspaceId,
    actor: &Actor,
    operation: &str,
    idempotency_key: &str,
) -> Key {
    // Two actors of one name and different kinds are two.
    let parts = [
        actor.kind.as_str().as_bytes(),
        actor.id.as_bytes(),
        operation.as_bytes(),
        idempotency_key.as_bytes(),
    ];
    let digest = cs_core::canonical::digest_parts(&parts);
    key(format!("ws#{workspace}#once#{}", digest.hex().get(..2).unwrap_or("00")), digest.hex())
}

// What a workspace decides for itself. A partition with a name of its own: a role can be kept to
// it.
fn own(workspace: &WorkspaceId) -> String {
    format!("ws#{workspace}#own")
}

/// Settings of a workspace: freeze switch, webhook secret.
pub fn settings(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "settings")
}
/// The active policy set.
pub fn policy_active(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "policy")
}
/// A policy set by content.
pub fn policy(workspace: &WorkspaceId, digest: &Digest) -> Key {
    key(own(workspace), format!("policy#{}", digest.hex()))
}
/// The registry's version: changes with every install and disable.
pub fn registry(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "registry")
}
/// Partition of executions whose held steps wait for a change of the workspace: a lifted freeze, a
/// new budget.
pub fn waiting_partition(workspace: &WorkspaceId) -> String {
    format!("ws#{workspace}#waiting")
}
/// An execution among those.
pub fn waiting(workspace: &WorkspaceId, id: &ExecutionId) -> Key {
    key(waiting_partition(workspace), id.as_str())
}
/// Partition of workspaces whose waiting executions are still to be woken; what `sweep` goes on
/// with.
pub const WAKING: &str = "waking";
/// A workspace among those.
pub fn waking(workspace: &WorkspaceId) -> Key {
    key(WAKING.into(), workspace.as_str())
}
/// Guards of a workspace: copies of one small item that every change of freezes, budgets and
/// disabled skills writes.
pub const GUARDS: u8 = 8;
/// A guard.
pub fn guard(workspace: &WorkspaceId, index: u8) -> Key {
    key(format!("ws#{workspace}#guard#{index}"), "guard")
}
/// The guard that the claims of an execution check.
pub fn guard_of(id: &ExecutionId) -> u8 {
    shard(id.as_str(), GUARDS)
}
/// What is frozen.
pub fn freezes(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "freezes")
}
/// Budgets and meters.
pub fn governance(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "governance")
}
/// Phrases that raise the risk of an intent.
pub fn risk_phrases(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "signals")
}
/// Whose skills may be installed.
pub fn trust(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "trust")
}
/// What one actor, operation or workspace (`of`) used of a meter.
pub fn usage(workspace: &WorkspaceId, meter: &str, of: &str) -> Key {
    let (partition, prefix) = usage_of(workspace, meter);
    // `of` is a stranger's text: hashed, it has no place in the order of keys.
    key(partition, format!("{prefix}{}", cs_core::canonical::digest_bytes(of.as_bytes()).hex()))
}
/// Partition and prefix of all usage of a meter.
pub fn usage_of(workspace: &WorkspaceId, meter: &str) -> (String, String) {
    (format!("ws#{workspace}#usage"), format!("u#{meter}#"))
}
/// Partition of what a candidate policy set would have changed.
pub fn shadow_partition(workspace: &WorkspaceId, digest: &Digest) -> String {
    format!("ws#{workspace}#shadow#{}", digest.hex())
}
/// The same of one execution's steps, by time.
pub fn shadow(workspace: &WorkspaceId, digest: &Digest, at: Timestamp, id: &ExecutionId) -> Key {
    key(shadow_partition(workspace, digest), list_sort(at, id.as_str()))
}
/// A candidate policy set, by content.
pub fn candidate(workspace: &WorkspaceId, digest: &Digest) -> Key {
    key(own(workspace), format!("candidate#{}", digest.hex()))
}
/// Partition and prefix of every policy set by content.
pub fn policies(workspace: &WorkspaceId) -> (String, &'static str) {
    (own(workspace), "policy#")
}
/// Subscriptions of a workspace to its stage events.
pub fn webhooks(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "webhooks")
}
/// Partition of workspaces that have subscriptions.
pub const SUBSCRIBED: &str = "subscribed";
/// A workspace among those.
pub fn subscribed(workspace: &WorkspaceId) -> Key {
    key(SUBSCRIBED.into(), format!("ws#{workspace}"))
}
/// Partition and prefix of skills.
pub fn skills(workspace: &WorkspaceId) -> (String, &'static str) {
    (format!("ws#{workspace}#skills"), "s#")
}
/// A skill at one version.
pub fn skill(workspace: &WorkspaceId, skill: &str, version: &str) -> Key {
    key(skills(workspace).0, format!("s#{skill}@{version}"))
}
/// The envelope of a skill at one version, beside its record, which every claim checks and which is
/// small for that.
pub fn envelope(workspace: &WorkspaceId, skill: &str, version: &str) -> Key {
    key(skills(workspace).0, format!("{ENVELOPE}{skill}@{version}"))
}
/// Prefix of envelopes in the partition of skills.
pub const ENVELOPE: &str = "b#";
/// Skills that are disabled as a whole, whatever their versions.
pub fn switches(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "switches")
}
/// The highest version of a skill that ever was installed.
pub fn skill_highest(workspace: &WorkspaceId, skill: &str) -> Key {
    key(skills(workspace).0, format!("h#{skill}"))
}
/// Head of the workspace's own trace.
pub fn journal_head(workspace: &WorkspaceId) -> Key {
    key(format!("ws#{workspace}#journal"), "a#head")
}
/// One event of the workspace's own trace.
pub fn journal(workspace: &WorkspaceId, seq: u64) -> Key {
    key(format!("ws#{workspace}#journal"), format!("e#{seq:010}"))
}
/// What an actor was refused, by the hash of who it is.
pub fn refusals(workspace: &WorkspaceId, actor: &Actor) -> Key {
    let digest =
        cs_core::canonical::digest_parts(&[actor.kind.as_str().as_bytes(), actor.id.as_bytes()]);
    key(format!("ws#{workspace}#refusals"), digest.hex())
}
/// Prefix of events that wait to be chained onto the workspace log.
pub const INBOX: &str = "i#";
/// Their partition. Not the log's own: from that nothing is ever deleted.
pub fn inbox_partition(workspace: &WorkspaceId) -> String {
    format!("ws#{workspace}#inbox")
}
/// One of the events of a commit that wait; in order of time.
pub fn inbox(workspace: &WorkspaceId, at: Timestamp, commit: &str, index: usize) -> Key {
    key(inbox_partition(workspace), format!("{INBOX}{}#{index:03}", list_sort(at, commit)))
}
/// What names the commit in the sort key of one of its events.
pub fn inbox_commit(sort: &str) -> Option<&str> {
    sort.strip_prefix(INBOX)?.rsplit_once('#').map(|(commit, _)| commit)
}
/// Partition of commits whose events wait to be chained: what `sweep` looks at.
pub fn inbox_waiting_partition(shard: u8) -> String {
    format!("inbox#{shard}")
}
/// A commit among those.
pub fn inbox_waiting(workspace: &WorkspaceId, at: Timestamp, commit: &str) -> Key {
    inbox_waiting_of(workspace, &list_sort(at, commit))
}
/// The same, by what [`inbox_commit`] gives.
pub fn inbox_waiting_of(workspace: &WorkspaceId, commit: &str) -> Key {
    let partition = inbox_waiting_partition(shard(workspace.as_str(), WORK_SHARDS));
    key(partition, format!("{workspace}#{commit}"))
}

/// An API key, by the hash of its secret.
pub fn api_key(hash: &Digest) -> Key {
    key(format!("key#{}", hash.hex().get(..2).unwrap_or("00")), hash.hex())
}
/// Partition and prefix of a workspace's API keys, for listing.
pub fn api_keys(workspace: &WorkspaceId) -> (String, &'static str) {
    (format!("ws#{workspace}#keys"), "k#")
}
/// Partition of the sessions of a workspace's persons, and of the codes that open one.
pub fn sessions(workspace: &WorkspaceId) -> String {
    format!("ws#{workspace}#session")
}
/// A session among those, by the hash of its token.
pub fn session(workspace: &WorkspaceId, token: &Digest) -> Key {
    key(sessions(workspace), format!("s#{}", token.hex()))
}
/// A code among those, by its hash.
pub fn session_code(workspace: &WorkspaceId, code: &Digest) -> Key {
    key(sessions(workspace), format!("c#{}", code.hex()))
}
/// That a sign-in at the identity provider was finished, by what names it.
pub fn finished_flow(workspace: &WorkspaceId, flow: &Digest) -> Key {
    key(sessions(workspace), format!("f#{}", flow.hex()))
}
/// What shows that a person signed in once more for a decision, by the hash of its token.
pub fn second_factor(workspace: &WorkspaceId, token: &Digest) -> Key {
    key(sessions(workspace), format!("p#{}", token.hex()))
}
/// Partition and prefix of the actors that any key of a workspace names.
pub fn actors(workspace: &WorkspaceId) -> (String, &'static str) {
    (format!("ws#{workspace}#actors"), "a#")
}
/// An actor among those, by its canonical id.
pub fn actor(workspace: &WorkspaceId, id: &str) -> Key {
    // Hashed: sort keys are ASCII.
    key(actors(workspace).0, format!("a#{}", cs_core::canonical::digest_bytes(id.as_bytes()).hex()))
}
/// A workspace's API key, by its id.
pub fn api_key_of(workspace: &WorkspaceId, id: &str) -> Key {
    key(api_keys(workspace).0, format!("k#{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    // Whatever a stranger chooses (actors, idempotency keys, operations, steps), no two places are
    // one.
    #[test]
    fn attack_delimiter_collisions_in_joined_ids() {
        let workspaces: Vec<WorkspaceId> =
            ["a", "a-b", "ab"].map(|name| name.parse().unwrap()).into();
        let words =
            ["", "a", "b", "a#b", "#", "a##b", "a@1.0.0", "a/b", "a|b", "a\u{0}b", "1a", "a1"];
        let mut seen: BTreeMap<Key, String> = BTreeMap::new();
        let mut take = |key: Key, from: String| {
            if let Some(other) = seen.insert(key.clone(), from.clone()) {
                assert_eq!(other, from, "one place for two: {key:?}");
            }
        };
        for workspace in &workspaces {
            for one in words {
                for other in words {
                    for third in ["x", "#x", "x#"] {
                        let from =
                            format!("{workspace}|once|{}|{one:?}|{other:?}|{third:?}", words.len());
                        let actor =
                            Actor { kind: contracts::event::ActorKind::Agent, id: one.to_owned() };
                        take(idempotency(workspace, &actor, other, third), from);
                    }
                    take(usage(workspace, "m", one), format!("{workspace}|usage|m|{one:?}"));
                    take(usage(workspace, "mm", one), format!("{workspace}|usage|mm|{one:?}"));
                }
            }
        }
        // What is joined by a delimiter cannot hold it: such names are no names.
        for bad in ["a#b", "a b", "", "../a"] {
            assert!(bad.parse::<WorkspaceId>().is_err() && bad.parse::<StepId>().is_err(), "{bad}");
        }
    }
}
