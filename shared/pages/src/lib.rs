//! How pages look: the frame around each, the words for states, pictures of plans, and the two
//! files that pages need.
//!
//! INVARIANT (seen-is-signed): whatever strangers wrote goes through [`quoted`], [`shown`] or
//! [`cell`], where it is escaped for the eye, and then through a template, where it is escaped for
//! HTML. [`Html`] is made by templates only.

mod asset;
mod frame;
mod impact;
mod pack;
mod parts;
mod pick;
mod picture;
mod words;

pub use asset::{Asset, SCRIPT, STYLE, asset};
pub use frame::{Frame, Nav, NavItem, explain, frame, frame_that_goes_on, leave};
pub use impact::{BacktestReport, Impact, amount, backtest_report};
pub use pack::pack_report;
pub use parts::{Bar, Moment, NO_ENTER, NoEnter, Tag};
pub use pick::Pick;
pub use picture::{Node, picture};
pub use words::{Tone, ago, cell, cut, exact, quoted, shown, tone, took, word};

use std::fmt;

/// HTML that a template rendered: what is in it is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Of a template whose values are escaped by its extension.
    pub fn of(template: &impl askama::Template) -> Result<Self, askama::Error> {
        template.render().map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, to be sent.
    pub fn into_string(self) -> String {
        self.0
    }
}

// Put into other templates as it is: it was escaped already.
impl askama::filters::HtmlSafe for Html {}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
