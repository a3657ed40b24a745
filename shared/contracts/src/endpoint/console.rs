//! The console: pages for people who signed in, and the forms on them.
//!
//! A form stands at the function whose operation it is, so that no function has more authority than
//! that operation needs.

use super::{Auth, BASE, Cost, Endpoint, Media, Method, Parameter, Side};
use crate::capability::Capability;

const PAGE: Endpoint = Endpoint {
    side: Side::Query,
    method: Method::Get,
    function: "console",
    auth: Auth::Session,
    media: Media::Html,
    cost: Cost::Heavy,
    ..BASE
};

const FORM: Endpoint =
    Endpoint { function: "console", auth: Auth::Session, media: Media::Html, success: 303, ..BASE };

const APPROVAL: Endpoint =
    Endpoint { function: "approve", capability: Capability::Approval, ..FORM };

const CONTROL: Endpoint = Endpoint { function: "control", ..FORM };

const SKILL: Endpoint = Endpoint { function: "skill", ..FORM };

pub(super) const TABLE: &[Endpoint] = &[
    Endpoint {
        name: "console.asset",
        path: "/console/assets/{file}",
        auth: Auth::None,
        media: Media::Asset,
        cost: Cost::Light,
        summary: "The stylesheet and the script of pages, each named by its content",
        ..PAGE
    },
    Endpoint {
        name: "console.sign-in",
        path: "/console/sign-in",
        auth: Auth::None,
        cost: Cost::Light,
        summary: "Where people sign in",
        ..PAGE
    },
    Endpoint {
        name: "console.sign-in.send",
        path: "/console/sign-in",
        function: "access",
        auth: Auth::None,
        summary: "Sign in by the API key of a person, or by a code",
        ..FORM
    },
    Endpoint {
        name: "console.sign-in.begin",
        path: "/console/sign-in/provider",
        function: "access",
        auth: Auth::None,
        success: 200,
        summary: "Begin to sign in by the identity provider",
        ..FORM
    },
    Endpoint {
        name: "console.sign-in.return",
        path: "/console/sign-in/return",
        auth: Auth::None,
        cost: Cost::Light,
        summary: "Where the identity provider leads back to; changes nothing",
        ..PAGE
    },
    Endpoint {
        name: "console.sign-in.finish",
        path: "/console/sign-in/return",
        function: "access",
        auth: Auth::None,
        summary: "Finish a sign-in by the identity provider, by the form of that page",
        ..FORM
    },
    Endpoint {
        name: "console.second-factor",
        path: "/console/second-factor",
        function: "access",
        // Of a session, or of an approval link whose token it carries.
        auth: Auth::None,
        success: 200,
        summary: "Sign in once more, for a decision that needs it",
        ..FORM
    },
    Endpoint {
        name: "console.sign-out",
        path: "/console/sign-out",
        summary: "End the session",
        ..FORM
    },
    Endpoint {
        name: "console.live",
        path: "/console/live",
        media: Media::EventStream,
        cost: Cost::Light,
        grant: "execution.read",
        summary: "Tells a page that what it shows has changed",
        ..PAGE
    },
    Endpoint {
        name: "console.overview",
        path: "/console",
        grant: "execution.read",
        summary: "What waits, what runs, what failed, what is spent",
        ..PAGE
    },
    Endpoint {
        name: "console.inbox",
        path: "/console/inbox",
        grant: "execution.read",
        summary: "What waits for people",
        ..PAGE
    },
    Endpoint {
        name: "console.several",
        path: "/console/inbox/several",
        grant: "execution.approve",
        capability: Capability::Approval,
        summary: "Several requests, each with what is decided on",
        ..PAGE
    },
    Endpoint {
        name: "console.decide",
        path: "/console/inbox/several",
        grant: "execution.approve",
        summary: "Decide on several requests, all or nothing",
        ..APPROVAL
    },
    Endpoint {
        name: "console.executions",
        path: "/console/executions",
        grant: "execution.read",
        summary: "Executions, by status and actor",
        ..PAGE
    },
    Endpoint {
        name: "console.execution",
        path: "/console/executions/{executionId}",
        grant: "execution.read",
        summary: "One execution: plan, view, verdict, timeline, trace, outputs, decisions",
        ..PAGE
    },
    Endpoint {
        name: "console.skills",
        path: "/console/skills",
        grant: "skill-registry",
        summary: "Skills and whom the workspace trusts",
        ..PAGE
    },
    Endpoint {
        name: "console.policies",
        path: "/console/policies",
        grant: "audit",
        summary: "The policy set in force, and what a candidate would change",
        ..PAGE
    },
    Endpoint {
        name: "console.simulator",
        path: "/console/policies/simulator",
        grant: "audit",
        summary: "What would happen if a draft came, or other policies held",
        ..PAGE
    },
    Endpoint {
        name: "console.simulate",
        path: "/console/policies/simulator",
        grant: "audit",
        cost: Cost::Heavy,
        success: 200,
        summary: "Judge a draft that nobody submitted",
        ..FORM
    },
    Endpoint {
        name: "console.backtest",
        path: "/console/policies/backtest",
        grant: "audit",
        cost: Cost::Heavy,
        success: 200,
        summary: "Try policies on what happened",
        ..FORM
    },
    Endpoint {
        name: "console.budgets",
        path: "/console/budgets",
        grant: "audit",
        summary: "Budgets, and what is used of them",
        ..PAGE
    },
    Endpoint {
        name: "console.freezes",
        path: "/console/freezes",
        grant: "audit",
        summary: "What is frozen",
        ..PAGE
    },
    Endpoint {
        name: "console.people",
        path: "/console/people",
        grant: "keys",
        summary: "Who may call and who decides",
        ..PAGE
    },
    Endpoint {
        name: "console.mandates",
        path: "/console/mandates",
        grant: "execution.read",
        summary: "Mandates, and what each let through",
        ..PAGE
    },
    Endpoint {
        name: "console.subscriptions",
        path: "/console/subscriptions",
        grant: "webhooks",
        summary: "Who is told, and what did not arrive",
        ..PAGE
    },
    Endpoint {
        name: "console.log",
        path: "/console/log",
        grant: "audit",
        summary: "The log of the workspace",
        ..PAGE
    },
    Endpoint {
        name: "console.approve",
        path: "/console/executions/{executionId}/approve",
        grant: "execution.approve",
        summary: "Approve what is shown",
        ..APPROVAL
    },
    Endpoint {
        name: "console.reject",
        path: "/console/executions/{executionId}/reject",
        grant: "execution.reject",
        summary: "Reject what is shown",
        ..APPROVAL
    },
    Endpoint {
        name: "console.withdraw",
        path: "/console/executions/{executionId}/approvals/{approvalId}/withdraw",
        grant: "execution.approve",
        summary: "Take one's own vote back",
        ..APPROVAL
    },
    Endpoint {
        name: "console.comment",
        path: "/console/executions/{executionId}/approvals/{approvalId}/comment",
        grant: "execution.approve",
        summary: "Say something about a request",
        ..APPROVAL
    },
    Endpoint {
        name: "console.edit",
        path: "/console/executions/{executionId}/approvals/{approvalId}/edit",
        grant: "execution.approve",
        cost: Cost::Heavy,
        summary: "Change values of a plan that waits for people",
        ..APPROVAL
    },
    Endpoint {
        name: "console.override",
        path: "/console/executions/{executionId}/approvals/{approvalId}/override",
        grant: "approval.override",
        summary: "Break-glass: approve alone, on record, to be reviewed",
        ..APPROVAL
    },
    Endpoint {
        name: "console.review",
        path: "/console/executions/{executionId}/approvals/{approvalId}/review",
        grant: "execution.approve",
        summary: "Say that an override was looked at",
        ..APPROVAL
    },
    Endpoint {
        name: "console.cancel",
        path: "/console/executions/{executionId}/cancel",
        grant: "execution.cancel",
        cost: Cost::Urgent,
        parameters: &[("compensate", Parameter::Flag)],
        summary: "Cancel an execution",
        ..CONTROL
    },
    Endpoint {
        name: "console.pause",
        path: "/console/executions/{executionId}/pause",
        grant: "execution.pause",
        summary: "Pause an execution",
        ..CONTROL
    },
    Endpoint {
        name: "console.resume",
        path: "/console/executions/{executionId}/resume",
        grant: "execution.resume",
        summary: "Resume an execution",
        ..CONTROL
    },
    Endpoint {
        name: "console.retry",
        path: "/console/executions/{executionId}/retry",
        grant: "execution.retry",
        summary: "Try failed steps again",
        ..CONTROL
    },
    Endpoint {
        name: "console.abort",
        path: "/console/executions/{executionId}/abort",
        grant: "execution.abort",
        cost: Cost::Urgent,
        summary: "End an execution as it stands",
        ..CONTROL
    },
    Endpoint {
        name: "console.resolve",
        path: "/console/executions/{executionId}/resolve",
        grant: "execution.resolve",
        summary: "Say what became of a call that is in doubt",
        ..CONTROL
    },
    Endpoint {
        name: "console.freeze",
        path: "/console/freezes",
        grant: "freeze",
        cost: Cost::Urgent,
        parameters: &[("frozen", Parameter::Flag), ("force", Parameter::Flag)],
        summary: "Freeze, or lift a freeze",
        ..SKILL
    },
    Endpoint {
        name: "console.skill.disable",
        path: "/console/skills/{skillKey}/disable",
        grant: "skill-registry",
        cost: Cost::Urgent,
        summary: "Disable a skill",
        ..SKILL
    },
    Endpoint {
        name: "console.skill.enable",
        path: "/console/skills/{skillKey}/enable",
        grant: "skill-registry",
        summary: "Enable a skill again",
        ..SKILL
    },
    Endpoint {
        name: "console.key.revoke",
        path: "/console/keys/{keyId}/revoke",
        function: "access",
        grant: "keys",
        cost: Cost::Urgent,
        summary: "Revoke an API key",
        ..FORM
    },
    Endpoint {
        name: "console.mandate.create",
        path: "/console/mandates",
        function: "access",
        grant: "execution.approve",
        capability: Capability::Approval,
        summary: "Approve calls beforehand, within limits",
        ..FORM
    },
    Endpoint {
        name: "console.mandate.revoke",
        path: "/console/mandates/{mandateId}/revoke",
        function: "access",
        grant: "execution.approve",
        capability: Capability::Approval,
        cost: Cost::Urgent,
        summary: "End a mandate",
        ..FORM
    },
    Endpoint {
        name: "console.subscription.test",
        path: "/console/subscriptions/{webhookId}/test",
        function: "deliver",
        grant: "webhooks",
        summary: "Send a test event",
        ..FORM
    },
    Endpoint {
        name: "console.subscription.redeliver",
        path: "/console/subscriptions/{webhookId}/redeliver",
        function: "deliver",
        grant: "webhooks",
        summary: "Send dead letters again",
        ..FORM
    },
];
