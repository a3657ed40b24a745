//! Diagnostics of a draft, counted beyond the limit but not kept.

use contracts::{Issue, limits::ISSUES_MAX};

/// What is wrong with a draft, as it is found.
///
/// INVARIANT (bounded-work): the number of diagnostics is limited while they are collected.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    issues: Vec<Issue>,
    more: usize,
}

impl Diagnostics {
    /// Adds one.
    pub(crate) fn push(&mut self, issue: Issue) {
        if !self.is_full() {
            self.issues.push(issue);
        } else {
            self.more += 1;
        }
    }
    /// Nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }
    /// The limit is reached: further checks can stop.
    pub(crate) fn is_full(&self) -> bool {
        // One is left for the count of the others.
        self.issues.len() >= ISSUES_MAX - 1
    }
    /// The diagnostics, with the number of those that were left out.
    pub(crate) fn into_issues(mut self) -> Vec<Issue> {
        if self.more > 0 {
            self.issues.push(Issue::new("", format!("and {} more", self.more)));
        }
        self.issues
    }
}

impl Extend<Issue> for Diagnostics {
    fn extend<I: IntoIterator<Item = Issue>>(&mut self, issues: I) {
        issues.into_iter().for_each(|issue| self.push(issue));
    }
}
