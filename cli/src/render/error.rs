//! An error, with its issues and what to do.

use super::{CYAN, RED, bold, dim, paint};
use crate::{error::CliError, visible::lines};
use anstream::eprintln;
use client::ClientError;
use contracts::{Code, problem::ReceivedProblem};
use cs_core::text::escape_foreign;

/// Tells an error on standard error.
pub fn error(error: &CliError) {
    match error {
        CliError::Client(ClientError::Problem(problem)) => refused(problem),
        CliError::Client(ClientError::Unreachable { .. }) => {
            plain("unreachable", &error.to_string());
            let hint = "  is `countersign dev` running? A profile, --endpoint or COUNTERSIGN_URL \
                        says where";
            eprintln!("{}", dim(hint));
        }
        CliError::Server(_) => plain("failed", &error.to_string()),
        CliError::Client(
            ClientError::Unexpected { .. }
            | ClientError::Endpoint(..)
            | ClientError::Request(_)
            | ClientError::Setup(_),
        )
        | CliError::Local(_)
        | CliError::NotProven(_) => plain("error", &error.to_string()),
    }
}

fn plain(title: &str, text: &str) {
    let margin = title.chars().count() + 1;
    // Lines of our own making stay lines.
    for (index, part) in text.split('\n').enumerate() {
        for (inner, line) in lines(&escape_foreign(part), margin).iter().enumerate() {
            let first = index == 0 && inner == 0;
            let title = if first { paint(RED, title) } else { " ".repeat(margin - 1) };
            eprintln!("{title} {line}");
        }
    }
}

fn refused(problem: &ReceivedProblem) {
    let code = problem.code.to_string();
    eprintln!("{} {}", paint(RED, "refused"), bold(&escape_foreign(&code)));
    for line in lines(&escape_foreign(&problem.detail), 2) {
        eprintln!("  {line}");
    }
    for issue in &problem.issues {
        let pointer = match issue.pointer.as_str() {
            "" => String::new(),
            pointer => format!("{pointer}: "),
        };
        let code = issue.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
        let text = format!("{pointer}{}{code}", issue.message);
        for line in lines(&escape_foreign(&text), 4) {
            eprintln!("  {} {line}", paint(CYAN, "·"));
        }
    }
    if problem.code == Code::Unauthenticated {
        let hint = "  a key comes of a profile (`countersign login`) or of COUNTERSIGN_API_KEY";
        eprintln!("{}", dim(hint));
    }
    eprintln!("{}", dim(&format!("  trace {}", escape_foreign(&problem.trace_id))));
}
