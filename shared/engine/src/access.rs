//! Who calls: API keys, grants, and workspaces.
//!
//! INVARIANT (identity-from-transport): actor and workspace come from the key, never from a body.

use crate::{
    Answer, Engine, bodies, keys,
    ports::{Condition, Item, NotCommitted, Query, Write},
    records::{ActivePolicy, PolicyRecord, Settings},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Code, Digest, Problem, Timestamp, WorkspaceId,
    event::{Actor, ActorKind},
};
use cs_core::canonical;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The beginning of every key.
const KEY_PREFIX: &str = "csk_";
/// Keys listed of one workspace.
const KEYS_MAX: usize = 1_000;

/// An authenticated caller, and the circumstances of the call.
#[derive(Clone, Debug)]
pub struct Caller {
    pub workspace: WorkspaceId,
    pub actor: Actor,
    pub grants: BTreeSet<String>,
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
        let umbrella = matches!(grant, "control-plane.execution.approve" | "control-plane.execution.reject")
            && self.grants.contains("control-plane.approval");
        if umbrella || self.grants.contains(grant) {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, format!("this needs the grant `{grant}`, which the key does not have")))
    }
}

/// A stored API key: everything but the secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Names the key without telling it.
    pub id: String,
    pub workspace: WorkspaceId,
    pub actor: Actor,
    pub grants: BTreeSet<String>,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// What a new key is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewKey {
    pub actor: Actor,
    pub grants: BTreeSet<String>,
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

fn hash(secret: &str) -> Digest {
    canonical::digest_parts(&[b"countersign/api-key/1", secret.as_bytes()])
}

impl Engine {
    /// The caller behind a key.
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
        if expired || record.revoked_at.is_some() {
            return Err(unknown());
        }
        Ok(Caller {
            workspace: record.workspace,
            actor: record.actor,
            grants: record.grants,
            channel: format!("api_key:{}", record.id),
            traceparent: None,
            idempotency_key: None,
        })
    }

    /// Makes a key. Returns its secret, which is stored nowhere.
    pub async fn create_key(&self, workspace: &WorkspaceId, new: NewKey) -> Answer<(ApiKey, String)> {
        let secret = format!("{KEY_PREFIX}{}", hex::encode(self.ports.ids.secret()));
        let hash = hash(&secret);
        let record = ApiKey {
            id: hash.hex().chars().take(12).collect(),
            workspace: workspace.clone(),
            actor: new.actor,
            grants: new.grants,
            created_at: self.now(),
            expires_at: new.expires_at,
            revoked_at: None,
        };
        self.put_key(&hash, &record, Condition::NotExists).await?;
        Ok((record, secret))
    }

    async fn put_key(&self, hash: &Digest, record: &ApiKey, condition: Condition) -> Answer<()> {
        let mut listed = bodies::item(1, record)?;
        listed.body = bodies::encode(&(record, hash))?;
        let writes = vec![
            Write::Put { key: keys::api_key(hash), item: bodies::item(1, record)?, condition: condition.clone() },
            Write::Put { key: keys::api_key_of(&record.workspace, &record.id), item: listed, condition },
        ];
        self.ports.table.transact(writes).await.map_err(|error| match error {
            NotCommitted::Condition(_) => Problem::new(Code::Conflict, "the key exists or is gone"),
            NotCommitted::Fault(fault) => fault.into(),
        })
    }

    /// The keys of a workspace.
    pub async fn list_keys(&self, workspace: &WorkspaceId) -> Answer<Vec<ApiKey>> {
        let (partition, prefix) = keys::api_keys(workspace);
        let items = self.ports.table.query(&Query::prefix(partition, prefix, KEYS_MAX)).await?;
        let mut found = Vec::with_capacity(items.len());
        for (key, item) in items {
            let (record, _): (ApiKey, Digest) = bodies::decode(&key, &item.body)?;
            found.push(record);
        }
        Ok(found)
    }

    /// Revokes a key by its id.
    pub async fn revoke_key(&self, workspace: &WorkspaceId, id: &str) -> Answer<ApiKey> {
        let key = keys::api_key_of(workspace, id);
        let missing = || Problem::new(Code::NotFound, format!("there is no key `{id}` in this workspace"));
        let item = self.ports.table.get(&key).await?.ok_or_else(missing)?;
        let (mut record, hash): (ApiKey, Digest) = bodies::decode(&key, &item.body)?;
        record.revoked_at = record.revoked_at.or(Some(self.now()));
        self.put_key(&hash, &record, Condition::Exists).await?;
        Ok(record)
    }

    /// Makes a workspace with the baseline policy set; nothing if it is there already.
    pub async fn create_workspace(&self, workspace: &WorkspaceId) -> Answer<()> {
        let now = self.now();
        let secret = format!("whsec_{}", B64.encode(self.ports.ids.secret()));
        let settings = Settings { webhook_secret: secret, created_at: now };
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
        match self.ports.table.transact(writes).await {
            Ok(()) | Err(NotCommitted::Condition(_)) => Ok(()),
            Err(NotCommitted::Fault(fault)) => Err(fault.into()),
        }
    }

    /// Settings of a workspace.
    pub async fn settings(&self, workspace: &WorkspaceId) -> Answer<Settings> {
        let key = keys::settings(workspace);
        let item = self.ports.table.get(&key).await?;
        let item = item.ok_or_else(|| Problem::new(Code::NotFound, "there is no such workspace"))?;
        Ok(bodies::decode(&key, &item.body)?)
    }
}

/// Grants of an agent backend.
pub fn agent_grants() -> BTreeSet<String> {
    [
        "intent.submit",
        "plan.compile",
        "audit",
        "execution.start",
        "execution.cancel",
        "execution.pause",
        "execution.resume",
        "execution.retry",
        "execution.abort",
        "execution.resolve",
        "execution.read",
        "execution.autonomous",
        "approval.request",
        "skill-registry",
    ]
    .iter()
    .map(|grant| format!("control-plane.{grant}"))
    .collect()
}

/// Grants of a person who approves and governs: what an agent may be trusted with is not an agent's to say.
pub fn approver_grants() -> BTreeSet<String> {
    [
        "approval",
        "audit",
        "execution.read",
        "execution.cancel",
        "execution.pause",
        "execution.resume",
        "execution.resolve",
        "skill-registry",
        "trust",
        "policy.activate",
        "budget",
        "freeze",
        "keys",
    ]
    .iter()
    .map(|grant| format!("control-plane.{grant}"))
    .collect()
}

/// An actor.
pub fn actor(kind: ActorKind, id: impl Into<String>) -> Actor {
    Actor { kind, id: id.into() }
}
