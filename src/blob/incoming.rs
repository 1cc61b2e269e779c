//! What was brought in and waits to be published: a private inode, hashed, so that what is hashed is what is published.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::UsedMode;
use crate::digest::Digest;
use crate::entry::Stamp;
use crate::error::Result;
use crate::fs::map::Map;
use crate::fs::source::Foreign;
use crate::fs::{Durability, Meta, Root, Session, atomic, meta_of};
use crate::hash::groups::Groups;
use crate::hash::{BothHasher, Hashes};
use crate::layout;

/// The mode of a blob, and so of every hardlinked view.
const BLOB_MODE: u32 = 0o444;

/// A private, hashed file that waits to be published. Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Incoming<'r> {
    root: &'r Root,
    name: PathBuf,
    meta: Meta,
    digest: Digest,
    groups: Option<Groups>,
    pub(super) mode: UsedMode,
    pub(super) source_stamp: Option<Stamp>,
    pub(super) source_is_racy: bool,
    is_published: bool,
    is_synced: bool,
    /// Mode of the source's inode when it was taken as it is, to give back if it is not published after all.
    pub(super) borrowed_mode: Option<u32>,
}

impl<'r> Incoming<'r> {
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.meta.size_bytes
    }

    pub(crate) fn mode(&self) -> UsedMode {
        self.mode
    }

    /// The source's stamp while it was read; `None` when it changed meanwhile, or there was no source.
    pub(crate) fn source_stamp(&self) -> Option<Stamp> {
        self.source_stamp
    }

    /// The source's stamp, if a later write to the source will show in it.
    pub(crate) fn lasting_stamp(&self) -> Option<Stamp> {
        self.source_stamp.filter(|_| !self.source_is_racy)
    }

    pub(super) fn root(&self) -> &'r Root {
        self.root
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What the blob will be checked against; `None` when that is made by its first check.
    pub(super) fn groups(&self) -> Option<&Groups> {
        self.groups.as_ref()
    }

    /// Links or renames the private inode to `to`, unless there is something else already.
    pub(super) fn publish(&mut self, to: &Path) -> Result<bool> {
        // In a second round as well: between the two nothing held the store, and a removal may have taken the blob.
        if !(self.is_published && self.is_at(to)?) {
            self.is_published = atomic::publish_new(self.root, &self.name, &self.meta, to)?;
        }
        Ok(self.is_published)
    }

    /// Whether its bytes have reached the disk.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// The whole file system was synced.
    pub(crate) fn was_synced(&mut self) {
        self.is_synced = true;
    }

    /// Makes its bytes durable, when they are not.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if !self.is_synced
            && let Some(file) = self.root.open_file(&self.name)?
        {
            atomic::sync(self.root, &file, &self.name)?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// What was published is recorded now: a source that was taken as it is stays a blob, and read-only.
    pub(crate) fn keep(&mut self) {
        if self.is_published {
            self.borrowed_mode = None;
        }
    }

    fn is_at(&self, name: &Path) -> Result<bool> {
        Ok(self.root.meta(name)?.is_some_and(|there| there.same_inode(&self.meta)))
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // Best effort: the session's folder goes as a whole later.
        // Not when it is a blob all the same, of another artifact: that keeps a blob's mode.
        if let Some(mode) = self.borrowed_mode
            && !self.is_at(&layout::blob(&self.digest)).unwrap_or(true)
            && let Ok(Some(file)) = self.root.open_file(&self.name)
        {
            let _ = atomic::set_mode(self.root, &file, &self.name, mode);
        }
        let _ = self.root.remove_file(&self.name);
    }
}

/// Brings in bytes that are in memory: a tree's manifest.
pub(crate) fn bring_bytes<'r>(session: &Session<'r>, bytes: &[u8], durability: Durability) -> Result<Incoming<'r>> {
    let root = session.root();
    let mut private = Private::create(session)?;
    atomic::write(&private.file, bytes).map_err(|e| root.fail("write", &private.incoming.name, e))?;
    let mut hasher = BothHasher::new(true);
    hasher.update(bytes);
    private.hashed(hasher.finish());
    private.seal(durability)
}

/// A private file that is being filled.
pub(super) struct Private<'r> {
    pub(super) file: File,
    pub(super) incoming: Incoming<'r>,
}

impl<'r> Private<'r> {
    pub(super) fn create(session: &Session<'r>) -> Result<Self> {
        let (root, name) = (session.root(), session.next_name());
        let file = root.create_file(&name, 0o600)?;
        Self::around(root, name, file, UsedMode::Copy)
    }

    pub(super) fn around(root: &'r Root, name: PathBuf, file: File, mode: UsedMode) -> Result<Self> {
        let meta = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?;
        let incoming = Incoming {
            root,
            name,
            meta,
            digest: Digest::of_bytes(&[]),
            groups: None,
            mode,
            source_stamp: None,
            source_is_racy: true,
            is_published: false,
            is_synced: false,
            borrowed_mode: None,
        };
        Ok(Private { file, incoming })
    }

    /// Records what the source was while it was read.
    pub(super) fn note(&mut self, source: &Foreign, stamp: Option<Stamp>) {
        self.incoming.source_stamp = stamp;
        self.incoming.source_is_racy = source.is_racy();
    }

    pub(super) fn hashed(&mut self, hashes: Hashes) {
        self.incoming.digest = hashes.digest;
        self.incoming.groups = hashes.groups;
    }

    /// Makes the file what a blob is: read-only, its metadata final, and durable, unless its bytes are here already, so
    /// that it will not be needed.
    pub(super) fn seal(mut self, durability: Durability) -> Result<Incoming<'r>> {
        let (root, name) = (self.incoming.root, &self.incoming.name);
        atomic::set_mode(root, &self.file, name, BLOB_MODE)?;
        if durability.is_full() && !super::is_good_by_stamp(root, &self.incoming.digest, durability)? {
            atomic::sync(root, &self.file, name)?;
            self.incoming.is_synced = true;
        }
        self.incoming.meta = meta_of(&self.file).map_err(|e| root.fail("look at", name, e))?;
        Ok(self.incoming)
    }
}

/// A part of a private file, read in.
pub(super) fn mapped(file: &File, part: Range<u64>) -> io::Result<Map> {
    let map = Map::of_owned(file, part)?;
    map.populate()?;
    Ok(map)
}
