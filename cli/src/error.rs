//! Why a command did not do what was asked, and what its process exits with.

use client::ClientError;
use serde_json::{Value, json};
use std::path::Path;

/// What a process says by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Refused, rejected, failed, or waiting for people.
    NotDone,
    /// What another program exited with.
    Other(u8),
}

impl Exit {
    /// Done, if this holds.
    pub fn done_if(holds: bool) -> Self {
        if holds { Self::Done } else { Self::NotDone }
    }

    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotDone => 1,
            Self::Other(code) => code,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The control plane refused, failed, or was not reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A server other than the control plane does not do its part.
    #[error("{0}")]
    Server(String),
    /// Something of this machine or of how the command was called: a file, a port, an argument.
    #[error("{0}")]
    Local(String),
    /// The demo did not prove what it set out to.
    #[error("not proven: {0}")]
    NotProven(String),
}

impl CliError {
    /// A fault of this machine.
    pub fn local(error: impl std::fmt::Display) -> Self {
        Self::Local(error.to_string())
    }

    /// A fault of a server.
    pub fn server(error: impl std::fmt::Display) -> Self {
        Self::Server(error.to_string())
    }

    /// A fault of a file.
    pub fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Local(format!("{}: {error}", path.display()))
    }

    /// For machines: the problem as it came, or one of this machine in the same form.
    pub fn as_json(&self) -> Value {
        let own = |code: &str| json!({ "code": code, "detail": self.to_string() });
        match self {
            Self::Client(ClientError::Problem(problem)) => {
                serde_json::to_value(problem).unwrap_or_else(|_| own("INTERNAL_ERROR"))
            }
            Self::Client(ClientError::Unreachable { .. }) => own("UNREACHABLE"),
            Self::Client(ClientError::Unexpected { status, .. }) => {
                json!({ "code": "UNEXPECTED_ANSWER", "status": status, "detail": self.to_string() })
            }
            Self::Server(_) => own("SERVER"),
            Self::Client(
                ClientError::Endpoint(..) | ClientError::Request(_) | ClientError::Setup(_),
            )
            | Self::Local(_) => own("LOCAL"),
            Self::NotProven(_) => own("NOT_PROVEN"),
        }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Problem(problem)) if problem.status < 500 => 1,
            Self::NotProven(_) => 1,
            Self::Client(
                ClientError::Endpoint(..) | ClientError::Request(_) | ClientError::Setup(_),
            )
            | Self::Local(_) => 2,
            Self::Client(
                ClientError::Problem(_)
                | ClientError::Unreachable { .. }
                | ClientError::Unexpected { .. },
            )
            | Self::Server(_) => 3,
        }
    }
}
