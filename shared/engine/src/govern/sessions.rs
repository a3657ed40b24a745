//! Sessions of people at the console.
//!
//! A session is a random token in a cookie; its hash is the record. Whose it is, is read anew at
//! each request: of an API key, so that a revoked key ends its sessions at once; or of a person
//! whom the identity provider named, so that who is removed, or known by another identity, is out.
//! INVARIANT (identity-from-transport): the record names the key or the provider's identity, and
//! that the person. INVARIANT (authority-is-on-record): who came in stands in the workspace log.

use crate::{Access, Answer, Base, Caller, Parts, boxed};
use contracts::{
    Code, Digest, Problem, Timestamp, WorkspaceId,
    access::{ApiKey, KeyMaker},
    directory::OidcIdentity,
    event::{ActorKind, SessionRefused, SessionStarted, SignInMethod, WorkspaceEvent},
    limits::{NAME_BYTES_MAX, PAGE_ITEMS_MAX, SESSION_CODE_LIFE_MS, SESSION_LIFE_MS},
};
use countersign_store::{Change, Condition, Key, PortError, Query, Write, keys};
use cs_core::{
    canonical,
    directory::{Directory, Identity},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// How the tokens of sessions begin.
const TOKEN_PREFIX: &str = "css_";
/// Digits of what names a session.
const SESSION_NAME_CHARS: usize = 12;
/// How the channel of who signed in by the identity provider begins.
pub(crate) const PROVIDER_CHANNEL: &str = "oidc:";
/// How codes begin.
const CODE_PREFIX: &str = "csc_";

/// Sessions of people.
pub struct Sessions {
    base: Arc<Base>,
    access: Arc<Access>,
}

/// What a person shows to sign in.
pub enum Credential {
    /// An API key of the person.
    Key(String),
    /// A code that was given out for one sign-in.
    Code(String),
}

/// A session: whose, and until when.
pub struct Session {
    pub caller: Caller,
    pub ends_at: Timestamp,
}

/// A new session. The token is kept nowhere.
pub struct SessionOpened {
    pub token: String,
    pub life_seconds: i64,
}

/// A new session before it is written.
pub(crate) struct NewSession {
    pub(crate) opened: SessionOpened,
    pub(crate) ends_at: Timestamp,
    /// Names it in the log without opening it.
    pub(crate) name: String,
    pub(crate) write: Write,
}

/// The record of a session, or of a code.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionRecord {
    holder: Holder,
    ends_at: Timestamp,
}

/// Whose it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Holder {
    /// Of the person of an API key.
    Key(String),
    /// Of whom the identity provider named.
    Person(ProviderSession),
}

/// A person whom the identity provider named.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProviderSession {
    pub(crate) person: String,
    /// When the person was added: another one under the same id later is another person.
    pub(crate) since: Timestamp,
    pub(crate) oidc: OidcIdentity,
    /// The person's keys at that time: while they live, the session has their grants.
    pub(crate) keys: Vec<String>,
}

/// What every person of the directory may do who signs in by the provider: what an approval link
/// lets them do, of any execution.
pub(crate) const PERSON_GRANTS: [&str; 3] = [
    "control-plane.execution.read",
    "control-plane.execution.approve",
    "control-plane.execution.reject",
];

/// A secret and the workspace that it is looked up in, as `<prefix><64 hexadecimal
/// digits>.<workspace>`.
struct Named {
    workspace: WorkspaceId,
    hash: Digest,
}

impl Named {
    fn parse(prefix: &str, text: &str) -> Option<Self> {
        let (secret, workspace) = text.strip_prefix(prefix)?.split_once('.')?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if secret.len() != 64 || !secret.bytes().all(is_hex) {
            return None;
        }
        Some(Self { workspace: workspace.parse().ok()?, hash: hash(prefix, text) })
    }
}

// Looked up by its hash: no comparison of secrets, so none whose time tells anything.
fn hash(prefix: &str, text: &str) -> Digest {
    canonical::digest_parts(&[b"countersign/session/1", prefix.as_bytes(), text.as_bytes()])
}

// Names a session without opening it.
fn named(hash: &Digest) -> String {
    hash.hex().chars().take(SESSION_NAME_CHARS).collect()
}

pub(crate) fn refuse(why: &str) -> Problem {
    Problem::new(Code::Unauthenticated, why)
}

fn is_ended() -> Problem {
    refuse("the session is unknown or has ended; sign in again")
}

impl Sessions {
    pub(crate) fn new(parts: &Parts, access: Arc<Access>) -> Self {
        Self { base: parts.base.clone(), access }
    }

    /// Signs a person in: a new session, whatever the browser brought. Machines have none.
    #[boxed]
    pub async fn open(&self, credential: Credential) -> Answer<SessionOpened> {
        let ((caller, used), method) = match credential {
            Credential::Key(secret) => {
                ((self.access.authenticate(Some(&secret)).await?, None), SignInMethod::ApiKey)
            }
            Credential::Code(code) => (self.caller_of_code(&code).await?, SignInMethod::Code),
        };
        let person = caller.actor.kind == ActorKind::Human;
        let Some(key_id) = caller.key_id.clone().filter(|_| person) else {
            return self.refuse_machine(&caller, method).await;
        };
        let new = self.new_session(&caller.workspace, Holder::Key(key_id.clone()))?;
        let NewSession { opened, ends_at, name, write } = new;
        let started = SessionStarted {
            key: name,
            at: self.base.now(),
            actor_id: caller.actor.id.clone(),
            method,
            expires_at: ends_at,
            key_id: Some(key_id),
            oidc: None,
            groups: Vec::new(),
        };
        let mut writes = vec![write];
        writes.extend(used);
        let change = Change::new(opened, WorkspaceEvent::SessionStarted(started), writes);
        let author = caller.author(self.base.now());
        let opened = self.base.store.try_change(&author, change, None).await?;
        opened.ok_or_else(|| refuse("the code was used meanwhile; ask for another"))
    }

    async fn refuse_machine(&self, caller: &Caller, method: SignInMethod) -> Answer<SessionOpened> {
        let message = "the console is for people: this key is not of kind `human`";
        let refused = SessionRefused {
            key: "console".into(),
            at: self.base.now(),
            actor_id: caller.actor.id.clone(),
            method,
            key_id: caller.key_id.clone(),
            oidc: None,
            reason: message.into(),
            unrecorded: None,
        };
        let event = |unrecorded| {
            WorkspaceEvent::SessionRefused(SessionRefused { unrecorded, ..refused.clone() })
        };
        self.base.record_refusal(&caller.author(self.base.now()), event).await?;
        Err(Problem::new(Code::Forbidden, message))
    }

    /// A new session, and what writes it.
    pub(crate) fn new_session(
        &self,
        workspace: &WorkspaceId,
        holder: Holder,
    ) -> Result<NewSession, PortError> {
        let (token, ends_at) = self.fresh(TOKEN_PREFIX, workspace, SESSION_LIFE_MS);
        let hash = hash(TOKEN_PREFIX, &token);
        let write = self.put(keys::session(workspace, &hash), SessionRecord { holder, ends_at })?;
        let opened = SessionOpened { token, life_seconds: SESSION_LIFE_MS / 1_000 };
        Ok(NewSession { opened, ends_at, name: named(&hash), write })
    }

    /// The session of a token.
    #[boxed]
    pub async fn find(&self, token: &str) -> Answer<Session> {
        let named = Named::parse(TOKEN_PREFIX, token).ok_or_else(is_ended)?;
        let record = self.live(&keys::session(&named.workspace, &named.hash)).await?;
        let SessionRecord { holder, ends_at } = record.ok_or_else(is_ended)?;
        let caller = match &holder {
            Holder::Key(key_id) => self.caller_of_key(&named.workspace, key_id, "console").await?,
            Holder::Person(session) => self.caller_of_person(&named, session).await?,
        };
        // The kind of a key never changes; a session of a machine is none all the same.
        let caller = caller.filter(|caller| caller.actor.kind == ActorKind::Human);
        Ok(Session { caller: caller.ok_or_else(is_ended)?, ends_at })
    }

    // None: the person was removed, or is known by another identity now.
    async fn caller_of_person(
        &self,
        session: &Named,
        of: &ProviderSession,
    ) -> Answer<Option<Caller>> {
        let workspace = &session.workspace;
        let directory = self.access.in_force.directory(workspace).await?;
        let known = directory.person_of_oidc(&of.oidc.issuer, &of.oidc.subject);
        let same = directory.added_at(&of.person) == Some(of.since);
        if !same || known.is_none_or(|person| person.id != of.person) {
            return Ok(None);
        }
        let mut grants: BTreeSet<String> = PERSON_GRANTS.map(str::to_owned).into();
        for id in &of.keys {
            let live = self.caller_of_key(workspace, id, "console").await?;
            let own = live.filter(|caller| caller.actor.id == of.person);
            grants.extend(own.into_iter().flat_map(|caller| caller.grants));
        }
        Ok(Some(Caller {
            workspace: workspace.clone(),
            actor: crate::actor(ActorKind::Human, &of.person),
            grants,
            only: None,
            key_id: None,
            // INVARIANT (never-ones-own): whoever could have signed in as the person.
            key_made_by: identity_maker(&directory, &of.person, Identity::Oidc),
            channel: format!("{PROVIDER_CHANNEL}{}", named(&session.hash)),
            second_factor: None,
            traceparent: None,
            idempotency_key: None,
        }))
    }

    /// Ends a session. One that is not there has ended.
    #[boxed]
    pub async fn close(&self, token: &str) -> Answer<()> {
        let Some(named) = Named::parse(TOKEN_PREFIX, token) else { return Ok(()) };
        let key = keys::session(&named.workspace, &named.hash);
        self.base.store.write(vec![Write::Delete { key, condition: Condition::Any }]).await?;
        Ok(())
    }

    /// A code that opens one session of the person whose key the deployment made last, on the
    /// deployment's own authority; none where there is no such key.
    #[boxed]
    pub async fn deploy_code(&self, workspace: &WorkspaceId) -> Answer<Option<String>> {
        let Some(key_id) = self.deployed_person(workspace).await? else { return Ok(None) };
        let (code, ends_at) = self.fresh(CODE_PREFIX, workspace, SESSION_CODE_LIFE_MS);
        let key = keys::session_code(workspace, &hash(CODE_PREFIX, &code));
        let write = self.put(key, SessionRecord { holder: Holder::Key(key_id), ends_at })?;
        self.base.store.write(vec![write]).await?;
        Ok(Some(code))
    }

    async fn deployed_person(&self, workspace: &WorkspaceId) -> Answer<Option<String>> {
        let (partition, prefix) = keys::api_keys(workspace);
        let mut next = Some(Query::prefix(partition, prefix, PAGE_ITEMS_MAX));
        let mut newest: Option<ApiKey> = None;
        while let Some(query) = next {
            let items = self.base.store.query(&query).await?;
            for (key, item) in &items {
                let (record, _): (ApiKey, Digest) = countersign_store::decode(key, &item.body)?;
                let person = record.actor.kind == ActorKind::Human && record.made_by.is_none();
                let live = self.access.caller_of(record.clone(), item, String::new());
                let live = live.await?.is_some();
                let newer = newest.as_ref().is_none_or(|old| old.created_at < record.created_at);
                if person && live && newer {
                    newest = Some(record);
                }
            }
            next = query.behind(&items);
        }
        Ok(newest.map(|record| record.id))
    }

    // Who may use a code, and the write that uses it up: it commits once.
    async fn caller_of_code(&self, code: &str) -> Answer<(Caller, Option<Write>)> {
        let unknown = || refuse("the code is unknown, used or expired; ask for another");
        let named = Named::parse(CODE_PREFIX, code).ok_or_else(unknown)?;
        let key = keys::session_code(&named.workspace, &named.hash);
        let Holder::Key(id) = self.live(&key).await?.ok_or_else(unknown)?.holder else {
            return Err(unknown());
        };
        let caller = self.caller_of_key(&named.workspace, &id, "console").await?;
        let used = Write::Delete { key, condition: Condition::Exists };
        Ok((caller.ok_or_else(unknown)?, Some(used)))
    }

    async fn caller_of_key(
        &self,
        workspace: &WorkspaceId,
        id: &str,
        channel: &str,
    ) -> Answer<Option<Caller>> {
        if id.len() > NAME_BYTES_MAX {
            return Ok(None);
        }
        let key = keys::api_key_of(workspace, id);
        let Some(item) = self.base.store.get(&key).await? else { return Ok(None) };
        let (record, _): (ApiKey, Digest) = countersign_store::decode(&key, &item.body)?;
        let channel = format!("{channel}:{}", record.id);
        self.access.caller_of(record, &item, channel).await
    }

    async fn live(&self, key: &Key) -> Answer<Option<SessionRecord>> {
        let Some(item) = self.base.store.get(key).await? else { return Ok(None) };
        let record: SessionRecord = countersign_store::decode(key, &item.body)?;
        Ok(Some(record).filter(|record| record.ends_at > self.base.now()))
    }

    fn fresh(&self, prefix: &str, workspace: &WorkspaceId, life_ms: i64) -> (String, Timestamp) {
        let secret = hex::encode(self.base.ports.ids.secret());
        (format!("{prefix}{secret}.{workspace}"), self.base.now().plus_ms(life_ms))
    }

    fn put(&self, key: Key, record: SessionRecord) -> Result<Write, PortError> {
        let mut item = countersign_store::item(1, &record)?;
        item.expires_at = Some(record.ends_at.ms() / 1_000);
        Ok(Write::Put { key, item, condition: Condition::NotExists })
    }
}

/// Who said that a person is known by what they came by, as what they are: who could have made it
/// an own one.
pub(crate) fn identity_maker(
    directory: &Directory,
    person: &str,
    identity: Identity<'_>,
) -> Option<KeyMaker> {
    directory.maker_of_identity(person, identity).map(|by| KeyMaker {
        actor: crate::actor(ActorKind::Human, by),
        key_id: None,
        above: BTreeSet::new(),
    })
}
