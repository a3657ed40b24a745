//! What a workspace lets happen beside its policies: freezes, budgets and meters, and the candidate that runs in shadow.
//!
//! One item holds all of it, and every claim checks its version: a freeze, a new limit or a lifted one holds for the
//! very next claim (INVARIANT claim-is-one-transaction).

use crate::{
    Answer, Caller, Engine,
    approve::check_text,
    bodies, keys,
    ports::{Condition, Fault, Key, Write},
};
use contracts::{
    Code, Digest, Issue, Problem, WorkspaceId,
    event::{BlockReason, Event, GovernanceChanged},
    governance::{Budgets, BudgetsAnswer, Freeze, FreezeScope, Freezes, Look, Measure, Meter, SetBudgets, SetFreeze},
    limits::{FREEZES_MAX, METER_WINDOW_SECONDS_MAX, METERS_MAX, NAME_BYTES_MAX},
};
use cs_core::canonical;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Shortest window of a meter, in seconds.
const METER_WINDOW_SECONDS_MIN: u64 = 60;
/// Operations and skills that one meter names.
const METER_ONLY_MAX: usize = 100;
const TRIES_MAX: u32 = 8;

/// The stored record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Governance {
    #[serde(default)]
    pub freezes: Vec<Freeze>,
    #[serde(default)]
    pub budgets: Budgets,
    /// The candidate policy set that is evaluated beside the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Digest>,
}

/// The record at one version; 0: there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Governed {
    pub(crate) record: Governance,
    pub(crate) version: u64,
}

impl Governed {
    /// The record is still this one.
    pub(crate) fn unchanged(&self) -> Condition {
        match self.version {
            0 => Condition::NotExists,
            version => Condition::VersionIs(version),
        }
    }
}

impl Governance {
    /// What keeps a step of an operation from beginning, if anything.
    pub(crate) fn frozen(&self, operation: &str, actor: &str) -> Option<(BlockReason, String)> {
        let skill = operation.split('/').next().unwrap_or_default();
        let freeze = self.freezes.iter().find(|freeze| {
            let key = freeze.key.as_deref().unwrap_or_default();
            match freeze.scope {
                FreezeScope::Workspace => true,
                FreezeScope::Skill => key == skill,
                FreezeScope::Operation => key == operation,
                FreezeScope::Actor => key == actor,
            }
        })?;
        let reason = match freeze.scope {
            FreezeScope::Workspace => BlockReason::WorkspaceFrozen,
            FreezeScope::Skill | FreezeScope::Operation | FreezeScope::Actor => BlockReason::Frozen,
        };
        let what = freeze.key.as_deref().unwrap_or("the workspace");
        let why = freeze.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        Some((reason, format!("{what} is frozen by {}{why}", freeze.actor_id)))
    }

    /// The meters that count an operation.
    pub(crate) fn meters<'g>(&'g self, operation: &'g str) -> impl Iterator<Item = &'g Meter> {
        let skill = operation.split('/').next().unwrap_or_default();
        let counts = move |only: &String| only == operation || only == skill;
        self.budgets.meters.iter().filter(move |meter| meter.only.is_empty() || meter.only.iter().any(counts))
    }
}

impl Engine {
    /// The record in force.
    pub(crate) async fn governed(&self, workspace: &WorkspaceId) -> Result<Governed, Fault> {
        let key = keys::governance(workspace);
        Ok(match self.ports.table.get(&key).await? {
            Some(item) => Governed { record: bodies::decode(&key, &item.body)?, version: item.version },
            None => Governed::default(),
        })
    }

    /// Changes the record; the workspace's trace says who did. `extra` commits with it.
    pub(crate) async fn govern(
        &self,
        caller: &Caller,
        what: &str,
        reason: Option<String>,
        extra: &[Write],
        mut change: impl FnMut(&mut Governance) -> Answer<()>,
    ) -> Answer<Governance> {
        let workspace = &caller.workspace;
        for _ in 0..TRIES_MAX {
            let governed = self.governed(workspace).await?;
            let mut record = governed.record.clone();
            change(&mut record)?;
            if record == governed.record {
                return Ok(record);
            }
            let mut writes = extra.to_vec();
            writes.push(Write::Put {
                key: keys::governance(workspace),
                item: bodies::item(governed.version + 1, &record)?,
                condition: governed.unchanged(),
            });
            let event = Event::GovernanceChanged(GovernanceChanged {
                key: what.to_owned(),
                digest: canonical::digest(&record).map_err(crate::not_canonical)?,
                at: self.now(),
                actor_id: caller.actor.id.clone(),
                reason: reason.clone(),
            });
            if self.journal(caller, vec![event], writes, false).await? {
                return Ok(record);
            }
        }
        Err(crate::busy())
    }

    /// Freezes, or lifts a freeze.
    pub async fn set_freeze(&self, caller: &Caller, request: SetFreeze) -> Answer<Freezes> {
        caller.require("control-plane.freeze")?;
        check_text("/reason", request.reason.as_deref())?;
        let invalid = |pointer: &str, message: &str| {
            Problem::new(Code::ValidationFailed, "the freeze is not valid").issue(Issue::new(pointer, message))
        };
        let key = request.key.as_deref().unwrap_or_default();
        match request.scope {
            FreezeScope::Workspace if !key.is_empty() => {
                return Err(invalid("/key", "the workspace has no key here"));
            }
            FreezeScope::Operation if !key.contains('/') => return Err(invalid("/key", "`skill/operation`")),
            FreezeScope::Skill | FreezeScope::Operation | FreezeScope::Actor
                if key.is_empty() || key.len() > 2 * NAME_BYTES_MAX =>
            {
                return Err(invalid("/key", "what is frozen: a skill's key, `skill/operation`, or an actor's id"));
            }
            FreezeScope::Workspace | FreezeScope::Skill | FreezeScope::Operation | FreezeScope::Actor => {}
        }
        let (once, given) = self.once(caller, "freeze.set", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let record = self
            .govern(caller, "freezes", request.reason.clone(), &[], |record| {
                let same = |freeze: &Freeze| freeze.scope == request.scope && freeze.key == request.key;
                if !request.frozen {
                    record.freezes.retain(|freeze| !same(freeze));
                } else if !record.freezes.iter().any(same) {
                    if record.freezes.len() >= FREEZES_MAX {
                        return Err(invalid("", "too many freezes; lift some, or freeze the workspace"));
                    }
                    record.freezes.push(Freeze {
                        scope: request.scope,
                        key: request.key.clone(),
                        reason: request.reason.clone(),
                        since: self.now(),
                        actor_id: caller.actor.id.clone(),
                    });
                }
                Ok(())
            })
            .await?;
        let answer = Freezes { items: record.freezes };
        self.keep_answer(once.as_ref(), &answer).await?;
        Ok(answer)
    }

    /// The freezes in force.
    pub async fn freezes(&self, caller: &Caller, _: Look) -> Answer<Freezes> {
        caller.require("control-plane.audit")?;
        Ok(Freezes { items: self.governed(&caller.workspace).await?.record.freezes })
    }

    /// Sets budgets and meters.
    pub async fn set_budgets(&self, caller: &Caller, request: SetBudgets) -> Answer<BudgetsAnswer> {
        caller.require("control-plane.budget")?;
        check_text("/reason", request.reason.as_deref())?;
        let mut issues = check_meters(&request.budgets.meters);
        if issues.is_empty() {
            // A policy that reads a meter which is gone would block whatever it looks at.
            let snapshot = self.snapshot(&caller.workspace).await?;
            let (_, digest) = self.active(&caller.workspace).await?;
            let active = self.policy_set(&caller.workspace, &digest).await?;
            let broken = policy::validate(&active.text, &snapshot.registry, &request.budgets.meters);
            issues.extend(
                broken
                    .into_iter()
                    .filter(|issue| issue.code.as_deref() == Some("POLICY_INVALID"))
                    .map(|issue| Issue { pointer: "/budgets/meters".into(), ..issue }),
            );
        }
        if !issues.is_empty() {
            return Err(Problem::new(Code::ValidationFailed, "the budgets are not valid").issues(issues));
        }
        let (once, given) = self.once(caller, "budget.set", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let change = |record: &mut Governance| {
            record.budgets = request.budgets.clone();
            Ok(())
        };
        let record = self.govern(caller, "budgets", request.reason.clone(), &[], change).await?;
        let usage = self.usage(&caller.workspace, &record.budgets.meters).await?;
        let answer = BudgetsAnswer { budgets: record.budgets, usage };
        self.keep_answer(once.as_ref(), &answer).await?;
        Ok(answer)
    }

    /// The budgets in force, and what is used of them.
    pub async fn budgets(&self, caller: &Caller, _: Look) -> Answer<BudgetsAnswer> {
        caller.require("control-plane.audit")?;
        let record = self.governed(&caller.workspace).await?.record;
        let usage = self.usage(&caller.workspace, &record.budgets.meters).await?;
        Ok(BudgetsAnswer { budgets: record.budgets, usage })
    }

    // Setting the same again changes nothing, so that the answer may be kept after the change.
    async fn keep_answer<R: Serialize>(&self, once: Option<&crate::commit::Once>, answer: &R) -> Answer<()> {
        if let Some(once) = once {
            match self.ports.table.transact(vec![self.once_write(once, answer)?]).await {
                Ok(()) | Err(crate::ports::NotCommitted::Condition(_)) => {}
                Err(crate::ports::NotCommitted::Fault(fault)) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    /// What the claim's transaction checks of the record.
    pub(crate) fn governance_check(workspace: &WorkspaceId, governed: &Governed) -> (Key, Condition) {
        (keys::governance(workspace), governed.unchanged())
    }
}

fn check_meters(meters: &[Meter]) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut wrong = |index: usize, field: &str, message: String| {
        issues.push(Issue::new(format!("/budgets/meters/{index}/{field}"), message));
    };
    let mut seen = BTreeSet::new();
    for (index, meter) in meters.iter().enumerate() {
        let word = meter.id.starts_with(|c: char| c.is_ascii_lowercase())
            && meter.id.len() <= 32
            && meter.id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !word || !seen.insert(&meter.id) {
            wrong(index, "id", "a lower-case letter, then letters and digits, at most 32, once".into());
        }
        if !(METER_WINDOW_SECONDS_MIN..=METER_WINDOW_SECONDS_MAX).contains(&meter.window_seconds) {
            let message = format!("{METER_WINDOW_SECONDS_MIN} to {METER_WINDOW_SECONDS_MAX} seconds");
            wrong(index, "windowSeconds", message);
        }
        if let Measure::Money { currency } = &meter.measure
            && (currency.is_empty() || currency.len() > 16)
        {
            wrong(index, "measure/currency", "1 to 16 characters".into());
        }
        if meter.only.len() > METER_ONLY_MAX {
            wrong(index, "only", format!("at most {METER_ONLY_MAX}"));
        }
    }
    if meters.len() > METERS_MAX {
        issues.push(Issue::new("/budgets/meters", format!("at most {METERS_MAX} meters")));
    }
    issues
}
