//! A backtest for people: each change, and what they affect together.

use crate::{
    render::{bold, dim, status},
    visible::{Visible, lines},
};
use contracts::query::{Affected, Backtest, BacktestChange, BacktestImpact};
use std::fmt::Write as _;

/// What is said where there is more.
pub const TRUNCATED: &str = "not all of the window was evaluated: narrow it";

/// Every change, the sums, and how much was evaluated.
pub fn report(backtest: &Visible<Backtest>) -> String {
    let mut text = changes(backtest.changed.iter());
    text += &impact(&backtest.impact);
    let (steps, changed) = (backtest.evaluated, backtest.changed.len());
    let line = format!("{steps} steps evaluated again, {changed} verdicts would be others");
    text += &format!("{}\n", dim(&line));
    if backtest.truncated {
        text += &format!("{}\n", bold(TRUNCATED));
    }
    text
}

/// Visible changes, a few lines each.
pub fn changes<'c>(changes: impl Iterator<Item = &'c BacktestChange>) -> String {
    let mut text = String::new();
    for change in changes {
        let step = bold(change.step_id.as_str());
        let (was, would) = (status(&change.was), status(&change.would));
        let purpose = change.purpose.as_ref().map(|purpose| format!(" ({purpose})"));
        let purpose = dim(&purpose.unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n  {step}{purpose}  {was} → {would}", change.execution_id);
        for line in lines(&change.reasons.join("; "), 4).iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn impact(impact: &BacktestImpact) -> String {
    if impact.by_change.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", bold(&format!("affected: {}", affected(&impact.all))));
    for kind in &impact.by_change {
        let (was, would) = (status(&kind.was), status(&kind.would));
        let _ = writeln!(text, "  {was} → {would}");
        for line in lines(&affected(&kind.affected), 4) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn affected(affected: &Affected) -> String {
    let count = |count: u64, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let touched = &affected.touched;
    let mut parts = vec![
        count(affected.executions, "execution"),
        count(affected.steps, "step"),
        count(affected.actors, "actor"),
    ];
    parts.extend(touched.money.iter().map(pages::amount));
    parts.extend((touched.recipients > 0).then(|| count(touched.recipients, "recipient")));
    parts.extend(touched.unmeasured.iter().map(|what| format!("and {what}")));
    parts.join(", ")
}
