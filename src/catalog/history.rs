//! What happened to models.

use super::FsCatalog;
#[cfg(feature = "attest")]
use crate::attest::{self, PrivateKey};
use crate::entry::LogEvent;
use crate::error::Result;
use crate::history::{self, LogChain};

/// What happened to models. The log is written with the index, in the same file: an acknowledged change has its event,
/// and a change that did not happen has none. Uses are not in it.
impl FsCatalog {
    /// What happened to an id, or to all ids, oldest first. The id need not exist any more.
    ///
    /// The newest 3,000 events or so of each 256th of all ids are kept, and more if many came at once.
    ///
    /// ```
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// use catalog_core::LogEventKind;
    /// catalog.verify("llama3", &Default::default())?;
    /// catalog.remove("llama3")?;
    /// let kinds: Vec<LogEventKind> = catalog.log(Some("llama3"))?.iter().map(|event| event.what).collect();
    /// assert_eq!(kinds, [LogEventKind::Staged, LogEventKind::Verified, LogEventKind::Removed]);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn log(&self, id: Option<&str>) -> Result<Vec<LogEvent>> {
        history::log(&self.store, id)
    }

    /// Checks that the log of an id, or of all, is whole: that each event is linked to the one before it, and that the last ones are there.
    /// Returns one result for each chain that has events.
    ///
    /// A log shows mistakes and damage, and not what somebody has forged who can write to the root: they can make a new
    /// chain. [`LogChain::head`], kept elsewhere, shows that too.
    ///
    /// ```
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// assert!(catalog.check_log(None)?.iter().all(|chain| chain.problems.is_empty()));
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn check_log(&self, id: Option<&str>) -> Result<Vec<LogChain>> {
        history::check(&self.store, id)
    }

    /// Signs what happened to an id: an in-toto statement about its contents, whose predicate has the events. Returns a
    /// Sigstore bundle, like [`sign`](FsCatalog::sign). An id that was never there is an error.
    #[cfg(feature = "attest")]
    pub fn sign_log(&self, id: &str, with: &PrivateKey) -> Result<Vec<u8>> {
        attest::sign_log(&self.store, id, with)
    }
}
