//! The kinds of findings, how bad they are, and what helps. `kind_table.rs` says what each means.

use serde::Serialize;

use super::kind_table::{KINDS, KindInfo};
use crate::words::words;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// A property of the store or its file system that is good to know.
    Note,
    /// It works, but worse than it could, or less safely; or a collection takes it.
    Warning,
    /// Content or index is not as it should be.
    Error,
}

words!(Severity, "severity", {
    Note => "note",
    Warning => "warning",
    Error => "error",
});

/// What puts it right.
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
    /// Nobody but a person.
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
    /// Without it the store is refused by every verb; its limits (`catalog config`) are lost.
    StoreJsonMissing,
    /// The store is refused by every verb; its limits (`catalog config`) are lost.
    StoreJsonDamaged,
    /// No entry can be found, and what the blobs are needed for is not known, so nothing is collected.
    IndexMissing,
    /// Its entries are unknown, so `list` and `gc` refuse to run, and nothing that they may need is judged here.
    ShardDamaged,
    /// Its entries are lost with it, so `list` and `gc` refuse to run, and nothing that they may need is judged here.
    ShardMissing,
    /// A newer version has written it; what it holds is unknown to this one, and is not touched.
    ShardNewer,
    /// Were the shard lost now, there would be nothing to restore it from, and the loss would not be noticed.
    PrevMissing,
    /// Were the shard lost now, there would be nothing to restore it from.
    PrevDamaged,
    /// `path` and `lease` refuse this entry; the damaged bytes are in quarantine.
    EntryDamaged,
    /// Which files the tree has is unknown, so `gc` refuses to run, and its view is not judged.
    ManifestMissing,
    /// Which files the tree has is unknown, so `gc` refuses to run, and its view is not judged.
    ManifestDamaged,
    /// The entry cannot be shown again, copied or checked; what its path shows may still be good.
    BlobMissing,
    /// A document that the entry needs beside its content, such as a signature, is lost; the model can still be used.
    NeededBlobMissing,
    /// It was cut or grew, so its bytes are not what its name says.
    BlobSize,
    /// It was written to, copied or restored since its last full check: whether its bytes are good is not known.
    BlobChanged,
    /// A member of the group can have put both there: whether its bytes are good is not known, and each use reads all of it.
    UntrustedBlob,
    /// The blob can only be checked by its SHA-256, which is slower and does not say where damage is.
    OutboardMissing,
    /// The blob can only be checked by its SHA-256, which is slower and does not say where damage is.
    OutboardDamaged,
    /// `path` fails for this entry, or an engine does not find all of its files.
    ViewMissing,
    /// An engine that opens the entry's path gets another file than the one that was staged and is checked.
    ViewReplaced,
    /// The copies at the entry's path were written to or restored since they were made or checked last.
    ViewChanged,
    /// An engine that reads the folder sees a file that was not staged.
    ViewExtra,
    /// Operations that need it fail, or make it without its being durable.
    FolderMissing,
    /// The store never goes through it: what should be below is out of reach.
    FolderReplaced,
    /// Backup tools do not know that this is a cache, and copy it.
    CachedirTagMissing,
    /// A removal may find no room when the disk is full, which nothing but a removal would end.
    ReserveMissing,
    /// Whether file locks work here cannot be tried, so they are taken to.
    ProbeMissing,
    /// A lock cannot be taken on it, so what needs it fails.
    LockFileReplaced,
    /// Work may be done twice, a lease protects nothing, and nothing is collected.
    LocksDoNothing,
    /// Somebody can change or lock what the catalog relies on, or its owner or its group cannot use it.
    WrongMode,
    /// Every user of this host can put other files in the place of models and of the index.
    RootWritable,
    /// The root's owner may not be able to link, repair or remove it, and somebody else can change it.
    OtherOwner,
    /// The catalog has not made it and never looks at it; it can stand in the way of what is made there.
    StrangeFile,
    /// What is there could not be looked at, so nothing is said of it.
    NotExamined,
    /// An operation that was killed has left it; nothing needs it.
    DeadSession,
    /// A small file whose writer was killed; nothing reads it.
    UnfinishedFile,
    /// Its blob is gone; nothing reads it.
    StrayOutboard,
    /// It shows what an id had before, or an entry that is gone; who was told this path can still open it.
    StrayView,
    /// No entry needs it: its entry was removed, or an operation was killed before it recorded one.
    UnreferencedBlob,
    /// A fetch or a large copy was stopped longer than a day ago; the same one, run again, resumes it.
    StalePartial,
    /// Blobs that nothing needs lie there for longer than the default grace.
    TrashOverdue,
    /// What was found damaged is kept to look at, and for `catalog repair` to reuse what is good of it.
    QuarantineNotEmpty,
    /// The file system gave no hardlink for them, so views are files of their own, which are checked by themselves.
    NoHardlinks,
    /// Staging copies bytes that it could otherwise share with their source.
    NoReflinks,
    /// The file system keeps no modes, so nothing keeps the owner of a model from editing it.
    NoModes,
}

impl FindingKind {
    /// Every kind that this version knows.
    pub const ALL: &[FindingKind] = &all();

    /// Its name in JSON and in `docs/recovery.md`; it stays the same.
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

    // Red when a kind has no row, or two; or when two kinds have one name.
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
