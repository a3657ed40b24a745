//! What changes authority: on record, and in force at once.

use super::*;
use contracts::event::WorkspaceEvent;

// What an event of the workspace log says was changed; nothing: it says what was refused.
fn changes(event: &Event) -> &'static [&'static str] {
    match event {
        Event::Workspace(WorkspaceEvent::GovernanceChanged(data)) => match data.key.as_str() {
            "freezes" => &["freezes"],
            "budgets" | "shadow" => &["budgets"],
            "trust" => &["trust", "skill"],
            "deciders" => &["deciders"],
            "directory" => &["directory"],
            // Whose authority was used changes nobody's.
            "override" => &[],
            "signals" => &["phrases"],
            _ => &["something unknown"],
        },
        Event::Workspace(WorkspaceEvent::PolicyActivated(_)) => &["policy"],
        Event::Workspace(WorkspaceEvent::KeyCreated(_))
        | Event::Workspace(WorkspaceEvent::KeyRevoked(_)) => &["key"],
        Event::Workspace(WorkspaceEvent::SkillInstalled(_))
        | Event::Workspace(WorkspaceEvent::SkillDisabled(_))
        | Event::Workspace(WorkspaceEvent::SkillEnabled(_)) => &["skill"],
        Event::Workspace(WorkspaceEvent::WorkspaceCreated(_)) => &["settings", "policy"],
        Event::Workspace(WorkspaceEvent::ToolSecretRotated(_)) => &["settings"],
        Event::Workspace(WorkspaceEvent::SubscriptionCreated(_))
        | Event::Workspace(WorkspaceEvent::SubscriptionRemoved(_))
        | Event::Workspace(WorkspaceEvent::SubscriptionSecretRotated(_)) => &["subscriptions"],
        _ => &[],
    }
}

impl Monitor {
    /// What is frozen.
    pub(crate) fn freezes(&self, sight: &StoredView<'_>) -> Vec<Freeze> {
        let item = sight.get(&keys::freezes(&self.workspace));
        item.map(|item| serde_json::from_slice(&item.body).unwrap()).unwrap_or_default()
    }

    // What changes authority says so in the same transaction, with who; and nothing says so that
    // changes nothing.
    pub(super) fn authority(&self, writes: &[Write], seen: &mut Seen) {
        let mut changed = BTreeSet::new();
        let mut said: BTreeMap<&'static [&'static str], Vec<String>> = BTreeMap::new();
        for write in writes {
            let (key, item) = match write {
                Write::Put { key, item, .. } => (key, Some(item)),
                Write::Delete { key, .. } => (key, None),
                Write::Check { .. } => continue,
            };
            changed.extend(self.governs(key));
            let Some(item) = item.filter(|_| key.sort.starts_with(keys::INBOX)) else { continue };
            let record: Value = serde_json::from_slice(&item.body).unwrap();
            let event: Event = serde_json::from_value(record["event"].clone()).unwrap();
            let actor = record["actor"]["id"].as_str().unwrap_or_default().to_owned();
            let inner = record.pointer("/event/data/actorId").and_then(Value::as_str);
            self.invariants.check(
                "authority-is-on-record",
                !actor.is_empty() && inner == Some(actor.as_str()),
                || format!("{} by {actor}, whose event says {inner:?}", event.key()),
            );
            said.entry(changes(&event)).or_default().push(event.key().to_owned());
            seen.inbox.push(record);
        }
        if changed.is_empty() && said.is_empty() {
            return;
        }
        let covered = changed.iter().all(|what| said.keys().any(|parts| parts.contains(what)));
        let founded = said
            .keys()
            .all(|parts| parts.is_empty() || parts.iter().any(|part| changed.contains(part)));
        self.invariants.check("authority-is-on-record", covered && founded, || {
            format!("{changed:?} changed, {said:?} said")
        });
    }

    fn governs(&self, key: &Key) -> Option<&'static str> {
        let workspace = &self.workspace;
        let parts = [
            (keys::freezes(workspace), "freezes"),
            (keys::governance(workspace), "budgets"),
            (keys::trust(workspace), "trust"),
            (keys::deciders(workspace), "deciders"),
            (keys::directory(workspace), "directory"),
            (keys::risk_phrases(workspace), "phrases"),
            (keys::policy_active(workspace), "policy"),
            (keys::switches(workspace), "skill"),
            (keys::webhooks(workspace), "subscriptions"),
            (keys::settings(workspace), "settings"),
        ];
        if let Some((_, part)) = parts.iter().find(|(own, _)| own == key) {
            return Some(part);
        }
        if key.partition == keys::api_keys(workspace).0 {
            return Some("key");
        }
        (key.partition == keys::skills(workspace).0 && key.sort.starts_with("s#"))
            .then_some("skill")
    }
}
