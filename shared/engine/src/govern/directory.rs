//! Persons and groups: controlPlane.person.put, remove and list, group.put and list.
//!
//! Who is in the directory says whose approval counts, so its changes are people's, one record, and
//! written to the workspace log with what was changed. Each marks the guards: a person who is
//! removed, and a key of theirs, is refused by the very next claim.

use crate::{Access, Answer, ApiKey, Base, Caller, InForce, boxed, decide::approve::check_text};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    access::CreateKey,
    directory::{
        GroupList, ListDirectory, Person, PersonList, PersonRemoved, PersonView, PutGroup,
        PutPerson, RemovePerson,
    },
    event::{Actor, ActorKind, GovernanceChanged, WorkspaceEvent},
    governance::EmptyQuery,
    grant,
    limits::{DECIDING_KEYS_MAX, SESSION_KEYS_MAX},
    names,
    sign_in::{SetSignIn, SignInRules, SignInView},
};
use countersign_store::{Change, Condition, Item, PortError, Query, Record, Write, keys};
use cs_core::{
    canonical,
    directory::{ChangeError, Changed, Directory},
};
use std::collections::BTreeSet;

const GRANT: &str = "control-plane.directory";

impl InForce {
    /// Persons and groups of a workspace, as they are now.
    pub async fn directory(&self, workspace: &WorkspaceId) -> Result<Directory, PortError> {
        Ok(self.stored_directory(workspace).await?.value)
    }

    /// Whether a key is bound to a person who is not there any more.
    pub(crate) async fn person_gone(&self, key: &ApiKey) -> Result<bool, PortError> {
        let Some(since) = key.person_since else {
            return Ok(false);
        };
        let directory = self.directory(&key.workspace).await?;
        Ok(directory.added_at(&key.actor.id) != Some(since))
    }

    pub(crate) async fn stored_directory(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<Directory>, PortError> {
        self.base.store.record(&keys::directory(workspace)).await
    }
}

impl Access {
    /// Adds a person or replaces what is known of one.
    #[boxed]
    pub async fn put_person(&self, caller: &Caller, request: PutPerson) -> Answer<PersonView> {
        check_change(caller, &request.reason)?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("person.put", &request), || {
            Box::pin(async {
                let stored = self.in_force.stored_directory(&caller.workspace).await?;
                let after = stored.value.with_person(request.person.clone(), &self.by(caller));
                let after = after.map_err(refused)?;
                self.check_sign_in(caller, &stored.value, &after, &request.person).await?;
                let id = after.voice(&request.person.id);
                let view = after.view(&id).ok_or_else(|| gone(&id))?;
                let entry = format!("person {id}");
                self.directory_change(caller, (&stored, &after), (entry, &request.reason), view)
            })
        });
        Ok(changed.await?.answer())
    }

    /// Removes a person. A kill switch: what they were given ends with the same commit.
    #[boxed]
    pub async fn remove_person(
        &self,
        caller: &Caller,
        request: RemovePerson,
    ) -> Answer<PersonRemoved> {
        check_change(caller, &request.reason)?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("person.remove", &request), || {
            Box::pin(async {
                let stored = self.in_force.stored_directory(&caller.workspace).await?;
                let removed = stored.value.voice(&request.person_id);
                let after = stored.value.without_person(&request.person_id, &self.by(caller));
                let after = after.map_err(refused)?;
                let entry = format!("person {removed}");
                let answer = PersonRemoved { removed };
                self.directory_change(caller, (&stored, &after), (entry, &request.reason), answer)
            })
        });
        Ok(changed.await?.answer())
    }

    /// Adds a group, replaces it, or ends it where it has no members.
    #[boxed]
    pub async fn put_group(
        &self,
        caller: &Caller,
        request: PutGroup,
    ) -> Answer<contracts::directory::Group> {
        check_change(caller, &request.reason)?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("group.put", &request), || {
            Box::pin(async {
                let stored = self.in_force.stored_directory(&caller.workspace).await?;
                let after = stored.value.with_group(request.group.clone(), &self.by(caller));
                let after = after.map_err(refused)?;
                let name = &request.group.name;
                let answer = after.shown(after.group(name).unwrap_or(&request.group));
                let entry = format!("group {name}");
                self.directory_change(caller, (&stored, &after), (entry, &request.reason), answer)
            })
        });
        Ok(changed.await?.answer())
    }

    // Who signs in as a person has the grants of the person's keys: nobody gives what he does not
    // have.
    async fn check_sign_in(
        &self,
        caller: &Caller,
        before: &Directory,
        after: &Directory,
        person: &Person,
    ) -> Answer<()> {
        let id = after.voice(&person.id);
        let known = before.person(&id).and_then(|before| before.oidc.as_ref());
        let (Some(oidc), Some(since)) = (&person.oidc, before.added_at(&id)) else {
            return Ok(());
        };
        if known == Some(oidc) {
            return Ok(());
        }
        let held = self.grants_of(&caller.workspace, (&id, since)).await?.1;
        let beyond = held.iter().filter(|grant| !grant::covers_whole(&caller.grants, grant));
        let beyond: Vec<&str> = beyond.map(String::as_str).collect();
        if beyond.is_empty() {
            return Ok(());
        }
        let message = "who signs in as this person would have grants that you do not have";
        let issue = Issue::new("/person/oidc", beyond.join(", "));
        Err(Problem::new(Code::Forbidden, message).issue(issue))
    }

    /// The live keys that are bound to a person, at most so many, and their grants.
    pub(crate) async fn grants_of(
        &self,
        workspace: &WorkspaceId,
        (person, since): (&str, Timestamp),
    ) -> Answer<(Vec<String>, BTreeSet<String>)> {
        let (partition, prefix) = keys::api_keys(workspace);
        let query = Query::prefix(partition, prefix, DECIDING_KEYS_MAX);
        let (mut ids, mut grants) = (Vec::new(), BTreeSet::new());
        for (key, item) in self.base.store.query(&query).await? {
            let (record, _): (ApiKey, Digest) = countersign_store::decode(&key, &item.body)?;
            let own = record.actor.id == person && record.person_since == Some(since);
            if !own || ids.len() >= SESSION_KEYS_MAX {
                continue;
            }
            if let Some(live) = self.caller_of(record.clone(), &item, String::new()).await? {
                ids.push(record.id);
                grants.extend(live.grants);
            }
        }
        Ok((ids, grants))
    }

    /// controlPlane.sign-in.set
    #[boxed]
    pub async fn set_sign_in(&self, caller: &Caller, request: SetSignIn) -> Answer<SignInView> {
        check_change(caller, &request.reason)?;
        self.check_rules(&request.rules)?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("sign-in.set", &request), || {
            Box::pin(async {
                let stored = self.in_force.stored_directory(&caller.workspace).await?;
                let after = stored.value.with_rules(request.rules.clone());
                let answer = self.sign_in_view(&after);
                let entry = (String::from("sign-in"), &request.reason);
                self.directory_change(caller, (&stored, &after), entry, answer)
            })
        });
        Ok(changed.await?.answer())
    }

    // INVARIANT (fail-closed): a rule that nobody could meet is refused.
    fn check_rules(&self, rules: &SignInRules) -> Answer<()> {
        if *rules == SignInRules::default() || self.base.config.issuer.is_some() {
            return Ok(());
        }
        let message = "this deployment has no identity provider to sign in by; set one up first";
        Err(Problem::new(Code::ValidationFailed, "the rules are not valid")
            .issue(Issue::new("/rules/secondFactor", message)))
    }

    /// controlPlane.sign-in.get
    #[boxed]
    pub async fn sign_in_rules(&self, caller: &Caller, _: EmptyQuery) -> Answer<SignInView> {
        caller.require_whole(GRANT)?;
        Ok(self.sign_in_view(&self.in_force.directory(&caller.workspace).await?))
    }

    fn sign_in_view(&self, directory: &Directory) -> SignInView {
        let SignInRules { second_factor } = directory.rules();
        SignInView {
            second_factor: (*second_factor).into(),
            issuer: self.base.config.issuer.clone(),
        }
    }

    /// The persons of a workspace, by id.
    #[boxed]
    pub async fn list_persons(&self, caller: &Caller, _: ListDirectory) -> Answer<PersonList> {
        caller.require_whole(GRANT)?;
        let directory = self.in_force.directory(&caller.workspace).await?;
        let items = directory.persons().filter_map(|person| directory.view(&person.id)).collect();
        Ok(PersonList { items })
    }

    /// The groups of a workspace, by name.
    #[boxed]
    pub async fn list_groups(&self, caller: &Caller, _: ListDirectory) -> Answer<GroupList> {
        caller.require_whole(GRANT)?;
        let directory = self.in_force.directory(&caller.workspace).await?;
        Ok(GroupList { items: directory.groups().map(|group| directory.shown(group)).collect() })
    }

    // Whose key it is to be. One of a person of the directory is bound to the person: a name alone
    // makes nobody a person (INVARIANT identity-from-transport).
    pub(crate) async fn holder(
        &self,
        caller: &Caller,
        request: &CreateKey,
    ) -> Answer<(Actor, Option<Timestamp>)> {
        let invalid =
            |issue| Problem::new(Code::ValidationFailed, "the key is not valid").issue(issue);
        let named = request.actor.as_ref().map(cs_core::actor::canonical).transpose();
        let named = named.map_err(|error| invalid(Issue::new("/actor/id", error.to_string())))?;
        let Some(person) = &request.person else {
            let missing = || invalid(Issue::new("/actor", "an actor, or `person`"));
            let actor = named.ok_or_else(missing)?;
            if actor.kind == ActorKind::Human {
                let directory = self.in_force.directory(&caller.workspace).await?;
                if let Some(person) = directory.person_of(&actor.id) {
                    let message = format!("`{}` is the person `{}`: say so", actor.id, person.id);
                    return Err(invalid(Issue::new("/person", message)));
                }
            }
            return Ok((actor, None));
        };
        if caller.actor.kind != ActorKind::Human {
            let message = "a key of a person is made by a person: no machine makes people";
            return Err(
                Problem::new(Code::Forbidden, message).issue(Issue::new("/person", message))
            );
        }
        let directory = self.in_force.directory(&caller.workspace).await?;
        let Some((id, since)) = directory
            .person_of(person)
            .map(|person| person.id.clone())
            .and_then(|id| directory.added_at(&id).map(|since| (id, since)))
        else {
            let known = directory.persons().map(|person| person.id.as_str());
            return Err(invalid(names::unknown("/person", "person", person, known)));
        };
        let actor = Actor { kind: ActorKind::Human, id };
        if named.is_some_and(|named| named != actor) {
            let message = format!("absent, or the human `{}`", actor.id);
            return Err(invalid(Issue::new("/actor", message)));
        }
        Ok((actor, Some(since)))
    }

    fn by<'c>(&self, caller: &'c Caller) -> Changed<'c> {
        Changed { by: &caller.actor.id, at: self.base.now() }
    }

    // INVARIANT (authority-is-on-record). INVARIANT (claim-is-one-transaction): claims check the
    // guards.
    fn directory_change<R>(
        &self,
        caller: &Caller,
        (stored, after): (&Record<Directory>, &Directory),
        (entry, reason): (String, &Option<String>),
        answer: R,
    ) -> Answer<Change<R>> {
        let workspace = &caller.workspace;
        let said = (caller.actor.id.as_str(), entry, reason.clone());
        let (event, writes) = self.base.directory_writes(workspace, (stored, after), said)?;
        Ok(Change::new(answer, event, writes))
    }
}

impl Base {
    /// What puts another directory in the place of what is stored, and says who did.
    pub(crate) fn directory_writes(
        &self,
        workspace: &WorkspaceId,
        (stored, after): (&Record<Directory>, &Directory),
        (actor_id, entry, reason): (&str, String, Option<String>),
    ) -> Answer<(WorkspaceEvent, Vec<Write>)> {
        let event = WorkspaceEvent::GovernanceChanged(GovernanceChanged {
            key: "directory".into(),
            entry: Some(entry),
            digest: canonical::digest(after).map_err(crate::not_canonical)?,
            at: self.now(),
            actor_id: actor_id.to_owned(),
            reason,
        });
        let mut writes = vec![stored.replace(keys::directory(workspace), after)?];
        if after.persons().next().is_some() {
            // Before the first commit that they are to be told of.
            self.store.begin_stage_events();
            let item = Item { version: 1, ..Item::default() };
            let key = keys::told_people(workspace);
            writes.push(Write::Put { key, item, condition: Condition::Any });
        }
        writes.extend(self.guard_writes(workspace));
        Ok((event, writes))
    }
}

fn check_change(caller: &Caller, reason: &Option<String>) -> Answer<()> {
    caller.require_person(GRANT)?;
    check_text("/reason", reason.as_deref())
}

fn gone(id: &str) -> Problem {
    Problem::new(Code::InternalError, format!("`{id}` was put and is not there"))
}

pub(crate) fn refused(error: ChangeError) -> Problem {
    let message = error.to_string();
    match error {
        ChangeError::Invalid(issues) => {
            Problem::new(Code::ValidationFailed, message).issues(issues)
        }
        ChangeError::Unknown(issue) => Problem::new(Code::NotFound, message).issue(*issue),
        ChangeError::OwnPlace { group } => {
            let place = format!("it would give you a place in `{group}` that you do not have");
            Problem::new(Code::Forbidden, message).issue(Issue::new("", place))
        }
        ChangeError::OwnIdentity { identity } => {
            let lost = format!("you would no longer be known as `{identity}`");
            Problem::new(Code::Forbidden, message).issue(Issue::new("", lost))
        }
        ChangeError::TooLarge => Problem::new(Code::ValidationFailed, message),
    }
}
