//! A catalog in memory.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::CatalogStore;
use crate::entry::{CatalogEntry, LifecycleState, check_id};
use crate::error::{Error, Result};

/// A [`CatalogStore`] that keeps its entries in memory and touches no file: `local_path` is stored as given.
///
/// Use it to test code that works with any `CatalogStore`.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    entries: RwLock<BTreeMap<String, CatalogEntry>>,
}

// A panic in another thread poisons the lock but cannot leave the map half changed: each change is a single call.
impl MemoryCatalog {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, CatalogEntry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, CatalogEntry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CatalogStore for MemoryCatalog {
    fn get(&self, id: &str) -> Result<Option<CatalogEntry>> {
        Ok(self.read().get(id).cloned())
    }

    fn put(&self, entry: &CatalogEntry) -> Result<()> {
        check_id(&entry.id)?;
        self.write().insert(entry.id.clone(), entry.clone());
        Ok(())
    }

    fn set_state(&self, id: &str, state: LifecycleState) -> Result<()> {
        match self.write().get_mut(id) {
            Some(entry) => entry.lifecycle = state,
            None => return Err(Error::not_found(id, "(memory)")),
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<CatalogEntry>> {
        Ok(self.read().values().cloned().collect())
    }

    fn delete(&self, id: &str) -> Result<bool> {
        Ok(self.write().remove(id).is_some())
    }
}
