//! Intents, plans and executions: what agents ask for, and what people decide.

use super::{BASE, Cost, Endpoint, Method, Parameter, Side};
use crate::{Code, capability::Capability};

pub(super) const APPROVE: &[Code] = &[
    Code::BindingStale,
    Code::ApprovalExpired,
    Code::ApprovalAlreadyDecided,
    Code::SelfApproval,
    Code::NotAnApprover,
    Code::SecondFactorRequired,
];

/// Of decisions that are no approvals.
const DECIDE: &[Code] = &[Code::SelfApproval, Code::NotAnApprover];

pub(super) const TABLE: &[Endpoint] = &[
    Endpoint {
        name: "intent.submit",
        path: "/v1/intents",
        function: "submit",
        grant: "intent.submit",
        success: 202,
        summary: "Submit an intent",
        emits: &["intent.received", "plan.compiled", "plan.rejected"],
        ..BASE
    },
    Endpoint {
        name: "plan.compile",
        path: "/v1/executions/{executionId}/plan/compile",
        function: "compile",
        grant: "plan.compile",
        cost: Cost::Heavy,
        summary: "Compile a draft into a plan",
        codes: &[Code::IntentNotFound],
        emits: &["plan.compiled", "plan.rejected"],
        ..BASE
    },
    Endpoint {
        name: "plan.verify",
        path: "/v1/executions/{executionId}/plan/verify",
        function: "verify",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "Verify a plan against policy and risk rules",
        codes: &[Code::PreconditionFailed],
        emits: &["plan.verified", "plan.rejected"],
        ..BASE
    },
    Endpoint {
        name: "execution.start",
        path: "/v1/executions/{executionId}/start",
        function: "control",
        grant: "execution.start",
        success: 202,
        summary: "Start a verified plan",
        codes: &[Code::PreconditionFailed],
        emits: &["execution.started"],
        ..BASE
    },
    Endpoint {
        name: "execution.approve",
        path: "/v1/executions/{executionId}/approve",
        function: "approve",
        grant: "execution.approve",
        capability: Capability::Approval,
        summary: "Approve a plan or a step",
        codes: APPROVE,
        emits: &["approval.requested", "approval.voted", "approval.granted"],
        ..BASE
    },
    Endpoint {
        name: "execution.reject",
        path: "/v1/executions/{executionId}/reject",
        function: "approve",
        grant: "execution.reject",
        capability: Capability::Approval,
        summary: "Reject a plan or a step",
        codes: APPROVE,
        emits: &["approval.requested", "approval.voted", "approval.rejected"],
        ..BASE
    },
    Endpoint {
        name: "execution.cancel",
        path: "/v1/executions/{executionId}/cancel",
        function: "control",
        grant: "execution.cancel",
        cost: Cost::Urgent,
        summary: "Cancel an execution, undoing what it did if asked",
        emits: &["execution.cancelled"],
        ..BASE
    },
    Endpoint {
        name: "execution.pause",
        path: "/v1/executions/{executionId}/pause",
        function: "control",
        grant: "execution.pause",
        summary: "Start no further step",
        emits: &["execution.paused"],
        ..BASE
    },
    Endpoint {
        name: "execution.resume",
        path: "/v1/executions/{executionId}/resume",
        function: "control",
        grant: "execution.resume",
        summary: "Go on after a pause",
        emits: &["execution.resumed"],
        ..BASE
    },
    Endpoint {
        name: "execution.retry",
        path: "/v1/executions/{executionId}/retry",
        function: "control",
        grant: "execution.retry",
        summary: "Try failed or expired steps again",
        codes: DECIDE,
        emits: &["execution.step.retried"],
        ..BASE
    },
    Endpoint {
        name: "execution.abort",
        path: "/v1/executions/{executionId}/abort",
        function: "control",
        grant: "execution.abort",
        cost: Cost::Urgent,
        summary: "Fail an execution at once",
        emits: &["execution.failed"],
        ..BASE
    },
    Endpoint {
        name: "execution.resolve",
        path: "/v1/executions/{executionId}/resolve",
        function: "control",
        grant: "execution.resolve",
        summary: "Say what became of a call whose outcome is not known",
        codes: DECIDE,
        emits: &["execution.step.resolved"],
        ..BASE
    },
    Endpoint {
        name: "execution.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}",
        function: "query",
        grant: "execution.read",
        summary: "One execution",
        parameters: &[
            ("waitSeconds", Parameter::Number),
            ("includePlan", Parameter::Flag),
            ("includeView", Parameter::Flag),
        ],
        ..BASE
    },
    Endpoint {
        name: "execution.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions",
        function: "query",
        grant: "execution.read",
        cost: Cost::Heavy,
        summary: "Executions, newest first",
        parameters: &[("limit", Parameter::Number)],
        ..BASE
    },
];
