//! The foreign words of an event, cut to a length.

use crate::{
    event::{Event, ExecutionEvent, WorkspaceEvent},
    json::clip_issues,
    limits::{
        EVENT_ISSUES_BYTES_MAX, ISSUES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, NOTE_BYTES_MAX,
    },
    text::clip,
};

fn cut(text: &mut Option<String>, max: usize) {
    if let Some(given) = text.take() {
        *text = Some(clip(given, max));
    }
}

// Keeps what fits, as JSON, into the room that the same words have as issues.
fn cut_words(words: &mut Vec<String>) {
    let mut left = EVENT_ISSUES_BYTES_MAX;
    words.truncate(ISSUES_MAX);
    words.retain(|word| {
        let size = serde_json::to_string(word).map_or(usize::MAX, |text| text.len() + 1);
        let fits = size <= left;
        left = if fits { left - size } else { left };
        fits
    });
}

impl ExecutionEvent {
    /// The event with its foreign words cut. See [`Event::clipped`].
    #[must_use]
    pub fn clipped(mut self) -> Self {
        match &mut self {
            Self::IntentReceived(data) => cut(&mut data.channel_key, MESSAGE_BYTES_MAX),
            Self::PlanCompiled(data) => {
                cut(&mut data.planner_model, NAME_BYTES_MAX);
                if let Some(edit) = &mut data.edit {
                    edit.reason = clip(std::mem::take(&mut edit.reason), NOTE_BYTES_MAX);
                }
            }
            Self::PlanRejected(data) => {
                cut_words(&mut data.reasons);
                data.issues = clip_issues(std::mem::take(&mut data.issues));
            }
            Self::StepBlocked(data) => cut(&mut data.message, MESSAGE_BYTES_MAX),
            Self::StepFailed(data) | Self::StepSkipped(data) | Self::StepCompensated(data) => {
                cut(&mut data.code, NAME_BYTES_MAX);
                cut(&mut data.message, MESSAGE_BYTES_MAX);
            }
            Self::StepRetried(data) => {
                cut(&mut data.code, NAME_BYTES_MAX);
                cut(&mut data.message, MESSAGE_BYTES_MAX);
            }
            Self::ApprovalRequested(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::ApprovalVoted(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::ApprovalWithdrawn(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::ApprovalCommented(data) | Self::ApprovalReviewed(data) => {
                data.text = clip(std::mem::take(&mut data.text), NOTE_BYTES_MAX);
            }
            Self::ApprovalOverridden(data)
            | Self::ApprovalGranted(data)
            | Self::ApprovalRejected(data)
            | Self::ApprovalExpired(data)
            | Self::ApprovalVoided(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::ExecutionFailed(data) => {
                data.error_code = clip(std::mem::take(&mut data.error_code), NAME_BYTES_MAX);
                cut(&mut data.error_message, MESSAGE_BYTES_MAX);
            }
            Self::ExecutionCancelled(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::ExecutionPaused(data) | Self::ExecutionResumed(data) => {
                cut(&mut data.reason, NOTE_BYTES_MAX)
            }
            Self::PlanVerified(_)
            | Self::ExecutionStarted(_)
            | Self::StepStarted(_)
            | Self::StepCompleted(_)
            | Self::StepResolved(_)
            | Self::ExecutionCompleted(_) => {}
        }
        self
    }
}

impl WorkspaceEvent {
    /// The event with its foreign words cut. See [`Event::clipped`].
    #[must_use]
    pub fn clipped(mut self) -> Self {
        match &mut self {
            Self::SkillRejected(data) => {
                data.skill_key = clip(std::mem::take(&mut data.skill_key), MESSAGE_BYTES_MAX);
                cut(&mut data.version, MESSAGE_BYTES_MAX);
                data.reason = clip(std::mem::take(&mut data.reason), NOTE_BYTES_MAX);
                cut(&mut data.provenance, MESSAGE_BYTES_MAX);
                data.issues = clip_issues(std::mem::take(&mut data.issues));
            }
            Self::SkillInstalled(data) => {
                cut(&mut data.publisher, MESSAGE_BYTES_MAX);
                cut(&mut data.provenance, MESSAGE_BYTES_MAX);
            }
            Self::SkillDisabled(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::SkillEnabled(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::GovernanceChanged(data) => cut(&mut data.reason, NOTE_BYTES_MAX),
            Self::SubscriptionCreated(data)
            | Self::SubscriptionRemoved(data)
            | Self::SubscriptionSecretRotated(data)
            | Self::SubscriptionTested(data) => {
                data.target = clip(std::mem::take(&mut data.target), MESSAGE_BYTES_MAX);
            }
            Self::SessionStarted(data) => cut_words(&mut data.groups),
            Self::SessionRefused(data) => {
                data.reason = clip(std::mem::take(&mut data.reason), NOTE_BYTES_MAX);
            }
            Self::PolicyActivated(_)
            | Self::WorkspaceCreated(_)
            | Self::KeyCreated(_)
            | Self::KeyRevoked(_)
            | Self::ToolSecretRotated(_)
            | Self::EvidenceExported(_) => {}
        }
        self
    }
}

impl Event {
    /// The event with every text in it that a caller, a tool or a publisher wrote cut to its limit,
    /// so that the whole is below [`crate::limits::EVENT_BYTES_MAX`] whoever wrote it. Doing it
    /// twice changes nothing.
    ///
    /// INVARIANT (bounded-work): both logs append what comes out of here, and state is folded from
    /// it.
    #[must_use]
    pub fn clipped(self) -> Self {
        match self {
            Self::Execution(event) => Self::Execution(event.clipped()),
            Self::Workspace(event) => Self::Workspace(event.clipped()),
        }
    }
}
