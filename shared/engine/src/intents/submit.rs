//! controlPlane.intent.submit: an intent is received and, where it comes with a small draft or a
//! playbook, compiled in the same commit, so that a planner learns at once what is wrong with its
//! draft.

use crate::{
    Answer, Base, Caller, InForce, Parts, Plans, boxed, drive_name,
    intents::compile::{Compiling, check_draft},
    records::IntentRecord,
    refused, status,
};
use contracts::{
    Code, ExecutionId, IntentId, Issue, Problem, WorkspaceId,
    command::{IntentSubmitted, SubmitIntent},
    event::SubmitMode,
    limits::{DRAFT_INLINE_COMPILE_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX},
};
use countersign_store::{Commit, CommitError, Idempotency, Loaded, Write, keys};
use cs_core::{
    canonical,
    execution::{
        Execution, Status,
        decide::{Command, Transition},
    },
    plan::ParsedDraft,
    trace::Stamp,
};
use std::sync::Arc;

/// Characters of the text that listings show.
const TITLE_CHARS_MAX: usize = 120;

/// Receives intents.
pub struct Intents {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) plans: Arc<Plans>,
}

impl Intents {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            plans: parts.plans.clone(),
        }
    }

    /// Submits an intent.
    #[boxed]
    pub async fn submit(&self, caller: &Caller, request: SubmitIntent) -> Answer<IntentSubmitted> {
        caller.require("control-plane.intent.submit")?;
        check(caller, &request)?;
        let on_behalf_of = subject(request.on_behalf_of.as_deref())?;
        let author = caller.author(self.base.now());
        let idempotency = Idempotency::of(&author, "intent.submit", &request)?;
        if let Some(given) = self.base.store.stored_response(idempotency.as_ref()).await? {
            return Ok(given);
        }
        let now = self.base.now();
        let id = ExecutionId::from_bytes(self.base.ports.ids.id());
        let draft = self.draft_of(&caller.workspace, &request).await?;
        let traceparent = match &request.trace_id {
            Some(trace) => Some(traceparent(trace, &id)),
            None => caller.traceparent.clone(),
        };
        let draft = match draft {
            Some(draft) => Some(self.seal(&caller.workspace, draft).await?),
            None => None,
        };
        let mut intent = intent_record(caller, request, on_behalf_of.clone());
        let sealed = draft.as_ref().and_then(|draft| draft.as_ref().ok());
        intent.draft = sealed.map(|(sealed, _)| sealed.digest().clone());
        let title = intent.text.chars().take(TITLE_CHARS_MAX).collect();
        let state = Execution::new(id.clone(), caller.workspace.clone());
        let mut loaded = Loaded::new(state, traceparent.clone(), title);
        let mut transition = Transition::begin(&loaded.state, now);
        let key = keys::body(&caller.workspace, &id, "intent");
        let mut extra = vec![self.base.store.body_write(key, &intent).await?];
        let intent_id = IntentId::from_bytes(self.base.ports.ids.id());
        let receive = Command::Receive {
            intent_id: intent_id.clone(),
            requester: caller.requester(on_behalf_of),
            channel_key: intent.channel_key.clone(),
            mode: intent.mode,
            digest: canonical::digest(&intent).map_err(crate::not_canonical)?,
        };
        transition.apply(receive).map_err(refused)?;
        if let Some(draft) = draft {
            let owner = (&caller.workspace, &id);
            extra.extend(self.take_draft(owner, draft, &mut transition).await?);
        }
        let (state, events) = transition.into_parts();
        let response = IntentSubmitted {
            execution_id: id,
            intent_id,
            status: status(&state),
            received_at: now,
        };
        let stamp = Stamp { traceparent, ..caller.stamp(now) };
        let commit = Commit {
            extra,
            response: self.base.store.response_write(idempotency.as_ref(), &response).await?,
            ..Commit::new(state, events, stamp)
        };
        self.base.store.commit(&mut loaded, commit).await.map_err(not_submitted)?;
        if intent.mode != SubmitMode::Manual {
            self.drive(&loaded.state).await;
        }
        Ok(response)
    }

    // The draft that is to be compiled: the given one, or that of a playbook.
    async fn draft_of(
        &self,
        workspace: &WorkspaceId,
        request: &SubmitIntent,
    ) -> Answer<Option<Drafted>> {
        match (&request.draft, &request.playbook) {
            (Some(draft), None) => Ok(Some(Ok(cs_core::plan::parse(draft)))),
            (None, Some(call)) => {
                let snapshot = self.in_force.snapshot(workspace).await?;
                Ok(Some(cs_core::playbook::expand(call, &snapshot.registry)))
            }
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                let message = "a playbook is a draft already: send one of the two";
                let issue = Issue::new("/playbook", message);
                let message = "both a draft and a playbook";
                Err(Problem::new(Code::ValidationFailed, message).issue(issue))
            }
        }
    }

    // The draft, sealed, and its size.
    async fn seal(&self, workspace: &WorkspaceId, draft: Drafted) -> Answer<Sealed> {
        let draft = match draft {
            Ok(draft) => draft,
            Err(issues) => return Ok(Err(issues)),
        };
        let size = check_draft(&draft)?;
        Ok(Ok((self.plans.seal_draft(workspace, draft).await?, size)))
    }

    // Keeps the draft, and compiles it where it is small.
    async fn take_draft(
        &self,
        (workspace, id): (&WorkspaceId, &ExecutionId),
        draft: Sealed,
        transition: &mut Transition,
    ) -> Answer<Vec<Write>> {
        let (compiling, size) = match draft {
            Ok(sealed) => sealed,
            Err(issues) => {
                let compile = Command::Compile {
                    outcome: Err(issues),
                    draft_digest: contracts::Digest::zero(),
                    planner_model: None,
                    drafted_by: None,
                };
                transition.apply(compile).map_err(refused)?;
                return Ok(Vec::new());
            }
        };
        let stores = (&self.base.store, &*self.plans.vault);
        let mut writes = compiling.writes(stores, workspace, id).await?;
        if size <= DRAFT_INLINE_COMPILE_BYTES_MAX {
            let (command, write) =
                self.plans.compile_command(workspace, id, &compiling, None).await?;
            transition.apply(command).map_err(refused)?;
            writes.extend(write);
        }
        Ok(writes)
    }

    // Starts the state machine of what has a draft, or may be sent one.
    async fn drive(&self, state: &Execution) {
        if !matches!(state.status, Status::Compiled | Status::Received) {
            return;
        }
        let (workspace, id) = (&state.workspace, &state.id);
        let started = self.base.ports.orchestrator.start(workspace, id, &drive_name(id, 0)).await;
        if let Err(fault) = started {
            tracing::warn!(execution_id = %id, %fault, "not driven yet; sweep will");
        }
    }
}

/// A draft, or what keeps a playbook from being one.
type Drafted = Result<ParsedDraft, Vec<Issue>>;

/// The same once it is sealed, with its size in bytes.
type Sealed = Result<(Compiling, usize), Vec<Issue>>;

fn not_submitted(error: CommitError) -> Problem {
    match error {
        // Somebody with the same key was faster; the next look-up finds the answer or the
        // contradiction.
        CommitError::Repeated => Problem {
            retryable: true,
            ..Problem::new(Code::Conflict, "a request with this `Idempotency-Key` is in flight")
        },
        CommitError::Conflict | CommitError::Extra(_) => {
            Problem::new(Code::InternalError, "the service failed; try again")
        }
        CommitError::Port(fault) => fault.into(),
    }
}

// W3C trace context of an intent that names its trace.
fn traceparent(trace: &str, id: &ExecutionId) -> String {
    let id = id.as_str();
    format!("00-{trace}-{}-01", id.get(id.len().saturating_sub(16)..).unwrap_or_default())
}

// What a playbook is asked for may be sensitive; its filled draft, sealed, is what is kept.
fn intent_record(
    caller: &Caller,
    request: SubmitIntent,
    on_behalf_of: Option<String>,
) -> IntentRecord {
    IntentRecord {
        text: request.text,
        mode: request.mode,
        actor: caller.actor.clone(),
        key_id: caller.key_id.clone(),
        on_behalf_of,
        grants: caller.grants.clone(),
        channel_key: request.channel_key,
        metadata: request.metadata,
        playbook: request
            .playbook
            .map(|call| contracts::command::PlaybookCall { inputs: Default::default(), ..call }),
        draft: None,
    }
}

// A subject is an actor's id, canonical like those of keys, so that nobody decides on what is done
// for himself.
fn subject(id: Option<&str>) -> Answer<Option<String>> {
    let canonical = id.map(cs_core::actor::canonical_id).transpose();
    canonical.map_err(|error| {
        let issue = Issue::new("/onBehalfOf", error.to_string());
        Problem::new(Code::ValidationFailed, "the intent is not valid").issue(issue)
    })
}

fn check(caller: &Caller, request: &SubmitIntent) -> Answer<()> {
    let mut issues = Vec::new();
    if let Some(named) = &request.workspace_id
        && named.as_str() != caller.workspace.as_str()
    {
        let message = "the key belongs to another workspace than the body names";
        return Err(
            Problem::new(Code::Forbidden, message).issue(Issue::new("/workspaceId", message))
        );
    }
    if request.text.trim().is_empty() || request.text.len() > TEXT_BYTES_MAX {
        issues.push(Issue::new("/text", format!("a text of 1 to {TEXT_BYTES_MAX} bytes")));
    }
    if request.channel_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > NAME_BYTES_MAX)
    {
        issues.push(Issue::new("/channelKey", format!("1 to {NAME_BYTES_MAX} bytes")));
    }
    if request.playbook.as_ref().is_some_and(|call| call.key.len() > 2 * NAME_BYTES_MAX) {
        issues.push(Issue::new(
            "/playbook/key",
            format!("`skill/playbook`, at most {} bytes", 2 * NAME_BYTES_MAX),
        ));
    }
    let hex = |text: &String| {
        text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if request.trace_id.as_ref().is_some_and(|trace| !hex(trace)) {
        issues.push(Issue::new("/traceId", "32 lower-case hexadecimal digits"));
    }
    if request.mode != SubmitMode::Manual && request.draft.is_none() && request.playbook.is_none() {
        let message = "without a draft or a playbook there is nothing to compile: send one, \
                       or `\"mode\": \"manual\"` and compile later";
        issues.push(Issue::new("/draft", message));
    }
    if issues.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::ValidationFailed, "the intent is not valid").issues(issues))
}
