//! Queries: execution.get, execution.list, trace.get, policy.explain. They change nothing
//! (INVARIANT get-never-mutates).

use crate::{
    Answer, Base, Caller, InForce, Names, Parts, Plans, Updates, Verdicts, Views, boxed,
    evidence::outputs::Shown, govern::skills::page, run_of,
};
use contracts::{
    Code, ExecutionId, Issue, Open, Problem, StepId, Timestamp, WorkspaceId,
    approval::{CommentView, VoteView},
    event::{BlockReason, Purpose},
    limits::GET_WAIT_SECONDS_MAX,
    plan::PlanStep,
    query::{
        ApprovalView, ExecutionAnswer, ExecutionList, ExecutionSummary, ExecutionView,
        GetExecution, GetTrace, ListExecutions, OverrideView, StepView, Trace, TraceEntry,
        TraceHead,
    },
    verdict::{RiskTier, Verdict},
};
use countersign_store::{Loaded, Query, keys};
use cs_core::execution::{
    Approval, ApprovalStatus, Comment, Execution, Overridden, Step, StepStatus, Vote,
};
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Days a listing goes back when the caller does not say.
const LIST_DAYS_DEFAULT: i64 = 31;
/// Days one call looks at.
const LIST_DAYS_MAX: i64 = 400;
/// Index items one call looks at; beyond, the caller goes on with the cursor. A status that nothing
/// has reads all of them (68 ms of 6,000 executions, in debug). An index by status would cost each
/// commit that changes one two more writes, for a question that people ask now and then.
const LIST_SCAN_MAX: usize = 2_000;
/// Time in which a commit that was seen in part is seen whole, in milliseconds.
const APPLIED_MS: u64 = 50;
const DAY_MS: i64 = 86_400_000;

/// What a view says of a stored verdict: the requests that were judged are most of it, and are not
/// read.
#[derive(Deserialize)]
struct Judged {
    steps: Vec<JudgedStep>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JudgedStep {
    step_id: StepId,
    #[serde(default)]
    purpose: Purpose,
    verdict: Verdict,
    risk_tier: RiskTier,
    reasons: Vec<String>,
}

/// The newest of a listing.
#[derive(Default)]
struct Newest {
    /// The newest first.
    found: Vec<(String, ExecutionSummary)>,
    /// Every one down to here; absent: to the listing's end.
    down_to: Option<String>,
}

/// What is shown of executions and of the workspace log.
pub struct Queries {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) names: Arc<Names>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) views: Arc<Views>,
}

impl Queries {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            names: parts.names.clone(),
            plans: parts.plans.clone(),
            updates: parts.updates.clone(),
            verdicts: parts.verdicts.clone(),
            views: parts.views.clone(),
        }
    }

    /// One execution. With `waitSeconds`, waits for a state in which nothing moves on its own.
    #[boxed]
    pub async fn get(&self, caller: &Caller, request: GetExecution) -> Answer<ExecutionAnswer> {
        caller.require("control-plane.execution.read")?;
        let seconds = request.wait_seconds.unwrap_or(0);
        if seconds > GET_WAIT_SECONDS_MAX {
            let issue = Issue::new("/waitSeconds", format!("at most {GET_WAIT_SECONDS_MAX}"));
            return Err(Problem::new(Code::ValidationFailed, "too long a wait").issue(issue));
        }
        let until = self.base.now().plus_ms(i64::from(seconds) * 1_000);
        loop {
            // Polled once before loading, so that no change between the two is missed.
            let left = (until.ms() - self.base.now().ms()).max(0) as u64;
            let mut changed = self.base.ports.notifier.wait_until_idle(&request.execution_id, left);
            let pending = (&mut changed).now_or_never().is_none();
            let loaded = self.updates.load_for(caller, &request.execution_id).await?;
            if left == 0 || loaded.state.idle() {
                let mut execution = self.view(&loaded, request.include_plan).await?;
                if request.include_view.unwrap_or(true) {
                    self.views.add_views(&loaded, &mut execution.approvals).await?;
                }
                return Ok(ExecutionAnswer { execution });
            }
            if pending {
                changed.await;
            }
        }
    }

    async fn view(&self, loaded: &Loaded, include_plan: bool) -> Answer<ExecutionView> {
        let state = &loaded.state;
        let intent = state
            .intent
            .as_ref()
            .ok_or_else(|| Problem::new(Code::NotFound, "there is no such execution"))?;
        let verdict: Option<Judged> = self.views.stored_verdict(state).await?;
        let own =
            verdict.iter().flat_map(|verdict| &verdict.steps).filter(|step| step.purpose.is_run());
        let judged: HashMap<&str, &JudgedStep> =
            own.map(|step| (step.step_id.as_str(), step)).collect();
        let steps = state.steps.iter().enumerate().map(|(index, step)| {
            let planned = state.planned(index);
            step_view(state, (step, planned), judged.get(step.id.as_str()).copied())
        });
        let ruling = state.ruling.as_ref();
        Ok(ExecutionView {
            execution_id: state.id.clone(),
            intent_id: intent.intent_id.clone(),
            text: loaded.title.clone(),
            actor_id: intent.actor_id.clone(),
            actor_kind: intent.actor_kind,
            on_behalf_of: intent.on_behalf_of.clone(),
            plan_id: state.plan_facts.as_ref().map(|facts| facts.plan_id.clone()),
            plan_digest: state.plan_facts.as_ref().map(|facts| facts.digest.clone()),
            run_id: state.run.as_ref().map(|run| run.run_id.clone()),
            status: crate::status(state),
            mode: state.run.as_ref().map(|run| run.mode.into()),
            risk_tier: ruling.map(|ruling| ruling.risk_tier.into()),
            verdict: ruling.map(|ruling| ruling.verdict.into()),
            requires_approval: ruling.map(|_| !state.unapproved().is_empty()),
            binding_digest: ruling.and_then(|_| state.binding(state.decided_on(None))),
            view_digest: state.view_digest(state.decided_on(None)).cloned(),
            reasons: state.reasons.clone(),
            steps: steps.collect(),
            approvals: state.approvals.iter().map(approval_view).collect(),
            plan: state.plan().filter(|_| include_plan).map(|plan| plan.plan().clone().into()),
            created_at: state.created_at,
            updated_at: state.updated_at,
        })
    }

    /// Executions, newest first: the shards of each day merged.
    #[boxed]
    pub async fn list(&self, caller: &Caller, request: ListExecutions) -> Answer<ExecutionList> {
        caller.require("control-plane.execution.read")?;
        let limit = page(request.limit)?;
        let own = |summary: &ExecutionSummary| {
            !caller.own_only()
                || (summary.actor_id == caller.actor.id
                    && summary.actor_kind == Some(caller.actor.kind))
        };
        let actor = match &request.actor_id {
            Some(id) => Some(self.listed_actor(caller, id).await?),
            None => None,
        };
        let now = self.base.now();
        let newest = request.created_before.unwrap_or(now.plus_ms(1));
        let oldest = request.created_after.unwrap_or(newest.plus_ms(-LIST_DAYS_DEFAULT * DAY_MS));
        if newest.ms() - oldest.ms() > LIST_DAYS_MAX * DAY_MS {
            let issue =
                Issue::new("/createdAfter", format!("a window of at most {LIST_DAYS_MAX} days"));
            return Err(Problem::new(Code::ValidationFailed, "the window is too wide").issue(issue));
        }
        let mut upper = match &request.cursor {
            Some(cursor) => self.read_cursor(cursor)?,
            None => keys::list_sort(newest, ""),
        };
        let every = request.status.is_none() && actor.is_none() && !caller.own_only();
        // Shards are about as full as one another: twice a share of the page is mostly enough.
        // Where most is left out, twice as much is read each time.
        let mut wanted = 2 * limit;
        let mut items: Vec<ExecutionSummary> = Vec::new();
        let mut scanned = 0;
        let mut day = sort_moment(&upper).unwrap_or(newest);
        while day.ms() >= oldest.ms().div_euclid(DAY_MS) * DAY_MS {
            let range = (keys::list_sort(oldest, ""), upper.clone());
            let at_once = wanted.div_ceil(usize::from(keys::LIST_SHARDS));
            wanted = if every { wanted } else { LIST_SCAN_MAX.min(2 * wanted) };
            let Newest { found, down_to } =
                self.newest(&caller.workspace, &day.day(), range, at_once).await?;
            for (sort, summary) in found {
                scanned += 1;
                let fits = request.status.is_none_or(|status| summary.status == status)
                    && actor.as_ref().is_none_or(|actor| *actor == summary.actor_id)
                    && own(&summary);
                if fits {
                    items.push(summary);
                }
                upper = sort;
                if items.len() == limit || scanned == LIST_SCAN_MAX {
                    return Ok(ExecutionList { items, next: Some(upper) });
                }
            }
            if down_to.is_none() {
                day = Timestamp::from_ms(day.ms().div_euclid(DAY_MS) * DAY_MS - 1);
            }
        }
        Ok(ExecutionList { items, next: None })
    }

    // The newest of a day's listing below `to`, merged over its shards, `at_once` of each.
    async fn newest(
        &self,
        workspace: &WorkspaceId,
        day: &str,
        (from, to): (String, String),
        at_once: usize,
    ) -> Answer<Newest> {
        let mut newest = Newest::default();
        for shard in 0..keys::LIST_SHARDS {
            let query = Query {
                partition: keys::list_partition(workspace, day, shard),
                from: from.clone(),
                to: to.clone(),
                limit: at_once,
                reverse: true,
            };
            let items = self.base.store.query(&query).await?;
            if items.len() == at_once {
                // Below the last of this shard it may have more.
                let last = items.last().map(|(key, _)| key.sort.clone());
                newest.down_to = newest.down_to.max(last);
            }
            for (key, item) in items {
                let summary = countersign_store::decode(&key, &item.body)?;
                newest.found.push((key.sort, summary));
            }
        }
        if let Some(end) = &newest.down_to {
            newest.found.retain(|(sort, _)| sort >= end);
        }
        newest.found.sort_by(|(left, _), (right, _)| right.cmp(left));
        Ok(newest)
    }

    // INVARIANT (unknown-names-are-refused): nobody asks for what an actor did that does not exist
    // and is told: nothing.
    async fn listed_actor(&self, caller: &Caller, id: &str) -> Answer<String> {
        if caller.own_only() && caller.actor.id != id {
            let message = "an agent lists what it asked for itself";
            return Err(
                Problem::new(Code::Forbidden, message).issue(Issue::new("/actorId", message))
            );
        }
        let known = self.names.known_actor(&caller.workspace, "/actorId", id).await?;
        known.map_err(|issue| {
            Problem::new(Code::ValidationFailed, "there is no such actor").issue(issue)
        })
    }

    fn read_cursor(&self, cursor: &str) -> Answer<String> {
        let given = cursor.split_once('#').is_some_and(|(moment, id)| {
            moment.len() == 13
                && moment.bytes().all(|b| b.is_ascii_digit())
                && id.parse::<ExecutionId>().is_ok()
        });
        if given {
            return Ok(cursor.to_owned());
        }
        let issue = Issue::new("/cursor", "take `next` as it was given");
        Err(Problem::new(Code::ValidationFailed, "the cursor is not one that was given out")
            .issue(issue))
    }

    /// The stored entries of a trace up to what was loaded, as JSON.
    pub(crate) async fn entries(&self, loaded: &Loaded, from_seq: u64) -> Answer<Vec<Value>> {
        let (workspace, id) = (&loaded.state.workspace, &loaded.state.id);
        let query = Query {
            partition: keys::execution(workspace, id),
            from: keys::event(workspace, id, from_seq).sort,
            to: keys::event(workspace, id, loaded.chain.seq + 1).sort,
            limit: usize::MAX,
            reverse: false,
        };
        let expected = (loaded.chain.seq + 1).saturating_sub(from_seq);
        let mut items = self.base.store.query(&query).await?;
        if (items.len() as u64) < expected {
            // The last commit may still be being applied. If not, something is gone, and
            // verification says so.
            self.base.ports.clock.sleep(APPLIED_MS).await;
            items = self.base.store.query(&query).await?;
        }
        // An entry that cannot be read is shown as such: verification names it.
        Ok(items
            .iter()
            .map(|(_, item)| {
                contracts::json::decode(&item.body).unwrap_or_else(|_| {
                    Value::String(String::from_utf8_lossy(&item.body).into_owned())
                })
            })
            .collect())
    }

    /// The trace of an execution.
    #[boxed]
    pub async fn trace(&self, caller: &Caller, request: GetTrace) -> Answer<Trace> {
        caller.require("control-plane.audit")?;
        let loaded = self.updates.load_for(caller, &request.execution_id).await?;
        let entries = self.entries(&loaded, request.from_seq.unwrap_or(1)).await?;
        let shown = match request.include_payloads {
            true => self.outputs(&loaded, |_| true).await?,
            false => Shown::default(),
        };
        Ok(Trace {
            execution_id: loaded.state.id.clone(),
            run_id: run_of(&loaded.state),
            entries: entries.into_iter().map(entry).collect(),
            head: TraceHead {
                seq: loaded.chain.seq,
                hash: loaded.chain.hash.clone(),
                sealed: loaded.state.sealed(),
            },
            payloads: shown.outputs,
            seals: shown.seals,
            payloads_omitted: shown.omitted,
        })
    }
}

fn step_view(
    state: &Execution,
    (step, planned): (&Step, Option<&PlanStep>),
    judged: Option<&JudgedStep>,
) -> StepView {
    let own = step.state.unstarted() && step.approval.is_none() && state.needs_approval(step);
    let waits = own || step.waits_for == Some(BlockReason::ApprovalRequired);
    let asked = waits && state.run.is_some();
    StepView {
        step_id: step.id.clone(),
        operation: planned.map(|planned| planned.call.operation.clone()).unwrap_or_default(),
        status: step.state.into(),
        attempt: step.attempt,
        verdict: judged.map(|judged| judged.verdict.into()),
        risk_tier: judged.map(|judged| judged.risk_tier.into()),
        reasons: judged.map(|judged| judged.reasons.clone()).unwrap_or_default(),
        waits_for: step.waits_for.map(Open::from),
        code: step.code.as_deref().map(Open::word),
        message: step.message.clone(),
        output_digest: step.output.clone(),
        binding_digest: asked.then(|| state.binding(Some(&step.id))).flatten(),
        view_digest: state.view_digest(Some(&step.id)).filter(|_| asked).cloned(),
        retry_at: step.retry_at.filter(|_| step.state == StepStatus::Retrying),
    }
}

pub(crate) fn approval_view(approval: &Approval) -> ApprovalView {
    let open = approval.state == ApprovalStatus::Requested;
    let vote = |vote: &Vote| VoteView {
        actor_id: vote.person.clone(),
        decision: vote.decision.into(),
        groups: vote.groups.clone(),
        view_digest: vote.view.clone(),
        channel: vote.channel.clone(),
        at: vote.at,
        reason: vote.reason.clone(),
    };
    let comment = |comment: &Comment| CommentView {
        actor_id: comment.actor_id.clone(),
        at: comment.at,
        text: comment.text.clone(),
    };
    let overridden = |one: &Overridden| OverrideView {
        by: one.by.clone(),
        at: one.at,
        reviewed_by: one.reviewed_by.clone(),
    };
    ApprovalView {
        approval_id: approval.id.clone(),
        step_id: approval.step.clone(),
        status: approval.state.into(),
        binding_digest: approval.binding.clone(),
        view_digest: approval.view.clone(),
        view: None,
        lines: Vec::new(),
        requirement: approval.requirement.clone(),
        missing: if open { approval.ballot().missing() } else { Vec::new() },
        votes: approval.votes.iter().map(vote).collect(),
        comments: approval.comments.iter().map(comment).collect(),
        excludes: approval.excludes.clone(),
        decided_by: approval.decided_by.clone(),
        overridden: approval.overridden.as_ref().map(overridden),
        requested_at: approval.requested_at,
        expires_at: approval.expires_at,
    }
}

fn sort_moment(sort: &str) -> Option<Timestamp> {
    sort.get(..13)?.parse().ok().map(Timestamp::from_ms)
}

pub(crate) fn entry(event: Value) -> TraceEntry {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("type").to_owned();
    let words: Vec<&str> = kind.trim_start_matches("controlPlane.").split('.').collect();
    let stage = match words.as_slice() {
        ["execution", "step", _] => "step",
        [stage, ..] => stage,
        [] => "",
    };
    let zero = contracts::Digest::zero;
    TraceEntry {
        seq: event.get("seq").and_then(Value::as_u64).unwrap_or_default(),
        timestamp: text("at").parse().unwrap_or_default(),
        stage: stage.to_owned(),
        status: words.last().copied().unwrap_or_default().to_owned(),
        actor_id: event.pointer("/actor/id").and_then(Value::as_str).map(str::to_owned),
        key_id: event.get("keyId").and_then(Value::as_str).map(str::to_owned),
        subject: event.get("subject").and_then(Value::as_str).map(str::to_owned),
        channel: event.get("channel").and_then(Value::as_str).map(str::to_owned),
        metadata: event.get("data").cloned().unwrap_or_default(),
        prev: text("prev").parse().unwrap_or_else(|_| zero()),
        hash: text("hash").parse().unwrap_or_else(|_| zero()),
        kind,
        event,
    }
}
