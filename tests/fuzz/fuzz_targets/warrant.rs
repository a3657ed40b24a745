//! No bytes but ours are a warrant.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    assert!(cs_core::warrant::Key::new(&[7; 32]).verify(text, 0).is_err());
});
