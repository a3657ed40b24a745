//! Digests: who wants it so gets what is of low or medium risk gathered, in one mail an hour.

use super::{Matter, PeopleChannel, letter};
use crate::{
    Deliverer, SendError, TIMEOUT_MS, busy,
    cursor::{delete, mark},
    lane::Lane,
};
use contracts::{
    ExecutionId, Timestamp, WorkspaceId, id::ApprovalId, limits::GATHERED_MAX, notice::NoticeState,
    verdict::RiskTier,
};
use countersign_store::{PortError, Record, Write, item, keys};
use engine::{Addressee, AskedApproval, Told};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for digests among the targets of what is due. No subscription has such an id.
pub(crate) const DIGESTS: &str = "digests";
/// How long what comes first waits for others, in milliseconds: an hour.
const GATHER_MS: i64 = 3_600_000;

/// What waits for the digests of a workspace's persons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Digests {
    persons: BTreeMap<String, Gathered>,
}

/// What waits for one person's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gathered {
    due_at: Timestamp,
    requests: BTreeSet<(ExecutionId, ApprovalId)>,
}

/// Whether something waits for a person's digest: what is of high risk never does.
pub(super) fn gathers(matter: &Matter, person: &Addressee) -> bool {
    let low = |risk: RiskTier| risk <= RiskTier::Medium;
    match matter {
        Matter::Approval(approval) => person.digest && approval.asked.risk.is_some_and(low),
        Matter::Stopped { .. } => false,
    }
}

impl PeopleChannel {
    /// Puts a request into a person's next digest. False: there is no room, or it is there.
    pub(super) async fn gather(
        &self,
        workspace: &WorkspaceId,
        person: &str,
        approval: &AskedApproval,
    ) -> Result<bool, PortError> {
        let request = (approval.asked.execution.clone(), approval.id.clone());
        let due_at = self.engine.now().plus_ms(GATHER_MS);
        self.change_digests(workspace, |digests| {
            let fresh = || Gathered { due_at, requests: BTreeSet::new() };
            let gathered = digests.persons.entry(person.to_owned()).or_insert_with(fresh);
            gathered.requests.len() < GATHERED_MAX && gathered.requests.insert(request.clone())
        })
        .await
    }

    async fn digests(&self, workspace: &WorkspaceId) -> Result<Record<Digests>, PortError> {
        self.engine.store().record(&keys::digests(workspace)).await
    }

    // Changes what waits, and when it is looked at. What `change` says.
    async fn change_digests(
        &self,
        workspace: &WorkspaceId,
        change: impl Fn(&mut Digests) -> bool,
    ) -> Result<bool, PortError> {
        let store = self.engine.store();
        let mut tries = store.tries();
        loop {
            tries.next().await.map_err(busy)?;
            let stored = self.digests(workspace).await?;
            let mut after = stored.value.clone();
            let said = change(&mut after);
            if after == stored.value {
                return Ok(said);
            }
            let item = item(stored.version + 1, &after)?;
            let key = keys::digests(workspace);
            let mut writes = vec![Write::Put { key, item, condition: stored.unchanged() }];
            let due = after.persons.values().map(|gathered| gathered.due_at);
            let due: BTreeSet<Timestamp> = due.collect();
            writes.extend(
                due.into_iter().take(1).map(|at| mark(keys::due(workspace, DIGESTS, None, at))),
            );
            if store.write(writes).await? {
                return Ok(said);
            }
        }
    }

    // Sends the digests whose time it is.
    async fn send_digests(&self, workspace: &WorkspaceId) -> Result<(), PortError> {
        let now = self.engine.now();
        for (person, gathered) in self.digests(workspace).await?.value.persons {
            if gathered.due_at > now {
                continue;
            }
            match self.send_digest(workspace, &person, &gathered).await {
                Ok(()) => {
                    // What came meanwhile waits for the next one.
                    self.change_digests(workspace, |digests| {
                        let Some(own) = digests.persons.get_mut(&person) else { return false };
                        own.requests.retain(|request| !gathered.requests.contains(request));
                        own.due_at = now.plus_ms(GATHER_MS);
                        if own.requests.is_empty() {
                            digests.persons.remove(&person);
                        }
                        true
                    })
                    .await?;
                }
                Err(error) => {
                    tracing::warn!(workspace_id = %workspace, %error, "a digest waits");
                    self.change_digests(workspace, |digests| {
                        let own = digests.persons.get_mut(&person);
                        own.is_some_and(|own| {
                            own.due_at = now.plus_ms(super::remind::AGAIN_MS);
                            true
                        })
                    })
                    .await?;
                }
            }
        }
        Ok(())
    }

    async fn send_digest(
        &self,
        workspace: &WorkspaceId,
        person: &str,
        gathered: &Gathered,
    ) -> Result<(), SendError> {
        let mut open: Vec<AskedApproval> = Vec::new();
        let mut mail = None;
        for (execution, approval) in &gathered.requests {
            let asked = self.engine.notices.approval(workspace, execution, approval).await;
            let Some(asked) = asked.map_err(super::failed)? else { continue };
            let own = asked.asked.persons.iter().find(|one| one.id == person);
            if let Some(address) = own.and_then(|own| own.mail.clone()) {
                mail = Some(address);
                open.push(asked);
            }
        }
        let Some(mail) = mail else { return Ok(()) };
        let letter = letter::digest(&self.engine, workspace, person, &open).await?;
        let sent = self.mail.post(&mail, &letter, TIMEOUT_MS).await;
        let state = match &sent {
            Ok(()) => NoticeState::Sent,
            Err(SendError::Gone(_)) => NoticeState::Failed,
            Err(_) => return sent,
        };
        let message = sent.err().map(|error| error.to_string());
        let told = Told { message, ..Told::new(state, self.engine.now()) };
        let told = BTreeMap::from([(person.to_owned(), told)]);
        for asked in &open {
            let name = asked.id.to_string();
            let noted = self.note(workspace, (&asked.asked, &name), &told, asked.asked.next_at);
            noted.await.map_err(|fault| super::failed(fault.into()))?;
        }
        Ok(())
    }
}

impl Deliverer {
    /// Sends the digests that are due.
    pub(crate) async fn run_digests(&self, lane: &Lane) -> Result<(), PortError> {
        let workspace = &lane.workspace;
        self.people.send_digests(workspace).await?;
        let writes = lane.look.iter().map(|at| delete(keys::due(workspace, DIGESTS, None, *at)));
        self.store().write(writes.collect()).await.map(|_| ())
    }
}
