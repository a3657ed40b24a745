//! What a claim commits: checked against what is stored before it.

use super::*;
use contracts::event::ExecutionEvent;

impl Monitor {
    /// The claims that a transaction makes.
    pub(crate) fn claims_of(&self, writes: &[Write]) -> Vec<(ExecutionId, Entry)> {
        let mut found = Vec::new();
        for write in writes {
            let Write::Put { key, item, .. } = write else { continue };
            let started = key.sort.starts_with(keys::EVENT)
                && has(&item.body, b"controlPlane.execution.step.started");
            if let Some(id) = execution_of(key).filter(|_| started)
                && let Ok(entry) = serde_json::from_slice::<Entry>(&item.body)
                && let Event::Execution(ExecutionEvent::StepStarted(_)) = entry.event
            {
                found.push((id, entry));
            }
        }
        found
    }

    // Only who holds the claim records that its call completed; a tool, for itself, and people may
    // say so too.
    pub(super) fn completes(
        &self,
        id: &ExecutionId,
        head: &HeadRecord,
        writes: &[Write],
        sight: &StoredView<'_>,
    ) {
        for write in writes {
            let Write::Put { key, item, .. } = write else { continue };
            if !key.sort.starts_with(keys::EVENT)
                || !has(&item.body, b"controlPlane.execution.step.completed")
            {
                continue;
            }
            let entry: Entry = serde_json::from_slice(&item.body).unwrap();
            let Event::Execution(ExecutionEvent::StepCompleted(data)) = &entry.event else {
                continue;
            };
            if entry.actor.kind == ActorKind::Tool {
                continue;
            }
            let record = sight.get(&keys::step(&self.workspace, id, &data.step_id));
            let record: Option<Value> =
                record.and_then(|item| serde_json::from_slice(&item.body).ok());
            let fence = record.as_ref().and_then(|record| record.get("fence")?.as_u64());
            self.invariants.check("fenced", fence == Some(head.epoch), || {
                format!(
                    "{id}: {} of claim {fence:?} completed by the owner of {}",
                    data.step_id, head.epoch
                )
            });
        }
    }

    pub(super) fn claim(
        &self,
        id: &ExecutionId,
        entry: &Entry,
        head: &HeadRecord,
        writes: &[Write],
        sight: &StoredView<'_>,
    ) -> Option<Claim> {
        let Event::Execution(ExecutionEvent::StepStarted(data)) = &entry.event else { return None };
        let (invariants, workspace) = (&self.invariants, &self.workspace);
        let what = || format!("{id}: the {} of {}", data.purpose.as_str(), data.step_id);
        let asked = self.asked(id);
        let operation = self.called(id, data.step_id.as_str(), data.purpose);
        let (Some(asked), Some(operation)) = (asked, operation) else {
            invariants.broken("no-effect-without-plan", format!("{} was never drafted", what()));
            return None;
        };
        invariants.check("one-gate", !asked.dry, || format!("{} of a dry run", what()));
        self.not_frozen(operation.name, sight, &what);
        let key = keys::api_key_of(workspace, &asked.key);
        self.key_is_valid(&key, sight, &what);
        self.policy_is_current(operation.name, head, sight, &what);
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

    // Neither the workspace, the operation nor who asked is frozen, and the skill is enabled.
    fn not_frozen(&self, operation: &str, sight: &StoredView<'_>, what: &dyn Fn() -> String) {
        let name = format!("{SKILL}/{operation}");
        let frozen = self.freezes(sight).into_iter().find(|freeze| {
            match (freeze.scope, freeze.key.as_deref()) {
                (FreezeScope::Workspace, _) => true,
                (FreezeScope::Skill, key) => key == Some(SKILL),
                (FreezeScope::Operation, key) => key == Some(name.as_str()),
                (FreezeScope::Actor, key) => key == Some("agent"),
            }
        });
        self.invariants.check("one-gate", frozen.is_none(), || {
            format!("{} begins although frozen: {frozen:?}", what())
        });
        let skill = sight.get(&keys::skill(&self.workspace, SKILL, VERSION));
        let off = skill
            .as_ref()
            .is_none_or(|item| item.fields.get("disabled").is_some_and(|state| *state > 0));
        let switches = sight.get(&keys::switches(&self.workspace));
        let switches: Option<Value> =
            switches.and_then(|item| serde_json::from_slice(&item.body).ok());
        let off = off || switches.is_some_and(|switches| switches.get(SKILL).is_some());
        self.invariants.check("one-gate", !off, || {
            format!("{} begins although its skill is disabled", what())
        });
    }

    fn key_is_valid(&self, key: &Key, sight: &StoredView<'_>, what: &dyn Fn() -> String) {
        let stored = sight.get(key);
        let record: Option<(ApiKey, Digest)> =
            stored.as_ref().and_then(|item| serde_json::from_slice(&item.body).ok());
        let revoked = stored.as_ref().is_none_or(|item| item.fields.get("revoked") != Some(&0));
        let shown = self.shared.shown(SLACK_MS);
        let expired = record.as_ref().is_none_or(|(record, _)| {
            record.expires_at.is_some_and(|at| shown.iter().all(|reading| at.ms() <= *reading))
        });
        self.invariants
            .check("context-is-fresh", !revoked, || format!("{} begins for a revoked key", what()));
        self.invariants.check("context-is-fresh", !expired, || {
            format!("{} begins for an expired key", what())
        });
    }

    fn policy_is_current(
        &self,
        operation: &str,
        head: &HeadRecord,
        sight: &StoredView<'_>,
        what: &dyn Fn() -> String,
    ) {
        let active = sight.get(&keys::policy_active(&self.workspace));
        let active: Option<ActivePolicy> =
            active.and_then(|item| serde_json::from_slice(&item.body).ok());
        let judged = head.execution.ruling.as_ref().map(|ruling| &ruling.policy_digest);
        let same = active.as_ref().is_some_and(|active| Some(&active.digest) == judged);
        self.invariants.check("context-is-fresh", same, || {
            format!("{} begins under a policy set that was replaced", what())
        });
        let strict = self.strict.lock().unwrap().clone();
        let forbidden =
            operation == "pay" && active.is_some_and(|active| Some(active.digest) == strict);
        self.invariants.check("fail-closed", !forbidden, || {
            format!("{} is forbidden by the active policy set", what())
        });
    }

    // Everything that a claim rests on is looked at, and everything that it uses up is used up, in
    // its own transaction.
    fn together(
        &self,
        id: &ExecutionId,
        entry: &Entry,
        writes: &[Write],
        requester: &Key,
        what: &dyn Fn() -> String,
    ) {
        let Event::Execution(ExecutionEvent::StepStarted(data)) = &entry.event else { return };
        let workspace = &self.workspace;
        let versioned = |condition: &Condition| {
            matches!(condition, Condition::VersionIs(_) | Condition::NotExists)
        };
        let holds = |key: &Key, fits: &dyn Fn(&Write) -> bool| {
            writes.iter().any(|write| write.key() == key && fits(write))
        };
        let guarded = (0..keys::GUARDS).any(|index| {
            holds(&keys::guard(workspace, index), &|write| versioned(write.condition()))
        });
        let at_most = |field: &str, write: &Write| {
            *write.condition() == Condition::FieldAtMost(field.to_owned(), 0)
        };
        let put = |write: &Write| matches!(write, Write::Put { .. });
        let parts = [
            ("the freezes and budgets", guarded),
            (
                "the policy set",
                holds(&keys::policy_active(workspace), &|write| versioned(write.condition())),
            ),
            (
                "the skill",
                holds(&keys::skill(workspace, SKILL, VERSION), &|write| at_most("disabled", write)),
            ),
            ("the requester's key", holds(requester, &|write| at_most("revoked", write))),
            (
                "the fence",
                holds(&keys::head(workspace, id), &|write| {
                    put(write) && versioned(write.condition())
                }),
            ),
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
            self.invariants
                .check("claim-is-one-transaction", there, || format!("{} without {part}", what()));
        }
    }
}
