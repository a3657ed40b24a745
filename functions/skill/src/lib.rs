//! Skill: governance. What may be installed, decided, touched, and what is frozen.

use contracts::endpoint::named;
use edge::Routes;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("skill.install") }, |engine, caller, request| async move {
            engine.install_skill(&caller, request).await
        })
        .serve(const { named("skill.verify") }, |engine, caller, request| async move {
            engine.verify_skill(&caller, request).await
        })
        .serve(const { named("skill.disable") }, |engine, caller, request| async move {
            engine.disable_skill(&caller, request).await
        })
        .serve(const { named("skill.enable") }, |engine, caller, request| async move {
            engine.enable_skill(&caller, request).await
        })
        .serve(const { named("deciders.set") }, |engine, caller, request| async move {
            engine.set_deciders(&caller, request).await
        })
        .serve(const { named("trust.set") }, |engine, caller, request| async move {
            engine.set_trust(&caller, request).await
        })
        .serve(const { named("freeze.set") }, |engine, caller, request| async move {
            engine.set_freeze(&caller, request).await
        })
        .serve(const { named("budget.set") }, |engine, caller, request| async move {
            engine.set_budgets(&caller, request).await
        })
        .serve(const { named("signals.set") }, |engine, caller, request| async move {
            engine.set_signals(&caller, request).await
        })
        .serve(const { named("policy.backtest") }, |engine, caller, request| async move {
            engine.backtest(&caller, request).await
        })
        .serve(const { named("policy.activate") }, |engine, caller, request| async move {
            engine.activate_policy(&caller, request).await
        })
        .serve(const { named("policy.shadow") }, |engine, caller, request| async move {
            engine.set_shadow(&caller, request).await
        })
}
