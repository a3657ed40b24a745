//! Votes on a request for approval: whose voice counts for which group, and what is still missing.
//!
//! One person has one voice in each of the person's groups, by whatever key or channel it comes.
//! The inbox and the decision itself ask the same functions.

use super::{
    Approval, VerdictSummary,
    decide::Refusal,
    duty::{ConflictOfInterest, Decider},
    mask,
};
use crate::directory;
use contracts::{
    Code, Digest, Timestamp,
    approval::Decision,
    event::{Requirement, StepsRequirement},
    limits::REQUIREMENTS_MAX,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The group of everybody whose decisions count, where the directory does not define it.
pub const APPROVERS: &str = "approvers";

/// What a person said of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    pub person: String,
    pub decision: Decision,
    /// Groups of the requirement for which it counts, as of the moment when it was given.
    pub groups: Vec<String>,
    /// Whose places in them the person uses, where they are not the person's own alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, BTreeSet<String>>,
    /// Who said that the person is known by what the vote came by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub identity_makers: BTreeSet<String>,
    /// Digest of what the person saw.
    pub view: Digest,
    /// How the person was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What somebody said about a request without deciding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comment {
    pub actor_id: String,
    pub at: Timestamp,
    pub text: String,
}

/// A request as its votes see it.
#[derive(Clone, Copy, Debug)]
pub struct Ballot<'b> {
    pub requirement: &'b [Requirement],
    pub votes: &'b [Vote],
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Who is excluded from a decision, and why.
pub type Excluded = BTreeMap<String, ConflictOfInterest>;

/// Groups, and whose places in each a person uses.
pub type Places = BTreeMap<String, BTreeSet<String>>;

/// One voice of anybody who decides: what holds where policy names nobody.
pub fn anybody() -> Vec<Requirement> {
    vec![Requirement { group: APPROVERS.to_owned(), count: 1 }]
}

/// Of each group the greatest count.
pub fn greatest<'r>(all: impl IntoIterator<Item = &'r [Requirement]>) -> Vec<Requirement> {
    let mut most: BTreeMap<&str, u32> = BTreeMap::new();
    for one in all.into_iter().flatten() {
        let count = most.entry(&one.group).or_default();
        *count = (*count).max(one.count);
    }
    let owned = |(group, count): (&str, u32)| Requirement { group: group.to_owned(), count };
    most.into_iter().map(owned).collect()
}

/// Whether who meets one requirement meets the other, too.
pub fn covers(given: &[Requirement], wanted: &[Requirement]) -> bool {
    let meets = |wanted: &Requirement| {
        given.iter().any(|given| given.group == wanted.group && given.count >= wanted.count)
    };
    wanted.iter().all(meets)
}

/// The requirements of the steps that need people, in the form of an event; none where all of them
/// ask for anybody who decides. `steps`: how many the plan has.
pub fn by_steps(
    asked: impl IntoIterator<Item = (usize, Vec<Requirement>)>,
    steps: usize,
) -> Vec<StepsRequirement> {
    let mut of_step: BTreeMap<usize, Vec<Requirement>> = BTreeMap::new();
    for (step, requirement) in asked {
        let own = of_step.entry(step).or_default();
        *own = greatest([own.as_slice(), &requirement]);
    }
    let mut groups: Vec<(Vec<Requirement>, BTreeSet<usize>)> = Vec::new();
    for (step, requirement) in of_step {
        let known = groups.iter().position(|(known, _)| *known == requirement);
        // INVARIANT (fail-closed): what has no room of its own asks for no less.
        let place = known.unwrap_or(groups.len().min(REQUIREMENTS_MAX - 1));
        match groups.get_mut(place) {
            Some((own, places)) => {
                *own = greatest([own.as_slice(), &requirement]);
                places.insert(step);
            }
            None => groups.push((requirement, BTreeSet::from([step]))),
        }
    }
    let masked = |(requirement, places): (_, BTreeSet<usize>)| StepsRequirement {
        requirement,
        step_mask: mask::to_mask(&places, steps),
    };
    if groups.iter().all(|(requirement, _)| *requirement == anybody()) {
        return Vec::new();
    }
    groups.into_iter().map(masked).collect()
}

/// Whom a plan asks for: its steps that need people, and whom those ask for where it is not anybody
/// who decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanRequirement {
    pub assist: BTreeSet<usize>,
    pub steps: Vec<StepsRequirement>,
}

impl PlanRequirement {
    /// Of each group the greatest count over the steps that need people.
    pub fn requirement(&self) -> Vec<Requirement> {
        greatest_of(&self.steps)
    }
}

impl VerdictSummary {
    /// Whom a step asks for.
    pub fn requirement_of(&self, index: usize) -> Vec<Requirement> {
        of_step(&self.requirements, index)
    }

    /// Whom the plan asks for: of each group the greatest count over the steps that need people.
    pub fn requirement(&self) -> Vec<Requirement> {
        greatest_of(&self.requirements)
    }
}

fn of_step(requirements: &[StepsRequirement], index: usize) -> Vec<Requirement> {
    let own = requirements.iter().find(|one| mask::holds(&one.step_mask, index));
    own.map_or_else(anybody, |one| one.requirement.clone())
}

fn greatest_of(requirements: &[StepsRequirement]) -> Vec<Requirement> {
    match requirements {
        [] => anybody(),
        steps => greatest(steps.iter().map(|one| one.requirement.as_slice())),
    }
}

impl<'b> Ballot<'b> {
    /// Voices that are still needed: groups are AND, and within a group distinct persons count,
    /// each with a place of its own.
    pub fn missing(&self) -> Vec<Requirement> {
        let given = |group: &str| {
            let agreed = self.votes.iter().filter(|vote| {
                vote.decision == Decision::Approve && vote.groups.iter().any(|own| own == group)
            });
            let places = agreed.map(|vote| {
                let own = || BTreeSet::from([vote.person.clone()]);
                (vote.person.clone(), vote.places.get(group).cloned().unwrap_or_else(own))
            });
            directory::voices(&places.collect())
        };
        let open = self.requirement.iter().map(|wanted| Requirement {
            group: wanted.group.clone(),
            count: wanted.count.saturating_sub(given(&wanted.group)),
        });
        open.filter(|wanted| wanted.count > 0).collect()
    }

    /// The vote that a person gave, under whatever id.
    pub fn vote_of(&self, by: &Decider) -> Option<&'b Vote> {
        self.votes.iter().find(|vote| by.is_known_as(&vote.person))
    }

    /// For which groups a person's decision counts now and with whose places, or why it does not.
    pub fn check(
        &self,
        by: &Decider,
        excluded: &Excluded,
        decision: Decision,
        now: Timestamp,
    ) -> Result<Places, Refusal> {
        by.is_impartial(excluded)?;
        if now >= self.expires_at {
            let message = format!("the time was over at {}", self.expires_at);
            return Err(Refusal::new(Code::ApprovalExpired, message));
        }
        let asked = (self.requested_at, now);
        let places = self.requirement.iter().filter_map(|wanted| {
            let places = by.places(&wanted.group, excluded, asked);
            (!places.is_empty()).then(|| (wanted.group.clone(), places))
        });
        let places: Places = places.collect();
        if places.is_empty() {
            let message = format!("it asks for {}", words(self.requirement));
            return Err(Refusal::new(Code::NotAnApprover, message));
        }
        if decision == Decision::Reject {
            return Ok(places);
        }
        let missing = self.missing();
        let mut places = places;
        if let Some(vote) = self.vote_of(by) {
            // A group that escalated to theirs, or that they came into, hears them as well.
            let is_new = |wanted: &Requirement| {
                places.contains_key(&wanted.group) && !vote.groups.contains(&wanted.group)
            };
            if !missing.iter().any(is_new) {
                let message =
                    format!("`{}` voted at {}: one person has one voice", vote.person, vote.at);
                return Err(Refusal::new(Code::ApprovalAlreadyDecided, message));
            }
            // What counted when it was given counts on.
            for group in &vote.groups {
                let own = || BTreeSet::from([vote.person.clone()]);
                let before = vote.places.get(group).cloned().unwrap_or_else(own);
                places.insert(group.clone(), before);
            }
        }
        self.is_no_second_voice(by)?;
        if !missing.iter().any(|wanted| places.contains_key(&wanted.group)) {
            let message =
                format!("it has the voices of your groups, and waits for {}", words(&missing));
            return Err(Refusal::new(Code::NotAnApprover, message));
        }
        Ok(places)
    }

    // INVARIANT (never-ones-own): who gave a person the address, user or identity by which a voice
    // comes could have given an own one; that voice and theirs are not two.
    fn is_no_second_voice(&self, by: &Decider) -> Result<(), Refusal> {
        let makers = by.directory.voices_of(&by.identity_makers);
        let others = self.votes.iter().filter(|vote| !by.is_known_as(&vote.person));
        let shared = others.into_iter().find(|vote| {
            let made = by.directory.voices_of(&vote.identity_makers);
            makers.contains(&by.directory.voice(&vote.person)) || made.contains(&by.person)
        });
        let Some(vote) = shared else { return Ok(()) };
        let message = format!(
            "`{}` has voted, and one of you set what the other is known by: these are not two \
             voices; another way of signing in, or another person, is",
            vote.person
        );
        Err(Refusal::new(Code::SelfApproval, message))
    }
}

/// A requirement as people read it.
pub fn words(requirement: &[Requirement]) -> String {
    let one = |wanted: &Requirement| format!("{} of {}", wanted.count, wanted.group);
    requirement.iter().map(one).collect::<Vec<_>>().join(" and ")
}

impl Approval {
    /// As its votes see it.
    pub fn ballot(&self) -> Ballot<'_> {
        Ballot {
            requirement: &self.requirement,
            votes: &self.votes,
            requested_at: self.requested_at,
            expires_at: self.expires_at,
        }
    }
}
