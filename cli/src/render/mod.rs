//! What people see: short, aligned, coloured on a terminal, plain elsewhere.

mod error;
mod execution;
mod trace;

pub use error::error;
pub use execution::execution;
pub use trace::entry;

use crate::visible::{columns, cut, lines};
use anstream::println;
use anstyle::{AnsiColor, Color, Style};
use cs_core::text::width;

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = colour(AnsiColor::Red);
const GREEN: Style = colour(AnsiColor::Green);
const YELLOW: Style = colour(AnsiColor::Yellow);
const CYAN: Style = colour(AnsiColor::Cyan);

/// A text in a style.
fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Bold.
pub fn bold(text: &str) -> String {
    paint(BOLD, text)
}
/// Dim.
pub fn dim(text: &str) -> String {
    paint(DIM, text)
}
/// Green.
pub fn green(text: &str) -> String {
    paint(GREEN, text)
}

/// A status, verdict or risk tier in its colour.
pub fn status(word: impl std::fmt::Display) -> String {
    let word = word.to_string();
    let style = match word.as_str() {
        "completed" | "autonomous" | "granted" | "low" | "enabled" | "compensated" => GREEN,
        "failed" | "rejected" | "stuck" | "high" | "revoked" | "✗" => RED,
        "blocked" | "assist" | "in_doubt" | "held" | "retrying" | "paused" | "medium"
        | "requested" | "expired" => YELLOW,
        "running" | "compensating" | "cancelling" => CYAN,
        _ => DIM,
    };
    paint(style, &word)
}

/// A text in a column of `width` characters, whatever its colour.
fn column(plain: &str, painted: &str, columns: usize) -> String {
    format!("{painted}{}", " ".repeat(columns.saturating_sub(width(plain))))
}

/// A visible text under a label, in lines of the terminal's width.
pub fn field(indent: usize, label: &str, text: &str) {
    let margin = indent + if label.is_empty() { 0 } else { label.chars().count() + 1 };
    for (index, part) in lines(text, margin).iter().enumerate() {
        let label = match index {
            0 if label.is_empty() => String::new(),
            0 => format!("{} ", dim(label)),
            _ => " ".repeat(margin - indent),
        };
        println!("{}{label}{part}", " ".repeat(indent));
    }
}

/// A table of rows with a header, within the terminal's width: the widest columns behind the first
/// give way.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let natural = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| width(cell));
        cells.chain(header.get(index).map(|cell| width(cell))).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..header.len()).map(natural).collect();
    let gaps = 2 * header.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns() {
        let widest = widths.iter_mut().skip(1).filter(|width| **width > CELL_COLUMNS_MIN).max();
        let Some(widest) = widest else { break };
        *widest -= 1;
    }
    let row = |cells: Vec<(String, usize)>, paint: &dyn Fn(&str) -> String| {
        let cells = cells.into_iter().map(|(cell, width)| {
            let cell = cut(&cell, width);
            column(&cell, &paint(&cell), width)
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    };
    row(header.iter().map(|cell| (*cell).to_owned()).zip(widths.iter().copied()).collect(), &dim);
    for cells in rows {
        row(cells.iter().cloned().zip(widths.iter().copied()).collect(), &status_cell);
    }
}

/// Columns to which a cell may shrink.
const CELL_COLUMNS_MIN: usize = 8;

fn status_cell(cell: &str) -> String {
    let known = [
        "completed",
        "failed",
        "blocked",
        "running",
        "rejected",
        "cancelled",
        "paused",
        "low",
        "medium",
        "high",
    ];
    if known.contains(&cell) || cell == "enabled" { status(cell) } else { cell.to_owned() }
}

/// A moment without its milliseconds, in UTC.
pub fn moment(at: contracts::Timestamp) -> String {
    at.to_string().get(..19).unwrap_or_default().to_owned()
}
