//! What people see: short, aligned, coloured on a terminal, plain elsewhere.

use crate::client::Failure;
use anstream::{eprintln, println};
use anstyle::{AnsiColor, Color, Style};
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
fn column(plain: &str, painted: &str, width: usize) -> String {
    format!("{painted}{}", " ".repeat(width.saturating_sub(plain.chars().count())))
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
    println!("{value}");
}

/// A failure, with its issues and what to do.
pub fn failure(failure: &Failure) {
    match failure {
        Failure::Problem(problem) => {
            eprintln!("{} {} {}", paint(RED, "refused"), bold(problem.code.as_str()), problem.detail);
            for issue in &problem.issues {
                let pointer = if issue.pointer.is_empty() { String::new() } else { format!("{}: ", issue.pointer) };
                let code = issue.code.as_deref().map(|code| format!(" {}", dim(code))).unwrap_or_default();
                eprintln!("  {}{}{code}", paint(CYAN, &pointer), issue.message);
            }
            eprintln!("{}", dim(&format!("  trace {}", problem.trace_id)));
        }
        Failure::Unreachable(..) => {
            eprintln!("{} {failure}", paint(RED, "unreachable"));
            eprintln!(
                "{}",
                dim("  is `countersign dev` running? --endpoint and COUNTERSIGN_ENDPOINT say where to look")
            );
        }
        Failure::Unexpected(..) | Failure::Local(_) | Failure::NotProven(_) => {
            eprintln!("{} {failure}", paint(RED, "error"));
        }
    }
}

/// An execution: its plan as a DAG, verdicts, states and what it waits for.
pub fn execution(view: &Value) {
    let risk = text(view, "riskTier");
    let mut line = format!("{}  {}", bold(text(view, "executionId")), status(text(view, "status")));
    if !risk.is_empty() {
        line += &format!("  {} {}", dim("risk"), status(risk));
    }
    if !text(view, "verdict").is_empty() {
        line += &format!("  {} {}", dim("verdict"), status(text(view, "verdict")));
    }
    println!("{line}");
    println!("  {}", text(view, "text"));
    dag(view);
    for issue in list(view, "reasons") {
        let (code, message) = (text(issue, "code"), text(issue, "message"));
        println!("  {} {} {}", paint(RED, "✗"), bold(code), message);
        if !text(issue, "pointer").is_empty() {
            println!("    {}", dim(text(issue, "pointer")));
        }
    }
    for approval in list(view, "approvals") {
        let scope = match text(approval, "stepId") {
            "" => "whole plan".to_owned(),
            step => format!("step {step}"),
        };
        let by = list(approval, "decidedBy").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        println!(
            "  approval of the {scope}: {}{by} {}",
            status(text(approval, "status")),
            dim(&format!("until {}", text(approval, "expiresAt")))
        );
        if text(approval, "status") == "requested" {
            println!("    {} {}", dim("binding"), text(approval, "bindingDigest"));
        }
    }
}

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
        let level = depth.get(id).copied().unwrap_or(0).min(12);
        let arrow = if level == 0 { "● ".to_owned() } else { format!("{}└▶ ", "   ".repeat(level - 1)) };
        format!("{arrow}{id}")
    };
    let wide = steps.iter().map(|step| label(step).chars().count()).max().unwrap_or(0);
    let named = steps.iter().map(|step| text(step, "operation").chars().count()).max().unwrap_or(0);
    for step in steps {
        let id = text(step, "stepId");
        let (state, verdict, tier) = (text(step, "status"), text(step, "verdict"), text(step, "riskTier"));
        let label = label(step);
        let waits = after(id);
        let waits = if waits.is_empty() { String::new() } else { dim(&format!("after {}", waits.join(", "))) };
        println!(
            "  {} {} {} {} {} {waits}",
            column(&label, &bold(&label), wide),
            column(text(step, "operation"), text(step, "operation"), named),
            column(state, &status(state), 11),
            column(tier, &status(tier), 6),
            column(verdict, &status(verdict), 10),
        );
        let why = if verdict == "autonomous" { &[] } else { list(step, "reasons") };
        for reason in why.iter().filter_map(Value::as_str) {
            println!("  {} {}", " ".repeat(wide), dim(&format!("· {reason}")));
        }
        let waits_for = text(step, "waitsFor");
        if !waits_for.is_empty() || !text(step, "message").is_empty() {
            let said = [waits_for, text(step, "code"), text(step, "message")];
            let said: Vec<&str> = said.into_iter().filter(|word| !word.is_empty()).collect();
            println!("  {} {}", " ".repeat(wide), paint(YELLOW, &said.join(": ")));
        }
    }
    if let Some(radius) = plan.and_then(|plan| plan.get("radius")) {
        let mut parts = vec![format!("writes {}", radius.get("writes").unwrap_or(&Value::Null))];
        for (currency, amount) in radius.get("money").and_then(Value::as_object).into_iter().flatten() {
            parts.push(format!("{currency} {amount}"));
        }
        parts.push(format!("recipients {}", radius.get("recipients").unwrap_or(&Value::Null)));
        if radius.get("open") == Some(&Value::Bool(true)) {
            parts.push("and what depends on outputs".into());
        }
        println!("  {} {}", dim("touches"), parts.join(", "));
    }
}

/// One line of a trace.
pub fn entry(entry: &Value) {
    let kind = text(entry, "type").trim_start_matches("controlPlane.");
    let metadata = entry.get("metadata").cloned().unwrap_or_default();
    let mut said = Vec::new();
    for key in
        ["stepId", "verdict", "riskTier", "mode", "attempt", "reason", "code", "message", "outcome", "errorCode"]
    {
        match metadata.get(key) {
            Some(Value::String(word)) if !word.is_empty() => said.push(format!("{}{word}", dim(&format!("{key}=")))),
            Some(Value::Number(number)) => said.push(format!("{}{number}", dim(&format!("{key}=")))),
            _ => {}
        }
    }
    let seq = entry.get("seq").and_then(Value::as_u64).unwrap_or_default();
    let time = text(entry, "timestamp").get(11..23).unwrap_or_default();
    let last = text(entry, "status");
    println!(
        "{} {} {} {} {}",
        dim(&format!("{seq:>4}")),
        dim(time),
        column(kind, &status_of_event(kind, last), 28),
        column(text(entry, "actorId"), text(entry, "actorId"), 14),
        said.join(" ")
    );
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

/// A table of rows with a header.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain(header.get(index).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let line = |cells: Vec<String>| println!("{}", cells.join("  ").trim_end());
    line(header.iter().enumerate().map(|(index, cell)| column(cell, &dim(cell), width(index))).collect());
    for row in rows {
        line(row.iter().enumerate().map(|(index, cell)| column(cell, &status_cell(cell), width(index))).collect());
    }
}

fn status_cell(cell: &str) -> String {
    let known =
        ["completed", "failed", "blocked", "running", "rejected", "cancelled", "paused", "low", "medium", "high"];
    if known.contains(&cell) || cell == "enabled" { status(cell) } else { cell.to_owned() }
}
