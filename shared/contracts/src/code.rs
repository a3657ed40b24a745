//! The one vocabulary of codes: problem+json `code` = Lambda error type = ASL `ErrorEquals` = CLI
//! message.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong. 4xx are refusals (never retried by us), 5xx are faults (retried).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    BadRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    PreconditionFailed,
    ValidationFailed,
    RateLimited,
    InternalError,
    Timeout,
    IntentNotFound,
    BindingStale,
    ApprovalExpired,
    ApprovalAlreadyDecided,
    SelfApproval,
    NotAnApprover,
    SecondFactorRequired,
    SignatureInvalid,
    SignatureMissing,
    ManifestInvalid,
    SchemaVersionInvalid,
    SignatureExpired,
    PublisherUntrusted,
    KeyUntrusted,
    ProvenanceUntrusted,
    ArtifactDigestMismatch,
    ContractsSpecVersionMissing,
    ContractsSpecTooOld,
    ContractsSpecTooNew,
    ControlPlaneVersionMissing,
    ControlPlaneTooOld,
    ControlPlaneTooNew,
    CapabilityMissing,
    VersionConflict,
    RollbackRefused,
}

impl Code {
    /// Every code, in the order of the contract.
    pub const ALL: [Self; 35] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::ValidationFailed,
        Self::RateLimited,
        Self::InternalError,
        Self::Timeout,
        Self::IntentNotFound,
        Self::BindingStale,
        Self::ApprovalExpired,
        Self::ApprovalAlreadyDecided,
        Self::SelfApproval,
        Self::NotAnApprover,
        Self::SecondFactorRequired,
        Self::SignatureInvalid,
        Self::SignatureMissing,
        Self::ManifestInvalid,
        Self::SchemaVersionInvalid,
        Self::SignatureExpired,
        Self::PublisherUntrusted,
        Self::KeyUntrusted,
        Self::ProvenanceUntrusted,
        Self::ArtifactDigestMismatch,
        Self::ContractsSpecVersionMissing,
        Self::ContractsSpecTooOld,
        Self::ContractsSpecTooNew,
        Self::ControlPlaneVersionMissing,
        Self::ControlPlaneTooOld,
        Self::ControlPlaneTooNew,
        Self::CapabilityMissing,
        Self::VersionConflict,
        Self::RollbackRefused,
    ];

    /// The code on the wire, its HTTP status and its short text.
    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadRequest => ("BAD_REQUEST", 400, "the request cannot be read"),
            Self::Unauthenticated => ("UNAUTHENTICATED", 401, "no valid credential"),
            Self::Forbidden => ("FORBIDDEN", 403, "the credential does not grant this"),
            Self::NotFound => ("NOT_FOUND", 404, "there is no such thing in this workspace"),
            Self::Conflict => ("CONFLICT", 409, "the current state does not allow this"),
            Self::PreconditionFailed => {
                ("PRECONDITION_FAILED", 412, "what the request builds on has changed")
            }
            Self::ValidationFailed => ("VALIDATION_FAILED", 422, "the request is not valid"),
            Self::RateLimited => ("RATE_LIMITED", 429, "too many requests"),
            Self::InternalError => ("INTERNAL_ERROR", 500, "the service failed"),
            Self::Timeout => ("TIMEOUT", 504, "the service did not answer in time"),
            Self::IntentNotFound => {
                ("INTENT_NOT_FOUND", 404, "there is no such intent in this workspace")
            }
            Self::BindingStale => ("BINDING_STALE", 409, "what was shown for approval has changed"),
            Self::ApprovalExpired => ("APPROVAL_EXPIRED", 409, "the approval's time is over"),
            Self::ApprovalAlreadyDecided => {
                ("APPROVAL_ALREADY_DECIDED", 409, "this was decided before")
            }
            Self::SelfApproval => ("SELF_APPROVAL", 403, "who asked may not approve"),
            Self::NotAnApprover => ("NOT_AN_APPROVER", 403, "this actor may not approve"),
            Self::SecondFactorRequired => {
                ("SECOND_FACTOR_REQUIRED", 403, "the decision needs a second factor")
            }
            Self::SignatureInvalid => ("SIGNATURE_INVALID", 400, "the signature does not verify"),
            Self::SignatureMissing => ("SIGNATURE_MISSING", 400, "the manifest is not signed"),
            Self::ManifestInvalid => ("MANIFEST_INVALID", 400, "the manifest is not valid"),
            Self::SchemaVersionInvalid => {
                ("SCHEMA_VERSION_INVALID", 400, "unknown manifest schema version")
            }
            Self::SignatureExpired => {
                ("SIGNATURE_EXPIRED", 400, "the signature's validity is over")
            }
            Self::PublisherUntrusted => {
                ("PUBLISHER_UNTRUSTED", 403, "the workspace does not trust this publisher")
            }
            Self::KeyUntrusted => ("KEY_UNTRUSTED", 403, "the workspace does not trust this key"),
            Self::ProvenanceUntrusted => {
                ("PROVENANCE_UNTRUSTED", 403, "the provenance is not allowed")
            }
            Self::ArtifactDigestMismatch => {
                ("ARTIFACT_DIGEST_MISMATCH", 409, "the artifact is not the signed one")
            }
            Self::ContractsSpecVersionMissing => {
                ("CONTRACTS_SPEC_VERSION_MISSING", 409, "the contracts version is not stated")
            }
            Self::ContractsSpecTooOld => {
                ("CONTRACTS_SPEC_TOO_OLD", 409, "our contracts are too old for the skill")
            }
            Self::ContractsSpecTooNew => {
                ("CONTRACTS_SPEC_TOO_NEW", 409, "our contracts are too new for the skill")
            }
            Self::ControlPlaneVersionMissing => {
                ("CONTROL_PLANE_VERSION_MISSING", 409, "the control plane version is not stated")
            }
            Self::ControlPlaneTooOld => {
                ("CONTROL_PLANE_TOO_OLD", 409, "this control plane is too old for the skill")
            }
            Self::ControlPlaneTooNew => {
                ("CONTROL_PLANE_TOO_NEW", 409, "this control plane is too new for the skill")
            }
            // 404 where an operation of an absent capability is called (CONTRACTS 4), 409 where a
            // skill requires one.
            Self::CapabilityMissing => {
                ("CAPABILITY_MISSING", 404, "this deployment does not offer that capability")
            }
            Self::VersionConflict => {
                ("VERSION_CONFLICT", 409, "this version exists with other content")
            }
            Self::RollbackRefused => {
                ("ROLLBACK_REFUSED", 409, "this version is below the allowed minimum")
            }
        }
    }

    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }
    /// HTTP status.
    pub const fn status(self) -> u16 {
        self.row().1
    }
    /// Short text, lower case.
    pub const fn title(self) -> &'static str {
        self.row().2
    }
    /// Whether the very same request may succeed later without anybody changing anything.
    pub const fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::InternalError | Self::Timeout)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn the_wire_name_is_the_serialised_name() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(code.retryable(), code.status() >= 500 || code.status() == 429);
        }
    }
}
