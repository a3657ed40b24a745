//! Why a call has no answer.

use contracts::{Code, problem::ReceivedProblem};

/// Of what is no answer of a control plane, so many characters are shown.
const SHOWN_CHARACTERS_MAX: usize = 200;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The control plane refused or failed, and said why.
    #[error("{0}")]
    Problem(Box<ReceivedProblem>),
    /// No answer came.
    #[error("cannot reach {endpoint}: {cause}")]
    Unreachable { endpoint: String, cause: String },
    /// What came is no answer of a control plane.
    #[error("unexpected answer ({status}): {why}: {text}")]
    Unexpected { status: u16, why: String, text: String },
    /// The endpoint cannot be called.
    #[error("`{0}` is not the URL of a control plane: {1}")]
    Endpoint(String, String),
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Setup(String),
}

impl ClientError {
    /// The problem, if the control plane told one.
    pub fn problem(&self) -> Option<&ReceivedProblem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Unreachable { .. }
            | Self::Unexpected { .. }
            | Self::Endpoint(..)
            | Self::Request(_)
            | Self::Setup(_) => None,
        }
    }

    /// Whether the control plane answered with this code.
    pub fn is(&self, code: Code) -> bool {
        self.problem().is_some_and(|problem| problem.code == code)
    }

    /// Whether the very same call may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.retryable,
            Self::Unreachable { .. } => true,
            Self::Unexpected { .. } | Self::Endpoint(..) | Self::Request(_) | Self::Setup(_) => {
                false
            }
        }
    }

    // Without the URL, which may hold what belongs in no log.
    pub(crate) fn unreachable(endpoint: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let cause =
            if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() };
        Self::Unreachable { endpoint: endpoint.to_owned(), cause }
    }

    pub(crate) fn unexpected(status: u16, bytes: &[u8], why: &str) -> Self {
        let text = String::from_utf8_lossy(bytes).chars().take(SHOWN_CHARACTERS_MAX).collect();
        Self::Unexpected { status, why: why.to_owned(), text }
    }
}
