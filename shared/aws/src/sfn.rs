//! The orchestrator on Step Functions: one state machine drives every execution.

use async_trait::async_trait;
use aws_sdk_sfn::{Client, error::ProvideErrorMetadata};
use contracts::{ExecutionId, WorkspaceId};
use countersign_store::PortError;
use engine::ports::{Orchestrator, Signalled};
use serde_json::json;

/// Starts and wakes state machines.
pub struct StepFunctions {
    client: Client,
    machine: String,
}

impl StepFunctions {
    /// By the ARN of the state machine.
    pub fn new(client: Client, machine: String) -> Self {
        Self { client, machine }
    }
}

#[async_trait]
impl Orchestrator for StepFunctions {
    async fn start(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        name: &str,
    ) -> Result<(), PortError> {
        let input = json!({ "workspaceId": workspace, "executionId": execution }).to_string();
        let request =
            self.client.start_execution().state_machine_arn(&self.machine).name(name).input(input);
        match request.send().await.map_err(|error| error.into_service_error()) {
            Ok(_) => Ok(()),
            // It ran already and has ended: one name is one start.
            Err(error) if error.is_execution_already_exists() => Ok(()),
            Err(error) => Err(fault(&error)),
        }
    }

    async fn succeed(&self, token: &str) -> Result<Signalled, PortError> {
        let request = self.client.send_task_success().task_token(token).output("{}");
        match request.send().await.map_err(|error| error.into_service_error()) {
            Ok(_) => Ok(Signalled::Delivered),
            // Used, timed out, or of a machine that has ended. AWS says the first, ministack and
            // LocalStack the others.
            Err(error)
                if error.is_task_timed_out()
                    || error.is_task_does_not_exist()
                    || error.is_invalid_token() =>
            {
                Ok(Signalled::Gone)
            }
            Err(error) => Err(fault(&error)),
        }
    }
}

fn fault(error: &impl ProvideErrorMetadata) -> PortError {
    PortError::Unavailable(format!(
        "{}: {}",
        error.code().unwrap_or("no answer"),
        error.message().unwrap_or_default()
    ))
}
