//! `doctor`: the store checked against itself, without a write; and what it finds repaired, where that can be done.
//!
//! A store is looked at while others work on it, so everything is looked at twice. The second look is at what the first
//! has found, and happens while no commit and no sweep can run: what it still finds is so.

mod blobs;
mod debris;
mod files;
mod finding;
mod json;
mod kind;
mod kind_table;
mod look;
mod mode;
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

/// How long a moment is waited for in which no commit runs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Under no lock, the files of an outboard are written, and removed after their blob, and a folder below `ingest/` is made
/// and locked then: each in less than this.
const A_WRITE: Duration = Duration::from_millis(50);

/// Looks at a store, also at one that [`FsCatalog::open`](crate::FsCatalog::open) refuses because its own files are damaged.
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

/// Whether anybody can commit or collect during the second look.
enum Stillness {
    /// Nobody, while this is held.
    Held(#[expect(dead_code, reason = "held for its drop")] Lock),
    /// There are no locks that would tell.
    Unknown,
    /// Somebody, all the time.
    Busy,
}

impl Doctor {
    /// Opens the store at `root`, damaged or not. Where there is none, the error is one for which
    /// [`is_not_found`](Error::is_not_found) holds; one of a newer format is refused.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let path = root.as_ref();
        let root = existing_root(path)?;
        match check_store_file(&root) {
            Ok(true) => {}
            Ok(false) if blob::all(&root).is_ok_and(|blobs| blobs.is_empty()) && !has_entries(&root)? => {
                return Err(no_catalog(path));
            }
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Ok(false) | Err(_) => {} // found again by the look
        }
        Ok(Doctor { store: Store::around(root), observer: Arc::new(()) })
    }

    /// The same, with another durability for what is repaired.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.store.settings.durability = durability;
        self
    }

    /// The same, with another patience for the locks that a repair takes.
    #[must_use]
    pub fn with_lock_wait(mut self, wait: Wait) -> Self {
        self.store.settings.lock_wait = wait;
        self
    }

    /// The same, which tells of the blobs that a repair reads.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// The root, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.path()
    }

    /// Looks at everything but the bytes of blobs, which [`FsCatalog::verify`](crate::FsCatalog::verify) reads. Writes nothing, waits for no lock,
    /// works on a read-only root. The worst comes first.
    ///
    /// What cannot be looked at is a finding too. So this fails only when the root itself cannot be read.
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

    /// Takes the store lock as a sweep does, but only tries, and makes no lock file. Commits wait for it meanwhile.
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

    /// Tries what the file system can, with two small files in `ingest/` that are removed again: hardlinks and reflinks.
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

/// Kinds that no operation makes and takes away again while it runs.
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

/// Kinds that are there for a moment while no lock says so.
fn is_under_no_lock(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::UnfinishedFile | FindingKind::StrayOutboard | FindingKind::DeadSession)
}

/// Kinds that are there for a moment whenever something is staged.
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
