//! The transparency log: its entries give the roots of its checkpoints, and are the ends of the
//! streams.

use crate::{
    Options,
    events::Streams,
    report::{Code, Report},
    surely_before,
};
use contracts::{
    Digest, Stream, Timestamp, WorkspaceId,
    evidence::{LogLeaf, LogPart},
};
use cs_core::transparency::{Checkpoint, Compact, TreeError, leaf_hash};
use std::collections::BTreeMap;

/// A checkpoint that was kept elsewhere.
enum Anchor {
    None,
    Open(Checkpoint),
    Met,
}

/// The log of a workspace, as far as it was read.
pub(crate) struct Log {
    tree: Compact,
    begun: bool,
    /// The exports are there from the first one on.
    whole: bool,
    anchor: Anchor,
    /// Entries whose events were not seen yet.
    awaited: BTreeMap<(Stream, u64), (Digest, Timestamp)>,
}

impl Log {
    pub(crate) fn new(workspace: &WorkspaceId, options: &Options, report: &mut Report) -> Self {
        let anchor = match &options.checkpoint {
            None => Anchor::None,
            Some(signed) => match Checkpoint::open(signed, workspace, &options.keys) {
                Ok(checkpoint) => Anchor::Open(checkpoint),
                Err(error) => {
                    note_refused(report, "the checkpoint that was given", &error);
                    Anchor::None
                }
            },
        };
        let (tree, awaited) = (Compact::default(), BTreeMap::new());
        Self { tree, begun: false, whole: options.from == 1, anchor, awaited }
    }

    /// The entries that the next manifests must have the events of.
    pub(crate) fn expect(&mut self, leaf: LogLeaf, streams: &mut Streams, report: &mut Report) {
        let place = format!("log, {} event {}", leaf.stream, leaf.seq);
        match leaf_hash(&leaf) {
            Ok(hash) => self.tree.push(hash),
            Err(error) => report.add(Code::Unreadable, &place, error.to_string()),
        }
        self.meet_anchor(report);
        report.checked.entries += 1;
        match streams.ends.get_mut(&leaf.stream) {
            Some(end) if end.seq == leaf.seq => {
                end.unlogged = false;
                compare(&leaf.hash, &end.hash, &place, report);
            }
            Some(end) if end.seq > leaf.seq => {
                let message = "the log got it after what follows it was exported";
                report.add(Code::LogChanged, &place, message);
            }
            Some(_) | None => {
                self.awaited.insert((leaf.stream, leaf.seq), (leaf.hash, leaf.at));
            }
        }
    }

    /// An event was read: is it what the log says?
    pub(crate) fn saw(
        &mut self,
        (stream, seq): (Stream, u64),
        streams: &mut Streams,
        report: &mut Report,
    ) {
        let key = (stream, seq);
        let Some((hash, _)) = self.awaited.remove(&key) else { return };
        let Some(end) = streams.ends.get_mut(&key.0) else { return };
        end.unlogged = false;
        compare(&hash, &end.hash, &format!("{} event {seq}", key.0), report);
    }

    /// Before the entries of a manifest: they follow those of the manifest before.
    pub(crate) fn begin(&mut self, part: &LogPart, place: &str, report: &mut Report) {
        let before = Compact::new(part.from, &part.subtrees);
        match before {
            Err(error) => report.add(Code::Unreadable, place, error.to_string()),
            Ok(before) if !self.begun => {
                if before.size() > 0 && self.whole {
                    let message = format!("its first {} entries are in no export", before.size());
                    report.add(Code::LogForked, place, message);
                }
                self.tree = before;
                self.meet_anchor(report);
            }
            Ok(before) if before.size() != self.tree.size() => {
                let message = format!(
                    "the log goes on at entry {}, not at {}",
                    before.size(),
                    self.tree.size()
                );
                report.add(Code::LogForked, place, message);
                self.tree = before;
            }
            Ok(before) if before.root() != self.tree.root() => {
                let message = "it goes on from another log than the one exported before";
                report.add(Code::LogForked, place, message);
                self.tree = before;
            }
            Ok(_) => {}
        }
        self.begun = true;
    }

    /// After them: they give the root of its checkpoint.
    pub(crate) fn end(
        &mut self,
        part: &LogPart,
        (workspace, options): (&WorkspaceId, &Options),
        place: &str,
        report: &mut Report,
    ) {
        match Checkpoint::open(&part.checkpoint, workspace, &options.keys) {
            Err(error) => note_refused(report, place, &error),
            Ok(checkpoint) => {
                let actual = Checkpoint { size: self.tree.size(), root: self.tree.root() };
                if checkpoint != actual || checkpoint.size != part.size {
                    let message = format!(
                        "its {} entries do not give the root of its checkpoint of {}",
                        actual.size, checkpoint.size
                    );
                    report.add(Code::LogChanged, place, message);
                }
            }
        }
    }

    /// A run is complete: what the log named before is there, and what ended stands in the log.
    pub(crate) fn complete(
        &mut self,
        to: Timestamp,
        streams: &mut Streams,
        place: &str,
        report: &mut Report,
    ) {
        let overdue = |at: &Timestamp| surely_before(*at, to);
        self.awaited.retain(|(stream, seq), (_, at)| {
            if !overdue(at) {
                return true;
            }
            let end = streams.end(stream);
            let message = match end.seq {
                0 => format!("the log has {stream} with {seq} events; no event of it is here"),
                there => format!("the log has {stream} with {seq} events; it ends at {there}"),
            };
            let code = if end.seq == 0 { Code::ExecutionMissing } else { Code::TailCut };
            report.add(code, place, message);
            false
        });
        for (stream, end) in &mut streams.ends {
            if end.unlogged && overdue(&end.at) {
                let message = format!("{stream} ended, and its end does not stand in the log");
                report.add(Code::ExecutionUnlogged, place, message);
                end.unlogged = false;
            }
        }
    }

    /// Nothing follows.
    pub(crate) fn finish(self, workspace: &WorkspaceId, report: &mut Report) {
        report.checked.newer += self.awaited.len() as u64;
        report.checked.checkpoints.push(format!("{workspace} {}", self.tree.size()));
        if let Anchor::Open(anchor) = self.anchor {
            let (size, there) = (anchor.size, self.tree.size());
            let message = format!(
                "the checkpoint that was given has {size} entries; the exports end with {there}"
            );
            report.add(Code::LogCut, format!("log of {workspace}"), message);
        }
    }

    fn meet_anchor(&mut self, report: &mut Report) {
        let Anchor::Open(anchor) = &self.anchor else { return };
        if anchor.size != self.tree.size() {
            return;
        }
        if anchor.root != self.tree.root() {
            let message = format!(
                "its first {} entries are not those of the checkpoint that was given: \
                 history was written anew",
                anchor.size
            );
            report.add(Code::LogForked, "log", message);
        }
        self.anchor = Anchor::Met;
    }
}

fn compare(said: &Digest, actual: &Digest, place: &str, report: &mut Report) {
    if said != actual {
        let message = "the log has another hash: what happened was written anew since";
        report.add(Code::ExecutionMissing, place, message);
    }
}

/// A note that is not believed.
pub(crate) fn note_refused(report: &mut Report, place: &str, error: &TreeError) {
    use cs_core::note::NoteError::{Forged, UnknownKey};
    let code = match error {
        TreeError::Note(UnknownKey) => Code::UnknownKey,
        TreeError::Note(Forged) => Code::Forged,
        _ => Code::Unreadable,
    };
    report.add(code, place, error.to_string());
}
