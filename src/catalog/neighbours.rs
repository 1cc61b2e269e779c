//! What other tools have.

use super::FsCatalog;
use crate::adopt::{self, AdoptOptions, AdoptPlan, AdoptReceipt, Found};
use crate::error::Result;

/// What other tools have.
impl FsCatalog {
    /// Brings models of other tools into the store. Returns one result each, in the same order; a failed model does not
    /// affect the others.
    ///
    /// Each file is hashed once, and what its tool says about it is checked: a file that is not what its name says is
    /// an error that satisfies [`is_corrupt`](crate::Error::is_corrupt). A model whose tool names the digests of all
    /// its files is [`TrustState::Claimed`](crate::TrustState::Claimed). Nothing in the tool's store is changed, except
    /// that a hardlinked file becomes read-only, and that [`dedupe`](AdoptOptions::dedupe) replaces files.
    ///
    /// A model that was adopted before and has the same version is not read again.
    ///
    /// ```
    /// use catalog_core::adopt::{self, AdoptOptions, Tool};
    /// # let (_dir, catalog, file) = catalog_core::testing::example();
    /// # let lm_studio = tempfile::tempdir()?;
    /// # std::fs::create_dir_all(lm_studio.path().join("acme/tiny"))?;
    /// # std::fs::copy(file, lm_studio.path().join("acme/tiny/tiny.gguf"))?;
    /// let found = adopt::scan(Tool::LmStudio, lm_studio.path())?;
    /// let adopted = catalog.adopt(&found.models, &AdoptOptions::default());
    /// assert_eq!(adopted[0].as_ref().unwrap().staged.id, "lmstudio:acme/tiny/tiny.gguf");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt(&self, models: &[Found], options: &AdoptOptions) -> Vec<Result<AdoptReceipt>> {
        adopt::adopt(&self.store, models, options)
    }

    /// Finds out what [`adopt`](FsCatalog::adopt) would do, without reading any model. Returns one result each, in the
    /// same order.
    pub fn plan_adopt(&self, models: &[Found], options: &AdoptOptions) -> Vec<Result<AdoptPlan>> {
        adopt::plan(&self.store, models, options)
    }
}
