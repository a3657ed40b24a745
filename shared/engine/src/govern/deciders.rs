//! Who decides beside people: services that a person named. controlPlane.deciders.set and get.

use crate::{Access, Answer, Caller, InForce, boxed, decide::approve::check_text};
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    access::{Deciders, KeyMaker, SetDeciders},
    event::ActorKind,
    governance::EmptyQuery,
    limits::DECIDERS_MAX,
};
use countersign_store::{Change, PortError, Record, Write, keys};
use cs_core::{
    directory::Identity,
    execution::duty::{Decider, Standing},
};
use std::{collections::BTreeSet, sync::Arc};

/// Who decides, and that what says so is as it was read. INVARIANT (approval-binds-digest): the
/// decision's own transaction checks it, so that who is removed decides nothing any more.
pub(crate) struct Deciding {
    pub(crate) by: Decider,
    pub(crate) unchanged: Vec<Write>,
}

impl InForce {
    /// What the caller's decisions are worth.
    pub(crate) async fn decider(&self, caller: &Caller) -> Answer<Decider> {
        Ok(self.deciding(caller).await?.by)
    }

    /// The same, for a decision that is made now. INVARIANT (fail-closed): a service that is not
    /// named has no voice.
    pub(crate) async fn deciding(&self, caller: &Caller) -> Answer<Deciding> {
        let mut unchanged = Vec::new();
        let standing = match caller.actor.kind {
            ActorKind::Human => Standing::Person,
            ActorKind::Service => {
                let deciders = self.stored_deciders(&caller.workspace).await?;
                let key = keys::deciders(&caller.workspace);
                unchanged.push(Write::Check { key, condition: deciders.unchanged() });
                if deciders.value.services.contains(&caller.actor.id) {
                    Standing::NamedService
                } else {
                    Standing::None
                }
            }
            ActorKind::Agent | ActorKind::Tool => Standing::None,
        };
        let stored = self.stored_directory(&caller.workspace).await?;
        let key = keys::directory(&caller.workspace);
        unchanged.push(Write::Check { key, condition: stored.unchanged() });
        let directory = Arc::new(stored.value);
        let person = directory.voice(&caller.actor.id);
        let named = directory.maker_of_identity(&person, Identity::Name(&caller.actor.id));
        let named: BTreeSet<String> = named.map(str::to_owned).into_iter().collect();
        let makers = caller.key_made_by.iter().flat_map(KeyMaker::ids).cloned();
        let makers: BTreeSet<String> = makers.chain(named.iter().cloned()).collect();
        // Whoever comes without a key comes by an identity.
        let by_identity = caller.key_id.is_none() && caller.key_made_by.is_some();
        let by = Decider {
            actor: caller.actor.clone(),
            person,
            identity_makers: if by_identity { makers.clone() } else { named },
            key_makers: makers,
            standing,
            directory,
        };
        Ok(Deciding { by, unchanged })
    }

    /// Whether a service of this id decides like people.
    pub(crate) async fn decides(
        &self,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<bool, PortError> {
        Ok(self.stored_deciders(workspace).await?.value.services.contains(id))
    }

    /// The same, refused where it is worth nothing whatever the execution.
    pub(crate) async fn require_decider(&self, caller: &Caller) -> Answer<Deciding> {
        let deciding = self.deciding(caller).await?;
        deciding.by.has_standing().map_err(crate::refused)?;
        Ok(deciding)
    }

    pub(crate) async fn stored_deciders(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<Deciders>, PortError> {
        self.base.store.record(&keys::deciders(workspace)).await
    }
}

impl Access {
    /// Names the services that decide like people. A person's word, who has the grant `keys`.
    #[boxed]
    pub async fn set_deciders(&self, caller: &Caller, request: SetDeciders) -> Answer<Deciders> {
        caller.require_person("control-plane.keys")?;
        check_text("/reason", request.reason.as_deref())?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("deciders.set", &request), || {
            Box::pin(async {
                let deciders = self.check_deciders(&caller.workspace, &request).await?;
                let stored = self.in_force.stored_deciders(&caller.workspace).await?;
                let event =
                    self.base.governance_changed(caller, "deciders", &deciders, &request.reason)?;
                let write = stored.replace(keys::deciders(&caller.workspace), &deciders)?;
                Ok(Change::new(deciders, event, vec![write]))
            })
        });
        Ok(changed.await?.answer())
    }

    // Each is somebody whom a key of the workspace names.
    async fn check_deciders(
        &self,
        workspace: &WorkspaceId,
        request: &SetDeciders,
    ) -> Answer<Deciders> {
        let mut issues = Vec::new();
        let mut services = BTreeSet::new();
        if request.services.len() > DECIDERS_MAX {
            issues.push(Issue::new("/services", format!("at most {DECIDERS_MAX}")));
        }
        for (index, id) in request.services.iter().take(DECIDERS_MAX).enumerate() {
            match self.names.known_actor(workspace, &format!("/services/{index}"), id).await? {
                Ok(id) => _ = services.insert(id),
                Err(issue) => issues.push(issue),
            }
        }
        if !issues.is_empty() {
            return Err(
                Problem::new(Code::ValidationFailed, "the deciders are not valid").issues(issues)
            );
        }
        Ok(Deciders { services })
    }

    /// The services that decide like people.
    #[boxed]
    pub async fn deciders(&self, caller: &Caller, _: EmptyQuery) -> Answer<Deciders> {
        caller.require_whole("control-plane.audit")?;
        Ok(self.in_force.stored_deciders(&caller.workspace).await?.value)
    }
}
