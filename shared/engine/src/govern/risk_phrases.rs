//! controlPlane.signals.set and get: the phrases whose presence in an intent raises its risk. The
//! list is the workspace's to set, and a change of it is a change of authority: granted, checked
//! against the active policies, and in the log.

use crate::{
    Answer, Caller, InForce, Policies, boxed, decide::approve::check_text,
    records::RiskPhrasesRecord,
};
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    governance::{EmptyQuery, RiskPhrase, SetSignals, SignalsAnswer},
};
use countersign_store::{Change, Condition, Record, Write, keys};
use policy::RiskPhrases;
use std::{collections::BTreeSet, sync::Arc};

impl Policies {
    /// Sets the phrases.
    #[boxed]
    pub async fn set_signals(&self, caller: &Caller, request: SetSignals) -> Answer<SignalsAnswer> {
        caller.require("control-plane.policy.activate")?;
        check_text("/reason", request.reason.as_deref())?;
        let phrases = request.phrases.clone().unwrap_or_else(policy::default_phrases);
        let invalid =
            |issues: Vec<Issue>| match issues.is_empty() {
                true => Ok(()),
                false => Err(Problem::new(Code::ValidationFailed, "the phrases are not valid")
                    .issues(issues)),
            };
        invalid(policy::check_phrases(&phrases))?;
        let key = keys::risk_phrases(&caller.workspace);
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("signals.set", &request), || {
            Box::pin(async {
                let stored = self.in_force.stored_phrases(&caller.workspace).await?;
                let (policies, issues) =
                    self.named_by_policies(&caller.workspace, &phrases).await?;
                invalid(issues)?;
                let version = stored.version;
                if request.expected_version.is_some_and(|expected| expected != version) {
                    let message = format!("version {version} is in force");
                    return Err(Problem::new(Code::PreconditionFailed, message)
                        .issue(Issue::new("/expectedVersion", "look again, then decide")));
                }
                if version > 0 && stored.value == phrases {
                    return Ok(Change::none(SignalsAnswer {
                        version,
                        phrases: phrases.clone().into(),
                    }));
                }
                let record = RiskPhrasesRecord { phrases: phrases.clone() };
                let event =
                    self.base.governance_changed(caller, "signals", &record, &request.reason)?;
                // It was checked against this set.
                let unchanged = Write::Check {
                    key: keys::policy_active(&caller.workspace),
                    condition: Condition::VersionIs(policies),
                };
                let answer =
                    SignalsAnswer { version: version + 1, phrases: phrases.clone().into() };
                let writes = vec![stored.replace(key.clone(), &record)?, unchanged];
                Ok(Change::new(answer, event, writes))
            })
        });
        Ok(changed.await?.answer())
    }

    /// The phrases in force.
    #[boxed]
    pub async fn signals(&self, caller: &Caller, _: EmptyQuery) -> Answer<SignalsAnswer> {
        caller.require("control-plane.audit")?;
        let Record { version, value: phrases } =
            self.in_force.stored_phrases(&caller.workspace).await?;
        Ok(SignalsAnswer { version, phrases: phrases.into() })
    }

    // A phrase that the active policies speak of and that goes away would leave rules that never
    // match. With the version of the set that was looked at.
    async fn named_by_policies(
        &self,
        workspace: &WorkspaceId,
        phrases: &[RiskPhrase],
    ) -> Answer<(u64, Vec<Issue>)> {
        let nameable = self.in_force.snapshot(workspace).await?.nameable();
        let meters = self.in_force.governed(workspace).await?.record.budgets.meters;
        let (version, digest) = self.in_force.active(workspace).await?;
        let active = self.in_force.policy_set(workspace, &digest).await?.text;
        let issues = |names: BTreeSet<String>| {
            policy::validate_with(&active, &nameable, &meters, Some(&names))
        };
        let before = issues(self.in_force.risk_phrases(workspace).await?.names());
        let after = issues(RiskPhrases::new(phrases).names());
        let new = after.into_iter().filter(|issue| !before.contains(issue));
        Ok((version, new.map(|issue| Issue { pointer: "/phrases".into(), ..issue }).collect()))
    }
}

impl InForce {
    pub(crate) async fn stored_phrases(
        &self,
        workspace: &WorkspaceId,
    ) -> Answer<Record<Vec<RiskPhrase>>> {
        let key = keys::risk_phrases(workspace);
        Ok(match self.base.store.get(&key).await? {
            Some(item) => {
                let record: RiskPhrasesRecord = countersign_store::decode(&key, &item.body)?;
                Record { version: item.version, value: record.phrases }
            }
            None => Record { version: 0, value: policy::default_phrases() },
        })
    }

    /// The phrases in force, ready to be found.
    pub(crate) async fn risk_phrases(&self, workspace: &WorkspaceId) -> Answer<Arc<RiskPhrases>> {
        let key = keys::risk_phrases(workspace);
        let item = self.base.store.get(&key).await?;
        let version = item.as_ref().map_or(0, |item| item.version);
        if let Some(kept) = self.caches.phrases(workspace, version) {
            return Ok(kept);
        }
        let phrases = match item {
            Some(item) => {
                let record: RiskPhrasesRecord = countersign_store::decode(&key, &item.body)?;
                RiskPhrases::new(&record.phrases)
            }
            None => RiskPhrases::default(),
        };
        Ok(self.caches.keep_phrases(workspace, version, Arc::new(phrases)))
    }
}
