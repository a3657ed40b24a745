//! Separation of duties: who decides on what somebody asked. Approving, rejecting, resolving a call
//! whose outcome is unknown and retrying what needed people are one kind of decision, and pass this
//! one function.

use super::{
    Execution,
    ballot::{APPROVERS, Excluded},
    decide::Refusal,
};
use crate::directory::{Asked, Claims, Directory};
use contracts::{Code, Timestamp, access::KeyMaker, event::Actor};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// Who asks, with which key, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    pub actor: Actor,
    pub key_id: Option<String>,
    /// Who made that key; nobody in the workspace where the deployment made it.
    pub key_made_by: Option<KeyMaker>,
    pub on_behalf_of: Option<String>,
}

/// Who supplied the draft for an intent that was submitted without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drafter {
    pub id: String,
    /// Everybody who has had the drafter's key.
    pub key_makers: BTreeSet<String>,
}

/// Who decides, with what the directory knows of people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    pub actor: Actor,
    /// The person: one, by whatever id, key or channel it comes.
    pub person: String,
    /// Everybody who created the key that decides, and so knew its secret.
    pub key_makers: BTreeSet<String>,
    /// Who said that the person is known by what the decision comes by, if it was another: their
    /// voice and the person's are not two voices of one request.
    pub identity_makers: BTreeSet<String>,
    pub standing: Standing,
    pub directory: Arc<Directory>,
}

/// Why a decision counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A person's decision counts.
    Person,
    /// The workspace names this service among those that decide.
    NamedService,
    /// An agent, a tool, or a service that the workspace does not name.
    None,
}

/// Why somebody does not decide on an execution. The first is named where several hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictOfInterest {
    Requester,
    Subject,
    /// Who gave the plan's draft after the intent came without one, or changed the plan.
    Drafter,
    /// Of the key that asked, or that gave the draft; or of the maker's own key.
    KeyMaker,
}

impl ConflictOfInterest {
    const fn why(self) -> &'static str {
        match self {
            Self::Requester => "who submitted the intent may not decide on it",
            Self::Subject => "for whom the intent was submitted may not decide on it",
            Self::Drafter => "who gave or changed the plan's draft may not decide on it",
            Self::KeyMaker => {
                "who made the key that submitted the intent, or gave the draft, may not decide on \
                 it"
            }
        }
    }
}

impl Decider {
    /// Refuses an actor whose decisions never count.
    pub fn has_standing(&self) -> Result<(), Refusal> {
        match self.standing {
            Standing::Person | Standing::NamedService => Ok(()),
            Standing::None => {
                let message = "this is a decision of people, or of a service that the workspace \
                    names as a decider";
                Err(Refusal::new(Code::NotAnApprover, message))
            }
        }
    }

    /// Refuses an actor who may not decide on this execution.
    pub fn may_decide(&self, state: &Execution) -> Result<(), Refusal> {
        self.is_impartial(&state.excluded())
    }

    /// Refuses an actor whose decisions never count, and one of those who are excluded: as persons,
    /// whatever they are called. Actors with the same canonical id are the same actor, whatever
    /// their kind.
    pub fn is_impartial(&self, excluded: &Excluded) -> Result<(), Refusal> {
        self.has_standing()?;
        let persons = self.persons(excluded);
        if let Some(involved) = persons.get(&self.person) {
            return Err(Refusal::new(Code::SelfApproval, involved.why()));
        }
        // The requester knows the secret of a key that he created for somebody, and of every key
        // that was created with it.
        let own = |involved: &ConflictOfInterest| match involved {
            ConflictOfInterest::Requester
            | ConflictOfInterest::Subject
            | ConflictOfInterest::Drafter => true,
            ConflictOfInterest::KeyMaker => false,
        };
        let makers = self.directory.voices_of(&self.key_makers);
        if makers.iter().filter_map(|maker| persons.get(maker)).any(own) {
            let message = "the key that decides was made by somebody who may not decide himself";
            return Err(Refusal::new(Code::SelfApproval, message));
        }
        Ok(())
    }

    // Who is excluded, as persons; of several reasons the first.
    fn persons(&self, excluded: &Excluded) -> Excluded {
        let mut persons = Excluded::new();
        for (id, why) in excluded {
            let known = persons.entry(self.directory.voice(id)).or_insert(*why);
            *known = (*known).min(*why);
        }
        persons
    }

    /// Whether an id is one of the person's.
    pub fn is_known_as(&self, id: &str) -> bool {
        self.actor.id == id || self.directory.voice(id) == self.person
    }

    /// Whose places in a group the person uses for what was asked then. Nobody who is excluded
    /// lends a place.
    pub fn places(
        &self,
        group: &str,
        excluded: &Excluded,
        (at, now): (Timestamp, Timestamp),
    ) -> BTreeSet<String> {
        if group == APPROVERS && self.directory.group(group).is_none() {
            return match self.standing {
                Standing::Person | Standing::NamedService => [self.person.clone()].into(),
                Standing::None => BTreeSet::new(),
            };
        }
        let excluded = self.persons(excluded).into_keys().collect();
        let asked = Asked { at, now, excluded: &excluded, claims: Claims::Fresh };
        self.directory.members(group, &asked).remove(&self.person).unwrap_or_default()
    }
}

impl Execution {
    /// Who is excluded from decisions, and why: the requester, the subject, the drafter, who
    /// changed the plan, and the creators of their keys.
    pub fn excluded(&self) -> Excluded {
        let edits = self.plan_facts.as_ref().and_then(|facts| facts.edits.as_ref());
        let editors = edits.into_iter().flat_map(|edits| edits.by.iter().cloned());
        merged(editors.map(|id| (id, ConflictOfInterest::Drafter)).chain(self.involved()))
    }

    /// The same without who changed the plan.
    pub(super) fn involved(&self) -> Excluded {
        let Some(intent) = &self.intent else {
            return Excluded::new();
        };
        let drafted = self.plan_facts.as_ref();
        let makers = intent.key_made_by.iter().chain(&intent.key_makers_above);
        let makers = makers.chain(drafted.into_iter().flat_map(|facts| &facts.drafter_key_makers));
        let makers = makers.map(|id| (id.clone(), ConflictOfInterest::KeyMaker));
        let subject = intent.on_behalf_of.clone().map(|id| (id, ConflictOfInterest::Subject));
        let requester = (intent.actor_id.clone(), ConflictOfInterest::Requester);
        let drafter = drafted.and_then(|facts| facts.drafted_by.clone());
        let drafter = drafter.map(|id| (id, ConflictOfInterest::Drafter));
        makers.chain(drafter).chain(subject).chain([requester]).collect()
    }
}

// Of an actor with several roles the first counts.
fn merged(roles: impl Iterator<Item = (String, ConflictOfInterest)>) -> Excluded {
    let mut merged = Excluded::new();
    for (id, role) in roles {
        let known = merged.entry(id).or_insert(role);
        *known = (*known).min(role);
    }
    merged
}
