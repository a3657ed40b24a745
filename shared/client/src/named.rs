//! Calls that many callers make, by name; and lists and waits, which are several calls.

use crate::{Answer, Client, ClientError};
use contracts::{
    ExecutionId, StepId,
    access::{KeyList, ListKeys},
    command::{ApproveExecution, IntentSubmitted, RejectExecution, SubmitIntent},
    limits::{GET_WAIT_SECONDS_MAX, PAGE_ITEMS_MAX},
    operation::{self as op, Operation},
    query::{
        ExecutionView, GetExecution, GetTrace, GetWorkspaceLog, Replay, ReplayTrace, Trace,
        WorkspaceLog,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::{Duration, Instant};

const PAGE: u32 = PAGE_ITEMS_MAX as u32;

impl Client {
    /// Submits an intent.
    pub async fn submit(
        &self,
        intent: &SubmitIntent,
    ) -> Result<Answer<IntentSubmitted>, ClientError> {
        self.call(&op::INTENT_SUBMIT, intent).await
    }

    /// An execution with its plan, after at most so many seconds, or as soon as nothing moves on
    /// its own.
    pub async fn execution(
        &self,
        execution: &ExecutionId,
        wait_seconds: u32,
    ) -> Result<Answer<ExecutionView>, ClientError> {
        let request = GetExecution {
            execution_id: execution.clone(),
            wait_seconds: Some(wait_seconds.min(GET_WAIT_SECONDS_MAX)),
            include_plan: true,
            include_view: None,
        };
        let answer = self.call(&op::EXECUTION_GET, &request).await?;
        Ok(answer.part("execution", |answer| answer.execution))
    }

    /// An execution once nothing of it moves on its own, or as it is when the time is over.
    pub async fn settled(
        &self,
        execution: &ExecutionId,
        within: Duration,
    ) -> Result<Answer<ExecutionView>, ClientError> {
        let until = Instant::now() + within;
        loop {
            let asked = Instant::now();
            let seconds = until.saturating_duration_since(asked).as_secs();
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).clamp(1, GET_WAIT_SECONDS_MAX);
            let view = self.execution(execution, seconds).await?;
            // An answer that came before its time says that nothing moves.
            let early = asked.elapsed() < Duration::from_secs(seconds.into());
            if early || Instant::now() >= until {
                return Ok(view);
            }
        }
    }

    /// The trace of an execution from an event on.
    pub async fn trace(
        &self,
        execution: &ExecutionId,
        from_seq: Option<u64>,
        include_payloads: bool,
    ) -> Result<Answer<Trace>, ClientError> {
        let request = GetTrace { execution_id: execution.clone(), include_payloads, from_seq };
        self.call(&op::TRACE_GET, &request).await
    }

    /// Whether an execution replays to what is stored.
    pub async fn replay(&self, execution: &ExecutionId) -> Result<Answer<Replay>, ClientError> {
        let request = ReplayTrace { execution_id: execution.clone() };
        self.call(&op::TRACE_REPLAY, &request).await
    }

    /// Approves what was shown.
    pub async fn approve(
        &self,
        approval: &ApproveExecution,
    ) -> Result<Answer<contracts::command::ExecutionApproved>, ClientError> {
        self.call(&op::EXECUTION_APPROVE, approval).await
    }

    /// Rejects a plan or a step.
    pub async fn reject(
        &self,
        execution: &ExecutionId,
        step: Option<&StepId>,
        reason: &str,
    ) -> Result<Answer<contracts::command::ExecutionRejected>, ClientError> {
        let request = RejectExecution {
            execution_id: execution.clone(),
            step_id: step.cloned(),
            view_digest: None,
            reason: reason.to_owned(),
        };
        self.call(&op::EXECUTION_REJECT, &request).await
    }

    /// Every key of the workspace: all pages as one.
    pub async fn every_key(&self) -> Result<Answer<KeyList>, ClientError> {
        let request = ListKeys { limit: Some(PAGE), cursor: None };
        self.every_page(&op::KEY_LIST, request, "items", |page, next| page.cursor = Some(next))
            .await
    }

    /// The whole workspace log: all pages as one.
    pub async fn whole_log(&self) -> Result<Answer<WorkspaceLog>, ClientError> {
        let request = GetWorkspaceLog { limit: Some(PAGE), cursor: None };
        let follow = |page: &mut GetWorkspaceLog, next| page.cursor = Some(next);
        self.every_page(&op::WORKSPACE_LOG, request, "entries", follow).await
    }

    // The last page, with the list of all.
    async fn every_page<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &Operation<Q, A>,
        mut request: Q,
        list: &str,
        follow: impl Fn(&mut Q, String),
    ) -> Result<Answer<A>, ClientError> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let page = self.call(operation, &request).await?;
            let mut document = page.document().clone();
            if let Some(found) = document.get_mut(list).and_then(Value::as_array_mut) {
                all.append(found);
            }
            match document.get("next").and_then(Value::as_str) {
                Some(next) => follow(&mut request, next.to_owned()),
                None => {
                    if let Some(found) = document.get_mut(list) {
                        *found = Value::Array(all);
                    }
                    let whole = Answer::of(document);
                    return whole.map_err(|why| ClientError::unexpected(200, b"", &why));
                }
            }
        }
    }
}
