//! The core: one root, its index, and the lock guards under which the two change.
//!
//! Three things change a store, and each has one place: [`commit()`] publishes blobs, shows them and records them; a
//! [`Sweep`] takes unneeded files out of service; [`quarantine`] takes damaged files out of service. All of them work
//! through the guards [`Shared`] and [`Exclusive`], which alone can publish, show, record or retire. The engines above
//! (staging, collection, checks, repair, doctor) borrow a [`Store`] and hold no lock of their own.
//!
//! `docs/concurrency.md` describes the protocol step by step, and what a crash leaves behind after each step.

mod attempt;
mod chores;
mod commit;
mod config;
mod each;
mod freshness;
mod guard;
mod marks;
mod min_free;
mod open;
mod packaged;
mod policy;
mod quarantine;
mod roots;
mod shown_paths;
mod sweep;
mod undo;
mod uses;

pub use config::Config;
pub use freshness::Check;
pub use min_free::{InvalidMinFree, MinFree};
pub use open::default_model_cache_dir;
pub use policy::{RuleSigner, SignatureRule};

pub(crate) use commit::{Done, Unit, commit};
pub(crate) use each::each;
pub(crate) use freshness::{damaged, is_there, shown_files};
pub(crate) use guard::{Exclusive, Shared};
pub(crate) use open::{Others, check_store_file, existing_root, has_entries, has_tag, no_catalog, write_tag};
pub(crate) use packaged::Packaged;
#[cfg(feature = "attest")]
pub(crate) use policy::is_met;
pub(crate) use quarantine::Taken;
pub(crate) use roots::{GatheredRoots, Needed, Roots, each_once};
pub(crate) use sweep::{Fate, Sweep};
pub(crate) use undo::undo;
pub(crate) use uses::{NotedUses, stray_notes};

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use crate::entry::Record;
use crate::error::{Error, Result};
use crate::fs::lock::{Wait, locks_work};
use crate::fs::{Durability, Root, reserve};
use crate::index::{Edit, Index};
use crate::layout;
use crate::observer::Observer;

/// A root and its index, with the settings of one handle. Clones share the cache of the index.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) root: Arc<Root>,
    pub(crate) index: Arc<Index>,
    pub(crate) settings: Settings,
    /// The rules of signatures, as last read.
    policy: Arc<policy::CachedPolicy>,
    /// Whether file locks exclude anybody here.
    pub(crate) locks_work: bool,
    /// Whether opening it has created it.
    pub(crate) is_new: bool,
    pub(crate) observer: CheckObserver,
    /// Set once the observer was told that uses cannot be noted.
    has_told_of_uses: Arc<Once>,
}

/// Receives events of checks that have to read content before it is handed out, and of uses that cannot be noted.
#[derive(Clone)]
pub(crate) struct CheckObserver(pub(crate) Arc<dyn Observer>);

impl fmt::Debug for CheckObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckObserver")
    }
}

/// The settings of one handle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) durability: Durability,
    /// How long to wait for the locks of commits and sweeps.
    pub(crate) lock_wait: Wait,
    /// Whether content is checked before it is handed out.
    pub(crate) check: Check,
}

impl Store {
    pub(crate) fn around(root: Root) -> Self {
        let root = Arc::new(root);
        let locks_work = locks_work(&root, &layout::lock_probe());
        if !locks_work {
            tracing::warn!(root = %root.path().display(), "file locks do nothing here: nothing is collected");
        }
        let index = Arc::new(Index::new(root.clone(), locks_work));
        let lock_wait = Wait::UpTo(Duration::from_secs(30));
        let settings = Settings { durability: Durability::Full, lock_wait, check: Check::IfChanged };
        let observer = CheckObserver(Arc::new(()));
        Store {
            root,
            index,
            settings,
            policy: Arc::default(),
            locks_work,
            is_new: false,
            observer,
            has_told_of_uses: Arc::new(Once::new()),
        }
    }

    /// The same store with another waiting time for locks.
    pub(crate) fn with_lock_wait(&self, lock_wait: Wait) -> Store {
        Store { settings: Settings { lock_wait, ..self.settings }, ..self.clone() }
    }

    pub(crate) fn durability(&self) -> Durability {
        self.settings.durability
    }

    /// The root, absolute.
    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// A record's path, relative to the root.
    pub(crate) fn relative<'a>(&self, local_path: &'a Path) -> &'a Path {
        local_path.strip_prefix(self.path()).unwrap_or(local_path)
    }

    pub(crate) fn record(&self, id: &str) -> Result<Option<Record>> {
        self.index.get(id)
    }

    /// The record of an id; an error if there is none.
    pub(crate) fn require(&self, id: &str) -> Result<Record> {
        self.record(id)?.ok_or_else(|| self.not_found(id))
    }

    pub(crate) fn not_found(&self, id: &str) -> Error {
        Error::NotFound { id: id.to_owned(), root: self.path().to_path_buf() }
    }

    /// Creates what a store of an earlier version lacks, or what a full disk took away, if there is room. Best effort.
    pub(crate) fn complete(&self) {
        reserve::make_if_it_fits(&self.root);
        uses::make_folder(&self.root);
    }

    /// Changes records that refer to nothing new, durably.
    pub(crate) fn edit(&self, ids: &[&str], edit: &mut Edit<'_>) -> Result<()> {
        Shared::lock(self)?.record(ids, false, edit)
    }
}
