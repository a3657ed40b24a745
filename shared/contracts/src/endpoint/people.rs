//! People: what waits for them, how they decide, who they are, what they let through beforehand.

use super::{Auth, BASE, Cost, Endpoint, Media, Method, Parameter, Side, runs::APPROVE};
use crate::capability::Capability;

const APPROVAL: Endpoint = Endpoint {
    function: "approve",
    grant: "execution.approve",
    capability: Capability::Approval,
    offered: false,
    ..BASE
};

const DIRECTORY: Endpoint =
    Endpoint { function: "access", grant: "directory", capability: Capability::Approval, ..BASE };

pub(super) const TABLE: &[Endpoint] = &[
    Endpoint {
        name: "approval.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/approvals",
        function: "query",
        grant: "execution.read",
        cost: Cost::Heavy,
        summary: "The inbox: what waits for the caller, by risk and age",
        parameters: &[("mine", Parameter::Flag), ("limit", Parameter::Number)],
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "approval.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/executions/{executionId}/approvals/{approvalId}",
        function: "query",
        grant: "execution.read",
        cost: Cost::Heavy,
        summary: "One request for approval: what is shown of it, and who said what",
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "approval.vote",
        path: "/v1/approvals/vote",
        summary: "Approve or reject several requests, all or nothing",
        codes: APPROVE,
        emits: &[
            "approval.requested",
            "approval.voted",
            "approval.voided",
            "approval.granted",
            "approval.rejected",
        ],
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "approval.withdraw",
        path: "/v1/executions/{executionId}/approvals/{approvalId}/withdraw",
        summary: "Take one's own vote back",
        codes: APPROVE,
        emits: &["approval.withdrawn"],
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "approval.comment",
        path: "/v1/executions/{executionId}/approvals/{approvalId}/comment",
        summary: "Say something about a request",
        emits: &["approval.commented"],
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "approval.edit",
        path: "/v1/executions/{executionId}/approvals/{approvalId}/edit",
        cost: Cost::Heavy,
        summary: "Change literals of a plan that waits for people; others decide on it",
        codes: APPROVE,
        emits: &["plan.compiled", "plan.verified", "approval.voided", "approval.requested"],
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "approval.override",
        path: "/v1/executions/{executionId}/approvals/{approvalId}/override",
        grant: "approval.override",
        summary: "Break-glass: approve alone, on record, to be reviewed",
        codes: APPROVE,
        emits: &[
            "approval.overridden",
            "approval.voided",
            "approval.granted",
            "governance.changed",
        ],
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "approval.review",
        path: "/v1/executions/{executionId}/approvals/{approvalId}/review",
        summary: "Say that an override was looked at",
        emits: &["approval.reviewed"],
        offered: true,
        ..APPROVAL
    },
    Endpoint {
        name: "person.put",
        path: "/v1/persons",
        summary: "Add a person, or replace what is known of one; people only",
        emits: &["governance.changed"],
        ..DIRECTORY
    },
    Endpoint {
        name: "person.remove",
        path: "/v1/persons/{personId}/remove",
        cost: Cost::Urgent,
        summary: "Remove a person; keys, links and sessions of theirs end",
        emits: &["governance.changed"],
        ..DIRECTORY
    },
    Endpoint {
        name: "person.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/persons",
        summary: "The persons of a workspace",
        ..DIRECTORY
    },
    Endpoint {
        name: "group.put",
        path: "/v1/groups",
        summary: "Add a group, replace it, or end it; people only",
        emits: &["governance.changed"],
        ..DIRECTORY
    },
    Endpoint {
        name: "group.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/groups",
        summary: "The groups of a workspace",
        ..DIRECTORY
    },
    Endpoint {
        name: "sign-in.set",
        path: "/v1/sign-in",
        summary: "Say who may sign in by the identity provider, and which decisions need a second \
            factor; people only",
        emits: &["governance.changed"],
        ..DIRECTORY
    },
    Endpoint {
        name: "sign-in.get",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/sign-in",
        summary: "The rules of signing in by the identity provider",
        ..DIRECTORY
    },
    Endpoint {
        name: "link",
        side: Side::Query,
        method: Method::Get,
        path: "/a/{token}",
        auth: Auth::Link,
        media: Media::Html,
        grant: "",
        cost: Cost::Heavy,
        offered: true,
        summary: "What one person is asked, for who was sent the link; changes nothing",
        ..APPROVAL
    },
    Endpoint {
        name: "link.decide",
        path: "/a/{token}",
        auth: Auth::Link,
        media: Media::Html,
        grant: "",
        offered: true,
        success: 303,
        summary: "Approve or reject by the form of that page",
        ..APPROVAL
    },
    Endpoint {
        name: "link.revoke",
        path: "/v1/links/revoke",
        cost: Cost::Urgent,
        offered: true,
        // A person may end their own without the grant `control-plane.directory`.
        grant: "",
        summary: "End every approval link of a person that was made before now",
        emits: &["governance.changed"],
        ..DIRECTORY
    },
    Endpoint {
        name: "mandate.create",
        function: "access",
        offered: true,
        path: "/v1/mandates",
        success: 201,
        cost: Cost::Heavy,
        summary: "Approve calls of one operation beforehand, within limits; people only",
        emits: &["governance.changed"],
        ..APPROVAL
    },
    Endpoint {
        name: "mandate.revoke",
        function: "access",
        offered: true,
        path: "/v1/mandates/{mandateId}/revoke",
        cost: Cost::Urgent,
        summary: "End a mandate",
        emits: &["governance.changed"],
        ..APPROVAL
    },
    Endpoint {
        name: "mandate.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/mandates",
        function: "query",
        offered: true,
        grant: "execution.read",
        summary: "Mandates, and what each let through",
        parameters: &[("includeEnded", Parameter::Flag)],
        ..APPROVAL
    },
];
