//! The workspace log, the queries that nobody may change, and credentials.

use super::*;
use contracts::event::WorkspaceEvent;

// Everything that changed authority stands in the workspace log, once, as it was committed.
pub(super) fn log(world: &World, dump: &Dump) {
    let own = keys::journal_head(&world.workspace).partition;
    let entries = chain(world, &partition(dump, &own, keys::EVENT), "the workspace log");
    let waiting =
        range(world.table.inner.as_ref(), keys::inbox_partition(&world.workspace), keys::INBOX);
    world.invariants.check("authority-is-on-record", waiting.is_empty(), || {
        format!("{} events wait", waiting.len())
    });
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for entry in &entries {
        let record = serde_json::json!([entry.at, entry.actor, entry.event]);
        *counts.entry(record.to_string()).or_default() += 1;
    }
    if !world.table.inner.fails() {
        for record in world.watch.inbox.lock().unwrap().iter() {
            let event: Event = serde_json::from_value(record["event"].clone()).unwrap();
            let record = serde_json::json!([record["at"], record["actor"], event]);
            *counts.entry(record.to_string()).or_default() -= 1;
        }
        for (record, count) in counts {
            world.invariants.check("authority-is-on-record", count == 0, || {
                format!("{count} too many of {record}")
            });
        }
    }
    for made in world.keys.lock().unwrap().iter() {
        let created = entries.iter().filter(|entry| match &entry.event {
            Event::Workspace(WorkspaceEvent::KeyCreated(data)) => {
                data.key == made.id && data.actor_id == "person"
            }
            _ => false,
        });
        let count = created.count();
        world.invariants.check("authority-is-on-record", count == 1, || {
            format!("the key {}: {count} times", made.id)
        });
    }
}

pub(super) fn queries(world: &World) {
    let (engine, auditor) = (&world.engine, world.person("auditor"));
    let stranger = Caller { workspace: "other".parse().unwrap(), ..auditor.clone() };
    let elsewhere = now(engine.queries.list(&stranger, ListExecutions::default()));
    let none = elsewhere.as_ref().is_ok_and(|list| list.items.is_empty());
    world
        .invariants
        .check("tenant-walls", none, || format!("another workspace lists {elsewhere:?}"));
    let outcomes = [
        now(engine.queries.list(&auditor, ListExecutions::default())).map(drop),
        now(engine.policies.policy_sets(&auditor, EmptyQuery {})).map(drop),
        now(engine.limits.freezes(&auditor, EmptyQuery {})).map(drop),
        now(engine.limits.budgets(&auditor, EmptyQuery {})).map(drop),
        now(engine.trust.trust(&auditor, EmptyQuery {})).map(drop),
        now(engine.access.deciders(&auditor, EmptyQuery {})).map(drop),
        now(engine.queries.workspace_log(&auditor, GetWorkspaceLog::default())).map(drop),
        now(engine.skills.list_skills(&auditor, ListSkills::default())).map(drop),
        now(engine.access.list_keys(&auditor, Default::default())).map(drop),
    ];
    for outcome in outcomes {
        world.invariants.check("get-never-mutates", outcome.is_ok(), || format!("{outcome:?}"));
    }
}

// A revoked key opens nothing.
pub(super) fn credentials(world: &World, dump: &Dump) {
    for made in world.keys.lock().unwrap().iter() {
        let item = &dump[&keys::api_key_of(&world.workspace, &made.id)];
        let expired = made.expires_at.is_some_and(|at| at <= world.shared.now());
        let gone = expired || item.fields.get("revoked") != Some(&0);
        let outcome = now(world.engine.access.authenticate(Some(&made.secret)));
        world.invariants.check("context-is-fresh", outcome.is_ok() != gone, || {
            format!("the key {} is gone: {gone}; {:?}", made.id, outcome.map(|caller| caller.actor))
        });
    }
}
