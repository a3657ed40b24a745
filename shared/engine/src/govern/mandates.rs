//! Standing approvals: controlPlane.mandate.create, revoke and list.
//!
//! A mandate is a person's approval, given beforehand for calls of one operation within limits. It
//! is no autonomy: a call that it lets through needed a person, and has one. All of a workspace are
//! one record; creating and revoking mark the guards, so that either holds for the very next claim.

use crate::{
    Answer, Base, Caller, InForce, Meters, Names, boxed, decide::approve::check_text,
    govern::sessions::PROVIDER_CHANNEL,
};
use contracts::{
    Code, Issue, Problem, Timestamp, WorkspaceId,
    access::KeyMaker,
    event::{ActorKind, GovernanceChanged, WorkspaceEvent},
    limits::{
        MANDATE_COUNT_MAX, MANDATE_MS_MAX, MANDATE_USES_LISTED_MAX, MANDATES_BYTES_MAX,
        MANDATES_MAX,
    },
    mandate::{
        CreateMandate, ListMandates, Mandate, MandateList, MandateUse, MandateView, RevokeMandate,
    },
    names,
};
use countersign_store::{Change, Condition, Key, PortError, Query, Record, keys};
use cs_core::{canonical, directory::Directory};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const GRANT: &str = "control-plane.execution.approve";

/// A mandate, and what of its maker still has to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredMandate {
    pub(crate) mandate: Mandate,
    /// The key that made it, and who had made that one.
    key_id: Option<String>,
    key_made_by: Option<KeyMaker>,
    /// Since when its maker was in the directory, if so.
    person_since: Option<Timestamp>,
}

/// Those of a workspace, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MandatesRecord {
    pub(crate) items: Vec<StoredMandate>,
}

impl StoredMandate {
    /// What its usage is counted under. No meter of a workspace has such a name.
    pub(crate) fn meter(&self) -> String {
        format!("mandate-{}", self.mandate.id)
    }

    /// Its maker, as who came with the key that made it.
    pub(crate) fn as_caller(&self, workspace: &WorkspaceId) -> Caller {
        Caller {
            workspace: workspace.clone(),
            actor: crate::actor(ActorKind::Human, &self.mandate.made_by),
            grants: [GRANT.to_owned()].into(),
            only: None,
            key_id: self.key_id.clone(),
            key_made_by: self.key_made_by.clone(),
            channel: "mandate".into(),
            second_factor: None,
            traceparent: None,
            idempotency_key: None,
        }
    }

    /// Why it counts no longer, whoever made it.
    pub(crate) fn ended(&self, now: Timestamp) -> Option<String> {
        let Mandate { revoked_at, revoked_by, expires_at, .. } = &self.mandate;
        match revoked_at {
            Some(at) => {
                let by = revoked_by.as_deref().unwrap_or_default();
                Some(format!("it was revoked by {by} at {at}"))
            }
            None => (*expires_at <= now).then(|| format!("it ended at {expires_at}")),
        }
    }
}

/// What became of who made a mandate.
pub(crate) enum Maker {
    /// Person and key are there; a claim checks the key, which no guard does.
    Stands(Option<(Key, Condition)>),
    Gone(String),
}

impl InForce {
    /// The mandates of a workspace, as they are now.
    pub(crate) async fn mandates(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<MandatesRecord>, PortError> {
        self.base.store.record(&keys::mandates(workspace)).await
    }

    /// Whether the person who made a mandate is still one.
    pub(crate) async fn maker(
        &self,
        workspace: &WorkspaceId,
        stored: &StoredMandate,
        directory: &Directory,
    ) -> Answer<Maker> {
        let by = &stored.mandate.made_by;
        if let Some(since) = stored.person_since {
            // Who is in the directory is behind the guard.
            let there = directory.person_of(by).and_then(|one| directory.added_at(&one.id));
            if there != Some(since) {
                return Ok(Maker::Gone(format!("`{by}`, who made it, was removed")));
            }
        }
        let key = self.requester_key(workspace, stored.key_id.as_deref()).await?;
        Ok(match key.fault(self.base.now()) {
            Some(_) => Maker::Gone(format!("the key of `{by}` that made it holds no longer")),
            None => Maker::Stands(key.check()),
        })
    }
}

/// Standing approvals.
pub struct Mandates {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) names: Arc<Names>,
    pub(crate) meters: Arc<Meters>,
}

impl Mandates {
    /// Approves calls beforehand.
    #[boxed]
    pub async fn create(&self, caller: &Caller, request: CreateMandate) -> Answer<Mandate> {
        caller.require_person(GRANT)?;
        check_text("/reason", Some(&request.reason))?;
        // A mandate ends with the key that gave it, and a session of the provider has none.
        if caller.channel.starts_with(PROVIDER_CHANNEL) {
            let message = "a mandate ends with the key of the person who gave it";
            let what = Issue::new("", "give it with your API key, or signed in by it");
            return Err(Problem::new(Code::Forbidden, message).issue(what));
        }
        let author = caller.author(self.base.now());
        let id = hex::encode(self.base.ports.ids.id().get(..8).unwrap_or_default());
        let made = self.base.store.change(&author, ("mandate.create", &request), || {
            Box::pin(async {
                let requested_by = self.check(caller, &request).await?;
                let directory = self.in_force.directory(&caller.workspace).await?;
                let person = directory.person_of(&caller.actor.id);
                let stored = StoredMandate {
                    mandate: mandate(caller, &request, (&id, requested_by), self.base.now()),
                    key_id: caller.key_id.clone(),
                    key_made_by: caller.key_made_by.clone(),
                    person_since: person.and_then(|person| directory.added_at(&person.id)),
                };
                let record = self.in_force.mandates(&caller.workspace).await?;
                let after = with(&record.value, stored.clone(), self.base.now())?;
                self.changed(
                    caller,
                    (&record, &after),
                    &stored.mandate,
                    &Some(request.reason.clone()),
                )
            })
        });
        Ok(made.await?.answer())
    }

    // The canonical id of the actor it is for; everything that is wrong with it.
    async fn check(&self, caller: &Caller, request: &CreateMandate) -> Answer<Option<String>> {
        let (workspace, now) = (&caller.workspace, self.base.now());
        let mut issues = Vec::new();
        if request.reason.trim().is_empty() {
            issues.push(Issue::new("/reason", "say what it is for"));
        }
        if !(1..=MANDATE_COUNT_MAX).contains(&request.count) {
            issues.push(Issue::new("/count", format!("1 to {MANDATE_COUNT_MAX} calls")));
        }
        if request.expires_at <= now || request.expires_at > now.plus_ms(MANDATE_MS_MAX) {
            issues.push(Issue::new("/expiresAt", "in the future, and at most 90 days from now"));
        }
        let budget = request.budget.iter();
        issues.extend(budget.flat_map(|one| cs_core::plan::check_currencies(one, "/budget")));
        let operation = &request.operation;
        let known = self.names.known_operation(workspace, "/operation", operation).await?;
        let known = known.or_else(|| {
            (!operation.contains('/')).then(|| Issue::new("/operation", "write `skill/operation`"))
        });
        match known {
            Some(issue) => issues.push(issue),
            None => {
                let snapshot = self.in_force.snapshot(workspace).await?;
                let governed = self.in_force.governed(workspace).await?;
                let signals = self.in_force.risk_phrases(workspace).await?.names();
                issues.extend(policy::validate_condition(
                    (operation, request.when.as_deref()),
                    &snapshot.nameable(),
                    &governed.record.budgets.meters,
                    &signals,
                ));
            }
        }
        let requested_by = match &request.requested_by {
            Some(id) => match self.names.known_actor(workspace, "/requestedBy", id).await? {
                Ok(id) => Some(id),
                Err(issue) => {
                    issues.push(issue);
                    None
                }
            },
            None => None,
        };
        if issues.is_empty() {
            return Ok(requested_by);
        }
        Err(Problem::new(Code::ValidationFailed, "the mandate is not valid").issues(issues))
    }

    /// Ends a mandate. A kill switch: whoever may approve ends any.
    #[boxed]
    pub async fn revoke(&self, caller: &Caller, request: RevokeMandate) -> Answer<Mandate> {
        caller.require(GRANT)?;
        check_text("/reason", request.reason.as_deref())?;
        let author = caller.author(self.base.now());
        let revoked = self.base.store.change(&author, ("mandate.revoke", &request), || {
            Box::pin(async {
                let record = self.in_force.mandates(&caller.workspace).await?;
                let mut after = record.value.clone();
                let id = &request.mandate_id;
                let Some(one) = after.items.iter_mut().find(|one| one.mandate.id == *id) else {
                    let known = record.value.items.iter().map(|one| one.mandate.id.as_str());
                    let issue = names::unknown("/mandateId", "mandate", id, known);
                    return Err(
                        Problem::new(Code::NotFound, "there is no such mandate").issue(issue)
                    );
                };
                if one.mandate.revoked_at.is_some() {
                    return Ok(Change::none(one.mandate.clone()));
                }
                one.mandate.revoked_at = Some(self.base.now());
                one.mandate.revoked_by = Some(caller.actor.id.clone());
                let mandate = one.mandate.clone();
                self.changed(caller, (&record, &after), &mandate, &request.reason)
            })
        });
        Ok(revoked.await?.answer())
    }

    // INVARIANT (authority-is-on-record). INVARIANT (claim-is-one-transaction): claims check the
    // guards.
    fn changed(
        &self,
        caller: &Caller,
        (record, after): (&Record<MandatesRecord>, &MandatesRecord),
        mandate: &Mandate,
        reason: &Option<String>,
    ) -> Answer<Change<Mandate>> {
        let event = WorkspaceEvent::GovernanceChanged(GovernanceChanged {
            key: "mandates".into(),
            entry: Some(format!("mandate {}", mandate.id)),
            digest: canonical::digest(mandate).map_err(crate::not_canonical)?,
            at: self.base.now(),
            actor_id: caller.actor.id.clone(),
            reason: reason.clone(),
        });
        let mut writes = vec![record.replace(keys::mandates(&caller.workspace), after)?];
        writes.extend(self.base.guard_writes(&caller.workspace));
        Ok(Change::new(mandate.clone(), event, writes))
    }

    /// Mandates and what each let through, the newest first.
    #[boxed]
    pub async fn list(&self, caller: &Caller, request: ListMandates) -> Answer<MandateList> {
        caller.require_whole("control-plane.execution.read")?;
        let workspace = &caller.workspace;
        let directory = self.in_force.directory(workspace).await?;
        let mut items = Vec::new();
        for stored in self.in_force.mandates(workspace).await?.value.items.into_iter().rev() {
            let ended = stored.ended(self.base.now());
            if ended.is_some() && !request.include_ended {
                continue;
            }
            items.push(self.view(workspace, stored, (ended, &directory)).await?);
        }
        Ok(MandateList { items })
    }

    async fn view(
        &self,
        workspace: &WorkspaceId,
        stored: StoredMandate,
        (ended, directory): (Option<String>, &Directory),
    ) -> Answer<MandateView> {
        let used = self.used(workspace, &stored).await?;
        let gone = match self.in_force.maker(workspace, &stored, directory).await? {
            Maker::Stands(_) => None,
            Maker::Gone(why) => Some(why),
        };
        let spent = used.calls >= u64::from(stored.mandate.count);
        let full = spent.then(|| "its calls are used up".to_owned());
        let why_not = ended.or(gone).or(full);
        let (partition, prefix) = keys::mandate_uses(workspace, &stored.mandate.id);
        let latest =
            Query { reverse: true, ..Query::prefix(partition, &prefix, MANDATE_USES_LISTED_MAX) };
        let mut uses: Vec<MandateUse> = Vec::new();
        for (key, item) in self.base.store.query(&latest).await? {
            uses.push(countersign_store::decode(&key, &item.body)?);
        }
        Ok(MandateView {
            mandate: stored.mandate,
            active: why_not.is_none(),
            why_not,
            used: u32::try_from(used.calls).unwrap_or(u32::MAX),
            spent: used.spent,
            uses,
        })
    }
}

fn mandate(
    caller: &Caller,
    request: &CreateMandate,
    (id, requested_by): (&str, Option<String>),
    now: Timestamp,
) -> Mandate {
    Mandate {
        id: id.to_owned(),
        operation: request.operation.clone(),
        when: request.when.clone(),
        requested_by,
        budget: request.budget.clone(),
        count: request.count,
        expires_at: request.expires_at,
        reason: request.reason.clone(),
        made_by: caller.actor.id.clone(),
        created_at: now,
        revoked_at: None,
        revoked_by: None,
    }
}

// With one more; those that ended first give way.
fn with(record: &MandatesRecord, stored: StoredMandate, now: Timestamp) -> Answer<MandatesRecord> {
    let mut after = record.clone();
    after.items.push(stored);
    loop {
        let bytes = countersign_store::encode(&after)?.len();
        if after.items.len() <= MANDATES_MAX && bytes <= MANDATES_BYTES_MAX {
            return Ok(after);
        }
        let Some(ended) = after.items.iter().position(|one| one.ended(now).is_some()) else {
            let message = format!(
                "a workspace has at most {MANDATES_MAX} mandates, of {MANDATES_BYTES_MAX} bytes \
                 together: revoke one"
            );
            return Err(Problem::new(Code::ValidationFailed, message));
        };
        after.items.remove(ended);
    }
}
