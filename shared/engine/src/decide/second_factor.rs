//! The second factor of a decision: that the person signed in once more, for this very request, in
//! the browser that decides.
//!
//! INVARIANT (fail-closed): it is for one person and one request, ends after minutes, and is used
//! up in the decision's own transaction. Whoever decides without a browser has none.

use crate::{Base, Caller};
use contracts::{
    Code, ExecutionId, Issue, Problem, Timestamp, WorkspaceId, approval::Decision, id::ApprovalId,
    limits::SECOND_FACTOR_LIFE_MS, sign_in::SecondFactor, verdict::RiskTier,
};
use countersign_store::{Answer, Condition, Key, PortError, Write, keys};
use cs_core::{
    directory::Directory,
    execution::{Execution, duty::Decider},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How its tokens begin.
const PREFIX: &str = "csf_";

/// What it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FactorRecord {
    person_id: String,
    execution_id: ExecutionId,
    approval_id: ApprovalId,
    ends_at: Timestamp,
}

/// Whether decisions on an execution need a second factor.
pub(crate) fn is_needed(directory: &Directory, state: &Execution) -> bool {
    let high = state.ruling.as_ref().is_none_or(|ruling| ruling.risk_tier >= RiskTier::High);
    match directory.rules().second_factor {
        SecondFactor::None => false,
        SecondFactor::HighRisk => high,
    }
}

/// What a person has said of requests.
pub(crate) fn votes_of(state: &Execution, by: &Decider) -> BTreeSet<(ApprovalId, Timestamp, bool)> {
    let said = state.approvals.iter().filter_map(|one| Some((one, one.ballot().vote_of(by)?)));
    let said = said.map(|(one, vote)| (one.id.clone(), vote.at, vote.decision == Decision::Reject));
    said.collect()
}

/// What a decision without it is refused with.
fn required() -> Problem {
    let message = "a decision on a request of high risk needs a second factor: that you sign in \
        once more, for this request";
    let advice = "decide on the page of the request, in the console or by your link: it leads to \
        your identity provider and back. An API key, Slack or a mail cannot";
    Problem::new(Code::SecondFactorRequired, message).issue(Issue::new("", advice))
}

impl Base {
    /// A new one, and what writes it: its token, and for how many seconds it is of use.
    pub(crate) fn new_second_factor(
        &self,
        workspace: &WorkspaceId,
        person_id: &str,
        (execution_id, approval_id): (&ExecutionId, &ApprovalId),
    ) -> Result<(String, Write), PortError> {
        let token = format!("{PREFIX}{}", hex::encode(self.ports.ids.secret()));
        let ends_at = self.now().plus_ms(SECOND_FACTOR_LIFE_MS);
        let record = FactorRecord {
            person_id: person_id.to_owned(),
            execution_id: execution_id.clone(),
            approval_id: approval_id.clone(),
            ends_at,
        };
        let mut item = countersign_store::item(1, &record)?;
        item.expires_at = Some(ends_at.ms() / 1_000);
        let key = factor_key(workspace, &token);
        Ok((token, Write::Put { key, item, condition: Condition::NotExists }))
    }

    /// The write that uses the caller's second factor up; refused where there is none for this
    /// person and this request.
    pub(crate) async fn use_second_factor(
        &self,
        caller: &Caller,
        by: &Decider,
        (execution, approval): (&ExecutionId, &ApprovalId),
    ) -> Answer<Write> {
        let token = caller.second_factor.as_deref().ok_or_else(required)?;
        if token.len() != PREFIX.len() + 64 || !token.starts_with(PREFIX) {
            return Err(required());
        }
        let key = factor_key(&caller.workspace, token);
        let item = self.store.get(&key).await?.ok_or_else(required)?;
        let record: FactorRecord = countersign_store::decode(&key, &item.body)?;
        let own = record.person_id == by.person
            && record.execution_id == *execution
            && record.approval_id == *approval
            && self.now() < record.ends_at;
        if own { Ok(Write::Delete { key, condition: Condition::Exists }) } else { Err(required()) }
    }

    /// Whether the caller has to sign in once more before deciding on a request.
    pub(crate) async fn lacks_second_factor(
        &self,
        caller: &Caller,
        by: &Decider,
        (state, approval): (&Execution, &ApprovalId),
    ) -> Answer<bool> {
        if !is_needed(&by.directory, state) {
            return Ok(false);
        }
        match self.use_second_factor(caller, by, (&state.id, approval)).await {
            Ok(_) => Ok(false),
            Err(problem) if problem.code == Code::SecondFactorRequired => Ok(true),
            Err(problem) => Err(problem),
        }
    }
}

// Looked up by its hash: no comparison of secrets.
fn factor_key(workspace: &WorkspaceId, token: &str) -> Key {
    let parts = [b"countersign/second-factor/1".as_slice(), token.as_bytes()];
    keys::second_factor(workspace, &cs_core::canonical::digest_parts(&parts))
}
