//! Governance: skills, policies, trust, freezes, budgets, and who decides.

use super::{BASE, Cost, Endpoint, Method, Parameter, Side};
use crate::{Code, capability::Capability};

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

pub(super) const TABLE: &[Endpoint] = &[
    Endpoint {
        name: "skill.install",
        path: "/v1/skills",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        success: 201,
        cost: Cost::Heavy,
        summary: "Install a skill",
        codes: INSTALL,
        emits: &["skill.installed", "skill.rejected"],
        ..BASE
    },
    Endpoint {
        name: "skill.disable",
        path: "/v1/skills/{skillKey}/disable",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        cost: Cost::Urgent,
        summary: "Disable a skill",
        emits: &["skill.disabled"],
        ..BASE
    },
    Endpoint {
        name: "skill.enable",
        path: "/v1/skills/{skillKey}/enable",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        cost: Cost::Heavy,
        summary: "Lift a disable; people only",
        emits: &["skill.enabled"],
        ..BASE
    },
    Endpoint {
        name: "policy.activate",
        path: "/v1/policies",
        function: "skill",
        grant: "policy.activate",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "Validate a policy set, show what it would have changed, and activate it",
        codes: POLICY,
        emits: &["policy.activated"],
        ..BASE
    },
    Endpoint {
        name: "policy.shadow",
        path: "/v1/policies/shadow",
        function: "skill",
        grant: "policy.activate",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "Evaluate a candidate set beside the active one, or stop",
        emits: &["governance.changed"],
        ..BASE
    },
    Endpoint {
        name: "trust.set",
        path: "/v1/trust",
        function: "skill",
        grant: "trust",
        capability: Capability::SkillRegistry,
        cost: Cost::Heavy,
        summary: "Say whose skills may be installed; what is trusted no longer is no longer used",
        codes: POLICY,
        emits: &["governance.changed", "skill.disabled"],
        ..BASE
    },
    Endpoint {
        name: "freeze.set",
        path: "/v1/freezes",
        function: "skill",
        grant: "freeze",
        cost: Cost::Urgent,
        summary: "Freeze a workspace, skill, operation or actor, or lift a freeze",
        emits: &["governance.changed"],
        ..BASE
    },
    Endpoint {
        name: "budget.set",
        path: "/v1/budgets",
        function: "skill",
        grant: "budget",
        summary: "Say how much one plan, and a window of time, may touch",
        emits: &["governance.changed"],
        ..BASE
    },
    Endpoint {
        name: "deciders.set",
        path: "/v1/deciders",
        function: "skill",
        grant: "keys",
        capability: Capability::Approval,
        summary: "Name the services that decide like people; people only",
        emits: &["governance.changed"],
        ..BASE
    },
    Endpoint {
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
    Endpoint {
        name: "policy.explain",
        side: Side::Query,
        path: "/v1/policies/explain",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "Why a step was judged as it was",
        ..BASE
    },
    Endpoint {
        name: "policy.backtest",
        side: Side::Query,
        path: "/v1/policies/backtest",
        function: "skill",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "What would have changed under another policy set",
        ..BASE
    },
    Endpoint {
        name: "policy.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/policies",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "The active policy set",
        ..BASE
    },
    Endpoint {
        name: "policy.shadow.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/policies/shadow",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "What the candidate set would have changed",
        ..BASE
    },
    Endpoint {
        name: "trust.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/trust",
        function: "query",
        grant: "audit",
        capability: Capability::SkillRegistry,
        cost: Cost::Heavy,
        summary: "Whose skills may be installed",
        ..BASE
    },
    Endpoint {
        name: "freeze.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/freezes",
        function: "query",
        grant: "audit",
        summary: "What is frozen",
        ..BASE
    },
    Endpoint {
        name: "budget.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/budgets",
        function: "query",
        grant: "audit",
        summary: "How much may be touched, and how much is used",
        ..BASE
    },
    Endpoint {
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
    Endpoint {
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
    Endpoint {
        name: "skill.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/skills",
        function: "query",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        cost: Cost::Heavy,
        summary: "Installed skills",
        parameters: &[("includeDisabled", Parameter::Flag), ("limit", Parameter::Number)],
        ..BASE
    },
    Endpoint {
        name: "skill.verify",
        side: Side::Query,
        path: "/v1/skills/verify",
        function: "skill",
        grant: "skill-registry",
        capability: Capability::SkillRegistry,
        cost: Cost::Heavy,
        summary: "Check a skill without installing it",
        codes: INSTALL,
        ..BASE
    },
];
