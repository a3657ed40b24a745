//! Every execution of a time, whatever the longest window of one listing is.

use super::Listed;
use client::{Client, ClientError};
use contracts::{Timestamp, limits::PAGE_ITEMS_MAX, operation as op, query::ListExecutions};

/// Days that one listing looks at: where there is nothing, it looks at each of them.
const WINDOW_DAYS: i64 = 100;
const DAY_MS: i64 = 86_400_000;

/// The executions that were submitted from `since` on, before `until`; the newest first.
pub async fn list(
    client: &Client,
    (since, until): (Timestamp, Timestamp),
    mut listed: impl FnMut(usize),
) -> Result<Vec<Listed>, ClientError> {
    let mut found = Vec::new();
    let mut upper = until;
    while upper > since {
        let lower = upper.plus_ms(-WINDOW_DAYS * DAY_MS).max(since);
        let mut request = ListExecutions {
            created_after: Some(lower),
            created_before: Some(upper),
            limit: u32::try_from(PAGE_ITEMS_MAX).ok(),
            ..ListExecutions::default()
        };
        loop {
            let page = client.call(&op::EXECUTION_LIST, &request).await?.into_inner();
            let items = page.items.into_iter();
            found.extend(
                items.map(|item| Listed { id: item.execution_id, updated_at: item.updated_at }),
            );
            listed(found.len());
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => break,
            }
        }
        upper = lower;
    }
    Ok(found)
}
