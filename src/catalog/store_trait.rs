//! The `CatalogStore` trait: CRUD on entries.

use std::sync::Arc;

use crate::entry::{CatalogEntry, LifecycleState};
use crate::error::Result;

/// Create, read, update and delete entries by id.
///
/// What every implementation keeps, and what the conformance suite in `testing` checks:
///
/// - ids are compared byte by byte; an empty one, one of more than 1024 bytes and one with control characters are
///   rejected by `put` with an error for which [`is_invalid_input`](crate::Error::is_invalid_input) holds;
/// - `put` of an id that is there replaces its entry;
/// - `list` is sorted by id and complete;
/// - `set_state` changes nothing but the lifecycle, and fails with an error for which
///   [`is_not_found`](crate::Error::is_not_found) holds when there is no such id;
/// - `delete` says whether there was something to delete, so that a second one returns `false`;
/// - an operation that failed has changed nothing;
/// - every method can be called from many threads at once.
pub trait CatalogStore: Send + Sync {
    /// The entry of this id. Reads only.
    fn get(&self, id: &str) -> Result<Option<CatalogEntry>>;
    /// Stages the artifact at `entry.local_path` and records the entry.
    fn put(&self, entry: &CatalogEntry) -> Result<()>;
    /// Changes the lifecycle.
    fn set_state(&self, id: &str, state: LifecycleState) -> Result<()>;
    /// All entries, sorted by id. Reads only.
    fn list(&self) -> Result<Vec<CatalogEntry>>;
    /// Removes the entry and what only it needed. `false`: there was none. One that is pinned, where there are pins, is an
    /// error.
    fn delete(&self, id: &str) -> Result<bool>;
}

/// Forwards every method to what a pointer points to.
macro_rules! forward {
    ($($pointer:ty),*) => {
        $(impl<T: CatalogStore + ?Sized> CatalogStore for $pointer {
            fn get(&self, id: &str) -> Result<Option<CatalogEntry>> {
                (**self).get(id)
            }

            fn put(&self, entry: &CatalogEntry) -> Result<()> {
                (**self).put(entry)
            }

            fn set_state(&self, id: &str, state: LifecycleState) -> Result<()> {
                (**self).set_state(id, state)
            }

            fn list(&self) -> Result<Vec<CatalogEntry>> {
                (**self).list()
            }

            fn delete(&self, id: &str) -> Result<bool> {
                (**self).delete(id)
            }
        })*
    };
}

forward!(&T, Box<T>, Arc<T>);
