//! What a function has: an engine over AWS, the queue of stage events, the archive. Built from the
//! environment that the template gives; nothing is called.

use crate::{
    Aws, DynamoTable, SecretSigner, StageQueue, StepFunctions,
    identity::{self, LazyProvider},
};
use async_trait::async_trait;
use contracts::{ExecutionId, WorkspaceId, manifest::BindingKind};
use countersign_store::{Clock as _, Notifier};
use countersign_tools::{BINDINGS, Dispatch};
use engine::{
    Config, Engine, Ports,
    ports::{IdentityProvider, NoIdentityProvider, ToolAnswer, ToolCall, Tools},
};
use host::{SystemClock, SystemIds};
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

/// What AWS calls beside what any machine can.
const OWN_BINDINGS: [BindingKind; 2] = [BindingKind::Lambda, BindingKind::Sqs];

/// Between two looks of a caller that waits for an execution, in milliseconds.
const POLL_MS: u64 = 300;

/// The environment lacks something.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable `{0}` is missing")]
pub struct ConfigError(&'static str);

/// What a function has.
pub struct Host {
    pub engine: Arc<Engine>,
    aws: Aws,
}

impl Host {
    /// Reads `TABLE_NAME`, `BLOB_BUCKET`, `STATE_MACHINE_ARN`, `SIGNING_SECRET_ARN`,
    /// `VAULT_KEY_ARN`, `PUBLIC_URL`, `ALLOW_PRIVATE_TARGETS`, `MAIL_FROM`, `OIDC_ISSUER`, and
    /// Lambda's own. What a function does not use may be absent; using it says so.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::with(|_| Arc::new(NoTools), |_| Arc::new(NoIdentityProvider))
    }

    /// The same for a function that signs people in: `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET_ARN`,
    /// `OIDC_GROUPS_CLAIM`, `OIDC_SCOPES`, `OIDC_ACR_VALUES`.
    pub fn signing_in() -> Result<Self, ConfigError> {
        let private = env::var("ALLOW_PRIVATE_TARGETS").is_ok_and(|value| value == "true");
        Self::with(|_| Arc::new(NoTools), |aws| Arc::new(LazyProvider::new(aws.secrets(), private)))
    }

    /// The same for a function that calls tools or subscribers; what that takes is in no other
    /// function's package.
    pub fn calling() -> Result<Self, ConfigError> {
        Self::with(
            |aws| Arc::new(LazyTools { aws: aws.clone(), tools: OnceLock::new() }),
            |_| Arc::new(NoIdentityProvider),
        )
    }

    fn with(
        tools: impl FnOnce(&Aws) -> Arc<dyn Tools>,
        identity: impl FnOnce(&Aws) -> Arc<dyn IdentityProvider>,
    ) -> Result<Self, ConfigError> {
        let aws = Aws::from_env()
            .map_err(|_| ConfigError("AWS_REGION, AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY"))?;
        let text = |name: &str| env::var(name).unwrap_or_default();
        let on = |name: &str| text(name) == "true";
        let table = env::var("TABLE_NAME").map_err(|_| ConfigError("TABLE_NAME"))?;
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let ports = Ports {
            table: Arc::new(DynamoTable::new(aws.dynamodb(), table, clock.clone(), ids.clone())),
            blobs: Arc::new(aws.bucket(&text("BLOB_BUCKET"))),
            tools: tools(&aws),
            orchestrator: Arc::new(StepFunctions::new(aws.sfn(), text("STATE_MACHINE_ARN"))),
            notifier: Arc::new(Polling),
            clock,
            ids,
            signer: Arc::new(SecretSigner::new(aws.secrets(), text("SIGNING_SECRET_ARN"))),
            vault_keys: Arc::new(aws.vault_keys(text("VAULT_KEY_ARN"))),
            mailer: Arc::new(aws.mailer(&mail_from(text("MAIL_FROM"), &text("PUBLIC_URL")))),
            identity: identity(&aws),
            archive: Arc::new(aws.bucket(&text("EXPORT_BUCKET"))),
        };
        let config = Config {
            allow_private_targets: on("ALLOW_PRIVATE_TARGETS"),
            // For every function: one installs what another calls.
            bindings: BINDINGS.into_iter().chain(OWN_BINDINGS).collect(),
            public_url: text("PUBLIC_URL").trim_end_matches('/').to_owned(),
            issuer: identity::issuer(),
            call_ms_max: CALL_MS_MAX,
            ..Config::default()
        };
        Ok(Self { engine: Arc::new(Engine::new(ports, config)), aws })
    }

    /// The queue of stage events (`STAGE_QUEUE_URL`).
    pub fn queue(&self) -> StageQueue {
        StageQueue::new(self.aws.sqs(), env::var("STAGE_QUEUE_URL").unwrap_or_default())
    }
}

// Mails hold links: without an address for them there is no mail.
fn mail_from(from: String, public_url: &str) -> String {
    if !from.is_empty() && public_url.is_empty() {
        tracing::error!("MAIL_FROM without PUBLIC_URL: no mails are sent");
        return String::new();
    }
    from
}

/// A function that calls none.
struct NoTools;

#[async_trait]
impl Tools for NoTools {
    async fn call(&self, _: ToolCall) -> ToolAnswer {
        ToolAnswer::forbidden("this function calls no tools")
    }
}

/// The HTTP client of tools reads the machine's certificates: made when the first tool is called.
struct LazyTools {
    aws: Aws,
    tools: OnceLock<Result<Dispatch, String>>,
}

impl LazyTools {
    fn dispatch(&self) -> Result<Dispatch, String> {
        let tools = Dispatch::new().map_err(|error| error.to_string())?;
        Ok(tools
            .with(BindingKind::Lambda, Arc::new(self.aws.lambda_tools()))
            .with(BindingKind::Sqs, Arc::new(self.aws.sqs_tools())))
    }
}

#[async_trait]
impl Tools for LazyTools {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        match self.tools.get_or_init(|| self.dispatch()) {
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
    async fn wait_until_idle(&self, _: &ExecutionId, ms: u64) {
        SystemClock.sleep(ms.min(POLL_MS)).await;
    }
}
