//! Runs this crate's stores against the conformance suite, and the suite against broken stores.

#![allow(clippy::unwrap_used)]

mod broken;

use std::panic::{AssertUnwindSafe, catch_unwind};

use catalog_core::testing::{MemoryCatalog, Operation, catalog_store_conformance, catalog_store_model};
use catalog_core::{CatalogEntry, CatalogStore, Digest, Durability, FsCatalog, LifecycleState, Result};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use rstest::rstest;

use broken::{Broken, Fault, Fault::*};

#[test]
fn the_memory_catalog_conforms() {
    catalog_store_conformance(MemoryCatalog::default);
}

// Red when `Index::get` lower-cases the id.
#[test]
fn the_catalog_on_disk_conforms() {
    catalog_store_conformance(OnDisk::new);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_catalog_follows_the_model(operations in operations()) {
        catalog_store_model(&MemoryCatalog::default(), &operations);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_catalog_on_disk_follows_the_model(operations in operations()) {
        catalog_store_model(&OnDisk::new(), &operations);
    }
}

/// A catalog on disk, and the folder that contains it.
struct OnDisk(FsCatalog, #[allow(dead_code)] tempfile::TempDir);

impl OnDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        OnDisk(FsCatalog::new(dir.path()).expect("it is empty").with_durability(Durability::Relaxed), dir)
    }
}

impl CatalogStore for OnDisk {
    fn get(&self, id: &str) -> Result<Option<CatalogEntry>> {
        self.0.get(id)
    }

    fn put(&self, entry: &CatalogEntry) -> Result<()> {
        self.0.put(entry)
    }

    fn set_state(&self, id: &str, state: LifecycleState) -> Result<()> {
        self.0.set_state(id, state)
    }

    fn list(&self) -> Result<Vec<CatalogEntry>> {
        self.0.list()
    }

    fn delete(&self, id: &str) -> Result<bool> {
        self.0.delete(id)
    }
}

/// Few ids, so that most operations meet an entry, and some that are invalid.
fn id() -> impl Strategy<Value = String> {
    const IDS: &[&str] = &["a", "A", "b", "..", "../x", "/abs", "é", "e\u{301}", "a.", "hf:org/repo", "", "a\n"];
    prop_oneof![9 => select(IDS).prop_map(String::from), 1 => ".{1,12}"]
}

fn state() -> impl Strategy<Value = LifecycleState> {
    select(&[LifecycleState::Active, LifecycleState::Retired][..])
}

fn entry() -> impl Strategy<Value = CatalogEntry> {
    let digest = any::<Option<u8>>().prop_map(|seed| seed.map(|seed| Digest::sha256_of(&[seed])));
    (id(), 0..100, state(), digest, any::<Option<u64>>()).prop_map(|(id, n, lifecycle, digest, last_verified_ms)| {
        CatalogEntry { id, local_path: format!("models/{n}.gguf").into(), lifecycle, digest, last_verified_ms }
    })
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        3 => id().prop_map(Operation::Get),
        4 => entry().prop_map(Operation::Put),
        2 => (id(), state()).prop_map(|(id, state)| Operation::SetState(id, state)),
        1 => Just(Operation::List),
        2 => id().prop_map(Operation::Delete),
    ];
    proptest::collection::vec(operation, 0..40)
}

/// The message of the panic in `check`.
fn breach(check: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(check)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into())).unwrap_or_default())
}

#[rstest]
#[case(ListIsReversed, "list gives the ids")]
#[case(ListIgnoresCase, "list gives the ids")]
#[case(ListMissesTheLast, "list gives the ids")]
#[case(ListRepeats, "list gives the ids")]
#[case(GetFindsTheNeighbour, r#"get of "model" must find nothing"#)]
#[case(PutAppends, r#"list gives the ids ["model", "model", "other"]"#)]
#[case(PutKeepsTheFirst, r#"12.gguf", lifecycle: Active, digest: None, last_verified_ms: None } was put"#)]
#[case(PutMerges, "digest: None, last_verified_ms: None } was put")]
#[case(PutForgetsTheLifecycle, "was put")]
#[case(PutForgetsTheDigest, "was put")]
#[case(PutForgetsTheTime, "was put")]
#[case(PutForgetsThePath, "was put")]
#[case(PutTakesAnEmptyId, r#"put of "" must fail"#)]
#[case(PutTakesControlCharacters, r#"put of "\0" must fail"#)]
#[case(PutTakesLongIds, "must fail, because this can be no id")]
#[case(PutRejectsTheLongestId, "must succeed")]
#[case(PutRejectsDots, r#"put of ".." must succeed"#)]
#[case(PutFailsWithTheWrongError, r#"put of "" must fail with is_invalid_input"#)]
#[case(FailedPutRecords, "list gives the ids")]
#[case(FailedPutRemoves, "list gives the ids")]
#[case(SetStateCreates, r#"get of "model" must find nothing"#)]
#[case(SetStateNeverFails, r#"set_state of "model" must fail"#)]
#[case(SetStateFailsWithTheWrongError, "must fail with is_not_found")]
#[case(SetStateForgetsTheDigest, "was put")]
#[case(SetStateForgetsTheTime, "was put")]
#[case(SetStateChangesAll, r#"list gives CatalogEntry { id: "other""#)]
#[case(DeleteIsAlwaysTrue, "must answer false")]
#[case(DeleteIsAlwaysFalse, "must answer true")]
#[case(DeleteKeeps, r#"set_state of "model" must fail"#)]
#[case(DeleteRemovesAll, "list gives the ids []")]
#[case(DeleteFailsWhenMissing, r#"delete of "a" must succeed"#)]
#[case(IdsAreLowerCased, "list gives the ids")]
#[case(IdsAreNormalised, "list gives the ids")]
#[case(IdsLoseTrailingDots, r#"get of ".." must find nothing"#)]
#[case(IdsLoseBlanks, r#"get of "a " must find nothing"#)]
#[case(IdsArePercentDecoded, r#"get of "../" must find nothing"#)]
#[case(IdsAreCut, "must find nothing")]
#[case(IdsAreResolvedAsPaths, "list gives the ids")]
#[case(IdsAreJoinedWithBackslashes, r#"get of "C:/x" must find nothing"#)]
#[case(IdsAreUnescaped, "must find nothing")]
#[case(WritesAreLost, "thread-")] // whichever call first misses an entry
#[case(EntriesAreTorn, "which nobody put")]
#[case(DeletesRace, "deletes of one entry")]
fn the_suite_rejects(#[case] fault: Fault, #[case] words: &str) {
    let message = breach(|| catalog_store_conformance(|| Broken::new(fault)));
    let message = message.unwrap_or_else(|| panic!("{fault:?} is not noticed"));
    assert!(message.contains(words), "{fault:?} is noticed for another reason: {message}");
}

/// Random operations trip each of these faults, so the comparison with the model is not empty.
#[rstest]
fn the_model_rejects(
    #[values(
        ListIsReversed,
        ListMissesTheLast,
        GetFindsTheNeighbour,
        PutAppends,
        PutKeepsTheFirst,
        PutMerges,
        PutForgetsThePath,
        PutTakesAnEmptyId,
        FailedPutRecords,
        SetStateCreates,
        SetStateNeverFails,
        SetStateChangesAll,
        DeleteIsAlwaysTrue,
        DeleteKeeps,
        IdsAreLowerCased,
        IdsAreNormalised,
        IdsLoseTrailingDots
    )]
    fault: Fault,
) {
    let config = ProptestConfig { max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() };
    let run = TestRunner::new(config).run(&operations(), |operations| {
        match breach(|| catalog_store_model(&Broken::new(fault), &operations)) {
            Some(message) => Err(TestCaseError::fail(message)),
            None => Ok(()),
        }
    });
    assert!(run.is_err(), "{fault:?} is not noticed");
}
