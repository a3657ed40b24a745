//! What is due again: run on a schedule, and in one process whenever something is.

use crate::{Deliverer, lane::Lane};
use async_recursion::async_recursion as boxed;
use contracts::{Timestamp, WorkspaceId};
use countersign_store::{PortError, Query, keys};
use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FuturesUnordered,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
};

/// Items of one shard that are read at once, and how often.
const PAGE: usize = 500;
const PAGES_MAX: usize = 10;
/// Targets that are served at once.
const LANES_MAX: usize = 64;
/// While targets are served, others are looked for so often, in milliseconds.
const LOOK_MS: u64 = 500;

/// A target of a workspace.
type Owner = (WorkspaceId, String);

/// What was done of what was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Targets that were served, each as often as it was.
    pub lanes: u64,
    /// Those whose cursors could not be read or written.
    pub failed: u64,
}

impl Deliverer {
    /// Does what is due for at most about `budget_ms`, each target beside the others.
    #[boxed]
    pub async fn due(&self, budget_ms: i64) -> Result<Due, PortError> {
        let until = self.engine.now().plus_ms(budget_ms);
        let mut found = Due::default();
        let mut running: BTreeSet<Owner> = BTreeSet::new();
        // One that cannot be served is left for the next time.
        let mut failed: BTreeSet<Owner> = BTreeSet::new();
        let mut lanes = FuturesUnordered::new();
        loop {
            if self.engine.now() < until {
                let skip = running.union(&failed).cloned().collect();
                for lane in self.due_lanes(&skip).await? {
                    if lanes.len() >= LANES_MAX {
                        break;
                    }
                    running.insert((lane.workspace.clone(), lane.target.clone()));
                    found.lanes += 1;
                    lanes.push(async move { (self.run_lane(&lane, until).await, lane) });
                }
            }
            let ended = {
                let looks = pin!(self.engine.ports().clock.sleep(LOOK_MS));
                match select(lanes.next(), looks).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(_) => continue,
                }
            };
            let Some((outcome, lane)) = ended else { return Ok(found) };
            let owner = (lane.workspace, lane.target);
            running.remove(&owner);
            if let Err(fault) = outcome {
                tracing::warn!(workspace_id = %owner.0, %fault, "deliveries wait");
                found.failed += 1;
                failed.insert(owner);
            }
        }
    }

    /// When the next delivery is due; none: nothing waits.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, PortError> {
        let mut next: Option<Timestamp> = None;
        for shard in 0..keys::WORK_SHARDS {
            let first = Query::prefix(keys::due_partition(shard), "", 1);
            let items = self.store().query(&first).await?;
            let at = items.first().and_then(|(key, _)| keys::due_of(&key.sort)).map(|due| due.0);
            next = next.into_iter().chain(at).min();
        }
        Ok(next)
    }

    // By target; those that are skipped hide no other.
    async fn due_lanes(&self, skip: &BTreeSet<Owner>) -> Result<Vec<Lane>, PortError> {
        let mut lanes: BTreeMap<Owner, Lane> = BTreeMap::new();
        for shard in 0..keys::WORK_SHARDS {
            let mut next = Some(Query {
                partition: keys::due_partition(shard),
                from: String::new(),
                to: format!("{}~", keys::due_sort(self.engine.now())),
                limit: PAGE,
                reverse: false,
            });
            for _ in 0..PAGES_MAX {
                let Some(query) = next else { break };
                let items = self.store().query(&query).await?;
                for (at, workspace, target, stream) in
                    items.iter().filter_map(|(key, _)| keys::due_of(&key.sort))
                {
                    let owner = (workspace, target);
                    if skip.contains(&owner) {
                        continue;
                    }
                    let lane = lanes.entry(owner).or_insert_with_key(|(workspace, target)| Lane {
                        workspace: workspace.clone(),
                        target: target.clone(),
                        look: Vec::new(),
                        streams: Vec::new(),
                    });
                    match stream {
                        Some(stream) => lane.streams.push((at, stream)),
                        None => lane.look.push(at),
                    }
                }
                next = query.behind(&items);
            }
        }
        Ok(lanes.into_values().collect())
    }
}
