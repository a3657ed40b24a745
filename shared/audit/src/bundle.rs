//! The bundle of one execution: its whole trace, and the proof that it stands in the log.

use crate::{
    Options,
    events::Streams,
    folder::check_document,
    log::note_refused,
    report::{Code, Report},
};
use contracts::{
    Stream, WorkspaceId,
    evidence::{BUNDLE_FORMAT, Document, LogProof},
};
use cs_core::transparency::{Checkpoint, check_inclusion};
use serde::Deserialize;
use serde_json::value::RawValue;

/// As `contracts::evidence::Bundle`, its events as they were written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle<'b> {
    format: String,
    workspace_id: WorkspaceId,
    #[serde(borrow)]
    events: Vec<&'b RawValue>,
    documents: Vec<Document>,
    proof: LogProof,
}

/// None: it is no bundle.
pub(crate) fn check(bytes: &[u8], options: &Options) -> Option<Report> {
    let bundle: Bundle<'_> = serde_json::from_slice(bytes).ok()?;
    if bundle.format != BUNDLE_FORMAT {
        return None;
    }
    let mut report = Report::default();
    report.checked.workspaces.insert(bundle.workspace_id.to_string());
    let mut streams = Streams::new(&bundle.workspace_id);
    let LogProof { leaf, index, path, checkpoint } = &bundle.proof;
    for event in &bundle.events {
        if let Some((stream, seq)) = streams.push(event.get().as_bytes(), "events", &mut report)
            && stream != leaf.stream
        {
            let message = format!("{stream} event {seq} is no event of {}", leaf.stream);
            report.add(Code::EventUnlinked, "events", message);
        }
    }
    for document in &bundle.documents {
        report.checked.documents += 1;
        check_document(document, "documents", &mut report);
    }
    let end = streams.end(&leaf.stream);
    if (end.seq, &end.hash) != (leaf.seq, &leaf.hash) {
        let message = format!(
            "{} ends with event {}; the log has event {}, or another hash",
            leaf.stream, end.seq, leaf.seq
        );
        report.add(Code::TailCut, "events", message);
    }
    if leaf.stream == Stream::Log {
        report.add(Code::Unreadable, "proof", "a bundle is of an execution");
    }
    match Checkpoint::open(checkpoint, &bundle.workspace_id, &options.keys) {
        Err(error) => note_refused(&mut report, "checkpoint", &error),
        Ok(opened) => {
            report.checked.entries += 1;
            report.checked.checkpoints.push(format!("{} {}", bundle.workspace_id, opened.size));
            if check_inclusion(leaf, *index, path, &opened).is_err() {
                let message = "the proof does not lead to the root of the checkpoint";
                report.add(Code::LogChanged, "proof", message);
            }
        }
    }
    Some(report)
}
