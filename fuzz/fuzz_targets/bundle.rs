//! Bundles: signatures of models, and the certificates in them. `catalog_core::testing` checks what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    catalog_core::testing::fuzz_bundle(bytes);
});
