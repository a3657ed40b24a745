//! The walker: drives executions through the committed state machine, one task each. It is to the embedded server what
//! Step Functions is on AWS: it owns time, retries and waiting; the functions own decisions.
//!
//! Nothing of it is stored. A restart drives every open execution again from the start state; idempotency makes that
//! safe.

use crate::asl::{self, Machine, Resource, Retrier, State, Task};
use async_trait::async_trait;
use contracts::{Code, ExecutionId, Problem, WorkspaceId};
use engine::{
    Engine,
    ports::{Fault, Signals},
};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::oneshot;

/// How long one `advance` may go on before it says `continue`.
const ADVANCE_BUDGET_MS: i64 = 600_000;

/// Drives executions.
pub struct Walker {
    machine: Machine,
    engine: OnceLock<Weak<Engine>>,
    tokens: Mutex<HashMap<String, oneshot::Sender<()>>>,
    /// Starts by name: the same name twice is one start.
    started: Mutex<HashSet<String>>,
    own: OnceLock<Weak<Walker>>,
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
    pub fn new(machine: Machine) -> Arc<Self> {
        let walker = Arc::new(Self {
            machine,
            engine: OnceLock::new(),
            tokens: Mutex::default(),
            started: Mutex::default(),
            own: OnceLock::new(),
        });
        let _ = walker.own.set(Arc::downgrade(&walker));
        walker
    }

    /// Gives the engine whose functions the tasks call.
    pub fn attach(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    async fn walk(&self, workspace: WorkspaceId, id: ExecutionId) {
        let mut input = json!({ "workspaceId": workspace, "executionId": id });
        let mut name = self.machine.start_at.as_str();
        while let Some(state) = self.machine.states.get(name) {
            match state {
                State::Task(task) => match self.task(task, &input).await {
                    Ok(result) => {
                        if task.result_path.is_none() {
                            input = result;
                        }
                        name = &task.next;
                    }
                    Err(error) => {
                        let takes = |names: &[String]| names.iter().any(|name| matches(name, &error.name));
                        match task.catch.iter().find(|catch| takes(&catch.error_equals)) {
                            Some(catch) => name = &catch.next,
                            None => {
                                tracing::error!(execution_id = %id, state = name, code = error.name, cause = error.cause, "gave up; a restart drives it again");
                                return;
                            }
                        }
                    }
                },
                State::Choice { choices, default } => {
                    let holds = |rule: &&asl::Rule| {
                        asl::look(&input, &rule.variable).and_then(Value::as_str) == Some(&rule.string_equals)
                    };
                    name = choices.iter().find(holds).map_or(default, |rule| &rule.next);
                }
                State::Wait { seconds_path, next } => {
                    let seconds = asl::look(&input, seconds_path).and_then(Value::as_u64).unwrap_or(1);
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    name = next;
                }
                State::Succeed {} | State::Fail { .. } => return,
            }
        }
    }

    async fn task(&self, task: &Task, input: &Value) -> Result<Value, TaskError> {
        let mut tried: HashMap<usize, u32> = HashMap::new();
        loop {
            let error = match self.attempt(task, input).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let takes = |retrier: &Retrier| retrier.error_equals.iter().any(|name| matches(name, &error.name));
            let Some((index, retrier)) = task.retry.iter().enumerate().find(|(_, retrier)| takes(retrier)) else {
                return Err(error);
            };
            let count = tried.entry(index).or_default();
            if *count >= retrier.max_attempts {
                return Err(error);
            }
            let factor = retrier.backoff_rate.powi(i32::try_from(*count).unwrap_or(i32::MAX));
            let seconds = (retrier.interval_seconds as f64 * factor).min(retrier.max_delay_seconds as f64);
            *count += 1;
            tracing::warn!(code = error.name, cause = error.cause, seconds, "a task failed; trying again");
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
    }

    async fn attempt(&self, task: &Task, input: &Value) -> Result<Value, TaskError> {
        let missing =
            || TaskError { name: "States.ParameterPathFailure".into(), cause: "a path leads nowhere".into() };
        let timeout = match (&task.timeout_seconds_path, task.timeout_seconds) {
            (Some(path), _) => asl::look(input, path).and_then(Value::as_u64).ok_or_else(missing)?,
            (None, Some(seconds)) => seconds,
            (None, None) => u64::from(u32::MAX),
        };
        let token = uuid::Uuid::now_v7().simple().to_string();
        let payload = asl::fill(&task.parameters.payload, input, &token).ok_or_else(missing)?;
        let work = async {
            match task.resource {
                Resource::Invoke => self.invoke(&task.parameters.function_name, &payload).await,
                Resource::InvokeAndWait => {
                    let (signal, signalled) = oneshot::channel();
                    self.tokens().insert(token.clone(), signal);
                    self.invoke(&task.parameters.function_name, &payload).await?;
                    let _ = signalled.await;
                    Ok(Value::Null)
                }
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(timeout), work).await;
        self.tokens().remove(&token);
        outcome
            .unwrap_or_else(|_| Err(TaskError { name: "States.Timeout".into(), cause: "no answer in time".into() }))
    }

    async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, TaskError> {
        let stopped = || Problem::new(Code::InternalError, "the server is stopping");
        let engine = self.engine.get().and_then(Weak::upgrade).ok_or_else(stopped)?;
        Ok(match function {
            "${CompileFunction}" => fn_compile::task(&engine, payload).await?,
            "${VerifyFunction}" => fn_verify::task(&engine, payload).await?,
            "${AdvanceFunction}" => fn_advance::task(&engine, payload, ADVANCE_BUDGET_MS).await?,
            other => return Err(Problem::new(Code::NotFound, format!("there is no function `{other}`")).into()),
        })
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// `States.ALL` takes every error; but for it, names are compared.
fn matches(wanted: &str, name: &str) -> bool {
    wanted == "States.ALL" || wanted == name
}

#[async_trait]
impl Signals for Walker {
    async fn start(&self, workspace: &WorkspaceId, execution: &ExecutionId, name: &str) -> Result<(), Fault> {
        let Some(walker) = self.own.get().and_then(Weak::upgrade) else {
            return Err(Fault::Unavailable("the walker has stopped".into()));
        };
        if !self.started().insert(name.to_owned()) {
            return Ok(());
        }
        let (workspace, execution, name) = (workspace.clone(), execution.clone(), name.to_owned());
        tokio::spawn(async move {
            walker.walk(workspace, execution).await;
            walker.started().remove(&name);
        });
        Ok(())
    }

    async fn succeed(&self, token: &str) -> Result<(), Fault> {
        if let Some(signal) = self.tokens().remove(token) {
            let _ = signal.send(());
        }
        Ok(())
    }
}
