//! A stream of events: one hash chain, published in order and exported from where the last export
//! stopped.

use crate::ExecutionId;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

/// Name of the workspace log among a workspace's streams. No execution has such an id.
const LOG: &str = "log";

/// A chain of events of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Stream {
    /// The workspace log: what changes authority.
    Log,
    /// The trace of an execution.
    Trace(ExecutionId),
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str(LOG),
            Self::Trace(id) => f.write_str(id.as_str()),
        }
    }
}

impl FromStr for Stream {
    type Err = StreamError;
    fn from_str(text: &str) -> Result<Self, StreamError> {
        if text == LOG {
            return Ok(Self::Log);
        }
        text.parse().map(Self::Trace).map_err(|_| StreamError(text.to_owned()))
    }
}

impl JsonSchema for Stream {
    fn schema_name() -> Cow<'static, str> {
        "Stream".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(log|exe_[0-9a-f]{32})$" })
    }
}

impl From<Stream> for String {
    fn from(stream: Stream) -> Self {
        stream.to_string()
    }
}

impl TryFrom<String> for Stream {
    type Error = StreamError;
    fn try_from(text: String) -> Result<Self, StreamError> {
        text.parse()
    }
}

impl From<ExecutionId> for Stream {
    fn from(id: ExecutionId) -> Self {
        Self::Trace(id)
    }
}

/// A name that no stream has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no stream of events")]
pub struct StreamError(String);
