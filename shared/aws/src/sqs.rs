//! Stage events on a FIFO queue: group = execution, or one workspace's log, deduplication id =
//! event hash.

use async_trait::async_trait;
use aws_sdk_sqs::{Client, error::ProvideErrorMetadata, types::SendMessageBatchRequestEntry};
use contracts::{WorkspaceId, event::CloudEvent};
use countersign_store::{PortError, Stream};
use engine::ports::Publisher;

/// Messages of one request.
const BATCH_MAX: usize = 10;
/// Bytes of one request: below SQS's limit, with room for what surrounds the bodies.
const BATCH_BYTES_MAX: usize = 240 * 1024;

/// The queue of stage events.
pub struct StageQueue {
    client: Client,
    url: String,
}

impl StageQueue {
    /// A queue by its URL.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    // Says how many, from the first, are in the queue.
    async fn send(&self, batch: &[(String, String, String)]) -> (usize, Result<(), PortError>) {
        let entries: Result<Vec<_>, _> = batch
            .iter()
            .enumerate()
            .map(|(index, (group, id, body))| {
                SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(body)
                    .message_group_id(group)
                    .message_deduplication_id(id)
                    .build()
            })
            .collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return (0, Err(PortError::Corrupt(error.to_string()))),
        };
        match self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
        {
            Ok(out) if out.failed().is_empty() => (batch.len(), Ok(())),
            Ok(out) => {
                // What came behind a failure may be in the queue; sent again in order, it is known
                // by its id.
                let first = out
                    .failed()
                    .iter()
                    .filter_map(|entry| entry.id().parse::<usize>().ok())
                    .min()
                    .unwrap_or(0);
                let why =
                    out.failed().first().map(|entry| entry.code().to_owned()).unwrap_or_default();
                (first, Err(PortError::Unavailable(format!("the queue refused: {why}"))))
            }
            Err(error) => {
                let code = error.code().unwrap_or("no answer").to_owned();
                (
                    0,
                    Err(PortError::Unavailable(format!(
                        "{code}: {}",
                        error.message().unwrap_or_default()
                    ))),
                )
            }
        }
    }
}

#[async_trait]
impl Publisher for StageQueue {
    async fn publish(
        &self,
        workspace: &WorkspaceId,
        events: &[CloudEvent],
    ) -> (usize, Result<(), PortError>) {
        let mut sent = 0;
        let mut batch: Vec<(String, String, String)> = Vec::new();
        let mut bytes = 0;
        for event in events {
            let body = match serde_json::to_string(event) {
                Ok(body) => body,
                Err(error) => return (sent, Err(PortError::Corrupt(error.to_string()))),
            };
            if batch.len() == BATCH_MAX
                || (bytes + body.len() > BATCH_BYTES_MAX && !batch.is_empty())
            {
                let (count, outcome) = self.send(&batch).await;
                sent += count;
                if outcome.is_err() {
                    return (sent, outcome);
                }
                batch.clear();
                bytes = 0;
            }
            bytes += body.len();
            // The logs of two workspaces are two groups: neither waits for the other.
            let group = match event.subject.parse() {
                Ok(Stream::Log) => format!("{workspace}/{}", event.subject),
                Ok(Stream::Trace(_)) | Err(_) => event.subject.clone(),
            };
            batch.push((group, event.id.hex().to_owned(), body));
        }
        if batch.is_empty() {
            return (sent, Ok(()));
        }
        let (count, outcome) = self.send(&batch).await;
        (sent + count, outcome)
    }
}
