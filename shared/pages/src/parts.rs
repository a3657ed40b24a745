//! The small parts that many pages have: a state, a moment, foreign text in its quotation marks.

use crate::{Tone, words};
use askama::{Template, filters::HtmlSafe};
use contracts::Timestamp;

/// A state, risk or verdict, coloured by what it means.
#[derive(Clone, Debug, Template)]
#[template(source = r#"<span class="tag {{ class }}">{{ word }}</span>"#, ext = "html")]
pub struct Tag {
    class: &'static str,
    word: String,
}

impl HtmlSafe for Tag {}

impl Tag {
    /// By the state's name on the wire.
    pub fn of(state: &str) -> Self {
        Self { class: words::tone(state).class(), word: words::word(state) }
    }

    /// Of a risk tier.
    pub fn risk(tier: &str) -> Self {
        let tone = match tier {
            "blocked" => Tone::Bad,
            other => words::tone(other),
        };
        Self { class: tone.class(), word: words::word(tier) }
    }

    /// Of a verdict: who is blocked waits for nobody.
    pub fn verdict(verdict: &str) -> Self {
        Self::risk(verdict)
    }

    /// Of a tone, with words of the page's own.
    pub fn new(tone: Tone, word: impl Into<String>) -> Self {
        Self { class: tone.class(), word: word.into() }
    }
}

/// Stands first in a form whose button is pressed, never reached by Enter in one of its fields: a
/// form's default button is its first, and one that is disabled sends nothing (HTML, "Implicit
/// submission").
#[derive(Clone, Copy, Debug, Template)]
#[template(source = r#"<button type="submit" disabled hidden></button>"#, ext = "html")]
pub struct NoEnter;

/// As templates name it.
pub const NO_ENTER: NoEnter = NoEnter;

impl HtmlSafe for NoEnter {}

/// A moment, as time since or until then.
#[derive(Clone, Debug, Template)]
#[template(
    source = r#"<time class="nowrap" datetime="{{ iso }}" title="{{ iso }}">{{ ago }}</time>"#,
    ext = "html"
)]
pub struct Moment {
    iso: String,
    ago: String,
}

impl HtmlSafe for Moment {}

impl Moment {
    /// Seen from `now`.
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        Self { iso: at.to_string(), ago: words::ago(at, now) }
    }

    /// As time since something began.
    pub fn since(at: Timestamp, begun: Timestamp) -> Self {
        Self { iso: at.to_string(), ago: format!("+{}", words::took(at.ms() - begun.ms())) }
    }

    /// As the clock showed it (UTC), to the second.
    pub fn exact(at: Timestamp) -> Self {
        Self { iso: at.to_string(), ago: words::exact(at) }
    }
}

/// How much of a limit is used.
#[derive(Clone, Debug, Template)]
#[template(path = "bar.html")]
pub struct Bar {
    percent: u64,
    width: u64,
    class: &'static str,
}

impl HtmlSafe for Bar {}

impl Bar {
    /// Of a limit; a limit of zero is used up.
    pub fn of(used: u64, limit: u64) -> Self {
        let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(100);
        let class = match percent {
            0..=74 => "",
            75..=99 => "waiting",
            _ => "bad",
        };
        Self { percent, width: percent.min(100), class }
    }
}
