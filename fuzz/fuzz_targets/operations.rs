//! Sequences of operations on a store with two handles, compared with a model. `tests/operations/` checks what must
//! hold; the replay of the corpus and a state machine use it too.
#![no_main]

#[path = "../../tests/operations/mod.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    operations::fuzz_operations(bytes);
});
