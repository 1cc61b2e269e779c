//! The kinds of findings, their severity, and their remedy. `kind_table.rs` says what each means.

use serde::Serialize;

use super::kind_table::{KINDS, KindInfo};
use crate::words::words;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// A property of the store or its file system that is worth knowing.
    Note,
    /// The store works, but worse or less safely than it could, or a collection will remove something.
    Warning,
    /// Content or index is damaged.
    Error,
}

words!(Severity, "severity", {
    Note => "note",
    Warning => "warning",
    Error => "error",
});

/// What fixes a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Remedy {
    /// [`Doctor::repair`](super::Doctor::repair), which is `catalog doctor --repair`.
    Repair,
    /// The next collection.
    #[serde(rename = "gc")]
    Collection,
    /// Only a person.
    Operator,
    /// Nothing has to be done.
    #[serde(rename = "none")]
    Nothing,
}

words!(Remedy, "remedy", {
    Repair => "repair",
    Collection => "gc",
    Operator => "operator",
    Nothing => "none",
});

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Every command refuses the store without it. Its limits (`catalog config`) are lost.
    StoreJsonMissing,
    /// Every command refuses the store. Its limits (`catalog config`) are lost.
    StoreJsonDamaged,
    /// No entry can be found. What needs the blobs is unknown, so nothing is collected.
    IndexMissing,
    /// Its entries are unknown, so `list` and `gc` refuse to run, and nothing that they may need is judged here.
    ShardDamaged,
    /// Its entries are lost with it, so `list` and `gc` refuse to run, and nothing that they may need is judged here.
    ShardMissing,
    /// A newer version wrote it. Its content is unknown to this version, which leaves it alone.
    ShardNewer,
    /// If the shard were lost now, there would be nothing to restore it from, and nothing would notice the loss.
    PrevMissing,
    /// If the shard were lost now, there would be nothing to restore it from.
    PrevDamaged,
    /// An event of the log was changed, or is missing. No model is affected.
    LogBroken,
    /// `path` and `lease` refuse this entry; the damaged bytes are in quarantine.
    EntryDamaged,
    /// An engine fails with it, or loads it without a word and answers nonsense.
    ModelIncomplete,
    /// The files of the tree are unknown, so `gc` refuses to run, and its view is not judged.
    ManifestMissing,
    /// The files of the tree are unknown, so `gc` refuses to run, and its view is not judged.
    ManifestDamaged,
    /// The entry cannot be shown again, copied or checked; what its path shows may still be good.
    BlobMissing,
    /// A document that the entry needs besides its content, such as a signature, is lost. The model can still be used.
    NeededBlobMissing,
    /// The blob was truncated or has grown, so its bytes do not match its name.
    BlobSize,
    /// It was written to, copied or restored since its last full check, so its bytes may be bad.
    BlobChanged,
    /// A member of the group could have put both there, so the bytes may be bad, and each use reads all of them.
    UntrustedBlob,
    /// The blob can only be checked by its SHA-256, which is slower and does not locate damage.
    OutboardMissing,
    /// The blob can only be checked by its SHA-256, which is slower and does not locate damage.
    OutboardDamaged,
    /// `path` fails for this entry, or an engine does not find all of its files.
    ViewMissing,
    /// An engine that opens the entry's path gets another file than the one that was staged and is checked.
    ViewReplaced,
    /// The copies at the entry's path were written to or restored since they were made or last checked.
    ViewChanged,
    /// An engine that reads the folder sees a file that was not staged.
    ViewExtra,
    /// Operations that need it fail, or create it without making it durable.
    FolderMissing,
    /// The store never follows it, so nothing below it can be reached.
    FolderReplaced,
    /// Backup tools cannot tell that this is a cache, and copy it.
    CachedirTagMissing,
    /// On a full disk, a removal may find no room, and only a removal would free some.
    ReserveMissing,
    /// File locks cannot be tested here; they are assumed to work.
    ProbeMissing,
    /// It cannot be locked, so operations that need the lock fail.
    LockFileReplaced,
    /// What the export made elsewhere is not synced, and no removal takes it away.
    ExportRecordDamaged,
    /// Work may be done twice, a lease protects nothing, and nothing is collected.
    LocksDoNothing,
    /// Someone else can change or lock a file that the catalog relies on, or its owner or group cannot use it.
    WrongMode,
    /// Every user of this host can replace models and the index with other files.
    RootWritable,
    /// The root's owner may be unable to link, repair or remove it, and the user who owns it can change it.
    OtherOwner,
    /// The catalog did not create it and never reads it; it can be in the way of a file that the catalog creates.
    StrangeFile,
    /// It could not be inspected, so nothing is known about it.
    NotExamined,
    /// An operation that was killed left it behind; nothing needs it.
    DeadSession,
    /// A small file whose writer was killed; nothing reads it.
    UnfinishedFile,
    /// Its blob is gone; nothing reads it.
    StrayOutboard,
    /// It shows what an id had before, or a removed entry. A process that still has this path can open it.
    StrayView,
    /// No entry needs it: its entry was removed, or an operation was killed before it recorded one.
    UnreferencedBlob,
    /// A fetch or a large copy was stopped more than a day ago. Running it again resumes it.
    StalePartial,
    /// Unneeded blobs have been there for longer than the default grace period.
    TrashOverdue,
    /// Damaged content is kept for inspection, and so that `catalog repair` can reuse its good parts.
    QuarantineNotEmpty,
    /// The file system did not allow hardlinks, so views are separate files that are checked separately.
    NoHardlinks,
    /// Staging copies bytes that it could otherwise share with their source.
    NoReflinks,
    /// The file system stores no modes, so nothing keeps the owner of a model from editing it.
    NoModes,
}

impl FindingKind {
    /// Every kind that this version knows.
    pub const ALL: &[FindingKind] = &all();

    /// Its name in JSON and in `docs/recovery.md`. It never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.info().name
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.info().severity
    }

    /// What it means.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.info().meaning
    }

    pub(super) fn info(self) -> &'static KindInfo {
        KINDS.iter().find(|info| info.kind == self).expect("every kind has its row: a test looks")
    }
}

#[allow(clippy::indexing_slicing, reason = "in a constant, what is out of bounds does not compile")]
const fn all() -> [FindingKind; KINDS.len()] {
    let mut all = [KINDS[0].kind; KINDS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = KINDS[at].kind;
        at += 1;
    }
    all
}

words!(FindingKind, "kind of finding");

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a kind has no row or two rows, or when two kinds share a name.
    #[test]
    fn every_kind_has_its_row() {
        let source = include_str!("kind.rs");
        let (_, variants) = source.split_once("pub enum FindingKind {").unwrap();
        let variants = variants.split_once("\n}").unwrap().0.lines().filter_map(|line| line.trim().strip_suffix(','));
        let mut variants: Vec<&str> = variants.filter(|line| !line.starts_with("//")).collect();
        let mut rows: Vec<String> = KINDS.iter().map(|info| format!("{:?}", info.kind)).collect();
        variants.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows, variants);
        for kind in FindingKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for kind in FindingKind::ALL {
            let namesakes = FindingKind::ALL.iter().filter(|other| other.as_str() == kind.as_str());
            assert_eq!(namesakes.count(), 1, "{kind}");
        }
    }
}
