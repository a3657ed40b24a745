//! Who decides beside people: services that a person named. controlPlane.deciders.set and get.

use crate::{
    Answer, Caller, Engine,
    approve::check_text,
    bodies, boxed, keys,
    ports::{Condition, Fault, Write},
};
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    access::{Deciders, SetDeciders},
    event::{ActorKind, Event, GovernanceChanged},
    governance::Look,
    limits::DECIDERS_MAX,
};
use cs_core::{
    canonical,
    execution::duty::{Decider, Standing},
};
use std::collections::BTreeSet;

const TRIES_MAX: u32 = 8;

impl Engine {
    /// What the caller's decisions are worth. INVARIANT (fail-closed): a service that is not named has no voice.
    pub(crate) async fn decider(&self, caller: &Caller) -> Answer<Decider> {
        let standing = match caller.actor.kind {
            ActorKind::Human => Standing::Person,
            ActorKind::Service => {
                let (_, deciders) = self.stored_deciders(&caller.workspace).await?;
                if deciders.services.contains(&caller.actor.id) { Standing::NamedService } else { Standing::None }
            }
            ActorKind::Agent | ActorKind::Tool => Standing::None,
        };
        Ok(Decider { actor: caller.actor.clone(), key_made_by: caller.key_made_by.clone(), standing })
    }

    /// Whether a service of this id decides like people.
    pub(crate) async fn decides(&self, workspace: &WorkspaceId, id: &str) -> Result<bool, Fault> {
        Ok(self.stored_deciders(workspace).await?.1.services.contains(id))
    }

    /// The same, refused where it is worth nothing whatever the execution.
    pub(crate) async fn require_decider(&self, caller: &Caller) -> Answer<Decider> {
        let by = self.decider(caller).await?;
        by.has_standing().map_err(crate::refused)?;
        Ok(by)
    }

    async fn stored_deciders(&self, workspace: &WorkspaceId) -> Result<(u64, Deciders), Fault> {
        let key = keys::deciders(workspace);
        Ok(match self.ports.table.get(&key).await? {
            Some(item) => (item.version, bodies::decode(&key, &item.body)?),
            None => (0, Deciders::default()),
        })
    }

    /// Names the services that decide like people. A person's word, who has the grant `keys`.
    #[boxed]
    pub async fn set_deciders(&self, caller: &Caller, request: SetDeciders) -> Answer<Deciders> {
        caller.require_person("control-plane.keys")?;
        check_text("/reason", request.reason.as_deref())?;
        let (once, given) = self.once(caller, "deciders.set", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let mut issues = Vec::new();
        let mut services = BTreeSet::new();
        if request.services.len() > DECIDERS_MAX {
            issues.push(Issue::new("/services", format!("at most {DECIDERS_MAX}")));
        }
        for (index, id) in request.services.iter().take(DECIDERS_MAX).enumerate() {
            match self.known_actor(&caller.workspace, &format!("/services/{index}"), id).await? {
                Ok(id) => _ = services.insert(id),
                Err(issue) => issues.push(issue),
            }
        }
        if !issues.is_empty() {
            return Err(Problem::new(Code::ValidationFailed, "the deciders are not valid").issues(issues));
        }
        let deciders = Deciders { services };
        for _ in 0..TRIES_MAX {
            let (version, _) = self.stored_deciders(&caller.workspace).await?;
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let item = bodies::item(version + 1, &deciders)?;
            let mut writes = vec![Write::Put { key: keys::deciders(&caller.workspace), item, condition }];
            writes.extend(self.once_write(once.as_ref(), &deciders).await?);
            let event = Event::GovernanceChanged(GovernanceChanged {
                key: "deciders".into(),
                digest: canonical::digest(&deciders).map_err(crate::not_canonical)?,
                at: self.now(),
                actor_id: caller.actor.id.clone(),
                reason: request.reason.clone(),
            });
            if self.journal(caller, vec![event], writes, false).await? {
                return Ok(deciders);
            }
        }
        Err(crate::busy())
    }

    /// The services that decide like people.
    #[boxed]
    pub async fn deciders(&self, caller: &Caller, _: Look) -> Answer<Deciders> {
        caller.require_whole("control-plane.audit")?;
        Ok(self.stored_deciders(&caller.workspace).await?.1)
    }
}
