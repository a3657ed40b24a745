//! Identifiers as people write them: a prefix is enough where it names one of those that are there.

use crate::error::CliError;
use client::Client;
use contracts::{ExecutionId, limits::PAGE_ITEMS_MAX, operation as op, query::ListExecutions};
use cs_core::text::escape_foreign;
use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

/// Fewest characters that an identifier is shortened to, behind what names its kind.
const SHORT_MIN: usize = 8;
/// Of the candidates for a prefix so many are listed.
const LISTED_MAX: usize = 10;
const EXECUTION: &str = "exe_";

/// The execution that a text names: its id, or an unambiguous prefix among the recent ones, with or
/// without `exe_`.
pub async fn execution(client: &Client, text: &str) -> Result<ExecutionId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let recent = recent(client).await?;
    let prefix = match text.starts_with(EXECUTION) {
        true => text.to_owned(),
        false => format!("{EXECUTION}{text}"),
    };
    let named = one("execution", &prefix, recent.iter().map(ExecutionId::as_str))?;
    named.parse().map_err(CliError::local)
}

/// The newest executions that the key may see.
pub async fn recent(client: &Client) -> Result<Vec<ExecutionId>, CliError> {
    let limit = u32::try_from(PAGE_ITEMS_MAX).ok();
    let request = ListExecutions { limit, ..ListExecutions::default() };
    let page = client.call(&op::EXECUTION_LIST, &request).await?.into_inner();
    Ok(page.items.into_iter().map(|item| item.execution_id).collect())
}

/// The one identifier that begins with a prefix.
pub fn one<'i>(
    what: &str,
    prefix: &str,
    known: impl IntoIterator<Item = &'i str>,
) -> Result<&'i str, CliError> {
    let mut known: Vec<&str> = known.into_iter().filter(|id| id.starts_with(prefix)).collect();
    known.sort_unstable();
    known.dedup();
    if let Some(exact) = known.iter().find(|id| **id == prefix) {
        return Ok(exact);
    }
    let prefix = escape_foreign(prefix);
    match known.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::Local(format!("no recent {what} begins with `{prefix}`"))),
        many => {
            let listed: Vec<String> =
                many.iter().take(LISTED_MAX).map(|id| format!("\n  {id}")).collect();
            let more = match many.len().saturating_sub(LISTED_MAX) {
                0 => String::new(),
                more => format!("\n  and {more} more"),
            };
            Err(CliError::Local(format!(
                "`{prefix}` is ambiguous among recent {what}s:{}{more}",
                listed.concat()
            )))
        }
    }
}

/// Identifiers of one kind, to be shortened so that [`one`] finds each of them.
pub struct Short {
    known: BTreeSet<String>,
}

impl Short {
    /// Among these.
    pub fn among<'i>(known: impl IntoIterator<Item = &'i str>) -> Self {
        Self { known: known.into_iter().map(str::to_owned).collect() }
    }

    /// The shortest prefix that names it alone.
    pub fn of<'i>(&self, id: &'i str) -> &'i str {
        let shared = |other: &String| {
            other.bytes().zip(id.bytes()).take_while(|(left, right)| left == right).count()
        };
        // In their order the neighbours share most.
        let before = self.known.range::<str, _>((Unbounded, Excluded(id))).next_back();
        let after = self.known.range::<str, _>((Excluded(id), Unbounded)).next();
        let (before, after) = (before.map(shared), after.map(shared));
        let kind = id.find('_').map_or(0, |end| end + 1);
        let needed = before.max(after).map_or(0, |shared| shared + 1).max(kind + SHORT_MIN);
        id.get(..needed).unwrap_or(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shortened_is_found_again() {
        let ids = [
            "exe_019ac1f200000000aaaa",
            "exe_019ac1f200000000aaab",
            "exe_019ac1f2000f0000aaaa",
            "exe_f19ac1f2000f0000aaaa",
        ];
        let short = Short::among(ids);
        for id in ids {
            assert_eq!(one("execution", short.of(id), ids).unwrap(), id);
        }
        assert_eq!(short.of(ids[3]), "exe_f19ac1f2");
        assert_eq!(short.of(ids[1]), ids[1]);
        let error = one("execution", "exe_019ac1f2", ids).unwrap_err().to_string();
        assert!(error.contains("ambiguous") && error.matches("\n  exe_").count() == 3, "{error}");
        let error = one("execution", "exe_7", ids).unwrap_err().to_string();
        assert!(error.contains("no recent execution"), "{error}");
        assert_eq!(one("key", "a", ["a", "ab"]).unwrap(), "a", "a whole one is no prefix");
    }
}
