//! Messages and the dialogue for a reason.

use super::{APPROVE, BLOCK, Place, REASON, REJECT, Subject, escape};
use crate::text::escape_foreign;
use contracts::{
    StepId, Timestamp,
    limits::{SLACK_SECTION_CHARACTERS_MAX, SLACK_VIEW_BLOCKS_MAX, VIEW_VALUE_CHARACTERS_MAX},
};
use serde::Serialize;
use serde_json::{Value, json};

/// Longest reason that the dialogue takes, in characters.
const REASON_CHARACTERS_MAX: usize = 2_000;

/// A message: its blocks, and the text that notifications and old clients show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    pub text: String,
    pub blocks: Value,
}

/// A request that waits for people.
pub struct Asked<'m> {
    pub subject: &'m Subject,
    pub step: Option<&'m StepId>,
    /// The lines of the view.
    pub lines: &'m [String],
    pub expires_at: Timestamp,
}

/// What became of a request.
pub struct Decided<'m> {
    pub subject: &'m Subject,
    pub step: Option<&'m StepId>,
    /// `Approved`, `Rejected`, `Expired`, `Void`.
    pub outcome: &'static str,
    pub by: Option<&'m str>,
    pub at: Timestamp,
    pub reason: Option<&'m str>,
}

/// The message that asks. INVARIANT (seen-is-signed): what has no room for all lines has no
/// buttons: nobody decides on what is not shown.
pub fn asked(asked: &Asked<'_>) -> Message {
    let title = format!("Approval wanted: {}", named(asked.subject, asked.step));
    let mut blocks = vec![header("Approval wanted")];
    let (shown, whole) = view(asked.lines);
    blocks.extend(shown);
    let until = format!("Until {}.", asked.expires_at);
    if whole {
        blocks.push(plain(&until));
        let value = serde_json::to_string(asked.subject).unwrap_or_default();
        blocks.push(json!({ "type": "actions", "block_id": BLOCK, "elements": [
            button(APPROVE, ("Approve", "primary"), &value),
            button(REJECT, ("Reject", "danger"), &value),
        ] }));
    } else {
        blocks.push(plain(&format!(
            "{until} There is more than a message shows: decide in the console or by \
             `countersign approval show {}`.",
            asked.subject.execution_id
        )));
    }
    Message { text: escape(&title), blocks: Value::Array(blocks) }
}

/// The message in its place, once the request is decided: without buttons.
pub fn decided(decided: &Decided<'_>) -> Message {
    let by = decided.by.map(|by| format!(" by {}", clipped(by))).unwrap_or_default();
    let text = format!("{}{by}: {}", decided.outcome, named(decided.subject, decided.step));
    let mut blocks = vec![header(decided.outcome), plain(&format!("{text}, {}", decided.at))];
    if let Some(reason) = decided.reason.filter(|reason| !reason.trim().is_empty()) {
        blocks.push(plain(&format!("Reason: {}", clipped(reason))));
    }
    Message { text: escape(&text), blocks: Value::Array(blocks) }
}

/// A message of a few words.
pub fn note(text: &str) -> Message {
    let text = clipped(text);
    Message { text: escape(&text), blocks: json!([plain(&text)]) }
}

/// The dialogue that asks why a request is rejected.
pub fn reason_modal(subject: &Subject, place: &Place) -> Value {
    let hidden = json!({ "subject": subject, "place": place }).to_string();
    json!({
        "type": "modal",
        "callback_id": REJECT,
        "private_metadata": hidden,
        "title": text("Reject"),
        "submit": text("Reject"),
        "close": text("Cancel"),
        "blocks": [{
            "type": "input",
            "block_id": REASON,
            "label": text("Why? Those who asked are told."),
            "element": { "type": "plain_text_input", "action_id": REASON, "multiline": true,
                "min_length": 1, "max_length": REASON_CHARACTERS_MAX },
        }],
    })
}

// The lines as they are: preformatted, so that nothing in them is read for markup. False: they are
// not all there.
fn view(lines: &[String]) -> (Vec<Value>, bool) {
    let (mut parts, mut part) = (Vec::new(), String::new());
    for line in lines {
        // A line of a view is far shorter than a part.
        if part.chars().count() + line.chars().count() + 1 > SLACK_SECTION_CHARACTERS_MAX {
            parts.push(std::mem::take(&mut part));
        }
        part.push_str(line);
        part.push('\n');
    }
    parts.push(part);
    let whole = parts.len() <= SLACK_VIEW_BLOCKS_MAX && !lines.is_empty();
    let shown = parts.iter().take(SLACK_VIEW_BLOCKS_MAX).filter(|part| !part.trim().is_empty());
    let block = |part: &String| {
        let text = json!({ "type": "text", "text": part.trim_end_matches('\n') });
        json!({ "type": "rich_text",
            "elements": [{ "type": "rich_text_preformatted", "elements": [text] }] })
    };
    (shown.map(block).collect(), whole)
}

fn named(subject: &Subject, step: Option<&StepId>) -> String {
    match step {
        Some(step) => format!("step {step} of {}", subject.execution_id),
        None => format!("the plan of {}", subject.execution_id),
    }
}

// Foreign words, visible and on one line.
fn clipped(text: &str) -> String {
    let shown: String = text.chars().take(VIEW_VALUE_CHARACTERS_MAX).collect();
    escape_foreign(&shown).into_owned()
}

fn text(words: &str) -> Value {
    json!({ "type": "plain_text", "text": words, "emoji": false })
}

fn header(words: &str) -> Value {
    json!({ "type": "header", "text": text(words) })
}

fn plain(words: &str) -> Value {
    json!({ "type": "section", "text": text(words) })
}

fn button(action: &str, (words, style): (&str, &str), value: &str) -> Value {
    json!({ "type": "button", "action_id": action, "text": text(words), "style": style,
        "value": value })
}
