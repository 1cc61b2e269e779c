//! The traits, implemented on a file system.

use rayon::prelude::*;

use super::{CatalogStore, FsCatalog, sorted};
use crate::entry::{CatalogEntry, LifecycleState};
use crate::error::Result;
use crate::fetch::{ModelFetcher, ResolvedModel};
use crate::model_ref::ModelRef;
use crate::stage::StageOptions;

impl CatalogStore for FsCatalog {
    fn get(&self, id: &str) -> Result<Option<CatalogEntry>> {
        self.store.index.entry(id)
    }

    /// Stages a path outside the root. An existing path below the root becomes a blob in place; a missing one is only
    /// recorded, for staging later.
    ///
    /// ```
    /// use catalog_core::{CatalogEntry, CatalogStore, LifecycleState};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let (id, local_path) = ("later".to_owned(), "models/later.gguf".into());
    /// let lifecycle = LifecycleState::Active;
    /// catalog.put(&CatalogEntry { id, local_path, lifecycle, digest: None, last_verified_ms: None })?;
    /// let registered = catalog.get("later")?.unwrap();
    /// assert_eq!(registered.local_path, catalog.root().join("models/later.gguf"));
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    fn put(&self, entry: &CatalogEntry) -> Result<()> {
        self.put_many(std::slice::from_ref(entry))
    }

    /// A retired model still resolves, and is the first to be evicted when room is needed.
    ///
    /// ```
    /// use catalog_core::{CatalogStore, LifecycleState};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// catalog.set_state("llama3", LifecycleState::Retired)?;
    /// assert_eq!(catalog.get("llama3")?.unwrap().lifecycle, "retired".parse().unwrap());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    fn set_state(&self, id: &str, state: LifecycleState) -> Result<()> {
        self.store.set_state(id, state)
    }

    fn list(&self) -> Result<Vec<CatalogEntry>> {
        let shards = self.store.index.all()?;
        Ok(sorted(&shards).into_par_iter().map(|place| place.entry()).collect())
    }

    fn delete(&self, id: &str) -> Result<bool> {
        Ok(self.remove(id)?.is_some())
    }
}

/// Uses the sources of the handle (`with_sources`). The id is the reference's own string.
impl ModelFetcher for FsCatalog {
    fn ensure_present(&self, mr: &ModelRef) -> Result<ResolvedModel> {
        self.ensure(mr, &StageOptions::default())
    }
}
