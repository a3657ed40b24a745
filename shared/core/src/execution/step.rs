//! The state machine of one step. All of it is in [`TRANSITIONS`], which a golden file draws.

use contracts::{
    Digest, StepId, Timestamp,
    event::{BlockReason, Purpose, Requirement, Reserved},
    id::ApprovalId,
    plan::Radius,
    status::StepStatus,
};
use serde::{Deserialize, Serialize};

/// An input of the step machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepInput {
    /// All its dependencies are completed.
    BecomeReady,
    /// People must decide.
    Block,
    /// An operator must act.
    Hold,
    /// The reason for waiting is gone.
    Unblock,
    /// A worker claims it to call its tool.
    Claim,
    /// A worker claims it to probe the outcome of its call.
    ClaimProbe,
    /// A worker claims it to compensate it.
    ClaimUndo,
    /// The tool accepted the work and will call back.
    Await,
    Complete,
    Fail,
    /// Another attempt is due later.
    Retry,
    /// The outcome is unknown.
    Doubt,
    Skip,
    Cancel,
    /// Compensation failed for good.
    Stick,
    /// A step that it depends on is retried.
    Revive,
}

impl StepInput {
    /// Every input.
    pub const ALL: [Self; 16] = [
        Self::BecomeReady,
        Self::Block,
        Self::Hold,
        Self::Unblock,
        Self::Claim,
        Self::ClaimProbe,
        Self::ClaimUndo,
        Self::Await,
        Self::Complete,
        Self::Fail,
        Self::Retry,
        Self::Doubt,
        Self::Skip,
        Self::Cancel,
        Self::Stick,
        Self::Revive,
    ];
}

/// Every transition: on an input, from any of these states, to this one. What is not here is
/// refused.
const TRANSITIONS: &[(StepInput, &[StepStatus], StepStatus)] = {
    use StepInput as I;
    use StepStatus as S;
    &[
        (I::BecomeReady, &[S::Pending], S::Ready),
        (I::Block, &[S::Ready, S::Blocked, S::Held, S::Retrying], S::Blocked),
        (I::Hold, &[S::Ready, S::Held, S::Retrying], S::Held),
        (I::Unblock, &[S::Blocked, S::Held], S::Ready),
        (I::Unblock, &[S::Stuck], S::Compensating),
        (I::Claim, &[S::Ready, S::Held, S::Retrying], S::Running),
        (I::ClaimProbe, &[S::InDoubt], S::Running),
        (I::ClaimUndo, &[S::Completed, S::Compensating], S::Compensating),
        (I::Await, &[S::Running], S::Running),
        (I::Complete, &[S::Running, S::InDoubt], S::Completed),
        (I::Complete, &[S::Compensating, S::Stuck], S::Compensated),
        (
            I::Fail,
            &[S::Ready, S::Blocked, S::Held, S::Running, S::Retrying, S::InDoubt, S::Stuck],
            S::Failed,
        ),
        (I::Retry, &[S::Running, S::InDoubt], S::Retrying),
        (I::Retry, &[S::Failed], S::Ready),
        (I::Retry, &[S::Compensating, S::Stuck], S::Compensating),
        (I::Doubt, &[S::Running], S::InDoubt),
        // An earlier call may have had its effect, and no further call is made.
        (I::Doubt, &[S::Ready, S::Blocked, S::Held, S::Retrying, S::Failed], S::InDoubt),
        (I::Skip, &[S::Pending, S::Ready, S::Blocked, S::Held], S::Skipped),
        (I::Cancel, &[S::Pending, S::Ready, S::Blocked, S::Held, S::Retrying], S::Cancelled),
        // An aborted read has no effect, so it is not in doubt.
        (I::Cancel, &[S::Running], S::Cancelled),
        (I::Stick, &[S::Compensating], S::Stuck),
        // Its compensation may not be called: people decide.
        (I::Stick, &[S::Completed], S::Stuck),
        (I::Revive, &[S::Skipped], S::Pending),
    ]
};

/// The state after an input; `None` where the state does not take it.
pub fn next(state: StepStatus, input: StepInput) -> Option<StepStatus> {
    let takes = |(on, from, _): &&(StepInput, &[StepStatus], StepStatus)| {
        *on == input && from.contains(&state)
    };
    TRANSITIONS.iter().find(takes).map(|(_, _, to)| *to)
}

/// The idempotent record of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub id: StepId,
    pub state: StepStatus,
    /// Calls made for its own effect; 0 before the first.
    pub attempt: u32,
    /// Compensation calls made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undo_attempt: u32,
    /// Probes made of a call whose outcome is unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe_attempt: u32,
    /// The lease epoch of the call in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    #[serde(default)]
    pub purpose: Purpose,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<BlockReason>,
    /// Since when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Next attempt not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// For a tool that calls back: until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Digest>,
    /// The approval its claim consumed; covers automatic retries too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// Policy asked for people once the actual input was known.
    #[serde(default)]
    pub escalated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A call may have had its effect: its outcome is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
    /// The reservation of its claim, until it is refunded.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "hold")]
    pub reservation: Option<Reservation>,
    /// The reservation of its compensation.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "undoHold")]
    pub undo_reservation: Option<Reservation>,
    /// The reservation of its probe.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "probeHold")]
    pub probe_reservation: Option<Reservation>,
    /// Reservations of earlier calls that people allowed to be retried: those may have had their
    /// effect, so they still count. Kept as one sum.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "kept")]
    pub kept_reservations: Vec<Reservation>,
    /// The call that people are asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The approval that its compensation consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_approval: Option<ApprovalId>,
}

/// The call that people are asked to approve, with its actual input: an approval covers no other
/// call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    #[serde(default, skip_serializing_if = "Purpose::is_run")]
    pub purpose: Purpose,
    #[serde(flatten)]
    pub about: About,
    /// The policy set that asked. Under another one it asks anew.
    pub policy: Digest,
}

/// The digests of what people are asked to approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The actual input, sensitive values as commitments.
    pub input: Digest,
    /// The view of it that they are shown.
    pub view: Digest,
    /// Whom it asks for.
    #[serde(default = "super::ballot::anybody")]
    pub requirement: Vec<Requirement>,
}

/// What a claim reserves of the plan's budget and of the workspace's meters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    pub spend: Radius,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<Reserved>,
    pub at: Timestamp,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Step {
    /// Whether nothing was ever called for it, and it has not ended.
    pub fn untouched(&self) -> bool {
        self.state.unstarted() && self.attempt == 0 && self.kept_reservations.is_empty()
    }

    /// A step that waits.
    pub fn new(id: StepId) -> Self {
        Self {
            id,
            state: StepStatus::Pending,
            attempt: 0,
            undo_attempt: 0,
            probe_attempt: 0,
            fence: None,
            purpose: Purpose::Run,
            waits_for: None,
            since: None,
            retry_at: None,
            until: None,
            output: None,
            approval: None,
            escalated: false,
            code: None,
            message: None,
            unanswered: false,
            reservation: None,
            undo_reservation: None,
            probe_reservation: None,
            kept_reservations: Vec::new(),
            asked: None,
            undo_approval: None,
        }
    }

    /// The reservation of the call for this purpose.
    pub fn reservation_for(&self, purpose: Purpose) -> Option<&Reservation> {
        match purpose {
            Purpose::Run => self.reservation.as_ref(),
            Purpose::Probe => self.probe_reservation.as_ref(),
            Purpose::Compensate => self.undo_reservation.as_ref(),
        }
    }

    /// Keeps the reservation of a call that people allowed to be retried.
    pub(super) fn keep_reservation(&mut self, held: Option<Reservation>) {
        let Some(held) = held else { return };
        let Some(kept) = self.kept_reservations.last_mut() else {
            self.kept_reservations.push(held);
            return;
        };
        kept.spend = crate::plan::sum(&kept.spend, &held.spend);
        kept.at = held.at;
        for more in held.meters {
            match kept.meters.iter_mut().find(|one| one.meter == more.meter && one.of == more.of) {
                Some(one) => one.amount = one.amount.saturating_add(more.amount),
                None => kept.meters.push(more),
            }
        }
    }

    /// All reservations of its calls that were not refunded.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        let open = [&self.reservation, &self.probe_reservation, &self.undo_reservation]
            .into_iter()
            .flatten();
        open.chain(&self.kept_reservations)
    }

    /// The number of the call in flight, for its purpose.
    pub fn call_attempt(&self) -> u32 {
        match self.purpose {
            Purpose::Run => self.attempt,
            Purpose::Probe => self.probe_attempt,
            Purpose::Compensate => self.undo_attempt,
        }
    }

    /// A call to its tool is in flight; the worker that claimed it will settle it.
    pub fn in_flight(&self) -> bool {
        self.fence.is_some()
    }

    /// Whether its tool answered 202 and will call back.
    pub fn awaits_callback(&self) -> bool {
        self.state == StepStatus::Running && self.waits_for == Some(BlockReason::AwaitingCallback)
    }

    /// Whether its tool may call back: it answered 202, or its 202 may still be under way.
    pub fn takes_callback(&self) -> bool {
        let under_way =
            self.state == StepStatus::Running && self.purpose == Purpose::Run && self.in_flight();
        under_way || self.awaits_callback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One that is in no row was forgotten: nothing leads to it, or nothing takes it.
    #[test]
    fn every_state_and_every_input_is_in_the_table() {
        for input in StepInput::ALL {
            assert!(TRANSITIONS.iter().any(|(on, _, _)| *on == input), "{input:?}");
        }
        for state in StepStatus::ALL {
            let named = |(_, from, to): &(StepInput, &[StepStatus], StepStatus)| {
                *to == state || from.contains(&state)
            };
            assert!(TRANSITIONS.iter().any(named), "{state:?}");
        }
    }

    // The first row that fits is taken, so a second one would be dead.
    #[test]
    fn no_state_and_input_are_in_two_rows() {
        for input in StepInput::ALL {
            for state in StepStatus::ALL {
                let rows = TRANSITIONS
                    .iter()
                    .filter(|(on, from, _)| *on == input && from.contains(&state))
                    .count();
                assert!(rows <= 1, "{state:?} {input:?}");
            }
        }
    }
}
