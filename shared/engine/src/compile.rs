//! controlPlane.plan.compile, and the state machine's Compile task. An already compiled plan is returned as it is.

use crate::{
    Answer, Caller, Engine, boxed,
    commit::CommitError,
    keys,
    ports::Write,
    records::{DraftRecord, HeadRecord},
    refused, vault,
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, WorkspaceId,
    command::{CompilePlan, PlanCompiledAnswer},
    event::SubmitMode,
    limits::DRAFT_BYTES_MAX,
};
use cs_core::{
    canonical,
    execution::{
        Execution, Status,
        decide::{Command, Transition},
    },
    plan::{self, ParsedDraft, Rejected},
    seal::Secrets,
};
use serde::Serialize;
use std::sync::Arc;

/// A draft whose sensitive values were sealed.
pub struct Compiling {
    record: DraftRecord,
    secrets: Secrets,
}

impl Compiling {
    /// The draft.
    pub(crate) fn parsed(&self) -> &ParsedDraft {
        &self.record.draft
    }

    /// Writes that store the draft and its secrets.
    pub(crate) async fn writes(
        &self,
        engine: &Engine,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<Vec<Write>> {
        let mut writes = vec![engine.put_body(keys::body(workspace, id, "draft"), &self.record).await?];
        writes.extend(engine.keep_secrets((workspace, id), vault::DRAFT, &self.secrets).await?);
        Ok(writes)
    }
}

impl Engine {
    /// Seals the sensitive literals of a draft.
    pub(crate) async fn seal_draft(&self, workspace: &WorkspaceId, mut draft: ParsedDraft) -> Answer<Compiling> {
        let snapshot = self.snapshot(workspace).await?;
        let sealed = draft.seal(&snapshot.registry, &mut || self.salt());
        Ok(Compiling { secrets: sealed.map_err(crate::not_canonical)?, record: DraftRecord { draft } })
    }

    /// The command that compiles a sealed draft, and the write that stores the plan.
    pub(crate) async fn compile_command(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        compiling: &Compiling,
        planner_model: Option<String>,
    ) -> Answer<(Command, Option<Write>)> {
        let snapshot = self.snapshot(workspace).await?;
        let draft_digest = canonical::digest(&compiling.record).map_err(crate::not_canonical)?;
        match plan::compile_parsed(&compiling.record.draft, &snapshot.registry) {
            Ok(compiled) => {
                let compiled = Arc::new(compiled);
                let write = self.put_body(keys::body(workspace, id, "plan"), compiled.plan()).await?;
                self.keep_plan(&compiled);
                Ok((
                    Command::Compile { outcome: Ok(compiled), draft_digest, planner_model, drafted_by: None },
                    Some(write),
                ))
            }
            Err(Rejected::Diagnostics(issues)) => {
                Ok((Command::Compile { outcome: Err(issues), draft_digest, planner_model, drafted_by: None }, None))
            }
            Err(Rejected::NotCanonical(error)) => Err(crate::not_canonical(error)),
        }
    }

    /// Compiles an execution's draft, or the one that comes with the request.
    #[boxed]
    pub async fn compile(&self, caller: &Caller, request: CompilePlan) -> Answer<PlanCompiledAnswer> {
        caller.require("control-plane.plan.compile")?;
        let id = request.execution_id.clone();
        if let Some(draft) = &request.draft {
            check_draft(draft)?;
        }
        let (once, given) = self.once(caller, "plan.compile", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let mut loaded = self.load_for(caller, &id).await?;
        let intent = loaded.state.intent.as_ref();
        if let (Some(wanted), Some(intent)) = (&request.intent_id, intent)
            && *wanted != intent.intent_id
        {
            return Err(Problem::new(Code::IntentNotFound, format!("execution `{id}` has another intent")));
        }
        if loaded.state.plan_facts.is_some() && request.draft.is_none() {
            return compiled(&loaded.state);
        }
        let workspace = caller.workspace.clone();
        let mut writes = Vec::new();
        let drafted = request.draft.is_some();
        let compiling = match request.draft {
            Some(draft) => {
                let compiling = self.seal_draft(&workspace, plan::parse(&draft)).await?;
                writes.extend(compiling.writes(self, &workspace, &id).await?);
                compiling
            }
            None => self.stored_draft(&workspace, &id).await?.ok_or_else(|| {
                let issue = Issue::new("/draft", "the intent came without a draft: send one");
                Problem::new(Code::ValidationFailed, "there is nothing to compile").issue(issue)
            })?,
        };
        let (mut command, write) = self.compile_command(&workspace, &id, &compiling, request.planner_model).await?;
        writes.extend(write);
        if let Command::Compile { drafted_by, .. } = &mut command {
            *drafted_by = drafted.then(|| caller.drafter());
        }
        let now = self.now();
        let mut transition = Transition::begin(&loaded.state, now);
        transition.apply(command).map_err(refused)?;
        let (state, events) = transition.into_parts();
        let answer = compiled(&state);
        let stamp = caller.stamp(now);
        let write = match (&once, &answer) {
            (Some(once), Ok(answer)) => self.once_write(Some(once), answer).await?,
            _ => None,
        };
        match self.commit(&mut loaded, state, events, &stamp, writes, write).await {
            Ok(()) => answer,
            Err(CommitError::Fault(fault)) => Err(fault.into()),
            Err(CommitError::Conflict | CommitError::Repeated | CommitError::Extra(_)) => {
                let mut problem = Problem::new(Code::Conflict, "another request changed this execution; try again");
                problem.retryable = true;
                Err(problem)
            }
        }
    }

    async fn stored_draft(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Option<Compiling>> {
        let record: Option<DraftRecord> = self.get_body(&keys::body(workspace, id, "draft")).await?;
        Ok(record.map(|record| Compiling { record, secrets: Secrets::new() }))
    }

    /// Whether a draft may wait to be compiled: small ones are compiled by their submit.
    #[boxed]
    pub async fn draft_waits(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<bool> {
        let head: Option<HeadRecord> = self.get_body(&keys::head(workspace, id)).await?;
        Ok(head.is_some_and(|head| head.execution.status == Status::Received))
    }

    /// The Compile task. Idempotent; says whether there is a plan.
    #[boxed]
    pub async fn compile_task(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Option<usize>> {
        loop {
            let mut loaded = self.load(workspace, id).await?;
            let manual = loaded.state.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::Manual);
            if manual && loaded.state.run.is_none() {
                return Ok(None); // waits for commands
            }
            let steps = |state: &Execution| state.plan_facts.is_some().then_some(state.steps.len());
            if loaded.state.status != Status::Received {
                return Ok(steps(&loaded.state));
            }
            let Some(compiling) = self.stored_draft(workspace, id).await? else {
                return Ok(None);
            };
            let (command, write) = self.compile_command(workspace, id, &compiling, None).await?;
            let now = self.now();
            let mut transition = Transition::begin(&loaded.state, now);
            transition.apply(command).map_err(refused)?;
            let (state, events) = transition.into_parts();
            let stamp = loaded.stamp(now);
            match self.commit(&mut loaded, state, events, &stamp, write.into_iter().collect(), None).await {
                Ok(()) => return Ok(steps(&loaded.state)),
                Err(CommitError::Fault(fault)) => return Err(fault.into()),
                Err(CommitError::Conflict | CommitError::Repeated | CommitError::Extra(_)) => {}
            }
        }
    }
}

/// Size of a draft in bytes, before anything is done with it; the compiler looks at the number of steps first of all.
///
/// INVARIANT (bounded-work): whoever takes a draft, to compile or to explain it, calls this first.
pub(crate) fn check_draft<T: Serialize>(draft: &T) -> Answer<usize> {
    let size = serde_json::to_vec(draft).map_or(usize::MAX, |bytes| bytes.len());
    if size > DRAFT_BYTES_MAX {
        let issue = Issue::new("/draft", format!("a draft of {size} bytes; at most {DRAFT_BYTES_MAX}"));
        return Err(Problem::new(Code::ValidationFailed, "the draft is too large").issue(issue));
    }
    Ok(size)
}

fn compiled(state: &Execution) -> Answer<PlanCompiledAnswer> {
    match (&state.plan_facts, state.plan()) {
        (Some(facts), Some(plan)) => Ok(PlanCompiledAnswer {
            execution_id: state.id.clone(),
            run_id: crate::commit::run_of(state),
            plan_id: facts.plan_id.clone(),
            compiled_at: state.updated_at,
            step_count: plan.plan().steps.len() as u32,
            deterministic_hash: facts.digest.clone(),
            plan: plan.plan().clone(),
            diagnostics: Vec::new(),
        }),
        _ => Err(Problem::new(Code::ValidationFailed, "the draft is not a plan").issues(state.reasons.clone())),
    }
}

/// Digest of a stored draft record.
pub(crate) fn draft_digest(record: &DraftRecord) -> Answer<Digest> {
    canonical::digest(record).map_err(crate::not_canonical)
}
