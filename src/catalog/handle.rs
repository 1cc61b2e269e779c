//! Opens a catalog, and sets the options of a handle.

use std::path::Path;
use std::sync::Arc;

use super::FsCatalog;
use crate::error::Result;
use crate::fs::Durability;
use crate::fs::lock::Wait;
use crate::fs::space::space;
use crate::observer::Observer;
#[cfg(feature = "net")]
use crate::source::Sources;
use crate::stage;
use crate::store::{Check, CheckObserver, Config, Others, Store};

/// Opening, and the settings of a handle.
impl FsCatalog {
    /// Opens the catalog at `root`, and creates it if there is none; [`is_new`](FsCatalog::is_new) tells which.
    ///
    /// A directory that is not a catalog and has other content is an error
    /// ([`RootNotEmpty`](crate::Error::RootNotEmpty)), because it is probably a mistake. [`init`](FsCatalog::init)
    /// accepts it.
    ///
    /// Opening an existing catalog writes nothing, so it works on a read-only root.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        Store::create(root.as_ref(), Others::Refuse).map(Self::around)
    }

    /// Like [`new`](FsCatalog::new), but also accepts a directory with other content, which stays as it is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("notes.txt"), "mine")?;
    /// let refused = catalog_core::FsCatalog::new(dir.path()).unwrap_err();
    /// assert!(matches!(refused, catalog_core::Error::RootNotEmpty { .. }));
    /// let catalog = catalog_core::FsCatalog::init(dir.path())?;
    /// assert!(catalog.is_new() && dir.path().join("notes.txt").exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn init(root: impl AsRef<Path>) -> Result<Self> {
        Store::create(root.as_ref(), Others::Keep).map(Self::around)
    }

    /// Opens the catalog at `root`. If there is none, creates nothing and returns an error that satisfies
    /// [`is_not_found`](crate::Error::is_not_found).
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Store::open(root.as_ref()).map(Self::around)
    }

    fn around(store: Store) -> Self {
        FsCatalog {
            store,
            exports: Arc::default(),
            sources: None,
            #[cfg(feature = "net")]
            pushes: None,
        }
    }

    /// Where references may be fetched from.
    pub(super) fn from(&self) -> stage::From<'_> {
        stage::From { sources: self.sources.as_deref(), ..stage::From::default() }
    }

    /// Sets the sources to fetch from what the catalog does not hold. Without sources it contacts no server.
    ///
    /// ```
    /// use catalog_core::{Policy, Sources};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let policy = Policy::default().allow("models.example.org")?;
    /// let catalog = catalog.with_sources(Sources::new(policy)?.http());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    #[cfg(feature = "net")]
    #[must_use]
    pub fn with_sources(mut self, sources: Sources) -> Self {
        self.sources = Some(Arc::new(sources.clone()));
        self.pushes = Some(sources);
        self
    }

    /// Sets the durability of everything done through this handle.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.store.settings.durability = durability;
        self
    }

    /// Sets how long to wait for the locks of commits, which are held for milliseconds. The default is 30 seconds;
    /// after that the error satisfies [`is_busy`](crate::Error::is_busy).
    #[must_use]
    pub fn with_lock_wait(mut self, wait: Wait) -> Self {
        self.store.settings.lock_wait = wait;
        self
    }

    /// Sets how [`resolve`](FsCatalog::resolve), [`lease`](FsCatalog::lease) and [`ensure`](FsCatalog::ensure) check
    /// content before they return it.
    #[must_use]
    pub fn with_check(mut self, check: Check) -> Self {
        self.store.settings.check = check;
        self
    }

    /// Sets an observer for the checks that run before content is returned: reading a large file in full can take a
    /// while.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.store.observer = CheckObserver(Arc::new(observer));
        self
    }

    /// Whether file locks are exclusive on the root's file system; tested once when the catalog was opened. Without
    /// them, work may be done twice but nothing is damaged, and nothing is collected: see
    /// [`Error::LocksDoNothing`](crate::Error::LocksDoNothing).
    #[must_use]
    pub fn locks_work(&self) -> bool {
        self.store.locks_work
    }

    /// Whether this handle created the catalog when it opened it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.store.is_new
    }

    /// Bytes that this user can still write to the root's file system. `None` if it does not report them (some FUSE
    /// file systems, ramfs): then `min_free` has no effect, and a full disk is noticed only by a failed write.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        space(&self.store.root).map(|space| space.available_bytes)
    }

    /// The root, as an absolute path without symlinks when it was opened.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.path()
    }

    /// The current limits. Reads `store.json` each time, because another process may have changed them.
    pub fn config(&self) -> Result<Config> {
        self.store.config()
    }

    /// Changes some of the limits durably, and returns all of them. Two processes that change different limits at the
    /// same time do not undo each other's change. This evicts nothing; the next staging or collection does.
    ///
    /// ```
    /// use catalog_core::MinFree;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// catalog.change_config(|config| {
    ///     config.max_bytes = Some(200_000_000_000);
    ///     config.min_free = MinFree::percent(10);
    /// })?;
    /// assert_eq!(catalog.config()?.max_bytes, Some(200_000_000_000));
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn change_config(&self, change: impl FnOnce(&mut Config)) -> Result<Config> {
        self.store.change_config(change)
    }

    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}
