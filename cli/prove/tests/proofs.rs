//! What the prover proves of the baseline, and what it refutes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const SCHEMA: &str = r#"{ "": { "entityTypes": {
    "Actor": { "shape": { "type": "Record", "attributes": { "kind": { "type": "String" },
        "grants": { "type": "Set", "element": { "type": "String" } } } } }, "Target": {} },
  "actions": { "mail": {}, "mail/send": { "memberOf": [{ "id": "mail" }], "appliesTo": {
    "principalTypes": ["Actor"], "resourceTypes": ["Target"],
    "context": { "type": "Record", "attributes": {
      "mode": { "type": "String" }, "tier": { "type": "String" },
      "effect": { "type": "String" }, "hour": { "type": "Long" },
      "confidence": { "type": "Extension", "name": "decimal", "required": false },
      "input": { "type": "Record", "attributes": {
        "amount": { "type": "Long", "required": false } } } } } } } } } }"#;

fn prove(candidate: &str, than: Option<&str>) -> (i32, String) {
    prove_with(candidate, than.map(|than| ("--than", than)))
}

fn prove_with(candidate: &str, other: Option<(&str, &str)>) -> (i32, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let own = COUNT.fetch_add(1, Ordering::SeqCst);
    let folder =
        std::env::temp_dir().join(format!("countersign-proofs-{}-{own}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-prove"));
    command.arg("--schema").arg(file("schema.json", SCHEMA));
    if let Some((flag, set)) = other {
        command.arg(flag).arg(file("other.cedar", set));
    }
    let done = command.arg(file("candidate.cedar", candidate)).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.code().unwrap(), text)
}

#[test]
fn the_baseline_is_proven_and_what_loosens_it_refuted() {
    let baseline = std::fs::read_to_string(root().join("infra/policies/baseline.cedar")).unwrap();
    let (code, text) = prove(&baseline, Some(&baseline));
    assert!(code == 0 && text.contains("high risk is never autonomous"), "{text}");
    let tighter =
        format!("{baseline}\nforbid (principal, action, resource) when {{ context.hour > 18 }};");
    assert_eq!(prove(&tighter, Some(&baseline)).0, 0);
    let (code, text) = prove(&baseline, Some(&tighter));
    assert!(code == 1 && text.contains("more is permitted than before"), "{text}");
    let careless = format!(
        "{baseline}\npermit (principal, action, resource) when {{ context.mode == \"autonomous\" \
            }};"
    );
    let (code, text) = prove(&careless, None);
    assert!(code == 1 && text.contains("high risk is permitted without people"), "{text}");
    let erring = format!(
        "{baseline}\n@id(\"sum\") forbid (principal, action, resource) when {{ context.input has \
            amount && context.input.amount + 1 > 5 }};"
    );
    let (code, text) = prove(&erring, None);
    assert!(code == 1 && text.contains("`sum` errs"), "{text}");
}

/// A mandate within what people may approve is proven; one that covers what they may not is refuted
/// by a request that shows it.
#[test]
fn a_mandate_is_proven_to_cover_no_more_than_people_could_approve() {
    let baseline = std::fs::read_to_string(root().join("infra/policies/baseline.cedar")).unwrap();
    let set = format!(
        "{baseline}\n@id(\"cap\") forbid (principal, action, resource) when {{ \
            context.input has amount && context.input.amount > 500 }};"
    );
    let mandate = |when: &str| {
        format!("permit (principal, action == Action::\"mail/send\", resource) when {{ {when} }};")
    };
    let sure = "!(context has confidence) && context.tier == \"low\"";
    let small = format!("{sure} && context.input has amount && context.input.amount <= 50");
    let (code, text) = prove_with(&set, Some(("--mandate", &mandate(&small))));
    assert!(code == 0 && text.contains("nothing that people could not approve"), "{text}");
    let large = small.replace("<= 50", "<= 501");
    let (code, text) = prove_with(&set, Some(("--mandate", &mandate(&large))));
    assert!(code == 1 && text.contains("covers what people could not approve"), "{text}");
    assert!(text.contains("501"), "the request that shows it: {text}");
    // What is not decided by people is not looked at.
    let alone = mandate("context.mode == \"autonomous\" && context.tier == \"high\"");
    assert_eq!(prove_with(&set, Some(("--mandate", &alone))).0, 0);
}
