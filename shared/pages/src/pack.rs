//! The report of a pack: one page that an auditor reads without anything else.

use crate::{
    Html, Moment, Tag,
    asset::STYLE,
    impact::{REPORT_STYLE, Style},
    words,
};
use askama::Template;
use contracts::pack::{Control, Pack, PackFact, PackGroup, PackLine};

/// Added to the stylesheet of reports.
const PACK_STYLE: &str = include_str!("../assets/pack.css");
/// Lines of a group that the page has; `pack.json` has all.
const LINES_MAX: usize = 1_000;
/// Digits of a digest that are shown beside others.
const DIGITS_SHOWN: usize = 12;
/// Longer values have a row of their own, in characters.
const NARROW_MAX: usize = 20;
const DIGEST: &str = "sha256:";

#[derive(Template)]
#[template(path = "pack.html")]
struct PackPage {
    styles: [Style; 3],
    title: &'static str,
    workspace: String,
    from: String,
    to: String,
    exports: String,
    exports_to: String,
    /// The exports end before the period.
    ends_early: bool,
    /// Earlier exports are elsewhere.
    begins_late: bool,
    lines: usize,
    findings: Vec<String>,
    unread: u64,
    figures: Vec<(u64, String)>,
    groups: Vec<Group>,
    shows_not: &'static [&'static str],
}

struct Group {
    id: usize,
    title: String,
    asks: String,
    count: usize,
    more: usize,
    rows: Vec<Row>,
}

struct Row {
    at: Moment,
    what: Tag,
    facts: Vec<Fact>,
    actor: String,
    actor_kind: &'static str,
    on_behalf_of: Option<String>,
    stream: String,
    seq: u64,
    export: u64,
    hash: String,
}

struct Fact {
    name: String,
    value: String,
    /// In full, where `value` is the start of a digest.
    digest: Option<String>,
    /// It has a row of its own.
    long: bool,
}

/// The page of a pack. The same pack gives the same bytes.
pub fn pack_report(pack: &Pack) -> Result<Html, askama::Error> {
    let exports = &pack.exports;
    let figures = pack.figures.iter();
    Html::of(&PackPage {
        styles: [Style(STYLE.text), Style(REPORT_STYLE), Style(PACK_STYLE)],
        title: title(pack.control),
        workspace: words::shown(pack.workspace_id.as_str()),
        from: pack.from.day(),
        to: pack.to.plus_ms(-1).day(),
        exports: match exports.first == exports.last {
            true => format!("Export {}", exports.first),
            false => format!("Exports {} to {}", exports.first, exports.last),
        },
        exports_to: words::exact(exports.to),
        ends_early: exports.to < pack.to,
        begins_late: exports.first > 1,
        lines: pack.groups.iter().map(|group| group.lines.len()).sum(),
        findings: pack.findings.iter().map(|finding| words::shown(finding)).collect(),
        unread: pack.unread,
        figures: figures.map(|figure| (figure.count, words::shown(&figure.name))).collect(),
        groups: pack.groups.iter().enumerate().map(|(index, group)| of(index + 1, group)).collect(),
        shows_not: shows_not(pack.control),
    })
}

fn of(id: usize, group: &PackGroup) -> Group {
    Group {
        id,
        title: words::shown(&group.title),
        asks: words::shown(&group.asks),
        count: group.lines.len(),
        more: group.lines.len().saturating_sub(LINES_MAX),
        rows: group.lines.iter().take(LINES_MAX).map(row).collect(),
    }
}

fn row(line: &PackLine) -> Row {
    let what = line.kind.strip_prefix("controlPlane.").unwrap_or(&line.kind);
    let of_step = what.strip_prefix("execution.").filter(|what| what.starts_with("step."));
    let what = of_step.unwrap_or(what);
    let tone = words::tone(what.rsplit('.').next().unwrap_or_default());
    Row {
        at: Moment::exact(line.at),
        what: Tag::new(tone, words::shown(what).replace('.', " ")),
        facts: line.facts.iter().map(fact).collect(),
        actor: words::shown(&line.actor),
        actor_kind: line.actor_kind.map_or("", |kind| kind.as_str()),
        on_behalf_of: line.on_behalf_of.as_deref().map(words::shown),
        stream: line.stream.to_string(),
        seq: line.seq,
        export: line.export,
        hash: line.hash.to_string(),
    }
}

fn fact(fact: &PackFact) -> Fact {
    let name = words::shown(&fact.name);
    let value = words::shown(&fact.value);
    let short = value.rsplit_once(DIGEST).and_then(|(before, digits)| {
        Some((format!("{before}{DIGEST}{}…", digits.get(..DIGITS_SHOWN)?), value.clone()))
    });
    let (value, digest) = match short {
        Some((value, digest)) => (value, Some(digest)),
        None => (value, None),
    };
    Fact { name, long: value.chars().count() > NARROW_MAX, value, digest }
}

const fn title(control: Control) -> &'static str {
    match control {
        Control::EuAiAct12 => "EU AI Act, article 12: record-keeping",
        Control::EuAiAct14 => "EU AI Act, article 14: human oversight",
        Control::Soc2Cc7 => "SOC 2, CC7: system operations",
        Control::Iso42001 => "ISO/IEC 42001: management of artificial intelligence",
    }
}

const fn shows_not(control: Control) -> &'static [&'static str] {
    match control {
        Control::EuAiAct12 => &[
            "What the model was given and what it computed: a plan and its calls are recorded, \
             the model's own logs are its provider's.",
            "The values of inputs and outputs: their digests are here. Of article 12(3), the \
             reference database and the data that matched are not here.",
        ],
        Control::EuAiAct14 => &[
            "That people understood what they saw, had the time and the training for it, or were \
             free of automation bias: only that it was shown to them, and what they decided.",
            "Oversight that happens elsewhere: in the tools themselves, or by people who were told \
             and did nothing.",
        ],
        Control::Soc2Cc7 => &[
            "The machines below: their monitoring, their vulnerabilities, their network.",
            "Which of the failures was a security incident, and how it was evaluated: that people \
             say, and it stands elsewhere.",
        ],
        Control::Iso42001 => &[
            "The management system itself: objectives, impact assessments, internal audits, \
             reviews by the management.",
            "The organisation's own assessment of risks: the tiers here are those of single plans, \
             by the policies that were in force.",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{
        Digest, Stream, Timestamp,
        event::ActorKind,
        pack::{PACK_FORMAT, PackExports, PackFigure},
    };

    fn pack(foreign: &str) -> Pack {
        let line = PackLine {
            stream: Stream::Log,
            seq: 3,
            hash: Digest::zero(),
            export: 2,
            at: Timestamp::from_ms(1_782_000_000_000),
            kind: foreign.into(),
            actor: foreign.into(),
            actor_kind: Some(ActorKind::Human),
            on_behalf_of: Some(foreign.into()),
            facts: vec![
                PackFact { name: foreign.into(), value: foreign.into() },
                PackFact { name: "plan".into(), value: format!("{foreign}{}", Digest::zero()) },
            ],
        };
        Pack {
            format: PACK_FORMAT.into(),
            control: Control::EuAiAct14,
            workspace_id: "acme".parse().unwrap(),
            from: Timestamp::from_ms(1_781_913_600_000),
            to: Timestamp::from_ms(1_782_086_400_000),
            exports: PackExports { first: 2, last: 3, to: Timestamp::from_ms(1_782_000_000_001) },
            findings: vec![foreign.into()],
            unread: 1,
            figures: vec![PackFigure { name: foreign.into(), count: 1 }],
            groups: vec![PackGroup {
                title: foreign.into(),
                asks: foreign.into(),
                lines: vec![line],
            }],
        }
    }

    #[test]
    fn attack_nothing_foreign_acts_in_the_report_of_a_pack_and_it_needs_nothing_beside_itself() {
        for foreign in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "</style><b>x</b>",
            "</title><svg/onload=alert(1)>",
            "a\u{202e}b\u{0}c\u{1b}[2J",
            "sha256:sha256:é",
        ] {
            let page = pack_report(&pack(foreign)).unwrap().into_string();
            for bad in ["<script", "<img", "<b>x", "<svg", "\u{202e}", "\u{0}", "\u{1b}"] {
                assert!(!page.contains(bad), "{bad:?} of {foreign:?}: {page}");
            }
            assert_eq!(page.matches("</style>").count(), 1, "{page}");
            for outside in [" src=\"", "url(", "@import", "href=\"http", "<form", "<iframe"] {
                assert!(!page.contains(outside), "{outside}: {page}");
            }
        }
    }

    #[test]
    fn a_report_says_that_its_exports_are_not_whole_and_what_they_lack() {
        let page = pack_report(&pack("x")).unwrap().into_string();
        for said in ["not whole", "end before", "Earlier exports", "1 event", "does not show"] {
            assert!(page.contains(said), "{said}: {page}");
        }
        let whole = Pack { findings: Vec::new(), unread: 0, ..pack("x") };
        let page = pack_report(&whole).unwrap().into_string();
        assert!(!page.contains("not whole"), "{page}");
    }

    #[test]
    fn the_page_of_a_large_pack_says_how_many_lines_it_leaves_out() {
        let mut large = pack("x");
        let lines = &mut large.groups[0].lines;
        *lines = vec![lines[0].clone(); LINES_MAX + 7];
        let page = pack_report(&large).unwrap().into_string();
        assert!(page.contains("7 more lines are in"), "{page:.500}");
    }
}
