//! controlPlane.intent.submit: an intent is received and, where it comes with a small draft or a playbook, compiled in
//! the same commit, so that a planner learns at once what is wrong with its draft.

use crate::{
    Answer, Caller, Engine, boxed,
    commit::{CommitError, Loaded, drive_name, status},
    compile::check_draft,
    keys,
    records::IntentRecord,
    refused,
};
use contracts::{
    Code, ExecutionId, IntentId, Issue, Problem,
    command::{IntentSubmitted, SubmitIntent},
    event::SubmitMode,
    limits::{DRAFT_INLINE_COMPILE_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX},
};
use cs_core::{
    canonical,
    execution::{
        Execution,
        decide::{Command, Transition},
    },
    trace::Stamp,
};

/// Characters of the text that listings show.
const TITLE_CHARS_MAX: usize = 120;

impl Engine {
    /// Submits an intent.
    #[boxed]
    pub async fn submit(&self, caller: &Caller, request: SubmitIntent) -> Answer<IntentSubmitted> {
        caller.require("control-plane.intent.submit")?;
        check(caller, &request)?;
        let on_behalf_of = subject(request.on_behalf_of.as_deref())?;
        let (once, given) = self.once(caller, "intent.submit", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let now = self.now();
        let id = ExecutionId::from_bytes(self.ports.ids.id());
        let intent_id = IntentId::from_bytes(self.ports.ids.id());
        let workspace = caller.workspace.clone();
        let traceparent = match &request.trace_id {
            Some(trace) => Some(format!(
                "00-{trace}-{}-01",
                id.as_str().get(id.as_str().len().saturating_sub(16)..).unwrap_or_default()
            )),
            None => caller.traceparent.clone(),
        };
        let draft = match (request.draft, &request.playbook) {
            (Some(draft), None) => Some(Ok(cs_core::plan::parse(&draft))),
            (None, Some(call)) => {
                let snapshot = self.snapshot(&workspace).await?;
                Some(cs_core::playbook::expand(call, &snapshot.registry))
            }
            (None, None) => None,
            (Some(_), Some(_)) => {
                let issue = Issue::new("/playbook", "a playbook is a draft already: send one of the two");
                return Err(Problem::new(Code::ValidationFailed, "both a draft and a playbook").issue(issue));
            }
        };
        // What a playbook is asked for may be sensitive; its filled draft, sealed, is what is kept.
        let playbook =
            request.playbook.map(|call| contracts::command::PlaybookCall { inputs: Default::default(), ..call });
        let intent = IntentRecord {
            text: request.text,
            mode: request.mode,
            actor: caller.actor.clone(),
            key_id: caller.key_id.clone(),
            on_behalf_of: on_behalf_of.clone(),
            grants: caller.grants.clone(),
            channel_key: request.channel_key,
            metadata: request.metadata,
            playbook,
        };
        let title = intent.text.chars().take(TITLE_CHARS_MAX).collect();
        let mut loaded = Loaded::new(Execution::new(id.clone(), workspace.clone()), traceparent.clone(), title);
        let mut transition = Transition::begin(&loaded.state, now);
        let mut writes = vec![self.put_body(keys::body(&workspace, &id, "intent"), &intent).await?];
        let receive = Command::Receive {
            intent_id: intent_id.clone(),
            requester: caller.requester(on_behalf_of),
            channel_key: intent.channel_key.clone(),
            mode: intent.mode,
            digest: canonical::digest(&intent).map_err(crate::not_canonical)?,
        };
        transition.apply(receive).map_err(refused)?;
        match draft {
            Some(Ok(draft)) => {
                let size = check_draft(&draft)?;
                let compiling = self.seal_draft(&workspace, draft).await?;
                writes.extend(compiling.writes(self, &workspace, &id).await?);
                if size <= DRAFT_INLINE_COMPILE_BYTES_MAX {
                    let (command, write) = self.compile_command(&workspace, &id, &compiling, None).await?;
                    transition.apply(command).map_err(refused)?;
                    writes.extend(write);
                }
            }
            Some(Err(issues)) => {
                let outcome = Err(issues);
                let draft_digest = contracts::Digest::zero();
                let compile = Command::Compile { outcome, draft_digest, planner_model: None, drafted_by: None };
                transition.apply(compile).map_err(refused)?;
            }
            None => {}
        }
        let (state, events) = transition.into_parts();
        let response =
            IntentSubmitted { execution_id: id.clone(), intent_id, status: status(&state), received_at: now };
        let stamp = Stamp { traceparent, ..caller.stamp(now) };
        let write = self.once_write(once.as_ref(), &response).await?;
        match self.commit(&mut loaded, state, events, &stamp, writes, write).await {
            Ok(()) => {}
            Err(CommitError::Repeated) => {
                // Somebody with the same key was faster; the next look-up finds the answer or the contradiction.
                let mut problem = Problem::new(Code::Conflict, "a request with this `Idempotency-Key` is in flight");
                problem.retryable = true;
                return Err(problem);
            }
            Err(CommitError::Conflict | CommitError::Extra(_)) => {
                return Err(Problem::new(Code::InternalError, "the service failed; try again"));
            }
            Err(CommitError::Fault(fault)) => return Err(fault.into()),
        }
        let drives_itself = response.status != "rejected" && intent.mode != SubmitMode::Manual;
        if drives_itself && (response.status == "compiled" || loaded.state.status.as_str() == "received") {
            let started = self.ports.orchestrator.start(&workspace, &id, &drive_name(&id, 0)).await;
            if let Err(fault) = started {
                tracing::warn!(execution_id = %id, %fault, "not driven yet; sweep will");
            }
        }
        Ok(response)
    }
}

// A subject is an actor's id, canonical like those of keys, so that nobody decides on what is done for himself.
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
        return Err(Problem::new(Code::Forbidden, message).issue(Issue::new("/workspaceId", message)));
    }
    if request.text.trim().is_empty() || request.text.len() > TEXT_BYTES_MAX {
        issues.push(Issue::new("/text", format!("a text of 1 to {TEXT_BYTES_MAX} bytes")));
    }
    if request.channel_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > NAME_BYTES_MAX) {
        issues.push(Issue::new("/channelKey", format!("1 to {NAME_BYTES_MAX} bytes")));
    }
    if request.playbook.as_ref().is_some_and(|call| call.key.len() > 2 * NAME_BYTES_MAX) {
        issues.push(Issue::new("/playbook/key", format!("`skill/playbook`, at most {} bytes", 2 * NAME_BYTES_MAX)));
    }
    let hex =
        |text: &String| text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if request.trace_id.as_ref().is_some_and(|trace| !hex(trace)) {
        issues.push(Issue::new("/traceId", "32 lower-case hexadecimal digits"));
    }
    if request.mode != SubmitMode::Manual && request.draft.is_none() && request.playbook.is_none() {
        let message = "without a draft or a playbook there is nothing to compile: send one, or `\"mode\": \"manual\"` and \
                       compile later";
        issues.push(Issue::new("/draft", message));
    }
    if issues.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::ValidationFailed, "the intent is not valid").issues(issues))
}
