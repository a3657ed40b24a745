//! controlPlane.workspace.log: a page of the workspace log.

use crate::{Answer, Caller, Queries, boxed, evidence::queries::entry, govern::skills::page};
use contracts::{
    Code, Digest, Issue, Problem,
    limits::LOG_CHAINED_AT_ONCE_MAX,
    query::{GetWorkspaceLog, TraceHead, WorkspaceLog},
};
use countersign_store::{Query, keys};
use cs_core::trace::{self, ChainError, Verifier};
use serde_json::Value;

impl Queries {
    /// controlPlane.workspace.log: a page of the log. It changes nothing (INVARIANT
    /// get-never-mutates): what waits to be chained is counted, not chained.
    #[boxed]
    pub async fn workspace_log(
        &self,
        caller: &Caller,
        request: GetWorkspaceLog,
    ) -> Answer<WorkspaceLog> {
        caller.require_whole("control-plane.audit")?;
        let limit = page(request.limit)?;
        let from = match request.cursor.as_deref().map(str::parse::<u64>) {
            None => 1,
            Some(Ok(seq)) if seq > 0 => seq,
            Some(Ok(_) | Err(_)) => {
                let problem = Problem::new(
                    Code::ValidationFailed,
                    "the cursor is not one that was given out",
                );
                return Err(problem.issue(Issue::new("/cursor", "take `next` as it was given")));
            }
        };
        let workspace = &caller.workspace;
        let head_key = keys::journal_head(workspace);
        let inbox =
            Query::prefix(keys::inbox_partition(workspace), keys::INBOX, LOG_CHAINED_AT_ONCE_MAX);
        let waiting = self.base.store.query(&inbox).await?.len() as u32;
        let head: trace::Head = match self.base.store.get(&head_key).await? {
            Some(item) => countersign_store::decode(&head_key, &item.body)?,
            None => trace::Head::default(),
        };
        // With the entry before the page, which the page's first must follow; up to the head that
        // was read.
        let query = Query {
            partition: head_key.partition,
            from: keys::journal(workspace, from.saturating_sub(1)).sort,
            to: keys::journal(workspace, head.seq + 1).sort,
            limit: limit + 1,
            reverse: false,
        };
        let mut entries: Vec<Value> = Vec::new();
        for (_, item) in self.base.store.query(&query).await? {
            // An entry that cannot be read is shown as such: verification names it.
            let shown = || Value::String(String::from_utf8_lossy(&item.body).into_owned());
            entries.push(serde_json::from_slice(&item.body).unwrap_or_else(|_| shown()));
        }
        let before = if from > 1 && !entries.is_empty() { Some(entries.remove(0)) } else { None };
        entries.truncate(limit);
        let last = from + entries.len() as u64 - 1;
        let problem = self
            .check_page(from, before.as_ref(), &entries, &head)
            .err()
            .map(|why| why.to_string());
        Ok(WorkspaceLog {
            entries: entries.into_iter().map(entry).collect(),
            verified: problem.is_none(),
            problem,
            waiting,
            next: (last < head.seq).then(|| (last + 1).to_string()),
            head: TraceHead { seq: head.seq, hash: head.hash, sealed: false },
        })
    }

    // The entries follow one another and the one before; the last of all is the head.
    fn check_page(
        &self,
        from: u64,
        before: Option<&Value>,
        entries: &[Value],
        head: &trace::Head,
    ) -> Result<(), ChainError> {
        let hash = before.and_then(|entry| entry.get("hash")?.as_str()?.parse().ok());
        let behind = trace::Head { seq: from - 1, hash: hash.unwrap_or_else(Digest::zero) };
        let mut verifier = Verifier::behind(behind);
        entries.iter().try_for_each(|entry| verifier.push(entry))?;
        if from + entries.len() as u64 > head.seq { verifier.finish(head) } else { Ok(()) }
    }
}
