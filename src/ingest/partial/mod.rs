//! Partials: what has been copied or fetched of a large file so far. A partial outlives the process that fills it.
//!
//! `partials/<key>/data` has its full length and its room from the start; `journal` records which parts are there. The
//! key identifies the bytes. So a process that wants the same bytes resumes where another one was stopped by Ctrl-C, a
//! kill or a power cut, and different bytes get another partial. Like a session's folder, the folder has an owner: a
//! process that finds it owned makes a private copy instead.
//!
//! `docs/concurrency.md`, "Partials", has the protocol; `docs/format.md` has the byte format.
//!
//! ```text
//! open.rs       takes one up, or begins one
//! journal.rs    what is in it, in records that check themselves
//! fill.rs       copies what is missing, with all cores
//! pull.rs       brings it from something remote, over several connections
//! stream.rs     the same, as one of many streams
//! inventory.rs  all that there are, for gc, du and doctor
//! ```

mod fill;
mod inventory;
mod journal;
mod open;
mod pull;
mod stream;

#[cfg(all(feature = "testing", feature = "hf"))]
pub(crate) use inventory::is_journal;
pub use inventory::{PartialInfo, PartialState};
pub(crate) use inventory::{bytes_of_partials, partial, partials, partials_of, remove_left, remove_partial, reserved};
pub(super) use open::Begin;
pub(super) use stream::Position;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use blake3::hazmat::ChainingValue;

use self::journal::{Fact, Journal};
use crate::blob::{Keeper, Pending, UsedMode};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::owned::OwnedFolder;
use crate::fs::{Meta, Root};
use crate::hash::groups::{self, Groups};
use crate::hash::{Hashes, Midstate};
use crate::ingest::Ranges;
use crate::layout::{self, DATA, JOURNAL};

/// Identifies the bytes that a partial is for. Equal texts mean equal bytes.
#[derive(Clone, Debug)]
pub(super) struct What {
    text: String,
    /// For humans.
    name: String,
}

impl What {
    /// Bytes with this digest, wherever they come from.
    pub(super) fn digest(digest: &Digest, name: String) -> Self {
        What { text: digest.to_string(), name }
    }

    /// A local file in its current state. Includes the change time, because no user can set it back.
    pub(super) fn local(path: &Path, meta: &Meta) -> Self {
        let Meta { inode, size_bytes, mtime_ns, changed_ns, .. } = meta;
        let text = format!("local {path:?} {inode} {size_bytes} {mtime_ns} {changed_ns}");
        What { text, name: path.display().to_string() }
    }

    /// The same bytes as a clone. It has another partial, because a copy must not share blocks with its source.
    pub(super) fn of_clone(self) -> Self {
        What { text: format!("clone of {}", self.text), ..self }
    }

    /// A remote file, as long as its origin reports this strong validator.
    pub(super) fn remote(location: String, size_bytes: u64, validator: &str) -> Self {
        What { text: format!("remote {location:?} {size_bytes} {validator:?}"), name: location }
    }

    /// A remote file: by its digest if known, otherwise by its validator. `None`: nothing would show that it has
    /// changed.
    pub(super) fn of_ranges(expected: Option<&Digest>, ranges: &Ranges) -> Option<Self> {
        let (location, size_bytes) = (ranges.reader.name(), ranges.reader.size_bytes());
        match (expected, &ranges.validator) {
            (Some(expected), _) => Some(What::digest(expected, location)),
            (None, Some(validator)) => Some(What::remote(location, size_bytes, validator)),
            (None, None) => None,
        }
    }

    /// Equal texts mean equal bytes.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn folder(&self) -> PathBuf {
        layout::partial(&layout::partial_key(&self.text))
    }

    fn identity(&self) -> journal::Identity {
        *blake3::hash(self.text.as_bytes()).as_bytes()
    }
}

/// A partial that this process owns. When dropped, it stays on disk for the next process.
#[derive(Debug)]
pub(super) struct Partial<'r> {
    root: &'r Root,
    folder: OwnedFolder,
    data: File,
    journal: Journal,
    size_bytes: u64,
    /// `data` has all bytes from the start; only their hashes may be missing.
    is_clone: bool,
    /// The value of each group that is in `data`.
    values: Vec<Option<ChainingValue>>,
    /// The values of the groups in `data` when the whole had the wrong digest.
    before: Vec<Option<ChainingValue>>,
    /// The values that the source reported for the groups, once it was asked. They are only advice.
    told: Option<Vec<ChainingValue>>,
    midstate: Option<Midstate>,
    /// The SHA-256 of the whole file. Once it is known, nothing more is written.
    digest: Option<Digest>,
    /// The number of bytes that were there when this process opened it.
    resumed_bytes: u64,
}

impl<'r> Partial<'r> {
    pub(super) fn data(&self) -> &File {
        &self.data
    }

    pub(super) fn root(&self) -> &'r Root {
        self.root
    }

    pub(super) fn name(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    pub(super) fn resumed_bytes(&self) -> u64 {
        self.resumed_bytes
    }

    pub(super) fn is_clone(&self) -> bool {
        self.is_clone
    }

    /// Builds an error that names its data.
    pub(super) fn fail(&self, action: &'static str, error: io::Error) -> Error {
        self.root.fail(action, &self.name(), error)
    }

    /// The hashes of the whole file if an earlier process finished it.
    pub(super) fn whole(&self) -> Option<Hashes> {
        self.digest.and_then(|digest| self.hashes(digest))
    }

    /// The hashes of the whole file, once its SHA-256 is known and all groups are there.
    fn hashes(&self, digest: Digest) -> Option<Hashes> {
        let values: Option<Vec<ChainingValue>> = self.values.iter().copied().collect();
        let groups = Groups::from_values(self.size_bytes, values?)?;
        Some(Hashes { digest, groups: Some(groups) })
    }

    /// Records that it is whole, so a process that resumes it has nothing to read or hash.
    fn note_whole(&self, digest: Digest) {
        if self.digest.is_none() {
            self.journal.append(&[Fact::Digest { size_bytes: self.size_bytes, sha256: digest.to_sha256() }]);
        }
    }

    /// Withdraws groups because the whole has the wrong digest: those that differ from what the source reported, or all
    /// groups if none differ. They are fetched again, and written only where they differ. Returns `false` if the
    /// partial was already whole when it was opened, or if this was done before.
    pub(super) fn doubt(&mut self) -> Result<bool> {
        if self.digest.is_some() || !self.before.is_empty() {
            return Ok(false);
        }
        self.journal.forget().map_err(|e| self.fail("write the journal beside", e))?;
        self.before.clone_from(&self.values);
        if !self.forget_what_differs() {
            self.values.fill(None);
        }
        let kept = self.values.iter().enumerate().filter_map(|(number, value)| Some((number as u64, (*value)?)));
        let kept: Vec<Fact> = kept.map(|(number, value)| Fact::Group { number, value }).collect();
        self.journal.append(&kept);
        (self.midstate, self.resumed_bytes) = (None, 0);
        Ok(true)
    }

    /// Withdraws the groups that differ from what the source reported. Returns whether there were any.
    fn forget_what_differs(&mut self) -> bool {
        let told = self.told.as_deref().unwrap_or_default();
        let mut is_any = false;
        for (value, told) in self.values.iter_mut().zip(told) {
            is_any |= value.take_if(|value| value != told).is_some();
        }
        is_any
    }

    /// Returns the whole file, to be sealed and published from where it is. The partial stays until its bytes are
    /// recorded: if publishing fails, or this process dies first, the next one only has to publish.
    pub(super) fn into_pending(self) -> Pending<'r> {
        let (root, name, resumed_bytes) = (self.root, self.name(), self.resumed_bytes);
        let keeper = PartialKeeper { root, folder: self.folder };
        Pending::around(root, name, self.data, UsedMode::Copy).kept_by(Box::new(keeper), resumed_bytes)
    }

    /// Removes the partial: its bytes are unwanted or unreliable.
    pub(super) fn remove(self) {
        remove(self.root, self.folder);
    }
}

/// The folder of a partial whose data is waiting to be published.
#[derive(Debug)]
struct PartialKeeper<'r> {
    root: &'r Root,
    folder: OwnedFolder,
}

impl Keeper for PartialKeeper<'_> {
    fn remove(self: Box<Self>) {
        remove(self.root, self.folder);
    }
}

/// Best effort: a later sweep removes what is left.
fn remove(root: &Root, folder: OwnedFolder) {
    if let Err(error) = root.remove_all(folder.path()) {
        tracing::debug!(path = %folder.path().display(), %error, "could not remove a partial that is no longer needed");
    }
}

/// Stores the value of a group that was just read. Returns whether it was unknown. Fails if a known value differs.
fn is_new(slot: &mut Option<ChainingValue>, value: ChainingValue, data: impl FnOnce() -> PathBuf) -> Result<bool> {
    match slot.replace(value) {
        None => Ok(true),
        Some(held) if held == value => Ok(false),
        Some(_) => {
            let reason = "what an interrupted copy left has changed since then".into();
            Err(Error::CorruptBlob { path: data(), reason })
        }
    }
}

/// The byte range of a group.
fn group_range(number: usize, size_bytes: u64) -> std::ops::Range<u64> {
    groups::range(number as u64, size_bytes)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests;
