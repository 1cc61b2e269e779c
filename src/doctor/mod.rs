//! `doctor`: checks the store against itself without writing, and repairs findings where possible.
//!
//! Other processes use the store meanwhile, so everything is inspected twice. The second look inspects what the first
//! one found, while no commit and no sweep can run: what it still finds is real.

mod blobs;
mod debris;
mod files;
mod finding;
mod json;
mod kind;
mod kind_table;
mod look;
mod mode;
mod needed;
mod private;
mod rebuild;
mod repair;
mod shards;
mod views;

pub use finding::{Finding, RepairOutcome};
pub use kind::{FindingKind, Remedy, Severity};

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use look::{Known, Look, Suspects};

use crate::blob;
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, Wait, try_lock_file};
use crate::fs::{Durability, Session, meta_of};
use crate::layout;
use crate::observer::Observer;
use crate::store::{Store, check_store_file, existing_root, has_entries, no_catalog};

/// How long to wait for a moment without commits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Three things happen without a lock: writing the files of an outboard, removing them after their blob, and creating a
/// folder below `ingest/` before locking it. Each takes less time than this.
const A_WRITE: Duration = Duration::from_millis(50);

/// Checks a store, even one that [`FsCatalog::open`](crate::FsCatalog::open) refuses because its own files are damaged.
#[derive(Clone)]
pub struct Doctor {
    store: Store,
    observer: Arc<dyn Observer>,
}

impl std::fmt::Debug for Doctor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doctor").field("root", &self.root()).finish_non_exhaustive()
    }
}

/// Whether any process can commit or collect during the second look.
enum Stillness {
    /// None can, while this lock is held.
    Held(#[expect(dead_code, reason = "held for its drop")] Lock),
    /// Without working locks, nothing tells.
    Unknown,
    /// Some process holds the store lock all the time.
    Busy,
}

impl Doctor {
    /// Opens the store at `root`, damaged or not. If there is none, the error satisfies
    /// [`is_not_found`](Error::is_not_found). Fails if the store has a newer format.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let path = root.as_ref();
        let root = existing_root(path)?;
        match check_store_file(&root) {
            Ok(true) => {}
            Ok(false) if blob::all(&root).is_ok_and(|blobs| blobs.is_empty()) && !has_entries(&root)? => {
                return Err(no_catalog(path));
            }
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Ok(false) | Err(_) => {} // `examine` finds it again
        }
        Ok(Doctor { store: Store::around(root), observer: Arc::new(()) })
    }

    /// Sets the durability of repairs.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.store.settings.durability = durability;
        self
    }

    /// Sets how long a repair waits for locks.
    #[must_use]
    pub fn with_lock_wait(mut self, wait: Wait) -> Self {
        self.store.settings.lock_wait = wait;
        self
    }

    /// Sets an observer that receives an event for each blob that a repair reads.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// The root as an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.path()
    }

    /// Checks everything except the bytes of blobs, which [`FsCatalog::verify`](crate::FsCatalog::verify) reads.
    /// Returns the worst findings first. Writes nothing, waits for no lock, and works on a read-only root.
    ///
    /// What cannot be inspected is a finding, too, so this fails only if the root itself cannot be read.
    ///
    /// ```
    /// use catalog_core::{Doctor, Severity};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let doctor = Doctor::open(catalog.root())?;
    /// for finding in doctor.examine()? {
    ///     println!("{} {}: {}; {}", finding.severity(), finding.path.display(), finding.what, finding.advice);
    ///     assert_ne!(finding.severity(), Severity::Error);
    /// }
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn examine(&self) -> Result<Vec<Finding>> {
        self.store.root.names(Path::new(""))?;
        let mut known = Known::default();
        let first = Look::new(&self.store, None).run(&mut known);
        let (settled, suspects): (Vec<_>, Vec<_>) = first.into_iter().partition(|finding| is_settled(finding.kind));
        let mut found = settled;
        if !suspects.is_empty() {
            found.extend(self.look_again(&suspects, &mut known));
        }
        found.sort_by(|a, b| b.severity().cmp(&a.severity()).then_with(|| a.key().cmp(&b.key())));
        found.dedup();
        Ok(found)
    }

    fn look_again(&self, first: &[Finding], known: &mut Known) -> Vec<Finding> {
        if first.iter().any(|finding| is_under_no_lock(finding.kind)) {
            thread::sleep(A_WRITE);
        }
        let stillness = self.wait_for_stillness();
        let suspects = Suspects::of(self.root(), first);
        let mut second = Look::new(&self.store, Some(&suspects)).run(known);
        second.retain(|finding| !is_settled(finding.kind));
        let is_still = matches!(stillness, Stillness::Held(_));
        let before: BTreeSet<_> = first.iter().map(Finding::key).collect();
        second.retain(|finding| (is_still && !is_under_no_lock(finding.kind)) || before.contains(&finding.key()));
        if matches!(stillness, Stillness::Busy) {
            second.retain(|finding| !is_made_by_commits(finding.kind));
        }
        second
    }

    /// Tries to take the store lock like a sweep, without waiting for it or creating the lock file. Commits wait while
    /// it is held.
    fn wait_for_stillness(&self) -> Stillness {
        let (root, name) = (&self.store.root, layout::lock_store());
        if !self.store.locks_work {
            return Stillness::Unknown;
        }
        let begun = Instant::now();
        loop {
            let Ok(Some(file)) = root.open_file(&name) else { return Stillness::Unknown };
            let Ok(opened) = meta_of(&file) else { return Stillness::Unknown };
            match try_lock_file(root, file, &name, Hold::Exclusive) {
                Ok(Some(lock)) => {
                    if root.meta(&name).is_ok_and(|named| named.is_some_and(|named| named.same_inode(&opened))) {
                        return Stillness::Held(lock);
                    }
                }
                Ok(None) if begun.elapsed() >= PATIENCE => return Stillness::Busy,
                Ok(None) => {}
                Err(_) => return Stillness::Unknown,
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Tests whether the file system supports hardlinks and reflinks, with two small files in `ingest/` that it removes
    /// again.
    pub fn probe(&self) -> Result<Vec<Finding>> {
        let root = &self.store.root;
        let session = Session::begin(root)?;
        let mut found = Vec::new();
        let (from, to) = (session.next_name(), session.next_name());
        drop(root.create_file(&from, 0o600)?);
        if let Err(error) = root.link(&from, &to) {
            let what = format!("a hardlink was refused: {error}");
            found.push(Finding::new(root, FindingKind::NoHardlinks, Path::new(""), what));
        }
        if !session.can_reflink() {
            let what = "a reflink was refused";
            found.push(Finding::new(root, FindingKind::NoReflinks, Path::new(""), what));
        }
        Ok(found)
    }
}

/// Kinds that no running operation causes for a moment.
fn is_settled(kind: FindingKind) -> bool {
    use FindingKind as K;
    matches!(
        kind,
        K::RootWritable
            | K::OtherOwner
            | K::NoModes
            | K::NoHardlinks
            | K::LocksDoNothing
            | K::TrashOverdue
            | K::QuarantineNotEmpty
            | K::NotExamined
    )
}

/// Kinds that exist for a moment without any lock being held.
fn is_under_no_lock(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::UnfinishedFile | FindingKind::StrayOutboard | FindingKind::DeadSession)
}

/// Kinds that exist for a moment whenever something is staged.
fn is_made_by_commits(kind: FindingKind) -> bool {
    use FindingKind as K;
    matches!(
        kind,
        K::UnfinishedFile
            | K::UnreferencedBlob
            | K::StrayView
            | K::StrayOutboard
            | K::PrevMissing
            | K::OutboardMissing
            | K::ViewExtra
    )
}
