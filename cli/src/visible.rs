//! What a terminal may be sent. INVARIANT (seen-is-signed): an answer's texts may come from agents,
//! tools and skills; renderers get them only as [`Visible`], with everything that acts or hides
//! shown as an escape.

use crate::error::CliError;
use client::Answer;
use cs_core::text::{escape_foreign, is_hidden, width, wrap};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{fmt::Write as _, ops::Deref};

/// Columns of a terminal that does not say.
const COLUMNS_DEFAULT: usize = 80;
/// Fewest columns that lines are made for.
const COLUMNS_MIN: usize = 40;

/// An answer whose texts, names of fields included, are all visible and on one line.
pub struct Visible<A>(A);

impl<A: DeserializeOwned> Visible<A> {
    /// Makes an answer visible.
    pub fn of(answer: &Answer<A>) -> Result<Self, CliError> {
        let shown = Answer::<A>::of(visible(answer.document()));
        shown.map(|shown| Self(shown.into_inner())).map_err(CliError::Server)
    }
}

impl<A> Deref for Visible<A> {
    type Target = A;
    fn deref(&self) -> &A {
        &self.0
    }
}

/// A text of several lines, each of them visible; the backslash is itself, for it is code.
pub fn document(text: &str) -> String {
    text.lines()
        .map(|line| {
            escape_all(line, |out, char| write!(out, "\\u{{{:x}}}", u32::from(char))) + "\n"
        })
        .collect()
}

fn visible(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(escape_foreign(text).into_owned()),
        Value::Array(items) => items.iter().map(visible).collect(),
        Value::Object(map) => {
            let shown: Map<String, Value> = map
                .iter()
                .map(|(key, value)| (escape_foreign(key).into_owned(), visible(value)))
                .collect();
            shown.into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// JSON in one line, with everything escaped that a terminal could obey or hide. Every reader gets
/// the same value.
pub fn json_line(value: &Value) -> String {
    escape_all(&value.to_string(), |out, char| {
        char.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
    })
}

fn escape_all(text: &str, escape: impl Fn(&mut String, char) -> std::fmt::Result) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if is_hidden(char) {
            // Writing to a string cannot fail.
            let _ = escape(&mut out, char);
        } else {
            out.push(char);
        }
    }
    out
}

/// Columns of the terminal: what `COLUMNS` says, else its own width; 80 where there is none.
pub fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || {
        let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
        Some(usize::from(width.0))
    };
    said.or_else(terminal).unwrap_or(COLUMNS_DEFAULT).max(COLUMNS_MIN)
}

/// A visible text in lines that leave `margin` columns.
pub fn lines(text: &str, margin: usize) -> Vec<String> {
    wrap(text, columns().saturating_sub(margin))
}

/// A visible text in at most `columns`; what is cut off is marked by `…`.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    for char in text.chars() {
        if width(&out) + width(&char.to_string()) + 1 > columns {
            break;
        }
        out.push(char);
    }
    out + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_text_of_an_answer_is_visible() {
        let hostile = "a\u{1b}[2J\r\n\u{202e}b";
        let answer = json!({ "text": hostile, hostile: [{ "deep": hostile }, 1, null, true] });
        let shown = Visible::of(&Answer::<Value>::of(answer).unwrap()).unwrap();
        assert!(!shown.to_string().chars().any(is_hidden), "{}", *shown);
        assert_eq!(shown["text"], "a\\u{1b}[2J\\u{d}\\u{a}\\u{202e}b");
        assert_eq!(document("a\n\u{1b}\\b"), "a\n\\u{1b}\\b\n");
    }

    #[test]
    fn json_for_machines_is_the_same_value_without_controls() {
        let value = json!({ "text": "\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\u{200b} ü 東京 \\ \"" });
        let line = json_line(&value);
        assert!(!line.chars().any(is_hidden), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
