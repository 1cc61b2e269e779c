//! The conformance suite: one function for each promise of `CatalogStore`.

use super::probe::{Probe, entry, is_invalid_input, is_not_found};
use super::{concurrent, ids};
use crate::CatalogStore;
use crate::digest::Digest;
use crate::entry::{CatalogEntry, LifecycleState};

/// Checks that a store keeps the promises of [`CatalogStore`]. `make` returns a new, empty store at each call.
///
/// The entries have relative `local_path`s that do not exist, and a store may make them absolute. The suite checks
/// neither what a store does with content, nor whether that survives a crash.
///
/// # Panics
///
/// Panics at the first broken promise, with a message that names it.
pub fn catalog_store_conformance<S: CatalogStore>(make: impl Fn() -> S) {
    an_empty_store_has_nothing(&make());
    every_field_comes_back(&make());
    put_replaces(&make());
    list_is_sorted_by_bytes(&make());
    set_state_touches_only_the_lifecycle(&make());
    set_state_needs_the_entry(&make());
    delete_says_whether_there_was_one(&make());
    hostile_ids_stay_apart(&make());
    impossible_ids_change_nothing(&make());
    concurrent::each_thread_finds_its_own(&make());
    concurrent::entries_are_whole(&make());
    concurrent::one_delete_wins(&make());
}

fn an_empty_store_has_nothing<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    store.lists([]);
    store.lacks("a");
    assert!(!store.delete("a"), "delete in an empty store must answer false");
    store.lists([]);
}

fn every_field_comes_back<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    let mut entries = Vec::new();
    for lifecycle in [LifecycleState::Active, LifecycleState::Retired] {
        for digest in [None, Some(Digest::from_sha256([0; 32])), Some(Digest::sha256_of(b"model"))] {
            for last_verified_ms in [None, Some(0), Some(1_700_000_000_123), Some(u64::MAX)] {
                let n = entries.len() as u64;
                let new = CatalogEntry { lifecycle, digest, last_verified_ms, ..entry(&format!("model-{n}"), n) };
                store.put(&new);
                store.holds(&new);
                entries.push(new);
            }
        }
    }
    entries.iter().for_each(|entry| store.holds(entry));
    store.lists(&entries);
}

fn put_replaces<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    let other = entry("other", 5);
    store.put(&other);
    // Numbers 1 and 5 have a digest and a time, number 12 has neither: a replacement must also clear fields.
    for n in [1, 12, 5, 5, 0] {
        let new = entry("model", n);
        store.put(&new);
        store.holds(&new);
        store.lists([&new, &other]);
    }
}

fn list_is_sorted_by_bytes<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    let mut entries = Vec::new();
    for id in
        ["b", "a", "é", "B", "z", "a/", "aa", "a-", "A", "Z", "e\u{301}", "10", "9", "\u{ffff}", "😀", "_", " ", "~"]
    {
        entries.push(entry(id, entries.len() as u64));
        entries.iter().skip(entries.len() - 1).for_each(|entry| store.put(entry));
        store.lists(&entries);
    }
}

fn set_state_touches_only_the_lifecycle<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    let (mut model, other) = (entry("model", 1), entry("other", 10));
    store.put(&model);
    store.put(&other);
    use LifecycleState::{Active, Retired};
    for state in [Active, Retired, Retired, Active] {
        store.set_state("model", state);
        model.lifecycle = state;
        store.holds(&model);
        store.lists([&model, &other]);
    }
}

fn set_state_needs_the_entry<S: CatalogStore>(store: &S) {
    let other = entry("other", 1);
    Probe(store).put(&other);
    is_not_found("set_state", "model", store.set_state("model", LifecycleState::Active));
    Probe(store).lacks("model");
    Probe(store).lists([&other]);

    let deleted = entry("model", 2);
    Probe(store).put(&deleted);
    Probe(store).delete("model");
    is_not_found("set_state", "model", store.set_state("model", LifecycleState::Retired));
    Probe(store).lists([&other]);
}

fn delete_says_whether_there_was_one<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    let (model, other) = (entry("model", 1), entry("other", 2));
    store.put(&other);
    for _ in 0..2 {
        // The second round puts and deletes an id that was deleted before.
        store.put(&model);
        assert!(store.delete("model"), "delete of an entry must answer true");
        store.lacks("model");
        assert!(!store.delete("model"), "a second delete must answer false");
        store.lists([&other]);
    }
}

fn hostile_ids_stay_apart<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    let mut entries: Vec<CatalogEntry> = ids::accepted_ids().iter().zip(1..).map(|(id, n)| entry(id, n)).collect();
    for entry in &entries {
        store.lacks(&entry.id);
        store.put(entry);
    }
    entries.iter().for_each(|entry| store.holds(entry));
    store.lists(&entries);

    // If a store confuses two ids, changing or deleting the first of them changes the other.
    for entry in &mut entries {
        store.set_state(&entry.id, LifecycleState::Retired);
        entry.lifecycle = LifecycleState::Retired;
    }
    entries.iter().for_each(|entry| store.holds(entry));
    while let Some(entry) = entries.pop() {
        assert!(store.delete(&entry.id), "delete of {:?} must answer true", entry.id);
        store.lacks(&entry.id);
        store.lists(&entries);
    }
}

fn impossible_ids_change_nothing<S: CatalogStore>(store: &S) {
    // What some of the rejected ids become if a store truncates or trims them instead.
    let kept = ["a", "ab", "a b", &"x".repeat(255), &"x".repeat(1024)].map(|id| entry(id, 7));
    kept.iter().for_each(|entry| Probe(store).put(entry));
    for id in ids::rejected_ids() {
        is_invalid_input("put", &id, store.put(&entry(&id, 1)));
        // The other calls may reject the id or find nothing, but must never find an entry.
        assert!(!matches!(store.get(&id), Ok(Some(_))), "get finds {id:?}, which can be no id");
        assert!(!matches!(store.delete(&id), Ok(true)), "delete finds {id:?}, which can be no id");
        match store.set_state(&id, LifecycleState::Active) {
            Ok(()) => panic!("set_state finds {id:?}, which can be no id"),
            Err(error) => assert!(
                error.is_not_found() || error.is_invalid_input(),
                "set_state of {id:?} must fail with is_not_found or is_invalid_input, but: {error}"
            ),
        }
        Probe(store).lists(&kept);
    }
}
