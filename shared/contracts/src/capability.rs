//! Capabilities: what a deployment offers, discoverable and switchable.

use crate::Open;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the contracts.
pub const CONTRACTS_VERSION: &str = "1.0.0";

/// A group of operations and events that is offered or absent as a whole.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Capability {
    #[serde(rename = "control-plane.core")]
    Core,
    #[serde(rename = "control-plane.approval")]
    Approval,
    #[serde(rename = "control-plane.audit")]
    Audit,
    #[serde(rename = "control-plane.skill-registry")]
    SkillRegistry,
    #[serde(rename = "control-plane.channel-runtime")]
    ChannelRuntime,
}

impl Capability {
    /// Every capability of the contract.
    pub const ALL: [Self; 5] =
        [Self::Core, Self::Approval, Self::Audit, Self::SkillRegistry, Self::ChannelRuntime];

    /// Key on the wire.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Core => "control-plane.core",
            Self::Approval => "control-plane.approval",
            Self::Audit => "control-plane.audit",
            Self::SkillRegistry => "control-plane.skill-registry",
            Self::ChannelRuntime => "control-plane.channel-runtime",
        }
    }

    /// Capabilities without which this one cannot be.
    pub const fn requires(self) -> &'static [Self] {
        match self {
            Self::Core | Self::SkillRegistry => &[],
            Self::Approval | Self::Audit => &[Self::Core],
            Self::ChannelRuntime => &[Self::Core, Self::Audit],
        }
    }
}

/// One row of the discovery document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    pub key: Open<Capability>,
    pub version: String,
    /// Whether this deployment offers it.
    pub offered: bool,
    pub requires: Vec<Open<Capability>>,
    /// Keys of its operations that are offered.
    pub operations: Vec<String>,
}

/// Answer of `GET /v1/capabilities`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    pub contracts_version: String,
    pub capabilities: Vec<Offer>,
}
