//! Approve: decisions of people.

use contracts::endpoint::named;
use edge::Routes;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("execution.approve") }, |engine, caller, request| async move {
            engine.approve(&caller, request).await
        })
        .serve(const { named("execution.reject") }, |engine, caller, request| async move {
            engine.reject(&caller, request).await
        })
}
