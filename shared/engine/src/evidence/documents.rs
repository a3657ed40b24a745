//! What events name by digest, as far as it is kept: for those who read evidence elsewhere.

use crate::{Views, boxed, records::PolicyRecord};
use contracts::{
    Digest, WorkspaceId,
    event::{Entry, Event, ExecutionEvent, WorkspaceEvent},
    evidence::{Document, DocumentKind},
};
use countersign_store::{Key, PortError, Stream, keys};
use cs_core::canonical;
use serde_json::Value;
use std::collections::BTreeSet;

/// A document by its name.
pub(crate) type Named = (DocumentKind, Digest);

/// What an event names.
pub(crate) fn named(entry: &Entry) -> Vec<Named> {
    use DocumentKind::{Intent, Plan, Policy, Verdict, View};
    match &entry.event {
        Event::Workspace(WorkspaceEvent::PolicyActivated(data)) => {
            vec![(Policy, data.digest.clone())]
        }
        Event::Workspace(_) => Vec::new(),
        Event::Execution(ExecutionEvent::IntentReceived(data)) => {
            vec![(Intent, data.intent_digest.clone())]
        }
        Event::Execution(ExecutionEvent::PlanCompiled(data)) => {
            vec![(Plan, data.plan_digest.clone())]
        }
        Event::Execution(ExecutionEvent::PlanVerified(data)) => vec![
            (Policy, data.policy_digest.clone()),
            (Verdict, data.verdict_digest.clone()),
            (View, data.view_digest.clone()),
        ],
        Event::Execution(ExecutionEvent::PlanRejected(data)) => {
            let policy = data.policy_digest.iter().map(|digest| (Policy, digest.clone()));
            policy
                .chain(data.verdict_digest.iter().map(|digest| (Verdict, digest.clone())))
                .collect()
        }
        Event::Execution(ExecutionEvent::ApprovalRequested(data)) => {
            vec![(View, data.view_digest.clone())]
        }
        Event::Execution(_) => Vec::new(),
    }
}

impl Views {
    /// The documents of these names that are kept and have their digests.
    #[boxed]
    pub(crate) async fn documents(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        names: &BTreeSet<Named>,
    ) -> Result<Vec<Document>, PortError> {
        let mut found = Vec::new();
        for (kind, digest) in names {
            match self.document(workspace, stream, (*kind, digest)).await {
                Ok(Some(body)) => {
                    found.push(Document { kind: *kind, digest: digest.clone(), body })
                }
                Ok(None) => {}
                Err(PortError::Corrupt(why)) => {
                    tracing::error!(%workspace, %stream, ?kind, %digest, why, "cannot be read");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }

    async fn document(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        (kind, digest): (DocumentKind, &Digest),
    ) -> Result<Option<Value>, PortError> {
        let own = |id| match kind {
            DocumentKind::Intent => Some(keys::body(workspace, id, "intent")),
            DocumentKind::Plan => Some(keys::plan(workspace, id, digest)),
            DocumentKind::Verdict => Some(keys::verdict(workspace, id, digest)),
            DocumentKind::View => Some(keys::view(workspace, id, digest)),
            DocumentKind::Policy => None,
        };
        let body = match (kind, stream) {
            (DocumentKind::Policy, _) => {
                let key = keys::policy(workspace, digest);
                let record: Option<PolicyRecord> = self.base.store.body(&key).await?;
                return Ok(record
                    .map(|record| record.text)
                    .filter(|text| canonical::digest_bytes(text.as_bytes()) == *digest)
                    .map(Value::String));
            }
            (_, Stream::Log) => return Ok(None),
            (_, Stream::Trace(id)) => match own(id) {
                Some(key) => self.stored(&key).await?,
                None => None,
            },
        };
        let is_it = |body: &Value| canonical::digest(body).is_ok_and(|actual| actual == *digest);
        if let Some(body) = body.filter(is_it) {
            return Ok(Some(body));
        }
        // The view of a whole plan is not kept: it is made again.
        match (kind, stream) {
            (DocumentKind::View, Stream::Trace(id)) => {
                let made = async {
                    let loaded = self.base.store.load(workspace, id).await?;
                    self.plan_view_again(&loaded.state).await
                };
                match made.await {
                    Ok(Some((view, made))) if made == *digest => {
                        Ok(serde_json::to_value(view).ok())
                    }
                    Ok(_) => Ok(None),
                    Err(problem) if problem.retryable => {
                        Err(PortError::Unavailable(problem.to_string()))
                    }
                    Err(problem) => Err(PortError::Corrupt(problem.to_string())),
                }
            }
            _ => Ok(None),
        }
    }

    async fn stored(&self, key: &Key) -> Result<Option<Value>, PortError> {
        self.base.store.body(key).await
    }
}
