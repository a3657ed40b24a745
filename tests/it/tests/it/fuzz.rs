//! Every parser of what strangers send, on mutated examples: no panic, no abort, no long time, and
//! what each promises.
//!
//! It needs no tools beyond the compiler. `FUZZ_SECONDS` says for how long in all (an ordinary run
//! takes two seconds), `FUZZ_SEED` where to begin. An input that does harm is written into a file
//! whose name is shown.
//!
//! INVARIANT (bounded-work).

use contracts::{Timestamp, governance::TrustPolicy, json};
use cs_core::{
    skill::{Registry, Skill},
    warrant::{Key, Ring, verify_issued},
};
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

const SECONDS_DEFAULT: u64 = 2;
/// Longest input, in bytes: a little above that of a request.
const INPUT_BYTES_MAX: usize = 1_100_000;
/// Longest time of one input, a debug build on a busy machine in mind.
const LONGEST: Duration = Duration::from_secs(10);
/// Stack of the thread that parses: that of a worker of the server.
const STACK_BYTES: usize = 2 * 1024 * 1024;

type Parse = fn(&[u8]);

struct Target {
    name: &'static str,
    parse: Parse,
    seeds: &'static [&'static str],
    words: &'static [&'static str],
}

const JSON_WORDS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "{\"a\":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "1e999",
    "-0",
    "9007199254740993",
    "null",
    ",",
    ":",
    "\u{feff}",
];
const SCHEMA_WORDS: &[&str] = &[
    "{\"$ref\":\"#\"}",
    "{\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}",
    "\"anyOf\":",
    "\"items\":",
    "\"pattern\":\"(a+)+$\"",
    "\"properties\":{\"a\":",
    "\"$ref\":\"#/properties/a\"",
    "\"x-sensitive\":true",
    "\"unevaluatedProperties\":false",
    "[",
    "{",
    "}",
];
const DRAFT_WORDS: &[&str] = &[
    "{\"$from\":\"a\",\"path\":\"/id\"}",
    "{\"$literal\":",
    "{\"$sealed\":\"x\"}",
    "\"after\":[\"a\"]",
    "\"use\":",
    "\"when\":",
    "[",
    "{",
    "}",
];
const CEDAR_WORDS: &[&str] = &[
    "(",
    ")",
    "!",
    "-",
    "[",
    "{",
    "if true then ",
    " else ",
    " && ",
    " || ",
    "permit(principal, action, resource);",
    "when {",
    "unless {",
    "}",
    "\"",
    "/*",
    "//",
    "context.input.a",
    ".b",
    " like \"*\"",
    "@id(\"",
    " has ",
    " in ",
];
const TEXT_WORDS: &[&str] = &[".", "=", "eyJ", "AAAA", "\u{0}", "-", "_", "/", "\u{202e}", "🦀"];
const HEAD_WORDS: &[&str] =
    &["\r\n", ": ", "00-", "&", "=", "%00", "?", "a=1&a=1", "Bearer ", "\u{7f}"];

const TARGETS: &[Target] = &[
    Target {
        name: "json",
        parse: parse_json,
        seeds: &["{\"a\":[1,2.5,-3,null,true,\"x\"],\"b\":1.0}", "[]"],
        words: JSON_WORDS,
    },
    Target {
        name: "draft",
        parse: parse_draft,
        seeds: &[concat!(
            r#"{"steps":[{"id":"a","use":"payments/refund.create@^2","#,
            r#""with":{"customer":"c","amount":4200}},"#,
            r#"{"id":"b","use":"payments/refund.create","#,
            r#""with":{"customer":{"$from":"a","path":"/id"}},"after":["a"]}]}"#
        )],
        words: DRAFT_WORDS,
    },
    Target {
        name: "manifest",
        parse: parse_manifest,
        seeds: &[
            include_str!("../../../../examples/skills/payments.json"),
            include_str!("../../../../examples/skills/crm.json"),
        ],
        words: SCHEMA_WORDS,
    },
    Target {
        name: "schema",
        parse: parse_schema,
        seeds: &[
            r##"{"type":"object","properties":{"left":{"$ref":"#"},"right":{"$ref":"#"}}}"##,
            concat!(
                r##"{"$defs":{"e":{"oneOf":[{"items":{"$ref":"#/$defs/e"}},"##,
                r##"{"type":"string","pattern":"^a"}]}},"$ref":"#/$defs/e"}"##
            ),
        ],
        words: SCHEMA_WORDS,
    },
    Target {
        name: "envelope",
        parse: parse_envelope,
        seeds: &[concat!(
            r#"{"payloadType":"application/vnd.countersign.skill+json","#,
            r#""payload":"e30=","signatures":[{"sig":"AAAA"}]}"#
        )],
        words: JSON_WORDS,
    },
    Target {
        name: "policies",
        parse: parse_policies,
        seeds: &[include_str!("../../../../infra/policies/baseline.cedar")],
        words: CEDAR_WORDS,
    },
    Target {
        name: "state machine",
        parse: parse_machine,
        seeds: &[include_str!("../../../../infra/execution.asl.json")],
        words: JSON_WORDS,
    },
    Target {
        name: "warrant",
        parse: parse_warrant,
        seeds: &["eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJjb3VudGVyc2lnbiJ9.AAAA"],
        words: TEXT_WORDS,
    },
    Target {
        name: "artifact",
        parse: parse_artifact,
        seeds: &["\u{1f}\u{8b}", "name\u{0}\u{0}ustar"],
        words: TEXT_WORDS,
    },
    Target {
        name: "names",
        parse: parse_names,
        seeds: &["exe_0123456789abcdef0123456789abcdef", "sha256:00", "2026-01-01T00:00:00.000Z"],
        words: TEXT_WORDS,
    },
    Target {
        name: "trace",
        parse: parse_entry,
        seeds: &[
            "{\"seq\":1,\"type\":\"controlPlane.execution.paused\",\"prev\":\"\",\"hash\":\"\"}",
        ],
        words: JSON_WORDS,
    },
    Target {
        name: "head",
        parse: parse_head,
        seeds: &["00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", "limit=10&cursor=x"],
        words: HEAD_WORDS,
    },
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let manifest =
        serde_json::from_str(include_str!("../../../../examples/skills/payments.json")).unwrap();
    Registry::new([Arc::new(Skill::new(manifest).unwrap())])
});

fn parse_json(bytes: &[u8]) {
    if let Ok(value) = json::parse(bytes) {
        let canonical = cs_core::canonical::value_bytes(&value).unwrap();
        let again = json::parse(&canonical).unwrap();
        assert_eq!(canonical, cs_core::canonical::value_bytes(&again).unwrap());
    }
}

fn parse_draft(bytes: &[u8]) {
    if let Ok(draft) = json::parse(bytes).and_then(json::typed) {
        let _ = cs_core::plan::compile(&draft, &REGISTRY);
    }
}

fn parse_manifest(bytes: &[u8]) {
    if let Ok(manifest) = json::parse(bytes).and_then(json::typed)
        && let Ok(skill) = Skill::new(manifest)
    {
        let _ = policy::cedar_schema(&Registry::new([Arc::new(skill)]), &[]);
    }
}

fn parse_schema(bytes: &[u8]) {
    let Ok(source) = json::parse(bytes) else { return };
    if let Ok(schema) = cs_core::schema::Schema::compile(&source) {
        let deep = (0..50).fold(
            serde_json::json!("x"),
            |inner, _| serde_json::json!({ "a": inner, "left": {}, "right": [] }),
        );
        for value in [source.clone(), deep, serde_json::json!("a".repeat(10_000))] {
            let _ = schema.issues(&value, &std::collections::BTreeSet::new(), "");
        }
        let _ = cs_core::schema_fit::mismatch(&schema, &source, &schema, &source);
    }
}

fn parse_envelope(bytes: &[u8]) {
    if let Ok(value) = json::parse(bytes) {
        let found = cs_core::trust::examine(&value, &TrustPolicy::default(), Timestamp::from_ms(0));
        assert!(!found.signature_verified && !found.issues.is_empty());
    }
}

fn parse_policies(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let issues = policy::validate(&text, &REGISTRY, &[]);
    if issues.is_empty() {
        let _ = policy::CompiledPolicySet::new(&text, "1", &REGISTRY);
    }
}

fn parse_machine(bytes: &[u8]) {
    let _ = local::asl::Machine::parse(&String::from_utf8_lossy(bytes));
}

fn parse_warrant(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(verify_issued(&text, &Ring::new(Key::new(&[7; 32])).key_set()).is_err());
}

fn parse_artifact(bytes: &[u8]) {
    for file in cs_core::artifact::files(bytes).unwrap_or_default() {
        assert!(file.path.split('/').all(|part| !part.is_empty() && part != ".."));
    }
}

fn parse_names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = text.parse::<contracts::ExecutionId>();
    let _ = text.parse::<contracts::WorkspaceId>();
    let _ = text.parse::<contracts::StepId>();
    let _ = text.parse::<contracts::Digest>();
    let _ = text.parse::<Timestamp>();
    let near = cs_core::suggest::nearest(&text, ["refund.create", &text].into_iter());
    assert!(near.len() < 400);
    assert!(contracts::text::json_bytes(&contracts::text::clip(text.into_owned(), 100)) <= 100);
}

fn parse_entry(bytes: &[u8]) {
    if let Ok(value) = json::decode::<serde_json::Value>(bytes) {
        let _ = cs_core::trace::Verifier::default().push(&value);
        let _ = serde_json::from_value::<contracts::event::Entry>(value);
    }
}

fn parse_head(bytes: &[u8]) {
    let mut headers = http::HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_bytes(bytes) {
        headers.insert("authorization", value.clone());
        headers.insert("traceparent", value);
    }
    let _ = edge::bearer(&headers);
    let _ = edge::is_traceparent(&String::from_utf8_lossy(bytes));
}

/// A small generator: the same seed, the same inputs.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(len + 1), self.below(len + 1));
        a.min(b)..a.max(b)
    }

    fn input(&mut self, target: &Target) -> Vec<u8> {
        let mut bytes = target.seeds[self.below(target.seeds.len())].as_bytes().to_vec();
        for _ in 0..=self.below(6) {
            let place = self.below(bytes.len() + 1);
            let word = target.words[self.below(target.words.len())].as_bytes();
            match self.below(7) {
                0 => {
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte ^= 1 << self.below(8);
                    }
                }
                1 => drop(bytes.splice(place..place, word.iter().copied())),
                2 => {
                    // Very often the same: what is nested, or wide.
                    let times = [3, 70, 200, 3_000, 100_000][self.below(5)];
                    bytes.splice(place..place, word.repeat(times));
                }
                3 => drop(bytes.drain(self.range(bytes.len()))),
                4 => {
                    let copied = bytes[self.range(bytes.len())].to_vec();
                    bytes.splice(place..place, copied);
                }
                5 => {
                    let other = target.seeds[self.below(target.seeds.len())].as_bytes();
                    let part = other[self.range(other.len())].to_vec();
                    bytes.splice(place..place, part);
                }
                _ => {
                    let range = self.range(bytes.len());
                    bytes.splice(range, word.iter().copied());
                }
            }
            bytes.truncate(INPUT_BYTES_MAX);
        }
        bytes
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fuzz(target: &'static Target, time: Duration, seed: u64) -> usize {
    let (begun, mut dice, mut count) = (Instant::now(), Rng(seed | 1), 0);
    let file =
        std::env::temp_dir().join(format!("countersign-fuzz-{}", target.name.replace(' ', "-")));
    while begun.elapsed() < time {
        let input = dice.input(target);
        // Written before it is tried where runs are long: an abort leaves it there.
        if time > Duration::from_secs(1) {
            std::fs::write(&file, &input).unwrap();
        }
        let at = Instant::now();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (target.parse)(&input)));
        let took = at.elapsed();
        if outcome.is_err() || took > LONGEST {
            std::fs::write(&file, &input).unwrap();
            panic!(
                "{}: {} bytes in {} ({took:?}, panicked: {})",
                target.name,
                input.len(),
                file.display(),
                outcome.is_err()
            );
        }
        count += 1;
    }
    let _ = std::fs::remove_file(&file);
    count
}

#[test]
fn bounded_work_every_parser_survives_what_is_sent() {
    let (seconds, seed) =
        (number("FUZZ_SECONDS", SECONDS_DEFAULT), number("FUZZ_SEED", 0x5eed_c0de));
    let time = Duration::from_millis(seconds * 1_000 / TARGETS.len() as u64);
    for target in TARGETS {
        let worker = std::thread::Builder::new().stack_size(STACK_BYTES);
        let count = worker.spawn(move || fuzz(target, time, seed)).unwrap().join().unwrap();
        println!("{:>14}: {count} inputs", target.name);
        assert!(count > 0);
    }
}
