//! AWS: the table on DynamoDB, blobs and exports on S3, signals on Step Functions, stage events on
//! SQS, mails by SES, tools by Lambda and SQS, and the glue that makes a function of routes and
//! tasks.
//!
//! **Architecture invariant:** the only crate that names `aws_*`. No network call before the first
//! invocation.

mod client;
mod dynamodb;
#[cfg(test)]
mod fake_service;
mod host;
mod identity;
mod kms;
mod lambda;
mod lambda_tools;
mod s3;
mod secret;
mod ses;
mod sfn;
mod signing;
mod sqs;
mod sqs_tools;
mod telemetry;
mod transport;

pub use client::Aws;
pub use dynamodb::{Budget, DynamoTable, Units};
pub use host::{ConfigError, Host, run_budget_ms, schedule_budget_ms};
pub use kms::KmsVaultKeys;
pub use lambda::{
    Error, Task, calls, http, serve, serve_and_call, serve_and_sign_in, tasks, unauthorized,
};
pub use lambda_tools::LambdaTools;
pub use s3::Bucket;
pub use secret::SecretSigner;
pub use ses::SesMailer;
pub use sfn::StepFunctions;
pub use sqs::StageQueue;
pub use sqs_tools::SqsTools;
