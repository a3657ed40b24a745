//! controlPlane.plan.compile, and the state machine's Compile task. An already compiled plan is
//! returned as it is.

use crate::{
    Answer, Base, Caller, InForce, Updates, Vault, boxed,
    decide::update::committed,
    records::{DraftRecord, IntentRecord},
    refused,
    run::vault,
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, WorkspaceId,
    command::{CompilePlan, PlanCompiledAnswer},
    event::SubmitMode,
    limits::DRAFT_BYTES_MAX,
};
use countersign_store::{Commit, CommitError, HeadRecord, Idempotency, Store, Write, keys};
use cs_core::{
    canonical,
    execution::{
        Execution, Status,
        decide::{Command, Transition},
    },
    plan::{self, CompileError, ParsedDraft},
    seal::Secrets,
};
use serde::Serialize;
use std::sync::Arc;

/// A draft whose sensitive values were sealed.
pub struct Compiling {
    record: DraftRecord,
    digest: Digest,
    secrets: Secrets,
}

impl Compiling {
    /// The draft.
    pub(crate) fn parsed(&self) -> &ParsedDraft {
        &self.record.draft
    }

    /// Its digest.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Writes that store the draft and its secrets.
    pub(crate) async fn writes(
        &self,
        (store, vault): (&Store, &Vault),
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<Vec<Write>> {
        let key = keys::draft(workspace, id, &self.digest);
        let mut writes = vec![store.body_write(key, &self.record).await?];
        writes.extend(vault.keep_secrets((workspace, id), vault::DRAFT, &self.secrets).await?);
        Ok(writes)
    }
}

/// Compiles drafts.
pub struct Plans {
    pub(crate) base: Arc<Base>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) updates: Arc<Updates>,
}

impl Plans {
    /// Seals the sensitive literals of a draft.
    pub(crate) async fn seal_draft(
        &self,
        workspace: &WorkspaceId,
        mut draft: ParsedDraft,
    ) -> Answer<Compiling> {
        let snapshot = self.in_force.snapshot(workspace).await?;
        let sealed = draft.seal(&snapshot.registry, &mut || self.base.salt());
        let secrets = sealed.map_err(crate::not_canonical)?;
        let record = DraftRecord { draft };
        Ok(Compiling { digest: draft_digest(&record)?, record, secrets })
    }

    /// The command that compiles a sealed draft, and the write that stores the plan.
    pub(crate) async fn compile_command(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        compiling: &Compiling,
        planner_model: Option<String>,
    ) -> Answer<(Command, Option<Write>)> {
        let snapshot = self.in_force.snapshot(workspace).await?;
        let draft_digest = compiling.digest.clone();
        match plan::compile_parsed(&compiling.record.draft, &snapshot.registry) {
            Ok(compiled) => {
                let compiled = Arc::new(compiled);
                let key = keys::plan(workspace, id, compiled.digest());
                let write = self.base.store.body_write(key, compiled.plan()).await?;
                self.base.store.keep_plan(&compiled);
                Ok((
                    Command::Compile {
                        outcome: Ok(compiled),
                        draft_digest,
                        planner_model,
                        drafted_by: None,
                    },
                    Some(write),
                ))
            }
            Err(CompileError::Diagnostics(issues)) => Ok((
                Command::Compile {
                    outcome: Err(issues),
                    draft_digest,
                    planner_model,
                    drafted_by: None,
                },
                None,
            )),
            Err(CompileError::NotCanonical(error)) => Err(crate::not_canonical(error)),
        }
    }

    /// Compiles an execution's draft, or the one that comes with the request.
    #[boxed]
    pub async fn compile(
        &self,
        caller: &Caller,
        request: CompilePlan,
    ) -> Answer<PlanCompiledAnswer> {
        caller.require("control-plane.plan.compile")?;
        let id = request.execution_id.clone();
        if let Some(draft) = &request.draft {
            check_draft(draft)?;
        }
        let author = caller.author(self.base.now());
        let idempotency = Idempotency::of(&author, "plan.compile", &request)?;
        if let Some(given) = self.base.store.stored_response(idempotency.as_ref()).await? {
            return Ok(given);
        }
        let mut loaded = self.updates.load_for(caller, &id).await?;
        let intent = loaded.state.intent.as_ref();
        if let (Some(wanted), Some(intent)) = (&request.intent_id, intent)
            && *wanted != intent.intent_id
        {
            return Err(Problem::new(
                Code::IntentNotFound,
                format!("execution `{id}` has another intent"),
            ));
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
                writes.extend(
                    compiling.writes((&self.base.store, &self.vault), &workspace, &id).await?,
                );
                compiling
            }
            None => self.stored_draft(&workspace, &id).await?.ok_or_else(|| {
                let issue = Issue::new("/draft", "the intent came without a draft: send one");
                Problem::new(Code::ValidationFailed, "there is nothing to compile").issue(issue)
            })?,
        };
        let (mut command, write) =
            self.compile_command(&workspace, &id, &compiling, request.planner_model).await?;
        writes.extend(write);
        if let Command::Compile { drafted_by, .. } = &mut command {
            *drafted_by = drafted.then(|| caller.drafter());
        }
        let now = self.base.now();
        let mut transition = Transition::begin(&loaded.state, now);
        transition.apply(command).map_err(refused)?;
        let (state, events) = transition.into_parts();
        let answer = compiled(&state);
        let stamp = caller.stamp(now);
        let response = match &answer {
            Ok(answer) => self.base.store.response_write(idempotency.as_ref(), answer).await?,
            Err(_) => None,
        };
        let commit = Commit { extra: writes, response, ..Commit::new(state, events, stamp) };
        match self.base.store.commit(&mut loaded, commit).await {
            Ok(()) => answer,
            Err(CommitError::Port(fault)) => Err(fault.into()),
            Err(CommitError::Conflict | CommitError::Repeated | CommitError::Extra(_)) => {
                let mut problem = Problem::new(
                    Code::Conflict,
                    "another request changed this execution; try again",
                );
                problem.retryable = true;
                Err(problem)
            }
        }
    }

    async fn stored_draft(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<Option<Compiling>> {
        let intent: Option<IntentRecord> =
            self.base.store.body(&keys::body(workspace, id, "intent")).await?;
        let Some(digest) = intent.and_then(|intent| intent.draft) else { return Ok(None) };
        let record: Option<DraftRecord> =
            self.base.store.body(&keys::draft(workspace, id, &digest)).await?;
        Ok(record.map(|record| Compiling { record, digest, secrets: Secrets::new() }))
    }

    /// Whether a draft may wait to be compiled: small ones are compiled by their submit.
    #[boxed]
    pub async fn draft_waits(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<bool> {
        let head: Option<HeadRecord> = self.base.store.body(&keys::head(workspace, id)).await?;
        Ok(head.is_some_and(|head| head.execution.status == Status::Received))
    }

    /// The Compile task. Idempotent; says whether there is a plan.
    #[boxed]
    pub async fn compile_task(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<Option<usize>> {
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            let mut loaded = self.base.store.load(workspace, id).await?;
            let manual = loaded
                .state
                .intent
                .as_ref()
                .is_some_and(|intent| intent.mode == SubmitMode::Manual);
            if manual && loaded.state.run.is_none() {
                return Ok(None); // waits for commands
            }
            if loaded.state.status != Status::Received {
                return Ok(steps_of(&loaded.state));
            }
            let Some(compiling) = self.stored_draft(workspace, id).await? else {
                return Ok(None);
            };
            let (command, write) = self.compile_command(workspace, id, &compiling, None).await?;
            let now = self.base.now();
            let mut transition = Transition::begin(&loaded.state, now);
            transition.apply(command).map_err(refused)?;
            let (state, events) = transition.into_parts();
            let extra = write.into_iter().collect();
            let commit = Commit { extra, ..Commit::new(state, events, loaded.stamp(now)) };
            if committed(self.base.store.commit(&mut loaded, commit).await)? {
                return Ok(steps_of(&loaded.state));
            }
        }
    }
}

// How many steps the plan has, if there is one.
fn steps_of(state: &Execution) -> Option<usize> {
    state.plan_facts.is_some().then_some(state.steps.len())
}

/// Size of a draft in bytes, before anything is done with it; the compiler looks at the number of
/// steps first of all.
///
/// INVARIANT (bounded-work): whoever takes a draft, to compile or to explain it, calls this first.
pub(crate) fn check_draft<T: Serialize>(draft: &T) -> Answer<usize> {
    let size = serde_json::to_vec(draft).map_or(usize::MAX, |bytes| bytes.len());
    if size > DRAFT_BYTES_MAX {
        let issue =
            Issue::new("/draft", format!("a draft of {size} bytes; at most {DRAFT_BYTES_MAX}"));
        return Err(Problem::new(Code::ValidationFailed, "the draft is too large").issue(issue));
    }
    Ok(size)
}

fn compiled(state: &Execution) -> Answer<PlanCompiledAnswer> {
    match (&state.plan_facts, state.plan()) {
        (Some(facts), Some(plan)) => Ok(PlanCompiledAnswer {
            execution_id: state.id.clone(),
            run_id: crate::run_of(state),
            plan_id: facts.plan_id.clone(),
            compiled_at: state.updated_at,
            step_count: plan.plan().steps.len() as u32,
            deterministic_hash: facts.digest.clone(),
            plan: plan.plan().clone().into(),
            diagnostics: Vec::new(),
        }),
        _ => Err(Problem::new(Code::ValidationFailed, "the draft is not a plan")
            .issues(state.reasons.clone())),
    }
}

/// Digest of a stored draft record.
pub(crate) fn draft_digest(record: &DraftRecord) -> Answer<Digest> {
    canonical::digest(record).map_err(crate::not_canonical)
}
