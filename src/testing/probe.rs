//! Calls on a store that must succeed, and comparisons, with messages that name the broken promise.

use crate::CatalogStore;
use crate::digest::Digest;
use crate::entry::{CatalogEntry, LifecycleState};
use crate::error::Error;
use crate::excerpt::excerpt;

/// A store under test.
pub(super) struct Probe<'a, S>(pub(super) &'a S);

impl<S: CatalogStore> Probe<'_, S> {
    #[track_caller]
    pub(super) fn put(&self, entry: &CatalogEntry) {
        if let Err(error) = self.0.put(entry) {
            panic!("put of {:?} must succeed, but: {error}", excerpt(&entry.id));
        }
    }

    #[track_caller]
    pub(super) fn get(&self, id: &str) -> Option<CatalogEntry> {
        self.0.get(id).unwrap_or_else(|error| panic!("get of {:?} must succeed, but: {error}", excerpt(id)))
    }

    #[track_caller]
    pub(super) fn set_state(&self, id: &str, state: LifecycleState) {
        if let Err(error) = self.0.set_state(id, state) {
            panic!("set_state of {:?} must succeed, but: {error}", excerpt(id));
        }
    }

    #[track_caller]
    pub(super) fn list(&self) -> Vec<CatalogEntry> {
        self.0.list().unwrap_or_else(|error| panic!("list must succeed, but: {error}"))
    }

    #[track_caller]
    pub(super) fn delete(&self, id: &str) -> bool {
        self.0.delete(id).unwrap_or_else(|error| panic!("delete of {:?} must succeed, but: {error}", excerpt(id)))
    }

    /// `get` returns what was put.
    #[track_caller]
    pub(super) fn holds(&self, expected: &CatalogEntry) {
        let id = excerpt(&expected.id);
        let Some(found) = self.get(&expected.id) else { panic!("get of {id:?} finds nothing, but it was put") };
        assert!(same(&found, expected), "get of {id:?} gives {found:?}, but {expected:?} was put");
    }

    /// `get` finds nothing.
    #[track_caller]
    pub(super) fn lacks(&self, id: &str) {
        let found = self.get(id);
        assert!(found.is_none(), "get of {:?} must find nothing, but gives {found:?}", excerpt(id));
    }

    /// `list` returns exactly these entries, sorted by the bytes of their ids.
    #[track_caller]
    pub(super) fn lists<'e>(&self, expected: impl IntoIterator<Item = &'e CatalogEntry>) {
        let mut expected: Vec<&CatalogEntry> = expected.into_iter().collect();
        expected.sort_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
        let listed = self.list();
        let ids =
            |entries: &mut dyn Iterator<Item = &CatalogEntry>| entries.map(|e| excerpt(&e.id)).collect::<Vec<_>>();
        let (found_ids, expected_ids) = (ids(&mut listed.iter()), ids(&mut expected.iter().copied()));
        assert!(found_ids == expected_ids, "list gives the ids {found_ids:?}, but must give {expected_ids:?}");
        for (found, expected) in listed.iter().zip(expected) {
            assert!(same(found, expected), "list gives {found:?}, but {expected:?} was put");
        }
    }
}

/// Whether a store may return `found` after `put`.
///
/// A store may make `local_path` absolute, so the recorded path only has to end with the one that was put.
pub(super) fn same(found: &CatalogEntry, put: &CatalogEntry) -> bool {
    found.local_path.ends_with(&put.local_path)
        && CatalogEntry { local_path: put.local_path.clone(), ..found.clone() } == *put
}

/// The entry number `n`: its fields differ from those of every other number.
///
/// Its `local_path` does not exist, because this suite does not test what a store does with content.
pub(super) fn entry(id: &str, n: u64) -> CatalogEntry {
    CatalogEntry {
        id: id.into(),
        local_path: format!("models/{n}.gguf").into(),
        lifecycle: if n.is_multiple_of(2) { LifecycleState::Active } else { LifecycleState::Retired },
        digest: (!n.is_multiple_of(3)).then(|| Digest::sha256_of(&n.to_le_bytes())),
        last_verified_ms: (!n.is_multiple_of(4)).then_some(n),
    }
}

/// Checks that the error says that there is no such id.
#[track_caller]
pub(super) fn is_not_found(call: &str, id: &str, answer: Result<(), Error>) {
    let id = excerpt(id);
    match answer {
        Ok(()) => panic!("{call} of {id:?} must fail, because there is no such id"),
        Err(error) => assert!(error.is_not_found(), "{call} of {id:?} must fail with is_not_found, but: {error}"),
    }
}

/// Checks that the error says that the id is invalid.
#[track_caller]
pub(super) fn is_invalid_input(call: &str, id: &str, answer: Result<(), Error>) {
    let id = excerpt(id);
    match answer {
        Ok(()) => panic!("{call} of {id:?} must fail, because this can be no id"),
        Err(error) => {
            assert!(error.is_invalid_input(), "{call} of {id:?} must fail with is_invalid_input, but: {error}")
        }
    }
}
