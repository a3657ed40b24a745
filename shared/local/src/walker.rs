//! The walker: drives executions through the committed state machine, one task each. It is to the
//! embedded server what Step Functions is on AWS: it owns time, retries and waiting; the functions
//! own decisions.
//!
//! Nothing of it is stored. A restart drives every open execution again from the start state;
//! idempotency makes that safe. An execution is walked by one task at a time: starting it while it
//! is walked ends its wait.

use crate::{
    asl::{self, Machine, Resource, State, Task},
    compute::Compute,
};
use async_trait::async_trait;
use contracts::{Code, ExecutionId, Problem, WorkspaceId};
use countersign_store::PortError;
use engine::{
    Engine,
    ports::{Orchestrator, Signalled},
};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{Notify, RwLock, oneshot};

/// How long one `advance` may go on before it says `continue`.
const ADVANCE_BUDGET_MS: i64 = 600_000;
/// A plan of so many steps is judged where its execution is driven, in a few milliseconds.
const SMALL_PLAN_STEPS: u64 = 20;

/// A function that tasks of the state machine call.
#[derive(Clone, Copy)]
pub(crate) enum TaskFunction {
    Compile,
    Verify,
    Advance,
}

impl TaskFunction {
    /// As the state machine names it.
    pub(crate) fn named(text: &str) -> Option<Self> {
        match text {
            "${CompileFunction}" => Some(Self::Compile),
            "${VerifyFunction}" => Some(Self::Verify),
            "${AdvanceFunction}" => Some(Self::Advance),
            _ => None,
        }
    }

    /// Its package.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Verify => "verify",
            Self::Advance => "advance",
        }
    }
}

/// Drives executions.
pub struct Walker {
    machine: Machine,
    compute: Arc<Compute>,
    engine: OnceLock<Weak<Engine>>,
    tokens: Mutex<HashMap<String, oneshot::Sender<()>>>,
    /// Executions that are walked. A permit: look at it again.
    walks: Mutex<HashMap<ExecutionId, Arc<Notify>>>,
    own: OnceLock<Weak<Walker>>,
    /// Held for reading by every task; for writing by who drains.
    running: RwLock<()>,
}

/// An error as the state machine sees it.
struct TaskError {
    name: String,
    cause: String,
}

impl From<Problem> for TaskError {
    fn from(problem: Problem) -> Self {
        Self { name: problem.code.as_str().to_owned(), cause: problem.detail }
    }
}

impl Walker {
    /// A walker of a machine.
    pub(crate) fn new(machine: Machine, compute: Arc<Compute>) -> Arc<Self> {
        let walker = Arc::new(Self {
            machine,
            compute,
            engine: OnceLock::new(),
            tokens: Mutex::default(),
            walks: Mutex::default(),
            own: OnceLock::new(),
            running: RwLock::new(()),
        });
        let _ = walker.own.set(Arc::downgrade(&walker));
        walker
    }

    /// Gives the engine whose functions the tasks call.
    pub fn attach(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    // Walks until nobody asked for the execution again meanwhile.
    async fn drive(&self, workspace: WorkspaceId, id: ExecutionId, started: Arc<Notify>) {
        loop {
            if AssertUnwindSafe(self.walk(&workspace, &id, &started)).catch_unwind().await.is_err()
            {
                tracing::error!(execution_id = %id, "driving it panicked; sweep drives it again");
            }
            let mut walks = self.walks();
            if started.notified().now_or_never().is_none() {
                walks.remove(&id);
                return;
            }
        }
    }

    async fn walk(&self, workspace: &WorkspaceId, id: &ExecutionId, started: &Notify) {
        let mut input = json!({ "workspaceId": workspace, "executionId": id });
        let mut name = self.machine.start_at.as_str();
        while let Some(state) = self.machine.states.get(name) {
            match state {
                State::Task(task) => match self.task(task, &input, started).await {
                    Ok(result) => {
                        if task.result_path.is_none() {
                            input = result;
                        }
                        name = &task.next;
                    }
                    Err(error) => {
                        match task
                            .catch
                            .iter()
                            .find(|catch| asl::takes(&catch.error_equals, &error.name))
                        {
                            Some(catch) => name = &catch.next,
                            None => {
                                tracing::error!(
                                    execution_id = %id, state = name, code = error.name,
                                    cause = error.cause, "gave up; sweep drives it again"
                                );
                                return;
                            }
                        }
                    }
                },
                State::Choice { choices, default } => {
                    let holds = |rule: &&asl::Rule| {
                        asl::look(&input, &rule.variable).and_then(Value::as_str)
                            == Some(&rule.string_equals)
                    };
                    name = choices.iter().find(holds).map_or(default, |rule| &rule.next);
                }
                State::Wait { seconds_path, next } => {
                    let seconds =
                        asl::look(&input, seconds_path).and_then(Value::as_u64).unwrap_or(1);
                    let _ = tokio::time::timeout(Duration::from_secs(seconds), started.notified())
                        .await;
                    name = next;
                }
                State::Succeed {} => return,
            }
        }
    }

    async fn task(&self, task: &Task, input: &Value, started: &Notify) -> Result<Value, TaskError> {
        let mut tried: HashMap<usize, u32> = HashMap::new();
        loop {
            let error = match self.attempt(task, input, started).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let mut retriers = task.retry.iter().enumerate();
            let Some((index, retrier)) =
                retriers.find(|(_, retrier)| asl::takes(&retrier.error_equals, &error.name))
            else {
                return Err(error);
            };
            let count = tried.entry(index).or_default();
            if *count >= retrier.max_attempts {
                return Err(error);
            }
            let draw = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
            let seconds = retrier.delay_seconds(*count, draw);
            *count += 1;
            tracing::warn!(
                code = error.name,
                cause = error.cause,
                seconds,
                "a task failed; trying again"
            );
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
    }

    async fn attempt(
        &self,
        task: &Task,
        input: &Value,
        started: &Notify,
    ) -> Result<Value, TaskError> {
        let missing = || TaskError {
            name: "States.ParameterPathFailure".into(),
            cause: "a path leads nowhere".into(),
        };
        let timeout = match (&task.timeout_seconds_path, task.timeout_seconds) {
            (Some(path), _) => {
                asl::look(input, path).and_then(Value::as_u64).ok_or_else(missing)?
            }
            (None, Some(seconds)) => seconds,
            (None, None) => u64::from(u32::MAX),
        };
        let token = uuid::Uuid::now_v7().simple().to_string();
        let payload = asl::fill(&task.parameters.payload, input, &token).ok_or_else(missing)?;
        let small = input["steps"].as_u64().is_some_and(|steps| steps <= SMALL_PLAN_STEPS);
        let work = async {
            match task.resource {
                Resource::Invoke => {
                    self.invoke(&task.parameters.function_name, &payload, small).await
                }
                Resource::InvokeAndWait => {
                    let (signal, signalled) = oneshot::channel();
                    self.tokens().insert(token.clone(), signal);
                    self.invoke(&task.parameters.function_name, &payload, small).await?;
                    tokio::select! {
                        _ = signalled => {}
                        () = started.notified() => {}
                    }
                    Ok(Value::Null)
                }
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(timeout), work).await;
        self.tokens().remove(&token);
        outcome.unwrap_or_else(|_| {
            Err(TaskError { name: "States.Timeout".into(), cause: "no answer in time".into() })
        })
    }

    /// Begins nothing any more, and returns when what is being done is done.
    pub async fn drain(&self) {
        // Whoever waits to write lets no new reader in.
        let guard = self.running.write().await;
        std::mem::forget(guard);
    }

    async fn invoke(
        &self,
        function: &str,
        payload: &Value,
        small: bool,
    ) -> Result<Value, TaskError> {
        let owner = payload["workspaceId"].as_str().unwrap_or_default();
        let stopped = || Problem::new(Code::InternalError, "the server is stopping");
        let _place = self.compute.driven(owner).await.ok_or_else(stopped)?;
        let _running = self.running.read().await;
        let engine = self.engine.get().and_then(Weak::upgrade).ok_or_else(stopped)?;
        let own = payload.clone();
        let unknown = || Problem::new(Code::NotFound, format!("there is no function `{function}`"));
        match TaskFunction::named(function).ok_or_else(unknown)? {
            TaskFunction::Compile => {
                let (workspace, id) = engine::execution_of(payload)?;
                if engine.plans.draft_waits(&workspace, &id).await? {
                    return self
                        .dear(owner, async move { fn_compile::task(&engine, &own).await })
                        .await;
                }
                Ok(Box::pin(fn_compile::task(&engine, payload)).await?)
            }
            TaskFunction::Verify if small => Ok(Box::pin(fn_verify::task(&engine, payload)).await?),
            TaskFunction::Verify => {
                self.dear(owner, async move { fn_verify::task(&engine, &own).await }).await
            }
            // Boxed: many wait for their places.
            TaskFunction::Advance => {
                Ok(Box::pin(fn_advance::task(&engine, payload, ADVANCE_BUDGET_MS)).await?)
            }
        }
    }

    // A task that may cost processor time.
    async fn dear<F>(&self, owner: &str, task: F) -> Result<Value, TaskError>
    where
        F: Future<Output = Result<Value, Problem>> + Send + 'static,
    {
        let ended = |_| Problem::new(Code::InternalError, "the task ended without a result");
        Ok(self.compute.run(owner, task).await.map_err(ended)??)
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walks(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Arc<Notify>>> {
        self.walks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Orchestrator for Walker {
    async fn start(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        _: &str,
    ) -> Result<(), PortError> {
        let Some(walker) = self.own.get().and_then(Weak::upgrade) else {
            return Err(PortError::Unavailable("the walker has stopped".into()));
        };
        let started = Arc::new(Notify::new());
        let mut walks = self.walks();
        if let Some(walked) = walks.get(execution) {
            walked.notify_one();
            return Ok(());
        }
        walks.insert(execution.clone(), started.clone());
        let (workspace, execution) = (workspace.clone(), execution.clone());
        let compute = walker.compute.clone();
        compute.begin(async move { walker.drive(workspace, execution, started).await });
        Ok(())
    }

    async fn succeed(&self, token: &str) -> Result<Signalled, PortError> {
        let signal = self.tokens().remove(token);
        Ok(match signal.map(|signal| signal.send(())) {
            Some(Ok(())) => Signalled::Delivered,
            Some(Err(())) | None => Signalled::Gone,
        })
    }
}
