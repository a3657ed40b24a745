//! An execution: its plan as a DAG, verdicts, states and what it waits for.

use super::{RED, YELLOW, bold, column, dim, field, paint, status};
use crate::visible::{Visible, columns, cut, lines};
use anstream::println;
use contracts::{
    ExecutionId, Open, StepId,
    event::BlockReason,
    plan::{Plan, Radius},
    query::{ExecutionView, StepView},
    status::StepStatus,
    verdict::Verdict,
};
use cs_core::{currency::major, text::width};
use std::collections::HashMap;

/// Columns that the states beside a row of a plan need.
const STATES_COLUMNS: usize = 34;
/// Widest label of a step, as a share of what is left; the operation has the rest.
const LABEL_SHARE: usize = 2;
/// Deepest step that is set in further than the one before it.
const DEPTH_SHOWN_MAX: usize = 4;

/// Shows an execution.
pub fn execution(view: &Visible<ExecutionView>) {
    let mut line = format!("{}  {}", bold(view.execution_id.as_str()), status(&view.status));
    if let Some(tier) = &view.risk_tier {
        line += &format!("  {} {}", dim("risk"), status(tier));
    }
    if let Some(verdict) = &view.verdict {
        line += &format!("  {} {}", dim("verdict"), status(verdict));
    }
    println!("{line}");
    field(2, "goal", &format!("\"{}\"", view.text.replace('"', "\\\"")));
    dag(view);
    for next in view.steps.iter().filter_map(|step| next_command(&view.execution_id, step)) {
        field(2, "next", &next);
    }
    for issue in &view.reasons {
        let code = issue.code.as_deref().unwrap_or_default();
        println!("  {} {}", paint(RED, "✗"), bold(code));
        field(4, "", &issue.message);
        if !issue.pointer.is_empty() {
            field(4, "at", &issue.pointer);
        }
    }
    for approval in &view.approvals {
        let scope = match &approval.step_id {
            None => "whole plan".to_owned(),
            Some(step) => format!("step {}", cut(step.as_str(), 24)),
        };
        println!(
            "  approval of the {scope}: {} {}",
            status(&approval.status),
            dim(&format!("until {}", approval.expires_at))
        );
        if !approval.decided_by.is_empty() {
            field(4, "by", &approval.decided_by.join(", "));
        }
    }
}

// The plan drawn by depth: a step stands below and right of what it waits for.
fn dag(view: &ExecutionView) {
    let plan = view.plan.as_ref().and_then(Open::known);
    let depth = depths(&view.steps, plan);
    let room = columns().saturating_sub(STATES_COLUMNS);
    let label = |step: &StepView| {
        let level = depth.get(&step.step_id).copied().unwrap_or(0).min(DEPTH_SHOWN_MAX);
        let arrow = match level {
            0 => "● ".to_owned(),
            level => format!("{}└▶ ", "   ".repeat(level - 1)),
        };
        cut(&format!("{arrow}{}", step.step_id), room / LABEL_SHARE)
    };
    let label_columns = view.steps.iter().map(|step| width(&label(step))).max().unwrap_or(0);
    let operation = |step: &StepView| cut(&step.operation, room.saturating_sub(label_columns));
    let operation_columns =
        view.steps.iter().map(|step| width(&operation(step))).max().unwrap_or(0);
    for step in &view.steps {
        let (label, operation) = (label(step), operation(step));
        let state = step.status.to_string();
        let tier = step.risk_tier.as_ref().map(ToString::to_string).unwrap_or_default();
        let verdict = step.verdict.as_ref().map(status).unwrap_or_default();
        let row = format!(
            "  {} {} {} {} {verdict}",
            column(&label, &bold(&label), label_columns),
            column(&operation, &operation, operation_columns),
            column(&state, &status(&state), 11),
            column(&tier, &status(&tier), 6),
        );
        println!("{}", row.trim_end());
        below(step, after(plan, &step.step_id), label_columns + 3);
    }
    if let Some(plan) = plan {
        field(2, "touches", &touched(&plan.radius));
    }
}

fn after<'p>(plan: Option<&'p Plan>, id: &StepId) -> &'p [StepId] {
    let step = plan.and_then(|plan| plan.steps.iter().find(|step| step.id == *id));
    step.map_or(&[], |step| &step.after)
}

// How many steps there are before each, on the longest way.
fn depths(steps: &[StepView], plan: Option<&Plan>) -> HashMap<StepId, usize> {
    let mut depth: HashMap<StepId, usize> = HashMap::new();
    for step in steps {
        let before = after(plan, &step.step_id).iter().filter_map(|before| depth.get(before)).max();
        let level = before.map_or(0, |deepest| deepest + 1);
        depth.insert(step.step_id.clone(), level);
    }
    depth
}

// What a step waits for, and the command that ends it.
fn next_command(execution: &ExecutionId, step: &StepView) -> Option<String> {
    let id = &step.step_id;
    let resolve = format!("countersign resolve {execution} {id} completed|failed|retry");
    Some(match step.waits_for.as_ref()?.known()? {
        // Told with its question; nothing helps.
        BlockReason::ApprovalRequired | BlockReason::PolicyBlocked => return None,
        BlockReason::ApprovalExpired | BlockReason::BudgetExceeded => {
            format!("{id}: countersign retry {execution} --step {id}")
        }
        BlockReason::WorkspaceFrozen | BlockReason::Frozen => {
            format!("{id} is frozen: countersign freeze list, then freeze lift")
        }
        BlockReason::SkillDisabled => {
            let skill = step.operation.split('/').next().unwrap_or_default();
            format!("{id}: countersign skill enable {skill}")
        }
        BlockReason::UsageExceeded => {
            format!("{id} goes on when its meter has room: countersign budget show")
        }
        BlockReason::RequesterRevoked if step.status == StepStatus::Stuck => {
            format!("{id}: {resolve}")
        }
        BlockReason::RequesterRevoked => {
            format!("{id} has no requester any more: countersign cancel {execution}")
        }
        BlockReason::AwaitingCallback => {
            format!("{id} waits for its tool to call back; nothing to do")
        }
        BlockReason::OutcomeUnknown => {
            format!("{id}, look at what its tool did, then: {resolve}")
        }
        BlockReason::CompensationFailed => format!("{id} was not undone: {resolve}"),
    })
}

// What is said below a step's row.
fn below(step: &StepView, after: &[StepId], indent: usize) {
    if !after.is_empty() {
        let names: Vec<&str> = after.iter().map(StepId::as_str).collect();
        field(indent, "after", &names.join(", "));
    }
    if step.verdict.as_ref().is_none_or(|verdict| *verdict != Verdict::Autonomous) {
        for reason in &step.reasons {
            field(indent, "·", reason);
        }
    }
    let words = [
        step.waits_for.as_ref().map(ToString::to_string),
        step.code.as_ref().map(ToString::to_string),
        step.message.clone(),
    ];
    if step.waits_for.is_some() || step.message.is_some() {
        let words: Vec<String> = words.into_iter().flatten().collect();
        for line in lines(&words.join(": "), indent) {
            println!("{}{}", " ".repeat(indent), paint(YELLOW, &line));
        }
    }
}

fn touched(radius: &Radius) -> String {
    let mut parts = vec![format!("writes {}", radius.writes)];
    for (currency, minor) in &radius.money {
        parts.push(match major(*minor, currency) {
            Some(major) => format!("{major} {currency}"),
            None => format!("{minor} minor units of {currency}"),
        });
    }
    parts.push(format!("recipients {}", radius.recipients));
    if radius.open {
        parts.push("and what depends on outputs".into());
    }
    parts.extend(radius.unmeasured.iter().map(|kind| format!("{kind} unmeasured")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::next_command;
    use contracts::{ExecutionId, event::BlockReason, query::StepView};
    use serde_json::json;

    fn next(reason: &str, status: &str) -> Option<String> {
        let step: StepView = serde_json::from_value(json!({
            "stepId": "a", "operation": "crm/find", "status": status, "attempt": 1,
            "waitsFor": reason,
        }))
        .unwrap();
        next_command(&ExecutionId::from_bytes([1; 16]), &step)
    }

    #[test]
    fn each_waiting_names_its_own_command() {
        let says = |reason: BlockReason, status, words: &str| {
            let word = contracts::Open::from(reason).to_string();
            let next = next(&word, status).unwrap_or_default();
            let words = words.replace("exe_1", ExecutionId::from_bytes([1; 16]).as_str());
            assert!(next.contains(&words), "{reason:?}: {next}");
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
        assert_eq!(next("approval_required", "blocked"), None);
        assert_eq!(next("policy_blocked", "blocked"), None);
        assert_eq!(next("a_reason_of_a_newer_server", "blocked"), None);
    }
}
