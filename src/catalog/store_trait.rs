//! The `CatalogStore` trait: CRUD on entries.

use std::sync::Arc;

use crate::entry::{CatalogEntry, LifecycleState};
use crate::error::Result;

/// Create, read, update and delete entries by id.
///
/// Every implementation guarantees the following, and the conformance suite in `testing` checks it:
///
/// - ids are compared byte by byte; `put` rejects an empty id, an id of more than 1024 bytes, and an id with control
///   characters, with an error that satisfies [`is_invalid_input`](crate::Error::is_invalid_input);
/// - `put` replaces an existing entry with the same id;
/// - `list` is sorted by id and complete;
/// - `set_state` changes only the lifecycle, and fails with an error that satisfies
///   [`is_not_found`](crate::Error::is_not_found) if the id does not exist;
/// - `delete` returns whether there was something to delete, so a second call returns `false`;
/// - a failed operation has changed nothing;
/// - every method can be called from many threads at once.
pub trait CatalogStore: Send + Sync {
    /// Returns the entry with this id. Reads only.
    fn get(&self, id: &str) -> Result<Option<CatalogEntry>>;
    /// Stages the artifact at `entry.local_path` and records the entry.
    fn put(&self, entry: &CatalogEntry) -> Result<()>;
    /// Changes the lifecycle.
    fn set_state(&self, id: &str, state: LifecycleState) -> Result<()>;
    /// Returns all entries, sorted by id. Reads only.
    fn list(&self) -> Result<Vec<CatalogEntry>>;
    /// Removes the entry and what only it needed. Returns `false` if there was none. A pinned entry is an error in
    /// implementations that have pins.
    fn delete(&self, id: &str) -> Result<bool>;
}

/// Forwards every method to the pointee.
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
