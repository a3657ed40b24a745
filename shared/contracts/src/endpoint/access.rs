//! Who may call, who is told, and what anybody may ask without a key.

use super::{Auth, BASE, Cost, Endpoint, Method, Parameter, Side};

pub(super) const TABLE: &[Endpoint] = &[
    Endpoint {
        name: "subscription.create",
        path: "/v1/webhooks",
        function: "access",
        grant: "webhooks",
        success: 201,
        summary: "Have stage events sent to a URL, signed by a secret of its own that is shown \
            once",
        emits: &["subscription.created"],
        ..BASE
    },
    Endpoint {
        name: "subscription.remove",
        path: "/v1/webhooks/{webhookId}/remove",
        function: "access",
        grant: "webhooks",
        summary: "End a subscription",
        emits: &["subscription.removed"],
        ..BASE
    },
    Endpoint {
        name: "subscription.secret.rotate",
        path: "/v1/webhooks/{webhookId}/secret/rotate",
        function: "access",
        grant: "webhooks",
        summary: "Give a subscription another secret; the one before it signs along for a day",
        emits: &["subscription.secret.rotated"],
        ..BASE
    },
    Endpoint {
        name: "subscription.test",
        path: "/v1/webhooks/{webhookId}/test",
        function: "deliver",
        grant: "webhooks",
        summary: "Send a signed test event now, and learn what came of it",
        ..BASE
    },
    Endpoint {
        name: "subscription.redeliver",
        path: "/v1/webhooks/{webhookId}/redeliver",
        function: "deliver",
        grant: "webhooks",
        summary: "Send the dead letters of a subscription again",
        ..BASE
    },
    Endpoint {
        name: "tool.secret.rotate",
        path: "/v1/tools/secret/rotate",
        function: "access",
        grant: "tools",
        summary: "Give the calls to tools another secret, and learn it; the one before it signs \
            along for a day",
        emits: &["tool.secret.rotated"],
        ..BASE
    },
    Endpoint {
        name: "key.create",
        path: "/v1/keys",
        function: "access",
        grant: "keys",
        success: 201,
        summary: "Make an API key that may do no more than the one that makes it",
        ..BASE
    },
    Endpoint {
        name: "key.revoke",
        path: "/v1/keys/{keyId}/revoke",
        function: "access",
        grant: "keys",
        cost: Cost::Urgent,
        summary: "Revoke an API key",
        ..BASE
    },
    Endpoint {
        name: "subscription.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/webhooks",
        function: "deliver",
        grant: "webhooks",
        summary: "Where stage events are sent, and how their deliveries are",
        ..BASE
    },
    Endpoint {
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
    Endpoint {
        name: "capabilities",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/capabilities",
        function: "query",
        grant: "",
        summary: "What this deployment offers",
        ..BASE
    },
    Endpoint {
        name: "step.callback",
        path: "/v1/executions/{executionId}/steps/{stepId}/callback",
        function: "control",
        auth: Auth::Warrant,
        summary: "Say how a call ended that was answered with 202",
        emits: &["execution.step.completed", "execution.step.failed"],
        ..BASE
    },
    Endpoint {
        name: "warrant.keys",
        side: Side::Query,
        method: Method::Get,
        path: "/.well-known/jwks.json",
        function: "control",
        auth: Auth::None,
        summary: "The public keys that verify warrants, as a JSON Web Key Set",
        ..BASE
    },
    Endpoint {
        name: "health",
        side: Side::Query,
        method: Method::Get,
        path: "/healthz",
        function: "access",
        auth: Auth::None,
        cost: Cost::Urgent,
        summary: "Whether the service answers",
        ..BASE
    },
];
