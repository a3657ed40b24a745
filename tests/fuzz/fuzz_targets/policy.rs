//! A policy text is read or refused, and validated without a panic.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let registry = cs_core::skill::Registry::default();
    let _ = policy::CompiledPolicySet::new(text, "1", &registry);
    let _ = policy::validate(text, &registry, &[]);
});
