//! A private file that is being filled, and what it becomes once it is hashed.
//!
//! ```text
//! Pending  -- hashed -->  Hashed  -- seal -->  Sealed  -- publish -->  a blob
//! ```
//!
//! The file that was hashed is the file that is published: all three are one inode that nobody else knows. If it is
//! dropped on the way, it is removed, unless a [`Keeper`] keeps it for a later process.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{NOBODY_ELSE, Sealed, UsedMode, is_good_by_stamp};
use crate::entry::{SourceStamp, Stamp};
use crate::error::{Error, Result};
use crate::fs::lock::Lock;
use crate::fs::source::Foreign;
use crate::fs::{Durability, Root, Session, atomic, meta_of};
use crate::hash::Hashes;
use crate::layout;

/// The mode of a blob, and so of every hardlinked view.
pub(crate) const BLOB_MODE: u32 = 0o444;

/// Facts about the file that the bytes came from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceFacts {
    /// Its stamp while it was read; `None` if it changed during the read, or there was no file.
    pub(crate) stamp: Option<Stamp>,
    /// Its change time when it was opened.
    changed_ns: i128,
    /// Whether a later write to it might not show in the stamp and the change time.
    pub(crate) is_racy: bool,
    /// Its mode before its inode was taken, to restore if the inode does not become a blob.
    pub(crate) borrowed_mode: Option<u32>,
}

impl SourceFacts {
    /// The facts of a file that is still there and was copied or cloned.
    pub(crate) fn of(source: &Foreign, stamp: Option<Stamp>) -> Self {
        SourceFacts {
            stamp,
            changed_ns: source.before().changed_ns,
            is_racy: source.was_just_changed(),
            borrowed_mode: None,
        }
    }

    /// The facts of a file whose inode becomes the blob.
    pub(crate) fn of_taken(source: &Foreign, stamp: Stamp) -> Self {
        SourceFacts { borrowed_mode: Some(source.before().mode), ..Self::of(source, Some(stamp)) }
    }

    /// The stamp, if a later write to the source will show in it.
    pub(super) fn lasting_stamp(&self) -> Option<SourceStamp> {
        let stamp = self.stamp.filter(|_| !self.is_racy)?;
        Some(SourceStamp { stamp, changed_ns: self.changed_ns })
    }
}

/// A private file that is being filled.
#[derive(Debug)]
pub(crate) struct Pending<'r> {
    private: PrivateName<'r>,
    file: File,
    mode: UsedMode,
    source: SourceFacts,
    resumed_bytes: u64,
}

impl<'r> Pending<'r> {
    /// Creates an empty private file.
    pub(crate) fn create(session: &Session<'r>) -> Result<Self> {
        let (root, name) = (session.root(), session.next_name());
        let file = root.create_file(&name, 0o600)?;
        Ok(Self::around(root, name, file, UsedMode::Copy))
    }

    /// Wraps the open file that has this private name.
    pub(crate) fn around(root: &'r Root, name: PathBuf, file: File, mode: UsedMode) -> Self {
        let private = PrivateName::of_session(root, name);
        Pending { private, file, mode, source: SourceFacts::default(), resumed_bytes: 0 }
    }

    /// The same, owned by `keeper`: dropping it leaves the file in place. An earlier process left `resumed_bytes` of
    /// its bytes.
    pub(crate) fn kept_by(mut self, keeper: Box<dyn Keeper + 'r>, resumed_bytes: u64) -> Self {
        self.private.home = Home::Kept(keeper);
        self.resumed_bytes = resumed_bytes;
        self
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn root(&self) -> &'r Root {
        self.private.root
    }

    pub(crate) fn name(&self) -> &Path {
        &self.private.name
    }

    /// Sets how its bytes are ingested.
    pub(crate) fn set_mode(&mut self, mode: UsedMode) {
        self.mode = mode;
    }

    pub(crate) fn set_source(&mut self, source: SourceFacts) {
        self.source = source;
    }

    /// To call once all of its bytes are here.
    pub(crate) fn hashed(self, hashes: Hashes) -> Hashed<'r> {
        Hashed { pending: self, hashes }
    }

    /// An error about this file.
    pub(crate) fn fail(&self, action: &'static str, error: io::Error) -> Error {
        self.private.root.fail(action, &self.private.name, error)
    }
}

/// A private file with all of its bytes, and their hashes.
#[derive(Debug)]
pub(crate) struct Hashed<'r> {
    pending: Pending<'r>,
    hashes: Hashes,
}

impl<'r> Hashed<'r> {
    /// Turns the file into what a blob has to be: read-only, with final metadata, and durable. The sync is skipped if
    /// its bytes are in the store already, because the file will then not be needed.
    pub(crate) fn seal(self, durability: Durability) -> Result<Sealed<'r>> {
        let Hashed { pending: Pending { mut private, file, mode, source, resumed_bytes }, hashes } = self;
        let root = private.root;
        let blob = layout::blob(&hashes.digest);
        private.give_back = source.borrowed_mode.map(|mode| GiveBack { mode, blob });
        atomic::set_mode(root, &file, &private.name, BLOB_MODE)?;
        // Writeback of the bytes that another process left may have failed since that process ended. Only a sync of
        // this very file reports that: a sync of the whole file system reports it only to the first caller.
        let is_wanted = durability.is_full() || resumed_bytes > 0;
        let must_sync = is_wanted && !is_good_by_stamp(root, &hashes.digest, durability, NOBODY_ELSE)?;
        if must_sync {
            // The kernel has dropped what it could not write, and a later sync would wrongly succeed.
            atomic::sync(root, &file, &private.name).inspect_err(|_| private.let_go())?;
        }
        let synced = if must_sync { Durability::Full } else { Durability::Relaxed };
        let meta = meta_of(&file).map_err(|e| root.fail("look at", &private.name, e))?;
        Ok(Sealed::new(private, meta, hashes, Provenance { mode, source, resumed_bytes }, synced))
    }
}

/// How a file got its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provenance {
    pub(super) mode: UsedMode,
    pub(super) source: SourceFacts,
    pub(super) resumed_bytes: u64,
}

/// Keeps a private file beyond the process that fills it, so that another process can continue.
pub(crate) trait Keeper: Debug + Send + Sync {
    /// Removes the file and everything that belongs to it: it is a blob now, or its bytes cannot be relied on.
    fn remove(self: Box<Self>);
}

/// Decides who removes a private file.
#[derive(Debug)]
enum Home<'r> {
    /// The session: its name is removed when this is dropped.
    Session,
    /// The keeper: it stays for another process.
    Kept(Box<dyn Keeper + 'r>),
    /// No one: it is a blob already, which no sweep removes while this lock is held.
    Leased(#[expect(dead_code, reason = "held for its drop")] Lock),
    /// No one: its name is gone, and may belong to another file by now.
    Gone,
}

/// The private name of a file. It is removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct PrivateName<'r> {
    pub(super) root: &'r Root,
    pub(super) name: PathBuf,
    home: Home<'r>,
    give_back: Option<GiveBack>,
}

/// The mode that a source's inode gets back, unless it has become a blob by then.
#[derive(Debug)]
struct GiveBack {
    mode: u32,
    blob: PathBuf,
}

impl<'r> PrivateName<'r> {
    pub(super) fn of_session(root: &'r Root, name: PathBuf) -> Self {
        PrivateName { root, name, home: Home::Session, give_back: None }
    }

    /// The name of a leased blob, which stays.
    pub(super) fn leased(root: &'r Root, name: PathBuf, lock: Lock) -> Self {
        PrivateName { root, name, home: Home::Leased(lock), give_back: None }
    }
}

impl PrivateName<'_> {
    /// To call when the file has become a blob, so that it stays read-only.
    pub(super) fn keep(&mut self) {
        self.give_back = None;
    }

    /// Gives up a kept file: its keeper removes it.
    pub(super) fn let_go(&mut self) {
        if let Home::Kept(_) = &self.home
            && let Home::Kept(keeper) = std::mem::replace(&mut self.home, Home::Gone)
        {
            keeper.remove();
        }
    }

    /// Whether the private file is the one at this name.
    fn is_at(&self, name: &Path) -> Result<bool> {
        let (private, there) = (self.root.meta(&self.name)?, self.root.meta(name)?);
        Ok(private.zip(there).is_some_and(|(private, there)| private.same_inode(&there)))
    }
}

impl Drop for PrivateName<'_> {
    fn drop(&mut self) {
        // Best effort: the session removes its whole folder later. The mode is not restored if the inode became a blob
        // after all, for another artifact: it then keeps a blob's mode.
        if let Some(GiveBack { mode, blob }) = self.give_back.take()
            && !self.is_at(&blob).unwrap_or(true)
            && let Ok(Some(file)) = self.root.open_file(&self.name)
        {
            let _ = atomic::set_mode(self.root, &file, &self.name, mode);
        }
        if let Home::Session = self.home {
            let _ = self.root.remove_file(&self.name);
        }
    }
}
