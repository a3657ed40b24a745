//! Approve: decisions of people.

use edge::{Routes, serve};

/// Its routes.
pub fn routes() -> Routes {
    let routes = serve(Routes::new(), "execution.approve", |engine, caller, request| async move {
        engine.approve(&caller, request).await
    });
    serve(routes, "execution.reject", |engine, caller, request| async move { engine.reject(&caller, request).await })
}
