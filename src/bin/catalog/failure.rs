//! What went wrong with a verb, and the exit code that says so.

use std::error::Error as StdError;
use std::io::{self, Write as _};
use std::process::ExitCode;

use catalog_core::Error;

use crate::text::visible;

/// What a verb ends with. What it found or did is printed by then.
pub(crate) type Outcome = Result<(), Failure>;

/// The exit codes of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Corrupt = 4,
    Busy = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a verb, or one of its arguments, was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's answer.
    Library(Error),
    /// Arguments that make no sense, or none together.
    Usage(String),
    /// What was asked for could be done only in part.
    Failed(String),
    /// Content is not what it should be.
    Corrupt(String),
    /// Standard output could not be written.
    Output(io::Error),
    /// Every failure was told when it came; the code is that of the first.
    Told(Exit),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Library(error)
    }
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Failure::Library(error) if error.is_invalid_input() => Exit::Usage,
            Failure::Library(error) if error.is_not_found() => Exit::NotFound,
            Failure::Library(error) if error.is_corrupt() => Exit::Corrupt,
            Failure::Library(error) if error.is_busy() => Exit::Busy,
            Failure::Library(_) | Failure::Output(_) | Failure::Failed(_) => Exit::Failed,
            Failure::Usage(_) => Exit::Usage,
            Failure::Corrupt(_) => Exit::Corrupt,
            Failure::Told(exit) => *exit,
        }
    }

    fn message(&self) -> Option<String> {
        match self {
            Failure::Library(error) => Some(with_causes(error)),
            Failure::Usage(message) | Failure::Failed(message) | Failure::Corrupt(message) => Some(message.clone()),
            Failure::Output(error) => Some(format!(
                "could not write to standard output: {error}; what was printed is not complete, what was done is done"
            )),
            Failure::Told(_) => None,
        }
    }
}

/// Tells of a failure in one line on standard error.
pub(crate) fn tell(failure: &Failure) -> Exit {
    if let Some(message) = failure.message() {
        // Nobody is left to be told when standard error itself cannot be written.
        let _ = writeln!(io::stderr(), "error: {}", visible(&message));
    }
    failure.exit()
}

/// The error's own words, and those of its causes that it has not said itself.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use catalog_core::Digest;

    use super::*;

    #[test]
    fn each_error_has_its_exit_code() {
        let text = || "x".to_owned();
        let path = || PathBuf::from("/x");
        let digest = Digest::of_bytes(b"");
        for (error, exit) in [
            (Error::InvalidDigest { input: text(), reason: "" }, Exit::Usage),
            (Error::InvalidRef { input: text(), reason: text() }, Exit::Usage),
            (Error::InvalidId { id: text(), reason: "" }, Exit::Usage),
            (Error::InvalidPath { path: path(), reason: "" }, Exit::Failed),
            (Error::NotFound { id: text(), root: path() }, Exit::NotFound),
            (Error::NotStaged { id: text(), path: path() }, Exit::NotFound),
            (Error::SourceMissing { path: path() }, Exit::NotFound),
            (Error::NoCatalog { root: path() }, Exit::NotFound),
            (Error::NoFetcher { scheme: text(), reference: text() }, Exit::Failed),
            (Error::UnsupportedFileType { path: path(), kind: "" }, Exit::Failed),
            (Error::SourceChanged { path: path(), detail: text() }, Exit::Failed),
            (Error::SourceInUse { path: path(), reason: text() }, Exit::Failed),
            (Error::LinkLeadsOut { link: path(), target: path() }, Exit::Failed),
            (Error::UnusableTree { path: path(), reason: "" }, Exit::Failed),
            (Error::NameCollision { path: path() }, Exit::Failed),
            (Error::ReservedPath { path: path() }, Exit::Failed),
            (Error::PathEscapesRoot { path: path(), root: path() }, Exit::Failed),
            (Error::DigestMismatch { path: path(), expected: digest, actual: digest }, Exit::Corrupt),
            (Error::CorruptIndex { path: path(), reason: text() }, Exit::Corrupt),
            (Error::CorruptBlob { path: path(), reason: text() }, Exit::Corrupt),
            (Error::Damaged { id: text(), path: path() }, Exit::Corrupt),
            (Error::NoGoodSource { path: path(), range: 0..1, tried: Vec::new() }, Exit::Corrupt),
            (Error::UnsupportedFormat { path: path(), found: text(), supported: text() }, Exit::Failed),
            (Error::Busy { what: "", path: path(), waited: Duration::ZERO }, Exit::Busy),
            (Error::NoRoom { root: path(), needed_bytes: 2, available_bytes: 1, evictable_bytes: 0 }, Exit::Failed),
            (Error::LocksDoNothing { root: path() }, Exit::Failed),
            (Error::Cancelled { what: text() }, Exit::Failed),
            (
                Error::Io { action: "", path: path(), source: io::Error::from(io::ErrorKind::NotFound).into() },
                Exit::Failed,
            ),
        ] {
            assert_eq!(Failure::from(error).exit(), exit, "{exit:?}");
        }
        assert_eq!(Failure::Usage(text()).exit(), Exit::Usage);
        assert_eq!(Failure::Failed(text()).exit(), Exit::Failed);
        assert_eq!(Failure::Output(io::ErrorKind::StorageFull.into()).exit(), Exit::Failed);
        assert_eq!(Failure::Told(Exit::Busy).exit(), Exit::Busy);
    }

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let depth = Layer("disk 3 is gone", None);
        let chain =
            Layer("could not read x: no such device", Some(Box::new(Layer("no such device", Some(depth.into())))));
        assert_eq!(with_causes(&chain), "could not read x: no such device: disk 3 is gone");
    }
}
