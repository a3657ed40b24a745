//! An archive is a list of plain files, or refused.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for file in cs_core::artifact::files(bytes).unwrap_or_default() {
        assert!(file.path.split('/').all(|part| !part.is_empty() && part != ".."));
    }
});
