//! Decisions of people: controlPlane.execution.approve and reject, approval.vote, withdraw and
//! comment. Who decides is the authenticated actor, and all of them decide in one way.

use crate::{
    Answer, Base, Caller, InForce, Parts, Updates, Verdicts, Waker, boxed,
    decide::{
        second_factor,
        update::{Update, committed},
    },
    govern::deciders::Deciding,
    operate::wake::Before,
    refused, run_of, status,
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, Timestamp,
    approval::{
        ApprovalState, ApprovalsVoted, CommentApproval, Decision, Vote, VoteApprovals, WithdrawVote,
    },
    command::{ApproveExecution, ExecutionApproved, ExecutionRejected, RejectExecution},
    id::ApprovalId,
    limits::{COMMENT_BYTES_MAX, TEXT_BYTES_MAX, VOTES_AT_ONCE_MAX},
    status::ApprovalStatus,
};
use countersign_store::{Commit, Condition, Idempotency, Key, Loaded, Write, keys};
use cs_core::execution::{
    Approval, Execution, Status,
    decide::{Asking, Command, ShownDigests, Transition},
    duty::Decider,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, sync::Arc};

/// What people decide on plans and steps.
pub struct Approvals {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) waker: Arc<Waker>,
}

impl Approvals {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            updates: parts.updates.clone(),
            verdicts: parts.verdicts.clone(),
            waker: parts.waker.clone(),
        }
    }

    /// Approves a plan or a step.
    #[boxed]
    pub async fn approve(
        &self,
        caller: &Caller,
        request: ApproveExecution,
    ) -> Answer<ExecutionApproved> {
        caller.require("control-plane.execution.approve")?;
        check_text("/note", request.note.as_deref())?;
        let voice = Voice {
            execution: request.execution_id.clone(),
            on: Asking::About(request.step_id.clone()),
            decision: Decision::Approve,
            seen: ShownDigests {
                binding: Some(request.binding_digest.clone()),
                view: request.view_digest.clone(),
            },
            reason: request.note.clone(),
            pointer: String::new(),
        };
        let asked = ("execution.approve", &request);
        self.decide(caller, asked, vec![voice], |states, at| {
            let state = states.of(&request.execution_id)?;
            let voted = |one: &&Approval| one.votes.iter().any(|vote| vote.at == at);
            let waits = state.approvals.iter().rev().find(voted);
            let waits = waits.filter(|one| one.state == ApprovalStatus::Requested);
            Ok(ExecutionApproved {
                execution_id: state.id.clone(),
                run_id: run_of(state),
                step_id: request.step_id.clone(),
                status: status(state),
                approved_at: waits.is_none().then_some(at),
                approved_by: waits.is_none().then(|| caller.actor.id.clone()),
                missing: waits.map(|one| one.ballot().missing()).unwrap_or_default(),
                remaining: state.unapproved(),
            })
        })
        .await
    }

    /// Rejects a plan or a step.
    #[boxed]
    pub async fn reject(
        &self,
        caller: &Caller,
        request: RejectExecution,
    ) -> Answer<ExecutionRejected> {
        caller.require("control-plane.execution.reject")?;
        check_reason("/reason", Some(&request.reason))?;
        let voice = Voice {
            execution: request.execution_id.clone(),
            on: Asking::About(request.step_id.clone()),
            decision: Decision::Reject,
            seen: ShownDigests { binding: None, view: request.view_digest.clone() },
            reason: Some(request.reason.clone()),
            pointer: String::new(),
        };
        let asked = ("execution.reject", &request);
        self.decide(caller, asked, vec![voice], |states, at| {
            let state = states.of(&request.execution_id)?;
            Ok(ExecutionRejected {
                execution_id: state.id.clone(),
                run_id: run_of(state),
                step_id: request.step_id.clone(),
                status: status(state),
                rejected_at: at,
                rejected_by: caller.actor.id.clone(),
            })
        })
        .await
    }

    /// Decides on several requests: all of it commits, or nothing.
    #[boxed]
    pub async fn vote(&self, caller: &Caller, request: VoteApprovals) -> Answer<ApprovalsVoted> {
        caller.require("control-plane.execution.approve")?;
        check_votes(&request)?;
        let voice = |(index, vote): (usize, &Vote)| Voice {
            execution: vote.execution_id.clone(),
            on: Asking::Request(vote.approval_id.clone()),
            decision: vote.decision,
            seen: ShownDigests { binding: None, view: Some(vote.view_digest.clone()) },
            reason: vote.reason.clone(),
            pointer: format!("/approvals/{index}"),
        };
        let voices = request.approvals.iter().enumerate().map(voice).collect();
        self.decide(caller, ("approval.vote", &request), voices, |states, at| {
            let votes = request.approvals.iter();
            let voted = votes
                .map(|vote| approval_state(states.of(&vote.execution_id)?, &vote.approval_id, at));
            Ok(ApprovalsVoted { approvals: voted.collect::<Answer<_>>()? })
        })
        .await
    }

    /// Takes one's own vote back.
    #[boxed]
    pub async fn withdraw(&self, caller: &Caller, request: WithdrawVote) -> Answer<ApprovalState> {
        caller.require("control-plane.execution.approve")?;
        check_text("/reason", request.reason.as_deref())?;
        let Deciding { by, unchanged } = self.in_force.require_decider(caller).await?;
        let (id, approval) = (&request.execution_id, &request.approval_id);
        let command = || Command::Withdraw {
            by: by.clone(),
            approval: approval.clone(),
            reason: request.reason.clone(),
        };
        self.updates
            .update(
                caller,
                Update { extra: unchanged, ..Update::new(id, "approval.withdraw", &request) },
                |_, _| Ok(vec![command()]),
                |state, at| approval_state(state, approval, at),
            )
            .await
    }

    /// Says something about a request.
    #[boxed]
    pub async fn comment(
        &self,
        caller: &Caller,
        request: CommentApproval,
    ) -> Answer<ApprovalState> {
        caller.require("control-plane.execution.approve")?;
        if request.text.trim().is_empty() || request.text.len() > COMMENT_BYTES_MAX {
            let issue = Issue::new("/text", format!("1 to {COMMENT_BYTES_MAX} bytes"));
            return Err(Problem::new(Code::ValidationFailed, "not a comment").issue(issue));
        }
        let (id, approval) = (&request.execution_id, &request.approval_id);
        let command = || Command::Comment {
            actor: caller.actor.clone(),
            approval: approval.clone(),
            text: request.text.clone(),
        };
        self.updates
            .update(
                caller,
                Update::new(id, "approval.comment", &request),
                |_, _| Ok(vec![command()]),
                |state, at| approval_state(state, approval, at),
            )
            .await
    }

    // The one way in which people decide: every voice of a command, in one transaction across the
    // executions that it is about. Where somebody else was faster, all of it is decided again.
    async fn decide<T: Serialize, R: Serialize + DeserializeOwned>(
        &self,
        caller: &Caller,
        (operation, request): (&'static str, &T),
        voices: Vec<Voice>,
        answer: impl Fn(&States<'_>, Timestamp) -> Answer<R>,
    ) -> Answer<R> {
        let policy = self.policy_in_force(caller).await?;
        let idempotency = Idempotency::of(&caller.author(self.base.now()), operation, request)?;
        let mut tries = self.base.store.tries();
        let decided = loop {
            tries.next().await?;
            if let Some(given) = self.base.store.stored_response(idempotency.as_ref()).await? {
                return Ok(given);
            }
            let deciding = self.in_force.require_decider(caller).await?;
            let kept = (idempotency.as_ref(), &answer);
            let outcome = self.try_decide(caller, (&deciding, &policy), &voices, kept);
            match outcome.await {
                Ok(Some(answer)) => break Ok(answer),
                Ok(None) => {}
                Err(refusal) => {
                    // Refused, perhaps, because this very command was carried out a moment ago.
                    let given = self.base.store.stored_response(idempotency.as_ref()).await?;
                    break given.ok_or(refusal);
                }
            }
        };
        let refused = match decided {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        let about: BTreeSet<&ExecutionId> = voices.iter().map(|voice| &voice.execution).collect();
        self.ask_anew(caller, about, &policy, refused).await
    }

    // None: somebody else committed first, and nothing was written.
    async fn try_decide<R: Serialize + DeserializeOwned>(
        &self,
        caller: &Caller,
        (deciding, policy): (&Deciding, &PolicyInForce),
        voices: &[Voice],
        (idempotency, answer): (
            Option<&Idempotency>,
            &impl Fn(&States<'_>, Timestamp) -> Answer<R>,
        ),
    ) -> Answer<Option<R>> {
        let now = self.base.now();
        let mut decided: Vec<(Loaded, Transition)> = Vec::new();
        let mut factors = Vec::new();
        for voice in voices {
            let known = decided.iter().position(|(loaded, _)| loaded.state.id == voice.execution);
            let index = match known {
                Some(index) => index,
                None => {
                    let loaded = self.updates.load_for(caller, &voice.execution).await;
                    let loaded = loaded.map_err(|refused| voice.at(refused))?;
                    policy.must_have_judged(&loaded).map_err(|stale| voice.at(stale))?;
                    let transition = Transition::begin(&loaded.state, now);
                    decided.push((loaded, transition));
                    decided.len() - 1
                }
            };
            if let Some((_, transition)) = decided.get_mut(index) {
                let factor = self.decide_one((caller, &deciding.by), voice, transition).await;
                factors.extend(factor.map_err(|problem| voice.at(problem))?);
            }
        }
        let states = States(decided.iter().map(|(_, transition)| transition.state()).collect());
        let given = answer(&states, now)?;
        let mut response = self.base.store.response_write(idempotency, &given).await?;
        let mut extra = vec![policy.unchanged()];
        extra.extend(deciding.unchanged.iter().cloned());
        extra.extend(factors);
        let mut changes = Vec::with_capacity(decided.len());
        for (mut loaded, transition) in decided {
            let before = Before::of(&mut loaded);
            let (state, events) = transition.into_parts();
            let commit = Commit {
                extra: std::mem::take(&mut extra),
                response: response.take(),
                ..Commit::new(state, events, caller.stamp(now))
            };
            changes.push((loaded, before, commit));
        }
        let mut woken = Vec::with_capacity(changes.len());
        let mut commits = Vec::with_capacity(changes.len());
        for (loaded, before, commit) in changes {
            woken.push((loaded, before));
            commits.push(commit);
        }
        let all = woken.iter_mut().map(|(loaded, _)| loaded).zip(commits).collect();
        if !committed(self.base.store.commit_all(all).await)? {
            return Ok(None);
        }
        for (loaded, before) in woken {
            self.waker.wake(&loaded, before).await;
        }
        Ok(Some(given))
    }

    // One voice. What uses up the second factor that it needs.
    async fn decide_one(
        &self,
        (caller, by): (&Caller, &Decider),
        voice: &Voice,
        transition: &mut Transition,
    ) -> Answer<Vec<Write>> {
        let before = second_factor::votes_of(transition.state(), by);
        let needed = second_factor::is_needed(&by.directory, transition.state());
        transition.apply(voice.command(by, caller, needed)).map_err(refused)?;
        let mut factors = Vec::new();
        if needed {
            let state = transition.state();
            for (id, ..) in second_factor::votes_of(state, by).difference(&before) {
                factors.push(self.base.use_second_factor(caller, by, (&state.id, id)).await?);
            }
        }
        Ok(factors)
    }

    pub(super) async fn policy_in_force(&self, caller: &Caller) -> Answer<PolicyInForce> {
        let (version, digest) = self.in_force.active(&caller.workspace).await?;
        Ok(PolicyInForce { key: keys::policy_active(&caller.workspace), version, digest })
    }

    // A decision that was refused because another policy set judged: the plan is judged again at
    // once, so that the next look shows what is asked under the set in force.
    pub(super) async fn ask_anew<R>(
        &self,
        caller: &Caller,
        about: BTreeSet<&ExecutionId>,
        policy: &PolicyInForce,
        refused: Problem,
    ) -> Answer<R> {
        let (version, _) = self.in_force.active(&caller.workspace).await?;
        let replaced = version != policy.version;
        let others = refused.code == Code::Conflict && refused.retryable && replaced;
        if refused.code != Code::BindingStale && !others {
            return Err(refused);
        }
        for id in about {
            let mut loaded = self.base.store.load(&caller.workspace, id).await?;
            let judged = loaded.state.ruling.as_ref().map(|ruling| ruling.policy_version.clone());
            let open = loaded.state.status == Status::Verified || loaded.state.status.under_way();
            if judged != Some(version.to_string()) && open {
                let before = Before::of(&mut loaded);
                if self.verdicts.verify_once(&mut loaded, None, None).await?.is_some() {
                    self.waker.wake(&loaded, before).await;
                }
            }
        }
        Err(if others { stale() } else { refused })
    }
}

/// What stands behind how a person was authenticated who signed in once more.
pub(super) const SECOND_FACTOR: &str = "+second_factor";

/// One decision of a command.
struct Voice {
    execution: ExecutionId,
    on: Asking,
    decision: Decision,
    seen: ShownDigests,
    reason: Option<String>,
    /// Where it stands in the request; empty: it is the request.
    pointer: String,
}

impl Voice {
    fn command(&self, by: &Decider, caller: &Caller, second_factor: bool) -> Command {
        let beside = if second_factor { SECOND_FACTOR } else { "" };
        Command::Vote {
            by: by.clone(),
            on: self.on.clone(),
            decision: self.decision,
            seen: self.seen.clone(),
            reason: self.reason.clone(),
            channel: Some(format!("{}{beside}", caller.channel)),
        }
    }

    // The refusal of this one among several.
    fn at(&self, problem: Problem) -> Problem {
        if self.pointer.is_empty() {
            return problem;
        }
        let issue = Issue::coded(problem.code.as_str(), &self.pointer, problem.detail.clone());
        problem.issue(issue)
    }
}

/// The executions that a command decided on, as it leaves them.
struct States<'s>(Vec<&'s Execution>);

impl States<'_> {
    fn of(&self, id: &ExecutionId) -> Answer<&Execution> {
        let found = self.0.iter().find(|state| state.id == *id);
        found.copied().ok_or_else(|| Problem::new(Code::NotFound, "it was not decided on"))
    }
}

/// Where a request stands.
pub(crate) fn approval_state(
    state: &Execution,
    id: &ApprovalId,
    at: Timestamp,
) -> Answer<ApprovalState> {
    let approval = state.approvals.iter().find(|approval| approval.id == *id);
    let approval = approval
        .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no request `{id}`")))?;
    let open = approval.state == ApprovalStatus::Requested;
    Ok(ApprovalState {
        execution_id: state.id.clone(),
        approval_id: approval.id.clone(),
        step_id: approval.step.clone(),
        status: approval.state.into(),
        execution_status: status(state),
        missing: if open { approval.ballot().missing() } else { Vec::new() },
        at,
    })
}

// INVARIANT (bounded-work): so many at once, each request once; who rejects says why.
fn check_votes(request: &VoteApprovals) -> Answer<()> {
    let mut issues = Vec::new();
    if !(1..=VOTES_AT_ONCE_MAX).contains(&request.approvals.len()) {
        let message = format!("1 to {VOTES_AT_ONCE_MAX} decisions");
        let issue = Issue::new("/approvals", message);
        return Err(Problem::new(Code::ValidationFailed, "too many at once").issue(issue));
    }
    let mut seen = BTreeSet::new();
    for (index, vote) in request.approvals.iter().enumerate() {
        let at = |name: &str| format!("/approvals/{index}/{name}");
        if !seen.insert((&vote.execution_id, &vote.approval_id)) {
            issues.push(Issue::new(at("approvalId"), "each request once"));
        }
        let reason = vote.reason.as_deref();
        let checked = match vote.decision {
            Decision::Approve => check_text(&at("reason"), reason),
            Decision::Reject => check_reason(&at("reason"), reason),
        };
        issues.extend(checked.err().into_iter().flat_map(|problem| problem.issues));
    }
    if issues.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::ValidationFailed, "these decisions are not valid").issues(issues))
}

/// Refuses a decision that says nothing.
pub(crate) fn check_reason(pointer: &str, reason: Option<&str>) -> Answer<()> {
    check_text(pointer, reason)?;
    if reason.is_none_or(|reason| reason.trim().is_empty()) {
        let issue = Issue::new(pointer, "say why, for those who asked");
        return Err(Problem::new(Code::ValidationFailed, "it has a reason").issue(issue));
    }
    Ok(())
}

/// The policy set that was active when a decision came in.
///
/// INVARIANT (approval-binds-digest): a decision under a set that is not active any more is
/// refused, in the decision's own transaction, and not voided a moment later.
pub(super) struct PolicyInForce {
    key: Key,
    version: u64,
    digest: Digest,
}

impl PolicyInForce {
    pub(super) fn must_have_judged(&self, loaded: &Loaded) -> Answer<()> {
        match &loaded.state.ruling {
            Some(ruling) if ruling.policy_digest != self.digest => Err(stale()),
            Some(_) | None => Ok(()),
        }
    }

    /// What the decision's transaction checks.
    pub(super) fn unchanged(&self) -> Write {
        Write::Check { key: self.key.clone(), condition: Condition::VersionIs(self.version) }
    }
}

fn stale() -> Problem {
    let message = "another policy set is active since this was asked; look again, then decide";
    Problem::new(Code::BindingStale, message)
}

/// Refuses a text that is too long.
pub(crate) fn check_text(pointer: &str, text: Option<&str>) -> Answer<()> {
    if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
        let issue = Issue::new(pointer, format!("at most {TEXT_BYTES_MAX} bytes"));
        return Err(Problem::new(Code::ValidationFailed, "a text is too long").issue(issue));
    }
    Ok(())
}
