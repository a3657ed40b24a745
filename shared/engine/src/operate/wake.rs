//! Waiting and waking. Liveness rests on time, never on a handle: a state machine that waits leaves
//! its token in the head with the moment until which it waits; whoever commits what it waits for
//! takes the token out and signals it; a signal that nobody hears starts the next machine; and
//! `sweep` starts one when the moment has passed.
//!
//! Steps held by a freeze, a disabled skill or a meter wait for their workspace: such executions
//! are listed, and a change wakes the listed ones instead of each of them looking every minute.

use crate::{
    Answer, Base,
    decide::update::committed,
    drive_name,
    ports::Signalled,
    records::{WaitingRecord, WakingRecord},
};
use contracts::{ExecutionId, Timestamp, WorkspaceId};
use countersign_store::{
    Commit, Condition, HeadRecord, Item, Key, Lease, Loaded, PortError, Query, RegisteredWait,
    Write, keys, system,
};
use cs_core::{
    execution::{Execution, Status},
    trace::Stamp,
};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;

/// Listed executions that a change wakes before it answers, and of a page of the list; `sweep`
/// wakes the rest.
const WAKES_MAX: usize = 50;
/// Pages of the list that a change looks at before it answers.
const PAGES_MAX: usize = 20;
/// Of those at once.
const WAKES_AT_ONCE: usize = 10;
/// An execution stays listed for so long at most, in seconds: two days. What waits looks again far
/// sooner.
const LISTED_SECONDS: i64 = 2 * 86_400;

/// A state machine that wants to wait.
#[derive(Clone, Copy, Debug)]
pub struct WaitRequest<'t> {
    pub token: &'t str,
    /// Version of the execution that the wait was decided on.
    pub seen: u64,
    /// How long the machine waits at most.
    pub seconds: i64,
}

/// What was true before a command: who waited, and whether a machine drove the execution at all.
pub(crate) struct Before {
    wait: Option<RegisteredWait>,
    status: Status,
}

impl Before {
    /// Takes the registered wait out of what will be committed, so that each token is signalled
    /// once.
    pub(crate) fn of(loaded: &mut Loaded) -> Self {
        Self { wait: loaded.wait.take(), status: loaded.state.status }
    }

    /// The command reopens an execution that had ended.
    pub(crate) fn reopened(&self, after: &Execution) -> bool {
        self.status.ended() && !after.status.ended()
    }
}

/// What became of a page of the list.
struct WokenPage {
    woken: usize,
    is_last: bool,
}

/// Names the machine that goes on where an earlier one was lost.
fn next_name(id: &ExecutionId, version: u64) -> String {
    format!("{id}-v{version}")
}

/// Wakes what waits.
pub struct Waker {
    pub(crate) base: Arc<Base>,
}

impl Waker {
    /// Registers the token of a state machine that waits. If anything was committed since the wait
    /// was decided on, or what is held was woken, ends it at once, so that no signal is lost.
    pub async fn register_wait(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        wait: WaitRequest<'_>,
    ) -> Answer<()> {
        let mut loaded = self.base.store.load(workspace, id).await?;
        if loaded.version == wait.seen {
            let now = self.base.now();
            let wait_until = now.plus_ms(wait.seconds.max(1) * 1_000);
            loaded.wait = Some(RegisteredWait { token: wait.token.to_owned(), wait_until });
            let state = loaded.state.clone();
            // Who wakes takes the execution off the list: a wake after the last look is seen here,
            // whatever became of its signal.
            let listed = state.waits_for_workspace(now).then(|| Write::Check {
                key: keys::waiting(workspace, id),
                condition: Condition::Exists,
            });
            let commit = Commit {
                extra: listed.into_iter().collect(),
                ..Commit::new(state, Vec::new(), Stamp::new(now, system(), None))
            };
            if committed(self.base.store.commit(&mut loaded, commit).await)? {
                return Ok(());
            }
        }
        // One that is gone already waits no more.
        self.base.ports.orchestrator.succeed(wait.token).await?;
        Ok(())
    }

    /// After the commit of a command: ends the wait of the state machine, or starts the next one. A
    /// failure here loses nothing: `sweep` and restarts drive every open execution again.
    pub(crate) async fn wake(&self, loaded: &Loaded, before: Before) {
        let (workspace, id) = (&loaded.state.workspace, &loaded.state.id);
        let outcome = if before.reopened(&loaded.state) {
            self.base.ports.orchestrator.start(workspace, id, &drive_name(id, loaded.drives)).await
        } else if let Some(wait) = &before.wait {
            self.signal(workspace, id, (wait, loaded.version, loaded.state.status)).await
        } else if before.status.under_way()
            && !loaded.state.idle()
            && !self.leased(loaded.lease.as_ref())
        {
            // Nobody waits and nobody works: the machine looks again within seconds, or there is
            // none any more.
            self.base.ports.orchestrator.start(workspace, id, &next_name(id, loaded.version)).await
        } else {
            Ok(())
        };
        if let Err(fault) = outcome {
            tracing::warn!(
                execution_id = %id, %fault, "the state machine was not signalled; sweep will"
            );
        }
    }

    fn leased(&self, lease: Option<&Lease>) -> bool {
        lease.is_some_and(|lease| lease.expires_at > self.base.now())
    }

    // Signals a wait; where nobody waits any more and the execution goes on, starts the next
    // machine.
    async fn signal(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        (wait, version, status): (&RegisteredWait, u64, Status),
    ) -> Result<(), PortError> {
        match self.base.ports.orchestrator.succeed(&wait.token).await? {
            Signalled::Gone if !status.ended() => {
                tracing::warn!(
                    execution_id = %id,
                    "the state machine that waited is gone; the next one is started"
                );
                self.base.ports.orchestrator.start(workspace, id, &next_name(id, version)).await
            }
            Signalled::Gone | Signalled::Delivered => Ok(()),
        }
    }

    /// Lists an execution whose steps are held by its workspace. Who lists it looks at the
    /// workspace once more after: a change before that look is seen by it, a change after finds the
    /// execution listed.
    pub(crate) async fn list_waiting(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
    ) -> Result<(), PortError> {
        let at = self.base.now();
        // Each listing has a version of its own: who read an earlier one does not take this one
        // away.
        let [a, b, c, d, ..] = self.base.ports.ids.secret();
        let version = u64::from(u32::from_be_bytes([a, b, c, d])) + 1;
        let mut item = countersign_store::item(version, &WaitingRecord { at })?;
        item.expires_at = Some(at.ms() / 1_000 + LISTED_SECONDS);
        let write =
            Write::Put { key: keys::waiting(workspace, id), item, condition: Condition::Any };
        self.change_index(write).await
    }

    /// After a change of what holds steps in a workspace: wakes the executions that wait for it.
    /// Those beyond the first are left to `sweep`. A failure loses nothing: what waits looks again
    /// within the hour.
    pub(crate) async fn wake_waiting(&self, workspace: &WorkspaceId) {
        let mut waking = WakingRecord { at: self.base.now(), from: String::new() };
        let outcome = match self.wake_first(workspace, &mut waking).await {
            Ok(true) => return,
            Ok(false) => self.note_waking(workspace, &waking, Condition::Any).await,
            Err(fault) => {
                tracing::warn!(
                    workspace_id = %workspace, %fault, "held executions were not woken; sweep will"
                );
                self.note_waking(workspace, &waking, Condition::Any).await
            }
        };
        if let Err(fault) = outcome {
            tracing::warn!(
                workspace_id = %workspace, %fault, "held executions look again within the hour"
            );
        }
    }

    // INVARIANT (bounded-work): so many are woken and so many pages are looked at before a command
    // answers. True: all that there are.
    async fn wake_first(
        &self,
        workspace: &WorkspaceId,
        waking: &mut WakingRecord,
    ) -> Result<bool, PortError> {
        let mut woken = 0;
        for _ in 0..PAGES_MAX {
            let page = self.wake_page(workspace, waking).await?;
            woken += page.woken;
            if page.is_last || woken >= WAKES_MAX {
                return Ok(page.is_last);
            }
        }
        Ok(false)
    }

    async fn note_waking(
        &self,
        workspace: &WorkspaceId,
        waking: &WakingRecord,
        condition: Condition,
    ) -> Result<(), PortError> {
        let item = countersign_store::item(self.base.store.fresh_version(), waking)?;
        self.change_index(Write::Put { key: keys::waking(workspace), item, condition }).await
    }

    /// Goes on waking where changes left off.
    pub(crate) async fn go_on_waking(&self, until: Timestamp) -> Result<(), PortError> {
        let marked =
            self.base.store.query(&Query::prefix(keys::WAKING.to_owned(), "", WAKES_MAX)).await?;
        for (key, item) in marked {
            let Ok(workspace) = key.sort.parse::<WorkspaceId>() else {
                continue;
            };
            let mut waking: WakingRecord = countersign_store::decode(&key, &item.body)?;
            // Whoever noted another change meanwhile begins anew.
            let condition = Condition::VersionIs(item.version);
            loop {
                if self.base.now() >= until {
                    return self.note_waking(&workspace, &waking, condition).await;
                }
                if self.wake_page(&workspace, &mut waking).await?.is_last {
                    break;
                }
            }
            self.change_index(Write::Delete { key, condition }).await?;
        }
        Ok(())
    }

    // Wakes those of a page of the list who were listed up to a moment, and goes on behind it.
    async fn wake_page(
        &self,
        workspace: &WorkspaceId,
        waking: &mut WakingRecord,
    ) -> Result<WokenPage, PortError> {
        let from = waking.from.clone();
        let all = Query::prefix(keys::waiting_partition(workspace), "", WAKES_MAX);
        let query = Query { from, ..all };
        let items = self.base.store.query(&query).await?;
        let next = query.behind(&items);
        let mut due = Vec::new();
        for (key, item) in items {
            let listed: WaitingRecord = countersign_store::decode(&key, &item.body)?;
            // What is listed since has looked since.
            if listed.at <= waking.at {
                due.push((key, item));
            }
        }
        let page = WokenPage { woken: due.len(), is_last: next.is_none() };
        let mut woken = stream::iter(due).map(|(key, item)| self.wake_one(workspace, key, item));
        let mut woken = woken.by_ref().buffer_unordered(WAKES_AT_ONCE);
        while let Some(outcome) = woken.next().await {
            outcome?;
        }
        if let Some(next) = next {
            waking.from = next.from;
        }
        Ok(page)
    }

    async fn wake_one(
        &self,
        workspace: &WorkspaceId,
        key: Key,
        item: Item,
    ) -> Result<(), PortError> {
        if let Ok(id) = key.sort.parse::<ExecutionId>() {
            let head_key = keys::head(workspace, &id);
            if let Some(stored) = self.base.store.get(&head_key).await? {
                let head: HeadRecord = countersign_store::decode(&head_key, &stored.body)?;
                let status = head.execution.status;
                if let Some(wait) = &head.wait {
                    self.signal(workspace, &id, (wait, stored.version, status)).await?;
                } else if status.under_way() && !self.leased(head.lease.as_ref()) {
                    self.base
                        .ports
                        .orchestrator
                        .start(workspace, &id, &next_name(&id, stored.version))
                        .await?;
                }
            }
        }
        self.change_index(Write::Delete { key, condition: Condition::VersionIs(item.version) })
            .await
    }

    // An item that somebody else changed meanwhile is theirs.
    async fn change_index(&self, write: Write) -> Result<(), PortError> {
        self.base.store.write(vec![write]).await.map(|_| ())
    }
}
