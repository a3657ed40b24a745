//! What people see: short, aligned, coloured on a terminal, plain elsewhere.

use crate::{
    client::Failure,
    visible::{Visible, columns, cut, json_line, lines},
};
use anstream::{eprintln, println};
use anstyle::{AnsiColor, Color, Style};
use cs_core::{
    currency::major,
    text::{escape_foreign, width},
};
use serde_json::Value;
use std::collections::HashMap;

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

/// A status or verdict in its colour.
pub fn status(text: &str) -> String {
    let style = match text {
        "completed" | "autonomous" | "granted" | "low" | "enabled" | "compensated" => GREEN,
        "failed" | "rejected" | "stuck" | "high" | "revoked" | "✗" => RED,
        "blocked" | "assist" | "in_doubt" | "held" | "retrying" | "paused" | "medium" | "requested" | "expired" => {
            YELLOW
        }
        "running" | "compensating" | "cancelling" => CYAN,
        _ => DIM,
    };
    paint(style, text)
}

/// A text in a column of `width` characters, whatever its colour.
fn column(plain: &str, painted: &str, columns: usize) -> String {
    format!("{painted}{}", " ".repeat(columns.saturating_sub(width(plain))))
}

/// A text field of a JSON object.
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// JSON for machines.
pub fn json(value: &Value) {
    println!("{}", json_line(value));
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

/// A failure, with its issues and what to do.
pub fn failure(failure: &Failure) {
    let plain = |title: &str, text: &str| {
        let margin = title.chars().count() + 1;
        for (index, line) in lines(&escape_foreign(text), margin).iter().enumerate() {
            let title = if index == 0 { paint(RED, title) } else { " ".repeat(margin - 1) };
            eprintln!("{title} {line}");
        }
    };
    match failure {
        Failure::Problem(problem) => {
            eprintln!("{} {}", paint(RED, "refused"), bold(problem.code.as_str()));
            for line in lines(&escape_foreign(&problem.detail), 2) {
                eprintln!("  {line}");
            }
            for issue in &problem.issues {
                let pointer = if issue.pointer.is_empty() { String::new() } else { format!("{}: ", issue.pointer) };
                let code = issue.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
                for line in lines(&escape_foreign(&format!("{pointer}{}{code}", issue.message)), 4) {
                    eprintln!("  {} {line}", paint(CYAN, "·"));
                }
            }
            eprintln!("{}", dim(&format!("  trace {}", escape_foreign(&problem.trace_id))));
        }
        Failure::Unreachable(..) => {
            plain("unreachable", &failure.to_string());
            eprintln!("{}", dim("  is `countersign dev` running? --endpoint and COUNTERSIGN_ENDPOINT say where"));
        }
        Failure::Unexpected(..) | Failure::Local(_) | Failure::NotProven(_) => plain("error", &failure.to_string()),
    }
}

/// An execution: its plan as a DAG, verdicts, states and what it waits for.
pub fn execution(view: &Visible) {
    let risk = text(view, "riskTier");
    let mut line = format!("{}  {}", bold(text(view, "executionId")), status(text(view, "status")));
    if !risk.is_empty() {
        line += &format!("  {} {}", dim("risk"), status(risk));
    }
    if !text(view, "verdict").is_empty() {
        line += &format!("  {} {}", dim("verdict"), status(text(view, "verdict")));
    }
    println!("{line}");
    field(2, "goal", &format!("\"{}\"", text(view, "text").replace('"', "\\\"")));
    dag(view);
    for step in list(view, "steps") {
        if let Some(next) = next_command(text(view, "executionId"), step) {
            field(2, "next", &next);
        }
    }
    for issue in list(view, "reasons") {
        let (code, message) = (text(issue, "code"), text(issue, "message"));
        println!("  {} {}", paint(RED, "✗"), bold(code));
        field(4, "", message);
        if !text(issue, "pointer").is_empty() {
            field(4, "at", text(issue, "pointer"));
        }
    }
    for approval in list(view, "approvals") {
        let scope = match text(approval, "stepId") {
            "" => "whole plan".to_owned(),
            step => format!("step {}", cut(step, 24)),
        };
        println!(
            "  approval of the {scope}: {} {}",
            status(text(approval, "status")),
            dim(&format!("until {}", text(approval, "expiresAt")))
        );
        let by = list(approval, "decidedBy").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        if !by.is_empty() {
            field(4, "by", &by);
        }
    }
}

/// Widest label and operation in the drawing of a plan: with the states beside them a row fits 80 columns.
const LABEL_COLUMNS_MAX: usize = 24;
const OPERATION_COLUMNS_MAX: usize = 22;

// The plan drawn by depth: a step stands below and right of what it waits for.
fn dag(view: &Value) {
    let steps = list(view, "steps");
    let plan = view.get("plan");
    let planned: HashMap<&str, &Value> = plan
        .map(|plan| list(plan, "steps"))
        .unwrap_or_default()
        .iter()
        .map(|step| (text(step, "id"), step))
        .collect();
    let after = |id: &str| -> Vec<String> {
        let list = planned.get(id).map(|step| list(step, "after")).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut depth: HashMap<String, usize> = HashMap::new();
    for step in steps {
        let id = text(step, "stepId");
        let deepest = after(id).iter().filter_map(|before| depth.get(before)).max().map_or(0, |depth| depth + 1);
        depth.insert(id.to_owned(), deepest);
    }
    let label = |step: &Value| {
        let id = text(step, "stepId");
        let level = depth.get(id).copied().unwrap_or(0).min(4);
        let arrow = if level == 0 { "● ".to_owned() } else { format!("{}└▶ ", "   ".repeat(level - 1)) };
        cut(&format!("{arrow}{id}"), LABEL_COLUMNS_MAX)
    };
    let wide = steps.iter().map(|step| width(&label(step))).max().unwrap_or(0);
    let operation = |step: &Value| cut(text(step, "operation"), OPERATION_COLUMNS_MAX);
    let named = steps.iter().map(|step| width(&operation(step))).max().unwrap_or(0);
    for step in steps {
        let (state, verdict, tier) = (text(step, "status"), text(step, "verdict"), text(step, "riskTier"));
        let (label, operation) = (label(step), operation(step));
        let row = format!(
            "  {} {} {} {} {}",
            column(&label, &bold(&label), wide),
            column(&operation, &operation, named),
            column(state, &status(state), 11),
            column(tier, &status(tier), 6),
            status(verdict),
        );
        println!("{}", row.trim_end());
        beside(step, &after(text(step, "stepId")), wide + 3);
    }
    if let Some(radius) = plan.and_then(|plan| plan.get("radius")) {
        field(2, "touches", &touched(radius));
    }
}

// What a step waits for, and the command that ends it. Approvals are shown with their question.
fn next_command(execution: &str, step: &Value) -> Option<String> {
    let id = text(step, "stepId");
    let resolve = format!("countersign resolve {execution} {id} completed|failed|retry");
    Some(match text(step, "waitsFor") {
        "approval_required" => return None,
        "approval_expired" | "budget_exceeded" => format!("{id}: countersign retry {execution} --step {id}"),
        "workspace_frozen" | "frozen" => format!("{id} is frozen: countersign freeze list, then freeze lift"),
        "skill_disabled" => {
            let skill = text(step, "operation").split('/').next().unwrap_or_default();
            format!("{id}: countersign skill enable {skill}")
        }
        "usage_exceeded" => format!("{id} goes on when its meter has room: countersign budget show"),
        "requester_revoked" if text(step, "status") == "stuck" => format!("{id}: {resolve}"),
        "requester_revoked" => format!("{id} has no requester any more: countersign cancel {execution}"),
        "awaiting_callback" => format!("{id} waits for its tool to call back; nothing to do"),
        "outcome_unknown" => format!("{id}, look at what its tool did, then: {resolve}"),
        "compensation_failed" => format!("{id} was not undone: {resolve}"),
        _ => return None,
    })
}

// What is said below a step's row.
fn beside(step: &Value, after: &[String], indent: usize) {
    if !after.is_empty() {
        field(indent, "after", &after.join(", "));
    }
    let why = if text(step, "verdict") == "autonomous" { &[] } else { list(step, "reasons") };
    for reason in why.iter().filter_map(Value::as_str) {
        field(indent, "·", reason);
    }
    let waits_for = text(step, "waitsFor");
    if !waits_for.is_empty() || !text(step, "message").is_empty() {
        let words = [waits_for, text(step, "code"), text(step, "message")];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        for line in lines(&words.join(": "), indent) {
            println!("{}{}", " ".repeat(indent), paint(YELLOW, &line));
        }
    }
}

fn touched(radius: &Value) -> String {
    let mut parts = vec![format!("writes {}", radius.get("writes").unwrap_or(&Value::Null))];
    for (currency, minor) in radius.get("money").and_then(Value::as_object).into_iter().flatten() {
        let major = minor.as_u64().and_then(|minor| major(minor, currency));
        parts.push(
            major.map_or_else(|| format!("{minor} minor units of {currency}"), |major| format!("{major} {currency}")),
        );
    }
    parts.push(format!("recipients {}", radius.get("recipients").unwrap_or(&Value::Null)));
    if radius.get("open") == Some(&Value::Bool(true)) {
        parts.push("and what depends on outputs".into());
    }
    parts
        .extend(list(radius, "unmeasured").iter().filter_map(Value::as_str).map(|kind| format!("{kind} unmeasured")));
    parts.join(", ")
}

/// One entry of a trace.
pub fn entry(entry: &Value) {
    let kind = text(entry, "type").trim_start_matches("controlPlane.");
    let metadata = entry.get("metadata").cloned().unwrap_or_default();
    let mut words = Vec::new();
    for key in
        ["stepId", "verdict", "riskTier", "mode", "attempt", "reason", "code", "message", "outcome", "errorCode"]
    {
        match metadata.get(key) {
            Some(Value::String(word)) if !word.is_empty() => words.push(format!("{key}={word}")),
            Some(Value::Number(number)) => words.push(format!("{key}={number}")),
            _ => {}
        }
    }
    let seq = entry.get("seq").and_then(Value::as_u64).unwrap_or_default();
    let time = text(entry, "timestamp").get(11..23).unwrap_or_default();
    let last = text(entry, "status");
    println!(
        "{} {} {} {}",
        dim(&format!("{seq:>4}")),
        dim(time),
        column(kind, &status_of_event(kind, last), 28),
        cut(text(entry, "actorId"), 30),
    );
    if !words.is_empty() {
        field(18, "", &words.join("  "));
    }
}

fn status_of_event(kind: &str, last: &str) -> String {
    let style = match last {
        "completed" | "granted" | "verified" | "compiled" | "compensated" => GREEN,
        "failed" | "rejected" | "expired" | "voided" => RED,
        "blocked" | "retried" | "requested" | "paused" | "cancelled" => YELLOW,
        _ => CYAN,
    };
    paint(style, kind)
}

/// A table of rows with a header, within the terminal's width: the widest columns behind the first give way.
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
    let known =
        ["completed", "failed", "blocked", "running", "rejected", "cancelled", "paused", "low", "medium", "high"];
    if known.contains(&cell) || cell == "enabled" { status(cell) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::next_command;
    use contracts::event::BlockReason;
    use serde_json::json;

    #[test]
    fn each_waiting_names_its_own_command() {
        let next = |reason: BlockReason, status: &str| {
            next_command(
                "exe_1",
                &json!({ "stepId": "a", "operation": "crm/find", "status": status, "waitsFor": reason }),
            )
        };
        let says = |reason, status, words: &str| {
            let next = next(reason, status).unwrap_or_default();
            assert!(next.contains(words), "{reason:?}: {next}");
        };
        says(BlockReason::ApprovalExpired, "blocked", "retry exe_1 --step a");
        says(BlockReason::BudgetExceeded, "blocked", "retry exe_1 --step a");
        says(BlockReason::Frozen, "held", "freeze list");
        says(BlockReason::WorkspaceFrozen, "held", "freeze list");
        says(BlockReason::SkillDisabled, "held", "skill enable crm");
        says(BlockReason::UsageExceeded, "held", "budget show");
        says(BlockReason::RequesterRevoked, "held", "cancel exe_1");
        says(BlockReason::RequesterRevoked, "stuck", "resolve exe_1 a");
        says(BlockReason::AwaitingCallback, "running", "call back");
        says(BlockReason::OutcomeUnknown, "in_doubt", "resolve exe_1 a");
        says(BlockReason::CompensationFailed, "stuck", "resolve exe_1 a");
        // These are told with their question, or nothing helps.
        assert_eq!(next(BlockReason::ApprovalRequired, "blocked"), None);
        assert_eq!(next(BlockReason::PolicyBlocked, "blocked"), None);
    }
}
