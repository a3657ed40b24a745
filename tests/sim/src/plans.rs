//! The simulated skill, and the drafts that its agent proposes.

use crate::{Shared, invariants::InvariantLog, ports::zero};
use contracts::event::Purpose;
use serde_json::{Value, json};

pub(crate) const SKILL: &str = "tool";
pub(crate) const VERSION: &str = "1.0.0";

/// What undoes an operation: another one, and where each field of its input comes from.
pub(crate) type Undo = (&'static str, &'static [(&'static str, &'static str)]);

/// One operation.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) effect: &'static str,
    pub(crate) tier: &'static str,
    pub(crate) undo: Option<Undo>,
    pub(crate) probe: Option<&'static str>,
    /// `major` or `minor` where it moves money.
    pub(crate) money: Option<&'static str>,
}

const fn plain(name: &'static str, effect: &'static str, tier: &'static str) -> Operation {
    Operation { name, effect, tier, undo: None, probe: None, money: None }
}

const IDEMPOTENT: &str = "idempotent";
const ONCE: &str = "non_idempotent";
const AMOUNTS: &[(&str, &str)] = &[
    ("amount", "/input/amount"),
    ("currency", "/input/currency"),
    ("to", "/input/to"),
    ("from", "/output/id"),
];

pub(crate) const OPERATIONS: [Operation; 18] = [
    plain("read", "read", "low"),
    plain("quote", "read", "low"),
    plain("probe", "read", "low"),
    plain("unput", IDEMPOTENT, "low"),
    plain("unbook", IDEMPOTENT, "low"),
    plain("recall", IDEMPOTENT, "high"),
    plain("claw", ONCE, "low"),
    // Its tool always refuses.
    plain("doom", IDEMPOTENT, "low"),
    plain("pay", ONCE, "low"),
    plain("grave", IDEMPOTENT, "high"),
    plain("medium", IDEMPOTENT, "medium"),
    Operation {
        undo: Some((
            "unput",
            &[
                ("from", "/output/id"),
                ("body", "/output/body"),
                ("hidden", "/output/hidden"),
                ("n", "/input/n"),
            ],
        )),
        ..plain("put", IDEMPOTENT, "low")
    },
    // What undoes it needs a reference that its tool does not always give.
    Operation {
        undo: Some(("unbook", &[("ref", "/output/ref")])),
        ..plain("book", IDEMPOTENT, "low")
    },
    Operation {
        undo: Some(("recall", &[("from", "/output/id")])),
        ..plain("ship", IDEMPOTENT, "low")
    },
    Operation { undo: Some(("claw", &[("from", "/output/id")])), ..plain("lend", ONCE, "low") },
    Operation { probe: Some("probe"), ..plain("paid", ONCE, "low") },
    Operation { money: Some("minor"), ..plain("tip", IDEMPOTENT, "low") },
    Operation {
        undo: Some(("unspend", AMOUNTS)),
        money: Some("major"),
        ..plain("spend", IDEMPOTENT, "low")
    },
];
const UNSPEND: Operation =
    Operation { money: Some("major"), ..plain("unspend", IDEMPOTENT, "low") };

/// An operation by its name, with or without its skill.
pub(crate) fn operation(name: &str) -> &'static Operation {
    let name = name.rsplit('/').next().unwrap_or(name);
    if name == UNSPEND.name {
        return &UNSPEND;
    }
    OPERATIONS.iter().find(|operation| operation.name == name).unwrap()
}

/// What a step of this operation calls for a purpose.
pub(crate) fn called(name: &str, purpose: Purpose) -> Option<&'static Operation> {
    let own = operation(name);
    match purpose {
        Purpose::Run => Some(own),
        Purpose::Probe => own.probe.map(operation),
        Purpose::Compensate => own.undo.map(|(undo, _)| operation(undo)),
    }
}

/// Part of an idempotency key that says what for.
pub(crate) const fn suffix(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Run => "",
        Purpose::Probe => "probe",
        Purpose::Compensate => "compensate",
    }
}

pub(crate) fn manifest() -> Value {
    let operations: Vec<Value> = OPERATIONS.iter().chain([&UNSPEND]).map(specification).collect();
    json!({ "schemaVersion": "1.0.0", "skill": { "key": SKILL, "version": VERSION },
        "publisher": { "id": "sim", "provenance": "sim" }, "artifact": { "digest": zero() },
        "operations": operations })
}

fn object(properties: Value, required: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

// One operation as the manifest states it.
fn specification(one: &Operation) -> Value {
    let (input, output) = schemas(one);
    let mut spec = json!({ "key": one.name, "title": one.name,
        "inputSchema": input, "outputSchema": output,
        "effect": one.effect, "riskTier": one.tier, "timeoutSeconds": 30,
        "labels": { "accepts": [] },
        "binding": { "kind": "http", "url": format!("http://tool/{}", one.name) },
        "retry": { "maxAttempts": if one.effect == ONCE { 1 } else { 6 },
            "backoffSeconds": 1, "maxBackoffSeconds": 8 } });
    if one.name == "recall" {
        // What it acts on is known once the step has run: people are asked then.
        spec["resource"] = "/from".into();
    }
    if let Some(unit) = one.money {
        spec["blastRadius"] = json!({ "recipients": "/to",
            "money": { "amount": "/amount", "currency": "/currency", "unit": unit } });
    }
    if let Some((undo, fields)) = one.undo {
        let fields: serde_json::Map<String, Value> = fields
            .iter()
            .map(|(field, pointer)| ((*field).to_owned(), (*pointer).into()))
            .collect();
        spec["compensate"] = json!({ "operation": undo, "input": fields });
    }
    if let Some(probe) = one.probe {
        spec["probe"] = probe.into();
    }
    spec
}

// Its input and its output.
fn schemas(one: &Operation) -> (Value, Value) {
    let card = json!({ "type": "string", "x-sensitive": true });
    let exact = json!({ "type": ["number", "string"] });
    let moved = |amount: Value| {
        let to = json!({ "amount": amount, "currency": { "type": "string" }, "to": {}, "from": {},
            "card": card });
        object(to, json!([]))
    };
    let input = match (one.money, one.name) {
        (Some("major"), _) => moved(exact.clone()),
        (Some(_), _) => moved(json!({ "type": "integer" })),
        (None, "unbook") => object(json!({ "ref": { "type": "string" } }), json!(["ref"])),
        (None, "probe") => {
            object(json!({ "idempotencyKey": { "type": "string" } }), json!(["idempotencyKey"]))
        }
        (None, _) => object(
            json!({ "n": {}, "from": {}, "also": {}, "body": {}, "hidden": {}, "card": card }),
            json!([]),
        ),
    };
    let output = match one.name {
        "probe" => {
            object(json!({ "found": { "type": "boolean" }, "output": {} }), json!(["found"]))
        }
        "quote" => object(
            json!({ "id": { "type": "string" }, "amount": exact,
                "currency": { "type": "string" }, "to": {} }),
            json!(["id"]),
        ),
        _ => object(
            json!({ "id": { "type": "string" }, "body": {}, "hidden": { "x-sensitive": true },
                "ref": { "type": "string" } }),
            json!(["id"]),
        ),
    };
    (input, output)
}

/// Values that look like words of some language of ours; `known`: digests and commitments that were
/// seen.
pub(crate) fn marker(shared: &Shared, known: &[String]) -> Value {
    let digest = match known {
        [] => zero().to_string(),
        known => known[shared.pick(known.len())].clone(),
    };
    let one = match shared.pick(12) {
        0 => json!({ "$from": "s0", "path": "/hidden" }),
        1 => json!({ "$from": "s1" }),
        2 => json!({ "$sealed": digest }),
        3 => json!({ "$blob": digest }),
        4 => json!({ "$literal": { "$from": "s0" } }),
        5 => json!({ "$input": "/card" }),
        6 => json!({ "value": null, "seals": { "": digest } }),
        7 => {
            json!({ "value": { "body": null }, "seals": { "/body": digest }, "closed": ["/body"] })
        }
        8 => json!({ "salt": "00", "value": "vault#acme#out#s0" }),
        9 => digest.into(),
        10 => {
            json!({ "from": "s0", "path": "/id",
                "wires": [{ "to": "", "from": "s0", "path": "/hidden" }] })
        }
        _ => {
            json!({ "$from": "s0", "path": "/id",
                "v": ["vault#acme", { "a#head": 1.0, "blob": 1 }, 1e9, -0.5] })
        }
    };
    match shared.pick(4) {
        0 => json!([one, { "deep": { "$from": "s2" } }, null]),
        1 => json!({ "": one, "/": "~1", "$": null }),
        _ => one,
    }
}

/// What a quote says: a fair price, or what no budget can count.
pub(crate) fn quote(shared: &Shared, invariants: &InvariantLog) -> Value {
    let mut quote = json!({ "id": "q", "amount": price(shared), "currency": "EUR", "to": "a@x" });
    let others: [(&str, Value, Option<&'static str>); 17] = [
        ("amount", json!(0.1 + 0.2), Some("amount: not exact")),
        ("amount", json!("1.005"), Some("amount: not exact")),
        ("amount", json!(-5), Some("amount: below zero")),
        ("amount", json!("-0.01"), Some("amount: below zero")),
        ("amount", json!("12,50"), Some("amount: not a decimal")),
        ("amount", json!("1e3"), Some("amount: not a decimal")),
        ("amount", json!(""), Some("amount: not a decimal")),
        ("amount", json!(0.005), Some("amount: not exact")),
        ("amount", json!(900), None),
        ("amount", Value::Null, Some("amount: absent")),
        ("currency", json!("XTS"), Some("amount: of no known currency")),
        ("currency", json!("bitcoin"), Some("amount: of no known currency")),
        ("currency", json!("eur"), None),
        ("currency", json!("USD"), None),
        ("to", json!("a@x, b@x; c@x"), Some("recipients: many in one text")),
        ("to", json!(["a@x b@x", { "cc": "c@x" }]), Some("recipients: many in one text")),
        ("to", Value::Null, Some("recipients: not countable")),
    ];
    if shared.pick(2) == 0 {
        let (field, value, storm) = &others[shared.pick(others.len())];
        if *field == "amount" && value.is_null() {
            quote.as_object_mut().unwrap().remove("amount");
        } else {
            quote[*field] = value.clone();
        }
        storm.iter().for_each(|storm| invariants.storm(storm));
    }
    quote
}

fn price(shared: &Shared) -> Value {
    match shared.pick(3) {
        0 => json!(1 + shared.pick(40)),
        1 => json!(format!("{}.{:02}", shared.pick(40), shared.pick(100))),
        _ => json!(shared.pick(160) as f64 / 4.0),
    }
}

/// A draft, and whether it holds nothing sensitive, so that its plan is the same each time.
pub(crate) fn draft(shared: &Shared, invariants: &InvariantLog) -> (Value, bool) {
    const USES: [&str; 24] = [
        "read", "read", "read", "put", "put", "put", "book", "book", "ship", "lend", "pay", "paid",
        "paid", "paid", "paid", "grave", "medium", "quote", "quote", "spend", "spend", "spend",
        "spend", "tip",
    ];
    let count = 1 + shared.pick(9);
    let open = shared.pick(4) == 0;
    let mut steps: Vec<Value> = Vec::new();
    let mut quotes: Vec<String> = Vec::new();
    let mut moves = false;
    for index in 0..count {
        let name = USES[shared.pick(USES.len())];
        let (mut with, mut step) =
            (json!({}), json!({ "id": format!("s{index}"), "use": format!("{SKILL}/{name}") }));
        let from = (index > 0).then(|| format!("s{}", shared.pick(index)));
        if operation(name).money.is_some() {
            moves = true;
            with = money(shared, invariants, name, &quotes);
            if let Some(from) = from.filter(|_| shared.pick(3) == 0) {
                step["after"] = json!([from]);
            }
        } else {
            with["n"] = index.into();
            if !open {
                with["card"] = format!("S3CRET-{index}").into();
            }
            if shared.pick(6) == 0 {
                invariants.storm("marker: in a draft's literal");
                with["also"] = json!({ "$literal": marker(shared, &[]) });
            }
            if let Some(from) = from.filter(|_| shared.pick(3) > 0) {
                if shared.pick(4) > 0 {
                    let quote = quotes.contains(&from);
                    let paths: &[&str] = if quote {
                        &["/id", ""]
                    } else {
                        &["/id", "/body", "/body", "/hidden", "", "/body/$from"]
                    };
                    with["from"] =
                        json!({ "$from": from, "path": paths[shared.pick(paths.len())] });
                } else {
                    step["after"] = json!([from]);
                }
                if shared.pick(6) == 0 {
                    step["when"] =
                        json!({ "$from": from, "path": "/id", "exists": shared.pick(3) > 0 });
                }
            }
        }
        if name == "quote" {
            quotes.push(format!("s{index}"));
        }
        step["with"] = with;
        steps.push(step);
    }
    let doomed = shared.pick(3) == 0;
    if doomed {
        let before: Vec<String> =
            (0..count).filter(|_| shared.pick(3) > 0).map(|index| format!("s{index}")).collect();
        steps.push(
            json!({ "id": "doom", "use": format!("{SKILL}/doom"), "with": {}, "after": before }),
        );
    }
    let budget = budget(shared, &steps, moves);
    let mut draft = json!({ "steps": steps });
    if doomed || shared.pick(3) == 0 {
        draft["onFailure"] = "compensate".into();
    }
    if !budget.is_empty() {
        draft["budget"] = budget.into();
    }
    (draft, open)
}

// `moves`: whether any step moves money.
fn budget(shared: &Shared, steps: &[Value], moves: bool) -> serde_json::Map<String, Value> {
    let mut budget = serde_json::Map::new();
    if shared.pick(3) == 0 {
        // Mostly just enough for the steps themselves, and not for undoing them.
        let writes = steps
            .iter()
            .filter(|step| operation(step["use"].as_str().unwrap()).effect != "read")
            .count();
        budget.insert("writes".into(), (writes + shared.pick(2)).into());
    }
    if moves && shared.pick(3) == 0 {
        budget.insert("money".into(), json!({ "EUR": 6_000, "USD": 6_000 }));
    }
    if moves && shared.pick(4) == 0 {
        budget.insert("recipients".into(), json!(4));
    }
    budget
}

// The input of what moves money: said, or as an earlier quote will say.
fn money(shared: &Shared, invariants: &InvariantLog, name: &str, quotes: &[String]) -> Value {
    let minor = operation(name).money == Some("minor");
    let amount = |shared: &Shared| if minor { json!(100 * shared.pick(30)) } else { price(shared) };
    let mut with = json!({ "amount": amount(shared), "currency": "EUR", "to": "a@x" });
    let wires = shared.pick(5) > 0;
    match quotes.len() {
        0 => {}
        some if wires && !minor => {
            let quote = &quotes[shared.pick(some)];
            for field in ["amount", "currency", "to"] {
                if field == "amount" || shared.pick(3) > 0 {
                    with[field] = json!({ "$from": quote, "path": format!("/{field}") });
                }
            }
            return with;
        }
        _ => {}
    }
    if shared.pick(5) == 0 {
        let map = with.as_object_mut().unwrap();
        let storm = match shared.pick(5) {
            0 => map.remove("amount").map(|_| "amount: absent"),
            1 => map.remove("to").map(|_| "recipients: not countable"),
            2 => map.insert("amount".into(), json!(-100)).map(|_| "amount: below zero"),
            3 => {
                map.insert("currency".into(), json!("ECU")).map(|_| "amount: of no known currency")
            }
            _ => map
                .insert("to".into(), json!("a@x b@x,c@x"))
                .map(|_| "recipients: many in one text"),
        };
        storm.into_iter().for_each(|storm| invariants.storm(storm));
    }
    with
}
