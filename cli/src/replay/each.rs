//! Many replays, several at once. What one of them meets keeps the others from nothing; what all
//! would meet ends them.

use super::Listed;
use crate::error::CliError;
use client::{Client, ClientError};
use contracts::query::Difference;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::task::JoinSet;

/// Waits before a call is made again that was refused for the moment, in seconds, after those of
/// the client.
const PAUSES_SECONDS: [u64; 5] = [1, 2, 4, 8, 16];

/// What came of one replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    Matched,
    Different {
        /// Absent where the server does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        difference: Option<Difference>,
    },
    /// It could not be read.
    Unreadable {
        code: String,
        detail: String,
    },
}

/// Replays each, at most `jobs` at once, and hands over what came of it as it comes.
pub async fn replay(
    client: &Client,
    executions: Vec<Listed>,
    jobs: usize,
    mut done: impl FnMut(Listed, Outcome) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut waiting = executions.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < jobs {
            let Some(execution) = waiting.next() else { break };
            let client = client.clone();
            under_way.spawn(async move {
                let outcome = outcome(&client, &execution).await;
                (execution, outcome)
            });
        }
        let Some(ended) = under_way.join_next().await else { return Ok(()) };
        let (execution, outcome) = ended.map_err(CliError::local)?;
        done(execution, outcome?)?;
    }
}

async fn outcome(client: &Client, execution: &Listed) -> Result<Outcome, CliError> {
    let mut pauses = PAUSES_SECONDS.into_iter();
    let error = loop {
        let error = match client.replay(&execution.id).await {
            Ok(answer) if answer.matches => return Ok(Outcome::Matched),
            Ok(answer) => {
                let difference = answer.into_inner().differences.into_iter().next();
                return Ok(Outcome::Different { difference });
            }
            Err(error) => error,
        };
        match pauses.next().filter(|_| is_busy(&error)) {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => break error,
        }
    };
    if meets_all(&error) {
        return Err(error.into());
    }
    let code = error.problem().map_or("UNEXPECTED_ANSWER".to_owned(), |said| said.code.to_string());
    let detail = error.problem().map_or_else(|| error.to_string(), |said| said.detail.clone());
    Ok(Outcome::Unreadable { code, detail })
}

fn status(error: &ClientError) -> Option<u16> {
    error.problem().map(|problem| problem.status)
}

fn is_busy(error: &ClientError) -> bool {
    matches!(status(error), Some(429 | 503))
}

// Nobody answers, or nobody may ask: the next execution would have no other answer.
fn meets_all(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. }) || matches!(status(error), Some(401 | 403))
}
