//! Submit: receives intents.

use contracts::endpoint::named;
use edge::Routes;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().serve(const { named("intent.submit") }, |engine, caller, request| async move {
        engine.intents.submit(&caller, request).await
    })
}
