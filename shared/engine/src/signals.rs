//! controlPlane.signals.set and get: the phrases whose presence in an intent raises its risk. The list is the workspace's
//! to set, and a change of it is a change of authority: granted, checked against the active policies, and in the log.

use crate::{
    Answer, Caller, Engine,
    approve::check_text,
    bodies, boxed, keys,
    ports::{Condition, Write},
    records::RiskPhrasesRecord,
};
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    event::{Event, GovernanceChanged},
    governance::{Look, RiskPhrase, SetSignals, SignalsAnswer},
};
use cs_core::canonical;
use policy::RiskPhrases;
use std::{collections::BTreeSet, sync::Arc};

const TRIES_MAX: u32 = 8;

impl Engine {
    /// Sets the phrases.
    #[boxed]
    pub async fn set_signals(&self, caller: &Caller, request: SetSignals) -> Answer<SignalsAnswer> {
        caller.require("control-plane.policy.activate")?;
        check_text("/reason", request.reason.as_deref())?;
        let phrases = request.phrases.clone().unwrap_or_else(policy::default_phrases);
        let invalid = |issues: Vec<Issue>| match issues.is_empty() {
            true => Ok(()),
            false => Err(Problem::new(Code::ValidationFailed, "the phrases are not valid").issues(issues)),
        };
        invalid(policy::check_phrases(&phrases))?;
        let (once, given) = self.once(caller, "signals.set", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let key = keys::risk_phrases(&caller.workspace);
        for _ in 0..TRIES_MAX {
            let (version, current) = self.stored_phrases(&caller.workspace).await?;
            let (policies, issues) = self.named_by_policies(&caller.workspace, &phrases).await?;
            invalid(issues)?;
            if request.expected_version.is_some_and(|expected| expected != version) {
                let message = format!("version {version} is in force");
                return Err(Problem::new(Code::PreconditionFailed, message)
                    .issue(Issue::new("/expectedVersion", "look again, then decide")));
            }
            if version > 0 && current == phrases {
                let answer = SignalsAnswer { version, phrases };
                self.keep_answer(once.as_ref(), &answer).await?;
                return Ok(answer);
            }
            let answer = SignalsAnswer { version: version + 1, phrases: phrases.clone() };
            let record = RiskPhrasesRecord { phrases: phrases.clone() };
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let item = bodies::item(version + 1, &record)?;
            let mut writes = vec![
                Write::Put { key: key.clone(), item, condition },
                // It was checked against this set.
                Write::Check {
                    key: keys::policy_active(&caller.workspace),
                    condition: Condition::VersionIs(policies),
                },
            ];
            writes.extend(self.once_write(once.as_ref(), &answer).await?);
            let event = Event::GovernanceChanged(GovernanceChanged {
                key: "signals".into(),
                digest: canonical::digest(&record).map_err(crate::not_canonical)?,
                at: self.now(),
                actor_id: caller.actor.id.clone(),
                reason: request.reason.clone(),
            });
            if self.journal(caller, vec![event], writes, false).await? {
                return Ok(answer);
            }
        }
        Err(crate::busy())
    }

    /// The phrases in force.
    #[boxed]
    pub async fn signals(&self, caller: &Caller, _: Look) -> Answer<SignalsAnswer> {
        caller.require("control-plane.audit")?;
        let (version, phrases) = self.stored_phrases(&caller.workspace).await?;
        Ok(SignalsAnswer { version, phrases })
    }

    pub(crate) async fn stored_phrases(&self, workspace: &WorkspaceId) -> Answer<(u64, Vec<RiskPhrase>)> {
        let key = keys::risk_phrases(workspace);
        Ok(match self.ports.table.get(&key).await? {
            Some(item) => {
                let record: RiskPhrasesRecord = bodies::decode(&key, &item.body)?;
                (item.version, record.phrases)
            }
            None => (0, policy::default_phrases()),
        })
    }

    /// The phrases in force, ready to be found.
    pub(crate) async fn risk_phrases(&self, workspace: &WorkspaceId) -> Answer<Arc<RiskPhrases>> {
        let key = keys::risk_phrases(workspace);
        let item = self.ports.table.get(&key).await?;
        let version = item.as_ref().map_or(0, |item| item.version);
        if let Some(kept) = self.caches.phrases(workspace, version) {
            return Ok(kept);
        }
        let phrases = match item {
            Some(item) => {
                let record: RiskPhrasesRecord = bodies::decode(&key, &item.body)?;
                RiskPhrases::new(&record.phrases)
            }
            None => RiskPhrases::default(),
        };
        Ok(self.caches.keep_phrases(workspace, version, Arc::new(phrases)))
    }

    // A phrase that the active policies speak of and that goes away would leave rules that never match. With the version
    // of the set that was looked at.
    async fn named_by_policies(&self, workspace: &WorkspaceId, phrases: &[RiskPhrase]) -> Answer<(u64, Vec<Issue>)> {
        let nameable = self.snapshot(workspace).await?.nameable();
        let meters = self.governed(workspace).await?.record.budgets.meters;
        let (version, digest) = self.active(workspace).await?;
        let active = self.policy_set(workspace, &digest).await?.text;
        let issues = |names: BTreeSet<String>| policy::validate_with(&active, &nameable, &meters, Some(&names));
        let before = issues(self.risk_phrases(workspace).await?.names());
        let after = issues(RiskPhrases::new(phrases).names());
        let new = after.into_iter().filter(|issue| !before.contains(issue));
        Ok((version, new.map(|issue| Issue { pointer: "/phrases".into(), ..issue }).collect()))
    }
}
