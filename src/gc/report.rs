//! What garbage collection would do, why, and what it did.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::GcPolicy;
use crate::digest::Digest;
use crate::error::Error;
use crate::json::all_lossy;

/// What happens to an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GcAction {
    /// Remove a file or folder left behind by an operation whose process died.
    RemoveLeftover {
        /// Relative to the root.
        path: PathBuf,
    },
    /// Remove a view that no entry names.
    RemoveView {
        /// Relative to the root.
        path: PathBuf,
    },
    /// Permanently remove something in `quarantine/`.
    RemoveQuarantined {
        /// Relative to the root.
        path: PathBuf,
    },
    /// Permanently remove a blob in `trash/`.
    EmptyTrash {
        /// The blob's digest.
        digest: Digest,
    },
    /// Move an unreferenced blob to `trash/`, or remove it at once if room is needed or there is no grace period.
    RemoveBlob {
        /// The blob's digest.
        digest: Digest,
    },
    /// Remove an entry with its views. The blobs that only it needed go as in `RemoveBlob`.
    EvictEntry {
        /// The entry's id.
        id: String,
        /// The digest of its content.
        digest: Option<Digest>,
    },
}

/// Why an item is removed or kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GcReason {
    /// Its owner died while working on it.
    DeadOwner,
    /// No entry names it.
    Unreferenced,
    /// It was in `trash/` for longer than the grace period.
    GraceOver,
    /// It was in `quarantine/` for longer than the policy allows.
    QuarantinedTooLong,
    /// It was retired for longer than the policy allows.
    RetiredTooLong,
    /// It was idle for longer than the policy allows.
    IdleTooLong,
    /// Room is needed, and it is the least recently used.
    RoomNeeded,
    /// Kept: a live process leases it.
    Leased,
    /// Kept: a process has one of its files open or mapped without a lease. Detected on local file systems of Linux,
    /// where the kernel reports it only to the owner of the file.
    Open,
    /// Kept: it is pinned, under this name.
    Pinned(String),
    /// Kept: it was staged or used within the grace period.
    Young,
    /// Kept: other entries need the same bytes, so evicting it would free nothing.
    Shared,
    /// Kept: files outside the store share its bytes through hardlinks or reflinks, so evicting it would free nothing.
    SharedOutside,
}

/// For humans. Stable for scripts, except for the name of a pin.
impl fmt::Display for GcReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GcReason::DeadOwner => "its process died",
            GcReason::Unreferenced => "no entry references it",
            GcReason::GraceOver => "its grace is over",
            GcReason::QuarantinedTooLong => "in quarantine for too long",
            GcReason::RetiredTooLong => "retired for too long",
            GcReason::IdleTooLong => "not used for too long",
            GcReason::RoomNeeded => "least recently used, and room is needed",
            GcReason::Leased => "a live process leases it",
            GcReason::Open => "a process has it open",
            GcReason::Pinned(name) => return write!(f, "pinned as {name:?}"),
            GcReason::Young => "staged or used within the grace",
            GcReason::Shared => "other entries need the same bytes",
            GcReason::SharedOutside => "its bytes are shared with a file outside the store",
        })
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcStep {
    /// What to do.
    pub action: GcAction,
    /// Why.
    pub reason: GcReason,
    /// Bytes on disk that this frees, as far as can be known beforehand.
    pub bytes: u64,
    /// Remove blobs at once instead of moving them to `trash/` first.
    pub at_once: bool,
}

/// An entry that stays although the policy selects it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcKept {
    /// The entry's id.
    pub id: String,
    /// Why it stays.
    pub reason: GcReason,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What [`execute_gc`](crate::FsCatalog::execute_gc) would do now. Making a plan writes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use = "a plan does nothing by itself"]
#[non_exhaustive]
pub struct GcPlan {
    /// The policy that it was made from.
    pub policy: GcPolicy,
    /// The steps, in the order of their execution.
    pub steps: Vec<GcStep>,
    /// Entries that the policy selects, and why they stay.
    pub kept: Vec<GcKept>,
    /// Bytes on disk that the store's blobs occupy before the collection, including `trash/`, `quarantine/`, views that
    /// are copies, and leftovers of dead processes.
    pub used_bytes: u64,
    /// Bytes on disk of blobs that files outside the store share. They count towards no limit, and removing them here
    /// frees nothing.
    pub shared_bytes: u64,
    /// Bytes that the steps free, as far as can be known beforehand.
    pub freed_bytes: u64,
    /// Bytes that the policy demands and the plan cannot free, because the rest is leased, open, pinned, young, or
    /// shared with entries that stay or with files outside the store.
    pub shortfall_bytes: u64,
    /// Folders of another user that cannot be read, relative to the root. They are left alone.
    #[serde(serialize_with = "all_lossy")]
    pub unreadable: Vec<PathBuf>,
}

/// A step that failed. What it was about stays, and the next collection tries again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GcFailure {
    /// The failed action. `None`: a lock file, or a blob that was already in `trash/`, could not be removed.
    pub action: Option<GcAction>,
    /// Why it failed.
    pub error: Error,
}

/// What a collection did.
#[derive(Clone, Debug, Default, Serialize)]
#[must_use = "it says what could not be done"]
#[non_exhaustive]
pub struct GcReport {
    /// Number of evicted entries.
    pub entries: u64,
    /// Number of blobs removed for good.
    pub blobs: u64,
    /// Number of blobs moved to `trash/`.
    pub trashed: u64,
    /// Number of leftovers and views removed.
    pub leftovers: u64,
    /// Number of files removed from `quarantine/`.
    pub quarantined: u64,
    /// Number of removed lock files of references that were not used within the grace period. Plans do not list them.
    pub locks: u64,
    /// Bytes of the evicted entries, as engines saw them.
    pub logical_bytes: u64,
    /// Bytes freed on disk, counted by inode: removing one of several names of a file frees nothing.
    pub physical_bytes: u64,
    /// Bytes of removed blobs that were not freed, because files outside the store share them.
    pub shared_bytes: u64,
    /// Number of steps skipped because something was leased, pinned, used or staged after the plan was made.
    pub skipped: u64,
    /// Steps that failed. All other steps were still done.
    pub failed: Vec<GcFailure>,
    /// Bytes that the policy demands and the collection could not free.
    pub shortfall_bytes: u64,
}
