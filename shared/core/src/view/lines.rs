//! The lines of a view: the same for console, mail, Slack and the command line.
//!
//! Labels are fixed and have their own column. Foreign text is escaped and quoted, and each of its
//! lines begins in the column after the labels, so that it cannot imitate a line of the view.

use crate::text::{escape_foreign, quote_foreign, wrap};
use contracts::{
    draft::{Budget, OnFailure},
    event::{ActorKind, Purpose, Requirement},
    view::{
        Aspect, Excerpt, Requester, Shown, Touched, Unknown, View, ViewCall, ViewInput, ViewMoney,
        ViewRule, ViewStep, ViewTaint,
    },
};
use serde_json::Value;

/// Columns of the labels.
const LABEL_COLUMNS: usize = 12;
/// Columns by which a step's lines are indented.
const STEP_COLUMNS: usize = 2;
/// Label of the call that is decided on.
const OWN_CALL: &str = "operation";
/// Fewest columns that lines are made for.
const COLUMNS_MIN: usize = 40;

/// A view as lines of at most `columns` columns (at least 40), without controls.
pub fn lines(view: &View, columns: usize) -> Vec<String> {
    let mut page = Page { lines: Vec::new(), columns: columns.max(COLUMNS_MIN), indent: 0 };
    head(view, &mut page);
    for step in &view.steps {
        page.lines.push(String::new());
        show_step(view, step, &mut page);
    }
    if view.omitted_steps > 0 {
        page.lines.push(String::new());
        let people = match view.omitted_steps_for_people {
            0 => "none of which needs people".to_owned(),
            count => format!("{count} of which need people"),
        };
        let text = format!(
            "and {} more steps, {people}; the plan's digest covers them",
            view.omitted_steps
        );
        page.row("not shown", &text);
    }
    page.lines
}

struct Page {
    lines: Vec<String>,
    columns: usize,
    indent: usize,
}

impl Page {
    // A label and what it says. `text` is visible already.
    fn row(&mut self, label: &str, text: &str) {
        let margin = self.indent + LABEL_COLUMNS;
        for (index, part) in wrap(text, self.columns.saturating_sub(margin)).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let line = format!("{:indent$}{label:<LABEL_COLUMNS$}{part}", "", indent = self.indent);
            self.lines.push(line.trim_end().to_owned());
        }
    }

    fn rows(&mut self, label: &str, texts: impl Iterator<Item = String>) {
        for (index, text) in texts.enumerate() {
            self.row(if index == 0 { label } else { "" }, &text);
        }
    }
}

fn head(view: &View, page: &mut Page) {
    let steps = counted(u64::from(view.step_count), "step");
    let what = match (&view.step_id, view.purpose) {
        (None, _) => format!("the whole plan of {}: {steps}", view.execution_id),
        (Some(step), Purpose::Run) => {
            format!("step `{step}` of {}, with its actual input", view.execution_id)
        }
        (Some(step), Purpose::Compensate) => {
            format!("undoing step `{step}` of {}, with the actual input", view.execution_id)
        }
        (Some(step), Purpose::Probe) => {
            format!("looking up step `{step}` of {}, with the actual input", view.execution_id)
        }
    };
    page.row("decide on", &what);
    page.row("goal", &quoted(&view.goal));
    page.row("asked by", &requester(&view.requester));
    page.row(
        "risk",
        &format!(
            "{}, {} by policy version {}",
            view.risk_tier,
            view.verdict,
            escape_foreign(&view.policy_version)
        ),
    );
    if !view.requirement.is_empty() {
        page.row("needs", &voices(&view.requirement));
    }
    if !view.signals.is_empty() {
        page.row("signals", &list(view.signals.iter().map(|signal| quote_foreign(signal))));
    }
    if let Some(bps) = view.confidence_bps {
        page.row("confidence", &format!("{}.{:02} %, as the planner says", bps / 100, bps % 100));
    }
    page.row("touches", &touches(&view.touches));
    if let Some(limits) = &view.budget {
        page.row("budget", &budget(limits));
    }
    if let Some(limits) = &view.workspace_budget {
        page.row("workspace", &format!("lets one plan touch {}", budget(limits)));
    }
    match view.on_failure {
        OnFailure::Leave => {}
        OnFailure::Compensate => page.row("on failure", "completed steps are undone"),
    }
}

fn voices(requirement: &[Requirement]) -> String {
    let one =
        |wanted: &Requirement| format!("{} of {}", wanted.count, escape_foreign(&wanted.group));
    let groups = requirement.iter().map(one).collect::<Vec<_>>().join(" and ");
    match requirement {
        [] | [_] => groups,
        [_, _] => groups + "; who is in both counts for both",
        _ => groups + "; who is in several counts for each",
    }
}

fn requester(requester: &Requester) -> String {
    let kind = match requester.actor.kind {
        ActorKind::Human => "human",
        ActorKind::Service => "service",
        ActorKind::Agent => "agent",
        ActorKind::Tool => "tool",
    };
    let mut text = format!("{kind} {}", quote_foreign(&requester.actor.id));
    if let Some(subject) = &requester.on_behalf_of {
        text += &format!(", on behalf of {}", quote_foreign(subject));
    }
    if let Some(key) = &requester.key_id {
        text += &format!(", with key {}", quote_foreign(key));
    }
    if let Some(channel) = &requester.channel_key {
        text += &format!(", through channel {}", quote_foreign(channel));
    }
    text
}

fn show_step(view: &View, step: &ViewStep, page: &mut Page) {
    page.row("step", &format!("{} ({} of {})", step.step_id, step.position, view.step_count));
    page.indent = STEP_COLUMNS;
    show_call(OWN_CALL, &step.call, page);
    if let Some(when) = &step.condition {
        let (path, test) = (text(&when.path), text(&when.test));
        page.row("only if", &format!("the output of `{}` has at {path}: {test}", when.from));
    }
    for (label, beside) in [("undone by", &step.compensation), ("looked up", &step.probe)] {
        if let Some(call) = beside {
            show_call(label, call, page);
        }
    }
    page.indent = 0;
}

fn show_call(label: &str, call: &ViewCall, page: &mut Page) {
    page.row(label, &format!("{}, {}", escape_foreign(&call.operation), quoted(&call.title)));
    if label != OWN_CALL {
        page.indent += STEP_COLUMNS;
    }
    page.row("effect", &format!("{}, risk {}, {}", call.effect, call.risk_tier, call.verdict));
    if let Some(target) = &call.target {
        page.row("target", &shown(target));
    }
    if !call.touches.money.is_empty() {
        page.row("money", &list(call.touches.money.iter().map(money)));
    }
    page.rows("recipients", call.recipients.iter().map(shown));
    more(page, call.omitted_recipients, "recipients");
    page.rows("input", call.inputs.iter().map(input));
    more(page, call.omitted_inputs, "values");
    page.rows("unknown", call.unknown.iter().map(unknown));
    page.rows(
        "unmeasured",
        call.touches.unmeasured.iter().map(|what| escape_foreign(what).into_owned()),
    );
    page.rows("why", call.reasons.iter().map(text));
    page.rows("rule", call.rules.iter().map(rule));
    if !call.requirement.is_empty() {
        page.row("needs", &voices(&call.requirement));
    }
    page.rows("taint", call.taint.iter().map(taint));
    if label != OWN_CALL {
        page.indent -= STEP_COLUMNS;
    }
}

fn taint(taint: &ViewTaint) -> String {
    let way = list_with(taint.path.iter().map(ToString::to_string), " → ");
    let left_out = match taint.omitted_steps {
        0 => String::new(),
        count => format!(" and {count} steps more"),
    };
    format!("{} comes through {way}{left_out}", quoted(&taint.label))
}

fn more(page: &mut Page, left_out: u32, what: &str) {
    if left_out > 0 {
        page.row(
            "",
            &format!("and {left_out} more {what}, not shown; the plan's digest covers them"),
        );
    }
}

fn input(input: &ViewInput) -> String {
    format!("{} = {}", text(&input.pointer), shown(&input.value))
}

fn unknown(unknown: &Unknown) -> String {
    let what = match unknown.aspect {
        Aspect::Target => "what it acts on",
        Aspect::Money => "the money",
        Aspect::Recipients => "the recipients",
    };
    let (from, path) = (&unknown.from, text(&unknown.path));
    format!("{what}: comes from step `{from}` {path}; the step asks again once it is known")
}

fn rule(rule: &ViewRule) -> String {
    let reason =
        rule.reason.as_ref().map(|reason| format!(": {}", quoted(reason))).unwrap_or_default();
    format!("{} `{}`{reason}", escape_foreign(&rule.effect), text(&rule.id))
}

/// A value in one line: texts in quotation marks, other JSON as it is.
fn shown(shown: &Shown) -> String {
    match shown {
        Shown::Known { value: Value::String(text), omitted_characters } => {
            quote_foreign(text) + &omitted(*omitted_characters)
        }
        Shown::Known { value, omitted_characters } => {
            escape_foreign(&value.to_string()).into_owned() + &omitted(*omitted_characters)
        }
        Shown::Sealed => "(sealed)".to_owned(),
        Shown::Wired { from, path } => format!("from step `{from}` {}, not known yet", text(path)),
    }
}

fn touches(touched: &Touched) -> String {
    let mut parts = vec![counted(touched.writes, "write")];
    parts.extend(touched.money.iter().map(money));
    if touched.recipients > 0 {
        parts.push(counted(touched.recipients, "recipient"));
    }
    parts.extend(
        touched.unmeasured.iter().map(|what| format!("unmeasured: {}", escape_foreign(what))),
    );
    if !touched.data_classes.is_empty() {
        let classes = touched.data_classes.iter().map(|class| escape_foreign(class).into_owned());
        parts.push(format!("data of {}", list(classes)));
    }
    list(parts.into_iter())
}

fn money(money: &ViewMoney) -> String {
    let currency = escape_foreign(&money.currency);
    match &money.amount {
        Some(amount) => format!("{amount} {currency} ({} minor units)", money.minor),
        None => {
            format!(
                "{} minor units of {}, which is no known currency",
                money.minor,
                quote_foreign(&money.currency)
            )
        }
    }
}

fn budget(budget: &Budget) -> String {
    let mut parts = Vec::new();
    parts.extend(budget.writes.map(|writes| counted(writes, "write")));
    match &budget.money {
        None => {}
        Some(limits) if limits.is_empty() => parts.push("no money".into()),
        Some(limits) => parts.extend(super::money(limits).iter().map(money)),
    }
    parts.extend(budget.recipients.map(|recipients| counted(recipients, "recipient")));
    if let Some(classes) = &budget.data_classes {
        let classes = list(classes.iter().map(|class| escape_foreign(class).into_owned()));
        parts.push(if classes.is_empty() {
            "no classified data".into()
        } else {
            format!("data of {classes}")
        });
    }
    if parts.is_empty() {
        "anything".into()
    } else {
        format!("at most {}", list(parts.into_iter()))
    }
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn list(items: impl Iterator<Item = String>) -> String {
    list_with(items, ", ")
}

fn list_with(items: impl Iterator<Item = String>, between: &str) -> String {
    items.collect::<Vec<_>>().join(between)
}

fn text(excerpt: &Excerpt) -> String {
    escape_foreign(&excerpt.text).into_owned() + &omitted(excerpt.omitted_characters)
}

fn quoted(excerpt: &Excerpt) -> String {
    quote_foreign(&excerpt.text) + &omitted(excerpt.omitted_characters)
}

fn omitted(characters: u32) -> String {
    if characters == 0 { String::new() } else { format!(" (+{characters} characters)") }
}
