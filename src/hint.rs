//! What to do about an error: apart from its message, so that each program can say it in its own terms.

use std::fmt;

/// What to do about an [`Error`](enum@crate::Error); see [`Error::hint`](crate::Error::hint).
///
/// `Display` says it for the user of the library and names no command. A program that knows how it was called, such as the
/// command `catalog`, says it in its own way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// A list of the entries shows what is here.
    ListEntries,
    /// One of several entries has to be named.
    NameOne,
    /// The path was misspelt, or its file is gone.
    CheckPath,
    /// Staging a file makes a catalog.
    StageFile,
    /// A root is needed: there is no home directory to have one in.
    GiveRoot,
    /// The root's path has to be written in full.
    WriteRootInFull,
    /// The symlink leads nowhere.
    FixSymlink,
    /// A catalog is made beside other things only on request.
    InitRoot,
    /// The entry can be repaired from its source or from a good copy.
    Repair {
        /// The entry.
        id: String,
    },
    /// A repair gives the entry a view of its own.
    MakeOwnView {
        /// The entry.
        id: String,
    },
    /// The model can be staged again under its id.
    Restage {
        /// The entry.
        id: String,
    },
    /// The pins can be taken off first, or be disregarded.
    Unpin {
        /// The entry.
        id: String,
    },
    /// The model can be staged again, from a source that is good.
    StageAgain,
    /// A good copy is needed.
    GiveGoodCopy,
    /// The file can be downloaded by other means, and staged under the reference as its id.
    Download {
        /// The reference's own string.
        reference: String,
    },
    /// Models are pushed to registries and buckets.
    GiveRegistry,
    /// The source can be staged when its writer has ended.
    AwaitWriter,
    /// A copy can be made of a file that somebody may still write to.
    UseCopyMode,
    /// The files that symlinks lead to can be taken.
    FollowLinks,
    /// The tree has to be fixed.
    FixTree,
    /// Only regular files and directories are taken.
    GiveFile,
    /// Another path is needed.
    GiveOtherPath,
    /// An id is needed.
    GiveId,
    /// One plain file name is needed.
    GiveName,
    /// Something has to be renamed.
    Rename,
    /// What is mounted below the root is in the way.
    Unmount,
    /// The file is another one than the digest says, or the digest is wrong.
    CheckDigest,
    /// The doctor says what can be restored.
    RunDoctor,
    /// The store was written by a newer version.
    UseNewerVersion,
    /// The disk is full.
    MakeRoom,
    /// The store's own limits, or the disk, leave no room.
    RaiseLimits {
        /// A collection that gives the room.
        collection: Option<Collection>,
        /// Emptying quarantine gives more.
        has_quarantine: bool,
    },
    /// Without the limit, everything may stay.
    UnsetLimit {
        /// Which limit.
        name: &'static str,
    },
    /// The file system has no locks that work.
    MoveRoot,
    /// Another process was in the way.
    TryAgain,
    /// Servers were not to be asked.
    GoOnline,
    /// A rule of the network policy would allow it.
    AllowNet {
        /// The rule.
        rule: String,
    },
    /// The digest is named beforehand.
    NameDigest,
    /// The server, or the way to it, was in the way.
    TryAgainLater,
    /// The server wants to know who asks, or to be asked for access first.
    GetAccess,
    /// The reference was misspelt, or what it names is gone.
    CheckReference,
    /// A gated repository: the Hub has to know who asks.
    GiveToken,
    /// A gated repository: its owner lets accounts in.
    AskForAccess,
    /// The Hub does not know the token.
    GiveOtherToken,
    /// The repository was misspelt, or is private.
    CheckRepository,
    /// No file is selected by the patterns.
    CheckPatterns,
    /// The certificates of an authority are needed.
    NameAuthority,
    /// The system does not let this user do it.
    CheckOwner,
    /// Neither the process nor the file system may have so large a file.
    AllowLargerFiles,
    /// The file system can only be read.
    ReadOnly,
    /// Something else stands where a directory should.
    GiveDirectory,
}

/// A collection that makes the room that is missing: what it keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Collection {
    /// The most that the store may occupy afterwards, if its quota is short.
    pub max_bytes: Option<u64>,
    /// What has to be free on the file system afterwards, if the disk is short.
    pub min_free_bytes: Option<u64>,
    /// It has to take models that were staged or used within the grace.
    pub without_grace: bool,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hint::ListEntries => "list the entries to see what is here",
            Hint::CheckPath => "check the path",
            Hint::StageFile => "stage a file, which makes one",
            Hint::GiveRoot => "give a root, or set HOME",
            Hint::WriteRootInFull => "write the path in full; ./~ is a directory of that name",
            Hint::FixSymlink => "make the directory that the symlink leads to, or remove the symlink",
            Hint::InitRoot => "give an empty directory, or one that is not there yet; `FsCatalog::init` takes this one",
            Hint::Repair { .. } => "repair the entry from a good copy, or stage it again",
            Hint::MakeOwnView { .. } => {
                "repair the entry, which gives it a view of its own, or stage the file that is there"
            }
            Hint::Restage { .. } => "stage the model again under this id",
            Hint::Unpin { .. } => "unpin the entry, or remove it by force",
            Hint::StageAgain => "stage the model again from a good source",
            Hint::GiveGoodCopy => "give a good copy",
            Hint::Download { .. } => "download the file and stage it with the reference as its id",
            Hint::GiveRegistry => "give a registry or a bucket",
            Hint::AwaitWriter => "stage it again when its writer is done",
            Hint::UseCopyMode => "stage a copy of it",
            Hint::FollowLinks => "follow links, to take the files that they lead to",
            Hint::FixTree => "fix the tree and stage it again",
            Hint::GiveFile => "give a regular file or a directory",
            Hint::GiveOtherPath => "give another path, elsewhere under the root or outside it",
            Hint::GiveId => "give an id",
            Hint::GiveName => "give one plain file name",
            Hint::NameOne => "name one of them by its id",
            Hint::Rename => "rename it",
            Hint::Unmount => "unmount what is mounted there, or move the whole root to it",
            Hint::CheckDigest => "get the file again, or correct the digest",
            Hint::RunDoctor => "examine the store with a Doctor, which says what can be restored",
            Hint::UseNewerVersion => "use a newer version",
            Hint::MakeRoom => "make room, for example by removing models",
            Hint::RaiseLimits { collection, has_quarantine } => {
                let quarantine = if *has_quarantine { "empty the quarantine, " } else { "" };
                let collect = match collection {
                    Some(Collection { without_grace: true, .. }) => "collect without a grace, ",
                    Some(_) => "collect, ",
                    None => "",
                };
                return write!(f, "{quarantine}{collect}remove or unpin models, or raise the store's limits");
            }
            Hint::UnsetLimit { name } => return write!(f, "unset {name}, to have no such limit"),
            Hint::MoveRoot => "stop every other process that uses this root, and move it to a local file system",
            Hint::TryAgain => "try again",
            Hint::NameDigest => "give the digest that its bytes have to have",
            Hint::GoOnline => "ask for it when servers may be asked",
            Hint::AllowNet { rule } => return write!(f, "to allow it, add the rule {rule} to the network policy"),
            Hint::TryAgainLater => "try again later",
            Hint::GetAccess => "ask for access, or give a token that has it",
            Hint::CheckReference => "check the reference",
            Hint::GiveToken => "ask for access on that page, and give a token of that account in HF_TOKEN",
            Hint::AskForAccess => "ask for access on that page",
            Hint::GiveOtherToken => "give another token in HF_TOKEN, or none",
            Hint::CheckRepository => "check the name; if it is private, give a token in HF_TOKEN that can read it",
            Hint::CheckPatterns => "check the patterns",
            Hint::NameAuthority => "name the certificates of its authority in CATALOG_CA_FILE, if it is to be trusted",
            Hint::CheckOwner => "check who owns it and its mode",
            Hint::AllowLargerFiles => {
                "raise the limit of the process (`ulimit -f`), or use a file system that has such files"
            }
            Hint::ReadOnly => "the catalog can be read here but not changed",
            Hint::GiveDirectory => "give a directory",
        })
    }
}
