//! Who calls: API keys, grants, and workspaces.
//!
//! INVARIANT (identity-from-transport): actor and workspace come from the key, never from a body.

use crate::{
    Answer, Base, Caller, InForce, Names, Parts, Vault, boxed,
    govern::skills::page,
    records::{ActivePolicy, PolicyRecord, Settings},
};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    access::{ApiKey, CreateKey, KeyCreated, KeyList, KeyMaker, ListKeys, RevokeKey},
    event::{Actor, ActorKind, KeyChanged, WorkspaceCreated, WorkspaceEvent},
    grant,
    limits::{
        KEY_GRANTS_MAX, KEY_MAKERS_MAX, NAME_BYTES_MAX, SUGGESTION_CANDIDATES_MAX, SUGGESTIONS_MAX,
    },
    names,
};
use countersign_store::{
    Author, Change, Condition, Item, Key, PortError, Query, Write, keys, system,
};
use cs_core::{canonical, trace::Stamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The beginning of every key.
const KEY_PREFIX: &str = "csk_";
/// Field of a stored key: 1 once it is revoked. Claims check it.
pub(crate) const REVOKED: &str = "revoked";
const GRANT_KEYS: &str = "control-plane.keys";

/// What a new key is to be, made canonical.
struct NewKey {
    actor: Actor,
    grants: BTreeSet<String>,
    made_by: Option<KeyMaker>,
    expires_at: Option<Timestamp>,
    person_since: Option<Timestamp>,
}

fn hash(secret: &str) -> Digest {
    canonical::digest_parts(&[b"countersign/api-key/1", secret.as_bytes()])
}

/// Who calls: keys, deciders, workspaces, the secret of tool calls.
pub struct Access {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) names: Arc<Names>,
    pub(crate) vault: Arc<Vault>,
}

impl Access {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            names: parts.names.clone(),
            vault: parts.vault.clone(),
        }
    }

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
        let item = self.base.store.get(&key).await?.ok_or_else(unknown)?;
        let record: ApiKey = countersign_store::decode(&key, &item.body)?;
        let channel = format!("api_key:{}", record.id);
        self.caller_of(record, &item, channel).await?.ok_or_else(unknown)
    }

    // Who comes with a key, as its record is now; none where it was revoked or has expired, or its
    // person was removed.
    pub(crate) async fn caller_of(
        &self,
        record: ApiKey,
        item: &Item,
        channel: String,
    ) -> Answer<Option<Caller>> {
        let expired = record.expires_at.is_some_and(|at| at <= self.base.now());
        let revoked = item.fields.get(REVOKED).is_none_or(|revoked| *revoked != 0);
        let ended = expired || revoked || record.revoked_at.is_some();
        if ended || self.in_force.person_gone(&record).await? {
            return Ok(None);
        }
        Ok(Some(Caller {
            workspace: record.workspace,
            actor: record.actor,
            grants: record.grants,
            only: None,
            channel,
            key_id: Some(record.id),
            key_made_by: record.made_by,
            second_factor: None,
            traceparent: None,
            idempotency_key: None,
        }))
    }

    /// controlPlane.key.create: a key, for somebody, that may do no more than its maker.
    #[boxed]
    pub async fn create_key(&self, caller: &Caller, request: CreateKey) -> Answer<KeyCreated> {
        caller.require(GRANT_KEYS)?;
        let author = caller.author(self.base.now());
        // Made before: it is shown, and kept nowhere, whichever try commits.
        let secret = format!("{KEY_PREFIX}{}", hex::encode(self.base.ports.ids.secret()));
        let created = self.base.store.change(&author, ("key.create", &request), || {
            Box::pin(async {
                let new = self.check_key(caller, &request).await?;
                let (key, writes) = self.new_key(&caller.workspace, new, &secret)?;
                let event =
                    WorkspaceEvent::KeyCreated(key_changed(&key, &caller.actor, self.base.now()));
                Ok(Change::new(KeyCreated { key, api_key: None }, event, writes))
            })
        });
        let created = created.await?;
        Ok(created.once(|answer| KeyCreated { api_key: Some(secret.clone()), ..answer }))
    }

    // Nobody hands on what he does not have, makes a person out of a machine, or grants what does
    // not exist.
    async fn check_key(&self, caller: &Caller, request: &CreateKey) -> Answer<NewKey> {
        let invalid =
            |issues| Problem::new(Code::ValidationFailed, "the key is not valid").issues(issues);
        let (actor, person_since) = self.holder(caller, request).await?;
        let mut known = grant::known();
        if request.grants.iter().any(|grant| !known.contains(grant)) {
            // What an installed operation asks of its requester's key is a grant, too.
            let snapshot = self.in_force.snapshot(&caller.workspace).await?;
            let skills = snapshot.registry.skills();
            let operations = skills.flat_map(|skill| skill.operations().values());
            known.extend(
                operations.flat_map(|operation| operation.spec.required_grants.iter().cloned()),
            );
        }
        let mut issues = Vec::new();
        if request.grants.len() > KEY_GRANTS_MAX {
            issues.push(Issue::new("/grants", format!("at most {KEY_GRANTS_MAX} grants")));
        }
        for (index, grant) in request.grants.iter().take(KEY_GRANTS_MAX).enumerate() {
            if grant.is_empty() || !known.contains(grant) {
                let pointer = format!("/grants/{index}");
                issues.push(names::unknown(
                    &pointer,
                    "grant",
                    grant,
                    known.iter().map(String::as_str),
                ));
            }
            if issues.len() >= SUGGESTIONS_MAX as usize {
                break;
            }
        }
        if request.expires_at.is_some_and(|at| at <= self.base.now()) {
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
        // What only a skill asks for is handed out by people; whoever may make keys says who has
        // it.
        let held = |grant: &str| {
            grant::covers_whole(&caller.grants, grant) || (!machine && !contract(grant))
        };
        let beyond: Vec<Issue> = request
            .grants
            .iter()
            .enumerate()
            .filter(|(_, grant)| !held(grant))
            .map(|(index, grant)| {
                Issue::new(format!("/grants/{index}"), format!("your key does not have `{grant}`"))
            })
            .collect();
        if !beyond.is_empty() {
            let message = "a key may do no more than the one that makes it";
            return Err(Problem::new(Code::Forbidden, message).issues(beyond));
        }
        let above =
            caller.key_made_by.iter().flat_map(KeyMaker::ids).cloned().collect::<BTreeSet<_>>();
        if above.len() >= KEY_MAKERS_MAX {
            let message =
                format!("a key is at most {KEY_MAKERS_MAX} makers away from the deployment's");
            return Err(Problem::new(Code::Forbidden, message));
        }
        let made_by =
            KeyMaker { actor: caller.actor.clone(), key_id: caller.key_id.clone(), above };
        let (grants, expires_at) = (request.grants.clone(), request.expires_at);
        Ok(NewKey { actor, grants, made_by: Some(made_by), expires_at, person_since })
    }

    // What a machine that makes keys would win beyond its grants: a person's voice, a decider's
    // name, the sight of everybody's executions, or more time than it has.
    async fn check_machine(
        &self,
        caller: &Caller,
        actor: &Actor,
        expires_at: Option<Timestamp>,
    ) -> Answer<()> {
        let refuse = |pointer: &str, message: &str| {
            Err(Problem::new(Code::Forbidden, message).issue(Issue::new(pointer, message)))
        };
        if actor.kind == ActorKind::Human {
            return refuse(
                "/actor/kind",
                "a key of kind `human` is made by a person: no machine makes people",
            );
        }
        if actor.kind == ActorKind::Service {
            if caller.own_only() {
                let message =
                    "a service sees everybody's executions: its key is made by who does, too";
                return refuse("/actor/kind", message);
            }
            if self.in_force.decides(&caller.workspace, &actor.id).await? {
                return refuse("/actor/id", "a key of a service that decides is made by a person");
            }
        }
        let own = self.in_force.requester_key(&caller.workspace, caller.key_id.as_deref()).await?;
        match own.expires_at() {
            Some(end) if expires_at.is_none_or(|at| at > end) => refuse(
                "/expiresAt",
                "a machine's key makes none that outlives it: say when it ends, and no later",
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a key on the deployment's own authority. Returns its secret, which is stored nowhere.
    #[boxed]
    pub async fn deploy_key(
        &self,
        workspace: &WorkspaceId,
        request: CreateKey,
    ) -> Answer<(ApiKey, String)> {
        let actor = request.actor.as_ref().map(cs_core::actor::canonical).transpose();
        let actor =
            actor.map_err(|error| Problem::new(Code::ValidationFailed, error.to_string()))?;
        let whose = || Problem::new(Code::ValidationFailed, "the deployment's keys name an actor");
        let new = NewKey {
            actor: actor.filter(|_| request.person.is_none()).ok_or_else(whose)?,
            grants: request.grants,
            made_by: None,
            expires_at: request.expires_at,
            person_since: None,
        };
        let secret = format!("{KEY_PREFIX}{}", hex::encode(self.base.ports.ids.secret()));
        let (record, writes) = self.new_key(workspace, new, &secret)?;
        let author = self.base.deployment(workspace);
        let event =
            WorkspaceEvent::KeyCreated(key_changed(&record, &author.stamp.actor, self.base.now()));
        let change = Change::new((record, secret), event, writes);
        let made = self.base.store.try_change(&author, change, None).await?;
        made.ok_or_else(countersign_store::busy)
    }

    fn new_key(
        &self,
        workspace: &WorkspaceId,
        new: NewKey,
        secret: &str,
    ) -> Answer<(ApiKey, Vec<Write>)> {
        let hash = hash(secret);
        let record = ApiKey {
            id: hash.hex().chars().take(12).collect(),
            workspace: workspace.clone(),
            actor: new.actor,
            grants: new.grants,
            created_at: self.base.now(),
            made_by: new.made_by,
            expires_at: new.expires_at,
            revoked_at: None,
            person_since: new.person_since,
        };
        let mut writes = key_writes(&hash, &record, Condition::NotExists)?;
        let known = countersign_store::item(1, &record.actor)?;
        writes.push(Write::Put {
            key: keys::actor(workspace, &record.actor.id),
            item: known,
            condition: Condition::Any,
        });
        Ok((record, writes))
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
                let problem = Problem::new(
                    Code::ValidationFailed,
                    "the cursor is not one that was given out",
                );
                return Err(problem.issue(Issue::new("/cursor", "take `next` as it was given")));
            }
            query.from = format!("{cursor}\u{1}");
        }
        let mut found = self.base.store.query(&query).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(key, _)| key.sort.clone());
        let read = |(key, item): &(Key, Item)| {
            Ok(countersign_store::decode::<(ApiKey, Digest)>(key, &item.body)?.0)
        };
        Ok(KeyList { items: found.iter().map(read).collect::<Answer<_>>()?, next })
    }

    /// Whether a workspace has any key.
    #[boxed]
    pub async fn has_keys(&self, workspace: &WorkspaceId) -> Result<bool, PortError> {
        let (partition, prefix) = keys::api_keys(workspace);
        Ok(!self.base.store.query(&Query::prefix(partition, prefix, 1)).await?.is_empty())
    }

    /// controlPlane.key.revoke: a kill switch. It contends with nothing: a revoked key is never
    /// another again.
    #[boxed]
    pub async fn revoke_key(&self, caller: &Caller, request: RevokeKey) -> Answer<ApiKey> {
        caller.require(GRANT_KEYS)?;
        let author = caller.author(self.base.now());
        let revoked = self.base.store.change(&author, ("key.revoke", &request), || {
            Box::pin(async {
                let (mut record, hash) = self.named_key(&caller.workspace, &request.key_id).await?;
                if record.revoked_at.is_some() {
                    return Ok(Change::none(record));
                }
                record.revoked_at = Some(self.base.now());
                let event = WorkspaceEvent::KeyRevoked(key_changed(
                    &record,
                    &caller.actor,
                    self.base.now(),
                ));
                let writes = key_writes(&hash, &record, Condition::Exists)?;
                Ok(Change::new(record, event, writes))
            })
        });
        Ok(revoked.await?.answer())
    }

    async fn named_key(&self, workspace: &WorkspaceId, id: &str) -> Answer<(ApiKey, Digest)> {
        let key = keys::api_key_of(workspace, id);
        let stored =
            if id.len() <= NAME_BYTES_MAX { self.base.store.get(&key).await? } else { None };
        if let Some(item) = stored {
            return Ok(countersign_store::decode(&key, &item.body)?);
        }
        let (partition, prefix) = keys::api_keys(workspace);
        let query = Query::prefix(partition, prefix, SUGGESTION_CANDIDATES_MAX);
        let known = self.base.store.query(&query).await?;
        let ids = known.iter().map(|(key, _)| key.sort.trim_start_matches(prefix));
        let issue = names::unknown("/keyId", "key", id, ids);
        Err(Problem::new(Code::NotFound, "there is no such key in this workspace").issue(issue))
    }

    /// Makes a workspace with the baseline policy set; false, and nothing done, if it is there
    /// already.
    #[boxed]
    pub async fn create_workspace(&self, workspace: &WorkspaceId) -> Answer<bool> {
        let now = self.base.now();
        // Whoever needs it rotates it: what is made here is shown to nobody.
        let (_, tool_secret) = self.vault.new_secret(&keys::settings(workspace)).await?;
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
            put(keys::settings(workspace), countersign_store::item(1, &settings)?),
            put(
                keys::policy_active(workspace),
                countersign_store::item(1, &ActivePolicy { digest: policy.digest.clone() })?,
            ),
            put(keys::policy(workspace, &policy.digest), countersign_store::item(1, &policy)?),
            put(keys::registry(workspace), countersign_store::item(1, &())?),
        ];
        let author = self.base.deployment(workspace);
        let event = WorkspaceEvent::WorkspaceCreated(WorkspaceCreated {
            key: workspace.to_string(),
            at: now,
            actor_id: author.stamp.actor.id.clone(),
            policy_digest: policy.digest,
        });
        // Nothing where it is there already.
        let change = Change::new((), event, writes);
        Ok(self.base.store.try_change(&author, change, None).await?.is_some())
    }
}

impl Base {
    /// The deployment itself, as who changes something.
    pub(crate) fn deployment(&self, workspace: &WorkspaceId) -> Author {
        let channel = Some("deployment".into());
        let stamp = Stamp { channel, ..Stamp::new(self.now(), system(), None) };
        Author { workspace: workspace.clone(), stamp, idempotency_key: None }
    }
}

impl InForce {
    /// Settings of a workspace.
    pub async fn settings(&self, workspace: &WorkspaceId) -> Answer<Settings> {
        let key = keys::settings(workspace);
        let item = self.base.store.get(&key).await?;
        let item =
            item.ok_or_else(|| Problem::new(Code::NotFound, "there is no such workspace"))?;
        Ok(countersign_store::decode(&key, &item.body)?)
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

// A key lies under its secret's hash, for who comes with it, and under its id, for listings and for
// claims.
fn key_writes(hash: &Digest, record: &ApiKey, condition: Condition) -> Answer<Vec<Write>> {
    let revoked = i64::from(record.revoked_at.is_some());
    let mut by_hash = countersign_store::item(1, record)?;
    let mut by_id = countersign_store::item(1, &(record, hash))?;
    for item in [&mut by_hash, &mut by_id] {
        item.fields.insert(REVOKED.into(), revoked);
    }
    let id = keys::api_key_of(&record.workspace, &record.id);
    Ok(vec![
        Write::Put { key: keys::api_key(hash), item: by_hash, condition: condition.clone() },
        Write::Put { key: id, item: by_id, condition },
    ])
}
