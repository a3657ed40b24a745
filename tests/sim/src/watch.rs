//! Who watches: every transaction as it is about to commit, against what the table then holds. Nothing here asks the code
//! that is watched; it knows the drafts, the manifest and the records' form.

use crate::{
    Shared,
    book::Book,
    plans::{self, Operation, SKILL, VERSION},
    ports::Store,
};
use contracts::{
    Digest, ExecutionId, WorkspaceId,
    access::ApiKey,
    event::{ActorKind, Entry, Event, Purpose},
    governance::{Freeze, FreezeScope},
};
use engine::{
    ActivePolicy, HeadRecord, keys,
    ports::{Condition, Item, Key, Write},
};
use serde_json::Value;
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

/// Most that an execution's head may take, in bytes: it does not grow with the steps.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const ITEM_BYTES_MAX: usize = 350 * 1024;
const EVENT_BYTES_MAX: usize = 64 * 1024;
const WRITES_MAX: usize = 100;
/// A claim's transaction may come so long after the gate read the clock, in milliseconds.
const SLACK_MS: i64 = 2_000;

/// What was asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) draft: Value,
    /// The key that asked.
    pub(crate) key: String,
    /// It was to be looked at only.
    pub(crate) dry: bool,
}

/// A claim that committed.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) execution: ExecutionId,
    pub(crate) step: String,
    pub(crate) purpose: Purpose,
    /// It reserved of the meters.
    pub(crate) reserved: bool,
    /// When, as time passes, and how often the clock had been set by then.
    pub(crate) passed: i64,
    pub(crate) jumps: usize,
}

/// What a commit is known by: seen before it, kept if it happens.
#[derive(Default)]
pub(crate) struct Seen {
    claims: Vec<Claim>,
    inbox: Vec<Value>,
    head: Option<(ExecutionId, String)>,
}

/// A look at what is stored.
pub(crate) struct Sight<'s> {
    store: &'s dyn Store,
    dump: OnceCell<BTreeMap<Key, Item>>,
}

impl<'s> Sight<'s> {
    pub(crate) fn new(store: &'s dyn Store) -> Self {
        Self { store, dump: OnceCell::new() }
    }
    pub(crate) fn get(&self, key: &Key) -> Option<Item> {
        match self.store.peek(key) {
            Some(found) => found,
            None => self.dump.get_or_init(|| self.store.dump()).get(key).cloned(),
        }
    }
}

/// The watch of a run.
pub(crate) struct Watch {
    pub(crate) book: Arc<Book>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) workspace: WorkspaceId,
    /// By the words of the intent.
    pub(crate) asked: Mutex<HashMap<String, Asked>>,
    /// The words of each execution's intent.
    words: Mutex<HashMap<ExecutionId, String>>,
    pub(crate) claims: Mutex<Vec<Claim>>,
    /// Every event that was committed for the workspace log.
    pub(crate) inbox: Mutex<Vec<Value>>,
    /// Of the policy set under which nobody may pay.
    pub(crate) strict: Mutex<Option<Digest>>,
    failures: Mutex<u32>,
}

impl Watch {
    pub(crate) fn new(book: Arc<Book>, shared: Arc<Shared>, workspace: WorkspaceId) -> Arc<Self> {
        Arc::new(Self {
            book,
            shared,
            workspace,
            asked: Mutex::default(),
            words: Mutex::default(),
            claims: Mutex::default(),
            inbox: Mutex::default(),
            strict: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// Advancing failed once more; how often by now.
    pub(crate) fn failed(&self) -> u32 {
        let mut failures = self.failures.lock().unwrap();
        *failures += 1;
        *failures
    }

    /// What an execution was asked for with.
    pub(crate) fn asked(&self, id: &ExecutionId) -> Option<Asked> {
        let words = self.words.lock().unwrap().get(id)?.clone();
        self.asked.lock().unwrap().get(&words).cloned()
    }

    /// A step as it was drafted.
    pub(crate) fn drafted(&self, id: &ExecutionId, step: &str) -> Option<Value> {
        let steps = self.asked(id)?.draft["steps"].as_array()?.clone();
        steps.into_iter().find(|drafted| drafted["id"] == step)
    }

    /// What a call of a drafted step calls.
    pub(crate) fn called(&self, id: &ExecutionId, step: &str, purpose: Purpose) -> Option<&'static Operation> {
        plans::called(self.drafted(id, step)?["use"].as_str()?, purpose)
    }

    /// The claims that a transaction makes.
    pub(crate) fn claims_of(&self, writes: &[Write]) -> Vec<(ExecutionId, Entry)> {
        let mut found = Vec::new();
        for write in writes {
            let Write::Put { key, item, .. } = write else { continue };
            let started =
                key.sort.starts_with(keys::EVENT) && has(&item.body, b"controlPlane.execution.step.started");
            if let Some(id) = execution_of(key).filter(|_| started)
                && let Ok(entry) = serde_json::from_slice::<Entry>(&item.body)
                && let Event::StepStarted(_) = entry.event
            {
                found.push((id, entry));
            }
        }
        found
    }

    /// What must hold of a transaction whose conditions hold.
    pub(crate) fn before(&self, writes: &[Write], claims: &[(ExecutionId, Entry)], sight: &Sight<'_>) -> Seen {
        let mut seen = Seen::default();
        if !writes.iter().all(|write| engine::memory::holds(write.condition(), sight.get(write.key()).as_ref())) {
            return seen;
        }
        let book = &self.book;
        let workspaces: BTreeSet<&str> = writes.iter().filter_map(|write| workspace_of(write.key())).collect();
        book.hold("tenant-walls", workspaces.len() <= 1, || format!("one transaction writes to {workspaces:?}"));
        book.hold("bounded-work", writes.len() <= WRITES_MAX, || format!("a transaction of {} writes", writes.len()));
        let mut head = None;
        for write in writes {
            let key = write.key();
            if key.sort.starts_with(keys::EVENT) && !matches!(write, Write::Check { .. }) {
                self.appends(write, writes, sight);
            }
            let Write::Put { item, .. } = write else { continue };
            let event = key.sort.starts_with(keys::EVENT) || key.sort.starts_with(keys::INBOX);
            let most = match (event, key.sort == "a#head") {
                (true, _) => EVENT_BYTES_MAX,
                (_, true) => HEAD_BYTES_MAX,
                _ => ITEM_BYTES_MAX,
            };
            let size = item.body.len();
            book.hold("bounded-work", size <= most, || format!("`{}`: {size} bytes", key.sort));
            book.hold("no-secrets-in-evidence", !has(&item.body, b"S3CRET-"), || {
                format!("{}/{} is about to hold one", key.partition, key.sort)
            });
            if key.sort == "a#head"
                && let Some(id) = execution_of(key)
            {
                let record: HeadRecord = serde_json::from_slice(&item.body).unwrap();
                self.head_follows(key, &record, sight);
                seen.head = Some((id.clone(), record.title.clone()));
                head = Some((id, record));
            }
        }
        self.authority(writes, &mut seen);
        if let Some((id, head)) = &head {
            self.words.lock().unwrap().entry(id.clone()).or_insert_with(|| head.title.clone());
            for (of, entry) in claims.iter().filter(|(of, _)| of == id) {
                seen.claims.extend(self.claim(of, entry, head, writes, sight));
            }
            self.completes(id, head, writes, sight);
        }
        book.hold("claim-is-one-transaction", claims.is_empty() || head.is_some(), || {
            "a claim without its head".into()
        });
        seen
    }

    /// It committed.
    pub(crate) fn committed(&self, seen: Seen) {
        self.claims.lock().unwrap().extend(seen.claims);
        self.inbox.lock().unwrap().extend(seen.inbox);
    }

    // An event is written once, behind the one before it, and never again.
    fn appends(&self, write: &Write, writes: &[Write], sight: &Sight<'_>) {
        let key = write.key();
        let seq: u64 = key.sort.trim_start_matches(keys::EVENT).parse().unwrap_or(0);
        let before = Key { sort: format!("{}{:010}", keys::EVENT, seq.saturating_sub(1)), ..key.clone() };
        let follows = seq == 1 || writes.iter().any(|other| *other.key() == before) || sight.get(&before).is_some();
        let fresh = matches!(write, Write::Put { .. }) && sight.get(key).is_none();
        self.book.hold("append-only", fresh && follows, || format!("{}/{}", key.partition, key.sort));
    }

    fn head_follows(&self, key: &Key, next: &HeadRecord, sight: &Sight<'_>) {
        let Some(stored) = sight.get(key) else { return };
        let before: HeadRecord = serde_json::from_slice(&stored.body).unwrap();
        self.book.hold("fenced", before.epoch <= next.epoch, || {
            format!("the fence goes back from {} to {}", before.epoch, next.epoch)
        });
        self.book.hold("append-only", before.chain.seq <= next.chain.seq, || "the chain was cut".into());
    }

    // Only who holds the claim records that its call completed; a tool, for itself, and people may say so too.
    fn completes(&self, id: &ExecutionId, head: &HeadRecord, writes: &[Write], sight: &Sight<'_>) {
        for write in writes {
            let Write::Put { key, item, .. } = write else { continue };
            if !key.sort.starts_with(keys::EVENT) || !has(&item.body, b"controlPlane.execution.step.completed") {
                continue;
            }
            let entry: Entry = serde_json::from_slice(&item.body).unwrap();
            let Event::StepCompleted(data) = &entry.event else { continue };
            if entry.actor.kind == ActorKind::Tool {
                continue;
            }
            let record = sight.get(&keys::step(&self.workspace, id, &data.step_id));
            let record: Option<Value> = record.and_then(|item| serde_json::from_slice(&item.body).ok());
            let fence = record.as_ref().and_then(|record| record.get("fence")?.as_u64());
            self.book.hold("fenced", fence == Some(head.epoch), || {
                format!("{id}: {} of claim {fence:?} completed by the owner of {}", data.step_id, head.epoch)
            });
        }
    }

    fn claim(
        &self,
        id: &ExecutionId,
        entry: &Entry,
        head: &HeadRecord,
        writes: &[Write],
        sight: &Sight<'_>,
    ) -> Option<Claim> {
        let Event::StepStarted(data) = &entry.event else { return None };
        let (book, workspace) = (&self.book, &self.workspace);
        let what = || format!("{id}: the {} of {}", data.purpose.as_str(), data.step_id);
        let asked = self.asked(id);
        let operation = self.called(id, data.step_id.as_str(), data.purpose);
        let (Some(asked), Some(operation)) = (asked, operation) else {
            book.broken("no-effect-without-plan", format!("{} was never drafted", what()));
            return None;
        };
        book.hold("one-gate", !asked.dry, || format!("{} of a dry run", what()));
        // Freezes, and the skill.
        let name = format!("{SKILL}/{}", operation.name);
        let frozen = self.freezes(sight).into_iter().find(|freeze| match (freeze.scope, freeze.key.as_deref()) {
            (FreezeScope::Workspace, _) => true,
            (FreezeScope::Skill, key) => key == Some(SKILL),
            (FreezeScope::Operation, key) => key == Some(name.as_str()),
            (FreezeScope::Actor, key) => key == Some("agent"),
        });
        book.hold("one-gate", frozen.is_none(), || format!("{} begins although frozen: {frozen:?}", what()));
        let skill = sight.get(&keys::skill(workspace, SKILL, VERSION));
        let off = skill.as_ref().is_none_or(|item| item.fields.get("disabled").is_some_and(|state| *state > 0));
        let switches = sight.get(&keys::switches(workspace));
        let switches: Option<Value> = switches.and_then(|item| serde_json::from_slice(&item.body).ok());
        let off = off || switches.is_some_and(|switches| switches.get(SKILL).is_some());
        book.hold("one-gate", !off, || format!("{} begins although its skill is disabled", what()));
        // The key that asked.
        let key = keys::api_key_of(workspace, &asked.key);
        let stored = sight.get(&key);
        let record: Option<(ApiKey, Digest)> =
            stored.as_ref().and_then(|item| serde_json::from_slice(&item.body).ok());
        let revoked = stored.as_ref().is_none_or(|item| item.fields.get("revoked") != Some(&0));
        let shown = self.shared.shown(SLACK_MS);
        let expired = record.as_ref().is_none_or(|(record, _)| {
            record.expires_at.is_some_and(|at| shown.iter().all(|reading| at.ms() <= *reading))
        });
        book.hold("context-is-fresh", !revoked, || format!("{} begins for a revoked key", what()));
        book.hold("context-is-fresh", !expired, || format!("{} begins for an expired key", what()));
        // The policy set.
        let active = sight.get(&keys::policy_active(workspace));
        let active: Option<ActivePolicy> = active.and_then(|item| serde_json::from_slice(&item.body).ok());
        let judged = head.execution.ruling.as_ref().map(|ruling| &ruling.policy_digest);
        let same = active.as_ref().is_some_and(|active| Some(&active.digest) == judged);
        book.hold("context-is-fresh", same, || format!("{} begins under a policy set that was replaced", what()));
        let strict = self.strict.lock().unwrap().clone();
        let forbidden = operation.name == "pay" && active.is_some_and(|active| Some(active.digest) == strict);
        book.hold("fail-closed", !forbidden, || format!("{} is forbidden by the active policy set", what()));
        self.together(id, entry, writes, &key, &what);
        Some(Claim {
            execution: id.clone(),
            step: data.step_id.to_string(),
            purpose: data.purpose,
            reserved: !data.reserved.is_empty(),
            passed: self.shared.passed(),
            jumps: self.shared.jumps(),
        })
    }

    // Everything that a claim rests on is looked at, and everything that it uses up is used up, in its own transaction.
    fn together(
        &self,
        id: &ExecutionId,
        entry: &Entry,
        writes: &[Write],
        requester: &Key,
        what: &dyn Fn() -> String,
    ) {
        let Event::StepStarted(data) = &entry.event else { return };
        let workspace = &self.workspace;
        let versioned = |condition: &Condition| matches!(condition, Condition::VersionIs(_) | Condition::NotExists);
        let holds =
            |key: &Key, fits: &dyn Fn(&Write) -> bool| writes.iter().any(|write| write.key() == key && fits(write));
        let guarded = (0..keys::GUARDS)
            .any(|index| holds(&keys::guard(workspace, index), &|write| versioned(write.condition())));
        let at_most = |field: &str, write: &Write| *write.condition() == Condition::FieldAtMost(field.to_owned(), 0);
        let put = |write: &Write| matches!(write, Write::Put { .. });
        let parts = [
            ("the freezes and budgets", guarded),
            ("the policy set", holds(&keys::policy_active(workspace), &|write| versioned(write.condition()))),
            ("the skill", holds(&keys::skill(workspace, SKILL, VERSION), &|write| at_most("disabled", write))),
            ("the requester's key", holds(requester, &|write| at_most("revoked", write))),
            ("the fence", holds(&keys::head(workspace, id), &|write| put(write) && versioned(write.condition()))),
            ("the step", holds(&keys::step(workspace, id, &data.step_id), &put)),
            (
                "the approval",
                data.approval_id.is_none() || {
                    let prefix = keys::approval(workspace, id, 0).sort;
                    let prefix = prefix.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
                    writes.iter().any(|write| put(write) && write.key().sort.starts_with(&prefix))
                },
            ),
            (
                "the meters",
                data.reserved.iter().all(|one| {
                    holds(&keys::usage(workspace, &one.meter, &one.of), &|write| {
                        put(write) && versioned(write.condition())
                    })
                }),
            ),
        ];
        for (part, there) in parts {
            self.book.hold("claim-is-one-transaction", there, || format!("{} without {part}", what()));
        }
    }

    /// What is frozen.
    pub(crate) fn freezes(&self, sight: &Sight<'_>) -> Vec<Freeze> {
        let item = sight.get(&keys::freezes(&self.workspace));
        item.map(|item| serde_json::from_slice(&item.body).unwrap()).unwrap_or_default()
    }

    // What changes authority says so in the same transaction, with who; and nothing says so that changes nothing.
    fn authority(&self, writes: &[Write], seen: &mut Seen) {
        let mut changed = BTreeSet::new();
        let mut said: BTreeMap<&'static [&'static str], Vec<String>> = BTreeMap::new();
        for write in writes {
            let (key, item) = match write {
                Write::Put { key, item, .. } => (key, Some(item)),
                Write::Delete { key, .. } => (key, None),
                Write::Check { .. } => continue,
            };
            changed.extend(self.governs(key));
            let Some(item) = item.filter(|_| key.sort.starts_with(keys::INBOX)) else { continue };
            let record: Value = serde_json::from_slice(&item.body).unwrap();
            let event: Event = serde_json::from_value(record["event"].clone()).unwrap();
            let actor = record["actor"]["id"].as_str().unwrap_or_default().to_owned();
            let inner = record.pointer("/event/data/actorId").and_then(Value::as_str);
            self.book.hold("authority-is-on-record", !actor.is_empty() && inner == Some(actor.as_str()), || {
                format!("{} by {actor}, whose event says {inner:?}", event.key())
            });
            said.entry(changes(&event)).or_default().push(event.key().to_owned());
            seen.inbox.push(record);
        }
        if changed.is_empty() && said.is_empty() {
            return;
        }
        let covered = changed.iter().all(|what| said.keys().any(|parts| parts.contains(what)));
        let founded = said.keys().all(|parts| parts.is_empty() || parts.iter().any(|part| changed.contains(part)));
        self.book
            .hold("authority-is-on-record", covered && founded, || format!("{changed:?} changed, {said:?} said"));
    }

    fn governs(&self, key: &Key) -> Option<&'static str> {
        let workspace = &self.workspace;
        let parts = [
            (keys::freezes(workspace), "freezes"),
            (keys::governance(workspace), "budgets"),
            (keys::trust(workspace), "trust"),
            (keys::deciders(workspace), "deciders"),
            (keys::risk_phrases(workspace), "phrases"),
            (keys::policy_active(workspace), "policy"),
            (keys::switches(workspace), "skill"),
            (keys::webhooks(workspace), "subscriptions"),
            (keys::settings(workspace), "settings"),
        ];
        if let Some((_, part)) = parts.iter().find(|(own, _)| own == key) {
            return Some(part);
        }
        if key.partition == keys::api_keys(workspace).0 {
            return Some("key");
        }
        (key.partition == keys::skills(workspace).0 && key.sort.starts_with("s#")).then_some("skill")
    }
}

// What an event of the workspace log says was changed; nothing: it says what was refused.
fn changes(event: &Event) -> &'static [&'static str] {
    match event {
        Event::GovernanceChanged(data) => match data.key.as_str() {
            "freezes" => &["freezes"],
            "budgets" | "shadow" => &["budgets"],
            "trust" => &["trust", "skill"],
            "deciders" => &["deciders"],
            "signals" => &["phrases"],
            _ => &["something unknown"],
        },
        Event::PolicyActivated(_) => &["policy"],
        Event::KeyCreated(_) | Event::KeyRevoked(_) => &["key"],
        Event::SkillInstalled(_) | Event::SkillDisabled(_) | Event::SkillEnabled(_) => &["skill"],
        Event::WorkspaceCreated(_) => &["settings", "policy"],
        Event::ToolSecretRotated(_) => &["settings"],
        Event::SubscriptionCreated(_) | Event::SubscriptionRemoved(_) | Event::SubscriptionSecretRotated(_) => {
            &["subscriptions"]
        }
        _ => &[],
    }
}

/// Whether bytes hold others.
pub(crate) fn has(body: &[u8], wanted: &[u8]) -> bool {
    let first = wanted[0];
    let mut from = 0;
    while let Some(at) = body[from..].iter().position(|byte| *byte == first) {
        if body[from + at..].starts_with(wanted) {
            return true;
        }
        from += at + 1;
    }
    false
}

fn workspace_of(key: &Key) -> Option<&str> {
    key.partition.strip_prefix("ws#").or_else(|| key.partition.strip_prefix("vault#"))?.split('#').next()
}

fn execution_of(key: &Key) -> Option<ExecutionId> {
    key.partition.split_once("#exe#")?.1.parse().ok()
}
