//! One call to a tool: what it is sent, and what its answer means.

use crate::{
    Base, Parts, Values,
    operate::metrics,
    ports::{ToolAnswer, ToolCall, ToolReport},
    run::words::Words,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Digest, ExecutionId, StepId, Timestamp, WorkspaceId,
    event::{Purpose, Reserved},
    id::ApprovalId,
    json,
    limits::{STEP_OUTPUT_BYTES_MAX, STEP_TIMEOUT_SECONDS_MAX},
    manifest::Binding,
    plan::{Call, Radius},
};
use countersign_store::{Condition, Key, Loaded, Write};
use cs_core::{
    canonical,
    execution::decide::{MandateUsed, Outcome},
    seal::Opened,
    skill::CompiledOperation,
    warrant::{self, Claims, Ring},
};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::{collections::BTreeSet, sync::Arc};

/// What the identifier of a message looks like, before there is one.
const MESSAGE_ID_EXAMPLE: &str = "00000000-0000-4000-8000-000000000000";
/// How long a tool that answered 202 may take: one hour.
const CALLBACK_MS: i64 = 3_600_000;
/// A warrant outlives its call's time-out by so many seconds.
const WARRANT_SECONDS: i64 = 60;

/// A call that may be claimed.
pub(crate) struct Ready {
    pub(crate) step: StepId,
    pub(crate) purpose: Purpose,
    pub(crate) input_digest: Digest,
    /// The approval that the claim consumes.
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) spend: Radius,
    pub(crate) reserved: Vec<Reserved>,
    /// The mandate that the claim consumes.
    pub(crate) mandate: Option<Mandated>,
    /// What evidence takes of the tool's words.
    pub(crate) words: Words,
    /// Opened: with the sensitive values.
    pub(crate) input: Value,
    pub(crate) call: Call,
    pub(crate) operation: Arc<CompiledOperation>,
    pub(crate) own_operation: Arc<CompiledOperation>,
}

/// A mandate that lets a call happen.
pub(crate) struct Mandated {
    pub(crate) used: MandateUsed,
    /// What keeps it.
    pub(crate) writes: Vec<Write>,
    /// That its maker's key still holds.
    pub(crate) check: Option<(Key, Condition)>,
}

/// What a call came to.
pub(crate) struct Settled {
    pub(crate) step: StepId,
    pub(crate) purpose: Purpose,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
    /// Output and secrets.
    pub(crate) writes: Vec<Write>,
    pub(crate) output: Option<Arc<Opened>>,
}

/// Calls tools.
pub struct ToolCalls {
    pub(crate) base: Arc<Base>,
    pub(crate) values: Arc<Values>,
}

impl ToolCalls {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self { base: parts.base.clone(), values: parts.values.clone() }
    }

    /// Sends a claimed call and reads its answer. Never fails: whatever happens is an outcome.
    pub(crate) async fn send(
        self: Arc<Self>,
        (workspace, id): (WorkspaceId, ExecutionId),
        ready: Ready,
        attempt: u32,
        call: Result<ToolCall, String>,
    ) -> Settled {
        let (step, purpose) = (ready.step.clone(), ready.purpose);
        let settled = |outcome, writes, output| {
            let step = step.clone();
            Settled { step, purpose, attempt, outcome, writes, output }
        };
        let call = match call {
            Ok(call) => call,
            Err(message) => {
                return settled(
                    Outcome::Failed { code: "CALL_INVALID".into(), message },
                    vec![],
                    None,
                );
            }
        };
        let sent = self.base.now();
        let answer = self.base.ports.tools.call(call).await;
        metrics::call(self.base.now().ms() - sent.ms());
        let (output, operation) = match self.read_answer(answer, &ready) {
            Ok(output) => (output, &ready.operation),
            Err(outcome) => return settled(outcome, vec![], None),
        };
        let (output, operation) = match purpose {
            Purpose::Run | Purpose::Compensate => (output, operation),
            Purpose::Probe => {
                match (output.get("found").and_then(Value::as_bool), output.get("output")) {
                    (Some(false), _) => return settled(Outcome::NotDone, vec![], None),
                    (Some(true), Some(found)) if ready.own_operation.output.accepts(found) => {
                        (found.clone(), &ready.own_operation)
                    }
                    _ => {
                        let message =
                            "the probe did not answer `{\"found\", \"output\"}`".to_owned();
                        return settled(
                            Outcome::Unusable { code: "PROBE_INVALID".into(), message },
                            vec![],
                            None,
                        );
                    }
                }
            }
        };
        match self.values.store_output((&workspace, &id), &step, operation, output).await {
            Ok(stored) => {
                let outcome = Outcome::Completed { output: stored.digest };
                if purpose == Purpose::Compensate {
                    // What undid the step is no output of the step.
                    return settled(outcome, vec![], None);
                }
                settled(outcome, stored.writes, Some(Arc::new(stored.opened)))
            }
            Err(problem) => {
                let message = format!("the output could not be stored: {}", problem.detail);
                settled(Outcome::unknown("OUTPUT_NOT_STORED", message), vec![], None)
            }
        }
    }

    /// What a claimed call sends, and in whose name.
    pub(crate) fn tool_call(
        &self,
        loaded: &Loaded,
        tool_secrets: &[String],
        signer: &Ring,
        ready: &Ready,
    ) -> Result<ToolCall, String> {
        let state = &loaded.state;
        let attempt = state.step(&ready.step).map_or(0, |step| step.call_attempt());
        let suffix = match ready.purpose {
            Purpose::Run => "",
            Purpose::Probe => "probe",
            Purpose::Compensate => "compensate",
        };
        let key = state.idempotency_key(&ready.step, suffix).ok_or("no plan")?;
        let plan = state.plan().map(|plan| plan.digest().clone()).ok_or("no plan")?;
        // Canonical, so that a tool can hash the bytes as they come and find what the warrant says.
        let body = canonical::value_bytes(&ready.input).map_err(|error| error.to_string())?;
        let timeout_seconds = ready.call.timeout_seconds.min(STEP_TIMEOUT_SECONDS_MAX);
        let now = self.base.now();
        let id = format!("{}.{attempt}", key.hex().get(..32).unwrap_or_default());
        let claims = Claims {
            iss: warrant::ISSUER.into(),
            aud: audience(&ready.call.binding),
            jti: id.clone(),
            ws: state.workspace.to_string(),
            exe: state.id.to_string(),
            step: ready.step.to_string(),
            att: attempt,
            op: ready.call.operation.clone(),
            arg: canonical::digest_bytes(&body).to_string(),
            inp: ready.input_digest.to_string(),
            plan: plan.to_string(),
            iat: now.ms() / 1_000,
            exp: now.ms() / 1_000 + i64::from(timeout_seconds) + WARRANT_SECONDS,
        };
        let warrant = signer.sign(&claims).map_err(|error| error.to_string())?;
        let signature =
            webhook_signature(tool_secrets, &id, now, &body).ok_or("no webhook secret")?;
        // Only a step's own call may be answered later, and not where the receipt of a queue is
        // its output.
        let received = matches!(ready.call.binding, Binding::Sqs { .. })
            && receipt(&ready.operation, MESSAGE_ID_EXAMPLE).is_some();
        let callback = (ready.purpose == Purpose::Run && !received).then(|| {
            format!(
                "{}/v1/executions/{}/steps/{}/callback",
                self.base.config.public_url, state.id, ready.step
            )
        });
        Ok(ToolCall {
            binding: ready.call.binding.clone(),
            headers: [
                ("content-type", "application/json".into()),
                ("idempotency-key", key.hex().to_owned()),
                ("traceparent", child_traceparent(loaded.traceparent.as_deref(), &key)),
                ("webhook-id", id),
                ("webhook-timestamp", (now.ms() / 1_000).to_string()),
                ("webhook-signature", signature),
                ("countersign-warrant", warrant),
            ]
            .into_iter()
            .chain(callback.map(|url| ("countersign-callback", url)))
            .collect(),
            body,
            timeout_ms: (u64::from(timeout_seconds) * 1_000).min(self.base.config.call_ms_max),
            answer_bytes_max: STEP_OUTPUT_BYTES_MAX,
            allow_private: self.base.config.allow_private_targets,
        })
    }

    /// What an answer means to the step.
    fn read_answer(&self, answer: ToolAnswer, ready: &Ready) -> Result<Value, Outcome> {
        match answer {
            ToolAnswer::Output(body) => read_output(&body, ready),
            ToolAnswer::Queued { message_id } => {
                // What any other operation gives is the worker's to say.
                receipt(&ready.operation, &message_id)
                    .ok_or(Outcome::Accepted { until: self.base.now().plus_ms(CALLBACK_MS) })
            }
            ToolAnswer::Accepted => {
                Err(Outcome::Accepted { until: self.base.now().plus_ms(CALLBACK_MS) })
            }
            ToolAnswer::Unusable(report) => {
                Err(Outcome::Unusable { message: told(ready.words, &report), code: report.code })
            }
            ToolAnswer::Failed(report) => {
                Err(Outcome::Failed { message: told(ready.words, &report), code: report.code })
            }
            ToolAnswer::Unknown(report) => Err(Outcome::Unknown {
                message: told(ready.words, &report),
                // No longer than the tool has to answer.
                retry_after_seconds: report
                    .retry_after_seconds
                    .map(|seconds| seconds.min(ready.call.timeout_seconds)),
                code: report.code,
            }),
            ToolAnswer::Unreached(why) => Err(Outcome::Unreached {
                message: ready.words.message("the tool was not reached", &[Some(&why)]),
            }),
        }
    }
}

// What a queue's receipt is as an output, if the operation's may be that.
fn receipt(operation: &CompiledOperation, message_id: &str) -> Option<Value> {
    let output = json!({ "messageId": message_id });
    operation.output.accepts(&output).then_some(output)
}

fn read_output(body: &[u8], ready: &Ready) -> Result<Value, Outcome> {
    let invalid = |message: String| Outcome::Unusable { code: "OUTPUT_INVALID".into(), message };
    let output = match body {
        [] => Value::Null,
        _ => json::parse(json::unmarked(body)).map_err(|problem| {
            let what = problem.issues.first().map(|issue| issue.message.clone());
            invalid(format!("the answer is not JSON we take: {}", what.unwrap_or_default()))
        })?,
    };
    if ready.operation.output.accepts(&output) {
        return Ok(output);
    }
    let issues = ready.operation.output.issues(&output, &BTreeSet::new(), "");
    // Pointers, and some messages, have names in them that the tool chose.
    let what = issues.first().map(|issue| format!("{} {}", issue.pointer, issue.message));
    Err(invalid(ready.words.message("the output does not fit its schema", &[what.as_deref()])))
}

fn told(words: Words, report: &ToolReport) -> String {
    let said: Vec<Option<&str>> = report.said.iter().map(|text| Some(text.as_str())).collect();
    words.message(&report.fact, &said)
}

// The origin of a URL, else what the binding names.
fn audience(binding: &Binding) -> String {
    match binding {
        Binding::Http { url, .. } | Binding::Mcp { url, .. } => {
            url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
        }
        Binding::Lambda { function_arn } => function_arn.clone(),
        Binding::Sqs { queue_url } => queue_url.clone(),
    }
}

/// `webhook-signature` of Standard Webhooks: one signature for each secret, with spaces in between.
pub(crate) fn webhook_signature(
    secrets: &[String],
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Option<String> {
    let signed: Option<Vec<String>> =
        secrets.iter().map(|secret| signature(secret, id, at, body)).collect();
    signed.filter(|signed| !signed.is_empty()).map(|signed| signed.join(" "))
}

// `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
fn signature(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> Option<String> {
    let key = B64.decode(secret.strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{}.", at.ms() / 1_000).as_bytes());
    mac.update(body);
    Some(format!("v1,{}", B64.encode(mac.finalize().into_bytes())))
}

// The caller's trace goes on in the tool, with a span of the call's own.
fn child_traceparent(parent: Option<&str>, key: &Digest) -> String {
    let span = key.hex().get(..16).unwrap_or_default();
    match parent.map(|parent| parent.split('-').collect::<Vec<_>>()).as_deref() {
        Some([version, trace, _, flags]) => format!("{version}-{trace}-{span}-{flags}"),
        _ => format!("00-{}-{span}-01", key.hex().get(32..).unwrap_or_default()),
    }
}
