//! What changes of verdicts affect, as a part of pages, and the report of a backtest as one page.

use crate::{Html, Tag, asset::STYLE, words};
use askama::{Template, filters::HtmlSafe};
use contracts::{
    Timestamp,
    event::ActorKind,
    query::{Affected, Backtest, BacktestChange, BacktestImpact},
    view::{Touched, ViewMoney},
};

/// Added to the stylesheet of the console where a page stands alone.
pub(crate) const REPORT_STYLE: &str = include_str!("../assets/report.css");

/// How much is affected, in numbers and by kind of change.
#[derive(Clone, Debug, Template)]
#[template(path = "impact.html")]
pub struct Impact {
    tiles: Vec<(String, String)>,
    unmeasured: Vec<String>,
    kinds: Vec<Kind>,
}

#[derive(Clone, Debug)]
struct Kind {
    was: Tag,
    would: Tag,
    counts: [u64; 3],
    touches: Vec<String>,
}

impl HtmlSafe for Impact {}

impl Impact {
    /// Of what changed.
    pub fn of(impact: &BacktestImpact) -> Self {
        let kinds = impact.by_change.iter().map(|kind| Kind {
            was: Tag::verdict(&kind.was.to_string()),
            would: Tag::verdict(&kind.would.to_string()),
            counts: [kind.affected.executions, kind.affected.steps, kind.affected.actors],
            touches: touches(&kind.affected.touched),
        });
        let unmeasured = impact.all.touched.unmeasured.iter();
        Self {
            tiles: tiles(&impact.all),
            unmeasured: unmeasured.map(|what| words::shown(what)).collect(),
            kinds: kinds.collect(),
        }
    }
}

fn tiles(all: &Affected) -> Vec<(String, String)> {
    let count = |count: u64, one: &str, many: &str| {
        (count.to_string(), if count == 1 { one } else { many }.to_owned())
    };
    let mut tiles = vec![
        count(all.executions, "execution", "executions"),
        count(all.steps, "step", "steps"),
        count(all.actors, "actor", "actors"),
    ];
    tiles.extend(all.touched.money.iter().map(|money| match &money.amount {
        Some(amount) => (words::shown(amount), words::shown(&money.currency)),
        None => {
            (money.minor.to_string(), format!("minor units of {}", words::shown(&money.currency)))
        }
    }));
    if all.touched.recipients > 0 {
        tiles.push(count(all.touched.recipients, "recipient", "recipients"));
    }
    tiles
}

/// An amount, in words.
pub fn amount(money: &ViewMoney) -> String {
    let currency = words::shown(&money.currency);
    match &money.amount {
        Some(amount) => format!("{} {currency}", words::shown(amount)),
        None => format!("{} minor units of {currency}", money.minor),
    }
}

// Money, recipients, and what is not known, in words.
fn touches(touched: &Touched) -> Vec<String> {
    let recipients = (touched.recipients > 0).then(|| match touched.recipients {
        1 => "1 recipient".to_owned(),
        count => format!("{count} recipients"),
    });
    let unmeasured = touched.unmeasured.iter().map(|what| format!("and {}", words::shown(what)));
    touched.money.iter().map(amount).chain(recipients).chain(unmeasured).collect()
}

/// A backtest, to be written into a file.
#[derive(Clone, Copy, Debug)]
pub struct BacktestReport<'r> {
    pub backtest: &'r Backtest,
    /// Names of the files that were tested.
    pub policies: &'r [String],
    pub from: Timestamp,
    pub to: Timestamp,
    /// The control plane whose history it is.
    pub endpoint: &'r str,
}

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage<'r> {
    styles: [Style; 2],
    policies: String,
    from: String,
    to: String,
    endpoint: String,
    evaluated: u64,
    changed: usize,
    truncated: bool,
    impact: Option<Impact>,
    groups: &'r [Group],
}

/// Changes of one kind.
struct Group {
    was: Tag,
    would: Tag,
    rows: Vec<Row>,
}

struct Row {
    execution: String,
    step: String,
    /// The call beside the step's own.
    purpose: Option<String>,
    operation: String,
    actor: String,
    actor_kind: &'static str,
    touches: Vec<String>,
    reasons: Vec<String>,
}

/// A stylesheet of this package, as it is.
pub(crate) struct Style(pub(crate) &'static str);

impl HtmlSafe for Style {}

impl std::fmt::Display for Style {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// One page that needs nothing beside itself: no script, no file, no request. It may be read,
/// kept and printed.
pub fn backtest_report(report: &BacktestReport<'_>) -> Result<Html, askama::Error> {
    let BacktestReport { backtest, policies, from, to, endpoint } = *report;
    let groups: Vec<Group> = backtest
        .impact
        .by_change
        .iter()
        .map(|kind| {
            let of_kind =
                |change: &&BacktestChange| change.was == kind.was && change.would == kind.would;
            Group {
                was: Tag::verdict(&kind.was.to_string()),
                would: Tag::verdict(&kind.would.to_string()),
                rows: backtest.changed.iter().filter(of_kind).map(row).collect(),
            }
        })
        .collect();
    Html::of(&ReportPage {
        styles: [Style(STYLE.text), Style(REPORT_STYLE)],
        policies: policies.iter().map(|name| words::shown(name)).collect::<Vec<_>>().join(", "),
        from: words::exact(from),
        to: words::exact(to),
        endpoint: words::shown(endpoint),
        evaluated: backtest.evaluated,
        changed: backtest.changed.len(),
        truncated: backtest.truncated,
        impact: (!backtest.changed.is_empty()).then(|| Impact::of(&backtest.impact)),
        groups: &groups,
    })
}

fn row(change: &BacktestChange) -> Row {
    Row {
        execution: change.execution_id.to_string(),
        step: change.step_id.to_string(),
        purpose: change.purpose.as_ref().map(|purpose| words::word(&purpose.to_string())),
        operation: change.operation.as_deref().map(words::shown).unwrap_or_default(),
        actor: change.actor_id.as_deref().map(words::shown).unwrap_or_default(),
        actor_kind: change.actor_kind.map(ActorKind::as_str).unwrap_or_default(),
        touches: change.touched.as_ref().map(touches).unwrap_or_default(),
        reasons: change.reasons.iter().map(|reason| words::shown(reason)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{query::AffectedByChange, verdict::Verdict};

    fn backtest(foreign: &str) -> Backtest {
        let touched = Touched {
            money: vec![ViewMoney { currency: foreign.into(), minor: 5, amount: None }],
            unmeasured: vec![foreign.into()],
            ..Touched::default()
        };
        let affected = Affected { executions: 1, steps: 1, actors: 1, touched: touched.clone() };
        let (was, would) = (Verdict::Autonomous, Verdict::Blocked);
        Backtest {
            evaluated: 3,
            changed: vec![BacktestChange {
                execution_id: format!("exe_{}", "0".repeat(32)).parse().unwrap(),
                step_id: "mail".parse().unwrap(),
                was: was.into(),
                would: would.into(),
                reasons: vec![foreign.into()],
                purpose: None,
                operation: Some(foreign.into()),
                actor_id: Some(foreign.into()),
                actor_kind: Some(ActorKind::Agent),
                touched: Some(touched),
            }],
            truncated: true,
            impact: BacktestImpact {
                all: affected.clone(),
                by_change: vec![AffectedByChange {
                    was: was.into(),
                    would: would.into(),
                    affected,
                }],
            },
        }
    }

    fn page(backtest: &Backtest, foreign: &str) -> String {
        let report = BacktestReport {
            backtest,
            policies: &[foreign.to_owned()],
            from: Timestamp::from_ms(1_782_000_000_000),
            to: Timestamp::from_ms(1_782_600_000_000),
            endpoint: foreign,
        };
        backtest_report(&report).unwrap().into_string()
    }

    #[test]
    fn attack_nothing_foreign_acts_in_a_report_and_it_needs_nothing_beside_itself() {
        for foreign in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "</style><b>x</b>",
            "</title><svg/onload=alert(1)>",
            "a\u{202e}b\u{0}c\u{1b}[2J",
        ] {
            let page = page(&backtest(foreign), foreign);
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
    fn a_report_says_what_it_does_not_know_and_that_nothing_changed() {
        let whole = page(&backtest("x"), "own.cedar");
        assert!(whole.contains("More than these numbers say"), "{whole}");
        assert!(whole.contains("Not all of the window was evaluated"), "{whole}");
        let nothing = Backtest {
            evaluated: 3,
            changed: Vec::new(),
            truncated: false,
            impact: BacktestImpact::default(),
        };
        let page = page(&nothing, "own.cedar");
        assert!(page.contains("No verdict would have been another"), "{page}");
        assert!(!page.contains("By kind of change"), "{page}");
    }
}
