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
            engine.get(&caller, request).await
        })
        .serve(const { named("execution.list") }, |engine, caller, request| async move {
            engine.list(&caller, request).await
        })
        .serve(const { named("execution.output") }, |engine, caller, request| async move {
            engine.execution_output(&caller, request).await
        })
        .serve(
            const { named("trace.get") },
            |engine, caller, request| async move { engine.trace(&caller, request).await },
        )
        .serve(const { named("workspace.log") }, |engine, caller, request| async move {
            engine.workspace_log(&caller, request).await
        })
        .serve(const { named("trace.replay") }, |engine, caller, request| async move {
            engine.replay(&caller, request).await
        })
        .serve(const { named("policy.explain") }, |engine, caller, request| async move {
            engine.explain(&caller, request).await
        })
        .serve(const { named("skill.list") }, |engine, caller, request| async move {
            engine.list_skills(&caller, request).await
        })
        .serve(const { named("policy.get") }, |engine, caller, request| async move {
            engine.policy_sets(&caller, request).await
        })
        .serve(const { named("policy.shadow.get") }, |engine, caller, request| async move {
            engine.shadow(&caller, request).await
        })
        .serve(const { named("deciders.get") }, |engine, caller, request| async move {
            engine.deciders(&caller, request).await
        })
        .serve(
            const { named("trust.get") },
            |engine, caller, request| async move { engine.trust(&caller, request).await },
        )
        .serve(const { named("freeze.list") }, |engine, caller, request| async move {
            engine.freezes(&caller, request).await
        })
        .serve(const { named("budget.get") }, |engine, caller, request| async move {
            engine.budgets(&caller, request).await
        })
        .serve(const { named("signals.get") }, |engine, caller, request| async move {
            engine.signals(&caller, request).await
        })
        .serve(const { named("capabilities") }, |engine, _, _: GetCapabilities| async move {
            Ok(endpoint::capabilities(&engine.config().capabilities))
        })
}
