//! Query: everything that only looks.

use contracts::{query::GetCapabilities, route};
use edge::{Routes, serve};

/// Its routes.
pub fn routes() -> Routes {
    let routes =
        serve(
            Routes::new(),
            "execution.get",
            |engine, caller, request| async move { engine.get(&caller, request).await },
        );
    let routes =
        serve(routes, "execution.list", |engine, caller, request| async move { engine.list(&caller, request).await });
    let routes =
        serve(routes, "trace.get", |engine, caller, request| async move { engine.trace(&caller, request).await });
    let routes = serve(routes, "workspace.log", |engine, caller, request| async move {
        engine.workspace_log(&caller, request).await
    });
    let routes =
        serve(routes, "trace.replay", |engine, caller, request| async move { engine.replay(&caller, request).await });
    let routes =
        serve(
            routes,
            "policy.explain",
            |engine, caller, request| async move { engine.explain(&caller, request).await },
        );
    let routes =
        serve(
            routes,
            "skill.list",
            |engine, caller, request| async move { engine.list_skills(&caller, request).await },
        );
    let routes =
        serve(
            routes,
            "policy.get",
            |engine, caller, request| async move { engine.policy_sets(&caller, request).await },
        );
    let routes =
        serve(
            routes,
            "policy.shadow.get",
            |engine, caller, request| async move { engine.shadow(&caller, request).await },
        );
    let routes =
        serve(
            routes,
            "deciders.get",
            |engine, caller, request| async move { engine.deciders(&caller, request).await },
        );
    let routes =
        serve(routes, "trust.get", |engine, caller, request| async move { engine.trust(&caller, request).await });
    let routes =
        serve(routes, "freeze.list", |engine, caller, request| async move { engine.freezes(&caller, request).await });
    let routes =
        serve(routes, "budget.get", |engine, caller, request| async move { engine.budgets(&caller, request).await });
    let routes =
        serve(routes, "signals.get", |engine, caller, request| async move { engine.signals(&caller, request).await });
    serve(routes, "capabilities", |engine, _, _: GetCapabilities| async move {
        Ok(route::capabilities(&engine.config().capabilities))
    })
}
