//! Events, one after the other: each with the hash of its content, each behind the one before.

use crate::{
    report::{Code, Report},
    surely_before,
};
use contracts::{Digest, Stream, Timestamp, WorkspaceId};
use cs_core::canonical;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap};

/// What ends an execution.
const ENDS: [&str; 3] = [
    "controlPlane.execution.completed",
    "controlPlane.execution.failed",
    "controlPlane.execution.cancelled",
];

/// A line of an export: a CloudEvent. Every attribute is covered by the hash, or has one value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'l> {
    specversion: &'l str,
    id: Digest,
    source: Cow<'l, str>,
    subject: Stream,
    #[serde(rename = "type", borrow)]
    kind: Cow<'l, str>,
    time: Timestamp,
    datacontenttype: &'l str,
    sequence: u64,
    #[serde(borrow)]
    actor: Cow<'l, str>,
    #[serde(default, borrow)]
    actorkind: Option<Cow<'l, str>>,
    #[serde(default, borrow)]
    keyid: Option<Cow<'l, str>>,
    #[serde(default, borrow)]
    onbehalfof: Option<Cow<'l, str>>,
    #[serde(default, borrow)]
    channel: Option<Cow<'l, str>>,
    #[serde(default, borrow)]
    traceparent: Option<Cow<'l, str>>,
    #[serde(borrow)]
    data: &'l RawValue,
}

/// What the hash of an event covers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hashed<'l> {
    seq: u64,
    at: Timestamp,
    actor: Actor<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: &'l Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: &'l Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: &'l Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: &'l Option<Cow<'l, str>>,
    #[serde(rename = "type")]
    kind: &'l str,
    data: &'l RawValue,
    prev: &'l Digest,
}

#[derive(Serialize)]
struct Actor<'l> {
    kind: &'l str,
    id: &'l str,
}

/// Where a stream ends, as far as it was read.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) seq: u64,
    pub(crate) hash: Digest,
    pub(crate) at: Timestamp,
    /// The execution ended with it, and the log did not say so yet.
    pub(crate) unlogged: bool,
}

impl Default for End {
    fn default() -> Self {
        Self { seq: 0, hash: Digest::zero(), at: Timestamp::from_ms(0), unlogged: false }
    }
}

/// The streams of a workspace.
pub(crate) struct Streams {
    source: String,
    pub(crate) ends: HashMap<Stream, End>,
}

impl Streams {
    pub(crate) fn new(workspace: &WorkspaceId) -> Self {
        Self { source: format!("countersign/{workspace}"), ends: HashMap::new() }
    }

    /// Where a stream ends so far.
    pub(crate) fn end(&self, stream: &Stream) -> End {
        self.ends.get(stream).cloned().unwrap_or_default()
    }

    /// Reads the next event. Gives its stream and sequence number, where it can be read so far.
    pub(crate) fn push(
        &mut self,
        line: &[u8],
        file: &str,
        report: &mut Report,
    ) -> Option<(Stream, u64)> {
        let read: Line<'_> = match serde_json::from_slice(line) {
            Ok(read) => read,
            Err(error) => {
                report.add(Code::Unreadable, file, format!("an event cannot be read: {error}"));
                return None;
            }
        };
        let (stream, seq) = (read.subject.clone(), read.sequence);
        let place = format!("{file}, {stream} event {seq}");
        if read.source != self.source
            || read.specversion != "1.0"
            || read.datacontenttype != "application/json"
        {
            let message = "its source is another workspace, or its form another version's";
            report.add(Code::EventChanged, &place, message);
        }
        let before = self.end(&stream);
        if seq != before.seq + 1 {
            let message = match seq > before.seq + 1 {
                true => format!("event {} is missing", before.seq + 1),
                false => "the event was there before".to_owned(),
            };
            report.add(Code::EventMissing, &place, message);
        }
        let hashed = Hashed {
            seq,
            at: read.time,
            actor: Actor { kind: read.actorkind.as_deref().unwrap_or_default(), id: &read.actor },
            key_id: &read.keyid,
            subject: &read.onbehalfof,
            channel: &read.channel,
            traceparent: &read.traceparent,
            kind: &read.kind,
            data: read.data,
            prev: &before.hash,
        };
        // Where the one before is missing or another one, it does not follow: that is said above.
        let actual = canonical::digest(&hashed);
        if seq == before.seq + 1 && !actual.is_ok_and(|actual| actual == read.id) {
            let message = "it was changed, or does not follow the event before it: its content \
                and the hash before it do not give its hash";
            report.add(Code::EventChanged, &place, message);
        }
        if surely_before(read.time, before.at) {
            let message = format!("its time, {}, lies before the one before it", read.time);
            report.add(Code::ClockBack, &place, message);
        }
        report.saw(read.time);
        report.checked.events += 1;
        if before.seq == 0 && matches!(stream, Stream::Trace(_)) {
            report.checked.executions += 1;
        }
        let unlogged = ENDS.contains(&&*read.kind);
        let end = End { seq, hash: read.id, at: read.time, unlogged };
        self.ends.insert(stream.clone(), end);
        Some((stream, seq))
    }
}
