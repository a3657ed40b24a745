//! What a function has: an engine over AWS, the queue of stage events, the archive. Built from the environment that the
//! template gives; nothing is called.

use crate::{Aws, Bucket, DynamoTable, SecretSigner, StageQueue, StepFunctions};
use async_trait::async_trait;
use contracts::{ExecutionId, WorkspaceId};
use engine::{
    Config, Engine, Ports,
    ports::{Clock as _, Notifier, ToolAnswer, ToolCall, Tools},
};
use host::{HttpTools, SystemClock, SystemIds};
use std::{
    env,
    sync::{Arc, OnceLock},
};

/// Tool calls end before the function does: Lambda's 900 s less the time in which steps are begun.
const CALL_MS_MAX: u64 = 600_000;
/// Kept back for the last commits of a run, in milliseconds.
const CLOSING_MS: i64 = 30_000;

/// How long a run of steps may begin new ones when Lambda ends the function in `left_ms`.
pub fn run_budget_ms(left_ms: i64) -> i64 {
    (left_ms - CALL_MS_MAX as i64 - CLOSING_MS).max(1_000)
}

/// How long a scheduled run may go on when Lambda ends the function in `left_ms`.
pub fn schedule_budget_ms(left_ms: i64) -> i64 {
    left_ms / 2
}

/// Between two looks of a caller that waits for an execution, in milliseconds.
const POLL_MS: u64 = 300;

/// The environment lacks something.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable `{0}` is missing")]
pub struct Misconfigured(&'static str);

/// What a function has.
pub struct Host {
    pub engine: Arc<Engine>,
    aws: Aws,
}

impl Host {
    /// Reads `TABLE_NAME`, `BLOB_BUCKET`, `STATE_MACHINE_ARN`, `SIGNING_SECRET_ARN`, `VAULT_KEY_ARN`, `PUBLIC_URL`,
    /// `ALLOW_PRIVATE_TARGETS`, and Lambda's own. What a function does not use may be absent; using it says so.
    pub fn from_env() -> Result<Self, Misconfigured> {
        Self::with(Arc::new(NoTools))
    }

    /// The same for a function that calls tools or subscribers; what that takes is in no other function's package.
    pub fn calling() -> Result<Self, Misconfigured> {
        Self::with(Arc::new(LazyTools::default()))
    }

    fn with(tools: Arc<dyn Tools>) -> Result<Self, Misconfigured> {
        let aws =
            Aws::from_env().map_err(|_| Misconfigured("AWS_REGION, AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY"))?;
        let text = |name: &str| env::var(name).unwrap_or_default();
        let on = |name: &str| text(name) == "true";
        let table = env::var("TABLE_NAME").map_err(|_| Misconfigured("TABLE_NAME"))?;
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let ports = Ports {
            table: Arc::new(DynamoTable::new(aws.dynamodb(), table, clock.clone(), ids.clone())),
            blobs: Arc::new(aws.bucket(&text("BLOB_BUCKET"))),
            tools,
            orchestrator: Arc::new(StepFunctions::new(aws.sfn(), text("STATE_MACHINE_ARN"))),
            notifier: Arc::new(Polling),
            clock,
            ids,
            signer: Arc::new(SecretSigner::new(aws.secrets(), text("SIGNING_SECRET_ARN"))),
            vault_keys: Arc::new(aws.vault_keys(text("VAULT_KEY_ARN"))),
        };
        let config = Config {
            allow_private_targets: on("ALLOW_PRIVATE_TARGETS"),
            public_url: text("PUBLIC_URL").trim_end_matches('/').to_owned(),
            call_ms_max: CALL_MS_MAX,
            ..Config::default()
        };
        Ok(Self { engine: Arc::new(Engine::new(ports, config)), aws })
    }

    /// The queue of stage events (`STAGE_QUEUE_URL`).
    pub fn queue(&self) -> StageQueue {
        StageQueue::new(self.aws.sqs(), env::var("STAGE_QUEUE_URL").unwrap_or_default())
    }
    /// The archive (`EXPORT_BUCKET`).
    pub fn archive(&self) -> Bucket {
        self.aws.bucket(&env::var("EXPORT_BUCKET").unwrap_or_default())
    }
}

/// A function that calls none.
struct NoTools;

#[async_trait]
impl Tools for NoTools {
    async fn call(&self, _: ToolCall) -> ToolAnswer {
        ToolAnswer::Forbidden("this function calls no tools".into())
    }
}

/// The HTTP client of tools reads the machine's certificates: made when the first tool is called.
#[derive(Default)]
struct LazyTools(OnceLock<Result<HttpTools, String>>);

#[async_trait]
impl Tools for LazyTools {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        match self.0.get_or_init(|| HttpTools::new().map_err(|error| error.to_string())) {
            Ok(tools) => tools.call(call).await,
            Err(why) => ToolAnswer::Unreached(why.clone()),
        }
    }
}

/// Commits are seen by the table's stream; who waits for one looks again and again.
struct Polling;

#[async_trait]
impl Notifier for Polling {
    fn committed(&self, _: &WorkspaceId, _: &ExecutionId, _: bool) {}
    async fn idle(&self, _: &ExecutionId, ms: u64) {
        SystemClock.sleep(ms.min(POLL_MS)).await;
    }
}
