//! controlPlane.skill.disable and enable: taking a skill out of use, and back by a person. A skill
//! that is disabled as a whole is so whatever version is installed later.

use crate::{Answer, Caller, InForce, Skills, boxed, govern::skills::DISABLED};
use contracts::{
    Code, Problem, Timestamp, WorkspaceId,
    command::{DisableSkill, EnableSkill, SkillDisabledAnswer, SkillEnabledAnswer},
    event::{SkillDisabled, SkillEnabled, WorkspaceEvent},
    limits::{NAME_BYTES_MAX, VOIDED_EXECUTIONS_MAX},
    names,
    status::SkillStatus,
};
use countersign_store::{Change, Condition, Item, Key, PortError, Query, Record, Write, keys};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Versions of one skill that one transaction changes.
const CHANGED_AT_ONCE: usize = 50;
/// Versions of one skill.
const VERSIONS_MAX: usize = 5_000;
/// Longest time that counting voided steps takes of a kill switch, in milliseconds.
const COUNT_MS_MAX: i64 = 40;

/// Skills that are disabled as a whole, by key.
pub(crate) type Switches = BTreeMap<String, Switch>;

/// Who disabled a skill, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Switch {
    pub(crate) at: Timestamp,
    pub(crate) actor_id: String,
}

/// Unstarted steps that were counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) steps: u32,
    /// There were more open executions than were looked at.
    pub(crate) partial: bool,
}

impl InForce {
    /// Skills that are disabled as a whole.
    pub(crate) async fn switches(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<Switches>, PortError> {
        self.base.store.record(&keys::switches(workspace)).await
    }
}

impl Skills {
    // Installed versions of a skill, or the one that is named; an unknown name is refused with the
    // nearest.
    async fn versions(
        &self,
        workspace: &WorkspaceId,
        skill: &str,
        version: Option<&str>,
    ) -> Answer<Vec<(Key, Item)>> {
        let (partition, _) = keys::skills(workspace);
        let prefix = format!("s#{skill}@");
        let mut items = match skill.len() {
            0..=NAME_BYTES_MAX => {
                self.base.store.query(&Query::prefix(partition, &prefix, VERSIONS_MAX)).await?
            }
            _ => Vec::new(),
        };
        if items.is_empty() {
            let known = self.names.skill_keys(workspace).await?;
            let issue =
                names::unknown("/skillKey", "skill", skill, known.iter().map(String::as_str));
            return Err(Problem::new(Code::NotFound, issue.message.clone()).issue(issue));
        }
        if let Some(version) = version {
            let known: Vec<String> = items
                .iter()
                .map(|(key, _)| key.sort.trim_start_matches(&prefix).to_owned())
                .collect();
            items.retain(|(key, _)| key.sort.strip_prefix(&prefix) == Some(version));
            if items.is_empty() {
                let what = format!("version of `{skill}`");
                let issue =
                    names::unknown("/version", &what, version, known.iter().map(String::as_str));
                return Err(Problem::new(Code::NotFound, issue.message.clone()).issue(issue));
            }
        }
        Ok(items)
    }

    /// Disables a skill, at one version or as a whole. A kill switch.
    #[boxed]
    pub async fn disable_skill(
        &self,
        caller: &Caller,
        request: DisableSkill,
    ) -> Answer<SkillDisabledAnswer> {
        caller.require("control-plane.skill-registry")?;
        crate::decide::approve::check_text("/reason", request.reason.as_deref())?;
        let workspace = &caller.workspace;
        self.versions(workspace, &request.skill_key, request.version.as_deref()).await?;
        let named = |key: &str, version: &str| {
            key == request.skill_key
                && request.version.as_deref().is_none_or(|wanted| wanted == version)
        };
        let counted = self.count_pinned(workspace, named).await?;
        let now = self.base.now();
        let response = SkillDisabledAnswer {
            skill_key: request.skill_key.clone(),
            version: request.version.clone(),
            status: SkillStatus::Disabled.into(),
            disabled_at: now,
            disabled_by: caller.actor.id.clone(),
            voided_steps: counted.steps,
            voided_steps_partial: counted.partial,
        };
        let event = WorkspaceEvent::SkillDisabled(SkillDisabled {
            key: request.skill_key.clone(),
            version: request.version.clone(),
            at: now,
            actor_id: caller.actor.id.clone(),
            reason: request.reason.clone(),
        });
        let author = caller.author(now);
        let changed = self.base.store.change(&author, ("skill.disable", &request), || {
            Box::pin(async {
                let mut writes = self.base.guard_writes(workspace);
                match &request.version {
                    // The switch covers every version, whatever becomes of their items.
                    None => {
                        let mut stored = self.in_force.switches(workspace).await?;
                        let switch = Switch { at: now, actor_id: caller.actor.id.clone() };
                        stored.value.entry(request.skill_key.clone()).or_insert(switch);
                        let key = keys::switches(workspace);
                        writes.push(self.base.store.replace(&stored, key, &stored.value).await?);
                    }
                    Some(version) => {
                        let items =
                            self.versions(workspace, &request.skill_key, Some(version)).await?;
                        writes.extend(
                            items.iter().map(|(key, item)| set_disabled(key, item, DISABLED)),
                        );
                    }
                }
                Ok(Change::new(response.clone(), event.clone(), writes).of_registry())
            })
        });
        Ok(changed.await?.answer())
    }

    /// Lifts a disable. People only.
    #[boxed]
    pub async fn enable_skill(
        &self,
        caller: &Caller,
        request: EnableSkill,
    ) -> Answer<SkillEnabledAnswer> {
        caller.require_person("control-plane.skill-registry")?;
        crate::decide::approve::check_text("/reason", request.reason.as_deref())?;
        let workspace = &caller.workspace;
        let now = self.base.now();
        let response = SkillEnabledAnswer {
            skill_key: request.skill_key.clone(),
            version: request.version.clone(),
            status: SkillStatus::Enabled.into(),
            enabled_at: now,
            enabled_by: caller.actor.id.clone(),
        };
        let event = WorkspaceEvent::SkillEnabled(SkillEnabled {
            key: request.skill_key.clone(),
            version: request.version.clone(),
            at: now,
            actor_id: caller.actor.id.clone(),
            reason: request.reason.clone(),
        });
        let author = caller.author(now);
        let changed = self.base.store.change(&author, ("skill.enable", &request), || {
            Box::pin(async {
                let items = self
                    .versions(workspace, &request.skill_key, request.version.as_deref())
                    .await?;
                let mut stored = self.in_force.switches(workspace).await?;
                if request.version.is_some() && stored.value.contains_key(&request.skill_key) {
                    let message = "the skill is disabled as a whole: enable it without a version";
                    return Err(Problem::new(Code::Conflict, message));
                }
                let mut writes = self.base.guard_writes(workspace);
                // Versions that were disabled one by one stay so, unless they are named.
                if request.version.is_some() {
                    let off = items
                        .iter()
                        .filter(|(_, item)| item.fields.get("disabled") == Some(&DISABLED));
                    writes.extend(
                        off.take(CHANGED_AT_ONCE).map(|(key, item)| set_disabled(key, item, 0)),
                    );
                } else {
                    stored.value.remove(&request.skill_key);
                    let key = keys::switches(workspace);
                    writes.push(self.base.store.replace(&stored, key, &stored.value).await?);
                }
                Ok(Change::new(response.clone(), event.clone(), writes).of_registry())
            })
        });
        let changed = changed.await?;
        if changed.is_fresh() {
            self.waker.wake_waiting(workspace).await;
        }
        Ok(changed.answer())
    }

    /// Unstarted steps of the workspace's open executions that pin one of the skills; so many
    /// executions, and so long. The claim's own check is what stops them.
    pub(crate) async fn count_pinned(
        &self,
        workspace: &WorkspaceId,
        named: impl Fn(&str, &str) -> bool,
    ) -> Answer<Counted> {
        let mut counted = Counted::default();
        let until = self.base.now().plus_ms(COUNT_MS_MAX);
        let open = self.base.store.open_executions_of(workspace, VOIDED_EXECUTIONS_MAX + 1).await?;
        counted.partial = open.len() > VOIDED_EXECUTIONS_MAX;
        for id in open.iter().take(VOIDED_EXECUTIONS_MAX) {
            if self.base.now() >= until {
                counted.partial = true;
                break;
            }
            let Ok(loaded) = self.base.store.load(workspace, id).await else {
                continue;
            };
            let Some(plan) = loaded.state.plan() else {
                continue;
            };
            for (index, _) in
                loaded.state.steps.iter().enumerate().filter(|(_, step)| step.state.unstarted())
            {
                let pin = loaded
                    .state
                    .planned(index)
                    .and_then(|planned| plan.plan().skills.get(planned.call.skill));
                counted.steps += u32::from(pin.is_some_and(|pin| named(&pin.key, &pin.version)));
            }
        }
        Ok(counted)
    }
}

fn set_disabled(key: &Key, item: &Item, state: i64) -> Write {
    let condition = Condition::VersionIs(item.version);
    let mut item = Item { version: item.version + 1, ..item.clone() };
    item.fields.insert("disabled".into(), state);
    Write::Put { key: key.clone(), item, condition }
}
