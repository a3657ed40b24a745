//! Diagnostics of a draft, counted beyond the limit but not kept.

use contracts::{Issue, limits::ISSUES_MAX};

/// What is wrong with a draft, as it is found.
///
/// INVARIANT (bounded-work): a draft can be wrong in more ways than anybody reads; what is kept is limited while it is
/// collected.
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
    /// No more are kept: looking further is of no use to anybody.
    pub(crate) fn is_full(&self) -> bool {
        // One is left for the count of the others.
        self.issues.len() >= ISSUES_MAX - 1
    }
    /// What was found, with how much more there was.
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
