//! One call to a tool: what it is sent, and what its answer means.

use crate::{
    Engine,
    commit::Loaded,
    measure,
    ports::{Reply, ToolAnswer, ToolCall, Write},
    words::{self, Words},
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
use cs_core::{
    canonical,
    execution::decide::Outcome,
    seal::Opened,
    skill::CompiledOperation,
    warrant::{self, Claims, Ring},
};
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use std::{collections::BTreeSet, sync::Arc};

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
    /// What evidence takes of the tool's words.
    pub(crate) words: Words,
    /// Opened: with the sensitive values.
    pub(crate) input: Value,
    pub(crate) call: Call,
    pub(crate) operation: Arc<CompiledOperation>,
    pub(crate) own_operation: Arc<CompiledOperation>,
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

impl Engine {
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
            Err(message) => return settled(Outcome::Failed { code: "CALL_INVALID".into(), message }, vec![], None),
        };
        let sent = self.now();
        let answer = self.ports.tools.call(call).await;
        measure::call(self.now().ms() - sent.ms());
        let (output, operation) = match self.read_answer(answer, &ready) {
            Ok(output) => (output, &ready.operation),
            Err(outcome) => return settled(outcome, vec![], None),
        };
        let (output, operation) = match purpose {
            Purpose::Run | Purpose::Compensate => (output, operation),
            Purpose::Probe => match (output.get("found").and_then(Value::as_bool), output.get("output")) {
                (Some(false), _) => return settled(Outcome::NotDone, vec![], None),
                (Some(true), Some(found)) if ready.own_operation.output.accepts(found) => {
                    (found.clone(), &ready.own_operation)
                }
                _ => {
                    let message = "the probe did not answer `{\"found\", \"output\"}`".to_owned();
                    return settled(Outcome::Unusable { code: "PROBE_INVALID".into(), message }, vec![], None);
                }
            },
        };
        match self.store_output((&workspace, &id), &step, operation, output).await {
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
        let now = self.now();
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
        let signature = webhook_signature(tool_secrets, &id, now, &body).ok_or("no webhook secret")?;
        // Only a step's own call may answer 202.
        let callback = (ready.purpose == Purpose::Run)
            .then(|| format!("{}/v1/executions/{}/steps/{}/callback", self.config.public_url, state.id, ready.step));
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
            timeout_ms: (u64::from(timeout_seconds) * 1_000).min(self.config.call_ms_max),
            answer_bytes_max: STEP_OUTPUT_BYTES_MAX,
            allow_private: self.config.allow_private_targets,
        })
    }

    /// What an answer means (CONTRACTS 5): 2xx with the output; 202 a callback; 4xx but 408, 425, 429 failed; all else
    /// unknown.
    fn read_answer(&self, answer: ToolAnswer, ready: &Ready) -> Result<Value, Outcome> {
        let unusable = |code: &str, message: String| Outcome::Unusable { code: code.to_owned(), message };
        let unknown = |code: &str, message: String, retry_after_seconds: Option<u32>| Outcome::Unknown {
            code: code.to_owned(),
            message,
            // No longer than the tool has to answer.
            retry_after_seconds: retry_after_seconds.map(|seconds| seconds.min(ready.call.timeout_seconds)),
        };
        let answer = match answer {
            // Only of a success what is said matters.
            ToolAnswer::TooLarge { status } if !(200..300).contains(&status) => {
                ToolAnswer::Answered(Reply::new(status, []))
            }
            answer => answer,
        };
        match answer {
            ToolAnswer::Answered(Reply { status: 202, .. }) => {
                Err(Outcome::Accepted { until: self.now().plus_ms(CALLBACK_MS) })
            }
            ToolAnswer::Answered(Reply { status: 200..=299, body, .. }) => {
                let output = if body.is_empty() {
                    Value::Null
                } else {
                    json::parse(json::unmarked(&body)).map_err(|problem| {
                        let what = problem.issues.first().map(|issue| issue.message.clone()).unwrap_or_default();
                        unusable("OUTPUT_INVALID", format!("the answer is not JSON we take: {what}"))
                    })?
                };
                if ready.operation.output.accepts(&output) {
                    return Ok(output);
                }
                let issues = ready.operation.output.issues(&output, &BTreeSet::new(), "");
                // Pointers, and some messages, have names in them that the tool chose.
                let what = issues.first().map(|issue| format!("{} {}", issue.pointer, issue.message));
                let message = ready.words.message("the output does not fit its schema", &[what.as_deref()]);
                Err(unusable("OUTPUT_INVALID", message))
            }
            ToolAnswer::Answered(Reply { status, body, retry_after_seconds }) => {
                let (code, message) = (format!("TOOL_{status}"), said(ready.words, status, &body));
                match status {
                    408 | 425 | 429 => Err(unknown(&code, message, retry_after_seconds)),
                    400..=499 => Err(Outcome::Failed { code, message }),
                    _ => Err(unknown(&code, message, retry_after_seconds)),
                }
            }
            ToolAnswer::TooLarge { status } => {
                let message = format!("the tool answered {status} with more than {STEP_OUTPUT_BYTES_MAX} bytes");
                Err(unusable("OUTPUT_TOO_LARGE", message))
            }
            ToolAnswer::Unreached(why) => {
                Err(Outcome::Unreached { message: ready.words.message("the tool was not reached", &[Some(&why)]) })
            }
            ToolAnswer::Lost(why) => {
                Err(unknown("TOOL_LOST", ready.words.message("the tool did not answer", &[Some(&why)]), None))
            }
            ToolAnswer::Forbidden(message) => Err(Outcome::Failed { code: "TARGET_FORBIDDEN".into(), message }),
        }
    }
}

fn said(words: Words, status: u16, body: &[u8]) -> String {
    let [code, title] = words::of_body(body);
    words.message(&format!("the tool answered {status}"), &[code.as_deref(), title.as_deref()])
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
pub(crate) fn webhook_signature(secrets: &[String], id: &str, at: Timestamp, body: &[u8]) -> Option<String> {
    let signed: Option<Vec<String>> = secrets.iter().map(|secret| signature(secret, id, at, body)).collect();
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
