//! Opening a catalog, and the settings of a handle.

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
    /// Opens the catalog at `root`, which is made when there is none; [`is_new`](FsCatalog::is_new) tells.
    ///
    /// A directory that is no catalog and has other things in it is an error
    /// ([`RootNotEmpty`](crate::Error::RootNotEmpty)): it was probably a mistake. [`init`](FsCatalog::init) takes it.
    ///
    /// Opening an existing one writes nothing, so it works on a read-only root.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        Store::create(root.as_ref(), Others::Refuse).map(Self::around)
    }

    /// As [`new`](FsCatalog::new), also in a directory that has other things in it. They stay as they are.
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

    /// Opens the catalog at `root`. If there is none, the error is one for which
    /// [`is_not_found`](crate::Error::is_not_found) holds, and nothing is made.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Store::open(root.as_ref()).map(Self::around)
    }

    fn around(store: Store) -> Self {
        FsCatalog {
            store,
            sources: None,
            #[cfg(feature = "net")]
            pushes: None,
        }
    }

    /// Where references may be fetched from.
    pub(super) fn from(&self) -> stage::From<'_> {
        stage::From { sources: self.sources.as_deref(), ..stage::From::default() }
    }

    /// The same catalog, which fetches what it does not hold from these sources. Without them it speaks to nobody.
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

    /// The same catalog, with another durability for what is done through this handle.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.store.settings.durability = durability;
        self
    }

    /// The same catalog, with another patience for the locks of commits, which are held for milliseconds. The default is
    /// 30 seconds; after that the error is one for which [`is_busy`](crate::Error::is_busy) holds.
    #[must_use]
    pub fn with_lock_wait(mut self, wait: Wait) -> Self {
        self.store.settings.lock_wait = wait;
        self
    }

    /// The same catalog, which checks content before it gives it out as this says: for [`resolve`](FsCatalog::resolve),
    /// [`lease`](FsCatalog::lease) and [`ensure`](FsCatalog::ensure).
    #[must_use]
    pub fn with_check(mut self, check: Check) -> Self {
        self.store.settings.check = check;
        self
    }

    /// The same catalog, which tells `observer` of the checks that it makes before it gives content out: what has to be read
    /// in full can take a while.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.store.observer = CheckObserver(Arc::new(observer));
        self
    }

    /// Whether file locks exclude anybody on the root's file system; tried once when it was opened. Where they do not, work
    /// may be done twice but nothing is damaged, and nothing is collected: see
    /// [`Error::LocksDoNothing`](crate::Error::LocksDoNothing).
    #[must_use]
    pub fn locks_work(&self) -> bool {
        self.store.locks_work
    }

    /// Whether opening it has made it, through this handle.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.store.is_new
    }

    /// What this user can still write to the root's file system. `None` where that does not tell (some FUSE file systems,
    /// ramfs): then no `min_free` can be kept, and a full disk shows only when it is written to.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        space(&self.store.root).map(|space| space.available_bytes)
    }

    /// The root, absolute and free of symlinks when it was opened.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.path()
    }

    /// The limits that hold now. Reads `store.json` each time: another process may have changed them.
    pub fn config(&self) -> Result<Config> {
        self.store.config()
    }

    /// Changes some of the limits, durably, and returns all. Two processes that change different ones at the same time do
    /// not undo each other. Nothing is evicted by this; the next staging or collection does that.
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
