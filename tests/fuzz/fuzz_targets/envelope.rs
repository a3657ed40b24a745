//! No bytes but ours are a signed manifest.
#![no_main]
use contracts::{Timestamp, governance::TrustPolicy};
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = contracts::json::parse(bytes) {
        let found = cs_core::trust::examine(&value, &TrustPolicy::default(), Timestamp::from_ms(0));
        assert!(!found.signature_verified && !found.issues.is_empty());
    }
});
