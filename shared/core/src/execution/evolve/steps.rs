//! What an event of a step changes.

use super::*;
use contracts::event::{StepChanged, StepCompleted, StepResolved};

impl Execution {
    pub(super) fn step_completed(&mut self, data: &StepCompleted) {
        self.apply(&data.step_id, StepInput::Complete, |step| {
            step.output = Some(data.output_digest.clone());
            step.unanswered = false;
        })
    }

    pub(super) fn step_failed(&mut self, data: &StepChanged) {
        self.apply(&data.step_id, StepInput::Fail, |step| {
            step.code = data.code.clone();
            step.message = data.message.clone();
            step.unanswered = data.unanswered;
        });
        if data.budget_refunded {
            self.refund_budget(&data.step_id);
        }
    }

    pub(super) fn step_skipped(&mut self, data: &StepChanged) {
        self.apply(&data.step_id, StepInput::Skip, |step| {
            step.code = data.code.clone();
            step.message = data.message.clone();
        })
    }

    pub(super) fn step_resolved(&mut self, data: &StepResolved) {
        let before = self.step(&data.step_id).map(|step| step.state);
        let in_doubt = before == Some(StepStatus::InDoubt);
        let input = match data.outcome {
            Resolution::Completed => StepInput::Complete,
            Resolution::Failed => StepInput::Fail,
            Resolution::Retry => StepInput::Retry,
        };
        self.apply(&data.step_id, input, |step| {
            step.retry_at = Some(data.at);
            step.unanswered &= data.outcome == Resolution::Retry;
            if data.output_digest.is_some() {
                step.output = data.output_digest.clone();
            }
            if data.outcome == Resolution::Failed {
                step.code = Some("RESOLVED_FAILED".into());
            }
            if data.outcome == Resolution::Retry {
                // People allowed another call: it needs its own approval, and the
                // reservation of the call before still counts.
                (step.approval, step.undo_approval, step.asked) = (None, None, None);
                let held =
                    if in_doubt { step.reservation.take() } else { step.undo_reservation.take() };
                step.keep_reservation(held);
            }
        });
        // A stuck step has had its effect, so its budget is not refunded.
        if data.outcome == Resolution::Failed && in_doubt {
            self.refund_budget(&data.step_id);
        }
    }

    pub(super) fn step_blocked(&mut self, data: &StepBlocked) {
        let Some(id) = &data.step_id else { return };
        let policy = self.ruling.as_ref().map(|ruling| ruling.policy_digest.clone());
        let asked = |step: &mut Step| {
            let digests =
                data.input_digest.clone().zip(data.view_digest.clone()).zip(policy.clone());
            if data.reason == BlockReason::ApprovalRequired {
                step.asked = digests.map(|((input, view), policy)| Asked {
                    purpose: data.purpose,
                    about: About {
                        input,
                        view,
                        requirement: match data.requirement.as_slice() {
                            [] => ballot::anybody(),
                            given => given.to_vec(),
                        },
                    },
                    policy,
                });
            }
        };
        let input = match (data.purpose, data.reason) {
            // A call beside the step's own that waits for an operator: nothing of the step changes.
            (Purpose::Probe | Purpose::Compensate, reason) if reason.holds(data.purpose) => {
                self.change(id, |step| {
                    step.waits_for = Some(data.reason);
                    step.message = data.message.clone();
                    step.since = Some(data.blocked_at);
                });
                return;
            }
            // A probe that may not be asked: people say what became of the call.
            (Purpose::Probe, _) => {
                self.change(id, |step| {
                    step.probe_attempt = step.probe_attempt.max(PROBE_ATTEMPTS_MAX);
                    step.message = data.message.clone();
                });
                return;
            }
            (Purpose::Compensate, _) => StepInput::Stick,
            (
                Purpose::Run,
                BlockReason::ApprovalRequired
                | BlockReason::ApprovalExpired
                | BlockReason::BudgetExceeded
                | BlockReason::PolicyBlocked,
            ) => StepInput::Block,
            (
                Purpose::Run,
                BlockReason::SkillDisabled
                | BlockReason::WorkspaceFrozen
                | BlockReason::Frozen
                | BlockReason::RequesterRevoked
                | BlockReason::UsageExceeded,
            ) => StepInput::Hold,
            (Purpose::Run, BlockReason::OutcomeUnknown) => StepInput::Doubt,
            (Purpose::Run, BlockReason::CompensationFailed) => StepInput::Stick,
            (Purpose::Run, BlockReason::AwaitingCallback) => StepInput::Await,
        };
        let escalated =
            data.reason == BlockReason::ApprovalRequired && data.purpose == Purpose::Run;
        self.apply(id, input, |step| {
            step.waits_for = Some(data.reason);
            step.message = data.message.clone();
            step.until = data.until;
            step.escalated |= escalated;
            step.unanswered |= input == StepInput::Doubt;
            asked(step);
        });
    }

    pub(super) fn step_started(&mut self, data: &StepStarted) {
        let input = match data.purpose {
            Purpose::Run => StepInput::Claim,
            Purpose::Probe => StepInput::ClaimProbe,
            Purpose::Compensate => StepInput::ClaimUndo,
        };
        self.apply(&data.step_id, input, |step| {
            step.fence = Some(data.fence);
            step.purpose = data.purpose;
            match data.purpose {
                Purpose::Run => step.attempt = data.attempt,
                Purpose::Probe => step.probe_attempt = data.attempt,
                Purpose::Compensate => step.undo_attempt = data.attempt,
            }
            if data.approval_id.is_some() {
                match data.purpose {
                    Purpose::Run | Purpose::Probe => step.approval = data.approval_id.clone(),
                    Purpose::Compensate => step.undo_approval = data.approval_id.clone(),
                }
            }
            step.asked = None;
            step.code = None;
            step.message = None;
        });
        if let Some(used) = &data.approval_id
            && let Some(approval) = self.approval_mut(used)
        {
            approval.consumed.insert(data.step_id.clone());
        }
        if data.spend != Radius::default() || !data.reserved.is_empty() {
            let reservation = Reservation {
                spend: data.spend.clone(),
                meters: data.reserved.clone(),
                at: data.started_at,
            };
            if let Some(step) =
                self.index_of(&data.step_id).and_then(|index| self.steps.get_mut(index))
            {
                match data.purpose {
                    Purpose::Run => step.reservation = Some(reservation),
                    Purpose::Probe => step.probe_reservation = Some(reservation),
                    Purpose::Compensate => step.undo_reservation = Some(reservation),
                }
            }
            self.spent = plan::sum(&self.spent, &data.spend);
        }
    }

    // The call had no effect: the reservation of its claim is refunded.
    pub(super) fn refund_budget(&mut self, id: &StepId) {
        if let Some(step) = self.index_of(id).and_then(|index| self.steps.get_mut(index)) {
            step.reservation = None;
        }
        let reservations = self.steps.iter().flat_map(Step::reservations);
        self.spent = reservations
            .fold(Radius::default(), |total, reservation| plan::sum(&total, &reservation.spend));
    }

    pub(super) fn step_retried(
        &mut self,
        id: &StepId,
        retry_at: Timestamp,
        data: &contracts::event::StepRetried,
    ) {
        let Some(before) = self.step(id).map(|step| step.state) else {
            return;
        };
        if before == StepStatus::Blocked {
            self.apply(id, StepInput::Unblock, |_| {});
            return;
        }
        self.apply(id, StepInput::Retry, |step| {
            step.retry_at = Some(retry_at);
            step.unanswered =
                data.unanswered || (step.unanswered && data.code.as_deref() != Some(NOT_DONE));
            step.code = data.code.clone();
            step.message = data.message.clone();
            step.purpose = if step.state == StepStatus::Compensating {
                Purpose::Compensate
            } else {
                Purpose::Run
            };
        });
        let planned = self.index_of(id).and_then(|index| self.planned(index));
        let counts = planned.is_none_or(|planned| planned.call.effect == Effect::NonIdempotent);
        if counts && data.code.as_deref() == Some(NOT_DONE) {
            // Each call counts, and the tool's word that the first did nothing is no approval of a
            // second.
            self.change(id, |step| step.approval = None);
        }
        if before == StepStatus::Failed {
            // A person tries again: it needs its approval anew, and what was skipped because of it
            // may run.
            if let Some(step) = self.index_of(id).and_then(|index| self.steps.get_mut(index)) {
                (step.retry_at, step.approval) = (None, None);
            }
            self.revive_after(id);
            if self.status == Status::Failed {
                self.status = Status::Running;
                self.reasons.clear();
            }
        }
    }

    fn revive_after(&mut self, id: &StepId) {
        let graph = self.graph.clone();
        let mut open: Vec<usize> = self.index_of(id).into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(index) = open.pop() {
            for next in
                graph.dependents.get(index).into_iter().flatten().filter(|next| seen.insert(**next))
            {
                if let Some(step) = self.steps.get_mut(*next)
                    && step.state == StepStatus::Skipped
                    && step.code.as_deref() == Some(DEPENDENCY_FAILED)
                    && let Some(state) = step::next(step.state, StepInput::Revive)
                {
                    *step = Step { state, ..Step::new(step.id.clone()) };
                    self.touched.insert(*next);
                    open.push(*next);
                }
            }
        }
    }

    // The execution failed with calls in flight: their outcomes stay unknown.
    pub(super) fn abandon_calls(&mut self) {
        let at = self.updated_at;
        for index in 0..self.steps.len() {
            let read =
                self.planned(index).is_some_and(|planned| planned.call.effect == Effect::Read);
            let Some(step) = self.steps.get_mut(index) else {
                continue;
            };
            let (input, waits_for) = match step.state {
                // What waited for an operator to be undone waits no more: nothing is undone.
                StepStatus::Completed if step.waits_for.take().is_some() => {
                    self.touched.insert(index);
                    continue;
                }
                StepStatus::Running if read => (StepInput::Cancel, None),
                StepStatus::Running => (StepInput::Doubt, Some(BlockReason::OutcomeUnknown)),
                // Compensation is not retried, and a compensation call in flight may have had its
                // effect.
                StepStatus::Compensating => {
                    (StepInput::Stick, Some(BlockReason::CompensationFailed))
                }
                StepStatus::Pending
                | StepStatus::Ready
                | StepStatus::Blocked
                | StepStatus::Held
                | StepStatus::Completed
                | StepStatus::Retrying
                | StepStatus::Failed
                | StepStatus::InDoubt
                | StepStatus::Skipped
                | StepStatus::Cancelled
                | StepStatus::Compensated
                | StepStatus::Stuck => continue,
            };
            if let Some(state) = step::next(step.state, input) {
                step.unanswered |= step.state == StepStatus::Running && !read;
                (step.state, step.since) = (state, waits_for.map(|_| at));
                (step.fence, step.until, step.retry_at) = (None, None, None);
                step.waits_for = waits_for;
                self.touched.insert(index);
            }
        }
    }
}
