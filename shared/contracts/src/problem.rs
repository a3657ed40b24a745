//! Problem details (RFC 9457): how every refusal and fault leaves the system.

use crate::{
    Code, Open,
    limits::{MESSAGE_BYTES_MAX, POINTER_BYTES_MAX},
    text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Issue {
    /// JSON pointer into the request (RFC 6901); empty for the whole.
    pub pointer: String,
    /// What is wrong and what to do.
    pub message: String,
    /// A finer code where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Issue {
    /// An issue without a finer code. What is long is cut: it may quote what a stranger sent.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let pointer = text::clip(pointer.into(), POINTER_BYTES_MAX);
        Self { pointer, message: text::clip(message.into(), MESSAGE_BYTES_MAX), code: None }
    }
    /// About its size as JSON, in bytes; never less.
    pub fn json_bytes(&self) -> usize {
        let code = self.code.as_deref().map_or(0, text::json_bytes);
        48 + text::json_bytes(&self.pointer) + text::json_bytes(&self.message) + code
    }
    /// An issue with a finer code.
    pub fn coded(
        code: impl Into<String>,
        pointer: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { code: Some(code.into()), ..Self::new(pointer, message) }
    }
}

/// The body of every answer that is not a success: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{code}: {detail}")]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:countersign:code:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's short text.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened to this request, and what to do.
    pub detail: String,
    /// One of the code vocabulary.
    pub code: Code,
    /// Trace id of the request (W3C, 32 hexadecimal digits).
    pub trace_id: String,
    /// Whether the very same request may succeed later.
    pub retryable: bool,
    /// What is wrong, and where.
    #[serde(default)]
    pub issues: Vec<Issue>,
}

impl Problem {
    /// A problem with its code's title, status and retryability.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:countersign:code:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            trace_id: String::new(),
            retryable: code.retryable(),
            issues: Vec::new(),
        }
    }
    /// Adds one issue.
    #[must_use]
    pub fn issue(mut self, issue: Issue) -> Self {
        self.issues.push(issue);
        self
    }
    /// Adds issues, cut at the limit.
    #[must_use]
    pub fn issues(mut self, issues: Vec<Issue>) -> Self {
        self.issues = crate::json::clip_issues(issues);
        self
    }
}

/// A problem as a client reads it: of a server that may be newer, or of a proxy before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
#[serde(rename_all = "camelCase")]
pub struct ReceivedProblem {
    pub code: Open<Code>,
    /// HTTP status.
    pub status: u16,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub detail: String,
    /// Names the request in the server's log.
    #[serde(default)]
    pub trace_id: String,
    /// Whether the very same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    #[serde(default)]
    pub issues: Vec<Issue>,
    /// What else it says.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}
