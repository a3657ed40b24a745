//! The commit of a batch, and what is done where it does not come about.

use super::*;

impl Turn {
    pub(super) async fn commit(&mut self, batch: Batch) -> Answer<Committed> {
        let now = batch.transition.now();
        let begins = batch.begins;
        let (state, events) = batch.transition.into_parts();
        let held = (self.loaded.lease.clone(), self.loaded.epoch, self.loaded.wait.clone());
        // INVARIANT (no-effect-without-plan): nothing is sent before this commit is durable.
        let stays =
            begins || !self.calls.is_empty() || state.steps.iter().any(|step| step.in_flight());
        let more = matches!(state.status, Status::Running | Status::Cancelling);
        self.take_lease(now);
        if !stays && !more {
            self.loaded.lease = None;
        }
        self.loaded.wait = None;
        self.loaded.usage_seen = self.metering.versions();
        let stamp = self.stamp(now);
        let runs = self.runs.clone();
        let commit = Commit { extra: batch.writes, ..Commit::new(state, events, stamp) };
        match runs.base.store.commit(&mut self.loaded, commit).await {
            Ok(()) => {
                self.faults = 0;
                for settled in self.settled.drain(..batch.settled) {
                    self.sent.remove(&settled.id());
                    if let Some(output) = settled.output {
                        self.outputs.put(settled.step, output);
                    }
                }
                for ready in batch.ready {
                    let call = runs.tool_calls.tool_call(
                        &self.loaded,
                        &self.tool_secrets,
                        &self.signer,
                        &ready,
                    );
                    let attempt =
                        self.loaded.state.step(&ready.step).map_or(0, |step| step.call_attempt());
                    self.sent.insert((ready.step.clone(), ready.purpose, attempt));
                    let owner = (self.loaded.state.workspace.clone(), self.loaded.state.id.clone());
                    self.calls
                        .push(runs.tool_calls.clone().send(owner, ready, attempt, call).boxed());
                }
                Ok(Committed::Yes)
            }
            Err(CommitError::Extra(index)) => {
                let failed =
                    batch.checks.iter().find(|(at, _)| *at == index).map(|(_, check)| *check);
                (self.loaded.lease, self.loaded.epoch, self.loaded.wait) = held;
                self.refuted(failed).await
            }
            Err(CommitError::Conflict | CommitError::Repeated) => {
                (self.loaded.lease, self.loaded.epoch, self.loaded.wait) = held;
                if !self.loaded.usage_seen.is_empty() {
                    // Many may be at one meter: not all at once again.
                    let draw =
                        self.runs.base.ports.ids.secret().first().copied().unwrap_or_default();
                    self.runs.base.ports.clock.sleep(1 + u64::from(draw) / 8).await;
                }
                self.reload().await
            }
            Err(CommitError::Port(fault)) => {
                (self.loaded.lease, self.loaded.epoch, self.loaded.wait) = held;
                self.faults += 1;
                if self.faults > FAULTS_MAX {
                    return Err(fault.into());
                }
                tracing::warn!(%fault, "a commit may have failed; looking again");
                self.runs.base.ports.clock.sleep(20 << self.faults).await;
                self.reload().await
            }
        }
    }

    pub(super) async fn reload(&mut self) -> Answer<Committed> {
        let (workspace, id) = (self.loaded.state.workspace.clone(), self.loaded.state.id.clone());
        self.loaded = self.runs.base.store.load(&workspace, &id).await?;
        // Two workers that began at the same time have the same fence; the lease says whose it
        // became.
        let ours = self.loaded.lease.as_ref().is_some_and(|lease| lease.owner == self.owner);
        if self.loaded.epoch >= self.fence && !ours {
            return Ok(Committed::LeaseLost);
        }
        // An ambiguous commit that did happen: outcomes that are recorded need no recording.
        // INVARIANT (one-gate): the outcome of a step's own call is none of the call that undoes
        // it, which may be claimed in the same commit.
        let ours = self.loaded.state.steps.iter().filter(|step| step.fence == Some(self.fence));
        let live: BTreeSet<CallId> = ours.map(call_id).collect();
        self.settled.retain(|settled| live.contains(&settled.id()));
        self.sent.retain(|call| live.contains(call));
        Ok(Committed::Again)
    }

    // A check of the claim did not hold: the world changed since the plan was judged.
    pub(super) async fn refuted(&mut self, check: Option<Check>) -> Answer<Committed> {
        let workspace = self.loaded.state.workspace.clone();
        if matches!(self.reload().await?, Committed::LeaseLost) {
            return Ok(Committed::LeaseLost);
        }
        self.governed = self.runs.in_force.governed_for(&workspace, &self.loaded.state.id).await?;
        self.snapshot = self.runs.in_force.snapshot(&workspace).await?;
        self.facts = OnceLock::new();
        let now = self.runs.base.now();
        let mut transition = Transition::begin(&self.loaded.state, now);
        let mut writes = Vec::new();
        match check {
            Some(Check::Policy) => {
                let (_, command, records) = self.runs.verdicts.judge(&self.loaded.state).await?;
                writes.extend(records);
                transition.apply(command).map_err(crate::refused)?;
            }
            Some(Check::Skill(skill)) => {
                self.begin(&mut transition)?;
                hold(&mut transition, BlockReason::SkillDisabled, |own| own == skill);
            }
            // What was changed is looked at when the steps are prepared again.
            Some(Check::Governance | Check::Requester | Check::MandateMaker) | None => {
                return Ok(Committed::Again);
            }
        }
        let (state, events) = transition.into_parts();
        if events.is_empty() {
            return Ok(Committed::Again); // a held step whose reason still stands
        }
        let stamp = self.stamp(now);
        let runs = self.runs.clone();
        let commit = Commit { extra: writes, ..Commit::new(state, events, stamp) };
        match runs.base.store.commit(&mut self.loaded, commit).await {
            Ok(()) => Ok(Committed::Again),
            Err(CommitError::Port(fault)) => Err(fault.into()),
            Err(CommitError::Conflict | CommitError::Repeated | CommitError::Extra(_)) => {
                self.reload().await
            }
        }
    }
}

// Holds the ready steps whose skill `pins` accepts.
fn hold(transition: &mut Transition, reason: BlockReason, pins: impl Fn(usize) -> bool) {
    let state = transition.state();
    let ready = |(place, step): (usize, &cs_core::execution::Step)| {
        let waits = matches!(step.state, StepStatus::Ready | StepStatus::Retrying);
        let pinned = state.planned(place).is_some_and(|planned| pins(planned.call.skill));
        (waits && pinned).then(|| step.id.clone())
    };
    let steps: Vec<StepId> =
        state.steps.iter().enumerate().filter_map(ready).take(BATCH_MAX).collect();
    for step in steps {
        let purpose = Purpose::Run;
        let _ =
            transition.apply(Command::Block { step, purpose, reason, message: None, about: None });
    }
}
