//! One transaction: read, decide, write, and again where somebody else was faster.

use crate::{Answer, Idempotency, PortError, Store, TransactionError, Write};
use contracts::{Code, Problem, WorkspaceId, event::WorkspaceEvent};
use cs_core::trace::Stamp;
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

/// Tries of one change against others that commit in between: enough for a kill switch or a cancel
/// to be heard among the commits of busy workers.
const TRIES_MAX: u32 = 64;
/// Longest pause between two tries, in milliseconds.
const PAUSE_MS_MAX: u64 = 32;

/// Who changes something: whose events they are, and which record keeps the answer.
#[derive(Clone, Debug)]
pub struct Author {
    pub workspace: WorkspaceId,
    /// What the events are stamped with.
    pub stamp: Stamp,
    /// `Idempotency-Key` of the request.
    pub idempotency_key: Option<String>,
}

/// What one try wants to commit: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Change<R> {
    pub answer: R,
    pub writes: Vec<Write>,
    /// For the workspace log.
    pub events: Vec<WorkspaceEvent>,
    /// Skills, or the trust in them, change: what is remembered of them is read anew.
    pub registry_changes: bool,
}

impl<R> Change<R> {
    /// One event and its writes.
    pub fn new(answer: R, event: WorkspaceEvent, writes: Vec<Write>) -> Self {
        Self { answer, writes, events: vec![event], registry_changes: false }
    }
    /// Skills, or the trust in them, change with it.
    pub fn of_registry(self) -> Self {
        Self { registry_changes: true, ..self }
    }
    /// Everything is as it is wanted.
    pub fn none(answer: R) -> Self {
        Self { answer, writes: Vec::new(), events: Vec::new(), registry_changes: false }
    }
}

/// The answer of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// It was carried out now.
    Fresh(R),
    /// It was carried out before: this is what it answered then.
    Repeated(R),
}

impl<R> Outcome<R> {
    /// The answer, whenever it was given.
    pub fn answer(self) -> R {
        match self {
            Self::Fresh(answer) | Self::Repeated(answer) => answer,
        }
    }
    /// The same, with what is shown only once.
    pub fn once(self, show: impl FnOnce(R) -> R) -> R {
        match self {
            Self::Fresh(answer) => show(answer),
            Self::Repeated(answer) => answer,
        }
    }
    /// Whether it was carried out now.
    pub const fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh(_))
    }
}

/// Others were faster, again and again.
pub fn busy() -> Problem {
    Problem {
        retryable: true,
        ..Problem::new(Code::Conflict, "too many others change this; try again")
    }
}

/// Tries of one change. INVARIANT (bounded-work): the only limit of such loops.
pub struct Tries<'s> {
    store: &'s Store,
    count: u32,
}

impl Tries<'_> {
    /// Begins the next try: at once for the first, after a pause drawn at random for others, so
    /// that who lost lets the others be through. Refused where there were enough.
    pub async fn next(&mut self) -> Answer<()> {
        if self.count >= TRIES_MAX {
            return Err(busy());
        }
        if self.count > 0 {
            let most = 1_u64.checked_shl(self.count.min(5)).unwrap_or(PAUSE_MS_MAX);
            let draw = u64::from(self.store.ids.secret().first().copied().unwrap_or_default());
            self.store.clock.sleep(1 + draw * most.min(PAUSE_MS_MAX) / 256).await;
        }
        self.count += 1;
        Ok(())
    }
}

impl Store {
    /// The tries of one change.
    pub const fn tries(&self) -> Tries<'_> {
        Tries { store: self, count: 0 }
    }

    /// Writes, all or nothing. False: a condition does not hold, and nothing was written.
    pub async fn write(&self, writes: Vec<Write>) -> Result<bool, PortError> {
        match self.table.transact(writes).await {
            Ok(()) => Ok(true),
            Err(TransactionError::Condition(_)) => Ok(false),
            Err(TransactionError::Port(fault)) => Err(fault),
        }
    }

    /// A command on a workspace: its writes, its events for the workspace log and its answer commit
    /// together, and a repetition of it gets that answer.
    ///
    /// `attempt` reads and decides; it is called again where somebody else was faster.
    /// INVARIANT (authority-is-on-record). INVARIANT (same-command-twice).
    pub async fn change<'f, T, R>(
        &self,
        author: &Author,
        (operation, request): (&str, &T),
        attempt: impl Fn() -> BoxFuture<'f, Answer<Change<R>>>,
    ) -> Answer<Outcome<R>>
    where
        T: Serialize,
        R: Serialize + DeserializeOwned,
    {
        let idempotency = Idempotency::of(author, operation, request)?;
        let mut tries = self.tries();
        loop {
            tries.next().await?;
            if let Some(given) = self.stored_response(idempotency.as_ref()).await? {
                return Ok(Outcome::Repeated(given));
            }
            let change = attempt().await?;
            let response = self.response_write(idempotency.as_ref(), &change.answer).await?;
            if let Some(answer) = self.try_change(author, change, response).await? {
                return Ok(Outcome::Fresh(answer));
            }
        }
    }

    /// One try of a change, without a repetition and without a kept answer of its own. None: a
    /// condition does not hold, and nothing was written.
    pub async fn try_change<R>(
        &self,
        author: &Author,
        change: Change<R>,
        response: Option<Write>,
    ) -> Answer<Option<R>> {
        let Change { answer, mut writes, events, registry_changes } = change;
        writes.extend(response);
        let logged = !events.is_empty();
        if logged {
            let stamp = Stamp { at: self.now(), ..author.stamp.clone() };
            writes.extend(self.inbox_writes(&author.workspace, &stamp, events)?);
        }
        if registry_changes {
            writes.push(self.registry_write(&author.workspace)?);
        }
        if !writes.is_empty() && !self.write(writes).await? {
            return Ok(None);
        }
        if logged {
            self.chain_after_commit(&author.workspace).await;
        }
        Ok(Some(answer))
    }
}
