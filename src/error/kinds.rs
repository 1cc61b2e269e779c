//! Queries on an error: its kind, and what to do about it.

use std::io;
use std::path::Path;

use super::{Error, HubProblem, NetError, Refused};
use crate::hint::Hint;

impl Error {
    /// What to do about the error. `None`: the message says all that is known.
    #[must_use]
    pub fn hint(&self) -> Option<Hint> {
        Some(match self {
            Error::InvalidDigest { .. }
            | Error::InvalidRef { .. }
            | Error::InvalidId { .. }
            | Error::InvalidNetRule { .. }
            | Error::InvalidNetSetting { .. }
            | Error::NotPushable { .. }
            | Error::InvalidExport { .. }
            | Error::NotExportable { .. }
            | Error::ExportInTheWay { .. }
            | Error::BadSignature { .. }
            | Error::Cancelled { .. } => return None,
            Error::Net { source, .. } => return hint_of_net(source),
            Error::Push { source, .. } => return hint_of_net(source),
            Error::Offline { .. } => Hint::GoOnline,
            Error::InvalidPath { hint, .. } | Error::InvalidRoot { hint, .. } => hint.clone(),
            Error::Ambiguous { .. } => Hint::NameOne,
            Error::RootNotEmpty { .. } => Hint::InitRoot,
            Error::NotFound { .. } => Hint::ListEntries,
            Error::NotStaged { id, .. } => Hint::Restage { id: id.clone() },
            Error::SourceMissing { .. } => Hint::CheckPath,
            Error::NoCatalog { .. } => Hint::StageFile,
            Error::NoFetcher { reference, .. } => Hint::Download { reference: reference.clone() },
            Error::NoSink { .. } => Hint::GiveRegistry,
            Error::UnsupportedFileType { .. } => Hint::GiveFile,
            Error::SourceChanged { .. } => Hint::AwaitWriter,
            Error::SourceInUse { .. } => Hint::UseCopyMode,
            Error::LinkLeadsOut { .. } => Hint::FollowLinks,
            Error::UnusableTree { .. } => Hint::FixTree,
            Error::NameCollision { .. } => Hint::Rename,
            Error::ReservedPath { .. } | Error::PathEscapesRoot { .. } => Hint::GiveOtherPath,
            Error::DigestMismatch { .. } => Hint::CheckDigest,
            Error::DamagedCache { .. } => Hint::DownloadAgain,
            Error::Incomplete { .. } => Hint::GetMissing,
            Error::Unsigned { id, pattern, .. } => {
                Hint::VerifySignature { id: id.clone(), has_rule: pattern.is_some() }
            }
            Error::CorruptIndex { .. } => Hint::RunDoctor,
            Error::CorruptBlob { .. } => Hint::StageAgain,
            Error::Damaged { id, .. } => Hint::Repair { id: id.clone() },
            Error::Occupied { id, .. } => Hint::MakeOwnView { id: id.clone() },
            Error::NoGoodSource { .. } => Hint::GiveGoodCopy,
            Error::UnsupportedFormat { .. } => Hint::UseNewerVersion,
            Error::NoRoom { collection, quarantine_bytes, .. } => {
                Hint::RaiseLimits { collection: *collection, has_quarantine: *quarantine_bytes > 0 }
            }
            Error::InvalidLimit { name, .. } => Hint::UnsetLimit { name },
            Error::IdTaken { id, has_same_content: true, .. } => Hint::RemoveEntry { id: id.clone() },
            Error::IdTaken { .. } => Hint::GiveOtherId,
            Error::DocumentExists { same_bytes, .. } => Hint::ReplaceDocument { has_other_name: same_bytes.is_some() },
            Error::Pinned { id, .. } => Hint::Unpin { id: id.clone() },
            Error::LocksDoNothing { .. } => Hint::MoveRoot,
            Error::Busy { .. } => Hint::TryAgain,
            Error::SyncFailed { source, .. } | Error::Io { source, .. } => return hint_of(source),
        })
    }

    /// Something does not exist: an entry, its file, a source, or the catalog itself.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Error::NotFound { .. } | Error::NotStaged { .. } | Error::SourceMissing { .. } | Error::NoCatalog { .. }
        ) || matches!(self.net(), Some(NetError::NotFound { .. }))
            || self.hub().is_some_and(HubProblem::is_not_found)
    }

    /// The network error, if a server or the policy caused it.
    #[must_use]
    pub fn net(&self) -> Option<&NetError> {
        match self {
            Error::Net { source, .. } => Some(source),
            Error::Push { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The policy does not allow the server, or a redirect target. Nothing was sent there. The message says what would
    /// allow it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.net(), Some(NetError::Refused(_)))
    }

    /// The entry is not signed by whom the rules of the store, or the caller, ask for. Nothing was recorded or handed out.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        matches!(self, Error::Unsigned { .. })
    }

    /// No server gave a complete response despite retries, or no server was to be contacted: the same call may succeed
    /// later.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self.net(), Some(NetError::Unreachable { .. })) || matches!(self, Error::Offline { .. })
    }

    /// The server denies this user access.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.net(), Some(NetError::Denied { .. })) || self.hub().is_some_and(HubProblem::is_denied)
    }

    fn hub(&self) -> Option<&HubProblem> {
        match self.net() {
            Some(NetError::Hub { problem, .. }) => Some(problem),
            _ => None,
        }
    }

    /// The file of the store that could not be read or trusted.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Error::Io { path, .. }
            | Error::SyncFailed { path, .. }
            | Error::PathEscapesRoot { path, .. }
            | Error::CorruptIndex { path, .. }
            | Error::CorruptBlob { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The system found no such file.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The system denies this user access to the path.
    pub(crate) fn is_permission_denied(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// This user cannot write there, now or later.
    pub(crate) fn is_read_only(&self) -> bool {
        self.is_permission_denied()
            || matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// The name already exists.
    pub(crate) fn is_already_there(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// A sync failed: the kernel has dropped what it could not write, and would not report that again.
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, Error::SyncFailed { .. })
    }

    /// Content is damaged, incomplete or not as expected: a wrong digest, a missing part, a damaged blob or index file.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self,
            Error::DigestMismatch { .. }
                | Error::DamagedCache { .. }
                | Error::Incomplete { .. }
                | Error::BadSignature { .. }
                | Error::CorruptIndex { .. }
                | Error::CorruptBlob { .. }
                | Error::Damaged { .. }
                | Error::Occupied { .. }
                | Error::NoGoodSource { .. }
                | Error::Net { source: NetError::WrongGitBlob { .. }, .. }
        )
    }

    /// Timed out waiting for a lock: the same call may succeed later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Error::Busy { .. })
    }

    /// The caller's text is invalid, or not precise enough: a malformed id, digest or reference, or text that stands for
    /// several entries.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(
            self,
            Error::InvalidDigest { .. }
                | Error::InvalidRef { .. }
                | Error::InvalidId { .. }
                | Error::Ambiguous { .. }
                | Error::InvalidLimit { .. }
                | Error::InvalidNetRule { .. }
                | Error::NoSink { .. }
                | Error::InvalidExport { .. }
        )
    }

    /// The work was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Error::Cancelled { .. })
    }

    /// The disk or the quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::NoRoom { .. } => true,
            Error::Io { source, .. } | Error::SyncFailed { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

fn hint_of_net(cause: &NetError) -> Option<Hint> {
    match cause {
        NetError::Denied { .. } => Some(Hint::GetAccess),
        NetError::Hub { problem, .. } => problem.hint(),
        NetError::NotFound { .. } => Some(Hint::CheckReference),
        NetError::Untrusted { .. } => Some(Hint::NameAuthority),
        NetError::Changed { .. } => Some(Hint::TryAgain),
        NetError::Unreachable { .. } | NetError::WrongGitBlob { .. } => Some(Hint::TryAgainLater),
        NetError::Refused(Refused::NoDigest) => Some(Hint::NameDigest),
        NetError::Refused(refused) => refused.rule().map(|rule| Hint::AllowNet { rule: rule.to_owned() }),
        NetError::Status { .. }
        | NetError::NoRanges
        | NetError::NoModel { .. }
        | NetError::NoSize
        | NetError::TooLarge { .. }
        | NetError::Malformed { .. } => None,
    }
}

fn hint_of(cause: &io::Error) -> Option<Hint> {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => Some(Hint::CheckOwner),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Hint::MakeRoom),
        io::ErrorKind::ReadOnlyFilesystem => Some(Hint::ReadOnly),
        io::ErrorKind::NotADirectory => Some(Hint::GiveDirectory),
        io::ErrorKind::FileTooLarge => Some(Hint::AllowLargerFiles),
        _ => None,
    }
}
