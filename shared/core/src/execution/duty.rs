//! Separation of duties: who decides on what somebody asked. Approving, rejecting, resolving a call whose outcome is
//! unknown and retrying what needed people are one kind of decision, and pass this one function.

use super::{Execution, decide::Refusal};
use contracts::{Code, access::KeyMaker, event::Actor};
use std::collections::{BTreeMap, BTreeSet};

/// Who asks, with which key, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    pub actor: Actor,
    pub key_id: Option<String>,
    /// Who made that key; nobody in the workspace where the deployment made it.
    pub key_made_by: Option<KeyMaker>,
    pub on_behalf_of: Option<String>,
}

/// Who gave the draft of a plan after its intent came without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drafter {
    pub id: String,
    /// Everybody in whose hands the drafter's key was.
    pub key_makers: BTreeSet<String>,
}

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    pub actor: Actor,
    /// Who made the key that decides: whose secret it was.
    pub key_made_by: Option<KeyMaker>,
    pub standing: Standing,
}

/// What makes a decision count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A person's decision counts.
    Person,
    /// The workspace names this service among those that decide.
    NamedService,
    /// An agent, a tool, or a service that the workspace does not name.
    None,
}

/// Why somebody does not decide on an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Involved {
    Requester,
    Subject,
    /// Of the key that asked, or that gave the draft; or of the maker's own key.
    KeyMaker,
    /// Who gave the plan's draft after the intent came without one.
    Drafter,
}

impl Involved {
    const fn why(self) -> &'static str {
        match self {
            Self::Requester => "who submitted the intent may not decide on it",
            Self::Subject => "for whom the intent was submitted may not decide on it",
            Self::Drafter => "who gave the draft may not decide on it",
            Self::KeyMaker => "who made the key that submitted the intent, or gave the draft, may not decide on it",
        }
    }
}

impl Decider {
    /// Refuses whose decisions count nowhere.
    pub fn has_standing(&self) -> Result<(), Refusal> {
        match self.standing {
            Standing::Person | Standing::NamedService => Ok(()),
            Standing::None => {
                let message = "this is a decision of people, or of a service that the workspace names as a decider";
                Err(Refusal::new(Code::NotAnApprover, message))
            }
        }
    }

    /// Refuses who may not decide on this execution. Actors are one by their canonical ids, whatever their kind.
    pub fn may_decide(&self, state: &Execution) -> Result<(), Refusal> {
        self.has_standing()?;
        let excluded = state.excluded();
        if let Some(involved) = excluded.get(&self.actor.id) {
            return Err(Refusal::new(Code::SelfApproval, involved.why()));
        }
        // A key that the requester made for somebody is in the requester's hands, too, and so is every key that is made
        // with it.
        let makers = self.key_made_by.iter().flat_map(KeyMaker::ids);
        let own = |involved: &Involved| match involved {
            Involved::Requester | Involved::Subject | Involved::Drafter => true,
            Involved::KeyMaker => false,
        };
        if makers.filter_map(|maker| excluded.get(maker)).any(own) {
            let message = "the key that decides was made by somebody who may not decide himself";
            return Err(Refusal::new(Code::SelfApproval, message));
        }
        Ok(())
    }
}

impl Execution {
    /// Who takes no part in decisions, and why: requester, subject, who gave the
    /// draft, and the makers of their keys.
    pub fn excluded(&self) -> BTreeMap<String, Involved> {
        let Some(intent) = &self.intent else {
            return BTreeMap::new();
        };
        let drafted = self.plan_facts.as_ref();
        let makers = intent.key_made_by.iter().chain(&intent.key_makers_above);
        let makers = makers.chain(drafted.into_iter().flat_map(|facts| &facts.drafter_key_makers));
        let makers = makers.map(|id| (id.clone(), Involved::KeyMaker));
        let subject = intent.on_behalf_of.clone().map(|id| (id, Involved::Subject));
        let requester = (intent.actor_id.clone(), Involved::Requester);
        let drafter = drafted.and_then(|facts| facts.drafted_by.clone());
        let drafter = drafter.map(|id| (id, Involved::Drafter));
        // Who is more than one of them is named as the last.
        makers.chain(drafter).chain(subject).chain([requester]).collect()
    }
}
