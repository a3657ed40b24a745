//! Channels: what providers of messages send, and who configures that.

use super::{Auth, BASE, Endpoint, Method, Side, runs::APPROVE};
use crate::capability::Capability;

const CHANNEL: Endpoint = Endpoint {
    function: "channel",
    grant: "channels",
    capability: Capability::ChannelRuntime,
    ..BASE
};

// What configures a channel is authority, and no function that writes executions may write it.
const CONFIGURED: Endpoint = Endpoint { function: "access", ..CHANNEL };

const SIGNED: Endpoint = Endpoint { auth: Auth::Signed, grant: "", ..CHANNEL };

pub(super) const TABLE: &[Endpoint] = &[
    Endpoint {
        name: "channel.put",
        path: "/v1/channels",
        summary: "Add a channel that a workspace is spoken to by, or replace it; people only",
        emits: &["governance.changed"],
        ..CONFIGURED
    },
    Endpoint {
        name: "channel.list",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/channels",
        summary: "The channels of a workspace, without their secrets",
        ..CONFIGURED
    },
    Endpoint {
        name: "channel.remove",
        path: "/v1/channels/remove",
        summary: "End a channel",
        emits: &["governance.changed"],
        ..CONFIGURED
    },
    Endpoint {
        name: "channel.receive",
        path: "/v1/channels/{provider}/{channelKey}",
        summary: "What a provider of messages sends; it is acknowledged before it is worked on",
        emits: &["intent.received"],
        ..SIGNED
    },
    Endpoint {
        name: "slack.interact",
        path: "/v1/slack/interactions",
        summary: "A person pressed a button of a message in Slack, or said why",
        codes: APPROVE,
        emits: &["approval.voted", "approval.granted", "approval.rejected"],
        ..SIGNED
    },
    Endpoint {
        name: "channel.challenge",
        side: Side::Query,
        method: Method::Get,
        path: "/v1/channels/{provider}/{channelKey}",
        summary: "Meta asks whether the address is ours",
        ..SIGNED
    },
];
