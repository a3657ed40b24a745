//! A manifest is a skill or a list of issues.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = contracts::json::parse(bytes).and_then(contracts::json::typed) {
        let _ = cs_core::skill::Skill::new(manifest);
    }
});
