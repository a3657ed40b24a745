//! A line of a trace verifies or is named.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = serde_json::from_slice(bytes) {
        let _ = cs_core::trace::Verifier::default().push(&value);
        let _ = serde_json::from_value::<contracts::event::Entry>(value);
    }
});
