//! Sequences of operations on a store with two handles, beside a model. What must hold is in `tests/operations/`, which the
//! replay of the corpus and a state machine use too.
#![no_main]

#[path = "../../tests/operations/mod.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    operations::fuzz_operations(bytes);
});
