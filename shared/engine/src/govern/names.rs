//! Looks names up, and suggests the nearest (INVARIANT unknown-names-are-refused).

use crate::{Answer, Base};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Issue, WorkspaceId, event::Actor, limits::SUGGESTION_CANDIDATES_MAX, manifest::Manifest, names,
};
use countersign_store::{PortError, Query, keys};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// Versions of one skill whose operations are looked at.
const VERSIONS_MAX: usize = 20;

/// Looks names up, and suggests the nearest.
pub struct Names {
    pub(crate) base: Arc<Base>,
}

impl Names {
    /// What is wrong with the name of a skill, or of a `skill/operation`, that ought to be
    /// installed, if anything.
    pub(crate) async fn known_operation(
        &self,
        workspace: &WorkspaceId,
        pointer: &str,
        name: &str,
    ) -> Answer<Option<Issue>> {
        let (skill, operation) =
            name.split_once('/').map_or((name, None), |(skill, key)| (skill, Some(key)));
        let (partition, _) = keys::skills(workspace);
        let versions =
            Query::prefix(partition, &format!("{}{skill}@", keys::ENVELOPE), VERSIONS_MAX);
        let versions = Query { reverse: true, ..versions };
        let found = self.base.store.query(&versions).await?;
        if found.is_empty() {
            let known = self.skill_keys(workspace).await?;
            return Ok(Some(names::unknown(
                pointer,
                "skill",
                skill,
                known.iter().map(String::as_str),
            )));
        }
        let Some(operation) = operation else {
            return Ok(None);
        };
        let mut known = BTreeSet::new();
        for (key, item) in &found {
            let envelope: Value = self.base.store.body_of(key, item).await?;
            let payload = envelope
                .get("payload")
                .and_then(Value::as_str)
                .and_then(|text| B64.decode(text).ok());
            let manifest =
                payload.and_then(|payload| contracts::json::decode::<Manifest>(&payload).ok());
            known.extend(
                manifest.into_iter().flat_map(|manifest| manifest.operations).map(|spec| spec.key),
            );
        }
        if known.contains(operation) {
            return Ok(None);
        }
        Ok(Some(names::unknown(pointer, "operation", operation, known.iter().map(String::as_str))))
    }

    /// Keys of installed skills, for suggestions.
    pub(crate) async fn skill_keys(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<BTreeSet<String>, PortError> {
        let (partition, prefix) = keys::skills(workspace);
        let items = self
            .base
            .store
            .query(&Query::prefix(partition, prefix, SUGGESTION_CANDIDATES_MAX))
            .await?;
        let key = |(key, _): &(countersign_store::Key, _)| {
            let name = key.sort.trim_start_matches(prefix).split('@').next().unwrap_or_default();
            name.to_owned()
        };
        Ok(items.iter().map(key).collect())
    }

    /// Refuses an actor whom no key of the workspace names; its issue names the nearest.
    pub(crate) async fn known_actor(
        &self,
        workspace: &WorkspaceId,
        pointer: &str,
        id: &str,
    ) -> Answer<Result<String, Issue>> {
        let canonical = cs_core::actor::canonical_id(id)
            .map_err(|error| Issue::new(pointer, error.to_string()));
        if let Ok(canonical) = &canonical
            && self.base.store.get(&keys::actor(workspace, canonical)).await?.is_some()
        {
            return Ok(Ok(canonical.clone()));
        }
        let (partition, prefix) = keys::actors(workspace);
        let items = self
            .base
            .store
            .query(&Query::prefix(partition, prefix, SUGGESTION_CANDIDATES_MAX))
            .await?;
        let known: Vec<Actor> = items
            .iter()
            .map(|(key, item)| Ok(countersign_store::decode(key, &item.body)?))
            .collect::<Answer<_>>()?;
        Ok(Err(names::unknown(pointer, "actor", id, known.iter().map(|actor| actor.id.as_str()))))
    }
}
