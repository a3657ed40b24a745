//! A request among several: the name of its checkbox in the inbox, and of its field where several
//! are decided on at once.

use contracts::{ExecutionId, id::ApprovalId};
use std::fmt;

/// Names one request for approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    pub execution: ExecutionId,
    pub approval: ApprovalId,
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.execution.as_str(), self.approval.as_str())
    }
}

impl Pick {
    /// By its name; none, if it names no request.
    pub fn parse(name: &str) -> Option<Self> {
        let (execution, approval) = name.split_once('.')?;
        Some(Self { execution: execution.parse().ok()?, approval: approval.parse().ok()? })
    }
}
