//! One HTTPS client and one configuration for every service.
//!
//! Region and credentials come from the environment, as Lambda gives them: nothing is looked up, so
//! nothing is called before the first request.

use crate::{Bucket, LambdaTools, SesMailer, SqsTools, kms::KmsVaultKeys, signing::Signing};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{
    rt::sleep::{AsyncSleep, SharedAsyncSleep},
    time::{SharedTimeSource, TimeSource},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, region::Region};
use std::{env, time::Duration};

/// Tries of one request, the first included; throttling, 5xx and time-outs are tried again, with
/// jitter.
pub(crate) const TRIES_MAX: u32 = 4;
/// First back-off of a try, before jitter.
pub(crate) const BACKOFF: Duration = Duration::from_millis(25);
/// Longest one try may take.
pub(crate) const TRY: Duration = Duration::from_secs(3);
/// Longest one request may take, tries and waits included.
const REQUEST: Duration = Duration::from_secs(12);

/// What every client is made of.
#[derive(Clone, Debug)]
pub struct Aws {
    config: SdkConfig,
    credentials: Credentials,
}

impl Aws {
    /// From Lambda's environment: `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, and `AWS_ENDPOINT_URL` for a stack that is not AWS.
    pub fn from_env() -> Result<Self, env::VarError> {
        let credentials = Credentials::new(
            env::var("AWS_ACCESS_KEY_ID")?,
            env::var("AWS_SECRET_ACCESS_KEY")?,
            env::var("AWS_SESSION_TOKEN").ok(),
            None,
            "environment",
        );
        let endpoint = env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty());
        Ok(Self::new(Region::new(env::var("AWS_REGION")?), credentials, endpoint, None))
    }

    /// A stack at an endpoint that takes any credentials, as those on one machine do.
    pub fn at(endpoint: &str, region: &str) -> Self {
        let credentials = Credentials::new("test", "test", None, None, "any");
        Self::new(Region::new(region.to_owned()), credentials, Some(endpoint.to_owned()), None)
    }

    /// With everything said; `http` replaces the HTTPS client.
    pub fn new(
        region: Region,
        credentials: Credentials,
        endpoint: Option<String>,
        http: Option<SharedHttpClient>,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(TRY)
            .operation_timeout(REQUEST)
            .build();
        let retries =
            RetryConfig::standard().with_max_attempts(TRIES_MAX).with_initial_backoff(BACKOFF);
        let mut config = SdkConfig::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(region)
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .http_client(http.unwrap_or_else(crate::transport::client))
            .timeout_config(timeouts)
            .retry_config(retries);
        config.set_endpoint_url(endpoint);
        Self { config: config.build(), credentials }
    }

    /// The same with another clock, for simulation.
    pub fn simulated(
        mut self,
        sleep: impl AsyncSleep + 'static,
        time: impl TimeSource + 'static,
    ) -> Self {
        let config = self.config.to_builder();
        self.config = config
            .sleep_impl(SharedAsyncSleep::new(sleep))
            .time_source(SharedTimeSource::new(time))
            .build();
        self
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }
    /// A bucket of S3.
    pub fn bucket(&self, name: &str) -> Bucket {
        let region = self.config.region().map(ToString::to_string).unwrap_or_default();
        Bucket::new(self.credentials.clone(), region, self.config.endpoint_url(), name)
    }
    /// The keeper of the vault's key, by the key's ARN.
    pub fn vault_keys(&self, key: String) -> KmsVaultKeys {
        let region = self.config.region().map(ToString::to_string).unwrap_or_default();
        let signing = Signing { credentials: self.credentials.clone(), region };
        KmsVaultKeys::new(signing, self.config.endpoint_url(), key)
    }
    /// What sends mails, from an address; none where it is empty.
    pub fn mailer(&self, from: &str) -> SesMailer {
        let region = self.config.region().map(ToString::to_string).unwrap_or_default();
        let signing = Signing { credentials: self.credentials.clone(), region };
        let from = (!from.is_empty()).then(|| from.parse());
        let from = from.transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "MAIL_FROM: no mails are sent");
            None
        });
        SesMailer::new(signing, self.config.endpoint_url(), from)
    }
    /// Step Functions.
    pub fn sfn(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.config)
    }
    /// SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }
    /// Tools that are Lambda functions.
    pub fn lambda_tools(&self) -> LambdaTools {
        LambdaTools::new(self.credentials.clone(), self.config.endpoint_url())
    }
    /// Tools behind queues of SQS.
    pub fn sqs_tools(&self) -> SqsTools {
        SqsTools::new(&self.config)
    }
    /// Secrets Manager.
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
}
