//! controlPlane.approval.edit: a person changes literals of a plan that waits for people. In one
//! commit the plan is compiled anew, judged anew and asked anew; what was asked before is void.

use crate::{
    Answer, Approvals, Caller, boxed,
    decide::approve::{PolicyInForce, approval_state, check_reason},
    decide::update::committed,
    evidence::replay::pinned,
    govern::deciders::Deciding,
    intents::compile::{check_draft, draft_digest},
    operate::wake::Before,
    records::DraftRecord,
    refused, status,
};
use contracts::{
    Code, Problem, Timestamp,
    approval::{EditPlan, PlanEdited},
    status::ApprovalStatus,
    verdict::Verdict,
};
use countersign_store::{Commit, Idempotency, Loaded, Write, keys};
use cs_core::{
    execution::{
        Execution,
        decide::{Command, EditedPlan, ShownDigests, Transition},
    },
    plan::{self, CompileError},
};
use std::sync::Arc;

impl Approvals {
    /// Changes literals of a plan. What policy would refuse is not committed at all.
    #[boxed]
    pub async fn edit(&self, caller: &Caller, request: EditPlan) -> Answer<PlanEdited> {
        caller.require_person("control-plane.execution.approve")?;
        check_reason("/reason", Some(&request.reason))?;
        let policy = self.policy_in_force(caller).await?;
        let author = caller.author(self.base.now());
        let idempotency = Idempotency::of(&author, "approval.edit", &request)?;
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            if let Some(given) = self.base.store.stored_response(idempotency.as_ref()).await? {
                return Ok(given);
            }
            let edited = self.try_edit(caller, (&request, &policy), idempotency.as_ref()).await;
            match edited {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(refused) => {
                    // Refused, perhaps, because this very command was carried out a moment ago.
                    let given = self.base.store.stored_response(idempotency.as_ref()).await?;
                    if let Some(given) = given {
                        return Ok(given);
                    }
                    let about = [&request.execution_id].into();
                    return self.ask_anew(caller, about, &policy, refused).await;
                }
            }
        }
    }

    // None: somebody else committed first, and nothing was written.
    async fn try_edit(
        &self,
        caller: &Caller,
        (request, policy): (&EditPlan, &PolicyInForce),
        idempotency: Option<&Idempotency>,
    ) -> Answer<Option<PlanEdited>> {
        let Deciding { by, unchanged } = self.in_force.require_decider(caller).await?;
        let mut loaded = self.updates.load_for(caller, &request.execution_id).await?;
        policy.must_have_judged(&loaded)?;
        let now = self.base.now();
        let mut transition = Transition::begin(&loaded.state, now);
        let (edited, mut writes) = self.edited(&loaded.state, request).await?;
        let edit = Command::Edit {
            by,
            approval: request.approval_id.clone(),
            seen: ShownDigests { binding: None, view: Some(request.view_digest.clone()) },
            reason: request.reason.clone(),
            channel: caller.channel.clone(),
            edited,
        };
        transition.apply(edit).map_err(refused)?;
        let (_, verify, records) = self.verdicts.judge(transition.state()).await?;
        must_be_allowed(&verify)?;
        transition.apply(verify).map_err(refused)?;
        writes.extend(records);
        writes.push(policy.unchanged());
        writes.extend(unchanged);
        let (state, events) = transition.into_parts();
        let answer = edited_answer(&state, now)?;
        let before = Before::of(&mut loaded);
        let commit = Commit {
            extra: writes,
            response: self.base.store.response_write(idempotency, &answer).await?,
            ..Commit::new(state, events, caller.stamp(now))
        };
        if !self.commit_edit(&mut loaded, commit).await? {
            return Ok(None);
        }
        self.waker.wake(&loaded, before).await;
        Ok(Some(answer))
    }

    async fn commit_edit(&self, loaded: &mut Loaded, commit: Commit) -> Answer<bool> {
        committed(self.base.store.commit(loaded, commit).await)
    }

    // The changed plan, compiled against the very skills that it pins, and the writes that store it
    // and its draft.
    async fn edited(
        &self,
        state: &Execution,
        request: &EditPlan,
    ) -> Answer<(EditedPlan, Vec<Write>)> {
        let (workspace, id) = (&state.workspace, &state.id);
        let (Some(facts), Some(current)) = (&state.plan_facts, state.plan()) else {
            return Err(Problem::new(Code::Conflict, "it has no plan"));
        };
        let stored = self.base.store.body(&keys::draft(workspace, id, &facts.draft_digest)).await?;
        let Some(DraftRecord { mut draft }) = stored else {
            return Err(Problem::new(Code::Conflict, "the draft of the plan is gone"));
        };
        let snapshot = self.in_force.snapshot(workspace).await?;
        let registry = pinned(current, &snapshot);
        let not_valid = |issues| {
            Problem::new(Code::ValidationFailed, "the plan cannot be changed like this")
                .issues(issues)
        };
        let changes = draft.edit(&request.literals, &registry).map_err(not_valid)?;
        check_draft(&draft)?;
        let plan = match plan::compile_parsed(&draft, &registry) {
            Ok(plan) => Arc::new(plan),
            Err(CompileError::Diagnostics(issues)) => return Err(not_valid(issues)),
            Err(CompileError::NotCanonical(error)) => return Err(crate::not_canonical(error)),
        };
        let record = DraftRecord { draft };
        let draft_digest = draft_digest(&record)?;
        let store = &self.base.store;
        let writes = vec![
            store.body_write(keys::draft(workspace, id, &draft_digest), &record).await?,
            store.body_write(keys::plan(workspace, id, plan.digest()), plan.plan()).await?,
        ];
        store.keep_plan(&plan);
        Ok((EditedPlan { plan, draft_digest, changes }, writes))
    }
}

// INVARIANT (fail-closed): a plan that nobody may run, or nobody could decide on, replaces none.
fn must_be_allowed(verify: &Command) -> Answer<()> {
    match verify {
        Command::Verify { ruling, reasons } if ruling.verdict == Verdict::Blocked => {
            let message = "the changed plan would be refused; nothing was changed";
            Err(Problem::new(Code::ValidationFailed, message).issues(reasons.clone()))
        }
        _ => Ok(()),
    }
}

fn edited_answer(state: &Execution, at: Timestamp) -> Answer<PlanEdited> {
    let facts = state.plan_facts.as_ref();
    let facts = facts.ok_or_else(|| Problem::new(Code::Conflict, "it has no plan"))?;
    let open = state.approvals.iter().rfind(|one| one.state == ApprovalStatus::Requested);
    let approval = open.map(|approval| approval_state(state, &approval.id, at)).transpose()?;
    Ok(PlanEdited {
        execution_id: state.id.clone(),
        execution_status: status(state),
        plan_id: facts.plan_id.clone(),
        plan_digest: facts.digest.clone(),
        approval,
        at,
    })
}
