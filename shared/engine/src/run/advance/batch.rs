//! What one commit is made of: outcomes that came, calls whose worker died, and the claims that
//! they make possible.

use super::*;
use crate::run::call::Mandated;

/// A step that may be called: its name, its skill in the plan, and what it waits for.
struct Called {
    step: StepId,
    skill: usize,
    waits_for: Option<BlockReason>,
}

impl Turn {
    /// Everything that can be decided now.
    pub(super) async fn batch(&mut self, over: bool) -> Answer<Batch> {
        let now = self.runs.base.now();
        self.metering = Metering::default();
        let mut batch = Batch {
            transition: Transition::begin(&self.loaded.state, now),
            writes: Vec::new(),
            checks: Vec::new(),
            ready: Vec::new(),
            settled: 0,
            begins: false,
        };
        self.begin(&mut batch.transition)?;
        self.settle(&mut batch);
        self.recover(&mut batch);
        let state = &self.loaded.state;
        if state.next_due().is_some_and(|due| due <= now) || state.asks_in_vain() {
            // Refused where the status does not allow it: then there is nothing to expire.
            let _ = batch.transition.apply(Command::Expire);
        }
        let left = BATCH_MAX.saturating_sub(batch.transition.events().len());
        let _ = batch.transition.apply(Command::SkipCutOff { limit: left });
        if !over {
            self.claim(&mut batch, now).await?;
        }
        Ok(batch)
    }

    // An execution that runs on its own begins here.
    pub(super) fn begin(&self, transition: &mut Transition) -> Answer<()> {
        if transition.state().status != Status::Verified {
            return Ok(());
        }
        let run_id = RunId::from_bytes(self.runs.base.ports.ids.id());
        let mode = default_mode(transition.state());
        transition.apply(Command::Start { run_id, mode }).map_err(crate::refused)
    }

    // A refused outcome came too late: another worker has the step, or the execution was aborted.
    // INVARIANT (fenced).
    pub(super) fn settle(&mut self, batch: &mut Batch) {
        while batch.settled < BATCH_MAX {
            let Some(settled) = self.settled.get(batch.settled) else {
                break;
            };
            let touched =
                countersign_store::usage_items(&self.loaded.state, batch.transition.events());
            if batch.writes.len() + settled.writes.len() > BATCH_WRITES_MAX
                || touched >= meters::ITEMS_MAX
            {
                break;
            }
            let command = Command::Settle {
                step: settled.step.clone(),
                fence: self.fence,
                attempt: settled.attempt,
                outcome: settled.outcome.clone(),
            };
            match batch.transition.apply(command) {
                Ok(()) => {
                    batch.writes.extend(settled.writes.iter().cloned());
                    // Steps that become ready in this very commit find the output.
                    if let Some(output) = &settled.output {
                        self.outputs.put(settled.step.clone(), output.clone());
                    }
                    batch.settled += 1;
                }
                Err(refusal) => {
                    tracing::warn!(step = %settled.step, %refusal, "an outcome came too late");
                    let late = self.settled.remove(batch.settled);
                    self.sent.remove(&late.id());
                }
            }
        }
    }

    // Calls in flight that no living worker made: those of earlier owners of the lease are lost.
    // Ours that were not sent, because the commit of their claim seemed to fail and did not, are
    // known to have had no effect.
    pub(super) fn recover(&mut self, batch: &mut Batch) {
        let steps = &batch.transition.state().steps;
        let orphans: Vec<Command> = steps
            .iter()
            .filter_map(|step| Some((step, step.fence?)))
            .filter(|(step, fence)| *fence != self.fence || !self.sent.contains(&call_id(step)))
            .take(BATCH_MAX)
            .map(|(step, fence)| {
                if fence == self.fence {
                    let outcome = Outcome::Unreached {
                        message: "the claim's commit was in doubt; nothing was sent".into(),
                    };
                    Command::Settle {
                        step: step.id.clone(),
                        fence,
                        attempt: step.call_attempt(),
                        outcome,
                    }
                } else {
                    Command::Recover { step: step.id.clone(), fence }
                }
            })
            .collect();
        for command in orphans {
            let _ = batch.transition.apply(command);
        }
    }

    pub(super) async fn claim(&mut self, batch: &mut Batch, now: Timestamp) -> Answer<()> {
        let work = self.work(batch.transition.state(), now);
        for (place, purpose) in work {
            let touched =
                countersign_store::usage_items(&self.loaded.state, batch.transition.events());
            if batch.transition.events().len() >= BATCH_MAX * 2
                || batch.writes.len() >= BATCH_WRITES_MAX
                || touched >= meters::ITEMS_MAX
            {
                break;
            }
            let state = batch.transition.state();
            let (Some(planned), Some(record)) = (state.planned(place), state.steps.get(place))
            else {
                continue;
            };
            // What this batch decided before may leave nothing to do here: a step that fails ends
            // the plan.
            if !due(state, place, purpose, now) {
                continue;
            }
            let mut sight = PrepareContext {
                facts: &self.facts,
                snapshot: &self.snapshot,
                governance: &self.governed.record,
                outputs: &mut self.outputs,
                metering: &mut self.metering,
            };
            let prepared =
                self.runs.gate.prepare(state, planned, record, purpose, &mut sight).await?;
            self.room_at = self.room_at.into_iter().chain(self.metering.take_room_at()).min();
            let called = Called {
                step: planned.id.clone(),
                skill: planned.call.skill,
                waits_for: record.waits_for,
            };
            if let Some(command) = self.command_of(batch, (called, purpose), prepared) {
                batch.transition.apply(command).map_err(crate::refused)?;
            }
        }
        Ok(())
    }

    // What the gate's answer means to the step; none where it waits, and its reason still stands.
    fn command_of(
        &mut self,
        batch: &mut Batch,
        (called, purpose): (Called, Purpose),
        prepared: Prepared,
    ) -> Option<Command> {
        let Called { step, skill, waits_for } = called;
        Some(match prepared {
            Prepared::Call(ready) => {
                let command = Command::Claim {
                    step,
                    purpose,
                    fence: self.fence,
                    input: ready.input_digest.clone(),
                    approval: ready.approval.clone(),
                    spend: ready.spend.clone(),
                    reserved: ready.reserved.clone(),
                    mandate: ready.mandate.as_ref().map(|mandate| mandate.used.clone()),
                };
                self.check(batch, skill);
                if let Some(mandate) = &ready.mandate {
                    consume(batch, mandate);
                }
                batch.begins = true;
                batch.ready.push(*ready);
                command
            }
            Prepared::Skip(message) => Command::Skip { step, message },
            Prepared::Refuse { code, message } if purpose.is_run() => {
                Command::Refuse { step, code: code.to_owned(), message }
            }
            // What undoes the step, or asks about it, is never left out in silence: people decide.
            Prepared::Refuse { code, message } => {
                let reason = match purpose {
                    Purpose::Run | Purpose::Compensate => BlockReason::CompensationFailed,
                    Purpose::Probe => BlockReason::OutcomeUnknown,
                };
                let message = Some(format!("{code}: {message}"));
                Command::Block { step, purpose, reason, message, about: None }
            }
            Prepared::Block { reason, .. }
                if waits_for == Some(reason) && reason.holds(purpose) =>
            {
                return None;
            }
            Prepared::Block { reason, message } => {
                Command::Block { step, purpose, reason, message, about: None }
            }
            Prepared::Ask { message, about, write } => {
                batch.writes.extend(write.map(|write| *write));
                let reason = BlockReason::ApprovalRequired;
                Command::Block { step, purpose, reason, message: Some(message), about }
            }
        })
    }

    // Places of steps that can be called now, and what for.
    pub(super) fn work(&mut self, state: &Execution, now: Timestamp) -> Vec<(usize, Purpose)> {
        let undo = state.next_undo(now).map(|place| (place, Purpose::Compensate));
        let stopped = state.paused || state.closing();
        let held = !std::mem::replace(&mut self.looked_at_held, true);
        let run = state.steps.iter().enumerate().filter_map(|(place, step)| {
            let due = step.retry_at.is_none_or(|at| at <= now);
            match step.state {
                StepStatus::Ready if !stopped => Some((place, Purpose::Run)),
                StepStatus::Held if !stopped && held => Some((place, Purpose::Run)),
                StepStatus::Retrying if !stopped && due => Some((place, Purpose::Run)),
                StepStatus::InDoubt if state.can_probe(place) && !state.paused => {
                    Some((place, Purpose::Probe))
                }
                StepStatus::Pending
                | StepStatus::Ready
                | StepStatus::Blocked
                | StepStatus::Held
                | StepStatus::Running
                | StepStatus::Completed
                | StepStatus::Retrying
                | StepStatus::Failed
                | StepStatus::InDoubt
                | StepStatus::Skipped
                | StepStatus::Cancelled
                | StepStatus::Compensating
                | StepStatus::Compensated
                | StepStatus::Stuck => None,
            }
        });
        undo.into_iter().chain(run).take(BATCH_MAX).collect()
    }

    // INVARIANT (claim-is-one-transaction): freezes and limits are those that were looked at, the
    // policy set is the one that judged, the skill is enabled, all in the transaction of the claim.
    pub(super) fn check(&self, batch: &mut Batch, skill: usize) {
        let state = batch.transition.state();
        let workspace = &state.workspace;
        let mut check = |check: Check, key, condition| {
            if !batch.checks.iter().any(|(_, other)| *other == check) {
                batch.checks.push((batch.writes.len(), check));
                batch.writes.push(Write::Check { key, condition });
            }
        };
        let (key, condition) = Base::governance_check(&self.governed);
        check(Check::Governance, key, condition);
        let version = state
            .ruling
            .as_ref()
            .and_then(|ruling| ruling.policy_version.parse().ok())
            .unwrap_or(0);
        check(Check::Policy, keys::policy_active(workspace), Condition::VersionIs(version));
        if let Some((key, condition)) = self.facts.get().and_then(|(_, key)| key.check()) {
            check(Check::Requester, key, condition);
        }
        if let Some(pin) = state.plan().and_then(|plan| plan.plan().skills.get(skill)) {
            let key = keys::skill(workspace, &pin.key, &pin.version);
            check(Check::Skill(skill), key, Condition::FieldAtMost("disabled".into(), 0));
        }
    }
}

// What the claim keeps of a mandate; and that who made it may still, once for each key.
fn consume(batch: &mut Batch, mandate: &Mandated) {
    batch.writes.extend(mandate.writes.iter().cloned());
    let Some((key, condition)) = mandate.check.clone() else { return };
    let checked = |write: &Write| matches!(write, Write::Check { key: other, .. } if *other == key);
    if !batch.writes.iter().any(checked) {
        batch.checks.push((batch.writes.len(), Check::MandateMaker));
        batch.writes.push(Write::Check { key, condition });
    }
}

// Whether a call that was due is so still.
fn due(state: &Execution, place: usize, purpose: Purpose, now: Timestamp) -> bool {
    let step = state.steps.get(place).map(|step| step.state);
    match purpose {
        Purpose::Run => {
            let waits =
                matches!(step, Some(StepStatus::Ready | StepStatus::Held | StepStatus::Retrying));
            waits && !state.paused && !state.closing()
        }
        Purpose::Probe => step == Some(StepStatus::InDoubt),
        Purpose::Compensate => state.next_undo(now) == Some(place),
    }
}
