//! What garbage collection would do, why, and what it did.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::GcPolicy;
use crate::digest::Digest;
use crate::error::Error;
use crate::json::all_lossy;

/// What happens to something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GcAction {
    /// A file or folder that an operation left behind when its process died is removed.
    RemoveLeftover {
        /// Relative to the root.
        path: PathBuf,
    },
    /// A view that no entry names is removed.
    RemoveView {
        /// Relative to the root.
        path: PathBuf,
    },
    /// What is in `quarantine/` is removed for good.
    RemoveQuarantined {
        /// Relative to the root.
        path: PathBuf,
    },
    /// A blob in `trash/` is removed for good.
    EmptyTrash {
        /// Which.
        digest: Digest,
    },
    /// A blob that nothing references goes to `trash/`, or, when room is needed or there is no grace, away at once.
    RemoveBlob {
        /// Which.
        digest: Digest,
    },
    /// An entry is removed with its views; the blobs that only it needed go as in `RemoveBlob`.
    EvictEntry {
        /// Which.
        id: String,
        /// Its content.
        digest: Option<Digest>,
    },
}

/// Why something is taken, or kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GcReason {
    /// Its owner died in the middle of its work.
    DeadOwner,
    /// No entry names it.
    Unreferenced,
    /// It lay in `trash/` longer than the grace.
    GraceOver,
    /// It lay in `quarantine/` longer than the policy keeps what is there.
    QuarantinedTooLong,
    /// It was retired longer ago than the policy keeps retired entries.
    RetiredTooLong,
    /// It was not used for longer than the policy keeps idle entries.
    IdleTooLong,
    /// Room is needed, and it is the least recently used.
    RoomNeeded,
    /// Kept: a live process leases it.
    Leased,
    /// Kept: a process has one of its files open or mapped, without a lease. Seen where the kernel tells it to whom the file
    /// belongs: on Linux, on local file systems.
    Open,
    /// Kept: it is pinned, under this name.
    Pinned(String),
    /// Kept: it was staged or used within the grace.
    Young,
    /// Kept: other entries need the same bytes, so that taking it would free nothing.
    Shared,
    /// Kept: files outside the store have the same bytes, by a hardlink or a reflink, so that taking it would free nothing.
    SharedOutside,
}

/// For a person, and stable for scripts but for a pin's name.
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
    /// What is done.
    pub action: GcAction,
    /// Why.
    pub reason: GcReason,
    /// Bytes on disk that this brings, as far as can be told beforehand.
    pub bytes: u64,
    /// The blobs go away at once, not to `trash/` first.
    pub at_once: bool,
}

/// An entry that the policy would have taken, and that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcKept {
    /// Which.
    pub id: String,
    /// Why.
    pub reason: GcReason,
    /// Its bytes.
    pub bytes: u64,
}

/// What [`execute_gc`](crate::FsCatalog::execute_gc) would do now. Making one writes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use = "a plan does nothing by itself"]
#[non_exhaustive]
pub struct GcPlan {
    /// What it was made from.
    pub policy: GcPolicy,
    /// In the order in which they are done.
    pub steps: Vec<GcStep>,
    /// What the policy would have taken, and why it stays.
    pub kept: Vec<GcKept>,
    /// Bytes on disk that the store's blobs occupy before, what lies in `trash/` and `quarantine/`, views that are copies
    /// and what dead processes left among them.
    pub used_bytes: u64,
    /// Further bytes on disk of blobs, which files outside the store have as well: they count for no limit, and removing
    /// them here frees nothing.
    pub shared_bytes: u64,
    /// Bytes that the steps bring, as far as can be told beforehand.
    pub freed_bytes: u64,
    /// Bytes that are missing to what the policy asks for, because the rest is leased, open, pinned, young, or shared
    /// with entries that stay or with files outside the store.
    pub shortfall_bytes: u64,
    /// Folders of another user that cannot be looked into, relative to the root: they are left alone.
    #[serde(serialize_with = "all_lossy")]
    pub unreadable: Vec<PathBuf>,
}

/// A step that could not be done. What it was about stays, and the next collection tries again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GcFailure {
    /// What was to be done; `None`: a blob that was in `trash/` already, or a lock file, could not be removed.
    pub action: Option<GcAction>,
    /// Why it was not.
    pub error: Error,
}

/// What a collection did.
#[derive(Clone, Debug, Default, Serialize)]
#[must_use = "it says what could not be done"]
#[non_exhaustive]
pub struct GcReport {
    /// Entries that were evicted.
    pub entries: u64,
    /// Blobs that were removed for good.
    pub blobs: u64,
    /// Blobs that were put into `trash/`.
    pub trashed: u64,
    /// Leftovers and views that were removed.
    pub leftovers: u64,
    /// Files that were removed from `quarantine/`.
    pub quarantined: u64,
    /// Lock files of references that nobody worked on within the grace, which were removed. No plan names them.
    pub locks: u64,
    /// Bytes of the evicted entries, as engines saw them.
    pub logical_bytes: u64,
    /// Bytes on disk that came free, counted by inode: a file that has another name elsewhere frees nothing.
    pub physical_bytes: u64,
    /// Bytes of blobs that were removed and did not come free: files outside the store have them as well.
    pub shared_bytes: u64,
    /// Steps that were not taken, because since the plan was made something was leased, pinned, used or staged.
    pub skipped: u64,
    /// Steps that could not be done: the rest was done all the same.
    pub failed: Vec<GcFailure>,
    /// Bytes that are missing to what the policy asks for.
    pub shortfall_bytes: u64,
}
