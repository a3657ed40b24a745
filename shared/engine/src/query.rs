//! Queries: execution.get, execution.list, trace.get, policy.explain. They change nothing (INVARIANT get-never-mutates).

use crate::{
    Answer, Caller, Engine, bodies, boxed,
    commit::{Loaded, run_of},
    compile::check_draft,
    keys,
    outputs::Shown,
    ports::Query,
    records::PolicyRecord,
    skills::page,
    verify::step_answer,
};
use contracts::{
    Code, ExecutionId, Issue, Problem, StepId, Timestamp,
    event::{BlockReason, Purpose},
    limits::GET_WAIT_SECONDS_MAX,
    query::{
        ApprovalView, ExecutionAnswer, ExecutionList, ExecutionSummary, ExecutionView, ExplainPolicy, Explanation,
        GetExecution, GetTrace, ListExecutions, StepExplanation, StepView, Trace, TraceEntry, TraceHead,
    },
    verdict::{RiskTier, Verdict},
};
use cs_core::{
    execution::StepState,
    plan::{self, Rejected},
    skill::Registry,
};
use futures_util::FutureExt as _;
use policy::Authority;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// Days a listing goes back when the caller does not say.
const LIST_DAYS_DEFAULT: i64 = 31;
/// Days one call looks at.
const LIST_DAYS_MAX: i64 = 400;
/// Index items one call looks at; beyond, the caller goes on with the cursor.
const LIST_SCAN_MAX: usize = 2_000;
/// Time in which a commit that was seen in part is seen whole, in milliseconds.
const APPLIED_MS: u64 = 50;
const DAY_MS: i64 = 86_400_000;

/// What a view says of a stored verdict: the requests that were judged are most of it, and are not read.
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

impl Engine {
    /// One execution. With `waitSeconds`, waits for a state in which nothing moves on its own.
    #[boxed]
    pub async fn get(&self, caller: &Caller, request: GetExecution) -> Answer<ExecutionAnswer> {
        caller.require("control-plane.execution.read")?;
        let seconds = request.wait_seconds.unwrap_or(0);
        if seconds > GET_WAIT_SECONDS_MAX {
            let issue = Issue::new("/waitSeconds", format!("at most {GET_WAIT_SECONDS_MAX}"));
            return Err(Problem::new(Code::ValidationFailed, "too long a wait").issue(issue));
        }
        let until = self.now().plus_ms(i64::from(seconds) * 1_000);
        loop {
            // Polled once before loading, so that no change between the two is missed.
            let left = (until.ms() - self.now().ms()).max(0) as u64;
            let mut changed = self.ports.notifier.idle(&request.execution_id, left);
            let pending = (&mut changed).now_or_never().is_none();
            let loaded = self.load_for(caller, &request.execution_id).await?;
            if left == 0 || loaded.state.idle() {
                let mut execution = self.view(&loaded, request.include_plan).await?;
                if request.include_view.unwrap_or(true) {
                    self.add_views(&loaded, &mut execution.approvals).await?;
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
        let intent =
            state.intent.as_ref().ok_or_else(|| Problem::new(Code::NotFound, "there is no such execution"))?;
        let verdict: Option<Judged> = self.stored_verdict(state).await?;
        let own = verdict.iter().flat_map(|verdict| &verdict.steps).filter(|step| step.purpose.is_run());
        let judged: HashMap<&str, &JudgedStep> = own.map(|step| (step.step_id.as_str(), step)).collect();
        let steps = state
            .steps
            .iter()
            .enumerate()
            .map(|(place, step)| {
                let judged = judged.get(step.id.as_str());
                let own = step.state.unstarted() && step.approval.is_none() && state.needs_approval(step);
                let waits = own || step.waits_for == Some(BlockReason::ApprovalRequired);
                StepView {
                    step_id: step.id.clone(),
                    operation: state.planned(place).map(|planned| planned.call.operation.clone()).unwrap_or_default(),
                    status: step.state.as_str().to_owned(),
                    attempt: step.attempt,
                    verdict: judged.map(|judged| judged.verdict),
                    risk_tier: judged.map(|judged| judged.risk_tier),
                    reasons: judged.map(|judged| judged.reasons.clone()).unwrap_or_default(),
                    waits_for: step.waits_for,
                    code: step.code.clone(),
                    message: step.message.clone(),
                    output_digest: step.output.clone(),
                    binding_digest: (waits && state.run.is_some()).then(|| state.binding(Some(&step.id))).flatten(),
                    view_digest: state.view_digest(Some(&step.id)).filter(|_| waits && state.run.is_some()).cloned(),
                    retry_at: step.retry_at.filter(|_| step.state == StepState::Retrying),
                }
            })
            .collect();
        let approvals = state
            .approvals
            .iter()
            .map(|approval| ApprovalView {
                approval_id: approval.id.clone(),
                step_id: approval.step.clone(),
                status: approval.state.as_str().to_owned(),
                binding_digest: approval.binding.clone(),
                view_digest: approval.view.clone(),
                view: None,
                lines: Vec::new(),
                requirement: approval.requirement.clone(),
                excludes: approval.excludes.clone(),
                decided_by: approval.decided_by.clone(),
                requested_at: approval.requested_at,
                expires_at: approval.expires_at,
            })
            .collect();
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
            status: state.status.as_str().to_owned(),
            mode: state.run.as_ref().map(|run| run.mode),
            risk_tier: ruling.map(|ruling| ruling.risk_tier),
            verdict: ruling.map(|ruling| ruling.verdict),
            requires_approval: ruling.map(|_| !state.unapproved().is_empty()),
            binding_digest: ruling.and_then(|_| state.binding(state.decided_on(None))),
            view_digest: state.view_digest(state.decided_on(None)).cloned(),
            reasons: state.reasons.clone(),
            steps,
            approvals,
            plan: state.plan().filter(|_| include_plan).map(|plan| plan.plan().clone()),
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
                || (summary.actor_id == caller.actor.id && summary.actor_kind == Some(caller.actor.kind))
        };
        let actor = match &request.actor_id {
            Some(id) => Some(self.listed_actor(caller, id).await?),
            None => None,
        };
        let now = self.now();
        let newest = request.created_before.unwrap_or(now.plus_ms(1));
        let oldest = request.created_after.unwrap_or(newest.plus_ms(-LIST_DAYS_DEFAULT * DAY_MS));
        if newest.ms() - oldest.ms() > LIST_DAYS_MAX * DAY_MS {
            let issue = Issue::new("/createdAfter", format!("a window of at most {LIST_DAYS_MAX} days"));
            return Err(Problem::new(Code::ValidationFailed, "the window is too wide").issue(issue));
        }
        let mut upper = match &request.cursor {
            Some(cursor) => self.read_cursor(cursor)?,
            None => keys::list_sort(newest, ""),
        };
        let mut items: Vec<ExecutionSummary> = Vec::new();
        let mut scanned = 0;
        let mut day = sort_moment(&upper).unwrap_or(newest);
        while day.ms() >= oldest.ms().div_euclid(DAY_MS) * DAY_MS {
            let mut found: Vec<(String, ExecutionSummary)> = Vec::new();
            for shard in 0..keys::LIST_SHARDS {
                let query = Query {
                    partition: keys::list_partition(&caller.workspace, &day.day(), shard),
                    from: keys::list_sort(oldest, ""),
                    to: upper.clone(),
                    limit: LIST_SCAN_MAX,
                    reverse: true,
                };
                for (key, item) in self.ports.table.query(&query).await? {
                    found.push((key.sort.clone(), bodies::decode(&key, &item.body)?));
                }
            }
            found.sort_by(|(left, _), (right, _)| right.cmp(left));
            for (sort, summary) in found {
                scanned += 1;
                let fits = request.status.is_none_or(|status| status.as_str() == summary.status)
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
            day = Timestamp::from_ms(day.ms().div_euclid(DAY_MS) * DAY_MS - 1);
        }
        Ok(ExecutionList { items, next: None })
    }

    // INVARIANT (unknown-names-are-refused): nobody asks for what an actor did that does not exist and is told: nothing.
    async fn listed_actor(&self, caller: &Caller, id: &str) -> Answer<String> {
        if caller.own_only() && caller.actor.id != id {
            let message = "an agent lists what it asked for itself";
            return Err(Problem::new(Code::Forbidden, message).issue(Issue::new("/actorId", message)));
        }
        let known = self.known_actor(&caller.workspace, "/actorId", id).await?;
        known.map_err(|issue| Problem::new(Code::ValidationFailed, "there is no such actor").issue(issue))
    }

    fn read_cursor(&self, cursor: &str) -> Answer<String> {
        let given = cursor.split_once('#').is_some_and(|(moment, id)| {
            moment.len() == 13 && moment.bytes().all(|b| b.is_ascii_digit()) && id.parse::<ExecutionId>().is_ok()
        });
        if given {
            return Ok(cursor.to_owned());
        }
        let issue = Issue::new("/cursor", "take `next` as it was given");
        Err(Problem::new(Code::ValidationFailed, "the cursor is not one that was given out").issue(issue))
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
        let mut items = self.ports.table.query(&query).await?;
        if (items.len() as u64) < expected {
            // The last commit may still be being applied. If not, something is gone, and verification says so.
            self.ports.clock.sleep(APPLIED_MS).await;
            items = self.ports.table.query(&query).await?;
        }
        // An entry that cannot be read is shown as such: verification names it.
        Ok(items
            .iter()
            .map(|(_, item)| {
                contracts::json::decode(&item.body)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&item.body).into_owned()))
            })
            .collect())
    }

    /// The trace of an execution.
    #[boxed]
    pub async fn trace(&self, caller: &Caller, request: GetTrace) -> Answer<Trace> {
        caller.require("control-plane.audit")?;
        let loaded = self.load_for(caller, &request.execution_id).await?;
        let entries = self.entries(&loaded, request.from_seq.unwrap_or(1)).await?;
        let shown = match request.include_payloads {
            true => self.outputs(&loaded, |_| true).await?,
            false => Shown::default(),
        };
        Ok(Trace {
            execution_id: loaded.state.id.clone(),
            run_id: run_of(&loaded.state),
            entries: entries.into_iter().map(entry).collect(),
            head: TraceHead { seq: loaded.chain.seq, hash: loaded.chain.hash.clone(), sealed: loaded.state.sealed() },
            payloads: shown.outputs,
            seals: shown.seals,
            payloads_omitted: shown.omitted,
        })
    }

    /// Why a stored plan or step was judged as it was, or how a hypothetical draft would be.
    #[boxed]
    pub async fn explain(&self, caller: &Caller, request: ExplainPolicy) -> Answer<Explanation> {
        caller.require("control-plane.audit")?;
        let mut verdict = match (&request.execution_id, request.draft) {
            (Some(id), None) => {
                let loaded = self.load_for(caller, id).await?;
                let stored = match &request.verdict_digest {
                    Some(digest) => self.verdict_of(&loaded.state, digest).await?,
                    None => self.stored_verdict(&loaded.state).await?,
                };
                stored.ok_or_else(|| Problem::new(Code::Conflict, "the plan has not been verified"))?
            }
            (None, Some(draft)) => {
                check_draft(&draft)?;
                let snapshot = self.snapshot(&caller.workspace).await?;
                // Policies see a draft as they would if it was submitted: without its sensitive values.
                let draft = self.seal_draft(&caller.workspace, plan::parse(&draft)).await?;
                let compiled = match plan::compile_parsed(draft.parsed(), &snapshot.registry) {
                    Ok(compiled) => compiled,
                    Err(Rejected::Diagnostics(issues)) => {
                        return Err(Problem::new(Code::ValidationFailed, "the draft is not a plan").issues(issues));
                    }
                    Err(Rejected::NotCanonical(error)) => return Err(crate::not_canonical(error)),
                };
                let authority = self.authority(&caller.workspace, &snapshot).await?;
                let text = request.text.unwrap_or_default();
                let signals = self.find_signals(&caller.workspace, &text, None, Some(compiled.plan())).await?;
                let mut facts = self.facts_of(caller.actor.clone(), caller.grants.clone(), None, signals);
                let governed = self.governed(&caller.workspace).await?;
                self.add_usage(&caller.workspace, &governed.record, compiled.plan(), &mut facts).await?;
                policy::judge(compiled.plan(), compiled.digest(), &facts, &authority)
            }
            (Some(_), Some(_)) | (None, None) => {
                let issue = Issue::new("", "either `executionId` (and `stepId`) or `draft`");
                return Err(Problem::new(Code::ValidationFailed, "nothing to explain").issue(issue));
            }
        };
        let verdict_digest = crate::verify::verdict_digest(&verdict)?;
        if let Some(step) = &request.step_id {
            verdict.steps.retain(|judged| judged.step_id == *step);
            let Some(judged) = verdict.steps.first() else {
                return Err(Problem::new(Code::NotFound, format!("the plan has no step `{step}`")));
            };
            (verdict.verdict, verdict.risk_tier) = (judged.verdict, judged.risk_tier);
        }
        let worst =
            |step: &&policy::StepVerdict| step.verdict == verdict.verdict && verdict.verdict != Verdict::Autonomous;
        let mut reasons: Vec<String> =
            verdict.steps.iter().filter(worst).flat_map(|step| step.reasons.clone()).collect();
        reasons.sort();
        reasons.dedup();
        // What a policy says of itself stands in the set that decided, active or not.
        let record: Option<PolicyRecord> =
            self.get_body(&keys::policy(&caller.workspace, &verdict.policy_digest)).await?;
        let authority = record.and_then(|record| Authority::new(&record.text, "", &Registry::default()).ok());
        let described = |names: &[String]| {
            let authority = authority.as_ref();
            names.iter().filter_map(|name| authority?.describe(name).cloned()).collect()
        };
        Ok(Explanation {
            verdict: verdict.verdict,
            risk_tier: verdict.risk_tier,
            verdict_digest,
            reasons,
            policy_version: verdict.policy_version,
            policy_digest: verdict.policy_digest,
            steps: verdict
                .steps
                .into_iter()
                .map(|step| StepExplanation {
                    verdict: step_answer(&step),
                    policies: described(&step.determining),
                    errors: step.errors,
                    request: step.request,
                })
                .collect(),
        })
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
