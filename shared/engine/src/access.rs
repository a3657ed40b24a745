//! Who calls: API keys, grants, and workspaces.
//!
//! INVARIANT (identity-from-transport): actor and workspace come from the key, never from a body.

use crate::{
    Answer, Engine, bodies, boxed, keys,
    ports::{Condition, Fault, Item, Key, Query, Write},
    records::{ActivePolicy, PolicyRecord, Settings},
    skills::page,
};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    access::{ApiKey, CreateKey, KeyCreated, KeyList, KeyMaker, ListKeys, RevokeKey},
    event::{Actor, ActorKind, Event, KeyChanged, WorkspaceCreated},
    grant,
    limits::{KEY_GRANTS_MAX, KEY_MAKERS_MAX, NAME_BYTES_MAX, SUGGESTION_CANDIDATES_MAX, SUGGESTIONS_MAX},
    names,
};
use cs_core::{
    canonical,
    execution::{
        Execution,
        duty::{Drafter, Requester},
    },
    trace::Stamp,
};
use std::collections::BTreeSet;

/// The beginning of every key.
const KEY_PREFIX: &str = "csk_";
/// Field of a stored key: 1 once it is revoked. Claims check it.
pub(crate) const REVOKED: &str = "revoked";
const GRANT_KEYS: &str = "control-plane.keys";

/// An authenticated caller, and the circumstances of the call.
#[derive(Clone, Debug)]
pub struct Caller {
    pub workspace: WorkspaceId,
    pub actor: Actor,
    pub grants: BTreeSet<String>,
    /// The API key that was used, and who made it.
    pub key_id: Option<String>,
    pub key_made_by: Option<KeyMaker>,
    /// How the actor was authenticated, for example `api_key:ab12`.
    pub channel: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// `Idempotency-Key` of the request.
    pub idempotency_key: Option<String>,
}

impl Caller {
    /// Refuses unless the caller has a grant (with `control-plane.`). `control-plane.approval` covers approve and
    /// reject.
    pub fn require(&self, grant: &str) -> Answer<()> {
        if grant::covers(&self.grants, grant) {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, format!("this needs the grant `{grant}`, which the key does not have")))
    }

    /// Refuses unless the caller has a grant and is a person: for what no machine says, whatever its key may do.
    pub fn require_person(&self, grant: &str) -> Answer<()> {
        self.require(grant)?;
        if self.actor.kind == ActorKind::Human {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "only a person may do this, with a key of kind `human`"))
    }

    /// Whether the caller sees and steers only what it asked for itself: agents and tools without
    /// `control-plane.execution.any`.
    pub fn own_only(&self) -> bool {
        match self.actor.kind {
            ActorKind::Human | ActorKind::Service => false,
            ActorKind::Agent | ActorKind::Tool => !self.grants.contains(grant::ANY_EXECUTION),
        }
    }

    /// Refuses unless what the caller may do holds for this execution. Every use case that names an execution asks
    /// this of what it loaded.
    pub(crate) fn require_own(&self, state: &Execution) -> Answer<()> {
        let own = state
            .intent
            .as_ref()
            .is_some_and(|intent| intent.actor_id == self.actor.id && intent.actor_kind == Some(self.actor.kind));
        if own || !self.own_only() {
            return Ok(());
        }
        let message =
            format!("another actor's execution; an agent needs the grant `{}` for it", grant::ANY_EXECUTION);
        Err(Problem::new(Code::Forbidden, message))
    }

    /// Refuses unless the caller may see what the workspace shows as a whole.
    pub(crate) fn require_whole(&self, grant: &str) -> Answer<()> {
        self.require(grant)?;
        if !self.own_only() {
            return Ok(());
        }
        let message = format!("this shows the whole workspace; an agent needs the grant `{}`", grant::ANY_EXECUTION);
        Err(Problem::new(Code::Forbidden, message))
    }

    /// Who asks, as an intent records it.
    pub(crate) fn requester(&self, on_behalf_of: Option<String>) -> Requester {
        Requester {
            actor: self.actor.clone(),
            key_id: self.key_id.clone(),
            key_made_by: self.key_made_by.clone(),
            on_behalf_of,
        }
    }

    /// The same as who gives a draft.
    pub(crate) fn drafter(&self) -> Drafter {
        let key_makers = self.key_made_by.iter().flat_map(KeyMaker::ids).cloned().collect();
        Drafter { id: self.actor.id.clone(), key_makers }
    }

    /// What the events of this call are stamped with: who, with which key, from which channel.
    pub fn stamp(&self, at: Timestamp) -> Stamp {
        let channel = self.channel.split(':').next().map(str::to_owned);
        let key_id = self.key_id.clone();
        Stamp { key_id, channel, ..Stamp::new(at, self.actor.clone(), self.traceparent.clone()) }
    }
}

/// What a new key is to be, made canonical.
struct NewKey {
    actor: Actor,
    grants: BTreeSet<String>,
    made_by: Option<KeyMaker>,
    expires_at: Option<Timestamp>,
}

fn hash(secret: &str) -> Digest {
    canonical::digest_parts(&[b"countersign/api-key/1", secret.as_bytes()])
}

impl Engine {
    /// The caller behind a key.
    #[boxed]
    pub async fn authenticate(&self, secret: Option<&str>) -> Answer<Caller> {
        let refuse = |why: &str| Problem::new(Code::Unauthenticated, why);
        let secret = secret.ok_or_else(|| refuse("send `Authorization: Bearer <API key>`"))?;
        let unknown = || refuse("the API key is unknown, revoked or expired");
        if !secret.starts_with(KEY_PREFIX) || secret.len() > 128 {
            return Err(unknown());
        }
        // Looked up by its hash: no comparison of secrets, so none whose time tells anything.
        let key = keys::api_key(&hash(secret));
        let item = self.ports.table.get(&key).await?.ok_or_else(unknown)?;
        let record: ApiKey = bodies::decode(&key, &item.body)?;
        let expired = record.expires_at.is_some_and(|at| at <= self.now());
        let revoked = item.fields.get(REVOKED).is_none_or(|revoked| *revoked != 0);
        if expired || revoked || record.revoked_at.is_some() {
            return Err(unknown());
        }
        Ok(Caller {
            workspace: record.workspace,
            actor: record.actor,
            grants: record.grants,
            channel: format!("api_key:{}", record.id),
            key_id: Some(record.id),
            key_made_by: record.made_by,
            traceparent: None,
            idempotency_key: None,
        })
    }

    /// controlPlane.key.create: a key, for somebody, that may do no more than its maker.
    #[boxed]
    pub async fn create_key(&self, caller: &Caller, request: CreateKey) -> Answer<KeyCreated> {
        caller.require(GRANT_KEYS)?;
        let new = self.check_key(caller, &request).await?;
        let (once, given) = self.once(caller, "key.create", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let (key, secret, mut writes) = self.new_key(&caller.workspace, new)?;
        let answer = KeyCreated { key, api_key: None };
        writes.extend(self.once_write(once.as_ref(), &answer).await?);
        let event = Event::KeyCreated(key_changed(&answer.key, &caller.actor, self.now()));
        self.write_keys(&caller.workspace, &caller.stamp(self.now()), event, writes).await?;
        Ok(KeyCreated { api_key: Some(secret), ..answer })
    }

    // Nobody hands on what he does not have, makes a person out of a machine, or grants what does not exist.
    async fn check_key(&self, caller: &Caller, request: &CreateKey) -> Answer<NewKey> {
        let invalid = |issues| Problem::new(Code::ValidationFailed, "the key is not valid").issues(issues);
        let actor = cs_core::actor::canonical(&request.actor)
            .map_err(|error| invalid(vec![Issue::new("/actor/id", error.to_string())]))?;
        let mut known = grant::known();
        if request.grants.iter().any(|grant| !known.contains(grant)) {
            // What an installed operation asks of its requester's key is a grant, too.
            let snapshot = self.snapshot(&caller.workspace).await?;
            let skills = snapshot.registry.skills();
            let operations = skills.flat_map(|skill| skill.operations().values());
            known.extend(operations.flat_map(|operation| operation.spec.required_grants.iter().cloned()));
        }
        let mut issues = Vec::new();
        if request.grants.len() > KEY_GRANTS_MAX {
            issues.push(Issue::new("/grants", format!("at most {KEY_GRANTS_MAX} grants")));
        }
        for (index, grant) in request.grants.iter().take(KEY_GRANTS_MAX).enumerate() {
            if grant.is_empty() || !known.contains(grant) {
                let pointer = format!("/grants/{index}");
                issues.push(names::unknown(&pointer, "grant", grant, known.iter().map(String::as_str)));
            }
            if issues.len() >= SUGGESTIONS_MAX as usize {
                break;
            }
        }
        if request.expires_at.is_some_and(|at| at <= self.now()) {
            issues.push(Issue::new("/expiresAt", "a time in the future"));
        }
        if !issues.is_empty() {
            return Err(invalid(issues));
        }
        let machine = caller.actor.kind != ActorKind::Human;
        if machine {
            self.check_machine(caller, &actor, request.expires_at).await?;
        }
        let contract = |grant: &str| grant.starts_with(grant::PREFIX);
        // What only a skill asks for is handed out by people; whoever may make keys says who has it.
        let held = |grant: &str| grant::covers_whole(&caller.grants, grant) || (!machine && !contract(grant));
        let beyond: Vec<Issue> = request
            .grants
            .iter()
            .enumerate()
            .filter(|(_, grant)| !held(grant))
            .map(|(index, grant)| Issue::new(format!("/grants/{index}"), format!("your key does not have `{grant}`")))
            .collect();
        if !beyond.is_empty() {
            let message = "a key may do no more than the one that makes it";
            return Err(Problem::new(Code::Forbidden, message).issues(beyond));
        }
        let above = caller.key_made_by.iter().flat_map(KeyMaker::ids).cloned().collect::<BTreeSet<_>>();
        if above.len() >= KEY_MAKERS_MAX {
            let message = format!("a key is at most {KEY_MAKERS_MAX} makers away from the deployment's");
            return Err(Problem::new(Code::Forbidden, message));
        }
        let made_by = KeyMaker { actor: caller.actor.clone(), key_id: caller.key_id.clone(), above };
        let (grants, expires_at) = (request.grants.clone(), request.expires_at);
        Ok(NewKey { actor, grants, made_by: Some(made_by), expires_at })
    }

    // What a machine that makes keys would win beyond its grants: a person's voice, a decider's name, the sight of
    // everybody's executions, or more time than it has.
    async fn check_machine(&self, caller: &Caller, actor: &Actor, expires_at: Option<Timestamp>) -> Answer<()> {
        let refuse = |pointer: &str, message: &str| {
            Err(Problem::new(Code::Forbidden, message).issue(Issue::new(pointer, message)))
        };
        if actor.kind == ActorKind::Human {
            return refuse("/actor/kind", "a key of kind `human` is made by a person: no machine makes people");
        }
        if actor.kind == ActorKind::Service {
            if caller.own_only() {
                let message = "a service sees everybody's executions: its key is made by who does, too";
                return refuse("/actor/kind", message);
            }
            if self.decides(&caller.workspace, &actor.id).await? {
                return refuse("/actor/id", "a key of a service that decides is made by a person");
            }
        }
        let own = self.requester_key(&caller.workspace, caller.key_id.as_deref()).await?;
        match own.expires_at() {
            Some(end) if expires_at.is_none_or(|at| at > end) => {
                refuse("/expiresAt", "a machine's key makes none that outlives it: say when it ends, and no later")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a key on the deployment's own authority. Returns its secret, which is stored nowhere.
    #[boxed]
    pub async fn deploy_key(&self, workspace: &WorkspaceId, request: CreateKey) -> Answer<(ApiKey, String)> {
        let actor = cs_core::actor::canonical(&request.actor)
            .map_err(|error| Problem::new(Code::ValidationFailed, error.to_string()))?;
        let new = NewKey { actor, grants: request.grants, made_by: None, expires_at: request.expires_at };
        let (record, secret, writes) = self.new_key(workspace, new)?;
        let stamp = self.deployment_stamp();
        let event = Event::KeyCreated(key_changed(&record, &stamp.actor, stamp.at));
        self.write_keys(workspace, &stamp, event, writes).await?;
        Ok((record, secret))
    }

    fn new_key(&self, workspace: &WorkspaceId, new: NewKey) -> Answer<(ApiKey, String, Vec<Write>)> {
        let secret = format!("{KEY_PREFIX}{}", hex::encode(self.ports.ids.secret()));
        let hash = hash(&secret);
        let record = ApiKey {
            id: hash.hex().chars().take(12).collect(),
            workspace: workspace.clone(),
            actor: new.actor,
            grants: new.grants,
            created_at: self.now(),
            made_by: new.made_by,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let mut writes = key_writes(&hash, &record, Condition::NotExists)?;
        let known = bodies::item(1, &record.actor)?;
        writes.push(Write::Put {
            key: keys::actor(workspace, &record.actor.id),
            item: known,
            condition: Condition::Any,
        });
        Ok((record, secret, writes))
    }

    // INVARIANT (authority-is-on-record): a key and its event commit together.
    async fn write_keys(
        &self,
        workspace: &WorkspaceId,
        stamp: &Stamp,
        event: Event,
        writes: Vec<Write>,
    ) -> Answer<()> {
        if self.journal_stamped(workspace, stamp, vec![event], writes, false).await? {
            return Ok(());
        }
        Err(Problem::new(Code::Conflict, "the key exists or is gone"))
    }

    /// controlPlane.key.list: the keys of a workspace, page by page.
    #[boxed]
    pub async fn list_keys(&self, caller: &Caller, request: ListKeys) -> Answer<KeyList> {
        caller.require(GRANT_KEYS)?;
        let limit = page(request.limit)?;
        let (partition, prefix) = keys::api_keys(&caller.workspace);
        let mut query = Query::prefix(partition, prefix, limit + 1);
        if let Some(cursor) = &request.cursor {
            let given = cursor
                .strip_prefix(prefix)
                .is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()));
            if !given {
                let problem = Problem::new(Code::ValidationFailed, "the cursor is not one that was given out");
                return Err(problem.issue(Issue::new("/cursor", "take `next` as it was given")));
            }
            query.from = format!("{cursor}\u{1}");
        }
        let mut found = self.ports.table.query(&query).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(key, _)| key.sort.clone());
        let read = |(key, item): &(Key, Item)| Ok(bodies::decode::<(ApiKey, Digest)>(key, &item.body)?.0);
        Ok(KeyList { items: found.iter().map(read).collect::<Answer<_>>()?, next })
    }

    /// Whether a workspace has any key.
    #[boxed]
    pub async fn has_keys(&self, workspace: &WorkspaceId) -> Result<bool, Fault> {
        let (partition, prefix) = keys::api_keys(workspace);
        Ok(!self.ports.table.query(&Query::prefix(partition, prefix, 1)).await?.is_empty())
    }

    /// controlPlane.key.revoke: a kill switch. It contends with nothing: a revoked key is never another again.
    #[boxed]
    pub async fn revoke_key(&self, caller: &Caller, request: RevokeKey) -> Answer<ApiKey> {
        caller.require(GRANT_KEYS)?;
        let key = keys::api_key_of(&caller.workspace, &request.key_id);
        let named = request.key_id.len() <= NAME_BYTES_MAX;
        let stored = if named { self.ports.table.get(&key).await? } else { None };
        let Some(item) = stored else {
            let (partition, prefix) = keys::api_keys(&caller.workspace);
            let known = self.ports.table.query(&Query::prefix(partition, prefix, SUGGESTION_CANDIDATES_MAX)).await?;
            let ids = known.iter().map(|(key, _)| key.sort.trim_start_matches(prefix));
            let issue = names::unknown("/keyId", "key", &request.key_id, ids);
            return Err(Problem::new(Code::NotFound, "there is no such key in this workspace").issue(issue));
        };
        let (mut record, hash): (ApiKey, Digest) = bodies::decode(&key, &item.body)?;
        record.revoked_at = record.revoked_at.or(Some(self.now()));
        let event = Event::KeyRevoked(key_changed(&record, &caller.actor, self.now()));
        let writes = key_writes(&hash, &record, Condition::Exists)?;
        self.write_keys(&caller.workspace, &caller.stamp(self.now()), event, writes).await?;
        Ok(record)
    }

    /// Refuses an actor whom no key of the workspace names; its issue names the nearest.
    pub(crate) async fn known_actor(
        &self,
        workspace: &WorkspaceId,
        pointer: &str,
        id: &str,
    ) -> Answer<Result<String, Issue>> {
        let canonical = cs_core::actor::canonical_id(id).map_err(|error| Issue::new(pointer, error.to_string()));
        if let Ok(canonical) = &canonical
            && self.ports.table.get(&keys::actor(workspace, canonical)).await?.is_some()
        {
            return Ok(Ok(canonical.clone()));
        }
        let (partition, prefix) = keys::actors(workspace);
        let items = self.ports.table.query(&Query::prefix(partition, prefix, SUGGESTION_CANDIDATES_MAX)).await?;
        let known: Vec<Actor> =
            items.iter().map(|(key, item)| Ok(bodies::decode(key, &item.body)?)).collect::<Answer<_>>()?;
        Ok(Err(names::unknown(pointer, "actor", id, known.iter().map(|actor| actor.id.as_str()))))
    }

    /// Makes a workspace with the baseline policy set; false, and nothing done, if it is there already.
    #[boxed]
    pub async fn create_workspace(&self, workspace: &WorkspaceId) -> Answer<bool> {
        let now = self.now();
        // Whoever needs it rotates it: what is made here is shown to nobody.
        let (_, tool_secret) = self.new_secret(&keys::settings(workspace)).await?;
        let settings = Settings { tool_secret, created_at: now };
        let policy = PolicyRecord {
            text: policy::BASELINE.to_owned(),
            digest: canonical::digest_bytes(policy::BASELINE.as_bytes()),
            activated_at: now,
            actor_id: "countersign".into(),
            note: Some("the baseline".into()),
        };
        let put = |key, item: Item| Write::Put { key, item, condition: Condition::NotExists };
        let writes = vec![
            put(keys::settings(workspace), bodies::item(1, &settings)?),
            put(keys::policy_active(workspace), bodies::item(1, &ActivePolicy { digest: policy.digest.clone() })?),
            put(keys::policy(workspace, &policy.digest), bodies::item(1, &policy)?),
            put(keys::registry(workspace), bodies::item(1, &())?),
        ];
        let stamp = self.deployment_stamp();
        let event = Event::WorkspaceCreated(WorkspaceCreated {
            key: workspace.to_string(),
            at: now,
            actor_id: stamp.actor.id.clone(),
            policy_digest: policy.digest,
        });
        // Nothing where it is there already.
        self.journal_stamped(workspace, &stamp, vec![event], writes, false).await
    }

    /// Settings of a workspace.
    pub async fn settings(&self, workspace: &WorkspaceId) -> Answer<Settings> {
        let key = keys::settings(workspace);
        let item = self.ports.table.get(&key).await?;
        let item = item.ok_or_else(|| Problem::new(Code::NotFound, "there is no such workspace"))?;
        Ok(bodies::decode(&key, &item.body)?)
    }
}

fn key_changed(key: &ApiKey, by: &Actor, at: Timestamp) -> KeyChanged {
    KeyChanged {
        key: key.id.clone(),
        at,
        actor_id: by.id.clone(),
        holder: key.actor.clone(),
        grants: key.grants.clone(),
        expires_at: key.expires_at,
    }
}

// A key lies under its secret's hash, for who comes with it, and under its id, for listings and for claims.
fn key_writes(hash: &Digest, record: &ApiKey, condition: Condition) -> Answer<Vec<Write>> {
    let revoked = i64::from(record.revoked_at.is_some());
    let mut by_hash = bodies::item(1, record)?;
    let mut by_id = bodies::item(1, &(record, hash))?;
    for item in [&mut by_hash, &mut by_id] {
        item.fields.insert(REVOKED.into(), revoked);
    }
    let id = keys::api_key_of(&record.workspace, &record.id);
    Ok(vec![
        Write::Put { key: keys::api_key(hash), item: by_hash, condition: condition.clone() },
        Write::Put { key: id, item: by_id, condition },
    ])
}

/// Grants of an agent backend: it asks, starts, watches and cancels what it asked for, and no more.
pub fn agent_grants() -> BTreeSet<String> {
    [
        "intent.submit",
        "execution.read",
        "execution.start",
        "execution.cancel",
        "execution.autonomous",
        "approval.request",
        "audit",
    ]
    .iter()
    .map(|grant| format!("{}{grant}", grant::PREFIX))
    .collect()
}

/// Grants of a person who decides and governs: every grant of the contract, so that he may hand any of them on. On what
/// he asks himself, or a key that he made, others decide.
pub fn approver_grants() -> BTreeSet<String> {
    grant::known()
}

/// An actor.
pub fn actor(kind: ActorKind, id: impl Into<String>) -> Actor {
    Actor { kind, id: id.into() }
}
