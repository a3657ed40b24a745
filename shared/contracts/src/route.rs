//! The one route table: every operation with its HTTP form, grant, codes, events and capability.

use crate::{
    Code,
    capability::{CONTRACTS_VERSION, Capabilities, Capability, Offer},
};

/// HTTP method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// A command changes something and takes an `Idempotency-Key`; a query changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Command,
    Query,
}

/// What the text of a query parameter stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
}

/// One operation of the contract. The shapes of its request and answer are in [`crate::openapi`]: what serves an
/// operation need not carry what describes it.
#[derive(Clone, Copy)]
pub struct Route {
    /// Key without `controlPlane.`.
    pub name: &'static str,
    pub side: Side,
    pub method: Method,
    /// Path below the host; `{executionId}` and the like are path parameters.
    pub path: &'static str,
    /// Function package that serves it.
    pub function: &'static str,
    /// Grant without `control-plane.`.
    pub grant: &'static str,
    pub capability: Capability,
    /// False: in the table, not in the OpenAPI, answers 404 `CAPABILITY_MISSING`.
    pub offered: bool,
    /// HTTP status of success.
    pub success: u16,
    pub summary: &'static str,
    pub codes: &'static [Code],
    /// Keys of events without `controlPlane.`.
    pub emits: &'static [&'static str],
    /// Query parameters that are something else than text.
    pub parameters: &'static [(&'static str, Parameter)],
}

impl Route {
    /// `controlPlane.` and the name.
    pub fn key(&self) -> String {
        format!("controlPlane.{}", self.name)
    }
    /// `control-plane.` and the grant.
    pub fn grant_key(&self) -> String {
        format!("control-plane.{}", self.grant)
    }
}

/// The route of an operation, by its name without `controlPlane.`.
pub fn find(name: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.name == name)
}

/// Codes any operation can return.
pub const COMMON: &[Code] = &[
    Code::BadRequest,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::Conflict,
    Code::ValidationFailed,
    Code::RateLimited,
    Code::InternalError,
    Code::Timeout,
];

const INSTALL: &[Code] = &[
    Code::SignatureInvalid,
    Code::SignatureMissing,
    Code::ManifestInvalid,
    Code::SchemaVersionInvalid,
    Code::SignatureExpired,
    Code::PublisherUntrusted,
    Code::KeyUntrusted,
    Code::ProvenanceUntrusted,
    Code::ArtifactDigestMismatch,
    Code::ContractsSpecVersionMissing,
    Code::ContractsSpecTooOld,
    Code::ContractsSpecTooNew,
    Code::ControlPlaneVersionMissing,
    Code::ControlPlaneTooOld,
    Code::ControlPlaneTooNew,
    Code::CapabilityMissing,
    Code::VersionConflict,
    Code::RollbackRefused,
];

const POLICY: &[Code] = &[Code::PreconditionFailed];

const APPROVE: &[Code] = &[
    Code::BindingStale,
    Code::ApprovalExpired,
    Code::ApprovalAlreadyDecided,
    Code::SelfApproval,
    Code::NotAnApprover,
];

/// Of decisions that are no approvals.
const DECIDE: &[Code] = &[Code::SelfApproval, Code::NotAnApprover];

/// What all rows share unless they say otherwise.
const BASE: Route = Route {
    name: "",
    side: Side::Command,
    method: Method::Post,
    path: "",
    function: "",
    grant: "",
    capability: Capability::Core,
    offered: true,
    success: 200,
    summary: "",
    codes: &[],
    emits: &[],
    parameters: &[],
};

/// Fields that every command takes: what authentication says, said again. What says otherwise is refused with 403.
pub const IDENTITY: &[(&str, &str)] = &[
    ("workspaceId", "the authenticated workspace"),
    ("actorId", "the authenticated actor"),
    ("approvedBy", "the authenticated actor"),
    ("rejectedBy", "the authenticated actor"),
    ("cancelledBy", "the authenticated actor"),
    ("disabledBy", "the authenticated actor"),
];

/// Every operation of the contract, commands first.
pub const ROUTES: &[Route] = &[
    Route {
        name: "intent.submit",
        path: "/v1/intents",
        function: "submit",
        grant: "intent.submit",
        success: 202,
        summary: "Submit an intent",
        emits: &["intent.received", "plan.compiled", "plan.rejected"],
        ..BASE
    },
    Route {
        name: "plan.compile",
        path: "/v1/executions/{executionId}/plan/compile",
        function: "compile",
        grant: "plan.compile",
        summary: "Compile a draft into a plan",
        codes: &[Code::IntentNotFound],
        emits: &["plan.compiled", "plan.rejected"],
        ..BASE
    },
    Route {
        name: "plan.verify",
        path: "/v1/executions/{executionId}/plan/verify",
        function: "verify",
        grant: "audit",
        capability: Capability::Audit,
        summary: "Verify a plan against policy and risk rules",
        codes: &[Code::PreconditionFailed],
        emits: &["plan.verified", "plan.rejected"],
        ..BASE
    },
    Route {
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
    Route {
        name: "execution.approve",
        path: "/v1/executions/{executionId}/approve",
        function: "approve",
        grant: "execution.approve",
        capability: Capability::Approval,
        summary: "Approve a plan or a step",
        codes: APPROVE,
        emits: &["approval.granted"],
        ..BASE
    },
    Route {
        name: "execution.reject",
        path: "/v1/executions/{executionId}/reject",
        function: "approve",
        grant: "execution.reject",
        capability: Capability::Approval,
        summary: "Reject a plan or a step",
        codes: APPROVE,
        emits: &["approval.rejected"],
        ..BASE
    },
    Route {
        name: "execution.cancel",
        path: "/v1/executions/{executionId}/cancel",
        function: "control",
        grant: "execution.cancel",
        summary: "Cancel an execution, undoing what it did if asked",
        emits: &["execution.cancelled"],
        ..BASE
    },
    Route {
        name: "execution.pause",
        path: "/v1/executions/{executionId}/pause",
        function: "control",
        grant: "execution.pause",
        summary: "Start no further step",
        emits: &["execution.paused"],
        ..BASE
    },
    Route {
        name: "execution.resume",
        path: "/v1/executions/{executionId}/resume",
        function: "control",
        grant: "execution.resume",
        summary: "Go on after a pause",
        emits: &["execution.resumed"],
        ..BASE
    },
    Route {
        name: "execution.retry",
        path: "/v1/executions/{executionId}/retry",
        function: "control",
        grant: "execution.retry",
        summary: "Try failed or expired steps again",
        codes: DECIDE,
        emits: &["execution.step.retried"],
        ..BASE
    },
    Route {
        name: "execution.abort",
        path: "/v1/executions/{executionId}/abort",
        function: "control",
        grant: "execution.abort",
        summary: "Fail an execution at once",
        emits: &["execution.failed"],
        ..BASE
    },
    Route {
        name: "execution.resolve",
        path: "/v1/executions/{executionId}/resolve",
        function: "control",
        grant: "execution.resolve",
        summary: "Say what became of a call whose outcome is not known",
        codes: DECIDE,
        emits: &["execution.step.resolved"],
        ..BASE
    },
    Route {
        name: "execution.evidence.export",
        path: "/v1/executions/{executionId}/evidence",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        offered: false,
        summary: "Export an execution's evidence",
        emits: &["evidence.exported"],
        ..BASE
    },
    Route {
        name: "skill.install",
        path: "/v1/skills",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        success: 201,
        summary: "Install a skill",
        codes: INSTALL,
        emits: &["skill.installed", "skill.rejected"],
        ..BASE
    },
    Route {
        name: "skill.disable",
        path: "/v1/skills/{skillKey}/disable",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        summary: "Disable a skill",
        emits: &["skill.disabled"],
        ..BASE
    },
    Route {
        name: "skill.enable",
        path: "/v1/skills/{skillKey}/enable",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        summary: "Lift a disable; people only",
        emits: &["skill.enabled"],
        ..BASE
    },
    Route {
        name: "policy.activate",
        path: "/v1/policies",
        function: "skill",
        grant: "policy.activate",
        capability: Capability::Audit,
        summary: "Validate a policy set, show what it would have changed, and activate it",
        codes: POLICY,
        emits: &["policy.activated"],
        ..BASE
    },
    Route {
        name: "policy.shadow",
        path: "/v1/policies/shadow",
        function: "skill",
        grant: "policy.activate",
        capability: Capability::Audit,
        summary: "Evaluate a candidate set beside the active one, or stop",
        emits: &["governance.changed"],
        ..BASE
    },
    Route {
        name: "trust.set",
        path: "/v1/trust",
        function: "skill",
        grant: "trust",
        capability: Capability::SkillRegistry,
        summary: "Say whose skills may be installed; what is trusted no longer is no longer used",
        codes: POLICY,
        emits: &["governance.changed", "skill.disabled"],
        ..BASE
    },
    Route {
        name: "freeze.set",
        path: "/v1/freezes",
        function: "skill",
        grant: "freeze",
        summary: "Freeze a workspace, skill, operation or actor, or lift a freeze",
        emits: &["governance.changed"],
        ..BASE
    },
    Route {
        name: "budget.set",
        path: "/v1/budgets",
        function: "skill",
        grant: "budget",
        summary: "Say how much one plan, and a window of time, may touch",
        emits: &["governance.changed"],
        ..BASE
    },
    Route {
        name: "subscription.create",
        path: "/v1/webhooks",
        function: "access",
        grant: "webhooks",
        success: 201,
        summary: "Have stage events sent to a URL, signed by a secret of its own that is shown once",
        emits: &["subscription.created"],
        ..BASE
    },
    Route {
        name: "subscription.remove",
        path: "/v1/webhooks/{webhookId}/remove",
        function: "access",
        grant: "webhooks",
        summary: "End a subscription",
        emits: &["subscription.removed"],
        ..BASE
    },
    Route {
        name: "subscription.secret.rotate",
        path: "/v1/webhooks/{webhookId}/secret/rotate",
        function: "access",
        grant: "webhooks",
        summary: "Give a subscription another secret; the one before it signs along for a day",
        emits: &["subscription.secret.rotated"],
        ..BASE
    },
    Route {
        name: "tool.secret.rotate",
        path: "/v1/tools/secret/rotate",
        function: "access",
        grant: "tools",
        summary: "Give the calls to tools another secret, and learn it; the one before it signs along for a day",
        emits: &["tool.secret.rotated"],
        ..BASE
    },
    Route {
        name: "key.create",
        path: "/v1/keys",
        function: "access",
        grant: "keys",
        success: 201,
        summary: "Make an API key that may do no more than the one that makes it",
        ..BASE
    },
    Route {
        name: "key.revoke",
        path: "/v1/keys/{keyId}/revoke",
        function: "access",
        grant: "keys",
        summary: "Revoke an API key",
        ..BASE
    },
    Route {
        name: "deciders.set",
        path: "/v1/deciders",
        function: "skill",
        grant: "keys",
        capability: Capability::Approval,
        summary: "Name the services that decide like people; people only",
        emits: &["governance.changed"],
        ..BASE
    },
    Route {
        name: "signals.set",
        path: "/v1/signals",
        function: "skill",
        grant: "policy.activate",
        capability: Capability::Audit,
        summary: "Say which phrases of an intent raise its risk",
        codes: POLICY,
        emits: &["governance.changed"],
        ..BASE
    },
    Route {
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
    Route {
        name: "execution.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions",
        function: "query",
        grant: "execution.read",
        summary: "Executions, newest first",
        parameters: &[("limit", Parameter::Number)],
        ..BASE
    },
    Route {
        name: "trace.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}/trace",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "The hash-chained trace of an execution",
        parameters: &[("includePayloads", Parameter::Flag), ("fromSeq", Parameter::Number)],
        ..BASE
    },
    Route {
        name: "workspace.log",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/log",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "The hash-chained log of what changed authority in a workspace",
        parameters: &[("limit", Parameter::Number)],
        ..BASE
    },
    Route {
        name: "trace.replay",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}/replay",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "Fold, recompile and re-evaluate; report the first differences",
        ..BASE
    },
    Route {
        name: "policy.explain",
        side: Side::Query,
        path: "/v1/policies/explain",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "Why a step was judged as it was",
        ..BASE
    },
    Route {
        name: "policy.backtest",
        side: Side::Query,
        path: "/v1/policies/backtest",
        function: "skill",
        grant: "audit",
        capability: Capability::Audit,
        summary: "What would have changed under another policy set",
        ..BASE
    },
    Route {
        name: "policy.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/policies",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "The active policy set",
        ..BASE
    },
    Route {
        name: "policy.shadow.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/policies/shadow",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "What the candidate set would have changed",
        ..BASE
    },
    Route {
        name: "trust.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/trust",
        function: "query",
        grant: "audit",
        capability: Capability::SkillRegistry,
        summary: "Whose skills may be installed",
        ..BASE
    },
    Route {
        name: "freeze.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/freezes",
        function: "query",
        grant: "audit",
        summary: "What is frozen",
        ..BASE
    },
    Route {
        name: "budget.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/budgets",
        function: "query",
        grant: "audit",
        summary: "How much may be touched, and how much is used",
        ..BASE
    },
    Route {
        name: "subscription.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/webhooks",
        function: "access",
        grant: "webhooks",
        summary: "Where stage events are sent",
        ..BASE
    },
    Route {
        name: "key.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/keys",
        function: "access",
        grant: "keys",
        summary: "API keys",
        parameters: &[("limit", Parameter::Number)],
        ..BASE
    },
    Route {
        name: "deciders.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/deciders",
        function: "query",
        grant: "audit",
        capability: Capability::Approval,
        summary: "Services that decide like people",
        ..BASE
    },
    Route {
        name: "signals.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/signals",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "The phrases that raise an intent's risk",
        ..BASE
    },
    Route {
        name: "skill.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/skills",
        function: "query",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        summary: "Installed skills",
        parameters: &[("includeDisabled", Parameter::Flag), ("limit", Parameter::Number)],
        ..BASE
    },
    Route {
        name: "skill.verify",
        side: Side::Query,
        path: "/v1/skills/verify",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        summary: "Check a skill without installing it",
        codes: INSTALL,
        ..BASE
    },
    Route {
        name: "capabilities",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/capabilities",
        function: "query",
        grant: "",
        summary: "What this deployment offers",
        ..BASE
    },
];

/// The discovery document of a deployment that offers `enabled`.
pub fn capabilities(enabled: &[Capability]) -> Capabilities {
    let offered = |capability: Capability| {
        enabled.contains(&capability) && capability.requires().iter().all(|needed| enabled.contains(needed))
    };
    Capabilities {
        contracts_version: CONTRACTS_VERSION.to_owned(),
        capabilities: Capability::ALL
            .into_iter()
            .map(|key| Offer {
                key,
                version: CONTRACTS_VERSION.to_owned(),
                offered: offered(key),
                requires: key.requires().to_vec(),
                operations: ROUTES
                    .iter()
                    .filter(|route| route.capability == key && route.offered && offered(key))
                    .map(Route::key)
                    .collect(),
            })
            .collect(),
    }
}
