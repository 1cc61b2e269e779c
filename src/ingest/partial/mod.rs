//! Partials: what has been copied or fetched of a large file so far. A partial outlives the process that fills it.
//!
//! `partials/<key>/data` has the full length and its room from the beginning; `journal` says which parts of it are there.
//! The key says what the bytes are. So a process that wants the same bytes goes on where another one was stopped by
//! Ctrl-C, a kill or a power cut, and other bytes are another partial. The folder has an owner, as a session's has: a process
//! that finds it owned makes a private copy instead.
//!
//! The protocol is in `docs/concurrency.md`, "Partials"; the bytes are in `docs/format.md`.
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

/// Says which bytes a partial is for. Equal texts mean equal bytes.
#[derive(Clone, Debug)]
pub(super) struct What {
    text: String,
    /// For people.
    name: String,
}

impl What {
    /// Bytes of this digest, wherever they come from.
    pub(super) fn digest(digest: &Digest, name: String) -> Self {
        What { text: digest.to_string(), name }
    }

    /// A local file as it is now. The change time is part of it because nobody can set that back.
    pub(super) fn local(path: &Path, meta: &Meta) -> Self {
        let Meta { inode, size_bytes, mtime_ns, changed_ns, .. } = meta;
        let text = format!("local {path:?} {inode} {size_bytes} {mtime_ns} {changed_ns}");
        What { text, name: path.display().to_string() }
    }

    /// The same, as a clone: another partial, since a copy is to share nothing with its source.
    pub(super) fn of_clone(self) -> Self {
        What { text: format!("clone of {}", self.text), ..self }
    }

    /// A remote file, as long as its origin gives it this strong validator.
    pub(super) fn remote(location: String, size_bytes: u64, validator: &str) -> Self {
        What { text: format!("remote {location:?} {size_bytes} {validator:?}"), name: location }
    }

    /// The same, by its digest if that is known. `None`: nothing says later whether it is still the same.
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

/// A partial that this process owns. Dropped, it stays for the next one.
#[derive(Debug)]
pub(super) struct Partial<'r> {
    root: &'r Root,
    folder: OwnedFolder,
    data: File,
    journal: Journal,
    size_bytes: u64,
    /// `data` has all bytes from the beginning, and only their hashes may be missing.
    is_clone: bool,
    /// The value of each group that is in `data`.
    values: Vec<Option<ChainingValue>>,
    /// What was in `data` when it had the wrong digest.
    before: Vec<Option<ChainingValue>>,
    /// What each group is by the word of the source, once that was asked. It is advice.
    told: Option<Vec<ChainingValue>>,
    midstate: Option<Midstate>,
    /// The SHA-256 of the whole file. Once it is known, nothing more is written.
    digest: Option<Digest>,
    /// How many bytes were there when this process took it up.
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

    /// An error that names its data.
    pub(super) fn fail(&self, action: &'static str, error: io::Error) -> Error {
        self.root.fail(action, &self.name(), error)
    }

    /// What it hashes to, when an earlier process has finished it.
    pub(super) fn whole(&self) -> Option<Hashes> {
        self.digest.and_then(|digest| self.hashes(digest))
    }

    /// What the whole hashes to, once its SHA-256 is known and all groups are there.
    fn hashes(&self, digest: Digest) -> Option<Hashes> {
        let values: Option<Vec<ChainingValue>> = self.values.iter().copied().collect();
        let groups = Groups::from_values(self.size_bytes, values?)?;
        Some(Hashes { digest, groups: Some(groups) })
    }

    /// Writes down that it is whole: a process that takes it up has nothing to read and nothing to hash.
    fn note_whole(&self, digest: Digest) {
        if self.digest.is_none() {
            self.journal.append(&[Fact::Digest { size_bytes: self.size_bytes, sha256: digest.to_sha256() }]);
        }
    }

    /// Takes back what is there, since the whole has the wrong digest: what is not as the source has told, or else all of it, is to
    /// be brought once more, and written where it differs. `false`: it was whole when it was taken up, or this has been done before.
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

    /// Takes back what is not as the source has told, if anything is.
    fn forget_what_differs(&mut self) -> bool {
        let told = self.told.as_deref().unwrap_or_default();
        let mut is_any = false;
        for (value, told) in self.values.iter_mut().zip(told) {
            is_any |= value.take_if(|value| value != told).is_some();
        }
        is_any
    }

    /// The whole file, to be sealed and published from where it is. The partial stays until its bytes are recorded: if
    /// publishing fails, or this process ends before it, the next process only has to publish.
    pub(super) fn into_pending(self) -> Pending<'r> {
        let (root, name, resumed_bytes) = (self.root, self.name(), self.resumed_bytes);
        let keeper = PartialKeeper { root, folder: self.folder };
        Pending::around(root, name, self.data, UsedMode::Copy).kept_by(Box::new(keeper), resumed_bytes)
    }

    /// Removes it: its bytes are not wanted, or not to be relied on.
    pub(super) fn remove(self) {
        remove(self.root, self.folder);
    }
}

/// The folder of a partial whose data waits to be published.
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

/// Best effort: what stays is removed by a later sweep.
fn remove(root: &Root, folder: OwnedFolder) {
    if let Err(error) = root.remove_all(folder.path()) {
        tracing::debug!(path = %folder.path().display(), %error, "a partial that is done with stays");
    }
}

/// Keeps the value of a group that was read just now. `false`: it was known. What was read back has to have it still.
fn is_new(slot: &mut Option<ChainingValue>, value: ChainingValue, data: impl FnOnce() -> PathBuf) -> Result<bool> {
    match slot.replace(value) {
        None => Ok(true),
        Some(held) if held == value => Ok(false),
        Some(_) => {
            let reason = "what an interrupted copy has left is no longer what it was".into();
            Err(Error::CorruptBlob { path: data(), reason })
        }
    }
}

/// The bytes of a group.
fn group_range(number: usize, size_bytes: u64) -> std::ops::Range<u64> {
    groups::range(number as u64, size_bytes)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests;
