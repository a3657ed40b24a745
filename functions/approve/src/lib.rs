//! Approve: decisions of people.

mod edit;
mod link;
mod several;

use contracts::endpoint::{named, page};
use edge::Routes;

/// Its routes.
pub fn routes() -> Routes {
    link::routes()
        .merge(several::routes())
        .serve(const { named("execution.approve") }, |engine, caller, request| async move {
            engine.approvals.approve(&caller, request).await
        })
        .serve(const { named("execution.reject") }, |engine, caller, request| async move {
            engine.approvals.reject(&caller, request).await
        })
        .serve(const { named("approval.vote") }, |engine, caller, request| async move {
            engine.approvals.vote(&caller, request).await
        })
        .serve(const { named("approval.withdraw") }, |engine, caller, request| async move {
            engine.approvals.withdraw(&caller, request).await
        })
        .serve(const { named("approval.comment") }, |engine, caller, request| async move {
            engine.approvals.comment(&caller, request).await
        })
        .serve(const { named("approval.override") }, |engine, caller, request| async move {
            engine.approvals.override_request(&caller, request).await
        })
        .serve(const { named("approval.edit") }, |engine, caller, request| async move {
            engine.approvals.edit(&caller, request).await
        })
        .serve(const { named("approval.review") }, |engine, caller, request| async move {
            engine.approvals.review(&caller, request).await
        })
        .act(
            const { named("console.approve") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.approvals.approve(&caller, request).await
            },
        )
        .act(
            const { named("console.reject") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.approvals.reject(&caller, request).await
            },
        )
        .act(
            const { named("console.withdraw") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.approvals.withdraw(&caller, request).await
            },
        )
        .form(const { named("console.edit") }, edit::edit)
        .act(
            const { named("console.comment") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.approvals.comment(&caller, request).await
            },
        )
        .act(
            const { named("console.override") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.approvals.override_request(&caller, request).await
            },
        )
        .act(
            const { named("console.review") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.approvals.review(&caller, request).await
            },
        )
}
