//! Bringing foreign bytes in: into a private inode first, hashed there, so that what is hashed is what is published.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{IngestMode, Session, UsedMode};
use crate::digest::Digest;
use crate::entry::Stamp;
use crate::error::{Error, Result};
use crate::fs::ahead::{Ahead, sync_meanwhile};
use crate::fs::map::Map;
use crate::fs::source::{source_error, source_meta};
use crate::fs::{Durability, Kind, Meta, Root, atomic, link, meta_of, open_source, space, writers};
use crate::hash::groups::Groups;
use crate::hash::{BothHasher, Hashes, hash_both, read_all};
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
    mode: UsedMode,
    source_stamp: Option<Stamp>,
    source_is_racy: bool,
    is_published: bool,
    is_synced: bool,
    /// Mode of the source's inode when it was taken as it is, to give back if it is not published after all.
    borrowed_mode: Option<u32>,
}

impl Incoming<'_> {
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

/// A large file is written to disk in parts of this size while it is copied.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// How a file is brought in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) mode: IngestMode,
    /// With `Full` it is synced here, before any lock is taken; a batch passes `Relaxed` and syncs the file system once.
    pub(crate) durability: Durability,
    /// Make the BLAKE3 groups on the way.
    pub(crate) with_groups: bool,
}

/// Brings the bytes of a regular file in and hashes them. `advanced` is told of every hashed chunk.
pub(crate) fn bring<'r>(
    session: &Session<'r>,
    source: &Path,
    how: How,
    advanced: &(dyn Fn(u64) + Sync),
) -> Result<Incoming<'r>> {
    if source_meta(source)?.kind != Kind::File {
        return Err(Error::UnsupportedFileType { path: source.to_path_buf(), kind: "directory" });
    }
    let read_began = SystemTime::now();
    let file = open_source(source).map_err(|e| source_error(source, e))?;
    let before = meta_of(&file).map_err(|e| Error::io("look at", source, e))?;
    if before.kind != Kind::File {
        return Err(Error::UnsupportedFileType { path: source.to_path_buf(), kind: "replaced file" });
    }
    let bringing = Bringing { session, source, file, before, read_began, how, advanced };
    match how.mode {
        IngestMode::Link => match bringing.link(UsedMode::Link)? {
            Some(incoming) => Ok(incoming),
            None => Err(Error::SourceInUse {
                path: source.to_path_buf(),
                reason: "it cannot be hardlinked into the root's file system".into(),
            }),
        },
        IngestMode::Move => match bringing.link(UsedMode::Move)? {
            Some(incoming) => Ok(incoming),
            None => {
                let mut incoming = bringing.clone_or_copy()?;
                incoming.mode = UsedMode::Move;
                Ok(incoming)
            }
        },
        IngestMode::Auto | IngestMode::Reflink | IngestMode::Copy => bringing.clone_or_copy(),
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

    fn around(root: &'r Root, name: PathBuf, file: File, mode: UsedMode) -> Result<Self> {
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

/// One source on its way in.
struct Bringing<'a, 'r> {
    session: &'a Session<'r>,
    source: &'a Path,
    file: File,
    before: Meta,
    read_began: SystemTime,
    how: How,
    advanced: &'a (dyn Fn(u64) + Sync),
}

impl<'r> Bringing<'_, 'r> {
    fn clone_or_copy(&self) -> Result<Incoming<'r>> {
        let root = self.session.root();
        let mut private = Private::create(self.session)?;
        let name = private.incoming.name.clone();
        let fail = |action| {
            let name = &name;
            move |e| root.fail(action, name, e)
        };
        let reflinked = self.how.mode != IngestMode::Copy
            && link::reflink(&self.file, &private.file).map_err(fail("reflink the source to"))?;
        if reflinked {
            private.incoming.mode = UsedMode::Reflink;
            // The clone is of one moment; its size may not be what was seen before.
            let size = meta_of(&private.file).map_err(fail("look at"))?.size_bytes;
            let fetch = |part| mapped(&private.file, part).map_err(fail("read"));
            let hashes = hash_both(size, self.how.with_groups, fetch, self.advanced)?;
            private.hashed(hashes);
            private.incoming.source_stamp = self.stamp_after().ok();
        } else if self.how.mode == IngestMode::Reflink {
            return Err(Error::io("reflink", self.source, io::Error::from(io::ErrorKind::Unsupported)));
        } else {
            let hashes = self.copy_and_hash(&private)?;
            private.hashed(hashes);
            private.incoming.source_stamp = Some(self.stamp_after()?);
        }
        private.incoming.source_is_racy = self.before.is_racy(self.read_began);
        private.seal(self.how.durability)
    }

    /// Copies a chunk, then hashes it where it has arrived while it is still in the processor's cache.
    fn copy_and_hash(&self, private: &Private<'_>) -> Result<Hashes> {
        let root = self.session.root();
        let write_failed = |e| root.fail("write", &private.incoming.name, e);
        let size = self.before.size_bytes;
        // The full size first: a map reaches no further than the file. Nothing is written past it.
        space::reserve(&private.file, size).map_err(write_failed)?;
        let copy = |part: Range<u64>, ahead: &Ahead| {
            let wanted = part.end - part.start;
            // The kernel copies without passing the bytes through this process, where it can.
            let copied = link::copy_bytes(&mut (&self.file).take(wanted), &private.file).map_err(write_failed)?;
            if copied != wanted {
                return Err(self.changed(format!("it ended {} bytes early", wanted - copied)));
            }
            ahead.wrote(wanted);
            mapped(&private.file, part).map_err(write_failed)
        };
        let every_bytes = (self.how.durability.is_full() && size > SYNC_EVERY_BYTES).then_some(SYNC_EVERY_BYTES);
        let sync = || atomic::sync_data(root, &private.file, &private.incoming.name);
        let (hashes, synced) = sync_meanwhile(every_bytes, sync, |ahead| {
            hash_both(size, self.how.with_groups, |part| copy(part, ahead), self.advanced)
        });
        synced?;
        let hashes = hashes?;
        // Files of /proc and some network file systems say 0 bytes and have more.
        if (&self.file).read(&mut [0]).map_err(|e| Error::io("read", self.source, e))? != 0 {
            return Err(self.changed(format!("it has more than the {size} bytes of its size")));
        }
        Ok(hashes)
    }

    /// Takes the source's inode as it is; `None` where that needs a link that the file systems do not give.
    fn link(&self, mode: UsedMode) -> Result<Option<Incoming<'r>>> {
        let root = self.session.root();
        self.check_nobody_writes()?;
        let name = self.session.next_name();
        match root.link_file(&self.file, &name) {
            Ok(()) => {}
            Err(e) if atomic::is_link_refusal(&e) => return Ok(None),
            Err(e) => return Err(root.fail("link the source to", &name, e)),
        }
        let handle = self.file.try_clone().map_err(|e| Error::io("read", self.source, e))?;
        let mut private = Private::around(root, name, handle, mode)?;
        private.incoming.borrowed_mode = Some(self.before.mode);
        // It may still be changed by its owner, so it is read and not mapped.
        let mut hasher = BothHasher::new(self.how.with_groups);
        let size = read_all(&mut &self.file, self.before.size_bytes, |bytes| {
            hasher.update(bytes);
            (self.advanced)(bytes.len() as u64);
        })
        .map_err(|e| Error::io("read", self.source, e))?;
        if size != self.before.size_bytes {
            return Err(self.changed(format!("{size} bytes were read of {}", self.before.size_bytes)));
        }
        private.hashed(hasher.finish());
        private.incoming.source_stamp = Some(self.stamp_after()?);
        private.incoming.source_is_racy = self.before.is_racy(self.read_began);
        let incoming = private.seal(self.how.durability)?;
        // Again: now that it is read-only, nobody new can come.
        self.check_nobody_writes()?;
        self.stamp_after()?;
        Ok(Some(incoming))
    }

    fn check_nobody_writes(&self) -> Result<()> {
        let in_use = |reason| Err(Error::SourceInUse { path: self.source.to_path_buf(), reason });
        if self.before.owner != crate::fs::current_user() {
            return in_use("it belongs to another user, who could make it writable again".into());
        }
        writers::find_writer(&self.before).map_or(Ok(()), in_use)
    }

    /// The source's stamp, which has to be the one from before: else it changed while it was read.
    fn stamp_after(&self) -> Result<Stamp> {
        let after = meta_of(&self.file).map_err(|e| Error::io("look at", self.source, e))?;
        if after.size_bytes != self.before.size_bytes {
            return Err(
                self.changed(format!("its size went from {} to {} bytes", self.before.size_bytes, after.size_bytes))
            );
        }
        if after.mtime_ns != self.before.mtime_ns {
            return Err(self.changed("it was written to".into()));
        }
        Ok(after.stamp())
    }

    fn changed(&self, detail: String) -> Error {
        Error::SourceChanged { path: self.source.to_path_buf(), detail }
    }
}

/// A part of a private file, read in.
pub(super) fn mapped(file: &File, part: Range<u64>) -> io::Result<Map> {
    let map = Map::of_owned(file, part)?;
    map.populate()?;
    Ok(map)
}
