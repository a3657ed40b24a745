//! Commands: what callers ask to be done. Requests refuse unknown fields; responses may grow.

use crate::{
    Digest, ExecutionId, IntentId, Open, PlanId, RunId, StepId, Timestamp,
    draft::Draft,
    event::{Metadata, Purpose, Requirement, Resolution, SubmitMode},
    evidence::Bundle,
    id::InstallationId,
    plan::Plan,
    problem::Issue,
    query::BacktestChange,
    status::{ExecutionStatus, SkillStatus, StepStatus},
    verdict::{RiskTier, RunMode, Verdict},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// controlPlane.intent.submit
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubmitIntent {
    /// What the actor wants, in words; at most 16 KiB.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<PlaybookCall>,
    #[serde(default)]
    pub mode: SubmitMode,
    /// The channel the text came through, for example `slack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// A trace id of the caller's own (32 hexadecimal digits); else that of `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Refused unless it is the authenticated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    /// The subject: the person or account that the actor acts for. Grants nothing; a subject does
    /// not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
}

impl SubmitIntent {
    /// An intent with nothing but its words.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            draft: None,
            playbook: None,
            mode: SubmitMode::default(),
            channel_key: None,
            metadata: None,
            trace_id: None,
            workspace_id: None,
            on_behalf_of: None,
        }
    }
}

/// A playbook and its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaybookCall {
    /// `skill/playbook`, optionally `@range`.
    pub key: String,
    #[serde(default)]
    pub inputs: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntentSubmitted {
    pub execution_id: ExecutionId,
    pub intent_id: IntentId,
    pub status: Open<ExecutionStatus>,
    pub received_at: Timestamp,
}

/// controlPlane.plan.compile
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompilePlan {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
    /// For an intent that came without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    /// The model that planned; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planner_model: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanCompiledAnswer {
    pub execution_id: ExecutionId,
    pub plan_id: PlanId,
    pub compiled_at: Timestamp,
    pub step_count: u32,
    /// The plan's digest.
    pub deterministic_hash: Digest,
    pub plan: Open<Plan>,
    /// Empty: a plan with diagnostics is refused with 422 and they are its issues.
    pub diagnostics: Vec<Issue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// controlPlane.plan.verify
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyPlan {
    pub execution_id: ExecutionId,
    pub plan_id: PlanId,
    /// Refused with 412 unless it is the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanVerifiedAnswer {
    pub execution_id: ExecutionId,
    pub verdict: Open<Verdict>,
    pub risk_tier: Open<RiskTier>,
    pub requires_approval: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_reasons: Vec<String>,
    pub verified_at: Timestamp,
    pub policy_version: String,
    pub steps: Vec<StepVerdictAnswer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepVerdictAnswer {
    pub step_id: StepId,
    /// Of which of the step's calls.
    #[serde(default, skip_serializing_if = "Purpose::is_run")]
    pub purpose: Purpose,
    pub verdict: Open<Verdict>,
    pub risk_tier: Open<RiskTier>,
    pub reasons: Vec<String>,
    /// Policies that decided, by `@id`, else by position: those that permitted, and those that took
    /// autonomy away.
    #[serde(default)]
    pub determining: Vec<String>,
    /// Whom their `@approvers` ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Requirement>,
    /// Their shortest `@expires`, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

/// controlPlane.execution.start
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartExecution {
    pub execution_id: ExecutionId,
    pub plan_id: PlanId,
    /// May tighten what the verdict allows, never loosen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RunMode>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionStartedAnswer {
    pub execution_id: ExecutionId,
    pub run_id: RunId,
    pub status: Open<ExecutionStatus>,
    pub started_at: Timestamp,
}

/// controlPlane.execution.approve
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveExecution {
    pub execution_id: ExecutionId,
    /// Absent: the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    /// What is decided on: plan, policy, skills, view and, for a step that asked with it, its
    /// actual input.
    pub binding_digest: Digest,
    /// The view that was shown to the person who decides; refused unless it is the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionApproved {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub status: Open<ExecutionStatus>,
    /// When it was granted; absent: it waits for other voices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Timestamp>,
    /// Whose voice granted it: the authenticated actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Voices that it still needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Requirement>,
    /// Steps that still wait for approval.
    pub remaining: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// controlPlane.execution.reject
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RejectExecution {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    /// The view that was shown to the person who decides; refused unless it is the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<Digest>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionRejected {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub status: Open<ExecutionStatus>,
    pub rejected_at: Timestamp,
    pub rejected_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// controlPlane.execution.cancel
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelExecution {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Undo completed steps in reverse order where their operations say how.
    #[serde(default)]
    pub compensate: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionCancelledAnswer {
    pub execution_id: ExecutionId,
    /// `cancelling` while calls are in flight or being undone, else `cancelled`.
    pub status: Open<ExecutionStatus>,
    pub cancelled_at: Timestamp,
    pub cancelled_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// controlPlane.execution.pause, resume, abort
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SteerExecution {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// controlPlane.execution.retry
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryExecution {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Absent: every step that failed or waits for an approval whose time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionSteeredAnswer {
    pub execution_id: ExecutionId,
    pub status: Open<ExecutionStatus>,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// controlPlane.execution.resolve
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveStep {
    pub execution_id: ExecutionId,
    pub step_id: StepId,
    pub outcome: Resolution,
    /// With `completed`: the output, as the person found it. It must fit the output schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepResolvedAnswer {
    pub execution_id: ExecutionId,
    pub step_id: StepId,
    pub status: Open<StepStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// controlPlane.execution.evidence.export
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportEvidence {
    pub execution_id: ExecutionId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceExportedAnswer {
    pub bundle: Bundle,
    /// Of its canonical JSON.
    pub digest: Digest,
}

/// controlPlane.skill.install, controlPlane.skill.verify
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallSkill {
    pub skill_key: String,
    pub version: String,
    pub artifact_digest: Digest,
    /// A DSSE envelope ([`crate::manifest::Envelope`]).
    pub manifest: Value,
    /// A tar, gzipped or not. Absent: the skill is its manifest alone, and `artifactDigest` that of
    /// no bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// A person's word that a version below the highest that ever was installed may come.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub allow_downgrade: bool,
}

/// Where the bytes of an artifact are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ArtifactSource {
    /// Here, as base64.
    Bytes(String),
    /// In the deployment's blob store, under their digest.
    Blob(Digest),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillInstalledAnswer {
    pub installation_id: InstallationId,
    pub skill_key: String,
    pub version: String,
    pub verified: bool,
    pub signature_verified: bool,
    pub publisher_trusted: bool,
    pub compatibility_verified: bool,
    pub manifest_digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    pub issues: Vec<Issue>,
    pub status: Open<SkillStatus>,
    pub installed_at: Timestamp,
}

/// controlPlane.skill.disable
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisableSkill {
    pub skill_key: String,
    /// Absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillDisabledAnswer {
    pub skill_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub status: Open<SkillStatus>,
    pub disabled_at: Timestamp,
    pub disabled_by: String,
    /// Steps of open executions that pin it and had not started: they will not.
    pub voided_steps: u32,
    /// There were more open executions than were counted.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub voided_steps_partial: bool,
}

/// controlPlane.skill.enable
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnableSkill {
    pub skill_key: String,
    /// Absent: the skill as a whole, and every version that was disabled with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillEnabledAnswer {
    pub skill_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub status: Open<SkillStatus>,
    pub enabled_at: Timestamp,
    pub enabled_by: String,
}

/// controlPlane.policy.activate
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivatePolicy {
    /// Cedar text.
    pub policies: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Validate and backtest, activate nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Days that the backtest goes back: 0 to 90, default 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtest_days: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyActivatedAnswer {
    pub policy_version: String,
    pub digest: Digest,
    /// Of a dry run: when it was tried.
    pub activated_at: Timestamp,
    /// Who activated it: the authenticated actor.
    pub activated_by: String,
    /// False after a dry run.
    pub active: bool,
    /// Steps whose verdicts of the last days were evaluated again.
    pub evaluated: u64,
    /// Verdicts that are others under this set.
    pub changes: Vec<BacktestChange>,
    /// Not everything of the window was evaluated.
    #[serde(default)]
    pub truncated: bool,
}
