//! AWS: the table on DynamoDB, blobs and exports on S3, signals on Step Functions, stage events on SQS, and the glue
//! that makes a function of routes and tasks.
//!
//! **Architecture invariant:** the only crate that names `aws_*`. No network call before the first invocation.

mod client;
mod dynamodb;
mod host;
mod kms;
mod lambda;
mod s3;
mod secret;
mod sfn;
mod sqs;
mod telemetry;
mod transport;

pub use client::Aws;
pub use dynamodb::{Budget, DynamoTable, Units};
pub use host::{Host, Misconfigured, run_budget_ms, schedule_budget_ms};
pub use kms::KmsVaultKeys;
pub use lambda::{Error, Task, calls, http, serve, tasks, unauthorized};
pub use s3::Bucket;
pub use secret::SecretSigner;
pub use sfn::StepFunctions;
pub use sqs::StageQueue;
