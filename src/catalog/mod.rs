//! `FsCatalog`: the pieces put together, a file for each verb.

mod commit;
mod config;
mod damage;
mod doctor;
mod du;
mod flight;
mod gc;
mod intact;
mod lease;
mod open;
mod place;
mod plan;
mod put;
mod read;
mod remove;
mod repair;
mod room;
mod roots;
mod round;
mod stage;
mod sweep;
mod tree;
mod verify;

pub use config::Config;
pub use doctor::{Doctor, Finding, FindingKind, MendOutcome, Remedy, Severity};
pub use du::{DiskUsage, EntryUsage};
pub use intact::Check;
pub use open::default_model_cache_dir;
pub use read::Key;
pub use remove::{Kept, RemoveReceipt};
pub use repair::{RepairOptions, RepairReport};
pub use stage::{StageOptions, StageReceipt};
pub use verify::{BadFile, Depth, VerifyOptions, VerifyReport};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::{CatalogEntry, LifecycleState};
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, Wait, lock, locks_work};
use crate::fs::{Durability, Root, now_ms};
use crate::index::{Change, Edit, Flushed, Index};
use crate::layout;
use crate::store::CatalogStore;

/// A catalog in a directory: ids, and the models they name, on a content-addressable store of blobs.
///
/// Clones are cheap and share one cache. Any number of processes work on one root at the same time.
#[derive(Clone, Debug)]
pub struct FsCatalog {
    root: Arc<Root>,
    index: Arc<Index>,
    durability: Durability,
    lock_wait: Wait,
    locks_work: bool,
    check: Check,
}

impl FsCatalog {
    fn around(root: Root) -> Self {
        let root = Arc::new(root);
        let lock_wait = Wait::UpTo(Duration::from_secs(30));
        let locks_work = locks_work(&root, &layout::lock_probe());
        if !locks_work {
            tracing::warn!(root = %root.path().display(), "file locks do nothing here: nothing is collected");
        }
        let index = Arc::new(Index::new(root.clone(), locks_work));
        FsCatalog { root, index, durability: Durability::Full, lock_wait, locks_work, check: Check::IfChanged }
    }

    /// The same catalog, with another durability for what is done through this handle.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The same catalog, with another patience for the locks of commits, which are held for milliseconds. 30 seconds
    /// unless told otherwise; then the error is one for which [`is_busy`](Error::is_busy) holds.
    #[must_use]
    pub fn with_lock_wait(mut self, wait: Wait) -> Self {
        self.lock_wait = wait;
        self
    }

    /// The same catalog, which looks at content before it gives it out as this says: for [`resolve`](FsCatalog::resolve),
    /// [`lease`](FsCatalog::lease), [`ensure`](FsCatalog::ensure) and [`locate_and_touch`](FsCatalog::locate_and_touch).
    #[must_use]
    pub fn with_check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// Whether file locks exclude anybody on the root's file system; tried once when it was opened. Where they do not, work
    /// may be done twice but nothing is damaged, and nothing is collected: see [`Error::LocksDoNothing`].
    #[must_use]
    pub fn locks_work(&self) -> bool {
        self.locks_work
    }

    /// The root, absolute and free of symlinks when it was opened.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Held for a commit: no sweep runs meanwhile.
    fn lock_for_commit(&self) -> Result<Lock> {
        let _gate = self.lock_gate(Hold::Shared)?;
        self.lock_store(Hold::Shared)
    }

    /// Held for a sweep: no commit runs meanwhile.
    fn lock_for_sweep(&self) -> Result<Lock> {
        let _gate = self.lock_gate(Hold::Exclusive)?;
        self.lock_store(Hold::Exclusive)
    }

    /// Refused when a newer version has made the store its own since it was opened: it does so under this lock.
    fn lock_store(&self, hold: Hold) -> Result<Lock> {
        let lock = lock(&self.root, layout::lock_store(), "the store", hold, self.lock_wait)?;
        match open::check_store_file(&self.root) {
            Err(error @ Error::UnsupportedFormat { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(lock), // one that is damaged or lost is for doctor, and does not keep others from working
        }
    }

    /// Held only while the store lock is waited for: commits that come later wait behind a sweep that waits, which they
    /// would otherwise overtake for ever.
    fn lock_gate(&self, hold: Hold) -> Result<Lock> {
        lock(&self.root, layout::lock_gate(), "the store", hold, self.lock_wait)
    }

    /// Changes records under the store lock of a sweep.
    fn update_for_sweep(&self, ids: &[&str], edit: &mut Edit<'_>) -> Result<()> {
        self.index.update(ids, self.durability, self.lock_wait, &mut || Ok(Flushed::Nothing), edit)
    }

    /// Changes records that refer to nothing new, durably.
    fn edit(&self, ids: &[&str], edit: &mut Edit<'_>) -> Result<()> {
        let _store = self.lock_for_commit()?;
        self.index.update(ids, self.durability, self.lock_wait, &mut || Ok(Flushed::Nothing), edit)
    }
}

impl CatalogStore for FsCatalog {
    fn get(&self, id: &str) -> Result<Option<CatalogEntry>> {
        self.index.get_as(id, |record| record.entry.clone())
    }

    fn put(&self, entry: &CatalogEntry) -> Result<()> {
        self.put_many(std::slice::from_ref(entry))
    }

    fn set_state(&self, id: &str, state: LifecycleState) -> Result<()> {
        self.edit(&[id], &mut |id, old| {
            let mut record =
                old.ok_or_else(|| Error::NotFound { id: id.to_owned(), root: self.root().to_path_buf() })?;
            if record.lifecycle == state {
                return Ok(Change::Keep);
            }
            record.set_lifecycle(state, now_ms());
            Ok(Change::Put(Box::new(record)))
        })
    }

    fn list(&self) -> Result<Vec<CatalogEntry>> {
        self.entries()
    }

    fn delete(&self, id: &str) -> Result<bool> {
        Ok(self.remove(id)?.is_some())
    }
}
