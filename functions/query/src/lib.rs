//! Query: everything that only looks.

use contracts::{
    endpoint::{self, named},
    query::GetCapabilities,
};
use edge::Routes;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("execution.get") }, |engine, caller, request| async move {
            engine.queries.get(&caller, request).await
        })
        .serve(const { named("execution.list") }, |engine, caller, request| async move {
            engine.queries.list(&caller, request).await
        })
        .serve(const { named("execution.output") }, |engine, caller, request| async move {
            engine.queries.execution_output(&caller, request).await
        })
        .serve(const { named("approval.list") }, |engine, caller, request| async move {
            engine.queries.inbox(&caller, request).await
        })
        .serve(const { named("approval.get") }, |engine, caller, request| async move {
            engine.queries.approval(&caller, request).await
        })
        .serve(const { named("trace.get") }, |engine, caller, request| async move {
            engine.queries.trace(&caller, request).await
        })
        .serve(const { named("workspace.log") }, |engine, caller, request| async move {
            engine.queries.workspace_log(&caller, request).await
        })
        .serve(const { named("evidence.checkpoint") }, |engine, caller, request| async move {
            engine.transparency.checkpoint(&caller, request).await
        })
        .serve(const { named("evidence.proof") }, |engine, caller, request| async move {
            engine.transparency.proof(&caller, request).await
        })
        .serve(const { named("trace.replay") }, |engine, caller, request| async move {
            engine.replays.replay(&caller, request).await
        })
        .serve(const { named("policy.explain") }, |engine, caller, request| async move {
            engine.queries.explain(&caller, request).await
        })
        .serve(const { named("mandate.list") }, |engine, caller, request| async move {
            engine.mandates.list(&caller, request).await
        })
        .serve(const { named("skill.list") }, |engine, caller, request| async move {
            engine.skills.list_skills(&caller, request).await
        })
        .serve(const { named("policy.get") }, |engine, caller, request| async move {
            engine.policies.policy_sets(&caller, request).await
        })
        .serve(const { named("policy.shadow.get") }, |engine, caller, request| async move {
            engine.policies.shadow(&caller, request).await
        })
        .serve(const { named("deciders.get") }, |engine, caller, request| async move {
            engine.access.deciders(&caller, request).await
        })
        .serve(const { named("trust.get") }, |engine, caller, request| async move {
            engine.trust.trust(&caller, request).await
        })
        .serve(const { named("freeze.list") }, |engine, caller, request| async move {
            engine.limits.freezes(&caller, request).await
        })
        .serve(const { named("budget.get") }, |engine, caller, request| async move {
            engine.limits.budgets(&caller, request).await
        })
        .serve(const { named("signals.get") }, |engine, caller, request| async move {
            engine.policies.signals(&caller, request).await
        })
        .serve(const { named("capabilities") }, |engine, _, _: GetCapabilities| async move {
            Ok(endpoint::capabilities(&engine.config().capabilities))
        })
}
