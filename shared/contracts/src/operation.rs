//! The rows of the endpoint table with the types of request and answer: what a client calls by, and
//! what the OpenAPI document describes.

use crate::{
    access as a, approval as p,
    capability::Capabilities,
    channel as ch, command as c, directory as d,
    endpoint::{Endpoint, named},
    evidence as v, governance as g, link as l, mandate as m, query as q, sign_in as i,
    subscription as s,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::marker::PhantomData;

/// An endpoint that takes a `Q` and answers with an `A`.
pub struct Operation<Q, A> {
    pub endpoint: &'static Endpoint,
    types: PhantomData<fn(&Q) -> A>,
}

impl<Q, A> Operation<Q, A> {
    // Evaluated by the compiler: a name that is not in the table does not compile.
    const fn named(name: &str) -> Self {
        Self { endpoint: named(name), types: PhantomData }
    }
}

pub const INTENT_SUBMIT: Operation<c::SubmitIntent, c::IntentSubmitted> =
    Operation::named("intent.submit");
pub const PLAN_COMPILE: Operation<c::CompilePlan, c::PlanCompiledAnswer> =
    Operation::named("plan.compile");
pub const PLAN_VERIFY: Operation<c::VerifyPlan, c::PlanVerifiedAnswer> =
    Operation::named("plan.verify");
pub const EXECUTION_START: Operation<c::StartExecution, c::ExecutionStartedAnswer> =
    Operation::named("execution.start");
pub const EXECUTION_APPROVE: Operation<c::ApproveExecution, c::ExecutionApproved> =
    Operation::named("execution.approve");
pub const EXECUTION_REJECT: Operation<c::RejectExecution, c::ExecutionRejected> =
    Operation::named("execution.reject");
pub const APPROVAL_LIST: Operation<p::ListApprovals, p::ApprovalList> =
    Operation::named("approval.list");
pub const APPROVAL_GET: Operation<p::GetApproval, p::ApprovalAnswer> =
    Operation::named("approval.get");
pub const APPROVAL_VOTE: Operation<p::VoteApprovals, p::ApprovalsVoted> =
    Operation::named("approval.vote");
pub const APPROVAL_WITHDRAW: Operation<p::WithdrawVote, p::ApprovalState> =
    Operation::named("approval.withdraw");
pub const APPROVAL_COMMENT: Operation<p::CommentApproval, p::ApprovalState> =
    Operation::named("approval.comment");
pub const APPROVAL_EDIT: Operation<p::EditPlan, p::PlanEdited> = Operation::named("approval.edit");
pub const APPROVAL_OVERRIDE: Operation<p::OverrideApproval, p::ApprovalState> =
    Operation::named("approval.override");
pub const APPROVAL_REVIEW: Operation<p::ReviewOverride, p::ApprovalState> =
    Operation::named("approval.review");
pub const PERSON_PUT: Operation<d::PutPerson, d::PersonView> = Operation::named("person.put");
pub const PERSON_REMOVE: Operation<d::RemovePerson, d::PersonRemoved> =
    Operation::named("person.remove");
pub const PERSON_LIST: Operation<d::ListDirectory, d::PersonList> = Operation::named("person.list");
pub const GROUP_PUT: Operation<d::PutGroup, d::Group> = Operation::named("group.put");
pub const GROUP_LIST: Operation<d::ListDirectory, d::GroupList> = Operation::named("group.list");
pub const MANDATE_CREATE: Operation<m::CreateMandate, m::Mandate> =
    Operation::named("mandate.create");
pub const MANDATE_REVOKE: Operation<m::RevokeMandate, m::Mandate> =
    Operation::named("mandate.revoke");
pub const MANDATE_LIST: Operation<m::ListMandates, m::MandateList> =
    Operation::named("mandate.list");
pub const CHANNEL_PUT: Operation<ch::PutChannel, ch::ChannelView> = Operation::named("channel.put");
pub const CHANNEL_LIST: Operation<ch::ListChannels, ch::ChannelList> =
    Operation::named("channel.list");
pub const CHANNEL_REMOVE: Operation<ch::RemoveChannel, ch::ChannelRemoved> =
    Operation::named("channel.remove");
pub const EXECUTION_CANCEL: Operation<c::CancelExecution, c::ExecutionCancelledAnswer> =
    Operation::named("execution.cancel");
pub const EXECUTION_PAUSE: Operation<c::SteerExecution, c::ExecutionSteeredAnswer> =
    Operation::named("execution.pause");
pub const EXECUTION_RESUME: Operation<c::SteerExecution, c::ExecutionSteeredAnswer> =
    Operation::named("execution.resume");
pub const EXECUTION_RETRY: Operation<c::RetryExecution, c::ExecutionSteeredAnswer> =
    Operation::named("execution.retry");
pub const EXECUTION_ABORT: Operation<c::SteerExecution, c::ExecutionSteeredAnswer> =
    Operation::named("execution.abort");
pub const EXECUTION_RESOLVE: Operation<c::ResolveStep, c::StepResolvedAnswer> =
    Operation::named("execution.resolve");
pub const EXECUTION_EVIDENCE_EXPORT: Operation<c::ExportEvidence, c::EvidenceExportedAnswer> =
    Operation::named("execution.evidence.export");
pub const SKILL_INSTALL: Operation<c::InstallSkill, c::SkillInstalledAnswer> =
    Operation::named("skill.install");
pub const SKILL_DISABLE: Operation<c::DisableSkill, c::SkillDisabledAnswer> =
    Operation::named("skill.disable");
pub const SKILL_ENABLE: Operation<c::EnableSkill, c::SkillEnabledAnswer> =
    Operation::named("skill.enable");
pub const SUBSCRIPTION_CREATE: Operation<s::CreateSubscription, s::SubscriptionCreated> =
    Operation::named("subscription.create");
pub const SUBSCRIPTION_LIST: Operation<s::ListSubscriptions, s::SubscriptionList> =
    Operation::named("subscription.list");
pub const SUBSCRIPTION_REMOVE: Operation<s::NamedSubscription, s::SubscriptionRemoved> =
    Operation::named("subscription.remove");
pub const SUBSCRIPTION_SECRET_ROTATE: Operation<s::NamedSubscription, s::SecretRotated> =
    Operation::named("subscription.secret.rotate");
pub const SUBSCRIPTION_TEST: Operation<s::NamedSubscription, s::SubscriptionTested> =
    Operation::named("subscription.test");
pub const SUBSCRIPTION_REDELIVER: Operation<s::RedeliverSubscription, s::SubscriptionRedelivered> =
    Operation::named("subscription.redeliver");
pub const TOOL_SECRET_ROTATE: Operation<s::RotateToolSecret, s::SecretRotated> =
    Operation::named("tool.secret.rotate");
pub const KEY_CREATE: Operation<a::CreateKey, a::KeyCreated> = Operation::named("key.create");
pub const KEY_LIST: Operation<a::ListKeys, a::KeyList> = Operation::named("key.list");
pub const KEY_REVOKE: Operation<a::RevokeKey, a::ApiKey> = Operation::named("key.revoke");
pub const LINK_REVOKE: Operation<l::RevokeLinks, l::LinksRevoked> = Operation::named("link.revoke");
pub const SIGN_IN_SET: Operation<i::SetSignIn, i::SignInView> = Operation::named("sign-in.set");
pub const SIGN_IN_GET: Operation<g::EmptyQuery, i::SignInView> = Operation::named("sign-in.get");
pub const DECIDERS_SET: Operation<a::SetDeciders, a::Deciders> = Operation::named("deciders.set");
pub const DECIDERS_GET: Operation<g::EmptyQuery, a::Deciders> = Operation::named("deciders.get");
pub const POLICY_ACTIVATE: Operation<c::ActivatePolicy, c::PolicyActivatedAnswer> =
    Operation::named("policy.activate");
pub const POLICY_SHADOW: Operation<g::ShadowPolicy, g::Shadow> = Operation::named("policy.shadow");
pub const TRUST_SET: Operation<g::SetTrust, g::TrustAnswer> = Operation::named("trust.set");
pub const FREEZE_SET: Operation<g::SetFreeze, g::Freezes> = Operation::named("freeze.set");
pub const BUDGET_SET: Operation<g::SetBudgets, g::BudgetsAnswer> = Operation::named("budget.set");
pub const SIGNALS_SET: Operation<g::SetSignals, g::SignalsAnswer> = Operation::named("signals.set");
pub const EXECUTION_GET: Operation<q::GetExecution, q::ExecutionAnswer> =
    Operation::named("execution.get");
pub const EXECUTION_LIST: Operation<q::ListExecutions, q::ExecutionList> =
    Operation::named("execution.list");
pub const EXECUTION_OUTPUT: Operation<q::GetOutput, q::ExecutionOutput> =
    Operation::named("execution.output");
pub const TRACE_GET: Operation<q::GetTrace, q::Trace> = Operation::named("trace.get");
pub const WORKSPACE_LOG: Operation<q::GetWorkspaceLog, q::WorkspaceLog> =
    Operation::named("workspace.log");
pub const EVIDENCE_EXPORT: Operation<v::ExportWorkspace, v::WorkspaceExported> =
    Operation::named("evidence.export");
pub const EVIDENCE_CHECKPOINT: Operation<v::GetCheckpoint, v::CheckpointAnswer> =
    Operation::named("evidence.checkpoint");
pub const EVIDENCE_PROOF: Operation<v::GetProof, v::LogProof> = Operation::named("evidence.proof");
pub const EVIDENCE_RECEIPT: Operation<v::GetReceipt, v::SignedReceipt> =
    Operation::named("evidence.receipt");
pub const TRACE_REPLAY: Operation<q::ReplayTrace, q::Replay> = Operation::named("trace.replay");
pub const POLICY_EXPLAIN: Operation<q::ExplainPolicy, q::Explanation> =
    Operation::named("policy.explain");
pub const POLICY_BACKTEST: Operation<q::BacktestPolicy, q::Backtest> =
    Operation::named("policy.backtest");
pub const POLICY_GET: Operation<g::EmptyQuery, g::PolicySets> = Operation::named("policy.get");
pub const POLICY_SHADOW_GET: Operation<g::EmptyQuery, g::Shadow> =
    Operation::named("policy.shadow.get");
pub const TRUST_GET: Operation<g::EmptyQuery, g::TrustAnswer> = Operation::named("trust.get");
pub const FREEZE_LIST: Operation<g::EmptyQuery, g::Freezes> = Operation::named("freeze.list");
pub const BUDGET_GET: Operation<g::EmptyQuery, g::BudgetsAnswer> = Operation::named("budget.get");
pub const SIGNALS_GET: Operation<g::EmptyQuery, g::SignalsAnswer> = Operation::named("signals.get");
pub const SKILL_LIST: Operation<q::ListSkills, q::SkillList> = Operation::named("skill.list");
pub const SKILL_VERIFY: Operation<c::InstallSkill, q::SkillVerified> =
    Operation::named("skill.verify");
pub const CAPABILITIES: Operation<q::GetCapabilities, Capabilities> =
    Operation::named("capabilities");

/// Makes the schema of a type.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

pub(crate) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn of<Q: JsonSchema, A: JsonSchema>(operation: &Operation<Q, A>) -> (&'static str, (Shape, Shape)) {
    (operation.endpoint.name, (schema::<Q>, schema::<A>))
}

/// Schemas of request and answer of every operation, by its name.
pub(crate) fn shapes() -> Vec<(&'static str, (Shape, Shape))> {
    vec![
        of(&INTENT_SUBMIT),
        of(&PLAN_COMPILE),
        of(&PLAN_VERIFY),
        of(&EXECUTION_START),
        of(&EXECUTION_APPROVE),
        of(&EXECUTION_REJECT),
        of(&APPROVAL_LIST),
        of(&APPROVAL_GET),
        of(&APPROVAL_VOTE),
        of(&APPROVAL_WITHDRAW),
        of(&APPROVAL_COMMENT),
        of(&APPROVAL_EDIT),
        of(&APPROVAL_OVERRIDE),
        of(&APPROVAL_REVIEW),
        of(&PERSON_PUT),
        of(&PERSON_REMOVE),
        of(&PERSON_LIST),
        of(&GROUP_PUT),
        of(&GROUP_LIST),
        of(&MANDATE_CREATE),
        of(&MANDATE_REVOKE),
        of(&MANDATE_LIST),
        of(&CHANNEL_PUT),
        of(&CHANNEL_LIST),
        of(&CHANNEL_REMOVE),
        of(&EXECUTION_CANCEL),
        of(&EXECUTION_PAUSE),
        of(&EXECUTION_RESUME),
        of(&EXECUTION_RETRY),
        of(&EXECUTION_ABORT),
        of(&EXECUTION_RESOLVE),
        of(&EXECUTION_EVIDENCE_EXPORT),
        of(&SKILL_INSTALL),
        of(&SKILL_DISABLE),
        of(&SKILL_ENABLE),
        of(&SUBSCRIPTION_CREATE),
        of(&SUBSCRIPTION_LIST),
        of(&SUBSCRIPTION_REMOVE),
        of(&SUBSCRIPTION_TEST),
        of(&SUBSCRIPTION_REDELIVER),
        of(&SUBSCRIPTION_SECRET_ROTATE),
        of(&TOOL_SECRET_ROTATE),
        of(&KEY_CREATE),
        of(&KEY_LIST),
        of(&KEY_REVOKE),
        of(&LINK_REVOKE),
        of(&SIGN_IN_SET),
        of(&SIGN_IN_GET),
        of(&DECIDERS_SET),
        of(&DECIDERS_GET),
        of(&POLICY_ACTIVATE),
        of(&POLICY_SHADOW),
        of(&TRUST_SET),
        of(&FREEZE_SET),
        of(&BUDGET_SET),
        of(&SIGNALS_SET),
        of(&EXECUTION_GET),
        of(&EXECUTION_LIST),
        of(&EXECUTION_OUTPUT),
        of(&TRACE_GET),
        of(&WORKSPACE_LOG),
        of(&EVIDENCE_EXPORT),
        of(&EVIDENCE_CHECKPOINT),
        of(&EVIDENCE_PROOF),
        of(&EVIDENCE_RECEIPT),
        of(&TRACE_REPLAY),
        of(&POLICY_EXPLAIN),
        of(&POLICY_BACKTEST),
        of(&POLICY_GET),
        of(&POLICY_SHADOW_GET),
        of(&TRUST_GET),
        of(&FREEZE_LIST),
        of(&BUDGET_GET),
        of(&SIGNALS_GET),
        of(&SKILL_LIST),
        of(&SKILL_VERIFY),
        of(&CAPABILITIES),
    ]
}
