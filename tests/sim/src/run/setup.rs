//! The workspace of a run: its policies, skills, keys and meters.

use super::*;

// A third of the seeds limits money over time, a third by plan, a third not at all.
pub(super) fn limits(shared: &Shared) -> Limits {
    match shared.pick(3) {
        0 => Limits { meter_money: Some(5_000), meter_recipients: Some(6), plan_money: None },
        1 => Limits { plan_money: Some(8_000), ..Limits::default() },
        _ => Limits::default(),
    }
}

pub(super) async fn setup(world: Arc<World>, count: usize) {
    found(&world).await;
    for index in 0..count {
        spawn(&world, submit(world.clone(), index));
    }
    spawn(&world, sweep(world.clone()));
    operators::begin(&world);
}

// A workspace that trusts the skill, has installed it, and limits what may be used.
pub(super) async fn found(world: &World) {
    while world.engine.access.create_workspace(&world.workspace).await.is_err() {}
    let publisher = SkillSigner::from_secret(&[9; 32]);
    let person = Caller { idempotency_key: Some("trust".into()), ..world.person("person") };
    let trusted = TrustedPublisher {
        id: "sim".into(),
        keys: vec![publisher.pinned()],
        provenance_prefixes: vec!["sim".into()],
    };
    let trust = TrustPolicy { trusted_publishers: vec![trusted], ..TrustPolicy::default() };
    let trust = SetTrust { trust, expected_version: None, reason: None };
    while let Err(problem) = world.engine.trust.set_trust(&person, trust.clone()).await {
        assert!(passing(&problem), "{problem:?}");
    }
    let manifest: Manifest = serde_json::from_value(plans::manifest()).unwrap();
    let now = world.engine.now();
    let request =
        publisher.sign(manifest, b"", now.plus_ms(-1_000), now.plus_ms(400 * 86_400_000)).unwrap();
    while let Err(problem) = world.engine.skills.install_skill(&person, request.clone()).await {
        assert!(passing(&problem), "{problem:?}");
    }
    let budgets = SetBudgets { budgets: budgets(&world.limits), force: false, reason: None };
    while let Err(problem) = world.engine.limits.set_budgets(&person, budgets.clone()).await {
        assert!(passing(&problem), "{problem:?}");
    }
    people(world, &person).await;
    operators::activate(world, &person, operators::hasty()).await;
}

// Three people decide, each known to the directory, one under an alias as well.
async fn people(world: &World, person: &Caller) {
    for id in DECIDERS {
        let request: PutPerson = serde_json::from_value(
            json!({ "person": { "id": id, "aliases": [format!("{id}-2")] } }),
        )
        .unwrap();
        let person = Caller { idempotency_key: Some(id.into()), ..person.clone() };
        while let Err(problem) = world.engine.access.put_person(&person, request.clone()).await {
            assert!(passing(&problem), "{problem:?}");
        }
    }
    let request: PutGroup =
        serde_json::from_value(json!({ "group": { "name": "deciders", "members": DECIDERS } }))
            .unwrap();
    let person = Caller { idempotency_key: Some("group".into()), ..person.clone() };
    while let Err(problem) = world.engine.access.put_group(&person, request.clone()).await {
        assert!(passing(&problem), "{problem:?}");
    }
}

fn budgets(limits: &Limits) -> Budgets {
    let meter = |id: &str, measure: Measure, limit: u64| Meter {
        id: id.into(),
        scope: MeterScope::Workspace,
        measure,
        window_seconds: METER_SECONDS,
        limit: Some(limit),
        only: Vec::new(),
    };
    let mut meters = vec![meter("writes", Measure::Writes, METER_LIMIT)];
    meters.extend(
        limits
            .meter_money
            .map(|limit| meter("money", Measure::Money { currency: "EUR".into() }, limit)),
    );
    meters.extend(
        limits.meter_recipients.map(|limit| meter("recipients", Measure::Recipients, limit)),
    );
    let money = limits
        .plan_money
        .map(|limit| [("EUR".to_owned(), limit), ("USD".to_owned(), limit)].into());
    let plan = money.map(|money| Budget { money: Some(money), ..Budget::default() });
    Budgets { plan, meters }
}

/// The skill by its name, for what names it.
pub(crate) fn skill() -> String {
    SKILL.to_owned()
}
