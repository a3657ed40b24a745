//! What is kept in memory: plans by digest, skills by registry version, policies by digest. All
//! immutable, so that a stale entry is merely unused.

use crate::{
    Answer, Base,
    govern::skills::DISABLED,
    records::{ActivePolicy, PolicyRecord},
};
use contracts::{Code, Digest, Problem, Timestamp, WorkspaceId};
use countersign_store::{PortError, keys};
use cs_core::{
    skill::{Registry, Skill},
    trust,
};
use policy::{CompiledPolicySet, RiskPhrases};
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// So far a clock goes back without anything being looked at again, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 1_000;
/// Snapshots and policy sets kept.
const SETS_MAX: usize = 64;

/// The skills of a workspace at one version of its registry.
pub struct Snapshot {
    pub version: u64,
    /// What new plans may use.
    pub registry: Registry,
    /// Every installed version, for plans that pinned it.
    all: HashMap<(String, String), Installed>,
    /// When it was looked at, and when the first of the signatures begins or ends to hold after
    /// that.
    since: Timestamp,
    until: Option<Timestamp>,
}

/// An installed skill, and what speaks against its use.
#[derive(Clone, Debug)]
pub struct Installed {
    pub skill: Arc<Skill>,
    pub against: Option<String>,
}

impl Snapshot {
    /// A skill by key and version.
    pub fn skill(&self, key: &str, version: &str) -> Option<&Installed> {
        self.all.get(&(key.to_owned(), version.to_owned()))
    }
    /// What policies may name: what new plans may use, and the skills of which no version may be
    /// used just now.
    pub fn nameable(&self) -> Registry {
        let usable: BTreeSet<&str> =
            self.registry.skills().map(|skill| skill.manifest().skill.key.as_str()).collect();
        let others = self.all.values().map(|installed| &installed.skill);
        let others = others.filter(|skill| !usable.contains(skill.manifest().skill.key.as_str()));
        Registry::new(self.registry.skills().chain(others).cloned())
    }
    /// All skills that were ever installed, usable or not.
    pub fn whole(&self) -> Registry {
        Registry::new(self.all.values().map(|installed| installed.skill.clone()))
    }
}

/// A bounded map that forgets everything when full: the entries are cheap to make again.
struct Bounded<K, V>(Mutex<HashMap<K, V>>, usize);

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
    fn put(&self, key: K, value: V) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= self.1 {
            map.clear();
        }
        map.insert(key, value);
    }
}

pub(crate) struct Caches {
    snapshots: Bounded<WorkspaceId, Arc<Snapshot>>,
    authorities: Bounded<(WorkspaceId, Digest, u64), Arc<CompiledPolicySet>>,
    phrases: Bounded<(WorkspaceId, u64), Arc<RiskPhrases>>,
    /// Those of the contract, for all workspaces that set none.
    default_phrases: OnceLock<Arc<RiskPhrases>>,
}

impl Caches {
    /// Phrases of a workspace at a version; 0: the contract's.
    pub(crate) fn phrases(
        &self,
        workspace: &WorkspaceId,
        version: u64,
    ) -> Option<Arc<RiskPhrases>> {
        match version {
            0 => self.default_phrases.get().cloned(),
            _ => self.phrases.get(&(workspace.clone(), version)),
        }
    }

    /// Keeps them.
    pub(crate) fn keep_phrases(
        &self,
        workspace: &WorkspaceId,
        version: u64,
        phrases: Arc<RiskPhrases>,
    ) -> Arc<RiskPhrases> {
        if version == 0 {
            return self.default_phrases.get_or_init(|| phrases).clone();
        }
        self.phrases.put((workspace.clone(), version), phrases.clone());
        phrases
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            snapshots: Bounded(Mutex::default(), SETS_MAX),
            authorities: Bounded(Mutex::default(), SETS_MAX),
            phrases: Bounded(Mutex::default(), SETS_MAX),
            default_phrases: OnceLock::new(),
        }
    }
}

/// What is in force in a workspace: skills, policies, freezes, budgets, trust, deciders, keys.
pub struct InForce {
    pub(crate) base: Arc<Base>,
    pub(crate) caches: Caches,
}

impl InForce {
    /// The workspace's skills as of now.
    pub async fn snapshot(&self, workspace: &WorkspaceId) -> Result<Arc<Snapshot>, PortError> {
        let version =
            self.base.store.get(&keys::registry(workspace)).await?.map_or(0, |item| item.version);
        let now = self.base.now();
        // A clock that went back makes valid again what had ended.
        let timely = |snapshot: &Snapshot| {
            now.plus_ms(CLOCKS_DIFFER_MS) >= snapshot.since
                && snapshot.until.is_none_or(|until| now < until)
        };
        let fresh = |snapshot: &Arc<Snapshot>| snapshot.version == version && timely(snapshot);
        if let Some(snapshot) = self.caches.snapshots.get(workspace).filter(fresh) {
            return Ok(snapshot);
        }
        let trust = self.trust_policy(workspace).await?.value;
        let switches = self.switches(workspace).await?.value;
        let mut all = HashMap::new();
        let mut until: Option<Timestamp> = None;
        for stored in self.stored_skills(workspace).await? {
            let (manifest, key) = (stored.manifest()?, &stored.key);
            // INVARIANT (fail-closed): signature, trust and validity are looked at again, not
            // remembered.
            let switch = switches.get(&manifest.skill.key);
            let against = match stored.state() {
                _ if switch.is_some() => {
                    switch.map(|switch| format!("{} disabled it at {}", switch.actor_id, switch.at))
                }
                0 => trust::examine(&stored.envelope, &trust, now)
                    .issues
                    .into_iter()
                    .next()
                    .map(|(_, i)| i.message),
                DISABLED => Some("it is disabled".to_owned()),
                _ => Some("it is trusted no longer".to_owned()),
            };
            // What is not valid yet will be: each moment at which an answer changes ends what is
            // remembered.
            let moments = manifest
                .signature
                .iter()
                .flat_map(|signature| [signature.issued_at, signature.expires_at]);
            until = until.into_iter().chain(moments.filter(|at| *at > now)).min();
            let skill = Skill::new(manifest)
                .map_err(|(code, _)| PortError::Corrupt(format!("{}: {code}", key.sort)))?;
            let name = skill.manifest().skill.clone();
            all.insert((name.key, name.version), Installed { skill: Arc::new(skill), against });
        }
        let usable = all.values().filter(|installed| installed.against.is_none());
        let registry = Registry::new(usable.map(|installed| installed.skill.clone()));
        let snapshot = Arc::new(Snapshot { version, registry, all, since: now, until });
        self.caches.snapshots.put(workspace.clone(), snapshot.clone());
        Ok(snapshot)
    }

    /// The active policy set. INVARIANT (fail-closed): none means no. INVARIANT (replayable): it
    /// knows the operations of every skill that was ever installed, so that what is judged while a
    /// skill may not be used is judged as it is when it may; that it may not, each claim finds for
    /// itself.
    pub(crate) async fn authority(
        &self,
        workspace: &WorkspaceId,
        snapshot: &Snapshot,
    ) -> Answer<Arc<CompiledPolicySet>> {
        let (version, digest) = self.active(workspace).await?;
        let key = (workspace.clone(), digest.clone(), snapshot.version);
        let kept = self.caches.authorities.get(&key);
        if let Some(authority) = kept.filter(|authority| authority.version() == version.to_string())
        {
            return Ok(authority);
        }
        let record = self.policy_set(workspace, &digest).await?;
        let authority =
            CompiledPolicySet::new(&record.text, version.to_string(), &snapshot.whole())
                .map_err(|error| Problem::new(Code::PreconditionFailed, error.to_string()))?;
        if *authority.digest() != digest {
            return Err(PortError::Corrupt("the policy set was changed".into()).into());
        }
        let authority = Arc::new(authority);
        self.caches.authorities.put(key, authority.clone());
        Ok(authority)
    }

    /// How often a policy set was activated, and the digest of the one that is active.
    pub(crate) async fn active(&self, workspace: &WorkspaceId) -> Answer<(u64, Digest)> {
        let key = keys::policy_active(workspace);
        let item = self.base.store.get(&key).await?;
        let item = item.ok_or_else(|| {
            Problem::new(Code::PreconditionFailed, "this workspace has no policy set")
        })?;
        let active: ActivePolicy = countersign_store::decode(&key, &item.body)?;
        Ok((item.version, active.digest))
    }

    /// A policy set by its digest.
    pub(crate) async fn policy_set(
        &self,
        workspace: &WorkspaceId,
        digest: &Digest,
    ) -> Result<PolicyRecord, PortError> {
        let record = self.base.store.body(&keys::policy(workspace, digest)).await?;
        record.ok_or_else(|| PortError::Corrupt(format!("the policy set {digest} is gone")))
    }
}
