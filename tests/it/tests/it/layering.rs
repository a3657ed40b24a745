//! Dependencies point one way (DESIGN 13); the arrows are data here.

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

const ARROWS: &[(&str, &[&str])] = &[
    ("contracts", &[]),
    // What calls a control plane: the command line, the benchmarks, and no part of it.
    ("client", &["contracts"]),
    // What a tool verifies with: it needs nothing else of ours.
    ("warrant", &[]),
    ("core", &["contracts", "warrant"]),
    // What an outsider checks evidence with, without a control plane.
    ("audit", &["contracts", "core"]),
    ("policy", &["contracts", "core"]),
    ("store", &["contracts", "core"]),
    ("engine", &["contracts", "core", "policy", "store"]),
    ("deliver", &["contracts", "core", "store", "engine"]),
    // How pages look. It knows values, and nothing that is asked or stored.
    ("pages", &["contracts", "core"]),
    ("edge", &["contracts", "engine", "pages"]),
    ("host", &["contracts", "store"]),
    ("tools", &["contracts", "core", "engine"]),
    // Who signs in, by the outbound rules of tools.
    ("oidc", &["contracts", "engine", "tools"]),
    ("aws", &["contracts", "core", "store", "engine", "edge", "tools", "host", "oidc"]),
    // The binary alone uses `aws`; without the feature `lambda` it is not there.
    ("fn-*", &["contracts", "store", "engine", "deliver", "pages", "edge", "aws"]),
    (
        "local",
        &[
            "contracts",
            "core",
            "policy",
            "store",
            "engine",
            "deliver",
            "edge",
            "tools",
            "host",
            "oidc",
            "fn-*",
        ],
    ),
];

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    let name = if name.starts_with("fn-") { "fn-*" } else { name };
    ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

#[test]
fn dependencies_point_one_way() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let mut ours: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        let name = package.name.trim_start_matches("countersign-").to_owned();
        let dependencies = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal);
        let all: BTreeSet<String> =
            dependencies.map(|dependency| dependency.name.clone()).collect();
        if let Some(allowed) = allowed(&name) {
            for inner in all.iter().filter_map(|name| name.strip_prefix("countersign-")) {
                let kind = if inner.starts_with("fn-") { "fn-*" } else { inner };
                assert!(allowed.contains(&kind), "{name} must not depend on {inner}");
            }
        }
        ours.insert(name, all);
    }
    for pure in ["contracts", "core", "policy"] {
        for runtime in ["tokio", "axum", "reqwest", "getrandom", "rand", "uuid", "async-trait"] {
            assert!(
                !ours[pure].contains(runtime),
                "{pure} is pure and must not depend on {runtime}"
            );
        }
    }
    for name in ours["engine"].iter() {
        assert!(
            !["tokio", "axum", "http", "reqwest"].contains(&name.as_str()),
            "the engine names no runtime or transport: {name}"
        );
    }
    for (package, all) in &ours {
        let vendor = |name: &&String| name.starts_with("aws") || name.starts_with("lambda_");
        let named: Vec<_> = all.iter().filter(vendor).collect();
        assert!(
            package.starts_with("aws") || named.is_empty(),
            "only shared/aws may name AWS's crates: {package} names {named:?}"
        );
    }
}

#[test]
fn functions_know_the_engine_and_only_their_binaries_know_aws() {
    for folder in std::fs::read_dir(crate::generated::root().join("functions")).unwrap() {
        let folder = folder.unwrap().path();
        let library = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(!library.contains("aws::"), "{}", folder.display());
        let main = std::fs::read_to_string(folder.join("src/main.rs")).unwrap();
        assert!(main.lines().count() <= 12, "{}: a main is a few lines of glue", folder.display());
    }
}

/// Each endpoint of the table is served by the function that it names, once, and nothing else is.
#[test]
fn every_endpoint_is_served_once_by_its_function() {
    let functions = [
        ("submit", fn_submit::routes()),
        ("compile", fn_compile::routes()),
        ("verify", fn_verify::routes()),
        ("control", fn_control::routes()),
        ("approve", fn_approve::routes()),
        ("query", fn_query::routes()),
        ("console", fn_console::routes()),
        ("skill", fn_skill::routes()),
        ("access", fn_access::routes()),
        ("deliver", fn_deliver::routes()),
        ("channel", fn_channel::routes()),
        ("export", fn_export::routes()),
    ];
    let served = functions.iter().flat_map(|(function, routes)| {
        routes.served().iter().map(move |endpoint| (*function, endpoint.name))
    });
    let mut served: Vec<_> = served.collect();
    let offered = contracts::endpoint::all().filter(|endpoint| endpoint.offered);
    let mut wanted: Vec<_> = offered.map(|endpoint| (endpoint.function, endpoint.name)).collect();
    served.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(served, wanted);
    let mut whole: Vec<_> = local::routes()
        .served()
        .iter()
        .map(|endpoint| (endpoint.function, endpoint.name))
        .collect();
    whole.sort_unstable();
    assert_eq!(whole, wanted, "one process serves what the functions serve");
}

/// Where JSON may be read without `contracts::json`: in itself, and what this control plane wrote
/// itself.
const READERS: &[&str] = &[
    "shared/contracts/src/json.rs",
    "shared/warrant/src/lib.rs",
    "shared/store/src/document.rs",
    "shared/engine/src/run/vault.rs",
    "shared/engine/src/evidence/workspace_log.rs",
    "shared/aws/src/kms.rs",
    // Borrowed, for speed; serde_json ends at 128 levels.
    "shared/audit/src/events.rs",
    "shared/audit/src/bundle.rs",
];

/// Foreign bytes become JSON in one place, where nesting is counted first.
#[test]
fn bounded_work_json_is_read_by_one_reader() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut open: Vec<_> =
        ["shared", "functions", "cli/src"].map(|folder| root.join(folder)).into();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".rs")
                && name.contains("/src/")
                && !name.ends_with("/tests.rs")
                && !name.contains("/tests/")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let reads = ["from_slice", "from_str", "from_reader"]
                    .map(|name| format!("serde_json::{name}"));
                if reads.iter().any(|read| code.contains(read)) && !READERS.contains(&name.as_str())
                {
                    found.push(name);
                }
            }
        }
    }
    assert!(found.is_empty(), "read with `contracts::json::parse` or `decode`: {found:?}");
}

/// There is one writer: use cases hand over what is to be written.
#[test]
fn only_the_store_commits() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut open: Vec<_> =
        ["shared/engine/src", "shared/deliver/src", "functions"].map(|at| root.join(at)).into();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for call in [".transact(", "self.ports.table", "self.ports.blobs", "ports().table"]
                {
                    assert!(!text.contains(call), "{}: `{call}`", path.display());
                }
            }
        }
    }
}
