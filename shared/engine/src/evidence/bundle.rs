//! controlPlane.execution.evidence.export: one execution with everything that proves it, and
//! nothing of any other.

use crate::{
    Answer, Base, Caller, Parts, Queries, Transparency, Updates, Views, boxed, cloud_event,
    evidence::{documents::named, transparency::not_there},
};
use contracts::{
    Code, Issue, Problem,
    command::{EvidenceExportedAnswer, ExportEvidence},
    event::{Entry, EvidenceExported, WorkspaceEvent},
    evidence::{BUNDLE_FORMAT, Bundle},
    limits::TRACE_PAYLOADS_BYTES_MAX,
};
use countersign_store::{Change, Loaded, PortError, Stream, encode};
use cs_core::canonical;
use std::sync::Arc;

/// Hands out the evidence of single executions.
pub struct Bundles {
    pub(crate) base: Arc<Base>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) views: Arc<Views>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) transparency: Arc<Transparency>,
}

impl Bundles {
    pub(crate) fn new(
        parts: &Parts,
        (queries, transparency): (Arc<Queries>, Arc<Transparency>),
    ) -> Self {
        let (base, updates) = (parts.base.clone(), parts.updates.clone());
        Self { base, updates, views: parts.views.clone(), queries, transparency }
    }

    /// The evidence of an execution that has ended. INVARIANT (authority-is-on-record): the
    /// workspace log says who took it.
    #[boxed]
    pub async fn export(
        &self,
        caller: &Caller,
        request: ExportEvidence,
    ) -> Answer<EvidenceExportedAnswer> {
        caller.require("control-plane.audit")?;
        let author = caller.author(self.base.now());
        let exported = self.base.store.change(&author, ("evidence.export", &request), || {
            Box::pin(async {
                let loaded = self.updates.load_for(caller, &request.execution_id).await?;
                let bundle = self.bundle(&loaded).await?;
                let digest = canonical::digest(&bundle).map_err(crate::not_canonical)?;
                let event = WorkspaceEvent::EvidenceExported(EvidenceExported {
                    key: request.execution_id.to_string(),
                    digest: digest.clone(),
                    at: self.base.now(),
                    actor_id: caller.actor.id.clone(),
                });
                Ok(Change::new(EvidenceExportedAnswer { bundle, digest }, event, Vec::new()))
            })
        });
        Ok(exported.await?.answer())
    }

    async fn bundle(&self, loaded: &Loaded) -> Answer<Bundle> {
        let (workspace, id) = (&loaded.state.workspace, &loaded.state.id);
        if !loaded.state.status.ended() {
            let message = "the execution has not ended: its trace still grows";
            let advice = "wait for its end, or read its trace (trace.get)";
            return Err(Problem::new(Code::Conflict, message).issue(Issue::new("", advice)));
        }
        let stream = Stream::Trace(id.clone());
        let proof = self.transparency.prove(workspace, &stream, loaded.chain.seq).await?;
        if proof.leaf.seq != loaded.chain.seq {
            return Err(not_there(&stream));
        }
        let entries = self.queries.entries(loaded, 1).await?.into_iter();
        let entries = entries.map(serde_json::from_value::<Entry>).collect::<Result<Vec<_>, _>>();
        let unreadable = |error: serde_json::Error| PortError::Corrupt(error.to_string());
        let entries = entries.map_err(unreadable)?;
        let names = entries.iter().flat_map(named).collect();
        let mut bundle = Bundle {
            format: BUNDLE_FORMAT.into(),
            workspace_id: workspace.clone(),
            events: entries
                .into_iter()
                .map(|entry| cloud_event(workspace, &stream, entry))
                .collect(),
            documents: Vec::new(),
            proof,
        };
        // What proves comes first; documents as far as an answer has room for them.
        let mut room = TRACE_PAYLOADS_BYTES_MAX.checked_sub(encode(&bundle)?.len());
        if room.is_none() {
            let message = "the trace is too large for one answer";
            let advice = "it is in the exports of the workspace";
            return Err(Problem::new(Code::Conflict, message).issue(Issue::new("", advice)));
        }
        for document in self.views.documents(workspace, &stream, &names).await? {
            let left = room.and_then(|room| room.checked_sub(encode(&document).ok()?.len()));
            if left.is_some() {
                bundle.documents.push(document);
                room = left;
            }
        }
        Ok(bundle)
    }
}
