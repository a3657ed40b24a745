//! No bytes but ours are a warrant.
#![no_main]
use cs_core::warrant::{Key, Ring, verify_issued};
libfuzzer_sys::fuzz_target!(|text: &str| {
    assert!(verify_issued(text, &Ring::new(Key::new(&[7; 32])).key_set()).is_err());
});
