//! What servers say. What must hold is in `catalog_core::testing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    catalog_core::testing::fuzz_network(bytes);
});
