//! A sweep: what is taken out of service while no commit runs, and removed for good afterwards.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Exclusive, Roots, Store};
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Freed, LeaseBlock};
use crate::digest::Digest;
use crate::entry::LinkMode;
use crate::error::{Error, Result};
use crate::fs::lock::Lock;
use crate::fs::{Kind, Meta};
use crate::index::{Edit, StoredRecord};
use crate::layout::{self, Place, Thing};
use crate::view;

/// Owns the store lock, exclusive, and knows all roots: what is referenced and what is leased cannot grow while it lives.
#[must_use = "what was taken out of service is removed for good by `finish`"]
pub(crate) struct Sweep<'s> {
    store: &'s Store,
    /// `None` only while it is taken again.
    guard: Option<Exclusive<'s>>,
    /// How often it was taken again.
    pub(crate) relocked: usize,
    pub(crate) roots: Roots,
    /// See [`Store::leased_orphans`].
    orphans: BTreeSet<Digest>,
    /// Blobs that nobody can lease until this is dropped.
    blocked: BTreeMap<Digest, Lock>,
    /// In `trash/` now, to be removed for good when the store lock is free again.
    doomed: Vec<(Digest, PathBuf)>,
    /// The inodes of all blobs, once they are asked for.
    blobs: OnceCell<BTreeSet<(u64, u64)>>,
    /// Removed for good already: a name in `trash/` could not be had, or would have cost a copy.
    freed: Vec<Freed>,
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays: a record references it.
    Referenced,
    /// It stays: a live process needs it.
    Leased,
    /// There was none.
    Gone,
    /// It is in `trash/`.
    Trashed,
    /// It was removed for good, where it was.
    Removed,
}

/// What a sweep has removed for good, and what it could not.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) freed: Vec<Freed>,
    pub(crate) failed: Vec<Error>,
}

impl<'s> Sweep<'s> {
    /// Begins a sweep. Refuses where file locks do nothing: neither leases nor commits would be seen.
    pub(crate) fn begin(store: &'s Store) -> Result<Self> {
        if !store.locks_work {
            return Err(Error::LocksDoNothing { root: store.path().to_path_buf() });
        }
        // The scan warms the cache, so that the store is locked for less.
        store.roots()?;
        let mut sweep = Sweep {
            store,
            guard: None,
            relocked: 0,
            roots: Roots::default(),
            orphans: BTreeSet::new(),
            blocked: BTreeMap::new(),
            doomed: Vec::new(),
            blobs: OnceCell::new(),
            freed: Vec::new(),
        };
        sweep.lock()?;
        Ok(sweep)
    }

    fn lock(&mut self) -> Result<()> {
        self.guard = Some(Exclusive::lock(self.store)?);
        self.roots = self.store.roots()?;
        self.orphans = self.store.leased_orphans(&self.roots)?;
        Ok(())
    }

    /// The guard, before each step. If somebody has removed the lock file, commits run beside this, and the roots are no
    /// more all that there are: then it is locked anew. Blocked leases are let go for that, in the order in which locks are taken.
    fn alone(&mut self) -> Result<&Exclusive<'s>> {
        if !self.guard.as_ref().map_or(Ok(false), Exclusive::is_named)? {
            self.blocked.clear();
            self.guard = None;
            self.relocked += 1;
            self.lock()?;
        }
        Ok(self.guard())
    }

    fn guard(&self) -> &Exclusive<'s> {
        self.guard.as_ref().expect("a sweep is locked from its beginning to its end")
    }

    /// Changes records while no commit runs.
    pub(crate) fn record(&mut self, ids: &[&str], edit: &mut Edit<'_>) -> Result<()> {
        self.alone()?.record(ids, edit)
    }

    /// Keeps new leases off an artifact's root blob until [`unblock_leases`](Sweep::unblock_leases). `false`: it is
    /// leased, and has to stay as a whole.
    pub(crate) fn block_leases(&mut self, digest: &Digest) -> Result<bool> {
        if self.blocked.contains_key(digest) {
            return Ok(true);
        }
        match blob::block_leases(&self.store.root, digest)? {
            LeaseBlock::Leased => Ok(false),
            LeaseBlock::Gone => Ok(!self.orphans.contains(digest)),
            LeaseBlock::Free(lock) => {
                self.blocked.insert(*digest, lock);
                Ok(true)
            }
        }
    }

    /// Each blob that leases are kept off costs a descriptor.
    pub(crate) fn unblock_leases(&mut self) {
        self.blocked.clear();
    }

    /// Puts a blob into `trash/` that nothing needs; with `at_once` it is removed for good when the sweep ends.
    pub(crate) fn remove_blob(&mut self, digest: &Digest, at_once: bool) -> Result<Fate> {
        self.alone()?;
        if self.roots.references(digest) {
            return Ok(Fate::Referenced);
        }
        let was_blocked = self.blocked.contains_key(digest);
        if self.orphans.contains(digest) || !self.block_leases(digest)? {
            return Ok(Fate::Leased);
        }
        let root = &self.store.root;
        let fate = if root.meta(&layout::blob(digest))?.is_none() {
            Fate::Gone
        } else if root.copies_up() {
            self.remove_for_good(digest)?
        } else {
            match self.guard().retire(digest) {
                Ok(trashed) if at_once => {
                    self.doomed.push((*digest, trashed));
                    Fate::Trashed
                }
                Err(error) if at_once && error.is_no_space() => self.remove_for_good(digest)?,
                trashed => trashed.map(|_| Fate::Trashed)?,
            }
        };
        if !was_blocked {
            self.blocked.remove(digest); // a tree may have more files than a process may have open
        }
        Ok(fate)
    }

    /// Commits wait while a large file is removed, but on a full disk there is no other way, and on an overlay the rename into
    /// `trash/` would first copy all of it.
    fn remove_for_good(&mut self, digest: &Digest) -> Result<Fate> {
        self.freed.push(blob::empty_trash(&self.store.root, digest, &layout::blob(digest))?);
        Ok(Fate::Removed)
    }

    /// Removes what was ever shown under an id that has no record any more, also at a place of the user's own. Returns
    /// what the copies among them bring.
    pub(crate) fn remove_views(&mut self, id: &str, record: &StoredRecord, files: &[TreeFile]) -> Result<Freed> {
        self.alone()?;
        let path = record.relative_path();
        let copies = match (&path, record.view) {
            (Some(path), Some(LinkMode::Copy)) => view::copies_of(&self.store.root, path, files)?,
            _ => Freed::default(),
        };
        let home = layout::view_home(id);
        self.remove_stray_views(&home)?;
        if let Some(path) = path
            && !path.starts_with(&home)
            // None of the store's own files is a view, whatever the record says.
            && layout::place(&path) != Place::Own
        {
            let (view, fingerprint) = (record.view, record.view_fingerprint.as_deref());
            let is_needed = |shown: &Path| self.roots.needs_path(shown);
            view::remove_in_place(&self.store.root, &path, files, view, fingerprint, is_needed)?;
        }
        Ok(copies)
    }

    /// Removes the views in the folder of an id that no record names and no lease holds.
    fn remove_stray_views(&mut self, home: &Path) -> Result<()> {
        for name in self.store.root.names(home)? {
            self.remove_stray_view(&home.join(name))?;
        }
        self.store.root.remove_empty_dir(home).map(drop)
    }

    /// One of them, `views/<slug>/<40 hex>`, or the folder `views/<slug>` of an id when it is empty.
    pub(crate) fn remove_stray_view(&mut self, folder: &Path) -> Result<bool> {
        self.alone()?;
        let root = &self.store.root;
        let digits = match layout::classify(folder) {
            Thing::ViewHome => return root.remove_empty_dir(folder), // never with what may have come into it since
            Thing::ViewFolder(digits) => digits,
            _ => return Ok(false),
        };
        if self.roots.needs_path(folder) {
            return Ok(false);
        }
        // A lease on what this id had before is on a blob that may well be another entry's too, so the blob being needed
        // says nothing about the view. A lease that comes now waits, and does not find the view half removed.
        let shown = blob::starting_with(root, digits.as_deref())?;
        for digest in &shown {
            if !self.block_leases(digest)? {
                return Ok(false);
            }
        }
        let expected = match digits {
            Some(_) => Expected::of(self.store, folder, &shown)?,
            None => Expected::Nothing,
        };
        self.clear(folder, folder, &expected)?;
        if let Some(home) = folder.parent() {
            self.store.root.remove_empty_dir(home)?;
        }
        Ok(true)
    }

    /// Removes a view's folder with all that the catalog has put there. A stranger's file goes to `quarantine/`.
    fn clear(&self, path: &Path, view: &Path, expected: &Expected) -> Result<()> {
        let root = &self.store.root;
        match root.meta(path)? {
            None => Ok(()),
            Some(meta) if meta.kind == Kind::Dir => {
                for name in root.names(path)? {
                    self.clear(&path.join(name), view, expected)?;
                }
                root.remove_empty_dir(path).map(drop)
            }
            Some(meta) if meta.kind == Kind::Symlink && self.is_our_symlink(path, expected)? => {
                root.remove_file(path).map(drop)
            }
            Some(meta) if is_ours(&meta, root.keeps_modes()) && self.is_expected(view, path, &meta, expected)? => {
                root.remove_file(path).map(drop)
            }
            Some(meta) => self.guard().quarantine_stranger(path, &meta).map(drop),
        }
    }

    fn is_our_symlink(&self, path: &Path, expected: &Expected) -> Result<bool> {
        Ok(!matches!(expected, Expected::Nothing) && view::is_symlink_to_some_blob(&self.store.root, path)?)
    }

    /// Whether the catalog may have put a file there: what it shows has this name and size, or it is a name of some blob, as
    /// when a manifest cannot be read.
    fn is_expected(&self, view: &Path, path: &Path, meta: &Meta, expected: &Expected) -> Result<bool> {
        if expected.has(view, path, meta) {
            return Ok(true);
        }
        if meta.links < 2 || matches!(expected, Expected::Nothing) {
            return Ok(false);
        }
        let blobs = match self.blobs.get() {
            Some(blobs) => blobs,
            None => {
                let metas = blob::all_with_meta(&self.store.root)?;
                self.blobs.get_or_init(|| metas.values().map(|meta| (meta.device, meta.inode)).collect())
            }
        };
        Ok(blobs.contains(&(meta.device, meta.inode)))
    }

    /// Lets commits run again, then removes for good what was taken at once.
    pub(crate) fn finish(self) -> Result<Swept> {
        let Sweep { store, guard, doomed, freed, blocked, .. } = self;
        drop((guard, blocked));
        let mut swept = Swept { freed, failed: Vec::new() };
        for (digest, trashed) in &doomed {
            match blob::empty_trash(&store.root, digest, trashed) {
                Ok(freed) => swept.freed.push(freed),
                Err(error) => swept.failed.push(error),
            }
        }
        Ok(swept)
    }
}

/// What the catalog has put into the folder of a view.
enum Expected {
    /// Somebody else has made the folder.
    Nothing,
    /// What it shows is not here any more, so its files cannot be told from others but by their mode.
    Unknown,
    /// A tree's files by their [`folded`] paths, with their sizes; a file's size alone.
    Files { by_path: BTreeSet<(String, u64)>, sizes_bytes: BTreeSet<u64> },
}

impl Expected {
    /// The files as which blobs, one of them the artifact, can be shown in this folder.
    fn of(store: &Store, folder: &Path, shown: &[Digest]) -> Result<Self> {
        if shown.is_empty() {
            return Ok(Expected::Unknown);
        }
        let (mut by_path, mut sizes_bytes) = (BTreeSet::new(), BTreeSet::new());
        // Only a tree has a folder in its view, and only then a blob is read.
        let is_tree = store.root.entries(folder)?.iter().any(|(_, meta)| meta.kind == Kind::Dir);
        for digest in shown {
            sizes_bytes.extend(store.root.meta(&layout::blob(digest))?.map(|meta| meta.size_bytes));
            let files = if is_tree { store.read_if_tree(*digest)? } else { None };
            let files = files.unwrap_or_default().into_iter();
            by_path.extend(files.map(|file| (folded(Path::new(&file.path)), file.size_bytes)));
        }
        Ok(Expected::Files { by_path, sizes_bytes })
    }

    fn has(&self, view: &Path, path: &Path, meta: &Meta) -> bool {
        // Below the name that it was staged by.
        let mut below = path.strip_prefix(view).unwrap_or(path).components();
        let is_named = below.next().is_some();
        match self {
            Expected::Nothing => false,
            Expected::Unknown => true,
            Expected::Files { sizes_bytes, .. } if below.as_path().as_os_str().is_empty() => {
                is_named && sizes_bytes.contains(&meta.size_bytes)
            }
            Expected::Files { by_path, .. } => by_path.contains(&(folded(below.as_path()), meta.size_bytes)),
        }
    }
}

/// A name may come back in another case or Unicode form than it was given.
fn folded(path: &Path) -> String {
    path.to_string_lossy().to_lowercase().chars().filter(char::is_ascii).collect()
}

/// The files of a view have mode 0444, as blobs have; what somebody else puts there mostly has not. Where modes are not
/// kept, nothing tells them apart.
fn is_ours(meta: &Meta, keeps_modes: Option<bool>) -> bool {
    meta.kind == Kind::File && (meta.mode & 0o777 == 0o444 || keeps_modes != Some(true))
}
