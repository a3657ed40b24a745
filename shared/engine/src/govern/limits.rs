//! What a workspace lets happen beside its policies: freezes, budgets and meters, and the candidate
//! that runs in shadow.
//!
//! Every claim checks one small guard item, which each change writes anew: a freeze, a new limit or
//! a lifted one holds for the very next claim (INVARIANT claim-is-one-transaction). There are some
//! guards, so that claims of different executions do not meet at one item.

use crate::{
    Answer, Base, Caller, InForce, Meters, Names, Parts, Waker, boxed, decide::approve::check_text,
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, WorkspaceId,
    event::{BlockReason, GovernanceChanged, WorkspaceEvent},
    governance::{
        Budgets, BudgetsAnswer, EmptyQuery, Freeze, FreezeScope, Measure, Meter, SetBudgets,
    },
    limits::{METER_WINDOW_SECONDS_MAX, METERS_MAX, SUGGESTIONS_MAX},
};
use countersign_store::{Change, Condition, Item, Key, PortError, Record, Write, keys};
use cs_core::canonical;
use futures_util::future::try_join;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Shortest window of a meter, in seconds.
const METER_WINDOW_SECONDS_MIN: u64 = 60;
/// Operations and skills that one meter names.
const METER_ONLY_MAX: usize = 100;

/// The stored record. Freezes lie in one of their own, so that no change of budgets is in their
/// way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Governance {
    #[serde(skip)]
    pub freezes: Vec<Freeze>,
    #[serde(default)]
    pub budgets: Budgets,
    /// The candidate policy set that is evaluated beside the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Digest>,
}

/// What is in force, and the guard that says whether it still is. Version 0: nothing was ever
/// changed.
#[derive(Clone, Debug)]
pub(crate) struct Governed {
    pub(crate) record: Governance,
    guard: Key,
    version: u64,
}

impl Governed {
    /// The guard is still this one.
    fn unchanged(&self) -> Condition {
        Condition::unchanged(self.version)
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
        self.budgets
            .meters
            .iter()
            .filter(move |meter| meter.only.is_empty() || meter.only.iter().any(counts))
    }
}

impl InForce {
    /// What is in force.
    pub(crate) async fn governed(&self, workspace: &WorkspaceId) -> Result<Governed, PortError> {
        self.governed_by(workspace, keys::guard(workspace, 0)).await
    }

    /// What is in force for an execution, by the guard that its claims check.
    pub(crate) async fn governed_for(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Result<Governed, PortError> {
        self.governed_by(workspace, keys::guard(workspace, keys::guard_of(id))).await
    }

    // The guard first: what is read after it is what it stands for, or newer.
    async fn governed_by(
        &self,
        workspace: &WorkspaceId,
        guard: Key,
    ) -> Result<Governed, PortError> {
        let version = self.base.store.get(&guard).await?.map_or(0, |item| item.version);
        let stored = self.stored_governance(workspace);
        let (stored, freezes) = try_join(stored, self.stored_freezes(workspace)).await?;
        let record = Governance { freezes: freezes.value, ..stored.value };
        Ok(Governed { record, guard, version })
    }

    pub(crate) async fn stored_governance(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<Governance>, PortError> {
        self.base.store.record(&keys::governance(workspace)).await
    }
}

impl Base {
    /// The event that says what of the governance became another, and by whom.
    pub(crate) fn governance_changed<T: Serialize>(
        &self,
        caller: &Caller,
        what: &str,
        record: &T,
        reason: &Option<String>,
    ) -> Answer<WorkspaceEvent> {
        Ok(WorkspaceEvent::GovernanceChanged(GovernanceChanged {
            key: what.to_owned(),
            entry: None,
            digest: canonical::digest(record).map_err(crate::not_canonical)?,
            at: self.now(),
            actor_id: caller.actor.id.clone(),
            reason: reason.clone(),
        }))
    }

    /// Marks every guard as changed, in the transaction of the change. The new version is random
    /// and asks for nothing, so that changes do not contend with one another.
    pub(crate) fn guard_writes(&self, workspace: &WorkspaceId) -> Vec<Write> {
        let version = self.store.fresh_version();
        let put = |index| Write::Put {
            key: keys::guard(workspace, index),
            item: Item { version, ..Item::default() },
            condition: Condition::Any,
        };
        (0..keys::GUARDS).map(put).collect()
    }

    /// The change that puts another record in the place of what is stored; none where they are the
    /// same.
    pub(crate) fn govern<R>(
        &self,
        caller: &Caller,
        (what, reason): (&str, &Option<String>),
        (stored, record): (&Record<Governance>, &Governance),
        answer: R,
    ) -> Answer<Change<R>> {
        if *record == stored.value {
            return Ok(Change::none(answer));
        }
        let event = self.governance_changed(caller, what, record, reason)?;
        let mut writes = vec![stored.replace(keys::governance(&caller.workspace), record)?];
        writes.extend(self.guard_writes(&caller.workspace));
        Ok(Change::new(answer, event, writes))
    }

    /// What the claim's transaction checks of the record.
    pub(crate) fn governance_check(governed: &Governed) -> (Key, Condition) {
        (governed.guard.clone(), governed.unchanged())
    }
}

/// Freezes, budgets and meters.
pub struct Limits {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) names: Arc<Names>,
    pub(crate) waker: Arc<Waker>,
}

impl Limits {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            meters: parts.meters.clone(),
            names: parts.names.clone(),
            waker: parts.waker.clone(),
        }
    }

    /// Sets budgets and meters.
    #[boxed]
    pub async fn set_budgets(&self, caller: &Caller, request: SetBudgets) -> Answer<BudgetsAnswer> {
        caller.require("control-plane.budget")?;
        check_text("/reason", request.reason.as_deref())?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("budget.set", &request), || {
            Box::pin(async {
                let warnings = self.check_budgets(&caller.workspace, &request).await?;
                let stored = self.in_force.stored_governance(&caller.workspace).await?;
                let record =
                    Governance { budgets: request.budgets.clone(), ..stored.value.clone() };
                let usage = self.meters.usage(&caller.workspace, &record.budgets.meters).await?;
                let answer =
                    BudgetsAnswer { budgets: record.budgets.clone().into(), usage, warnings };
                self.base.govern(caller, ("budgets", &request.reason), (&stored, &record), answer)
            })
        });
        let changed = changed.await?;
        if changed.is_fresh() {
            self.waker.wake_waiting(&caller.workspace).await;
        }
        Ok(changed.answer())
    }

    // Refuses budgets that count nothing or break the active policies; gives what `force` lets by.
    async fn check_budgets(
        &self,
        workspace: &WorkspaceId,
        request: &SetBudgets,
    ) -> Answer<Vec<Issue>> {
        let mut issues = check_meters(&request.budgets.meters);
        let mut warnings = self.check_only(workspace, &request.budgets.meters).await?;
        if !request.force {
            issues.append(&mut warnings);
        }
        let plan = request.budgets.plan.iter();
        issues.extend(
            plan.flat_map(|budget| cs_core::plan::check_currencies(budget, "/budgets/plan")),
        );
        if issues.is_empty() {
            // A policy that reads a meter which is gone would block whatever it looks at.
            let snapshot = self.in_force.snapshot(workspace).await?;
            let (_, digest) = self.in_force.active(workspace).await?;
            let active = self.in_force.policy_set(workspace, &digest).await?;
            let broken =
                policy::validate(&active.text, &snapshot.nameable(), &request.budgets.meters);
            issues.extend(
                broken
                    .into_iter()
                    .filter(|issue| issue.code.as_deref() == Some("POLICY_INVALID"))
                    .map(|issue| Issue { pointer: "/budgets/meters".into(), ..issue }),
            );
        }
        if issues.is_empty() {
            return Ok(warnings);
        }
        Err(Problem::new(Code::ValidationFailed, "the budgets are not valid").issues(issues))
    }

    /// The budgets in force, and what is used of them.
    #[boxed]
    pub async fn budgets(&self, caller: &Caller, _: EmptyQuery) -> Answer<BudgetsAnswer> {
        caller.require_whole("control-plane.audit")?;
        let record = self.in_force.governed(&caller.workspace).await?.record;
        let usage = self.meters.usage(&caller.workspace, &record.budgets.meters).await?;
        Ok(BudgetsAnswer { budgets: record.budgets.into(), usage, warnings: Vec::new() })
    }

    // A meter that counts what does not exist counts nothing.
    async fn check_only(&self, workspace: &WorkspaceId, meters: &[Meter]) -> Answer<Vec<Issue>> {
        let mut issues = Vec::new();
        for (index, meter) in meters.iter().take(METERS_MAX).enumerate() {
            for (place, name) in meter.only.iter().take(METER_ONLY_MAX).enumerate() {
                let pointer = format!("/budgets/meters/{index}/only/{place}");
                issues.extend(self.names.known_operation(workspace, &pointer, name).await?);
                // Each looks for the nearest name: so many, and no more.
                if issues.len() >= SUGGESTIONS_MAX as usize {
                    return Ok(issues);
                }
            }
        }
        Ok(issues)
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
            wrong(
                index,
                "id",
                "a lower-case letter, then letters and digits, at most 32, once".into(),
            );
        }
        if !(METER_WINDOW_SECONDS_MIN..=METER_WINDOW_SECONDS_MAX).contains(&meter.window_seconds) {
            let message =
                format!("{METER_WINDOW_SECONDS_MIN} to {METER_WINDOW_SECONDS_MAX} seconds");
            wrong(index, "windowSeconds", message);
        }
        if let Measure::Money { currency } = &meter.measure
            && let Some(why) = cs_core::currency::fault(currency)
        {
            wrong(index, "measure/currency", why);
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
