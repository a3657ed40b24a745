//! Skill: the registry.

use edge::{Routes, serve};

/// Its routes.
pub fn routes() -> Routes {
    let routes = serve(Routes::new(), "skill.install", |engine, caller, request| async move {
        engine.install_skill(&caller, request).await
    });
    serve(
        routes,
        "skill.disable",
        |engine, caller, request| async move { engine.disable_skill(&caller, request).await },
    )
}
