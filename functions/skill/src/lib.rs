//! Skill: governance. What may be installed, decided, touched, and what is frozen.

use edge::{Routes, serve};

/// Its routes.
pub fn routes() -> Routes {
    let routes = serve(Routes::new(), "skill.install", |engine, caller, request| async move {
        engine.install_skill(&caller, request).await
    });
    let routes = serve(routes, "skill.verify", |engine, caller, request| async move {
        engine.verify_skill(&caller, request).await
    });
    let routes = serve(routes, "skill.disable", |engine, caller, request| async move {
        engine.disable_skill(&caller, request).await
    });
    let routes = serve(routes, "skill.enable", |engine, caller, request| async move {
        engine.enable_skill(&caller, request).await
    });
    let routes = serve(routes, "deciders.set", |engine, caller, request| async move {
        engine.set_deciders(&caller, request).await
    });
    let routes =
        serve(routes, "trust.set", |engine, caller, request| async move { engine.set_trust(&caller, request).await });
    let routes =
        serve(
            routes,
            "freeze.set",
            |engine, caller, request| async move { engine.set_freeze(&caller, request).await },
        );
    let routes =
        serve(
            routes,
            "budget.set",
            |engine, caller, request| async move { engine.set_budgets(&caller, request).await },
        );
    let routes =
        serve(
            routes,
            "signals.set",
            |engine, caller, request| async move { engine.set_signals(&caller, request).await },
        );
    // Beside its commands: it validates policies, as no other function does.
    let routes =
        serve(
            routes,
            "policy.backtest",
            |engine, caller, request| async move { engine.backtest(&caller, request).await },
        );
    let routes = serve(routes, "policy.activate", |engine, caller, request| async move {
        engine.activate_policy(&caller, request).await
    });
    serve(routes, "policy.shadow", |engine, caller, request| async move { engine.set_shadow(&caller, request).await })
}
