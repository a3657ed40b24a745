//! Approval links: a person who was sent one looks at one request and decides on it, by the same
//! service as everybody else, as the person that the link is for and on that execution alone.
//!
//! INVARIANT (get-never-mutates): opening and looking write nothing. A decision carries a nonce
//! that the page was drawn with; it is the decision's idempotency key, and so is consumed in its
//! transaction: sent again it changes nothing.
//!
//! INVARIANT (fail-closed): the person must be in the directory still, as the one whom the link was
//! made for, and no link of theirs may have been revoked since.

use crate::{
    Answer, Approvals, Base, Caller, InForce, Parts, Queries, Views, actor, boxed,
    decide::approve::check_text, govern::sessions::identity_maker, operate::notices::narrow,
};
use contracts::{
    Code, Digest, ExecutionId, Open, Problem, Timestamp, WorkspaceId,
    approval::{ApprovalAnswer, Decision, GetApproval, Vote, VoteApprovals},
    event::{ActorKind, GovernanceChanged, WorkspaceEvent},
    id::ApprovalId,
    link::{LinksRevoked, RevokeLinks},
    plan::Plan,
    query::{GetExecution, StepView},
};
use countersign_store::{Change, PortError, Record, keys};
use cs_core::{
    canonical,
    directory::Identity,
    execution::Approval,
    link::{Claims, LINK_CHANNEL, LINK_LIFE_MS_MAX, LinkError, LinkKey},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Grant that ends links of others.
const GRANT: &str = "control-plane.directory";
/// What a link lets its person do.
const GRANTS: [&str; 3] = [
    "control-plane.execution.read",
    "control-plane.execution.approve",
    "control-plane.execution.reject",
];

/// Since when no earlier link of a person counts. What is older than any link is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Revocations {
    persons: BTreeMap<String, Timestamp>,
}

/// Why a link is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    #[error(transparent)]
    Token(#[from] LinkError),
    /// The person was removed since, or became another one.
    #[error("the person whom the link was made for is not in the directory any more")]
    UnknownPerson,
    #[error("the link was revoked")]
    Revoked,
    /// Whoever reads the mail of the address before is not asked any more.
    #[error("the person's mail address is another since the link was sent")]
    OtherAddress,
}

impl LinkRefusal {
    /// What whoever holds it can do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Token(LinkError::Malformed) => {
                "Mail programs sometimes break long links in two. Open it from the mail again, or \
                 copy all of it."
            }
            Self::Token(LinkError::Forged | LinkError::Audience) => {
                "Use the latest mail about it, or sign in to the console and decide there."
            }
            Self::Token(LinkError::Expired) => {
                "Links are valid for a day at the longest, and never longer than the request. If \
                 it still waits, sign in to the console and decide there."
            }
            Self::UnknownPerson => {
                "Whoever keeps the directory of the workspace can add you again; you are then sent \
                 a new link when you are asked."
            }
            Self::Revoked => {
                "Somebody ended the links that were sent to you before. If it still waits, sign in \
                 to the console and decide there."
            }
            Self::OtherAddress => {
                "What is asked from now on is sent to the new address. If it still waits, sign in \
                 to the console and decide there."
            }
        }
    }
}

/// Who came by a link, and what for.
pub struct OpenedLink {
    claims: Claims,
    caller: Caller,
}

impl OpenedLink {
    /// What the link says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Who came by it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The same in a browser in which the person signed in once more.
    #[must_use]
    pub fn with_second_factor(mut self, token: Option<&str>) -> Self {
        self.caller.second_factor = token.map(str::to_owned);
        self
    }
}

/// What a link shows.
pub struct LinkView {
    pub asked: ApprovalAnswer,
    /// The view as text, in lines that fit a phone.
    pub lines: Vec<String>,
    pub plan: Option<Open<Plan>>,
    /// How each step of it stands.
    pub steps: Vec<StepView>,
    /// Who asked.
    pub requester: String,
    /// For one decision on what is shown.
    pub nonce: String,
}

/// What the form of a link says.
#[derive(Clone, Debug)]
pub struct LinkDecision {
    pub view_digest: Digest,
    pub nonce: String,
    pub decision: Decision,
    pub reason: Option<String>,
}

// A link decides once: where the vote that it gave was taken back, it is used up all the same.
fn used(claims: &Claims, approval: &Approval) -> Option<String> {
    let at = approval.used_links.get(&claims.person_id)?;
    (claims.issued_at <= *at).then(|| {
        format!(
            "a decision by link was given at {at} and taken back since, and a link decides once: \
             sign in to the console and decide there"
        )
    })
}

/// Approval links.
pub struct Links {
    base: Arc<Base>,
    in_force: Arc<InForce>,
    views: Arc<Views>,
    queries: Arc<Queries>,
    approvals: Arc<Approvals>,
}

impl Links {
    pub(crate) fn new(parts: &Parts, queries: Arc<Queries>, approvals: Arc<Approvals>) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            views: parts.views.clone(),
            queries,
            approvals,
        }
    }

    /// The URL of a new link: for one person and one request, until that ends, for a day at the
    /// longest. A secret of the person's.
    #[boxed]
    pub async fn mint(
        &self,
        workspace: &WorkspaceId,
        (execution, approval): (&ExecutionId, &ApprovalId),
        person: &str,
        expires_at: Timestamp,
    ) -> Answer<String> {
        let now = self.base.now();
        let claims = Claims {
            audience: self.base.config.public_url.clone(),
            workspace_id: workspace.clone(),
            execution_id: execution.clone(),
            approval_id: approval.clone(),
            person_id: person.to_owned(),
            issued_at: now,
            expires_at: expires_at.min(now.plus_ms(LINK_LIFE_MS_MAX)),
            id: self.base.store.fresh_id(),
        };
        let token = self.key().await?.mint(&claims).map_err(|error| {
            Problem::new(Code::InternalError, format!("a link cannot be made: {error}"))
        })?;
        Ok(format!("{}/a/{token}", self.base.config.public_url))
    }

    /// Who comes by a token, and what for; or why it is of no use.
    #[boxed]
    pub async fn open(&self, token: &str) -> Answer<Result<OpenedLink, LinkRefusal>> {
        let audience = &self.base.config.public_url;
        let claims = match self.key().await?.verify(token, audience, self.base.now()) {
            Ok(claims) => claims,
            Err(error) => return Ok(Err(error.into())),
        };
        let workspace = &claims.workspace_id;
        let directory = self.in_force.directory(workspace).await?;
        // Who was removed and added again was not sent this link.
        let there = directory.added_at(&claims.person_id).is_some_and(|at| at <= claims.issued_at);
        if !there {
            return Ok(Err(LinkRefusal::UnknownPerson));
        }
        let revoked = self.revocations(workspace).await?.value.persons;
        if revoked.get(&claims.person_id).is_some_and(|before| claims.issued_at <= *before) {
            return Ok(Err(LinkRefusal::Revoked));
        }
        if directory.mail_since(&claims.person_id).is_some_and(|since| claims.issued_at < since) {
            return Ok(Err(LinkRefusal::OtherAddress));
        }
        let caller = Caller {
            workspace: workspace.clone(),
            actor: actor(ActorKind::Human, &claims.person_id),
            grants: GRANTS.map(str::to_owned).into(),
            only: Some(claims.execution_id.clone()),
            key_id: None,
            // INVARIANT (never-ones-own): whoever could have named an own address.
            key_made_by: identity_maker(&directory, &claims.person_id, Identity::Mail),
            channel: LINK_CHANNEL.into(),
            second_factor: None,
            traceparent: None,
            idempotency_key: None,
        };
        Ok(Ok(OpenedLink { claims, caller }))
    }

    /// What a link is about, as it is now.
    #[boxed]
    pub async fn look(&self, link: &OpenedLink) -> Answer<LinkView> {
        let OpenedLink { claims, caller } = link;
        let request = GetApproval {
            execution_id: claims.execution_id.clone(),
            approval_id: claims.approval_id.clone(),
        };
        let mut asked = self.queries.approval(caller, request).await?;
        let loaded = self.base.store.load(&claims.workspace_id, &claims.execution_id).await?;
        let about = loaded.state.approvals.iter().find(|one| one.id == claims.approval_id);
        if let Some(about) = about {
            if asked.approval.view.is_none() {
                let view = self.views.decided_view(&loaded.state, about).await?;
                asked.approval.view = view.map(Into::into);
            }
            if let Some(used) = used(claims, about) {
                (asked.mine, asked.why_not) = (false, Some(used));
            }
        }
        let requester = loaded.state.intent.as_ref().map(|intent| intent.actor_id.clone());
        let execution = GetExecution {
            execution_id: claims.execution_id.clone(),
            wait_seconds: None,
            include_plan: true,
            include_view: Some(false),
        };
        let seen = self.queries.get(caller, execution).await?.execution;
        let draw = self.base.ports.ids.id();
        let nonce = self.key().await?.nonce(claims, &asked.approval.view_digest, &draw);
        Ok(LinkView {
            lines: narrow(&asked.approval),
            asked,
            plan: seen.plan,
            steps: seen.steps,
            requester: requester.unwrap_or_default(),
            nonce,
        })
    }

    /// Decides as the link's person. The same form sent again changes nothing, and is no error.
    #[boxed]
    pub async fn decide(&self, link: &OpenedLink, said: LinkDecision) -> Answer<()> {
        let OpenedLink { claims, caller } = link;
        let key = self.key().await?;
        let nonce = key.check_nonce(claims, &said.view_digest, &said.nonce).ok_or_else(|| {
            let message = "the form is not of this link's page; load the page again";
            Problem::new(Code::Forbidden, message)
        })?;
        let loaded = self.base.store.load(&claims.workspace_id, &claims.execution_id).await?;
        let approvals = &loaded.state.approvals;
        let about = approvals.iter().find(|one| one.id == claims.approval_id);
        if let Some(used) = about.and_then(|about| used(claims, about)) {
            return Err(Problem::new(Code::ApprovalAlreadyDecided, used));
        }
        let caller = Caller { idempotency_key: Some(nonce), ..caller.clone() };
        let vote = Vote {
            execution_id: claims.execution_id.clone(),
            approval_id: claims.approval_id.clone(),
            view_digest: said.view_digest,
            decision: said.decision,
            reason: said.reason,
        };
        let voted = self.approvals.vote(&caller, VoteApprovals { approvals: vec![vote] }).await;
        match voted {
            Ok(_) => Ok(()),
            Err(problem) if problem.status >= 500 => Err(problem),
            Err(problem) => Err(self.said_before(claims).await?.unwrap_or(problem)),
        }
    }

    // What the person has said already, where that is why another form decides nothing.
    async fn said_before(&self, claims: &Claims) -> Answer<Option<Problem>> {
        let loaded = self.base.store.load(&claims.workspace_id, &claims.execution_id).await?;
        let mut approvals = loaded.state.approvals.iter();
        let about = approvals.find(|one| one.id == claims.approval_id);
        let vote = about.and_then(|one| one.votes.iter().find(|v| v.person == claims.person_id));
        Ok(vote.map(|vote| {
            let said = match vote.decision {
                Decision::Approve => "approved",
                Decision::Reject => "rejected",
            };
            let message = format!("you {said} at {}; nothing was changed", vote.at);
            Problem::new(Code::ApprovalAlreadyDecided, message)
        }))
    }

    /// controlPlane.link.revoke
    #[boxed]
    pub async fn revoke(&self, caller: &Caller, request: RevokeLinks) -> Answer<LinksRevoked> {
        check_text("/reason", request.reason.as_deref())?;
        let workspace = &caller.workspace;
        let directory = self.in_force.directory(workspace).await?;
        let person = directory.person_of(&request.person_id).map(|person| person.id.clone());
        let own = directory.person_of(&caller.actor.id).map(|person| &person.id);
        if caller.actor.kind != ActorKind::Human || own.is_none() || own != person.as_ref() {
            caller.require_person(GRANT)?;
        }
        let person = person.ok_or_else(|| {
            let known = directory.persons().map(|person| person.id.as_str());
            let issue = contracts::names::unknown("/personId", "person", &request.person_id, known);
            Problem::new(Code::NotFound, "there is no such person").issue(issue)
        })?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("link.revoke", &request), || {
            Box::pin(async {
                let (stored, now) = (self.revocations(workspace).await?, self.base.now());
                let mut after = stored.value.clone();
                after.persons.retain(|_, before| before.plus_ms(LINK_LIFE_MS_MAX) > now);
                after.persons.insert(person.clone(), now);
                let event = WorkspaceEvent::GovernanceChanged(GovernanceChanged {
                    key: "links".into(),
                    entry: Some(format!("person {person}")),
                    digest: canonical::digest(&after).map_err(crate::not_canonical)?,
                    at: now,
                    actor_id: caller.actor.id.clone(),
                    reason: request.reason.clone(),
                });
                let write = stored.replace(keys::links(workspace), &after)?;
                let answer = LinksRevoked { person_id: person.clone(), revoked_at: now };
                Ok(Change::new(answer, event, vec![write]))
            })
        });
        Ok(changed.await?.answer())
    }

    async fn revocations(&self, workspace: &WorkspaceId) -> Result<Record<Revocations>, PortError> {
        self.base.store.record(&keys::links(workspace)).await
    }

    async fn key(&self) -> Result<LinkKey, PortError> {
        Ok(LinkKey::of(self.base.ports.signer.ring().await?.as_ref()))
    }
}
