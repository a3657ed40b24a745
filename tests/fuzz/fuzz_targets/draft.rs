//! The compiler refuses or compiles; it never panics.
#![no_main]
use cs_core::skill::{Registry, Skill};
use std::sync::{Arc, LazyLock};
static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let manifest = include_str!("../../../examples/skills/payments.json");
    let manifest = serde_json::from_str(manifest).unwrap();
    Registry::new([Arc::new(Skill::new(manifest).unwrap())])
});
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(draft) = contracts::json::parse(bytes).and_then(contracts::json::typed) {
        let _ = cs_core::plan::compile(&draft, &REGISTRY);
    }
});
