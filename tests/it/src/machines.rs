//! Step Functions under simulated time: interprets the committed state machine over the walker's
//! own model of it, one state at a time, and counts the entries of each machine's history as AWS
//! does. Machines can be stopped, and signals and starts be lost.

use crate::fixture::HandClock;
use async_trait::async_trait;
use contracts::{ExecutionId, Problem, Timestamp, WorkspaceId};
use countersign_store::{Clock as _, PortError};
use engine::{
    Engine,
    ports::{Orchestrator, Signalled},
};
use local::asl::{self, Machine, Resource, State, Task};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

const COMMITTED: &str = include_str!("../../../infra/execution.asl.json");
/// How long one `advance` may begin steps, as on AWS.
const RUN_MS: i64 = 270_000;

/// One machine.
#[derive(Clone, Debug)]
pub struct Run {
    pub execution: ExecutionId,
    pub name: String,
    /// The state it is in, or has ended in.
    pub state: String,
    /// Entries of its history.
    pub history: u64,
    /// Why it ended, if it did.
    pub end: Option<End>,
    input: Value,
    wake_at: Timestamp,
    token: Option<String>,
    waits: Waits,
    retries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    No,
    Token,
    Signalled,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Succeeded,
    Failed,
    Stopped,
}

#[derive(Default)]
struct Inner {
    names: HashSet<String>,
    runs: Vec<Run>,
    entered: BTreeMap<String, u64>,
    stop_at: Vec<(ExecutionId, String)>,
    lose_signals: bool,
    lose_starts: bool,
    tokens: u64,
}

/// All machines.
pub struct Machines {
    machine: Machine,
    clock: Arc<HandClock>,
    inner: Mutex<Inner>,
}

impl Machines {
    /// None yet.
    pub fn new(clock: Arc<HandClock>) -> Arc<Self> {
        let machine = Machine::parse(COMMITTED).unwrap();
        Arc::new(Self { machine, clock, inner: Mutex::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The names of the machine's states.
    pub fn states(&self) -> Vec<String> {
        self.machine.states.keys().cloned().collect()
    }

    /// Every machine that was started.
    pub fn runs(&self) -> Vec<Run> {
        self.inner().runs.clone()
    }

    /// Machines of an execution that have not ended.
    pub fn live(&self, id: &ExecutionId) -> usize {
        self.inner().runs.iter().filter(|run| run.execution == *id && run.end.is_none()).count()
    }

    /// How often a state was entered.
    pub fn entered(&self, state: &str) -> u64 {
        self.inner().entered.get(state).copied().unwrap_or(0)
    }

    /// Stops the next machine of an execution that enters a state, before the state does anything.
    pub fn stop_when_it_enters(&self, id: &ExecutionId, state: &str) {
        self.inner().stop_at.push((id.clone(), state.to_owned()));
    }

    /// Stops every machine of an execution, as `StopExecution` does.
    pub fn stop(&self, id: &ExecutionId) {
        for run in
            self.inner().runs.iter_mut().filter(|run| run.execution == *id && run.end.is_none())
        {
            run.end = Some(End::Stopped);
        }
    }

    /// Signals are lost.
    pub fn lose_signals(&self, lose: bool) {
        self.inner().lose_signals = lose;
    }

    /// Starts are lost.
    pub fn lose_starts(&self, lose: bool) {
        self.inner().lose_starts = lose;
    }

    /// Lets time pass up to a moment; what is due on the way is done.
    pub async fn run_until(&self, engine: &Arc<Engine>, until: Timestamp) {
        loop {
            let next = {
                let inner = self.inner();
                let due = inner.runs.iter().enumerate().filter(|(_, run)| run.end.is_none());
                due.min_by_key(|(_, run)| run.wake_at).map(|(index, run)| (index, run.wake_at))
            };
            let Some((index, at)) = next.filter(|(_, at)| *at <= until) else { break };
            self.clock.pass((at.ms() - self.clock.now().ms()).max(0));
            self.step(engine, index).await;
        }
        self.clock.pass((until.ms() - self.clock.now().ms()).max(0));
    }

    async fn step(&self, engine: &Arc<Engine>, index: usize) {
        let run = {
            let mut inner = self.inner();
            let run = inner.runs[index].clone();
            if run.waits == Waits::No && run.retries == 0 {
                *inner.entered.entry(run.state.clone()).or_default() += 1;
                let planned = inner
                    .stop_at
                    .iter()
                    .position(|(id, at)| *id == run.execution && *at == run.state);
                if let Some(planned) = planned {
                    inner.stop_at.remove(planned);
                    inner.runs[index].end = Some(End::Stopped);
                    return;
                }
            }
            run
        };
        match &self.machine.states[&run.state] {
            State::Task(task) => self.task(engine, index, &run, task).await,
            State::Choice { choices, default } => {
                let holds = |rule: &&asl::Rule| {
                    asl::look(&run.input, &rule.variable).and_then(Value::as_str)
                        == Some(&rule.string_equals)
                };
                let next = choices.iter().find(holds).map_or(default, |rule| &rule.next);
                self.go_on(index, next, None, 2);
            }
            State::Wait { seconds_path, next } => {
                let seconds = asl::look(&run.input, seconds_path).and_then(Value::as_u64).unwrap();
                self.go_on(index, next, None, 2);
                self.inner().runs[index].wake_at = self.clock.now().plus_ms(seconds as i64 * 1_000);
            }
            State::Succeed {} => {
                let mut inner = self.inner();
                inner.runs[index].history += 3;
                inner.runs[index].end = Some(End::Succeeded);
            }
        }
    }

    fn go_on(&self, index: usize, next: &str, input: Option<Value>, entries: u64) {
        let run = &mut self.inner().runs[index];
        run.history += entries;
        next.clone_into(&mut run.state);
        (run.waits, run.token, run.retries, run.wake_at) = (Waits::No, None, 0, self.clock.now());
        if let Some(input) = input {
            run.input = input;
        }
    }

    async fn task(&self, engine: &Arc<Engine>, index: usize, run: &Run, task: &Task) {
        let result = match (run.waits, task.resource) {
            (Waits::Signalled, _) => Ok(Some(Value::Null)),
            (Waits::Token, _) => Err("States.Timeout".to_owned()),
            (Waits::No, Resource::Invoke) => self.invoke(engine, run, task, "").await.map(Some),
            (Waits::No, Resource::InvokeAndWait) => {
                let seconds = task.timeout_seconds_path.as_deref();
                let seconds = seconds
                    .and_then(|path| asl::look(&run.input, path))
                    .and_then(Value::as_u64)
                    .unwrap();
                let token = {
                    let mut inner = self.inner();
                    inner.tokens += 1;
                    let token = format!("token-{}", inner.tokens);
                    let run = &mut inner.runs[index];
                    (run.token, run.waits) = (Some(token.clone()), Waits::Token);
                    run.wake_at = self.clock.now().plus_ms(seconds as i64 * 1_000);
                    token
                };
                self.invoke(engine, run, task, &token).await.map(|_| None)
            }
        };
        match result {
            // It waits now, or was signalled while it registered.
            Ok(None) => {}
            Ok(Some(result)) => {
                let kept = matches!(task.result_path, Some(None));
                self.go_on(index, &task.next, (!kept).then_some(result), if kept { 6 } else { 5 });
            }
            Err(error) => self.failed(index, run, task, &error),
        }
    }

    fn failed(&self, index: usize, run: &Run, task: &Task, error: &str) {
        self.inner().runs[index].history += 3;
        let retrier = task.retry.iter().find(|retrier| asl::takes(&retrier.error_equals, error));
        if let Some(retrier) = retrier.filter(|retrier| run.retries < retrier.max_attempts) {
            let delay_ms = (retrier.delay_seconds(run.retries, 1.0) * 1_000.0) as i64;
            let run = &mut self.inner().runs[index];
            (run.waits, run.token, run.retries) = (Waits::No, None, run.retries + 1);
            run.wake_at = self.clock.now().plus_ms(delay_ms);
            return;
        }
        match task.catch.iter().find(|catch| asl::takes(&catch.error_equals, error)) {
            Some(catch) => self.go_on(index, &catch.next, None, 4),
            None => self.inner().runs[index].end = Some(End::Failed),
        }
    }

    async fn invoke(
        &self,
        engine: &Arc<Engine>,
        run: &Run,
        task: &Task,
        token: &str,
    ) -> Result<Value, String> {
        let payload = asl::fill(&task.parameters.payload, &run.input, token)
            .unwrap_or_else(|| panic!("{}: a path leads nowhere in {}", run.state, run.input));
        let named = |problem: Problem| problem.code.as_str().to_owned();
        match task.parameters.function_name.as_str() {
            "${CompileFunction}" => fn_compile::task(engine, &payload).await.map_err(named),
            "${VerifyFunction}" => fn_verify::task(engine, &payload).await.map_err(named),
            "${AdvanceFunction}" => fn_advance::task(engine, &payload, RUN_MS).await.map_err(named),
            other => panic!("there is no function {other}"),
        }
    }
}

#[async_trait]
impl Orchestrator for Machines {
    async fn start(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        name: &str,
    ) -> Result<(), PortError> {
        let mut inner = self.inner();
        if inner.lose_starts {
            return Err(PortError::Unavailable("the start is lost".into()));
        }
        assert!(name.len() <= 80, "Step Functions takes names of at most 80 characters: {name}");
        if inner.names.insert(name.to_owned()) {
            inner.runs.push(Run {
                execution: execution.clone(),
                name: name.to_owned(),
                state: self.machine.start_at.clone(),
                history: 1,
                end: None,
                input: json!({ "workspaceId": workspace, "executionId": execution }),
                wake_at: self.clock.now(),
                token: None,
                waits: Waits::No,
                retries: 0,
            });
        }
        Ok(())
    }

    async fn succeed(&self, token: &str) -> Result<Signalled, PortError> {
        let mut inner = self.inner();
        if inner.lose_signals {
            return Err(PortError::Unavailable("the signal is lost".into()));
        }
        let waits = |run: &&mut Run| run.end.is_none() && run.waits == Waits::Token;
        let run =
            inner.runs.iter_mut().filter(waits).find(|run| run.token.as_deref() == Some(token));
        let Some(run) = run else { return Ok(Signalled::Gone) };
        (run.waits, run.wake_at) = (Waits::Signalled, self.clock.now());
        Ok(Signalled::Delivered)
    }
}
