//! controlPlane.freeze.set and list: kill switches. A freeze contends with other freezes only, and does no work that
//! grows with what callers without its grant can do.

use crate::{
    Answer, Caller, Engine,
    approve::check_text,
    bodies, boxed, keys,
    ports::{Condition, Fault, Query, Write},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    event::{Event, GovernanceChanged},
    governance::{Freeze, FreezeScope, Freezes, Look, SetFreeze},
    limits::{FREEZES_MAX, NAME_BYTES_MAX, SUGGESTION_CANDIDATES_MAX},
    manifest::Manifest,
    names,
};
use cs_core::canonical;
use serde_json::Value;
use std::collections::BTreeSet;

/// Tries of a kill switch against others of its kind.
pub(crate) const KILL_SWITCH_TRIES_MAX: u32 = 64;
/// Longest pause between two tries, in milliseconds.
const PAUSE_MS_MAX: u64 = 32;
/// Versions of one skill whose operations are looked at.
const VERSIONS_MAX: usize = 20;

impl Engine {
    /// The freezes in force, and their record's version.
    pub(crate) async fn stored_freezes(&self, workspace: &WorkspaceId) -> Result<(Vec<Freeze>, u64), Fault> {
        let key = keys::freezes(workspace);
        Ok(match self.ports.table.get(&key).await? {
            Some(item) => (bodies::decode(&key, &item.body)?, item.version),
            None => (Vec::new(), 0),
        })
    }

    /// A pause drawn at random, longer with each try: who lost lets the others be through.
    pub(crate) async fn pause_before(&self, attempt: u32) {
        let most = 1_u64.checked_shl(attempt.min(5)).unwrap_or(PAUSE_MS_MAX).min(PAUSE_MS_MAX);
        let draw = u64::from(self.ports.ids.secret().first().copied().unwrap_or_default());
        self.ports.clock.sleep(1 + draw * most / 256).await;
    }

    /// Freezes, or lifts a freeze.
    #[boxed]
    pub async fn set_freeze(&self, caller: &Caller, mut request: SetFreeze) -> Answer<Freezes> {
        caller.require("control-plane.freeze")?;
        check_text("/reason", request.reason.as_deref())?;
        check_form(&request)?;
        let (once, given) = self.once(caller, "freeze.set", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let mut warnings = Vec::new();
        for attempt in 0..KILL_SWITCH_TRIES_MAX {
            let (mut freezes, version) = self.stored_freezes(&caller.workspace).await?;
            let same = |freeze: &Freeze, key: &Option<String>| freeze.scope == request.scope && freeze.key == *key;
            // What is frozen by force may be lifted by the name it was frozen by.
            if attempt == 0 && !freezes.iter().any(|freeze| same(freeze, &request.key)) {
                match self.frozen_name(&caller.workspace, &request).await? {
                    Ok(key) => request.key = key,
                    Err(issue) if request.force => warnings.push(issue),
                    Err(issue) => {
                        let message = "there is nothing of that name; `force` freezes it all the same";
                        return Err(Problem::new(Code::ValidationFailed, message).issue(issue));
                    }
                }
            }
            let there = freezes.iter().any(|freeze| same(freeze, &request.key));
            if there == request.frozen {
                let answer = Freezes { items: freezes, warnings };
                self.keep_answer(once.as_ref(), &answer).await?;
                return Ok(answer);
            }
            if request.frozen {
                if freezes.len() >= FREEZES_MAX {
                    return Err(invalid("", "too many freezes; lift some, or freeze the workspace"));
                }
                freezes.push(Freeze {
                    scope: request.scope,
                    key: request.key.clone(),
                    reason: request.reason.clone(),
                    since: self.now(),
                    actor_id: caller.actor.id.clone(),
                });
            } else {
                let key = request.key.clone();
                freezes.retain(|freeze| !same(freeze, &key));
            }
            let digest = canonical::digest(&freezes).map_err(crate::not_canonical)?;
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let item = bodies::item(version + 1, &freezes)?;
            let mut writes = vec![Write::Put { key: keys::freezes(&caller.workspace), item, condition }];
            writes.extend(self.guard_writes(&caller.workspace));
            let answer = Freezes { items: freezes, warnings: warnings.clone() };
            writes.extend(self.once_write(once.as_ref(), &answer).await?);
            let event = Event::GovernanceChanged(GovernanceChanged {
                key: "freezes".into(),
                digest,
                at: self.now(),
                actor_id: caller.actor.id.clone(),
                reason: request.reason.clone(),
            });
            if self.journal(caller, vec![event], writes, false).await? {
                if !request.frozen {
                    self.wake_waiting(&caller.workspace).await;
                }
                return Ok(answer);
            }
            self.pause_before(attempt).await;
        }
        Err(crate::busy())
    }

    /// The freezes in force.
    #[boxed]
    pub async fn freezes(&self, caller: &Caller, _: Look) -> Answer<Freezes> {
        caller.require_whole("control-plane.audit")?;
        let (items, _) = self.stored_freezes(&caller.workspace).await?;
        Ok(Freezes { items, warnings: Vec::new() })
    }

    // The name as it is stored, if there is something of it.
    async fn frozen_name(
        &self,
        workspace: &WorkspaceId,
        request: &SetFreeze,
    ) -> Answer<Result<Option<String>, Issue>> {
        let key = request.key.clone().unwrap_or_default();
        Ok(match request.scope {
            FreezeScope::Workspace => Ok(None),
            FreezeScope::Actor => self.known_actor(workspace, "/key", &key).await?.map(Some),
            FreezeScope::Skill | FreezeScope::Operation => match self.known_operation(workspace, "/key", &key).await?
            {
                None => Ok(Some(key)),
                Some(issue) => Err(issue),
            },
        })
    }

    /// What is wrong with the name of a skill, or of a `skill/operation`, that ought to be installed, if anything.
    pub(crate) async fn known_operation(
        &self,
        workspace: &WorkspaceId,
        pointer: &str,
        name: &str,
    ) -> Answer<Option<Issue>> {
        let (skill, operation) = name.split_once('/').map_or((name, None), |(skill, key)| (skill, Some(key)));
        let (partition, _) = keys::skills(workspace);
        let versions = Query::prefix(partition, &format!("{}{skill}@", keys::ENVELOPE), VERSIONS_MAX);
        let versions = Query { reverse: true, ..versions };
        let found = self.ports.table.query(&versions).await?;
        if found.is_empty() {
            let known = self.skill_keys(workspace).await?;
            return Ok(Some(names::unknown(pointer, "skill", skill, known.iter().map(String::as_str))));
        }
        let Some(operation) = operation else {
            return Ok(None);
        };
        let mut known = BTreeSet::new();
        for (key, item) in &found {
            let envelope: Value = self.body_of(key, item).await?;
            let payload = envelope.get("payload").and_then(Value::as_str).and_then(|text| B64.decode(text).ok());
            let manifest = payload.and_then(|payload| contracts::json::decode::<Manifest>(&payload).ok());
            known.extend(manifest.into_iter().flat_map(|manifest| manifest.operations).map(|spec| spec.key));
        }
        if known.contains(operation) {
            return Ok(None);
        }
        Ok(Some(names::unknown(pointer, "operation", operation, known.iter().map(String::as_str))))
    }

    /// Keys of installed skills, for suggestions.
    pub(crate) async fn skill_keys(&self, workspace: &WorkspaceId) -> Result<BTreeSet<String>, Fault> {
        let (partition, prefix) = keys::skills(workspace);
        let items = self.ports.table.query(&Query::prefix(partition, prefix, SUGGESTION_CANDIDATES_MAX)).await?;
        let key = |(key, _): &(crate::ports::Key, _)| {
            let name = key.sort.trim_start_matches(prefix).split('@').next().unwrap_or_default();
            name.to_owned()
        };
        Ok(items.iter().map(key).collect())
    }
}

fn invalid(pointer: &str, message: &str) -> Problem {
    Problem::new(Code::ValidationFailed, "the freeze is not valid").issue(Issue::new(pointer, message))
}

fn check_form(request: &SetFreeze) -> Answer<()> {
    let key = request.key.as_deref().unwrap_or_default();
    match request.scope {
        FreezeScope::Workspace if request.key.is_some() => Err(invalid("/key", "the workspace has no key here")),
        FreezeScope::Operation if !key.contains('/') => Err(invalid("/key", "`skill/operation`")),
        FreezeScope::Skill if key.contains('/') => Err(invalid("/key", "a skill's key, without an operation")),
        FreezeScope::Skill | FreezeScope::Operation | FreezeScope::Actor
            if key.is_empty() || key.len() > 2 * NAME_BYTES_MAX =>
        {
            Err(invalid("/key", "what is frozen: a skill's key, `skill/operation`, or an actor's id"))
        }
        FreezeScope::Workspace | FreezeScope::Skill | FreezeScope::Operation | FreezeScope::Actor => Ok(()),
    }
}
