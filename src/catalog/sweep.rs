//! A sweep: what is taken out of service while no commit runs, and removed for good afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::FsCatalog;
use super::roots::Roots;
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Claim, Freed};
use crate::digest::Digest;
use crate::entry::LinkMode;
use crate::error::{Error, Result};
use crate::fs::lock::Lock;
use crate::index::StoredRecord;
use crate::layout::{self, Place};
use crate::view;

/// Holds the store lock exclusive: what is referenced and what is leased cannot grow while it lives.
pub(super) struct Sweep<'c> {
    catalog: &'c FsCatalog,
    /// `None` only while it is taken again.
    store: Option<Lock>,
    /// How often it was taken again.
    pub(super) relocked: usize,
    pub(super) roots: Roots,
    /// See [`FsCatalog::leased_orphans`].
    orphans: BTreeSet<Digest>,
    /// Blobs that nobody can lease until this is dropped.
    claims: BTreeMap<Digest, Lock>,
    /// In `trash/` now, to be removed for good when the store lock is free again.
    doomed: Vec<(Digest, PathBuf)>,
    /// Removed for good already: there was no room for a name in `trash/`.
    freed: Vec<Freed>,
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays: a record references it.
    Referenced,
    /// It stays: a live process needs it.
    Leased,
    /// There was none.
    Gone,
    /// It is in `trash/`.
    Trashed,
}

impl FsCatalog {
    /// Begins a sweep. Refuses where file locks do nothing: neither leases nor commits would be seen.
    pub(super) fn sweep(&self) -> Result<Sweep<'_>> {
        if !self.locks_work {
            return Err(Error::LocksDoNothing { root: self.root().to_path_buf() });
        }
        // The scan warms the cache, so that the store is locked for less.
        self.roots()?;
        let mut sweep = Sweep {
            catalog: self,
            store: None,
            relocked: 0,
            roots: Roots::default(),
            orphans: BTreeSet::new(),
            claims: BTreeMap::new(),
            doomed: Vec::new(),
            freed: Vec::new(),
        };
        sweep.lock()?;
        Ok(sweep)
    }
}

impl Sweep<'_> {
    fn lock(&mut self) -> Result<()> {
        self.store = Some(self.catalog.lock_for_sweep()?);
        self.roots = self.catalog.roots()?;
        self.orphans = self.catalog.leased_orphans(&self.roots)?;
        Ok(())
    }

    /// Before each step: when somebody has removed the lock file, commits run beside this, and the roots are no more all
    /// that there are. Claims are given up for that, in the order in which locks are taken.
    fn check_alone(&mut self) -> Result<()> {
        let root = &self.catalog.root;
        let is_named = |lock: &Lock| lock.is_named(root, &layout::lock_store());
        if self.store.as_ref().map_or(Ok(false), is_named)? {
            return Ok(());
        }
        self.claims.clear();
        self.store = None;
        self.relocked += 1;
        self.lock()
    }

    /// Keeps new leases off an artifact's root blob until [`forget_claims`](Sweep::forget_claims). `false`: it is
    /// leased, and has to stay as a whole.
    pub(super) fn claim(&mut self, digest: &Digest) -> Result<bool> {
        if self.claims.contains_key(digest) {
            return Ok(true);
        }
        match blob::claim(&self.catalog.root, digest)? {
            Claim::Leased => Ok(false),
            Claim::Gone => Ok(!self.orphans.contains(digest)),
            Claim::Free(lock) => {
                self.claims.insert(*digest, lock);
                Ok(true)
            }
        }
    }

    /// Every claim costs a descriptor.
    pub(super) fn forget_claims(&mut self) {
        self.claims.clear();
    }

    /// Puts a blob into `trash/` that nothing needs; with `at_once` it is removed for good when the sweep ends.
    pub(super) fn remove_blob(&mut self, digest: &Digest, at_once: bool) -> Result<Fate> {
        self.check_alone()?;
        let root = &self.catalog.root;
        if self.roots.references(digest) {
            return Ok(Fate::Referenced);
        }
        let was_claimed = self.claims.contains_key(digest);
        if self.orphans.contains(digest) || !self.claim(digest)? {
            return Ok(Fate::Leased);
        }
        let fate = if root.meta(&layout::blob(digest))?.is_none() {
            Fate::Gone
        } else {
            match blob::to_trash(root, digest) {
                Ok(trashed) if at_once => self.doomed.push((*digest, trashed)),
                // Commits wait while a large file is removed, but on a full disk there is no other way.
                Err(error) if at_once && error.is_no_space() => {
                    self.freed.push(blob::empty_trash(root, digest, &layout::blob(digest))?);
                }
                trashed => drop(trashed?),
            }
            Fate::Trashed
        };
        if !was_claimed {
            self.claims.remove(digest); // a tree may have more files than a process may have open
        }
        Ok(fate)
    }

    /// Removes what was ever shown under an id that has no record any more, and an adopted path of its. Answers what
    /// the copies among them bring.
    pub(super) fn remove_views(&mut self, id: &str, record: &StoredRecord, files: &[TreeFile]) -> Result<Freed> {
        self.check_alone()?;
        let path = record.relative_path();
        let copies = match (&path, record.view) {
            (Some(path), Some(LinkMode::Copy)) => view::copies_of(&self.catalog.root, path, files)?,
            _ => Freed::default(),
        };
        let home = layout::view_home(id);
        self.remove_stray_views(&home)?;
        if let Some(path) = path
            && !path.starts_with(&home)
            // Of the store's own files, none is a view, whatever the record says.
            && layout::place(&path) != Place::Own
        {
            view::remove_adopted(&self.catalog.root, &path, files, record.view, |shown| self.roots.claims(shown))?;
        }
        Ok(copies)
    }

    /// Removes the views in the folder of an id that no record names and no lease holds.
    fn remove_stray_views(&mut self, home: &Path) -> Result<()> {
        for name in self.catalog.root.names(home)? {
            self.remove_stray_view(&home.join(name))?;
        }
        self.catalog.root.remove_empty_dir(home).map(drop)
    }

    /// One of them, `views/<slug>/<40 hex>`, or the folder `views/<slug>` of an id when it is empty.
    pub(super) fn remove_stray_view(&mut self, folder: &Path) -> Result<bool> {
        self.check_alone()?;
        let root = &self.catalog.root;
        let Some(home) = folder.parent().filter(|home| *home != Path::new(layout::VIEWS)) else {
            return root.remove_empty_dir(folder); // never with what may have come into it since
        };
        if self.roots.claims(folder) {
            return Ok(false);
        }
        // A lease on what this id had before is on a blob that may well be another entry's too, so the blob being needed
        // says nothing of the view. Whoever comes to lease it now waits, and does not find the view half removed.
        for digest in blob::starting_with(root, short_digest(folder))? {
            if !self.claim(&digest)? {
                return Ok(false);
            }
        }
        root.remove_all(folder)?;
        root.remove_empty_dir(home)?;
        Ok(true)
    }

    /// Lets commits run again, then removes for good what was taken at once.
    pub(super) fn finish(self) -> Result<Vec<Freed>> {
        let Sweep { catalog, store, doomed, mut freed, claims, .. } = self;
        drop((store, claims));
        for (digest, trashed) in &doomed {
            freed.push(blob::empty_trash(&catalog.root, digest, trashed)?);
        }
        Ok(freed)
    }
}

/// The digits that a folder `views/<slug>/<40 hex>` has of the digest of what it shows.
pub(super) fn short_digest(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
