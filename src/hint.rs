//! What to do about an error. It is separate from the message, so that each program can phrase it in its own terms.

use std::fmt;

/// What to do about an [`Error`](enum@crate::Error); see [`Error::hint`](crate::Error::hint).
///
/// `Display` phrases it for users of the library and names no command. A program with commands of its own, such as
/// `catalog`, phrases it differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// List the entries to see what the catalog has.
    ListEntries,
    /// One of several entries has to be named.
    NameOne,
    /// The path is misspelt, or its file is gone.
    CheckPath,
    /// Staging a file creates a catalog.
    StageFile,
    /// Set a root: there is no home directory for a default one.
    GiveRoot,
    /// The root's path must be written in full.
    WriteRootInFull,
    /// The symlink is dangling.
    FixSymlink,
    /// A catalog is created among other files only on request.
    InitRoot,
    /// The entry can be repaired from its source or from a good copy.
    Repair {
        /// The entry's id.
        id: String,
    },
    /// A repair gives the entry a view below `views/`.
    MakeOwnView {
        /// The entry's id.
        id: String,
    },
    /// The model can be staged again under its id.
    Restage {
        /// The entry's id.
        id: String,
    },
    /// The entry can be removed: another one has its content.
    RemoveEntry {
        /// The entry.
        id: String,
    },
    /// Another id is needed.
    GiveOtherId,
    /// Replace the document, or choose another name.
    ReplaceDocument {
        /// Whether the same bytes have another name: then replacing renames, and no name helps.
        has_other_name: bool,
    },
    /// Remove the pins first, or remove the entry by force.
    Unpin {
        /// The entry's id.
        id: String,
    },
    /// The model can be staged again from a good source.
    StageAgain,
    /// A repair needs a good copy.
    GiveGoodCopy,
    /// The file can be downloaded by other means, and staged with the reference as its id.
    Download {
        /// The reference's own string.
        reference: String,
    },
    /// Models can be pushed only to registries and buckets.
    GiveRegistry,
    /// The source can be staged once its writer is done.
    AwaitWriter,
    /// Copy the file, because others may still write to it.
    UseCopyMode,
    /// Staging can follow symlinks that lead out of the tree.
    FollowLinks,
    /// The tree must be fixed.
    FixTree,
    /// Only regular files and directories can be staged.
    GiveFile,
    /// Use another path.
    GiveOtherPath,
    /// Set an id.
    GiveId,
    /// Set a plain file name.
    GiveName,
    /// Rename the file.
    Rename,
    /// Something mounted below the root is in the way.
    Unmount,
    /// The file or the expected digest is wrong.
    CheckDigest,
    /// The tool that has it can remove it, and download it again.
    DownloadAgain,
    /// Get what is missing of a model.
    GetMissing,
    /// Verify a signature by a trusted signer, or stage it with one.
    VerifySignature {
        /// The entry's id.
        id: String,
        /// Whether a rule says who the signer must be. Otherwise the caller does.
        has_rule: bool,
    },
    /// `Doctor` can tell what can be restored.
    RunDoctor,
    /// The store was written by a newer version.
    UseNewerVersion,
    /// The disk is full.
    MakeRoom,
    /// The store's own limits, or the disk, leave no room.
    RaiseLimits {
        /// A collection that makes enough room.
        collection: Option<Collection>,
        /// Whether emptying the quarantine would help.
        has_quarantine: bool,
    },
    /// Unset the limit to allow everything.
    UnsetLimit {
        /// The name of the limit.
        name: &'static str,
    },
    /// The file system has no working locks.
    MoveRoot,
    /// Another process was in the way.
    TryAgain,
    /// No server was to be contacted.
    GoOnline,
    /// A rule of the network policy would allow it.
    AllowNet {
        /// The rule.
        rule: String,
    },
    /// Pass the expected digest.
    NameDigest,
    /// The server was unavailable, or the connection to it failed.
    TryAgainLater,
    /// The server requires a login, or access must be requested first.
    GetAccess,
    /// The reference is misspelt, or what it names is gone.
    CheckReference,
    /// A gated repository: the Hub requires a token.
    GiveToken,
    /// A gated repository: its owner must grant access to the account.
    AskForAccess,
    /// The Hub rejects the token.
    GiveOtherToken,
    /// The repository's name is misspelt, or the repository is private.
    CheckRepository,
    /// The patterns select no file.
    CheckPatterns,
    /// The certificates of the server's authority must be configured.
    NameAuthority,
    /// The system denies this user access.
    CheckOwner,
    /// The process or the file system does not allow files of this size.
    AllowLargerFiles,
    /// The file system is read-only.
    ReadOnly,
    /// Something else is where a directory should be.
    GiveDirectory,
}

/// The limits of a collection that would make enough room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Collection {
    /// The most that the store may occupy afterwards, in bytes, if its quota is too small.
    pub max_bytes: Option<u64>,
    /// How much must be free on the file system afterwards, in bytes, if the disk is too full.
    pub min_free_bytes: Option<u64>,
    /// Whether it must also evict models that were staged or used within the grace period.
    pub without_grace: bool,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hint::ListEntries => "list the entries to see what is here",
            Hint::CheckPath => "check the path",
            Hint::StageFile => "stage a file to create one",
            Hint::GiveRoot => "give a root, or set HOME",
            Hint::WriteRootInFull => "write the path in full; ./~ is a directory of that name",
            Hint::FixSymlink => "create the directory that the symlink leads to, or remove the symlink",
            Hint::InitRoot => {
                "give an empty directory, or one that does not exist yet; `FsCatalog::init` accepts this one"
            }
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
            Hint::FollowLinks => "follow links to stage the files that they lead to",
            Hint::FixTree => "fix the tree and stage it again",
            Hint::GiveFile => "give a regular file or a directory",
            Hint::GiveOtherPath => "give another path, elsewhere under the root or outside it",
            Hint::GiveId => "give an id",
            Hint::GiveName => "give one plain file name",
            Hint::RemoveEntry { id } => return write!(f, "remove {id:?}: the other entry keeps its content"),
            Hint::ReplaceDocument { has_other_name: true } => "replace it, which gives it the new name",
            Hint::ReplaceDocument { .. } => "replace it, or choose another name",
            Hint::GiveOtherId => "choose another id, or remove the entry that has this one",
            Hint::NameOne => "give the id of one of them",
            Hint::Rename => "rename it",
            Hint::Unmount => "unmount what is mounted there, or move the whole root to it",
            Hint::CheckDigest => "get the file again, or correct the digest",
            Hint::DownloadAgain => "remove it with its own tool, and download it again",
            Hint::GetMissing => "get what is missing, or stage it as it is",
            Hint::VerifySignature { .. } => "stage it with a signature by a trusted signer, or verify one",
            Hint::RunDoctor => "examine the store with a Doctor, which says what can be restored",
            Hint::UseNewerVersion => "use a newer version",
            Hint::MakeRoom => "make room, for example by removing models",
            Hint::RaiseLimits { collection, has_quarantine } => {
                let quarantine = if *has_quarantine { "empty the quarantine, " } else { "" };
                let collect = match collection {
                    Some(Collection { without_grace: true, .. }) => "collect without a grace period, ",
                    Some(_) => "collect, ",
                    None => "",
                };
                return write!(f, "{quarantine}{collect}remove or unpin models, or raise the store's limits");
            }
            Hint::UnsetLimit { name } => return write!(f, "unset {name} to remove the limit"),
            Hint::MoveRoot => "stop every other process that uses this root, and move it to a local file system",
            Hint::TryAgain => "try again",
            Hint::NameDigest => "give the digest that its bytes must have",
            Hint::GoOnline => "try again when servers may be contacted",
            Hint::AllowNet { rule } => return write!(f, "to allow it, add the rule {rule} to the network policy"),
            Hint::TryAgainLater => "try again later",
            Hint::GetAccess => "ask for access, or give a token that has it",
            Hint::CheckReference => "check the reference",
            Hint::GiveToken => "ask for access on that page, and set HF_TOKEN to a token of the account that has it",
            Hint::AskForAccess => "ask for access on that page",
            Hint::GiveOtherToken => "set HF_TOKEN to another token, or unset it",
            Hint::CheckRepository => {
                "check the name; if the repository is private, set HF_TOKEN to a token that can read it"
            }
            Hint::CheckPatterns => "check the patterns",
            Hint::NameAuthority => {
                "if it is to be trusted, set CATALOG_CA_FILE to a file with the certificates of its authority"
            }
            Hint::CheckOwner => "check its owner and its mode",
            Hint::AllowLargerFiles => {
                "raise the limit of the process (`ulimit -f`), or use a file system that supports such files"
            }
            Hint::ReadOnly => "the catalog can be read here but not changed",
            Hint::GiveDirectory => "give a directory",
        })
    }
}
