//! Policy sets as governed artefacts: controlPlane.policy.activate, shadow and backtest. A set is named by its content; a
//! verdict pins it; nothing becomes active before everybody can see what it would have changed.

use crate::{
    Answer, Caller, Engine, Snapshot,
    approve::check_text,
    bodies, boxed, keys,
    ports::{Condition, Fault, Query, Write},
    records::{ActivePolicy, HeadRecord, PolicyRecord},
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem, Timestamp, WorkspaceId,
    command::{ActivatePolicy, PolicyActivatedAnswer},
    event::{Event, PolicyActivated},
    governance::{Look, Meter, PolicySets, Shadow, ShadowChange, ShadowPolicy},
    limits::{BACKTEST_CHANGES_MAX, BACKTEST_DAYS_MAX},
    query::{Backtest, BacktestChange, BacktestPolicy},
};
use cs_core::{plan::Compiled, skill::Registry};
use policy::{Authority, Past, PlanVerdict};
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
const TRIES_MAX: u32 = 8;

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

impl Engine {
    // A candidate that is fit to decide, or everything that is wrong with it.
    async fn candidate(
        &self,
        caller: &Caller,
        text: &str,
        snapshot: &Snapshot,
        meters: &[Meter],
    ) -> Answer<Arc<Authority>> {
        let names = self.risk_phrases(&caller.workspace).await?.names();
        let nameable = snapshot.nameable();
        let mut issues = policy::validate_with(text, &nameable, meters, Some(&names));
        if issues.is_empty() {
            let authority = Authority::new(text, "0", &snapshot.whole());
            let authority = authority.map_err(|error| invalid(vec![Issue::new("/policies", error.to_string())]))?;
            let facts = self.facts_of(caller.actor.clone(), caller.grants.clone(), None, Vec::new());
            issues = policy::probe(&authority, &nameable, meters, &facts);
            if issues.is_empty() {
                return Ok(Arc::new(authority));
            }
        }
        Err(invalid(issues))
    }

    /// Validates a set, evaluates the verdicts of the last days again under it, and activates it unless it is a dry run.
    #[boxed]
    pub async fn activate_policy(&self, caller: &Caller, request: ActivatePolicy) -> Answer<PolicyActivatedAnswer> {
        caller.require("control-plane.policy.activate")?;
        check_text("/note", request.note.as_deref())?;
        let days = request.backtest_days.unwrap_or(BACKTEST_DAYS_DEFAULT);
        if days > BACKTEST_DAYS_MAX {
            let issue = Issue::new("/backtestDays", format!("at most {BACKTEST_DAYS_MAX}"));
            return Err(Problem::new(Code::ValidationFailed, "too long a window").issue(issue));
        }
        let (once, given) = self.once(caller, "policy.activate", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let workspace = &caller.workspace;
        let now = self.now();
        let snapshot = self.snapshot(workspace).await?;
        let governed = self.governed(workspace).await?;
        let meters = &governed.record.budgets.meters;
        let (phrases, _) = self.stored_phrases(workspace).await?;
        let authority = self.candidate(caller, &request.policies, &snapshot, meters).await?;
        let window = (now.plus_ms(-i64::from(days) * DAY_MS), now.plus_ms(1));
        let tested = self.backtest_with(workspace, &authority, window).await?;
        // What errs on what really happened would block it: no way to find that out in production.
        let erring: BTreeSet<&String> = tested
            .changed
            .iter()
            .filter(|change| change.reasons.iter().any(|reason| reason == "policy_error"))
            .flat_map(|change| change.reasons.last())
            .collect();
        if !erring.is_empty() {
            let issues = erring.into_iter().map(|error| Issue::coded("POLICY_ERRORS", "/policies", error.clone()));
            return Err(invalid(issues.collect()));
        }
        let digest = authority.digest().clone();
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
        for _ in 0..TRIES_MAX {
            let (version, active) = self.active(workspace).await?;
            if request.dry_run {
                return Ok(answer(version, false));
            }
            if active == digest {
                return Ok(answer(version, true));
            }
            let record = PolicyRecord {
                text: request.policies.clone(),
                digest: digest.clone(),
                activated_at: now,
                actor_id: caller.actor.id.clone(),
                note: request.note.clone(),
            };
            let response = answer(version + 1, true);
            let write = Write::Put {
                key: keys::policy_active(workspace),
                item: bodies::item(version + 1, &ActivePolicy { digest: digest.clone() })?,
                condition: Condition::VersionIs(version),
            };
            let (governance, unchanged) = Self::governance_check(&governed);
            let mut writes = vec![
                write,
                self.put_body(keys::policy(workspace, &digest), &record).await?,
                // It was validated against these meters and these phrases.
                Write::Check { key: governance, condition: unchanged },
                Write::Check {
                    key: keys::risk_phrases(workspace),
                    condition: if phrases == 0 { Condition::NotExists } else { Condition::VersionIs(phrases) },
                },
            ];
            writes.extend(self.once_write(once.as_ref(), &response).await?);
            let event = Event::PolicyActivated(PolicyActivated {
                key: "policy".into(),
                version: response.policy_version.clone(),
                digest: digest.clone(),
                at: now,
                actor_id: caller.actor.id.clone(),
            });
            if self.journal(caller, vec![event], writes, false).await? {
                self.wake_waiting(workspace).await;
                return Ok(response);
            }
        }
        Err(crate::busy())
    }

    /// What would have been another under a set, within a window.
    #[boxed]
    pub async fn backtest(&self, caller: &Caller, request: BacktestPolicy) -> Answer<Backtest> {
        caller.require_whole("control-plane.audit")?;
        let span = request.to.ms() - request.from.ms();
        if !(0..=i64::from(BACKTEST_DAYS_MAX) * DAY_MS).contains(&span) {
            let issue = Issue::new("/from", format!("before `to`, at most {BACKTEST_DAYS_MAX} days"));
            return Err(Problem::new(Code::ValidationFailed, "the window is not valid").issue(issue));
        }
        let snapshot = self.snapshot(&caller.workspace).await?;
        let meters = self.governed(&caller.workspace).await?.record.budgets.meters;
        let authority = self.candidate(caller, &request.policies, &snapshot, &meters).await?;
        self.backtest_with(&caller.workspace, &authority, (request.from, request.to)).await
    }

    async fn backtest_with(
        &self,
        workspace: &WorkspaceId,
        candidate: &Authority,
        (from, to): (Timestamp, Timestamp),
    ) -> Answer<Backtest> {
        let until = self.now().plus_ms(BACKTEST_MS_MAX);
        let mut found = Backtest { evaluated: 0, changed: Vec::new(), truncated: false };
        let mut day = from.ms().div_euclid(DAY_MS) * DAY_MS;
        while day < to.ms() {
            for shard in 0..keys::LIST_SHARDS {
                let mut next = Some(Query {
                    partition: keys::list_partition(workspace, &Timestamp::from_ms(day).day(), shard),
                    from: keys::list_sort(from, ""),
                    to: keys::list_sort(to, ""),
                    limit: PAGE,
                    reverse: false,
                });
                while let Some(query) = next {
                    let items = self.ports.table.query(&query).await?;
                    for (key, _) in &items {
                        let id = key.sort.split_once('#').and_then(|(_, id)| id.parse::<ExecutionId>().ok());
                        let Some(id) = id else { continue };
                        if self.now() >= until || found.changed.len() >= BACKTEST_CHANGES_MAX {
                            found.truncated = true;
                            found.changed.truncate(BACKTEST_CHANGES_MAX);
                            return Ok(found);
                        }
                        if let Some((plan, past)) = self.past(workspace, &id).await? {
                            found.evaluated += past.steps.iter().filter(|step| step.purpose.is_run()).count() as u64;
                            found.changed.extend(policy::changes(&id, plan.plan(), &past, candidate));
                        }
                    }
                    next = query.behind(&items);
                }
            }
            day += DAY_MS;
        }
        found.changed.truncate(BACKTEST_CHANGES_MAX);
        Ok(found)
    }

    // The plan and the verdict of an execution; nothing if it was not verified.
    async fn past(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Option<(Arc<Compiled>, Past)>> {
        let key = keys::head(workspace, id);
        let Some(item) = self.ports.table.get(&key).await? else {
            return Ok(None);
        };
        let head: HeadRecord = bodies::decode(&key, &item.body)?;
        let (Some(facts), Some(ruling)) = (&head.execution.plan_facts, &head.execution.ruling) else {
            return Ok(None);
        };
        let plan = self.plan(workspace, id, &facts.digest).await?;
        let past: Option<Past> = self.get_body(&keys::verdict(workspace, id, &ruling.verdict_digest)).await?;
        Ok(past.map(|past| (plan, past)))
    }

    /// The active policy set and those before it.
    #[boxed]
    pub async fn policy_sets(&self, caller: &Caller, _: Look) -> Answer<PolicySets> {
        caller.require_whole("control-plane.audit")?;
        let workspace = &caller.workspace;
        let (version, digest) = self.active(workspace).await?;
        let active = self.policy_set(workspace, &digest).await?;
        let (partition, prefix) = keys::policies(workspace);
        let mut history: Vec<(Timestamp, Digest)> = Vec::new();
        for (key, item) in self.ports.table.query(&Query::prefix(partition, prefix, HISTORY_MAX)).await? {
            let record: PolicyRecord = self.body_of(&key, &item).await?;
            history.push((record.activated_at, record.digest));
        }
        history.sort();
        let governance = self.governed(workspace).await?.record;
        let snapshot = self.snapshot(workspace).await?;
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
        let workspace = &caller.workspace;
        let mut extra = Vec::new();
        let mut digest = None;
        if let Some(text) = &request.policies {
            let snapshot = self.snapshot(workspace).await?;
            let meters = self.governed(workspace).await?.record.budgets.meters;
            let authority = self.candidate(caller, text, &snapshot, &meters).await?;
            let record = PolicyRecord {
                text: text.clone(),
                digest: authority.digest().clone(),
                activated_at: self.now(),
                actor_id: caller.actor.id.clone(),
                note: request.note.clone(),
            };
            extra.push(self.put_body(keys::candidate(workspace, &record.digest), &record).await?);
            digest = Some(record.digest);
        }
        let change = |record: &mut crate::Governance| {
            record.shadow.clone_from(&digest);
            Ok(())
        };
        self.govern(caller, "shadow", request.note.clone(), &extra, change).await?;
        self.shadow(caller, Look {}).await
    }

    /// What the candidate would have changed.
    #[boxed]
    pub async fn shadow(&self, caller: &Caller, _: Look) -> Answer<Shadow> {
        let looks = caller.require_whole("control-plane.audit");
        looks.or_else(|_| caller.require("control-plane.policy.activate"))?;
        let Some(digest) = self.governed(&caller.workspace).await?.record.shadow else {
            return Ok(Shadow::default());
        };
        let partition = keys::shadow_partition(&caller.workspace, &digest);
        let query = Query { reverse: true, ..Query::prefix(partition, "", SHADOW_LISTED_MAX) };
        let mut changed = Vec::new();
        for (key, item) in self.ports.table.query(&query).await? {
            let record: ShadowRecord = self.body_of(&key, &item).await?;
            changed.extend(record.changes.into_iter().map(|change| ShadowChange { at: record.at, change }));
        }
        changed.truncate(SHADOW_LISTED_MAX);
        Ok(Shadow { digest: Some(digest), changed })
    }

    /// What the candidate, if there is one, says otherwise of a verdict: a write that records it. A candidate that cannot
    /// be evaluated keeps nobody from anything.
    pub(crate) async fn shadow_write(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        candidate: Option<&Digest>,
        plan: &Compiled,
        verdict: &PlanVerdict,
        registry: &Registry,
    ) -> Result<Option<Write>, Fault> {
        let Some(digest) = candidate else {
            return Ok(None);
        };
        let record: Option<PolicyRecord> = self.get_body(&keys::candidate(workspace, digest)).await?;
        let authority = record.and_then(|record| Authority::new(&record.text, "shadow", registry).ok());
        let Some(authority) = authority.filter(|authority| authority.digest() == digest) else {
            tracing::warn!(workspace_id = %workspace, "the candidate policy set cannot be evaluated");
            return Ok(None);
        };
        let changes = policy::changes(id, plan.plan(), &Past::from(verdict), &authority);
        if changes.is_empty() {
            return Ok(None);
        }
        let at = self.now();
        let mut write = self.put_body(keys::shadow(workspace, digest, at, id), &ShadowRecord { at, changes }).await?;
        if let Write::Put { item, .. } = &mut write {
            item.expires_at = Some(at.ms() / 1_000 + SHADOW_SECONDS);
        }
        Ok(Some(write))
    }
}
