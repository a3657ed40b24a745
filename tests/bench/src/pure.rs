//! The pure parts: compiling, judging, verifying.

use crate::{Row, percentile};
use contracts::{
    Timestamp,
    draft::Draft,
    event::{Actor, ActorKind, ExecutionEvent, StepCompleted},
    manifest::Manifest,
};
use cs_core::{
    plan::{Compiled, compile},
    skill::{Registry, Skill},
    trace::{Head, Stamp, Verifier, append},
};
use policy::{CompiledPolicySet, Facts, Measured, judge, judge_call};
use serde_json::{Value, json};
use std::{hint::black_box, sync::Arc, time::Instant};

const OPERATIONS: usize = 100;

fn registry() -> Registry {
    let operations: Vec<Value> = (0..OPERATIONS)
        .map(|n| {
            json!({ "key": format!("op{n}"), "title": "op", "effect": "idempotent",
                "riskTier": "low", "timeoutSeconds": 5,
                "inputSchema": { "type": "object", "required": ["text"], "properties": {
                    "text": { "type": "string" }, "amount": { "type": "integer", "minimum": 0 } } },
                "outputSchema": { "type": "object", "properties": { "id": { "type": "string" },
                    "n": { "type": "integer" } } },
                "binding": { "kind": "http", "url": "https://tool.example/op" } })
        })
        .collect();
    let manifest: Manifest = serde_json::from_value(json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "kit", "version": "1.0.0" },
            "publisher": { "id": "p", "provenance": "p" },
        "artifact": { "digest": format!("sha256:{}", "0".repeat(64)) }, "operations": operations }))
    .unwrap();
    Registry::new([Arc::new(Skill::new(manifest).unwrap())])
}

// Ten chains side by side, each step taking a value from the one before.
fn draft(steps: usize) -> Draft {
    let steps: Vec<Value> = (0..steps)
        .map(|n| {
            let text = if n < 10 {
                json!("x")
            } else {
                json!({ "$from": format!("s{}", n - 10), "path": "/id" })
            };
            json!({ "id": format!("s{n}"), "use": format!("kit/op{}@^1", n % OPERATIONS),
                "with": { "text": text, "amount": n } })
        })
        .collect();
    serde_json::from_value(json!({ "steps": steps })).unwrap()
}

// The baseline and, spread over the operations, rules on amounts.
fn policies(count: usize) -> String {
    let rule = |n: usize| {
        format!(
            "@id(\"rule.{n}\") forbid (principal, action == Action::\"kit/op{}\", resource) when \
             {{ context.input has amount && context.input.amount > {} }};\n",
            n % OPERATIONS,
            1_000_000 + n
        )
    };
    policy::BASELINE.to_owned() + &(0..count.saturating_sub(3)).map(rule).collect::<String>()
}

// Facts of so many requests, of which no two are the same: an answer is given once.
fn asked(count: usize) -> Vec<Facts> {
    (0..count).map(|number| facts(&number.to_string())).collect()
}

fn facts(channel: &str) -> Facts {
    Facts {
        actor: Actor { kind: ActorKind::Agent, id: "agent".into() },
        grants: engine::agent_grants(),
        origin_channel: Some(channel.to_owned()),
        signals: Vec::new(),
        at: contracts::Timestamp::from_ms(1_783_339_200_000),
        budget: None,
        usage: Vec::new(),
    }
}

pub fn compile_and_verify(rows: &mut Vec<Row>, quick: bool) {
    let registry = registry();
    for steps in [10, 100, 1_000] {
        let draft = draft(steps);
        let rounds = if quick { 5 } else { 20_000 / steps };
        let mut samples: Vec<f64> = (0..rounds)
            .map(|_| {
                let started = Instant::now();
                black_box(compile(&draft, &registry).unwrap());
                started.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        let row =
            Row::new(format!("compile {steps} steps, p50"), percentile(&mut samples, 0.5), "ms");
        rows.push(if steps == 1_000 { row.at_most(5.0) } else { row });
    }
    for steps in [10, 100, 1_000] {
        let plan = compile(&draft(steps), &registry).unwrap();
        for count in [10, 100, 1_000] {
            let policy_set = CompiledPolicySet::new(&policies(count), "1", &registry).unwrap();
            judge(plan.plan(), plan.digest(), &facts("warm"), &policy_set);
            let rounds = if quick { 2 } else { (4_000 / steps).max(3) };
            let requests = asked(rounds);
            let started = Instant::now();
            for facts in &requests {
                black_box(judge(plan.plan(), plan.digest(), facts, &policy_set));
            }
            let each = started.elapsed().as_secs_f64() * 1e3 / rounds as f64;
            let row =
                Row::new(format!("verify {steps} steps under {count} policies, mean"), each, "ms");
            rows.push(if (steps, count) == (100, 1_000) { row.at_most(10.0) } else { row });
            if steps == 100 && count == 1_000 {
                let requests = asked(if quick { 20 } else { 100 });
                let mut samples: Vec<f64> = requests
                    .iter()
                    .flat_map(|facts| plan.plan().steps.iter().map(move |step| (facts, step)))
                    .map(|(facts, step)| {
                        let started = Instant::now();
                        let measured =
                            Measured { radius: &step.radius, total: &plan.plan().radius };
                        black_box(judge_call(
                            plan.plan(),
                            step,
                            (None, measured),
                            facts,
                            &policy_set,
                        ));
                        started.elapsed().as_secs_f64() * 1e6
                    })
                    .collect();
                rows.push(Row::new(
                    "a verdict under 1000 policies, p50",
                    percentile(&mut samples, 0.5),
                    "µs",
                ));
                rows.push(
                    Row::new(
                        "a verdict under 1000 policies, p99",
                        percentile(&mut samples, 0.99),
                        "µs",
                    )
                    .at_most(100.0),
                );
            }
        }
    }
}

/// The backtest of an activation: verdicts of the past, read from their stored bytes and evaluated
/// again.
pub fn backtest(rows: &mut Vec<Row>, quick: bool) {
    let registry = registry();
    let id = contracts::ExecutionId::from_bytes([1; 16]);
    for count in [10, 1_000] {
        let policy_set = CompiledPolicySet::new(&policies(count), "1", &registry).unwrap();
        let plan = compile(&draft(100), &registry).unwrap();
        let verdict = |facts| {
            serde_json::to_vec(&judge(plan.plan(), plan.digest(), facts, &policy_set)).unwrap()
        };
        let rounds = if quick { 3 } else { 100 };
        let verdicts: Vec<Vec<u8>> = asked(rounds).iter().map(verdict).collect();
        let policy_set = CompiledPolicySet::new(&policies(count), "1", &registry).unwrap();
        let stored = serde_json::to_vec(plan.plan()).unwrap();
        let started = Instant::now();
        for verdict in &verdicts {
            let plan = Compiled::from_stored(serde_json::from_slice(&stored).unwrap()).unwrap();
            let past: policy::PastVerdict = serde_json::from_slice(verdict).unwrap();
            black_box(policy::changes(&id, plan.plan(), &past, &policy_set));
        }
        let rate = (rounds * 100) as f64 / started.elapsed().as_secs_f64();
        let row = Row::new(
            format!("backtest on one core under {count} policies, stored steps"),
            rate,
            "/s",
        );
        rows.push(row.at_least(20_000.0));
    }
}

pub fn verify_traces(rows: &mut Vec<Row>, events: usize) {
    let stamp = Stamp::new(
        Timestamp::from_ms(1_795_000_000_000),
        Actor { kind: ActorKind::Service, id: "countersign".into() },
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    );
    let event = ExecutionEvent::StepCompleted(StepCompleted {
        execution_id: contracts::ExecutionId::from_bytes([1; 16]),
        run_id: contracts::RunId::from_bytes([2; 16]),
        step_id: "step".parse().unwrap(),
        completed_at: stamp.at,
        output_digest: contracts::Digest::zero(),
        attempt: 1,
    });
    let (mut head, mut verifier, mut seconds, mut left) =
        (Head::default(), Verifier::default(), 0.0, events);
    while left > 0 {
        let chunk = left.min(10_000);
        left -= chunk;
        let entries = append(&mut head, &stamp, vec![event.clone(); chunk]).unwrap();
        // As an auditor reads them: lines of JSON.
        let lines: Vec<String> =
            entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
        let started = Instant::now();
        for line in &lines {
            verifier.push(&serde_json::from_str(line).unwrap()).unwrap();
        }
        seconds += started.elapsed().as_secs_f64();
    }
    verifier.finish(&head).unwrap();
    rows.push(Row::new(format!("verify {events} events on one core"), seconds, "s").at_most(10.0));
}
