//! Everything that `doctor` can find, with what it means. `docs/recovery.md` has a section for each.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// A property of the store or its file system that is good to know.
    Note,
    /// It works, but worse than it could, or less safely; or a collection takes it.
    Warning,
    /// Content or index is not as it should be.
    Error,
}

impl Severity {
    /// The word that JSON and messages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// Who mends what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// [`Doctor::mend`](super::Doctor::mend), which is `catalog doctor --repair`.
    Repair,
    /// The next collection.
    Collection,
    /// Nobody but a person.
    Operator,
    /// Nothing has to be done.
    Nothing,
}

impl Remedy {
    /// The word that JSON uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Remedy::Repair => "repair",
            Remedy::Collection => "gc",
            Remedy::Operator => "operator",
            Remedy::Nothing => "none",
        }
    }
}

macro_rules! kinds {
    ($($variant:ident $name:literal $severity:ident $remedy:ident $meaning:literal $advice:literal)*) => {
        /// What was found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum FindingKind {
            $(#[doc = $meaning] $variant,)*
        }

        impl FindingKind {
            /// Every kind that this version knows.
            pub const ALL: &[FindingKind] = &[$(FindingKind::$variant,)*];

            /// Its name in JSON and in `docs/recovery.md`; it stays the same.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(FindingKind::$variant => $name,)* }
            }

            /// How bad it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(FindingKind::$variant => Severity::$severity,)* }
            }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(FindingKind::$variant => $meaning,)* }
            }

            pub(super) fn remedy(self) -> Remedy {
                match self { $(FindingKind::$variant => Remedy::$remedy,)* }
            }

            /// What to do about it, unless the finding knows better.
            pub(super) fn advice(self) -> &'static str {
                match self { $(FindingKind::$variant => $advice,)* }
            }
        }
    };
}

kinds! {
    StoreJsonMissing "store_json_missing" Error Operator
        "without it the store is refused by every verb; its limits (`catalog config`) are lost"
        "mend the index first: it is written anew once the index can be read as format 1"
    StoreJsonDamaged "store_json_damaged" Error Operator
        "the store is refused by every verb; its limits (`catalog config`) are lost"
        "mend the index first: it is written anew once the index can be read as format 1"
    IndexMissing "index_missing" Error Operator
        "no entry can be found, and what the blobs are needed for is not known, so nothing is collected"
        "put index/ back from a backup; there is nothing to make it from"
    ShardDamaged "shard_damaged" Error Operator
        "its entries are unknown, so `list` and `gc` refuse to run, and nothing that they may need is judged here"
        "the generation before cannot be read either: put the file back from a backup, or move it away and stage again"
    ShardMissing "shard_missing" Error Operator
        "its entries are lost with it, so `list` and `gc` refuse to run, and nothing that they may need is judged here"
        "the generation before cannot be read either: put the file back from a backup, or move .prev away and stage again"
    ShardNewer "shard_newer" Error Operator
        "a newer version has written it; what it holds is unknown to this one, and is not touched"
        "use that version"
    PrevMissing "prev_missing" Warning Repair
        "were the shard lost now, there would be nothing to restore it from, and the loss would not be noticed"
        "gives the shard this second name"
    PrevDamaged "prev_damaged" Warning Repair
        "were the shard lost now, there would be nothing to restore it from"
        "puts a second name of the shard in its place"
    EntryDamaged "entry_damaged" Error Operator
        "`path` and `lease` refuse this entry; the damaged bytes are in quarantine"
        "`catalog repair` with its id mends it from a good copy (--from), or stage it again"
    ManifestMissing "manifest_missing" Error Operator
        "which files the tree has is unknown, so `gc` refuses to run, and its view is not judged"
        "`catalog repair` with its id gets it from a good copy (--from), or stage the tree again, or remove the entry"
    ManifestDamaged "manifest_damaged" Error Repair
        "which files the tree has is unknown, so `gc` refuses to run, and its view is not judged"
        "checks it in full and moves it to quarantine; then `catalog repair` gets it from a good copy"
    BlobMissing "blob_missing" Error Operator
        "the entry cannot be shown again, copied or checked; what its path shows may still be good"
        "`catalog repair` with its id gets it from what is left or from a good copy (--from), or stage it again"
    BlobSize "blob_size" Error Repair
        "it was cut or grew, so its bytes are not what its name says"
        "checks it in full; when it is bad it goes to quarantine and its entries are marked damaged"
    BlobChanged "blob_changed" Warning Repair
        "it was written to, copied or restored since its last full check: whether its bytes are good is not known"
        "checks it in full and records that; when it is bad it goes to quarantine and its entries are marked damaged"
    OutboardMissing "outboard_missing" Warning Repair
        "the blob can only be checked by its SHA-256, which is slower and does not say where damage is"
        "checks the blob in full and writes it; when the blob is bad it goes to quarantine"
    OutboardDamaged "outboard_damaged" Warning Repair
        "the blob can only be checked by its SHA-256, which is slower and does not say where damage is"
        "checks the blob in full and writes it anew; when the blob is bad it goes to quarantine"
    ViewMissing "view_missing" Error Repair
        "`path` fails for this entry, or an engine does not find all of its files"
        "makes it of the blob, which is checked in full first when its stamp does not fit"
    ViewReplaced "view_replaced" Error Repair
        "an engine that opens the entry's path gets another file than the one that was staged and is checked"
        "moves it to quarantine unless its bytes are the blob's, and makes it of the blob"
    ViewChanged "view_changed" Error Repair
        "the copies at the entry's path were written to or restored since they were made or checked last"
        "checks them in full; a bad one goes to quarantine and is made of the blob again"
    ViewExtra "view_extra" Warning Operator
        "an engine that reads the folder sees a file that was not staged"
        "move it away by hand; nothing of the catalog needs it"
    FolderMissing "folder_missing" Warning Repair
        "operations that need it fail, or make it without its being durable"
        "makes it"
    FolderReplaced "folder_replaced" Error Operator
        "the store never goes through it: what should be below is out of reach"
        "move it away and put the folder back, from where it leads to or from a backup"
    CachedirTagMissing "cachedir_tag_missing" Warning Repair
        "backup tools do not know that this is a cache, and copy it"
        "writes it"
    ReserveMissing "reserve_missing" Note Repair
        "a removal may find no room when the disk is full, which nothing but a removal would end"
        "makes it, unless the disk is full now; so does the next stage, `remove` or `gc`"
    ProbeMissing "probe_missing" Warning Repair
        "whether file locks work here cannot be tried, so they are taken to"
        "makes it"
    LockFileReplaced "lock_file_replaced" Error Operator
        "a lock cannot be taken on it, so what needs it fails"
        "remove it while no process uses the store; a lock file is made when it is needed"
    LocksDoNothing "locks_do_nothing" Warning Operator
        "work may be done twice, a lease protects nothing, and nothing is collected"
        "move the root to a local file system"
    WrongMode "wrong_mode" Warning Repair
        "somebody can change what the catalog relies on, or its owner cannot use it"
        "sets it"
    RootWritable "root_writable" Warning Operator
        "every user of this host can put other files in the place of models and of the index"
        "`chmod o-w` on the root; where the modes come with the mount, mount it with another umask"
    OtherOwner "other_owner" Warning Operator
        "the root's owner may not be able to link, mend or remove it, and somebody else can change it"
        "`chown` it to the root's owner"
    StrangeFile "strange_file" Warning Operator
        "the catalog has not made it and never looks at it; it can stand in the way of what is made there"
        "move it away by hand"
    NotExamined "not_examined" Warning Operator
        "what is there could not be looked at, so nothing is said of it"
        "run doctor as the root's owner; when the disk fails, see docs/recovery.md"
    DeadSession "dead_session" Warning Collection
        "an operation that was killed has left it; nothing needs it"
        "`catalog gc` takes it"
    UnfinishedFile "unfinished_file" Warning Collection
        "a small file whose writer was killed; nothing reads it"
        "`catalog gc` takes it"
    StrayOutboard "stray_outboard" Warning Collection
        "its blob is gone; nothing reads it"
        "`catalog gc` takes it"
    StrayView "stray_view" Warning Collection
        "it shows what an id had before, or an entry that is gone; who was told this path can still open it"
        "`catalog gc` takes it after its grace"
    UnreferencedBlob "unreferenced_blob" Warning Collection
        "no entry needs it: its entry was removed, or an operation was killed before it recorded one"
        "`catalog gc` takes it; staging the same bytes again uses it"
    TrashOverdue "trash_overdue" Note Collection
        "blobs that nothing needs lie there for longer than the default grace"
        "`catalog gc` empties it"
    QuarantineNotEmpty "quarantine_not_empty" Note Operator
        "what was found damaged is kept to look at, and for `catalog repair` to reuse what is good of it"
        "remove it by hand once everything is mended"
    NoHardlinks "no_hardlinks" Note Nothing
        "the file system gave no hardlink for them, so views are files of their own, which are checked by themselves"
        "a file system with hardlinks needs no second file"
    NoReflinks "no_reflinks" Note Nothing
        "staging copies bytes that it could otherwise share with their source"
        "xfs and btrfs have reflinks"
    NoModes "no_modes" Note Nothing
        "the file system keeps no modes, so nothing keeps the owner of a model from editing it"
        "the modes come with the mount; a file system with modes keeps models read-only"
}
