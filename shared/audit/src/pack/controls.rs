//! What each control asks for, in our words, and which events answer it.

use contracts::{
    event::{BlockReason, Event, ExecutionEvent as E, WorkspaceEvent as W},
    pack::Control,
    verdict::{RiskTier, Verdict},
};

/// What a control asks for.
pub(super) struct Asked {
    pub(super) title: &'static str,
    pub(super) asks: &'static str,
    pub(super) answer: Answer,
}

/// What answers it.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// Every execution that was used in the period, one line each.
    Executions,
    /// Events in the period.
    Events(fn(&Event) -> bool),
    /// The same, and the last one before the period: what was in force when it began.
    InForce(fn(&Event) -> bool),
}

/// A count of events in the period.
pub(super) type Figure = (&'static str, fn(&Event) -> bool);

/// What a control asks for, in order.
pub(super) fn asked(control: Control) -> &'static [Asked] {
    match control {
        Control::EuAiAct12 => EU_AI_ACT_12,
        Control::EuAiAct14 => EU_AI_ACT_14,
        Control::Soc2Cc7 => SOC2_CC7,
        Control::Iso42001 => ISO42001,
    }
}

/// What is counted.
pub(super) fn figures(control: Control) -> &'static [Figure] {
    match control {
        Control::EuAiAct12 => &[
            ("intents received", |event| is(event, |event| matches!(event, E::IntentReceived(_)))),
            ("calls made", |event| is(event, |event| matches!(event, E::StepStarted(_)))),
            ("completed", |event| is(event, |event| matches!(event, E::ExecutionCompleted(_)))),
            ("failed", |event| is(event, |event| matches!(event, E::ExecutionFailed(_)))),
            ("rejected", |event| is(event, |event| matches!(event, E::PlanRejected(_)))),
            ("cancelled", |event| is(event, |event| matches!(event, E::ExecutionCancelled(_)))),
        ],
        Control::EuAiAct14 => &[
            ("requests", |event| is(event, |event| matches!(event, E::ApprovalRequested(_)))),
            ("granted", |event| is(event, |event| matches!(event, E::ApprovalGranted(_)))),
            ("rejected", |event| is(event, |event| matches!(event, E::ApprovalRejected(_)))),
            ("expired", |event| is(event, |event| matches!(event, E::ApprovalExpired(_)))),
            ("overridden", |event| is(event, |event| matches!(event, E::ApprovalOverridden(_)))),
            ("plans judged autonomous", |event| is(event, is_autonomous)),
        ],
        Control::Soc2Cc7 => &[
            ("changes", is_change),
            ("refused attempts", is_refusal),
            ("failures", is_failure),
            ("in doubt", is_doubt),
            ("responses", is_response),
            ("recoveries", is_recovery),
        ],
        Control::Iso42001 => &[
            ("low risk", |event| tier(event) == Some(RiskTier::Low)),
            ("medium risk", |event| tier(event) == Some(RiskTier::Medium)),
            ("high risk", |event| tier(event) == Some(RiskTier::High)),
            ("blocked", |event| tier(event) == Some(RiskTier::Blocked)),
            ("votes of people", |event| is(event, |event| matches!(event, E::ApprovalVoted(_)))),
            ("overridden", |event| is(event, |event| matches!(event, E::ApprovalOverridden(_)))),
        ],
    }
}

const EU_AI_ACT_12: &[Asked] = &[
    Asked {
        title: "Each use",
        asks: "Article 12(1) and 12(3)(a): events are recorded automatically, with the period of \
            each use. Who asked, for whom, from when to when, under which plan and policies, and \
            how it ended.",
        answer: Answer::Executions,
    },
    Asked {
        title: "Calls and their results",
        asks: "Article 12(2)(b) and (c): what monitoring of the operation needs. Each call that \
            was made, the digest of its input, and what came of it.",
        answer: Answer::Events(|event| is(event, is_call)),
    },
    Asked {
        title: "Situations that may present a risk",
        asks: "Article 12(2)(a): what policy refused or stopped, what failed, what is in doubt, \
            and what was done without the approval that was asked for.",
        answer: Answer::Events(|event| {
            is_refusal(event)
                || is_failure(event)
                || is_doubt(event)
                || is(event, |event| matches!(event, E::ApprovalOverridden(_)))
        }),
    },
    Asked {
        title: "Changes of the system",
        asks: "Article 12(2)(a): what may be a substantial modification. Policies, skills, trust, \
            keys and limits that were changed.",
        answer: Answer::Events(is_change),
    },
    Asked {
        title: "Persons who verified",
        asks: "Article 12(3)(d), for systems of Annex III, point 1(a): which persons looked at \
            what before it happened.",
        answer: Answer::Events(|event| is(event, is_vote)),
    },
];

const EU_AI_ACT_14: &[Asked] = &[
    Asked {
        title: "What people were asked",
        asks: "Article 14(4)(a) and (c): whoever oversees can understand what is proposed. Each \
            request, the digest of what was shown, who was asked for, and until when.",
        answer: Answer::Events(|event| is(event, |event| matches!(event, E::ApprovalRequested(_)))),
    },
    Asked {
        title: "What they decided",
        asks: "Article 14(4)(d): people can decide not to use an output. Each vote with the \
            person and the digest of what that person saw, and what became of the request.",
        answer: Answer::Events(|event| is(event, is_vote) || is(event, is_decision)),
    },
    Asked {
        title: "What they changed",
        asks: "Article 14(4)(d): people can override an output. Each plan that a person changed \
            before it ran, value by value.",
        answer: Answer::Events(|event| {
            is(event, |event| matches!(event, E::PlanCompiled(data) if data.edit.is_some()))
        }),
    },
    Asked {
        title: "Break-glass, and its reviews",
        asks: "What ran without the approval that was asked for, by whom, why, and who looked at \
            it after.",
        answer: Answer::Events(|event| {
            is(event, |event| matches!(event, E::ApprovalOverridden(_) | E::ApprovalReviewed(_)))
        }),
    },
    Asked {
        title: "Stops and other interventions",
        asks: "Article 14(4)(e): people can intervene, and interrupt. Executions that were \
            paused, resumed or cancelled, freezes, skills that were disabled, and what people \
            said of calls in doubt.",
        answer: Answer::Events(is_intervention),
    },
    Asked {
        title: "Approvals given beforehand",
        asks: "Mandates that were made or revoked, and each call that ran under one.",
        answer: Answer::Events(|event| {
            changed(event, &["mandates"])
                || is(
                    event,
                    |event| matches!(event, E::StepStarted(data) if data.mandate_id.is_some()),
                )
        }),
    },
];

const SOC2_CC7: &[Asked] = &[
    Asked {
        title: "Changes",
        asks: "CC7.1: changes of the configuration are detected. Policies, trust, skills, keys, \
            budgets, the directory, subscriptions and secrets that were changed.",
        answer: Answer::Events(is_change),
    },
    Asked {
        title: "Refused attempts",
        asks: "CC7.2: the system is monitored for anomalies. Skills, sign-ins and plans that were \
            refused, and calls that policy or a limit stopped.",
        answer: Answer::Events(is_refusal),
    },
    Asked {
        title: "Failures, and calls in doubt",
        asks: "CC7.3: events are evaluated. Steps and executions that failed, and calls of which \
            nobody learnt what became of them.",
        answer: Answer::Events(|event| is_failure(event) || is_doubt(event)),
    },
    Asked {
        title: "Responses",
        asks: "CC7.4: incidents are responded to. Freezes, skills that were disabled, keys that \
            were revoked, executions that were paused or cancelled, break-glass and its reviews.",
        answer: Answer::Events(is_response),
    },
    Asked {
        title: "Recovery",
        asks: "CC7.5: what was affected is restored. What people said of calls in doubt, what was \
            tried again, what was undone, and what was resumed.",
        answer: Answer::Events(is_recovery),
    },
];

const ISO42001: &[Asked] = &[
    Asked {
        title: "Policies in force",
        asks: "5.2 and A.2: policies for artificial intelligence. The set that was in force when \
            the period began, and each that was activated in it.",
        answer: Answer::InForce(|event| {
            matches!(event, Event::Workspace(W::PolicyActivated(_) | W::WorkspaceCreated(_)))
        }),
    },
    Asked {
        title: "Risk assessments",
        asks: "8.2 and 8.3: risks are assessed and treated. The verdict on each plan with its risk \
            tier, and what was rejected.",
        answer: Answer::Events(|event| {
            is(event, |event| matches!(event, E::PlanVerified(_) | E::PlanRejected(_)))
        }),
    },
    Asked {
        title: "Human oversight",
        asks: "A.9: responsible use. Who decided what, what ran without the approval that was \
            asked for, and where people intervened.",
        answer: Answer::Events(|event| {
            is(event, is_vote)
                || is(event, is_decision)
                || is(event, |event| matches!(event, E::ApprovalReviewed(_)))
                || is_intervention(event)
        }),
    },
    Asked {
        title: "Skills, and whose are trusted",
        asks: "A.10: suppliers and other third parties. Skills that were installed, refused, \
            disabled or enabled, and changes of trust.",
        answer: Answer::Events(|event| is_skill(event) || changed(event, &["trust"])),
    },
    Asked {
        title: "Other changes",
        asks: "6.3 and 8.1: changes are planned and controlled. Limits, freezes, keys, the \
            directory, mandates and the like.",
        answer: Answer::Events(|event| {
            is_change(event)
                && !is_skill(event)
                && !changed(event, &["trust"])
                && !matches!(
                    event,
                    Event::Workspace(W::PolicyActivated(_) | W::WorkspaceCreated(_))
                )
        }),
    },
];

fn is(event: &Event, wanted: fn(&E) -> bool) -> bool {
    event.execution().is_some_and(wanted)
}

fn changed(event: &Event, keys: &[&str]) -> bool {
    matches!(event, Event::Workspace(W::GovernanceChanged(data)) if keys.contains(&&*data.key))
}

fn is_autonomous(event: &E) -> bool {
    matches!(event, E::PlanVerified(data) if data.verdict == Verdict::Autonomous)
}

fn is_call(event: &E) -> bool {
    matches!(
        event,
        E::StepStarted(_)
            | E::StepCompleted(_)
            | E::StepFailed(_)
            | E::StepRetried(_)
            | E::StepResolved(_)
            | E::StepCompensated(_)
    )
}

fn is_vote(event: &E) -> bool {
    matches!(event, E::ApprovalVoted(_) | E::ApprovalWithdrawn(_))
}

fn is_decision(event: &E) -> bool {
    matches!(
        event,
        E::ApprovalGranted(_)
            | E::ApprovalRejected(_)
            | E::ApprovalExpired(_)
            | E::ApprovalVoided(_)
            | E::ApprovalOverridden(_)
    )
}

fn is_skill(event: &Event) -> bool {
    matches!(
        event,
        Event::Workspace(
            W::SkillInstalled(_) | W::SkillRejected(_) | W::SkillDisabled(_) | W::SkillEnabled(_)
        )
    )
}

// What somebody looks at, signs in to or takes away changes nothing; what was refused did not.
fn is_change(event: &Event) -> bool {
    match event {
        Event::Execution(_) => false,
        // Break-glass changes what one execution does.
        Event::Workspace(W::GovernanceChanged(data)) => data.key != "override",
        Event::Workspace(event) => !matches!(
            event,
            W::SkillRejected(_)
                | W::SubscriptionTested(_)
                | W::SessionStarted(_)
                | W::SessionRefused(_)
                | W::EvidenceExported(_)
        ),
    }
}

fn is_refusal(event: &Event) -> bool {
    match event {
        Event::Workspace(event) => {
            matches!(event, W::SkillRejected(_) | W::SessionRefused(_))
        }
        Event::Execution(E::StepBlocked(data)) => matches!(
            data.reason,
            BlockReason::PolicyBlocked
                | BlockReason::BudgetExceeded
                | BlockReason::UsageExceeded
                | BlockReason::RequesterRevoked
                | BlockReason::SkillDisabled
                | BlockReason::WorkspaceFrozen
                | BlockReason::Frozen
        ),
        Event::Execution(event) => matches!(event, E::PlanRejected(_)),
    }
}

fn is_failure(event: &Event) -> bool {
    is(event, |event| match event {
        E::StepBlocked(data) => data.reason == BlockReason::CompensationFailed,
        _ => matches!(event, E::StepFailed(_) | E::ExecutionFailed(_)),
    })
}

fn is_doubt(event: &Event) -> bool {
    is(
        event,
        |event| matches!(event, E::StepBlocked(data) if data.reason == BlockReason::OutcomeUnknown),
    )
}

fn is_intervention(event: &Event) -> bool {
    changed(event, &["freezes"])
        || matches!(event, Event::Workspace(W::SkillDisabled(_)))
        || is(event, |event| match event {
            E::StepRetried(data) => data.actor_id.is_some(),
            _ => matches!(
                event,
                E::ExecutionCancelled(_)
                    | E::ExecutionPaused(_)
                    | E::ExecutionResumed(_)
                    | E::StepResolved(_)
            ),
        })
}

fn is_response(event: &Event) -> bool {
    changed(event, &["freezes"])
        || matches!(event, Event::Workspace(W::SkillDisabled(_) | W::KeyRevoked(_)))
        || is(event, |event| {
            matches!(
                event,
                E::ExecutionCancelled(_)
                    | E::ExecutionPaused(_)
                    | E::ApprovalOverridden(_)
                    | E::ApprovalReviewed(_)
            )
        })
}

fn is_recovery(event: &Event) -> bool {
    is(event, |event| {
        matches!(
            event,
            E::StepResolved(_) | E::StepRetried(_) | E::StepCompensated(_) | E::ExecutionResumed(_)
        )
    })
}

fn tier(event: &Event) -> Option<RiskTier> {
    match event.execution()? {
        E::PlanVerified(data) => Some(data.risk_tier),
        E::PlanRejected(data) => data.risk_tier,
        _ => None,
    }
}
