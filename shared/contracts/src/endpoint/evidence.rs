//! What happened, and what would have.

use super::{BASE, Cost, Endpoint, Method, Parameter, Side};
use crate::capability::Capability;

pub(super) const TABLE: &[Endpoint] = &[
    Endpoint {
        name: "execution.evidence.export",
        path: "/v1/executions/{executionId}/evidence",
        function: "skill",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "An execution that has ended, with everything that proves it",
        emits: &["evidence.exported"],
        ..BASE
    },
    Endpoint {
        name: "execution.output",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}/output",
        function: "query",
        grant: "execution.read",
        cost: Cost::Heavy,
        summary: "The output of a step, or of an execution's last steps",
        ..BASE
    },
    Endpoint {
        name: "trace.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}/trace",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "The hash-chained trace of an execution",
        parameters: &[("includePayloads", Parameter::Flag), ("fromSeq", Parameter::Number)],
        ..BASE
    },
    Endpoint {
        name: "workspace.log",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/log",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "The hash-chained log of what changed authority in a workspace",
        parameters: &[("limit", Parameter::Number)],
        ..BASE
    },
    Endpoint {
        name: "evidence.export",
        path: "/v1/exports",
        function: "export",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "Export what happened in the workspace, up to now",
        ..BASE
    },
    Endpoint {
        name: "evidence.checkpoint",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/log/checkpoint",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "How far the transparency log of a workspace is, signed",
        parameters: &[("fromSize", Parameter::Number)],
        ..BASE
    },
    Endpoint {
        name: "evidence.proof",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/log/proof",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        summary: "Proof that an execution stands in the transparency log",
        parameters: &[("seq", Parameter::Number)],
        ..BASE
    },
    Endpoint {
        name: "evidence.receipt",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}/receipts/{stepId}",
        function: "export",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "A signed receipt of a step's call",
        ..BASE
    },
    Endpoint {
        name: "trace.replay",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}/replay",
        function: "query",
        grant: "audit",
        capability: Capability::Audit,
        cost: Cost::Heavy,
        summary: "Fold, recompile and re-evaluate; report the first differences",
        ..BASE
    },
];
