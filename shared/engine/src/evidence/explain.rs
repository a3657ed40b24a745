//! controlPlane.policy.explain: why a plan, or a draft, is judged as it is.

use crate::{
    Answer, Caller, Queries, boxed,
    intents::{
        compile::check_draft,
        verify::{step_answer, verdict_digest},
    },
    records::PolicyRecord,
};
use contracts::{
    Code, Issue, Problem,
    draft::Draft,
    query::{ExplainPolicy, Explanation, StepExplanation},
    verdict::Verdict,
};
use countersign_store::keys;
use cs_core::{
    plan::{self, CompileError},
    skill::Registry,
};
use policy::{CompiledPolicySet, PlanVerdict};

impl Queries {
    /// Why a stored plan or step was judged as it was, or how a hypothetical draft would be.
    #[boxed]
    pub async fn explain(&self, caller: &Caller, request: ExplainPolicy) -> Answer<Explanation> {
        caller.require("control-plane.audit")?;
        let mut verdict = self.verdict_to_explain(caller, &request).await?;
        let verdict_digest = verdict_digest(&verdict)?;
        if let Some(step) = &request.step_id {
            verdict.steps.retain(|judged| judged.step_id == *step);
            let Some(judged) = verdict.steps.first() else {
                return Err(Problem::new(Code::NotFound, format!("the plan has no step `{step}`")));
            };
            (verdict.verdict, verdict.risk_tier) = (judged.verdict, judged.risk_tier);
        }
        let worst = |step: &&policy::StepVerdict| {
            step.verdict == verdict.verdict && verdict.verdict != Verdict::Autonomous
        };
        let mut reasons: Vec<String> =
            verdict.steps.iter().filter(worst).flat_map(|step| step.reasons.clone()).collect();
        reasons.sort();
        reasons.dedup();
        // What a policy says of itself stands in the set that decided, active or not.
        let key = keys::policy(&caller.workspace, &verdict.policy_digest);
        let record: Option<PolicyRecord> = self.base.store.body(&key).await?;
        let set = record
            .and_then(|record| CompiledPolicySet::new(&record.text, "", &Registry::default()).ok());
        let described = |names: &[String]| {
            let set = set.as_ref();
            names.iter().filter_map(|name| set?.describe(name).cloned()).collect()
        };
        let steps = verdict.steps.into_iter().map(|step| StepExplanation {
            verdict: step_answer(&step),
            policies: described(&step.determining),
            errors: step.errors,
            request: step.request,
        });
        Ok(Explanation {
            verdict: verdict.verdict.into(),
            risk_tier: verdict.risk_tier.into(),
            verdict_digest,
            reasons,
            policy_version: verdict.policy_version,
            policy_digest: verdict.policy_digest,
            steps: steps.collect(),
        })
    }

    async fn verdict_to_explain(
        &self,
        caller: &Caller,
        request: &ExplainPolicy,
    ) -> Answer<PlanVerdict> {
        match (&request.execution_id, &request.draft) {
            (Some(id), None) => {
                let loaded = self.updates.load_for(caller, id).await?;
                let stored = match &request.verdict_digest {
                    Some(digest) => self.views.verdict_of(&loaded.state, digest).await?,
                    None => self.views.stored_verdict(&loaded.state).await?,
                };
                stored.ok_or_else(|| Problem::new(Code::Conflict, "the plan has not been verified"))
            }
            (None, Some(draft)) => {
                self.judge_draft(caller, draft, request.text.as_deref().unwrap_or_default()).await
            }
            (Some(_), Some(_)) | (None, None) => {
                let issue = Issue::new("", "either `executionId` (and `stepId`) or `draft`");
                Err(Problem::new(Code::ValidationFailed, "nothing to explain").issue(issue))
            }
        }
    }

    // As if it was submitted: policies see it without its sensitive values.
    async fn judge_draft(&self, caller: &Caller, draft: &Draft, text: &str) -> Answer<PlanVerdict> {
        check_draft(draft)?;
        let workspace = &caller.workspace;
        let snapshot = self.in_force.snapshot(workspace).await?;
        let draft = self.plans.seal_draft(workspace, plan::parse(draft)).await?;
        let compiled = match plan::compile_parsed(draft.parsed(), &snapshot.registry) {
            Ok(compiled) => compiled,
            Err(CompileError::Diagnostics(issues)) => {
                let message = "the draft is not a plan";
                return Err(Problem::new(Code::ValidationFailed, message).issues(issues));
            }
            Err(CompileError::NotCanonical(error)) => return Err(crate::not_canonical(error)),
        };
        let authority = self.in_force.authority(workspace, &snapshot).await?;
        let plan = compiled.plan();
        let signals = self.verdicts.find_signals(workspace, text, None, Some(plan)).await?;
        let (actor, grants) = (caller.actor.clone(), caller.grants.clone());
        let mut facts = self.verdicts.facts_of(actor, grants, None, signals);
        let governed = self.in_force.governed(workspace).await?;
        self.verdicts.add_usage(workspace, &governed.record, plan, &mut facts).await?;
        Ok(policy::judge(plan, compiled.digest(), &facts, &authority))
    }
}
