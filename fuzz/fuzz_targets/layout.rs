//! Paths of a root. `catalog_core::testing` checks what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    catalog_core::testing::fuzz_layout(bytes);
});
