//! controlPlane.approval.override and approval.review: one person approves alone, loudly, and
//! another one looks at it later.

use crate::{
    Answer, Approvals, Caller, boxed,
    decide::approve::{SECOND_FACTOR, approval_state, check_reason},
    decide::second_factor::is_needed,
    decide::update::Update,
    govern::deciders::Deciding,
};
use contracts::{
    ExecutionId,
    approval::{ApprovalState, OverrideApproval, ReviewOverride},
    event::{GovernanceChanged, WorkspaceEvent},
    id::ApprovalId,
};
use countersign_store::{Idempotency, Write};
use cs_core::execution::{
    decide::{Command, ShownDigests},
    duty::Decider,
};

/// What the command is called that approves alone.
const OVERRIDE: &str = "approval.override";

impl Approvals {
    /// Approves alone. INVARIANT (authority-is-on-record): the trace and the workspace log say so
    /// in the very commit, and the inbox until another person has looked at it.
    #[boxed]
    pub async fn override_request(
        &self,
        caller: &Caller,
        request: OverrideApproval,
    ) -> Answer<ApprovalState> {
        caller.require_person("control-plane.approval.override")?;
        check_reason("/reason", Some(&request.reason))?;
        let author = caller.author(self.base.now());
        let idempotency = Idempotency::of(&author, OVERRIDE, &request)?;
        if let Some(given) = self.base.store.stored_response(idempotency.as_ref()).await? {
            return Ok(given);
        }
        let policy = self.policy_in_force(caller).await?;
        let Deciding { by, unchanged } = self.in_force.require_decider(caller).await?;
        let (id, approval) = (&request.execution_id, &request.approval_id);
        let now = self.base.now();
        let event = WorkspaceEvent::GovernanceChanged(GovernanceChanged {
            key: "override".into(),
            entry: Some(format!("{id} {approval}")),
            digest: request.view_digest.clone(),
            at: now,
            actor_id: caller.actor.id.clone(),
            reason: Some(request.reason.clone()),
        });
        let mut extra = vec![policy.unchanged()];
        extra.extend(unchanged);
        let factor = match self.override_factor(caller, &by, (id, approval)).await {
            Ok(factor) => factor,
            Err(refusal) => {
                // Used up, perhaps, because this very command was carried out a moment ago.
                let given = self.base.store.stored_response(idempotency.as_ref()).await?;
                return given.ok_or(refusal);
            }
        };
        let beside = if factor.is_some() { SECOND_FACTOR } else { "" };
        extra.extend(factor);
        let stamp = caller.stamp(now);
        extra.extend(self.base.store.inbox_writes(&caller.workspace, &stamp, vec![event])?);
        let command = || Command::Override {
            by: by.clone(),
            approval: approval.clone(),
            seen: ShownDigests { binding: None, view: Some(request.view_digest.clone()) },
            reason: request.reason.clone(),
            channel: Some(format!("{}{beside}", caller.channel)),
        };
        let overridden = self.updates.update(
            caller,
            Update { extra, ..Update::new(id, OVERRIDE, &request) },
            |loaded, _| {
                policy.must_have_judged(loaded)?;
                Ok(vec![command()])
            },
            |state, at| approval_state(state, approval, at),
        );
        match overridden.await {
            Ok(answer) => {
                // What is not chained now is by who comes next.
                if let Err(fault) = self.base.store.chain_log(&caller.workspace).await {
                    tracing::warn!(%fault, "an override waits to be chained onto the log");
                }
                Ok(answer)
            }
            Err(refused) => self.ask_anew(caller, [id].into(), &policy, refused).await,
        }
    }

    // What uses up the second factor that approving alone needs as any decision does.
    async fn override_factor(
        &self,
        caller: &Caller,
        by: &Decider,
        (execution, approval): (&ExecutionId, &ApprovalId),
    ) -> Answer<Option<Write>> {
        let loaded = self.updates.load_for(caller, execution).await?;
        if !is_needed(&by.directory, &loaded.state) {
            return Ok(None);
        }
        self.base.use_second_factor(caller, by, (execution, approval)).await.map(Some)
    }

    /// Says that what another person approved alone was looked at.
    #[boxed]
    pub async fn review(&self, caller: &Caller, request: ReviewOverride) -> Answer<ApprovalState> {
        caller.require_person("control-plane.execution.approve")?;
        check_reason("/note", Some(&request.note))?;
        let Deciding { by, unchanged } = self.in_force.require_decider(caller).await?;
        let (id, approval) = (&request.execution_id, &request.approval_id);
        let command = || Command::Review {
            by: by.clone(),
            approval: approval.clone(),
            note: request.note.clone(),
        };
        self.updates
            .update(
                caller,
                Update { extra: unchanged, ..Update::new(id, "approval.review", &request) },
                |_, _| Ok(vec![command()]),
                |state, at| approval_state(state, approval, at),
            )
            .await
    }
}
