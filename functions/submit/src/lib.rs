//! Submit: receives intents.

use edge::{Routes, serve};

/// Its routes.
pub fn routes() -> Routes {
    serve(
        Routes::new(),
        "intent.submit",
        |engine, caller, request| async move { engine.submit(&caller, request).await },
    )
}
