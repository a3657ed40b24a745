//! Changes as comma-separated values (RFC 4180), in cells that no spreadsheet runs.

use contracts::query::BacktestChange;
use cs_core::text::escape_foreign;

const HEADER: [&str; 13] = [
    "executionId",
    "stepId",
    "call",
    "operation",
    "actorKind",
    "actorId",
    "was",
    "would",
    "writes",
    "money",
    "recipients",
    "unmeasured",
    "reasons",
];

/// A header, and a line for each change.
pub fn report(changes: &[BacktestChange]) -> String {
    let mut text = line(HEADER.iter().map(|name| (*name).to_owned()));
    changes.iter().for_each(|change| text += &line(cells(change).into_iter()));
    text
}

fn cells(change: &BacktestChange) -> [String; HEADER.len()] {
    let touched = change.touched.as_ref();
    let money = touched.map(|touched| touched.money.iter().map(pages::amount).collect::<Vec<_>>());
    let unmeasured = touched.map(|touched| touched.unmeasured.join("; "));
    let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    [
        change.execution_id.to_string(),
        change.step_id.to_string(),
        change.purpose.as_ref().map_or_else(|| "run".to_owned(), ToString::to_string),
        change.operation.clone().unwrap_or_default(),
        change.actor_kind.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        change.actor_id.clone().unwrap_or_default(),
        change.was.to_string(),
        change.would.to_string(),
        count(touched.map(|touched| touched.writes)),
        money.unwrap_or_default().join("; "),
        count(touched.map(|touched| touched.recipients)),
        unmeasured.unwrap_or_default(),
        change.reasons.join("; "),
    ]
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells = cells.map(|text| format!("\"{}\"", harmless(&text).replace('"', "\"\"")));
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

/// A text that is no formula, whatever a spreadsheet takes for the beginning of a cell: where a
/// formula would begin stands an apostrophe, which makes it text.
fn harmless(text: &str) -> String {
    let visible = escape_foreign(text);
    let mut out = String::with_capacity(visible.len());
    let mut begins = true;
    for char in visible.chars() {
        if begins && "=+-@＝＋－＠".contains(char) {
            out.push('\'');
        }
        out.push(char);
        // Some take semicolons for separators, and go on behind a quotation mark.
        begins = ";,".contains(char) || (begins && (char.is_whitespace() || char == '"'));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{event::ActorKind, verdict::Verdict, view::Touched};

    #[test]
    fn attack_no_cell_is_a_formula() {
        for formula in
            ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", " =1", "\"=1", "a;=1", "a; @x", ",+1"]
        {
            let cell = harmless(formula);
            let sign = cell.find(|char| "=+-@＝".contains(char)).unwrap();
            assert_eq!(cell[..sign].chars().last(), Some('\''), "{cell}");
        }
        // Tab and carriage return begin formulas too, and end lines; here they are shown.
        assert_eq!(harmless("\t=1\r\n+1"), "\\u{9}=1\\u{d}\\u{a}+1");
        for plain in ["payments/refund.create", "5.00 EUR", "a-b@x.org", "exe_0", ""] {
            assert_eq!(harmless(plain), plain);
        }
    }

    #[test]
    fn a_change_is_one_line_of_as_many_cells_as_the_header() {
        let change = BacktestChange {
            execution_id: format!("exe_{}", "0".repeat(32)).parse().unwrap(),
            step_id: "mail".parse().unwrap(),
            was: Verdict::Autonomous.into(),
            would: Verdict::Blocked.into(),
            reasons: vec!["=cmd|' /C calc'!A0".into(), "says \"no\", and\nmore".into()],
            purpose: None,
            operation: Some("mail/message.send".into()),
            actor_id: Some("@agent".into()),
            actor_kind: Some(ActorKind::Agent),
            touched: Some(Touched { writes: 1, recipients: 2, ..Touched::default() }),
        };
        let text = report(&[change]);
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(
            lines[1],
            format!(
                "\"exe_{}\",\"mail\",\"run\",\"mail/message.send\",\"agent\",\"'@agent\",\
                 \"autonomous\",\"blocked\",\"1\",\"\",\"2\",\"\",\
                 \"'=cmd|' /C calc'!A0; says \"\"no\"\", and\\u{{a}}more\"",
                "0".repeat(32)
            )
        );
    }
}
