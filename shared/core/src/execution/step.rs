//! The machine of one step: which state an input leads to. The whole of it is [`TRANSITIONS`]; a golden file shows it.

use contracts::{
    Digest, StepId, Timestamp,
    event::{BlockReason, Purpose, Reserved},
    id::ApprovalId,
    plan::Radius,
};
use serde::{Deserialize, Serialize};

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Waits for other steps.
    Pending,
    /// May be claimed.
    Ready,
    /// Waits for people.
    Blocked,
    /// Waits for an operator: frozen workspace, disabled skill.
    Held,
    /// Its call is in flight.
    Running,
    Completed,
    /// Waits for its next attempt.
    Retrying,
    Failed,
    /// Its call's outcome is not known.
    InDoubt,
    Skipped,
    Cancelled,
    /// Is being undone.
    Compensating,
    Compensated,
    /// Could not be undone; waits for people.
    Stuck,
}

/// What happens to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepInput {
    /// Everything it waits for is completed.
    Release,
    /// People must decide.
    Block,
    /// An operator must act.
    Hold,
    /// What it waited for is there.
    Unblock,
    /// A worker takes it to call its tool.
    Claim,
    /// A worker takes it to ask what became of its call.
    ClaimProbe,
    /// A worker takes it to undo it.
    ClaimUndo,
    /// The tool has taken the work and will call back.
    Await,
    Complete,
    Fail,
    /// Another attempt is due later.
    Retry,
    /// The outcome is lost.
    Doubt,
    Skip,
    Cancel,
    /// Undoing failed for good.
    Stick,
    /// A step it depended on is tried again.
    Revive,
}

impl StepState {
    /// Every state.
    pub const ALL: [Self; 14] = [
        Self::Pending,
        Self::Ready,
        Self::Blocked,
        Self::Held,
        Self::Running,
        Self::Completed,
        Self::Retrying,
        Self::Failed,
        Self::InDoubt,
        Self::Skipped,
        Self::Cancelled,
        Self::Compensating,
        Self::Compensated,
        Self::Stuck,
    ];

    /// Name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::Stuck => "stuck",
        }
    }

    /// No call of it is in flight, and one may be made.
    pub const fn unstarted(self) -> bool {
        match self {
            Self::Pending | Self::Ready | Self::Blocked | Self::Held | Self::Retrying => true,
            Self::Running
            | Self::Completed
            | Self::Failed
            | Self::InDoubt
            | Self::Skipped
            | Self::Cancelled
            | Self::Compensating
            | Self::Compensated
            | Self::Stuck => false,
        }
    }

    /// Nothing more happens to it on its own or by an answer.
    pub const fn settled(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled | Self::Compensated => true,
            Self::Pending
            | Self::Ready
            | Self::Blocked
            | Self::Held
            | Self::Running
            | Self::Retrying
            | Self::InDoubt
            | Self::Compensating
            | Self::Stuck => false,
        }
    }
}

impl StepInput {
    /// Every input.
    pub const ALL: [Self; 16] = [
        Self::Release,
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

/// Every transition: on an input, from any of these states, to this one. What is not here is refused.
const TRANSITIONS: &[(StepInput, &[StepState], StepState)] = {
    use StepInput as I;
    use StepState as S;
    &[
        (I::Release, &[S::Pending], S::Ready),
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
        (I::Fail, &[S::Ready, S::Blocked, S::Held, S::Running, S::Retrying, S::InDoubt, S::Stuck], S::Failed),
        (I::Retry, &[S::Running, S::InDoubt], S::Retrying),
        (I::Retry, &[S::Failed], S::Ready),
        (I::Retry, &[S::Compensating, S::Stuck], S::Compensating),
        (I::Doubt, &[S::Running], S::InDoubt),
        // A call before may have had its effect, and none is made any more.
        (I::Doubt, &[S::Ready, S::Blocked, S::Held, S::Retrying, S::Failed], S::InDoubt),
        (I::Skip, &[S::Pending, S::Ready, S::Blocked, S::Held], S::Skipped),
        (I::Cancel, &[S::Pending, S::Ready, S::Blocked, S::Held, S::Retrying], S::Cancelled),
        // A read that is aborted has nothing to be in doubt about.
        (I::Cancel, &[S::Running], S::Cancelled),
        (I::Stick, &[S::Compensating], S::Stuck),
        // What undoes it may not be called: people decide.
        (I::Stick, &[S::Completed], S::Stuck),
        (I::Revive, &[S::Skipped], S::Pending),
    ]
};

/// The state after an input; `None` where the state does not take it.
pub fn next(state: StepState, input: StepInput) -> Option<StepState> {
    let takes = |(on, from, _): &&(StepInput, &[StepState], StepState)| *on == input && from.contains(&state);
    TRANSITIONS.iter().find(takes).map(|(_, _, to)| *to)
}

/// The idempotent record of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub id: StepId,
    pub state: StepState,
    /// Calls made for its own effect; 0 before the first.
    pub attempt: u32,
    /// Calls made to undo it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undo_attempt: u32,
    /// Questions asked about a lost call.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe_attempt: u32,
    /// The lease epoch of the call in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    #[serde(default)]
    pub purpose: Purpose,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<BlockReason>,
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
    /// A call of it may have had its effect: nobody learnt what became of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
    /// What its claim reserved; nothing once it is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// What undoing it reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_hold: Option<Hold>,
    /// What asking about it reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_hold: Option<Hold>,
    /// What earlier calls reserved that people let be made again: they may have had their effect, and it still counts. One
    /// sum, however many they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Hold>,
    /// The call that people are asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The approval that undoing it consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_approval: Option<ApprovalId>,
}

/// A call with its actual input, as people are asked about it: an approval covers this one and no other.
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

/// What people are asked about, by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The actual input, sensitive values as commitments.
    pub input: Digest,
    /// What they are shown of it.
    pub view: Digest,
}

/// What a claim reserved of the plan's budget and of the workspace's meters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    pub spend: Radius,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<Reserved>,
    pub at: Timestamp,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Step {
    /// A step that waits.
    pub fn new(id: StepId) -> Self {
        Self {
            id,
            state: StepState::Pending,
            attempt: 0,
            undo_attempt: 0,
            probe_attempt: 0,
            fence: None,
            purpose: Purpose::Run,
            waits_for: None,
            retry_at: None,
            until: None,
            output: None,
            approval: None,
            escalated: false,
            code: None,
            message: None,
            unanswered: false,
            hold: None,
            undo_hold: None,
            probe_hold: None,
            kept: Vec::new(),
            asked: None,
            undo_approval: None,
        }
    }

    /// What a call for this purpose reserved.
    pub fn hold_for(&self, purpose: Purpose) -> Option<&Hold> {
        match purpose {
            Purpose::Run => self.hold.as_ref(),
            Purpose::Probe => self.probe_hold.as_ref(),
            Purpose::Compensate => self.undo_hold.as_ref(),
        }
    }

    /// Adds what a call reserved that people let be made again.
    pub(super) fn keep(&mut self, held: Option<Hold>) {
        let Some(held) = held else { return };
        let Some(kept) = self.kept.last_mut() else {
            self.kept.push(held);
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

    /// Everything that its calls reserved and that was not given back.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        let open = [&self.hold, &self.probe_hold, &self.undo_hold].into_iter().flatten();
        open.chain(&self.kept)
    }

    /// The number of the call in flight, for its purpose.
    pub fn call_attempt(&self) -> u32 {
        match self.purpose {
            Purpose::Run => self.attempt,
            Purpose::Probe => self.probe_attempt,
            Purpose::Compensate => self.undo_attempt,
        }
    }

    /// A call to its tool is in flight and its answer will come through the worker that claimed it.
    pub fn in_flight(&self) -> bool {
        self.fence.is_some()
    }

    /// Whether its tool answered 202 and will call back.
    pub fn awaits_callback(&self) -> bool {
        self.state == StepState::Running && self.waits_for == Some(BlockReason::AwaitingCallback)
    }

    /// Whether its tool may call back: it answered 202, or its 202 may be under way yet.
    pub fn takes_callback(&self) -> bool {
        let under_way = self.state == StepState::Running && self.purpose == Purpose::Run && self.in_flight();
        under_way || self.awaits_callback()
    }
}
