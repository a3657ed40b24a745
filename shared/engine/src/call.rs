//! One call to a tool: what it is sent, and what its answer means.

use crate::{
    Answer, Engine, Governance, Snapshot,
    commit::Loaded,
    control::OUTPUT_SECRETS_MAX,
    keys, measure,
    ports::{ToolAnswer, ToolCall, Write},
    records::Settings,
    usage::{self, Metering},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Code, Digest, ExecutionId, Problem, StepId, Timestamp, WorkspaceId,
    event::{BlockReason, Purpose, Reserved},
    limits::{STEP_OUTPUT_BYTES_MAX, STEP_TIMEOUT_SECONDS_MAX},
    manifest::Binding,
    plan::{Call, PlanStep, Radius},
    verdict::{Effect, Verdict},
};
use cs_core::{
    canonical,
    execution::{Execution, Step, decide::Outcome},
    plan::{self, wiring},
    seal::{self, Secret},
    skill::CompiledOperation,
    warrant::{self, Claims, Ring},
};
use hmac::{Hmac, Mac as _};
use policy::{Facts, Metered};
use serde_json::{Value, json};
use sha2::Sha256;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

/// How long a tool that answered 202 may take: one hour.
const CALLBACK_MS: i64 = 3_600_000;
/// A warrant outlives its call's time-out by so many seconds.
const WARRANT_SECONDS: i64 = 60;

/// What is known of an execution's outputs while it advances.
#[derive(Default)]
pub(crate) struct Outputs {
    values: HashMap<StepId, Arc<Value>>,
}

impl Outputs {
    pub(crate) fn put(&mut self, step: StepId, value: Arc<Value>) {
        self.values.insert(step, value);
    }
}

/// What a worker sees of the world around an execution.
pub(crate) struct Sight<'t> {
    pub(crate) facts: &'t OnceLock<Facts>,
    pub(crate) snapshot: &'t Snapshot,
    pub(crate) governance: &'t Governance,
    pub(crate) outputs: &'t mut Outputs,
    pub(crate) metering: &'t mut Metering,
}

/// What can be done with a step that is ready.
pub(crate) enum Prepared {
    Skip(String),
    Refuse { code: &'static str, message: String },
    Block { reason: BlockReason, message: Option<String> },
    Call(Box<Ready>),
}

/// A call that may be claimed.
pub(crate) struct Ready {
    pub(crate) step: StepId,
    pub(crate) purpose: Purpose,
    pub(crate) input_digest: Digest,
    pub(crate) spend: Radius,
    pub(crate) reserved: Vec<Reserved>,
    /// Sealed values that the input added.
    pub(crate) writes: Vec<Write>,
    /// Opened: with the sensitive values.
    input: Value,
    call: Call,
    operation: Arc<CompiledOperation>,
    own_operation: Arc<CompiledOperation>,
}

/// What a call came to.
pub(crate) struct Settled {
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
    /// Output and secrets.
    pub(crate) writes: Vec<Write>,
    pub(crate) output: Option<Arc<Value>>,
}

impl Engine {
    /// The compiled operation of a planned call, from the very skill the plan pinned. INVARIANT (no-effect-without-plan).
    fn pinned(&self, state: &Execution, call: &Call, snapshot: &Snapshot) -> Answer<Arc<CompiledOperation>> {
        let gone = || Problem::new(Code::Conflict, format!("the skill of `{}` is not installed", call.operation));
        let pin = state.plan().and_then(|plan| plan.plan().skills.get(call.skill)).ok_or_else(gone)?;
        let installed = snapshot.skill(&pin.key, &pin.version).ok_or_else(gone)?;
        let skill = &installed.skill;
        if *skill.digest() != pin.manifest_digest {
            return Err(gone());
        }
        let name = call.operation.split_once('/').map_or("", |(_, name)| name);
        skill.operation(name).cloned().ok_or_else(gone)
    }

    /// The operation of a step.
    pub(crate) async fn operation_of(&self, state: &Execution, step: &StepId) -> Answer<Arc<CompiledOperation>> {
        let snapshot = self.snapshot(&state.workspace).await?;
        let planned = state.place(step).and_then(|place| state.planned(place));
        let planned =
            planned.ok_or_else(|| Problem::new(Code::NotFound, format!("the plan has no step `{step}`")))?;
        self.pinned(state, &planned.call, &snapshot)
    }

    async fn output(&self, state: &Execution, step: &StepId, outputs: &mut Outputs) -> Answer<Option<Arc<Value>>> {
        if let Some(value) = outputs.values.get(step) {
            return Ok(Some(value.clone()));
        }
        let Some(wanted) = state.step(step).and_then(|step| step.output.clone()) else {
            return Ok(None);
        };
        let key = keys::output(&state.workspace, &state.id, step);
        let Some(value) = self.get_body::<Value>(&key).await? else {
            return Ok(None);
        };
        if canonical::digest(&value).map_err(crate::not_canonical)? != wanted {
            let message = format!("the stored output of `{step}` is not the one in the trace");
            return Err(Problem { retryable: false, ..Problem::new(Code::InternalError, message) });
        }
        let value = Arc::new(value);
        outputs.put(step.clone(), value.clone());
        Ok(Some(value))
    }

    async fn vault(&self, state: &Execution, value: &Value, found: &mut HashMap<Digest, Value>) -> Answer<()> {
        let mut wanted = BTreeSet::new();
        collect_sealed(value, &mut wanted);
        for commitment in wanted {
            if found.contains_key(&commitment) {
                continue;
            }
            let key = keys::vault(&state.workspace, &state.id, &commitment);
            if let Some(secret) = self.get_body::<Secret>(&key).await? {
                found.insert(commitment, secret.value);
            }
        }
        Ok(())
    }

    // What speaks against using the skill that a step pins, now. The claim's transaction checks it again.
    fn unusable(&self, state: &Execution, planned: &PlanStep, snapshot: &Snapshot) -> Option<String> {
        let pin = state.plan()?.plan().skills.get(planned.call.skill)?;
        let installed = snapshot.skill(&pin.key, &pin.version)?;
        let ended = crate::trust::ended(installed.skill.manifest(), self.now());
        installed.against.clone().or_else(|| ended.map(|end| format!("its signature ended at {end}")))
    }

    /// Resolves a step's input and looks at everything that could speak against calling it now.
    pub(crate) async fn prepare(
        &self,
        state: &Execution,
        planned: &PlanStep,
        record: &Step,
        purpose: Purpose,
        sight: &mut Sight<'_>,
    ) -> Answer<Prepared> {
        let refuse = |code: &'static str, message: String| Ok(Prepared::Refuse { code, message });
        let Sight { facts, snapshot, governance, outputs, metering } = sight;
        let actor = state.intent.as_ref().map(|intent| intent.actor_id.as_str()).unwrap_or_default();
        if let Some((reason, message)) = governance.frozen(&planned.call.operation, actor)
            && (purpose == Purpose::Run || reason == BlockReason::WorkspaceFrozen)
        {
            return Ok(Prepared::Block { reason, message: Some(message) });
        }
        if let Some(message) = self.unusable(state, planned, snapshot) {
            return Ok(Prepared::Block { reason: BlockReason::SkillDisabled, message: Some(message) });
        }
        let own_operation = match self.pinned(state, &planned.call, snapshot) {
            Ok(operation) => operation,
            Err(problem) => {
                return Ok(Prepared::Block { reason: BlockReason::SkillDisabled, message: Some(problem.detail) });
            }
        };
        for wire in planned.wires.iter().map(|wire| &wire.from).chain(planned.when.iter().map(|when| &when.from)) {
            self.output(state, wire, outputs).await?;
        }
        let at = |id: &StepId| outputs.values.get(id).map(Arc::as_ref);
        if let Some(when) = &planned.when
            && purpose == Purpose::Run
            && !wiring::holds(when, at(&when.from))
        {
            return Ok(Prepared::Skip(format!("the condition on `{}` {} does not hold", when.from, when.path)));
        }
        let mut input = match wiring::resolve(planned, at) {
            Ok(input) => input,
            Err(wire) => {
                let message =
                    format!("the output of `{}` has no `{}` for the input's `{}`", wire.from, wire.path, wire.to);
                return refuse("INPUT_MISSING", message);
            }
        };
        let (call, operation) = match (purpose, &planned.probe, &planned.compensate) {
            (Purpose::Run, _, _) => (planned.call.clone(), own_operation.clone()),
            (Purpose::Probe, Some(probe), _) => {
                let key = state.idempotency_key(&planned.id, "");
                input = json!({ "idempotencyKey": key });
                (probe.clone(), self.pinned(state, probe, snapshot)?)
            }
            (Purpose::Compensate, _, Some(undo)) => {
                let output = self.output(state, &planned.id, outputs).await?;
                let both = json!({ "input": input, "output": output.as_deref() });
                let fields = undo.input.iter();
                input = fields
                    .filter_map(|(field, pointer)| Some((field.clone(), both.pointer(pointer)?.clone())))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
                (undo.call.clone(), self.pinned(state, &undo.call, snapshot)?)
            }
            (Purpose::Probe | Purpose::Compensate, _, _) => {
                return refuse("NOT_DECLARED", "the operation declares no such call".into());
            }
        };
        let mut salt = || self.salt();
        let mut known: HashMap<Digest, Value> = HashMap::new();
        let mut writes = Vec::new();
        for secret in seal::seal(&mut input, &operation.input, &mut salt).map_err(crate::not_canonical)? {
            known.insert(secret.commitment.clone(), secret.value.clone());
            let key = keys::vault(&state.workspace, &state.id, &secret.commitment);
            writes.push(self.put_body(key, &secret).await?);
        }
        self.vault(state, &input, &mut known).await?;
        let Some(opened) = seal::open(&input, &|commitment| known.get(commitment).cloned()) else {
            return refuse("SEALED_VALUE_GONE", "a sensitive value was redacted before the call".into());
        };
        if !operation.input.accepts(&opened) {
            let issues = operation.input.issues(&opened, &BTreeSet::new(), "/input");
            let what = issues.first().map(|issue| format!("{}: {}", issue.pointer, issue.message));
            return refuse("INPUT_INVALID", what.unwrap_or_default());
        }
        // Values that came from other steps were not there when the plan was judged, and usage has gone on since: judge
        // again, with them.
        let usage =
            self.metered(&state.workspace, governance, [planned.call.operation.as_str()], actor, metering).await?;
        if purpose == Purpose::Run && (!planned.wires.is_empty() || !usage.is_empty()) {
            let own = record.hold.as_ref().map(|hold| hold.meters.as_slice()).unwrap_or_default();
            let usage = usage::without(usage, own);
            match self.judge_actual(state, facts, planned, &input, (usage, snapshot)).await? {
                (Verdict::Autonomous, _) => {}
                (Verdict::Assist, reasons) => {
                    let approved = record.approval.is_some() || state.grant_for(&planned.id).is_some();
                    if !approved {
                        let reason = BlockReason::ApprovalRequired;
                        return Ok(Prepared::Block { reason, message: Some(reasons.join("; ")) });
                    }
                }
                (Verdict::Blocked, reasons) => return refuse("POLICY_BLOCKED", reasons.join("; ")),
            }
        }
        let unapproved = record.approval.is_none() && state.grant_for(&planned.id).is_none();
        if purpose == Purpose::Run && unapproved && state.needs_approval(record) {
            return Ok(Prepared::Block { reason: BlockReason::ApprovalRequired, message: None });
        }
        let spend = match purpose {
            Purpose::Run => plan::resolved_radius(&opened, &operation.spec, planned),
            Purpose::Probe | Purpose::Compensate => Radius::default(),
        };
        let mut reserved = Vec::new();
        if purpose == Purpose::Run && record.hold.is_none() {
            let total = plan::sum(&state.spent, &spend);
            let over = plan::exceeded(&total, governance.budgets.plan.as_ref());
            let over = over.map(|over| format!("{over} (the workspace's budget)"));
            if let Some(over) = state.over_budget(planned, &spend).or(over) {
                return Ok(Prepared::Block { reason: BlockReason::BudgetExceeded, message: Some(over) });
            }
            let who = (planned.call.operation.as_str(), actor);
            match self.reserve(&state.workspace, governance, who, &spend, metering) {
                Ok(amounts) => reserved = amounts,
                Err((reason, over)) => return Ok(Prepared::Block { reason, message: Some(over) }),
            }
        }
        Ok(Prepared::Call(Box::new(Ready {
            step: planned.id.clone(),
            purpose,
            input_digest: canonical::digest(&input).map_err(crate::not_canonical)?,
            spend,
            reserved,
            writes,
            input: opened,
            call,
            operation,
            own_operation,
        })))
    }

    async fn judge_actual(
        &self,
        state: &Execution,
        facts: &OnceLock<Facts>,
        planned: &PlanStep,
        input: &Value,
        (usage, snapshot): (Vec<Metered>, &Snapshot),
    ) -> Answer<(Verdict, Vec<String>)> {
        let Some(plan) = state.plan() else {
            return Ok((Verdict::Blocked, vec!["no plan".into()]));
        };
        let authority = self.authority(&state.workspace, snapshot).await?;
        let facts = match facts.get() {
            Some(facts) => facts,
            None => {
                let stored = self.stored_verdict(&state.workspace, &state.id).await?;
                let Some(stored) = stored else {
                    return Ok((Verdict::Blocked, vec!["no verdict".into()]));
                };
                facts.get_or_init(|| stored.facts)
            }
        };
        let facts = Facts { usage, ..facts.clone() };
        let verdict = policy::judge_step(plan.plan(), planned, Some(input), &facts, &authority);
        Ok((verdict.verdict, verdict.reasons))
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
        let settled = |outcome, writes, output| Settled { step: step.clone(), attempt, outcome, writes, output };
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
        let (mut output, operation) = match purpose {
            Purpose::Run | Purpose::Compensate => (output, operation),
            Purpose::Probe => match (output.get("found").and_then(Value::as_bool), output.get("output")) {
                (Some(false), _) => return settled(Outcome::NotDone, vec![], None),
                (Some(true), Some(found)) if ready.own_operation.output.accepts(found) => {
                    (found.clone(), &ready.own_operation)
                }
                _ => {
                    let message = "the probe did not answer `{\"found\", \"output\"}`".to_owned();
                    return settled(Outcome::Unknown { code: "PROBE_INVALID".into(), message }, vec![], None);
                }
            },
        };
        let mut salt = || self.salt();
        let stored = async {
            let secrets = seal::seal(&mut output, &operation.output, &mut salt).map_err(crate::not_canonical)?;
            let digest = canonical::digest(&output).map_err(crate::not_canonical)?;
            let mut writes = Vec::new();
            if purpose != Purpose::Compensate {
                writes.push(self.put_body(keys::output(&workspace, &id, &step), &output).await?);
            }
            for secret in secrets.into_iter().take(OUTPUT_SECRETS_MAX) {
                let key = keys::vault(&workspace, &id, &secret.commitment);
                writes.push(self.put_body(key, &secret).await?);
            }
            Ok::<_, Problem>((digest, writes))
        };
        match stored.await {
            Ok((digest, writes)) => {
                let output = Some(Arc::new(output));
                settled(Outcome::Completed { output: digest }, writes, output)
            }
            Err(problem) => {
                let message = format!("the output could not be stored: {}", problem.detail);
                settled(Outcome::Unknown { code: "OUTPUT_NOT_STORED".into(), message }, vec![], None)
            }
        }
    }

    /// What a claimed call sends, and in whose name.
    pub(crate) fn tool_call(
        &self,
        loaded: &Loaded,
        settings: &Settings,
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
        let signature = webhook_signature(&settings.webhook_secret, &id, now, &body).ok_or("no webhook secret")?;
        let callback = format!("{}/v1/executions/{}/steps/{}/callback", self.config.public_url, state.id, ready.step);
        Ok(ToolCall {
            binding: ready.call.binding.clone(),
            headers: vec![
                ("content-type", "application/json".into()),
                ("idempotency-key", key.hex().to_owned()),
                ("traceparent", child_traceparent(loaded.traceparent.as_deref(), &key)),
                ("webhook-id", id),
                ("webhook-timestamp", (now.ms() / 1_000).to_string()),
                ("webhook-signature", signature),
                ("countersign-warrant", warrant),
                ("countersign-callback", callback),
            ],
            body,
            timeout_ms: (u64::from(timeout_seconds) * 1_000).min(self.config.call_ms_max),
            answer_bytes_max: STEP_OUTPUT_BYTES_MAX,
            allow_private: self.config.allow_private_targets,
        })
    }

    /// What an answer means (CONTRACTS 5): 2xx with the output; 202 a callback; 4xx but 408, 425, 429 failed; all else
    /// unknown.
    fn read_answer(&self, answer: ToolAnswer, ready: &Ready) -> Result<Value, Outcome> {
        let unusable = |code: &str, message: String| {
            // The tool did it, but what it says cannot be used: for a read that is a failure, else a doubt.
            let code = code.to_owned();
            match ready.call.effect {
                Effect::Read => Outcome::Failed { code, message },
                Effect::Idempotent | Effect::NonIdempotent => Outcome::Unknown { code, message },
            }
        };
        let unknown = |code: &str, message: String| Outcome::Unknown { code: code.to_owned(), message };
        match answer {
            ToolAnswer::Answered { status: 202, .. } => {
                Err(Outcome::Accepted { until: self.now().plus_ms(CALLBACK_MS) })
            }
            ToolAnswer::Answered { status: 200..=299, body } => {
                let output = if body.is_empty() {
                    Value::Null
                } else {
                    contracts::json::parse(&body).map_err(|problem| {
                        let what = problem.issues.first().map(|issue| issue.message.clone()).unwrap_or_default();
                        unusable("OUTPUT_INVALID", format!("the answer is not JSON we take: {what}"))
                    })?
                };
                if ready.operation.output.accepts(&output) {
                    return Ok(output);
                }
                let issues = ready.operation.output.issues(&output, &BTreeSet::new(), "");
                let what = issues.first().map(|issue| format!("{} {}", issue.pointer, issue.message));
                Err(unusable(
                    "OUTPUT_INVALID",
                    format!("the output does not fit its schema: {}", what.unwrap_or_default()),
                ))
            }
            ToolAnswer::Answered { status: status @ (408 | 425 | 429), body } => {
                Err(unknown(&format!("TOOL_{status}"), said(status, &body)))
            }
            ToolAnswer::Answered { status: status @ 400..=499, body } => {
                Err(Outcome::Failed { code: format!("TOOL_{status}"), message: said(status, &body) })
            }
            ToolAnswer::Answered { status, body } => Err(unknown(&format!("TOOL_{status}"), said(status, &body))),
            ToolAnswer::TooLarge { status } => {
                let message = format!("the tool answered {status} with more than {STEP_OUTPUT_BYTES_MAX} bytes");
                Err(unusable("OUTPUT_TOO_LARGE", message))
            }
            ToolAnswer::Unreached(message) => Err(Outcome::Unreached { message }),
            ToolAnswer::Lost(message) => Err(unknown("TOOL_LOST", message)),
            ToolAnswer::Forbidden(message) => Err(Outcome::Failed { code: "TARGET_FORBIDDEN".into(), message }),
        }
    }
}

// A tool's own words may hold what it was sent: only a problem's title and code are taken into evidence.
fn said(status: u16, body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let text = |key: &str| parsed.as_ref().and_then(|body| body.get(key)).and_then(Value::as_str);
    let clip = |text: &str| text.chars().take(200).collect::<String>();
    match (text("code"), text("title")) {
        (None, None) => format!("the tool answered {status}"),
        (code, title) => {
            format!("the tool answered {status}: {} {}", clip(code.unwrap_or("")), clip(title.unwrap_or("")))
        }
    }
}

fn collect_sealed(value: &Value, into: &mut BTreeSet<Digest>) {
    if let Some(commitment) = seal::sealed(value) {
        into.insert(commitment);
        return;
    }
    match value {
        Value::Object(map) => map.values().for_each(|inner| collect_sealed(inner, into)),
        Value::Array(items) => items.iter().for_each(|item| collect_sealed(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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

/// `webhook-signature` of Standard Webhooks: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
pub(crate) fn webhook_signature(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> Option<String> {
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
