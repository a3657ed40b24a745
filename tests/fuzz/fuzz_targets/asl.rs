//! A state machine is walkable or refused.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = local::asl::Machine::parse(text);
});
