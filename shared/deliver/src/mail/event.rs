//! A stage event as a letter.

use super::letter::{Letter, unwritten};
use crate::SendError;
use askama::Template;
use contracts::{event::CloudEvent, limits::MAIL_VALUES_MAX, subscription::Subscription};
use cs_core::{
    canonical,
    mail::MailAddress,
    text::{clip_foreign, quote_foreign},
};
use serde_json::Value;

/// Columns of a value.
const VALUE_COLUMNS: usize = 300;

/// A label and what it says, visible already.
struct Row {
    label: String,
    value: String,
}

#[derive(Template)]
#[template(path = "event.txt")]
struct Text<'l> {
    head: &'l [Row],
    data: &'l [Row],
    omitted: usize,
    subscription: &'l str,
}

#[derive(Template)]
#[template(path = "event.html")]
struct Html<'l> {
    title: &'l str,
    head: &'l [Row],
    data: &'l [Row],
    omitted: usize,
    subscription: &'l str,
}

/// A stage event for who subscribed it.
pub(super) fn letter(
    subscription: &Subscription,
    to: &MailAddress,
    event: &CloudEvent,
) -> Result<Letter, SendError> {
    let workspace = event.source.strip_prefix("countersign/").unwrap_or(&event.source);
    let actor = match event.actorkind {
        Some(kind) => format!("{} ({})", clip_foreign(&event.actor, VALUE_COLUMNS), kind.as_str()),
        None => clip_foreign(&event.actor, VALUE_COLUMNS),
    };
    let title = event.event.key();
    let row = |label: &str, value: String| Row { label: label.to_owned(), value };
    let head = [
        row("event", title.to_owned()),
        row("workspace", workspace.to_owned()),
        row("of", event.subject.clone()),
        row("position", event.sequence.to_string()),
        row("at", event.time.to_string()),
        row("by", actor),
    ];
    let data = serde_json::to_value(&event.event).map_err(unwritten)?;
    let (mut values, mut count) = (Vec::new(), 0);
    leaves(data.get("data").unwrap_or(&Value::Null), "", &mut values, &mut count);
    let omitted = count - values.len();
    let id = &subscription.id;
    let text = Text { head: &head, data: &values, omitted, subscription: id };
    let html = Html { title, head: &head, data: &values, omitted, subscription: id };
    let name: [&[u8]; 3] =
        [b"countersign/mail/event", event.id.hex().as_bytes(), to.as_str().as_bytes()];
    Ok(Letter {
        subject: format!("[{workspace}] {title} {}", event.subject),
        text: text.render().map_err(unwritten)?,
        html: html.render().map_err(unwritten)?,
        name: canonical::digest_parts(&name),
    })
}

// The values of a document with the way to each, and how many there are.
fn leaves(value: &Value, path: &str, rows: &mut Vec<Row>, count: &mut usize) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                leaves(value, &below(name), rows, count);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &below(&index.to_string()), rows, count);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            *count += 1;
            if rows.len() < MAIL_VALUES_MAX {
                let value = match value {
                    Value::String(text) => quote_foreign(text),
                    other => other.to_string(),
                };
                let label = clip_foreign(path, VALUE_COLUMNS);
                rows.push(Row { label, value: cell(&value) });
            }
        }
    }
}

// Visible already: what is too long is cut off, and marked.
fn cell(value: &str) -> String {
    let mut shown: String = value.chars().take(VALUE_COLUMNS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}
