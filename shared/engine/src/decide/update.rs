//! One command of a caller on an existing execution: load, decide, commit; again if somebody else
//! was faster.

use crate::{Answer, Base, Caller, Waker, operate::wake::Before, refused};
use contracts::{ExecutionId, Timestamp};
use countersign_store::{Commit, CommitError, Idempotency, Loaded, Write};
use cs_core::execution::{
    Execution,
    decide::{Command, Transition},
};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// A command: what it is called, what was asked, and what is written with it.
pub(crate) struct Update<'u, T> {
    pub(crate) id: &'u ExecutionId,
    pub(crate) operation: &'static str,
    pub(crate) request: &'u T,
    pub(crate) extra: Vec<Write>,
}

impl<'u, T> Update<'u, T> {
    /// One that writes nothing beside the execution.
    pub(crate) fn new(id: &'u ExecutionId, operation: &'static str, request: &'u T) -> Self {
        Self { id, operation, request, extra: Vec::new() }
    }
}

/// Commands of callers on existing executions.
pub struct Updates {
    pub(crate) base: Arc<Base>,
    pub(crate) waker: Arc<Waker>,
}

impl Updates {
    /// Loads an execution on which a caller may use its grants.
    pub(crate) async fn load_for(&self, caller: &Caller, id: &ExecutionId) -> Answer<Loaded> {
        let loaded = self.base.store.load(&caller.workspace, id).await?;
        caller.require_own(&loaded.state)?;
        Ok(loaded)
    }

    /// Carries out a command. `decide` gives the commands of the aggregate; `answer` is made from
    /// the state they lead to.
    pub(crate) async fn update<T, R>(
        &self,
        caller: &Caller,
        update: Update<'_, T>,
        decide: impl Fn(&Loaded, Timestamp) -> Answer<Vec<Command>>,
        answer: impl Fn(&Execution, Timestamp) -> Answer<R>,
    ) -> Answer<R>
    where
        T: Serialize,
        R: Serialize + DeserializeOwned,
    {
        let Update { id, operation, request, extra } = update;
        let idempotency = Idempotency::of(&caller.author(self.base.now()), operation, request)?;
        let idempotency = idempotency.as_ref();
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            if let Some(given) = self.base.store.stored_response(idempotency).await? {
                return Ok(given);
            }
            let mut loaded = self.load_for(caller, id).await?;
            let now = self.base.now();
            let mut transition = Transition::begin(&loaded.state, now);
            let decided = decide(&loaded, now).and_then(|commands| {
                let mut commands = commands.into_iter();
                commands
                    .try_for_each(|command| transition.apply(command).map(|_| ()).map_err(refused))
            });
            if let Err(refusal) = decided {
                // Refused, perhaps, because this very command was carried out a moment ago.
                let given = self.base.store.stored_response(idempotency).await?;
                return given.ok_or(refusal);
            }
            let (state, events) = transition.into_parts();
            let response = answer(&state, now)?;
            let before = Before::of(&mut loaded);
            loaded.drives += u32::from(before.reopened(&state));
            let commit = Commit {
                extra: extra.clone(),
                response: self.base.store.response_write(idempotency, &response).await?,
                ..Commit::new(state, events, caller.stamp(now))
            };
            if committed(self.base.store.commit(&mut loaded, commit).await)? {
                self.waker.wake(&loaded, before).await;
                return Ok(response);
            }
        }
    }
}

/// Whether a commit happened; where it did not because somebody else was faster, the command looks
/// again.
pub(crate) fn committed(outcome: Result<(), CommitError>) -> Answer<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(CommitError::Conflict | CommitError::Repeated | CommitError::Extra(_)) => Ok(false),
        Err(CommitError::Port(fault)) => Err(fault.into()),
    }
}
