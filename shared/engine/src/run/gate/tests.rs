//! What passes the gate, case by case.

use super::*;
use contracts::{
    draft::Budget, event::Reserved, governance::Budgets, plan::RadiusKind, verdict::RiskTier,
};
use cs_core::execution::Reservation;
use serde_json::Value;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn call() -> PlanStep {
    let zero = Digest::zero();
    serde_json::from_value(json!({ "id": "s", "operation": "shop/pay", "skill": 0,
        "effect": "idempotent",
        "inputSchemaDigest": zero, "outputSchemaDigest": zero, "timeoutSeconds": 1,
        "binding": { "kind": "http", "url": "https://tool.example" }, "input": {},
        "after": [], "riskTier": "low",
        "radius": { "writes": 1 }, "retry": { "maxAttempts": 1, "backoffSeconds": 1,
            "maxBackoffSeconds": 1 } }))
    .unwrap()
}

fn verdict(verdict: Verdict) -> StepVerdict {
    StepVerdict {
        step_id: "s".parse().unwrap(),
        purpose: Purpose::Run,
        verdict,
        risk_tier: RiskTier::Low,
        reasons: Vec::new(),
        determining: Vec::new(),
        errors: Vec::new(),
        request: Value::Null,
        expires_ms: None,
        approvers: Vec::new(),
    }
}

fn budgets() -> Vec<Governance> {
    let money = |limit: Option<u64>| {
        let limits =
            limit.map(|limit| BTreeMap::from([("EUR".to_owned(), limit)])).unwrap_or_default();
        Budget { money: Some(limits), ..Budget::default() }
    };
    let plans = [
        None,
        Some(money(Some(5))),
        Some(money(None)),
        Some(Budget { writes: Some(0), ..money(Some(9)) }),
    ];
    let of = |plan| Governance {
        budgets: Budgets { plan, meters: Vec::new() },
        ..Governance::default()
    };
    plans.into_iter().map(of).collect()
}

fn spends() -> Vec<Radius> {
    let eur = |amount| Radius {
        writes: 1,
        money: [("EUR".to_owned(), amount)].into(),
        ..Radius::default()
    };
    let unmeasured =
        Radius { unmeasured: BTreeSet::from([RadiusKind::Money]), ..Radius::default() };
    vec![Radius::default(), eur(5), eur(6), unmeasured]
}

fn records() -> Vec<Step> {
    let held = Reservation {
        spend: Radius::default(),
        meters: Vec::<Reserved>::new(),
        at: Timestamp::from_ms(0),
    };
    let mut found = Vec::new();
    for (escalated, approved, holds) in
        (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0))
    {
        let mut record = Step::new("s".parse().unwrap());
        record.escalated = escalated;
        let approval = ApprovalId::from_bytes([7; 16]);
        record.approval = approved.then(|| approval.clone());
        (record.reservation, record.undo_reservation) =
            (holds.then(|| held.clone()), holds.then(|| held.clone()));
        record.probe_reservation = record.reservation.clone();
        found.push(record);
    }
    found
}

// The purpose opens no door: whatever is refused for a step's own effect is refused for a
// compensation and a probe with the same operation and the same input. Everything that decides,
// in every combination.
#[test]
fn one_gate_for_every_purpose() {
    let state = Execution::new(
        "exe_00000000000000000000000000000001".parse().unwrap(),
        "acme".parse().unwrap(),
    );
    let mut unknown = call();
    unknown.unknown.insert("/amount".into());
    let (mut refused, mut passed) = (0, 0);
    for governance in &budgets() {
        for (record, spend) in
            records().iter().flat_map(|record| spends().into_iter().map(move |s| (record, s)))
        {
            for verdict in [Verdict::Autonomous, Verdict::Assist, Verdict::Blocked].map(verdict) {
                for called in [&call(), &unknown] {
                    let answer = |purpose| {
                        let input = Digest::zero();
                        let (verdict, spend, input) = (&verdict, &spend, &input);
                        pass(&Question {
                            state: &state,
                            record,
                            called,
                            purpose,
                            input,
                            spend,
                            verdict,
                            governance,
                        })
                    };
                    let own = answer(Purpose::Run);
                    for beside in [answer(Purpose::Compensate), answer(Purpose::Probe)] {
                        match own {
                            Passage::Pass(_) => passed += 1,
                            Passage::Ask(_) | Passage::Deny(..) => {
                                refused += 1;
                                assert_eq!(beside, own, "{record:?} {verdict:?} {spend:?}");
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 100 && passed > 100, "{refused} {passed}");
}

#[test]
fn one_gate_holds_whatever_the_call_is_for() {
    let governance = Governance::default();
    let record = |revoked_at, expires_at| RequesterKey::Known {
        key: countersign_store::Key { partition: String::new(), sort: String::new() },
        record: Box::new(crate::ApiKey {
            id: "k".into(),
            workspace: "acme".parse().unwrap(),
            actor: crate::actor(contracts::event::ActorKind::Agent, "a"),
            grants: BTreeSet::new(),
            created_at: Timestamp::from_ms(0),
            made_by: None,
            expires_at,
            revoked_at,
            person_since: None,
        }),
    };
    let person_gone = || match record(None, None) {
        RequesterKey::Known { record, .. } => RequesterKey::PersonGone { record },
        other => other,
    };
    let at = Timestamp::from_ms;
    let cases = [
        (RequesterKey::None, None),
        (record(None, None), None),
        (record(None, Some(at(11))), None),
        (record(None, Some(at(10))), Some(BlockReason::RequesterRevoked)),
        (record(Some(at(3)), None), Some(BlockReason::RequesterRevoked)),
        (RequesterKey::Gone { id: "k".into() }, Some(BlockReason::RequesterRevoked)),
        (person_gone(), Some(BlockReason::RequesterRevoked)),
    ];
    for (key, wanted) in cases {
        let found = standing(&Standing {
            governance: &governance,
            key: &key,
            operation: "shop/pay",
            actor: "a",
            unusable: None,
            now: at(10),
        });
        assert_eq!(found.map(|(reason, _)| reason), wanted, "{key:?}");
    }
}
