//! Packs: what exports say for one control within a period, and whether a pack says that.
//!
//! A pack is made of the exports beside it, and of nothing else. So it is checked by making it
//! anew: each line must be the one that the exports give, and none may be missing.

mod controls;
mod facts;

use crate::{
    AuditError, Options, Watch, folder,
    report::{Code, Report},
};
use contracts::{
    Digest, ExecutionId, Stream, Timestamp, WorkspaceId,
    event::{CloudEvent, Event, ExecutionEvent},
    json,
    pack::{Control, PACK_FORMAT, Pack, PackExports, PackFigure, PackGroup, PackLine},
};
use controls::{Answer, asked, figures};
use facts::{Facts, facts};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read as _,
    path::Path,
};

/// The file that makes a folder a pack.
pub const PACK_FILE: &str = "pack.json";
/// The folder of the exports that it rests on.
pub const PACK_EXPORTS: &str = "exports";
/// Largest `pack.json` read, in bytes.
const PACK_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Findings of the exports that a pack lists.
const LISTED_MAX: usize = 20;

/// Which pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRequest {
    pub control: Control,
    pub workspace: WorkspaceId,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

/// An event of an export, as it is read.
pub(crate) struct ReadEvent<'e> {
    pub(crate) export: u64,
    pub(crate) line: &'e [u8],
}

/// Makes a pack of a folder of exports, and checks the exports meanwhile.
pub fn pack(
    exports: &Path,
    request: &PackRequest,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<(Pack, Report), AuditError> {
    let mut draft = Draft::new(request);
    let mut event = |read: ReadEvent<'_>| drop(draft.read(&read));
    let mut watch = Watch { progress, event: Some(&mut event) };
    let report = folder::check(exports, options, &mut watch)?;
    let range = folder::range(exports, &request.workspace)?;
    let (first, last, to) = range.ok_or_else(|| {
        AuditError::Nothing(format!("{}: {}", exports.display(), request.workspace))
    })?;
    Ok((draft.finish(PackExports { first, last, to }, &report), report))
}

/// Checks a pack: its exports, and that it says what they say.
pub(crate) fn check(
    folder: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, AuditError> {
    let failed = |error| AuditError::Io(folder.join(PACK_FILE).display().to_string(), error);
    let file = File::open(folder.join(PACK_FILE)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(PACK_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let exports = folder.join(PACK_EXPORTS);
    let said: Pack = match json::decode::<Pack>(&bytes) {
        Ok(said) if said.format == PACK_FORMAT => said,
        unreadable => {
            let why = match unreadable {
                Ok(said) => format!("its format is {:?}, not {PACK_FORMAT:?}", said.format),
                Err(error) => error.to_string(),
            };
            let mut watch = Watch { progress, event: None };
            let mut report = folder::check(&exports, options, &mut watch)?;
            report.add(Code::Unreadable, PACK_FILE, why);
            return Ok(report);
        }
    };
    let request = PackRequest {
        control: said.control,
        workspace: said.workspace_id.clone(),
        from: said.from,
        to: said.to,
    };
    // Which of the events that it names are there.
    let lines = said.groups.iter().flat_map(|group| &group.lines);
    let mut named: HashMap<(Stream, u64), Option<Digest>> =
        lines.map(|line| ((line.stream.clone(), line.seq), None)).collect();
    let mut draft = Draft::new(&request);
    let mut event = |read: ReadEvent<'_>| {
        if let Some((key, hash)) = draft.read(&read)
            && let Some(found) = named.get_mut(&key)
        {
            *found = Some(hash);
        }
    };
    let mut watch = Watch { progress, event: Some(&mut event) };
    let mut report = folder::check(&exports, options, &mut watch)?;
    let Some((first, last, to)) = folder::range(&exports, &request.workspace)? else {
        let message = format!("there is no export of {}", request.workspace);
        report.add(Code::ExportMissing, PACK_EXPORTS, message);
        return Ok(report);
    };
    let made = draft.finish(PackExports { first, last, to }, &report);
    compare(&said, &made, &named, &mut report);
    report.checked.pack = Some(said.control.as_str().to_owned());
    Ok(report)
}

fn compare(
    said: &Pack,
    made: &Pack,
    named: &HashMap<(Stream, u64), Option<Digest>>,
    report: &mut Report,
) {
    for (index, group) in said.groups.iter().enumerate() {
        let expected = made.groups.get(index).map_or(&[] as &[PackLine], |made| &made.lines);
        let expected: HashMap<_, _> =
            expected.iter().map(|line| ((&line.stream, line.seq), line)).collect();
        for line in &group.lines {
            report.checked.lines += 1;
            let place =
                format!("{PACK_FILE}, {:?}, {} event {}", group.title, line.stream, line.seq);
            let there = named.get(&(line.stream.clone(), line.seq)).cloned().flatten();
            if there.as_ref() != Some(&line.hash) {
                let message = "no event of the exports has that place and that hash";
                report.add(Code::PackLineMissing, place, message);
            } else if expected.get(&(&line.stream, line.seq)) != Some(&line) {
                report.add(Code::PackChanged, place, "its event says something else");
            }
        }
    }
    for (index, group) in made.groups.iter().enumerate() {
        let place = format!("{PACK_FILE}, {:?}", group.title);
        let there = said.groups.get(index).map_or(&[] as &[PackLine], |said| &said.lines);
        let missing = group.lines.len().saturating_sub(there.len());
        if missing > 0 {
            let message = format!("{missing} lines that the exports give are left out");
            report.add(Code::PackChanged, place, message);
        } else if there.iter().map(at).ne(group.lines.iter().map(at)) {
            report.add(Code::PackChanged, place, "its lines are not those that the exports give");
        }
    }
    let heading = |pack: &Pack| {
        let groups = pack.groups.iter().map(|group| (group.title.clone(), group.asks.clone()));
        let groups: Vec<_> = groups.collect();
        (pack.exports.clone(), pack.findings.clone(), pack.unread, pack.figures.clone(), groups)
    };
    if heading(said) != heading(made) {
        let message = "its exports, findings, figures or titles are not those that come of them";
        report.add(Code::PackChanged, PACK_FILE, message);
    }
}

fn at(line: &PackLine) -> (&Stream, u64) {
    (&line.stream, line.seq)
}

/// What is known of an execution so far.
struct Use {
    facts: Facts,
    begun: Option<Timestamp>,
    plan: Option<String>,
    verdict: Option<String>,
    policies: Option<String>,
    calls: u64,
    outcome: String,
    ended: Option<Timestamp>,
    /// Its last event up to the period's end.
    last: PackLine,
}

/// A pack that is being made.
struct Draft<'r> {
    request: &'r PackRequest,
    groups: Vec<PackGroup>,
    figures: Vec<PackFigure>,
    uses: BTreeMap<ExecutionId, Use>,
    /// For each group the last line before the period, where it wants that.
    in_force: Vec<Option<PackLine>>,
    unread: u64,
}

impl<'r> Draft<'r> {
    fn new(request: &'r PackRequest) -> Self {
        let groups = asked(request.control).iter().map(|asked| PackGroup {
            title: asked.title.into(),
            asks: asked.asks.into(),
            lines: Vec::new(),
        });
        let groups: Vec<_> = groups.collect();
        let figures = figures(request.control).iter();
        let figures = figures.map(|(name, _)| PackFigure { name: (*name).into(), count: 0 });
        Self {
            request,
            in_force: groups.iter().map(|_| None).collect(),
            groups,
            figures: figures.collect(),
            uses: BTreeMap::new(),
            unread: 0,
        }
    }

    // Takes an event in. Gives its place and hash, where it is one of the workspace.
    fn read(&mut self, read: &ReadEvent<'_>) -> Option<((Stream, u64), Digest)> {
        let Ok(event) = json::decode::<CloudEvent>(read.line) else {
            // What is none at all, the check of the exports says.
            self.unread += 1;
            return None;
        };
        let stream: Stream = event.subject.parse().ok()?;
        if event.source != format!("countersign/{}", self.request.workspace) {
            return None;
        }
        let place = ((stream.clone(), event.sequence), event.id.clone());
        if event.time < self.request.to {
            let line = line(&event, stream, read.export);
            self.take(&event.event, line);
        }
        Some(place)
    }

    fn take(&mut self, event: &Event, line: PackLine) {
        let inside = line.at >= self.request.from;
        let wanted = asked(self.request.control).iter().zip(&mut self.groups);
        for ((asked, group), in_force) in wanted.zip(&mut self.in_force) {
            match asked.answer {
                Answer::Events(is) if inside && is(event) => group.lines.push(line.clone()),
                Answer::InForce(is) if is(event) => {
                    if inside {
                        group.lines.push(line.clone());
                    } else {
                        *in_force = Some(line.clone());
                    }
                }
                Answer::Events(_) | Answer::InForce(_) | Answer::Executions => {}
            }
        }
        if inside {
            let counted = figures(self.request.control).iter().zip(&mut self.figures);
            for ((_, is), figure) in counted {
                figure.count += u64::from(is(event));
            }
        }
        if let (Stream::Trace(id), Some(event)) = (&line.stream, event.execution()) {
            self.used(id.clone(), event, line);
        }
    }

    fn used(&mut self, id: ExecutionId, event: &ExecutionEvent, line: PackLine) {
        let at = line.at;
        let used = self.uses.entry(id).or_insert_with(|| Use::new(line.clone()));
        used.last = line;
        match event {
            ExecutionEvent::IntentReceived(data) => {
                let kind = data.actor_kind.map_or("", |kind| kind.as_str());
                let facts = Facts::default()
                    .with("asked by", format!("{kind} {}", data.actor_id).trim())
                    .with_any("for", data.on_behalf_of.as_ref())
                    .with_any("key", data.key_id.as_ref())
                    .with("intent", &data.intent_digest);
                (used.facts, used.begun) = (facts, Some(data.received_at));
            }
            ExecutionEvent::PlanCompiled(data) => used.plan = Some(data.plan_digest.to_string()),
            ExecutionEvent::PlanVerified(data) => {
                used.verdict = Some(format!("{}, {} risk", data.verdict, data.risk_tier));
                let policies = format!("{} {}", data.policy_version, data.policy_digest);
                used.policies = Some(policies);
            }
            ExecutionEvent::StepStarted(_) => used.calls += 1,
            ExecutionEvent::ExecutionStarted(_) | ExecutionEvent::ExecutionResumed(_) => {
                (used.outcome, used.ended) = ("under way".into(), None);
            }
            ExecutionEvent::PlanRejected(data) => {
                used.policies = data.policy_digest.as_ref().map(Digest::to_string);
                (used.outcome, used.ended) = ("rejected".into(), Some(at));
            }
            ExecutionEvent::ExecutionCompleted(_) => {
                (used.outcome, used.ended) = ("completed".into(), Some(at));
            }
            ExecutionEvent::ExecutionFailed(data) => {
                (used.outcome, used.ended) = (format!("failed: {}", data.error_code), Some(at));
            }
            ExecutionEvent::ExecutionCancelled(_) => {
                (used.outcome, used.ended) = ("cancelled".into(), Some(at));
            }
            ExecutionEvent::ExecutionPaused(_) => used.outcome = "paused".into(),
            _ => {}
        }
    }

    fn finish(mut self, exports: PackExports, report: &Report) -> Pack {
        let from = self.request.from;
        for (index, asked) in asked(self.request.control).iter().enumerate() {
            let Some(group) = self.groups.get_mut(index) else { continue };
            if matches!(asked.answer, Answer::Executions) {
                let uses = std::mem::take(&mut self.uses).into_values();
                group.lines.extend(uses.filter(|used| used.last.at >= from).map(Use::line));
            }
            group.lines.extend(self.in_force.get_mut(index).and_then(Option::take));
            group.lines.sort_by(|a, b| (a.at, at(a)).cmp(&(b.at, at(b))));
        }
        let findings = report.findings.iter().take(LISTED_MAX);
        Pack {
            format: PACK_FORMAT.into(),
            control: self.request.control,
            workspace_id: self.request.workspace.clone(),
            from,
            to: self.request.to,
            exports,
            findings: findings.map(|finding| format!("{}: {finding}", finding.code)).collect(),
            unread: self.unread,
            figures: self.figures,
            groups: self.groups,
        }
    }
}

impl Use {
    fn new(last: PackLine) -> Self {
        Self {
            facts: Facts::default(),
            begun: None,
            plan: None,
            verdict: None,
            policies: None,
            calls: 0,
            outcome: "under way".into(),
            ended: None,
            last,
        }
    }

    fn line(self) -> PackLine {
        let facts = self
            .facts
            .with_any("from", self.begun)
            .with_any("to", self.ended)
            .with("outcome", self.outcome)
            .with_any("verdict", self.verdict)
            .with("calls", self.calls)
            .with_any("plan", self.plan)
            .with_any("policy set", self.policies);
        PackLine { facts: facts.list(), ..self.last }
    }
}

fn line(event: &CloudEvent, stream: Stream, export: u64) -> PackLine {
    PackLine {
        stream,
        seq: event.sequence,
        hash: event.id.clone(),
        export,
        at: event.time,
        kind: event.event.key().to_owned(),
        actor: event.actor.clone(),
        actor_kind: event.actorkind,
        on_behalf_of: event.onbehalfof.clone(),
        facts: facts(&event.event),
    }
}
