//! A sweep: files are taken out of service while no commit runs, and removed for good afterwards.

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

/// Holds the store lock exclusively and knows all roots: no new references and no new leases can appear while it lives.
#[must_use = "what was taken out of service is removed for good by `finish`"]
pub(crate) struct Sweep<'s> {
    store: &'s Store,
    /// `None` only while the lock is taken again.
    guard: Option<Exclusive<'s>>,
    /// How often the lock was taken again.
    pub(crate) relocked: usize,
    pub(crate) roots: Roots,
    /// See [`Store::leased_orphans`].
    orphans: BTreeSet<Digest>,
    /// Blobs that no process can lease until this is dropped.
    blocked: BTreeMap<Digest, Lock>,
    /// Blobs in `trash/` that will be removed for good once the store lock is released.
    doomed: Vec<(Digest, PathBuf)>,
    /// The inodes of all blobs, once they are needed.
    blobs: OnceCell<BTreeSet<(u64, u64)>>,
    /// Blobs that are already removed for good, because a name in `trash/` was not possible or would have cost a copy.
    freed: Vec<Freed>,
}

/// What happened to a blob.
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
    /// It was removed for good, directly from its place.
    Removed,
}

/// What a sweep has removed for good, and what it could not remove.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) freed: Vec<Freed>,
    pub(crate) failed: Vec<Error>,
}

impl<'s> Sweep<'s> {
    /// Begins a sweep. An error if file locks do not work: the sweep would see neither leases nor commits.
    pub(crate) fn begin(store: &'s Store) -> Result<Self> {
        if !store.locks_work {
            return Err(Error::LocksDoNothing { root: store.path().to_path_buf() });
        }
        // Both warm a cache, of the shards and of the system, so that the store is locked for less time.
        store.index.all()?;
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
        self.orphans = self.store.leased_orphans(|digest| self.roots.references(digest))?;
        Ok(())
    }

    /// Returns the guard, before each step. If another process has removed the lock file, commits may run at the same
    /// time and the roots may be incomplete, so it locks the store again. It unblocks leases first, to keep to the lock
    /// order.
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

    /// Blocks new leases on an artifact's root blob until [`unblock_leases`](Sweep::unblock_leases). `false`: it is
    /// leased, and the whole artifact must stay.
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

    /// Unblocks all leases. Each blob with blocked leases costs a descriptor.
    pub(crate) fn unblock_leases(&mut self) {
        self.blocked.clear();
    }

    /// Moves an unneeded blob to `trash/`; with `at_once` it is removed for good when the sweep ends.
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
            self.blocked.remove(digest); // a tree may have more files than a process may open
        }
        Ok(fate)
    }

    /// Commits wait while a large file is removed. But on a full disk there is no other way, and on an overlay the
    /// rename to `trash/` would first copy all of it.
    fn remove_for_good(&mut self, digest: &Digest) -> Result<Fate> {
        self.freed.push(blob::empty_trash(&self.store.root, digest, &layout::blob(digest))?);
        Ok(Fate::Removed)
    }

    /// Removes all views of an id that no longer has a record, including one at a path of the user's own. Returns what
    /// removing the copies among them frees.
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

    /// Removes the views in the folder of an id that no record names and no lease protects.
    fn remove_stray_views(&mut self, home: &Path) -> Result<()> {
        for name in self.store.root.names(home)? {
            self.remove_stray_view(&home.join(name))?;
        }
        self.store.root.remove_empty_dir(home).map(drop)
    }

    /// Removes one of them, `views/<slug>/<40 hex>`, or the folder `views/<slug>` of an id if it is empty.
    pub(crate) fn remove_stray_view(&mut self, folder: &Path) -> Result<bool> {
        self.alone()?;
        let root = &self.store.root;
        let digits = match layout::classify(folder) {
            Thing::ViewHome => return root.remove_empty_dir(folder), // never with files that may have been added since
            Thing::ViewFolder(digits) => digits,
            _ => return Ok(false),
        };
        if self.roots.needs_path(folder) {
            return Ok(false);
        }
        // A lease on the previous content of this id is a lock on a blob that another entry may need too, so whether
        // the blob is needed says nothing about the view. A lease that is requested now waits, so it does not find a
        // half-removed view.
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

    /// Removes a view's folder with everything that the catalog has put there. Any other file goes to `quarantine/`.
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

    /// Whether the catalog may have put a file there: the view has a file with this path and size, or the file is a
    /// link to some blob, which matters if a manifest cannot be read.
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

    /// Lets commits run again, then removes the blobs for good that were removed `at_once`.
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
    /// Nothing: the catalog did not make the folder.
    Nothing,
    /// Unknown, because its blob is gone: its files can be told from others only by their mode.
    Unknown,
    /// For a tree, its files' [`folded`] paths and sizes; for a file, only the size.
    Files { by_path: BTreeSet<(String, u64)>, sizes_bytes: BTreeSet<u64> },
}

impl Expected {
    /// The files that the folder of a view may contain if its artifact is one of these blobs.
    fn of(store: &Store, folder: &Path, shown: &[Digest]) -> Result<Self> {
        if shown.is_empty() {
            return Ok(Expected::Unknown);
        }
        let (mut by_path, mut sizes_bytes) = (BTreeSet::new(), BTreeSet::new());
        // Only the view of a tree has folders; only then is a blob read.
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
        // The path below the name under which it was staged.
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

/// A name may be listed in another case or Unicode form than it was given.
fn folded(path: &Path) -> String {
    path.to_string_lossy().to_lowercase().chars().filter(char::is_ascii).collect()
}

/// The files of a view have mode 0444, like blobs; files from elsewhere mostly have another mode. If the file system
/// does not keep modes, they cannot be told apart.
fn is_ours(meta: &Meta, keeps_modes: Option<bool>) -> bool {
    meta.kind == Kind::File && (meta.mode & 0o777 == 0o444 || keeps_modes != Some(true))
}
