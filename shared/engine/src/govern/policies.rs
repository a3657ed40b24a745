//! Policy sets as governed artefacts: controlPlane.policy.activate, shadow and backtest. A set is
//! named by its content; a verdict pins it; nothing becomes active before everybody can see what it
//! would have changed.

use crate::{
    Answer, Base, Caller, InForce, Parts, Snapshot, Verdicts, Waker, boxed,
    decide::approve::check_text,
    records::{ActivePolicy, PolicyRecord},
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, Timestamp, WorkspaceId,
    command::{ActivatePolicy, PolicyActivatedAnswer},
    event::{PolicyActivated, WorkspaceEvent},
    governance::{EmptyQuery, Meter, PolicySets, Shadow, ShadowChange, ShadowPolicy},
    limits::{BACKTEST_CHANGES_MAX, BACKTEST_DAYS_MAX},
    query::{Backtest, BacktestChange, BacktestImpact, BacktestPolicy},
};
use countersign_store::{Change, HeadRecord, PortError, Query, Record, Write, keys};
use cs_core::{plan::Compiled, skill::Registry};
use policy::{CompiledPolicySet, PastVerdict, PlanVerdict};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// Days that the backtest of an activation goes back when the caller does not say.
const BACKTEST_DAYS_DEFAULT: u32 = 7;
/// Longest time one backtest takes, in milliseconds: a gateway gives up after 29 s.
const BACKTEST_MS_MAX: i64 = 20_000;
/// Executions read at once.
const PAGE: usize = 500;
const DAY_MS: i64 = 86_400_000;
/// Differences of a candidate that are listed, and for how long they are kept: 30 days.
const SHADOW_LISTED_MAX: usize = 200;
const SHADOW_SECONDS: i64 = 30 * 86_400;
/// Sets listed of the past.
const HISTORY_MAX: usize = 200;

/// What a candidate would have changed of one execution's verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShadowRecord {
    at: Timestamp,
    changes: Vec<BacktestChange>,
}

fn invalid(issues: Vec<Issue>) -> Problem {
    Problem::new(Code::ValidationFailed, "the policy set cannot be taken").issues(issues)
}

/// Policy sets, candidates, and the phrases that raise the risk of an intent.
pub struct Policies {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) waker: Arc<Waker>,
}

impl Policies {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            verdicts: parts.verdicts.clone(),
            waker: parts.waker.clone(),
        }
    }

    // A candidate that is fit to decide, or everything that is wrong with it.
    async fn candidate(
        &self,
        caller: &Caller,
        text: &str,
        snapshot: &Snapshot,
        meters: &[Meter],
    ) -> Answer<Arc<CompiledPolicySet>> {
        let names = self.in_force.risk_phrases(&caller.workspace).await?.names();
        let nameable = snapshot.nameable();
        let mut issues = policy::validate_with(text, &nameable, meters, Some(&names));
        if issues.is_empty() {
            let authority = CompiledPolicySet::new(text, "0", &snapshot.whole());
            let authority = authority
                .map_err(|error| invalid(vec![Issue::new("/policies", error.to_string())]))?;
            let facts = self.verdicts.facts_of(
                caller.actor.clone(),
                caller.grants.clone(),
                None,
                Vec::new(),
            );
            issues = policy::probe(&authority, &nameable, meters, &facts);
            issues.extend(self.in_force.unknown_approvers(&caller.workspace, &authority).await?);
            if issues.is_empty() {
                return Ok(Arc::new(authority));
            }
        }
        Err(invalid(issues))
    }

    /// Validates a set, evaluates the verdicts of the last days again under it, and activates it
    /// unless it is a dry run.
    #[boxed]
    pub async fn activate_policy(
        &self,
        caller: &Caller,
        request: ActivatePolicy,
    ) -> Answer<PolicyActivatedAnswer> {
        caller.require("control-plane.policy.activate")?;
        check_text("/note", request.note.as_deref())?;
        let days = request.backtest_days.unwrap_or(BACKTEST_DAYS_DEFAULT);
        if days > BACKTEST_DAYS_MAX {
            let issue = Issue::new("/backtestDays", format!("at most {BACKTEST_DAYS_MAX}"));
            return Err(Problem::new(Code::ValidationFailed, "too long a window").issue(issue));
        }
        let workspace = &caller.workspace;
        let author = caller.author(self.base.now());
        let activated = self.base.store.change(&author, ("policy.activate", &request), || {
            Box::pin(async { self.activation(caller, &request, days).await })
        });
        let activated = activated.await?;
        if activated.is_fresh() && !request.dry_run {
            self.waker.wake_waiting(workspace).await;
        }
        Ok(activated.answer())
    }

    async fn activation(
        &self,
        caller: &Caller,
        request: &ActivatePolicy,
        days: u32,
    ) -> Answer<Change<PolicyActivatedAnswer>> {
        let (workspace, now) = (&caller.workspace, self.base.now());
        let snapshot = self.in_force.snapshot(workspace).await?;
        let governed = self.in_force.governed(workspace).await?;
        let meters = &governed.record.budgets.meters;
        let phrases = self.in_force.stored_phrases(workspace).await?;
        let authority = self.candidate(caller, &request.policies, &snapshot, meters).await?;
        let window = (now.plus_ms(-i64::from(days) * DAY_MS), now.plus_ms(1));
        let tested = self.backtest_with(workspace, &authority, window).await?;
        refuse_erring(&tested)?;
        let digest = authority.digest().clone();
        let (version, active) = self.in_force.active(workspace).await?;
        let answer = |version: u64, active: bool| PolicyActivatedAnswer {
            policy_version: version.to_string(),
            digest: digest.clone(),
            activated_at: now,
            activated_by: caller.actor.id.clone(),
            active,
            evaluated: tested.evaluated,
            changes: tested.changed.clone(),
            truncated: tested.truncated,
        };
        if request.dry_run {
            return Ok(Change::none(answer(version, false)));
        }
        if active == digest {
            return Ok(Change::none(answer(version, true)));
        }
        let record = PolicyRecord {
            text: request.policies.clone(),
            digest: digest.clone(),
            activated_at: now,
            actor_id: caller.actor.id.clone(),
            note: request.note.clone(),
        };
        let stored = Record { version, value: active };
        let pointer = ActivePolicy { digest: digest.clone() };
        let (governance, unchanged) = Base::governance_check(&governed);
        let writes = vec![
            stored.replace(keys::policy_active(workspace), &pointer)?,
            self.base.store.body_write(keys::policy(workspace, &digest), &record).await?,
            // It was validated against these meters and these phrases.
            Write::Check { key: governance, condition: unchanged },
            Write::Check { key: keys::risk_phrases(workspace), condition: phrases.unchanged() },
        ];
        let event = WorkspaceEvent::PolicyActivated(PolicyActivated {
            key: "policy".into(),
            version: (version + 1).to_string(),
            digest: digest.clone(),
            at: now,
            actor_id: caller.actor.id.clone(),
        });
        Ok(Change::new(answer(version + 1, true), event, writes))
    }

    /// What would have been another under a set, within a window.
    #[boxed]
    pub async fn backtest(&self, caller: &Caller, request: BacktestPolicy) -> Answer<Backtest> {
        caller.require_whole("control-plane.audit")?;
        let span = request.to.ms() - request.from.ms();
        if !(0..=i64::from(BACKTEST_DAYS_MAX) * DAY_MS).contains(&span) {
            let issue =
                Issue::new("/from", format!("before `to`, at most {BACKTEST_DAYS_MAX} days"));
            return Err(
                Problem::new(Code::ValidationFailed, "the window is not valid").issue(issue)
            );
        }
        let snapshot = self.in_force.snapshot(&caller.workspace).await?;
        let meters = self.in_force.governed(&caller.workspace).await?.record.budgets.meters;
        let authority = self.candidate(caller, &request.policies, &snapshot, &meters).await?;
        self.backtest_with(&caller.workspace, &authority, (request.from, request.to)).await
    }

    async fn backtest_with(
        &self,
        workspace: &WorkspaceId,
        candidate: &CompiledPolicySet,
        window: (Timestamp, Timestamp),
    ) -> Answer<Backtest> {
        let mut found = self.changed_within(workspace, candidate, window).await?;
        found.truncated |= found.changed.len() > BACKTEST_CHANGES_MAX;
        found.changed.truncate(BACKTEST_CHANGES_MAX);
        // The oldest first, and the steps of one in the plan's order.
        found.changed.sort_by(|one, other| one.execution_id.cmp(&other.execution_id));
        found.impact = policy::impact(&found.changed);
        Ok(found)
    }

    async fn changed_within(
        &self,
        workspace: &WorkspaceId,
        candidate: &CompiledPolicySet,
        (from, to): (Timestamp, Timestamp),
    ) -> Answer<Backtest> {
        let until = self.base.now().plus_ms(BACKTEST_MS_MAX);
        let mut found = Backtest {
            evaluated: 0,
            changed: Vec::new(),
            truncated: false,
            impact: BacktestImpact::default(),
        };
        let mut day = from.ms().div_euclid(DAY_MS) * DAY_MS;
        while day < to.ms() {
            for shard in 0..keys::LIST_SHARDS {
                let mut next = Some(Query {
                    partition: keys::list_partition(
                        workspace,
                        &Timestamp::from_ms(day).day(),
                        shard,
                    ),
                    from: keys::list_sort(from, ""),
                    to: keys::list_sort(to, ""),
                    limit: PAGE,
                    reverse: false,
                });
                while let Some(query) = next {
                    let items = self.base.store.query(&query).await?;
                    for (key, _) in &items {
                        let id = key
                            .sort
                            .split_once('#')
                            .and_then(|(_, id)| id.parse::<ExecutionId>().ok());
                        let Some(id) = id else { continue };
                        if self.base.now() >= until || found.changed.len() >= BACKTEST_CHANGES_MAX {
                            found.truncated = true;
                            return Ok(found);
                        }
                        if let Some((plan, past)) = self.past(workspace, &id).await? {
                            found.evaluated +=
                                past.steps.iter().filter(|step| step.purpose.is_run()).count()
                                    as u64;
                            found.changed.extend(policy::changes(
                                &id,
                                plan.plan(),
                                &past,
                                candidate,
                            ));
                        }
                    }
                    next = query.behind(&items);
                }
            }
            day += DAY_MS;
        }
        Ok(found)
    }

    // The plan and the verdict of an execution; nothing if it was not verified.
    async fn past(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Answer<Option<(Arc<Compiled>, PastVerdict)>> {
        let key = keys::head(workspace, id);
        let Some(item) = self.base.store.get(&key).await? else {
            return Ok(None);
        };
        let head: HeadRecord = countersign_store::decode(&key, &item.body)?;
        let (Some(facts), Some(ruling)) = (&head.execution.plan_facts, &head.execution.ruling)
        else {
            return Ok(None);
        };
        let plan = self.base.store.plan(workspace, id, &facts.digest).await?;
        let past: Option<PastVerdict> =
            self.base.store.body(&keys::verdict(workspace, id, &ruling.verdict_digest)).await?;
        Ok(past.map(|past| (plan, past)))
    }

    /// The active policy set and those before it.
    #[boxed]
    pub async fn policy_sets(&self, caller: &Caller, _: EmptyQuery) -> Answer<PolicySets> {
        caller.require_whole("control-plane.audit")?;
        let workspace = &caller.workspace;
        let (version, digest) = self.in_force.active(workspace).await?;
        let active = self.in_force.policy_set(workspace, &digest).await?;
        let (partition, prefix) = keys::policies(workspace);
        let mut history: Vec<(Timestamp, Digest)> = Vec::new();
        for (key, item) in
            self.base.store.query(&Query::prefix(partition, prefix, HISTORY_MAX)).await?
        {
            let record: PolicyRecord = self.base.store.body_of(&key, &item).await?;
            history.push((record.activated_at, record.digest));
        }
        history.sort();
        let governance = self.in_force.governed(workspace).await?.record;
        let snapshot = self.in_force.snapshot(workspace).await?;
        Ok(PolicySets {
            policy_version: version.to_string(),
            digest: active.digest,
            policies: active.text,
            activated_at: active.activated_at,
            activated_by: active.actor_id,
            note: active.note,
            shadow: governance.shadow,
            history: history.into_iter().map(|(_, digest)| digest).collect(),
            schema: policy::cedar_schema(&snapshot.nameable(), &governance.budgets.meters),
        })
    }

    /// Lets a candidate be evaluated beside the active set, or none any more.
    #[boxed]
    pub async fn set_shadow(&self, caller: &Caller, request: ShadowPolicy) -> Answer<Shadow> {
        caller.require("control-plane.policy.activate")?;
        check_text("/note", request.note.as_deref())?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("policy.shadow", &request), || {
            Box::pin(async { self.shadowing(caller, &request).await })
        });
        Ok(changed.await?.answer())
    }

    async fn shadowing(&self, caller: &Caller, request: &ShadowPolicy) -> Answer<Change<Shadow>> {
        let workspace = &caller.workspace;
        let stored = self.in_force.stored_governance(workspace).await?;
        let mut record = stored.value.clone();
        record.shadow = None;
        let mut candidate_write = None;
        if let Some(text) = &request.policies {
            let snapshot = self.in_force.snapshot(workspace).await?;
            let meters = &record.budgets.meters;
            let authority = self.candidate(caller, text, &snapshot, meters).await?;
            let candidate = PolicyRecord {
                text: text.clone(),
                digest: authority.digest().clone(),
                activated_at: self.base.now(),
                actor_id: caller.actor.id.clone(),
                note: request.note.clone(),
            };
            let key = keys::candidate(workspace, &candidate.digest);
            candidate_write = Some(self.base.store.body_write(key, &candidate).await?);
            record.shadow = Some(candidate.digest);
        }
        let answer = self.shadow_of(workspace, record.shadow.as_ref()).await?;
        let what = ("shadow", &request.note);
        let mut change = self.base.govern(caller, what, (&stored, &record), answer)?;
        change.writes.extend(candidate_write);
        Ok(change)
    }

    /// What the candidate would have changed.
    #[boxed]
    pub async fn shadow(&self, caller: &Caller, _: EmptyQuery) -> Answer<Shadow> {
        let looks = caller.require_whole("control-plane.audit");
        looks.or_else(|_| caller.require("control-plane.policy.activate"))?;
        let stored = self.in_force.stored_governance(&caller.workspace).await?;
        self.shadow_of(&caller.workspace, stored.value.shadow.as_ref()).await
    }

    async fn shadow_of(&self, workspace: &WorkspaceId, digest: Option<&Digest>) -> Answer<Shadow> {
        let Some(digest) = digest else {
            return Ok(Shadow::default());
        };
        let partition = keys::shadow_partition(workspace, digest);
        let query = Query { reverse: true, ..Query::prefix(partition, "", SHADOW_LISTED_MAX) };
        let mut changed = Vec::new();
        for (key, item) in self.base.store.query(&query).await? {
            let record: ShadowRecord = self.base.store.body_of(&key, &item).await?;
            changed.extend(
                record.changes.into_iter().map(|change| ShadowChange { at: record.at, change }),
            );
        }
        changed.truncate(SHADOW_LISTED_MAX);
        Ok(Shadow { digest: Some(digest.clone()), changed })
    }
}

impl Verdicts {
    /// What the candidate, if there is one, says otherwise of a verdict: a write that records it. A
    /// candidate that cannot be evaluated keeps nobody from anything.
    pub(crate) async fn shadow_write(
        &self,
        (workspace, id): (&WorkspaceId, &ExecutionId),
        candidate: Option<&Digest>,
        plan: &Compiled,
        verdict: &PlanVerdict,
        registry: &Registry,
    ) -> Result<Option<Write>, PortError> {
        let Some(digest) = candidate else {
            return Ok(None);
        };
        let record: Option<PolicyRecord> =
            self.base.store.body(&keys::candidate(workspace, digest)).await?;
        let authority =
            record.and_then(|record| CompiledPolicySet::new(&record.text, "shadow", registry).ok());
        let Some(authority) = authority.filter(|authority| authority.digest() == digest) else {
            tracing::warn!(
                workspace_id = %workspace, "the candidate policy set cannot be evaluated"
            );
            return Ok(None);
        };
        let changes = policy::changes(id, plan.plan(), &PastVerdict::from(verdict), &authority);
        if changes.is_empty() {
            return Ok(None);
        }
        let at = self.base.now();
        let mut write = self
            .base
            .store
            .body_write(keys::shadow(workspace, digest, at, id), &ShadowRecord { at, changes })
            .await?;
        if let Write::Put { item, .. } = &mut write {
            item.expires_at = Some(at.ms() / 1_000 + SHADOW_SECONDS);
        }
        Ok(Some(write))
    }
}

// What errs on what really happened would block it: no way to find that out in production.
fn refuse_erring(tested: &Backtest) -> Answer<()> {
    let erring: BTreeSet<&String> = tested
        .changed
        .iter()
        .filter(|change| change.reasons.iter().any(|reason| reason == "policy_error"))
        .flat_map(|change| change.reasons.last())
        .collect();
    if erring.is_empty() {
        return Ok(());
    }
    let issue = |error: &String| Issue::coded("POLICY_ERRORS", "/policies", error.clone());
    Err(invalid(erring.into_iter().map(issue).collect()))
}
