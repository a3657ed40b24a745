//! controlPlane.freeze.set and list: kill switches. A freeze contends with other freezes only, and
//! does no work that grows with what callers without its grant can do.

use crate::{Answer, Caller, InForce, Limits, boxed, decide::approve::check_text};
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    governance::{EmptyQuery, Freeze, FreezeScope, Freezes, SetFreeze},
    limits::{FREEZES_MAX, NAME_BYTES_MAX},
};
use countersign_store::{Change, PortError, Record, keys};

impl InForce {
    /// The freezes in force.
    pub(crate) async fn stored_freezes(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<Vec<Freeze>>, PortError> {
        self.base.store.record(&keys::freezes(workspace)).await
    }
}

impl Limits {
    /// Freezes, or lifts a freeze.
    #[boxed]
    pub async fn set_freeze(&self, caller: &Caller, request: SetFreeze) -> Answer<Freezes> {
        caller.require("control-plane.freeze")?;
        check_text("/reason", request.reason.as_deref())?;
        check_form(&request)?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("freeze.set", &request), || {
            Box::pin(async {
                let stored = self.in_force.stored_freezes(&caller.workspace).await?;
                let mut freezes = stored.value.clone();
                let mut warnings = Vec::new();
                let mut key = request.key.clone();
                // What is frozen by force may be lifted by the name it was frozen by.
                if !freezes.iter().any(|freeze| names(freeze, &request, &key)) {
                    match self.frozen_name(&caller.workspace, &request).await? {
                        Ok(name) => key = name,
                        Err(issue) if request.force => warnings.push(issue),
                        Err(issue) => {
                            let message =
                                "there is nothing of that name; `force` freezes it all the same";
                            return Err(Problem::new(Code::ValidationFailed, message).issue(issue));
                        }
                    }
                }
                let there = freezes.iter().any(|freeze| names(freeze, &request, &key));
                if there == request.frozen {
                    return Ok(Change::none(Freezes { items: answered(freezes), warnings }));
                }
                if !request.frozen {
                    freezes.retain(|freeze| !names(freeze, &request, &key));
                } else if freezes.len() >= FREEZES_MAX {
                    return Err(invalid(
                        "",
                        "too many freezes; lift some, or freeze the workspace",
                    ));
                } else {
                    freezes.push(Freeze {
                        scope: request.scope,
                        key,
                        reason: request.reason.clone(),
                        since: self.base.now(),
                        actor_id: caller.actor.id.clone(),
                    });
                }
                let event =
                    self.base.governance_changed(caller, "freezes", &freezes, &request.reason)?;
                let mut writes = vec![stored.replace(keys::freezes(&caller.workspace), &freezes)?];
                writes.extend(self.base.guard_writes(&caller.workspace));
                Ok(Change::new(Freezes { items: answered(freezes), warnings }, event, writes))
            })
        });
        let changed = changed.await?;
        if changed.is_fresh() && !request.frozen {
            self.waker.wake_waiting(&caller.workspace).await;
        }
        Ok(changed.answer())
    }

    /// The freezes in force.
    #[boxed]
    pub async fn freezes(&self, caller: &Caller, _: EmptyQuery) -> Answer<Freezes> {
        caller.require_whole("control-plane.audit")?;
        let items = self.in_force.stored_freezes(&caller.workspace).await?.value;
        Ok(Freezes { items: answered(items), warnings: Vec::new() })
    }

    // The name as it is stored, if there is something of it.
    async fn frozen_name(
        &self,
        workspace: &WorkspaceId,
        request: &SetFreeze,
    ) -> Answer<Result<Option<String>, Issue>> {
        let key = request.key.clone().unwrap_or_default();
        Ok(match request.scope {
            FreezeScope::Workspace => Ok(None),
            FreezeScope::Actor => self.names.known_actor(workspace, "/key", &key).await?.map(Some),
            FreezeScope::Skill | FreezeScope::Operation => {
                match self.names.known_operation(workspace, "/key", &key).await? {
                    None => Ok(Some(key)),
                    Some(issue) => Err(issue),
                }
            }
        })
    }
}

fn names(freeze: &Freeze, request: &SetFreeze, key: &Option<String>) -> bool {
    freeze.scope == request.scope && freeze.key == *key
}

fn invalid(pointer: &str, message: &str) -> Problem {
    Problem::new(Code::ValidationFailed, "the freeze is not valid")
        .issue(Issue::new(pointer, message))
}

fn answered(freezes: Vec<Freeze>) -> Vec<contracts::Open<Freeze>> {
    freezes.into_iter().map(contracts::Open::from).collect()
}

fn check_form(request: &SetFreeze) -> Answer<()> {
    let key = request.key.as_deref().unwrap_or_default();
    match request.scope {
        FreezeScope::Workspace if request.key.is_some() => {
            Err(invalid("/key", "the workspace has no key here"))
        }
        FreezeScope::Operation if !key.contains('/') => Err(invalid("/key", "`skill/operation`")),
        FreezeScope::Skill if key.contains('/') => {
            Err(invalid("/key", "a skill's key, without an operation"))
        }
        FreezeScope::Skill | FreezeScope::Operation | FreezeScope::Actor
            if key.is_empty() || key.len() > 2 * NAME_BYTES_MAX =>
        {
            Err(invalid(
                "/key",
                "what is frozen: a skill's key, `skill/operation`, or an actor's id",
            ))
        }
        FreezeScope::Workspace
        | FreezeScope::Skill
        | FreezeScope::Operation
        | FreezeScope::Actor => Ok(()),
    }
}
