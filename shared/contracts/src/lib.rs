//! The wire. Every command, query, event, capability, code and endpoint of Countersign as plain
//! data.
//!
//! Other crates decide and store; this one only says what the words look like. Commands refuse
//! unknown fields, events tolerate them. Everything that is generated (OpenAPI, event schemas) is
//! generated from here.

pub mod access;
pub mod approval;
pub mod capability;
pub mod channel;
pub mod code;
pub mod command;
pub mod directory;
pub mod draft;
pub mod endpoint;
pub mod event;
mod event_text;
pub mod evidence;
pub mod governance;
pub mod grant;
pub mod id;
pub mod json;
pub mod limits;
pub mod link;
pub mod mandate;
pub mod manifest;
pub mod names;
pub mod notice;
mod open;
pub mod openapi;
pub mod operation;
pub mod pack;
pub mod plan;
pub mod problem;
pub mod query;
pub mod sign_in;
pub mod status;
mod stream;
pub mod subscription;
pub mod text;
pub mod time;
pub mod verdict;
pub mod view;

pub use code::Code;
pub use id::{Digest, ExecutionId, IntentId, PlanId, RunId, StepId, WorkspaceId};
pub use open::Open;
pub use problem::{Issue, Problem};
pub use stream::{Stream, StreamError};
pub use time::Timestamp;

// What is not so is not written.
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

pub(crate) fn is_zero(count: &u64) -> bool {
    *count == 0
}
