//! Skill: governance. What may be installed, decided, touched, and what is frozen; evidence that
//! is taken away, which the workspace log records.

use contracts::endpoint::{named, page};
use edge::Routes;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("skill.install") }, |engine, caller, request| async move {
            engine.skills.install_skill(&caller, request).await
        })
        .serve(const { named("skill.verify") }, |engine, caller, request| async move {
            engine.skills.verify_skill(&caller, request).await
        })
        .serve(const { named("skill.disable") }, |engine, caller, request| async move {
            engine.skills.disable_skill(&caller, request).await
        })
        .serve(const { named("skill.enable") }, |engine, caller, request| async move {
            engine.skills.enable_skill(&caller, request).await
        })
        .serve(const { named("deciders.set") }, |engine, caller, request| async move {
            engine.access.set_deciders(&caller, request).await
        })
        .serve(const { named("trust.set") }, |engine, caller, request| async move {
            engine.trust.set_trust(&caller, request).await
        })
        .serve(const { named("freeze.set") }, |engine, caller, request| async move {
            engine.limits.set_freeze(&caller, request).await
        })
        .serve(const { named("budget.set") }, |engine, caller, request| async move {
            engine.limits.set_budgets(&caller, request).await
        })
        .serve(const { named("signals.set") }, |engine, caller, request| async move {
            engine.policies.set_signals(&caller, request).await
        })
        .serve(const { named("policy.backtest") }, |engine, caller, request| async move {
            engine.policies.backtest(&caller, request).await
        })
        .serve(const { named("policy.activate") }, |engine, caller, request| async move {
            engine.policies.activate_policy(&caller, request).await
        })
        .serve(const { named("policy.shadow") }, |engine, caller, request| async move {
            engine.policies.set_shadow(&caller, request).await
        })
        .serve(const { named("execution.evidence.export") }, |engine, caller, request| async move {
            engine.bundles.export(&caller, request).await
        })
        .act(
            const { named("console.freeze") },
            const { page("console.freezes") },
            |engine, caller, request| async move {
                engine.limits.set_freeze(&caller, request).await
            },
        )
        .act(
            const { named("console.skill.disable") },
            const { page("console.skills") },
            |engine, caller, request| async move {
                engine.skills.disable_skill(&caller, request).await
            },
        )
        .act(
            const { named("console.skill.enable") },
            const { page("console.skills") },
            |engine, caller, request| async move {
                engine.skills.enable_skill(&caller, request).await
            },
        )
}
