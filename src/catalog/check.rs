//! Checking and repairing content.

use super::{FsCatalog, Key};
use crate::error::Result;
use crate::repair::{self, RepairOptions, RepairReport};
use crate::verify::{self, VerifyOptions, VerifyReport};

/// Checking and repairing content.
impl FsCatalog {
    /// Checks the content of an entry. Damaged content is taken out of service: see
    /// [`Error::Damaged`](crate::Error::Damaged).
    ///
    /// Reads the store's own files. On a read-only root it works, but records and moves nothing. File pages that were
    /// not cached before are dropped from the page cache afterwards.
    ///
    /// ```
    /// use catalog_core::VerifyOptions;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let report = catalog.verify("llama3", &VerifyOptions::default())?;
    /// for bad in &report.bad {
    ///     println!("{} is damaged in {:?}", bad.path, bad.ranges);
    /// }
    /// assert!(report.outcome.is_pass());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn verify<'a>(&self, key: impl Into<Key<'a>>, options: &VerifyOptions) -> Result<VerifyReport> {
        verify::verify(&self.store, &key.into().id(&self.store)?, options)
    }

    /// Checks the content of several entries on all cores, largest files first. Bytes that several entries need are
    /// read once. Calls `each` for every entry as soon as its result is recorded.
    pub fn verify_many<S: AsRef<str>>(
        &self,
        ids: &[S],
        options: &VerifyOptions,
        each: &mut dyn FnMut(Result<VerifyReport>),
    ) {
        verify::verify_many(&self.store, ids, options, each);
    }

    /// Checks the content of an entry in full, repairs what is damaged or missing from a good source, and rebuilds its
    /// path. Does the same for all other entries that needed the same bytes.
    ///
    /// Reads only damaged groups of 1 MiB from a source and reuses the rest. The whole blob is checked against its name
    /// before it is published. A source that is damaged in the same place is not used there: if there is no other
    /// source, the error is [`Error::NoGoodSource`](crate::Error::NoGoodSource), and nothing is changed. Damaged files
    /// stay in `quarantine/`.
    ///
    /// A different file at a path below `views/` is moved to `quarantine/`. At any other path it is left alone, and the
    /// entry gets a view below `views/`: see [`RepairReport::occupied`].
    ///
    /// ```
    /// use catalog_core::{Digest, LocalSource, ReadAt, RepairOptions, RepairSource};
    /// struct Mirror;
    /// impl RepairSource for Mirror {
    ///     fn open(&self, digest: &Digest, path: &str) -> catalog_core::Result<Option<Box<dyn ReadAt>>> {
    ///         LocalSource::new(format!("/mnt/mirror/{digest:x}")).open(digest, path)
    ///     }
    /// }
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// catalog.repair("llama3", &RepairOptions::default().with_from(vec![std::sync::Arc::new(Mirror)]))?;
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn repair<'a>(&self, key: impl Into<Key<'a>>, options: &RepairOptions) -> Result<RepairReport> {
        repair::repair(&self.store, self.sources.as_ref(), &key.into().id(&self.store)?, options)
    }
}
