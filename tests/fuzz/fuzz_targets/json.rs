//! Whatever is accepted has a canonical form, and reads back as itself.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = contracts::json::parse(bytes) {
        let canonical = cs_core::canonical::value_bytes(&value).unwrap();
        let again = contracts::json::parse(&canonical).unwrap();
        assert_eq!(canonical, cs_core::canonical::value_bytes(&again).unwrap());
    }
});
