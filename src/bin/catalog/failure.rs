//! What went wrong with a verb, and the exit code that says so.

use std::error::Error as StdError;
use std::io::{self, Write as _};
use std::process::ExitCode;

use catalog_core::Error;

use crate::advice;
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
    Refused = 6,
    Unreachable = 7,
    Denied = 8,
    /// As a shell says of SIGINT: 128 and its number.
    Cancelled = 130,
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
    /// What was named is not there.
    NotFound(String),
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
            Failure::Library(error) if error.is_refused() => Exit::Refused,
            Failure::Library(error) if error.is_unreachable() => Exit::Unreachable,
            Failure::Library(error) if error.is_denied() => Exit::Denied,
            Failure::Library(error) if error.is_cancelled() => Exit::Cancelled,
            Failure::Library(_) | Failure::Output(_) | Failure::Failed(_) => Exit::Failed,
            Failure::Usage(_) => Exit::Usage,
            Failure::NotFound(_) => Exit::NotFound,
            Failure::Corrupt(_) => Exit::Corrupt,
            Failure::Told(exit) => *exit,
        }
    }

    /// What is wrong, and what to do: `command` calls this command again for the same root.
    fn message(&self, command: &str) -> Option<String> {
        match self {
            Failure::Library(error) => Some(with_hint(error, command)),
            Failure::Usage(message)
            | Failure::NotFound(message)
            | Failure::Failed(message)
            | Failure::Corrupt(message) => Some(message.clone()),
            Failure::Output(error) => Some(format!(
                "could not write to standard output: {error}; what was printed is not complete, what was done is done"
            )),
            Failure::Told(_) => None,
        }
    }
}

/// Tells of a failure in one line on standard error. `command` calls this command again for the same root.
pub(crate) fn tell(failure: &Failure, command: &str) -> Exit {
    if let Some(message) = failure.message(command) {
        // Nobody is left to be told when standard error itself cannot be written.
        let _ = writeln!(io::stderr(), "error: {}", visible(&message));
    }
    failure.exit()
}

/// The error in words, and what to do about it.
pub(crate) fn with_hint(error: &Error, command: &str) -> String {
    let words = with_causes(error);
    match error.hint() {
        Some(hint) => format!("{words}; {}", advice::words(&hint, command)),
        None => words,
    }
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
    use catalog_core::testing::error_samples;

    use super::*;

    #[test]
    fn each_error_has_its_exit_code() {
        let of = |exit| {
            let names = error_samples().into_iter().map(|error| (format!("{error:?}"), Failure::from(error)));
            let names = names.filter(|(_, failure)| failure.exit() == exit);
            let names: Vec<_> = names.map(|(text, _)| text.split([' ', '(']).next().unwrap().to_owned()).collect();
            names.join(" ")
        };
        assert_eq!(of(Exit::Usage), "InvalidDigest InvalidRef InvalidId NoSink InvalidLimit InvalidNetRule");
        assert_eq!(of(Exit::NotFound), "NotFound NotStaged SourceMissing NoCatalog Net Net Net Net Net Net");
        assert_eq!(
            of(Exit::Corrupt),
            "DigestMismatch CorruptIndex CorruptBlob Damaged Occupied NoGoodSource NoGoodSource Net"
        );
        assert_eq!(of(Exit::Busy), "Busy Busy");
        assert_eq!(of(Exit::Refused), ["Net"; 10].join(" "));
        assert_eq!(of(Exit::Unreachable), "Net Offline");
        assert_eq!(of(Exit::Denied), ["Net"; 6].join(" "));
        assert_eq!(of(Exit::Cancelled), "Cancelled");
        assert_eq!(of(Exit::Done), "");
        let text = || "x".to_owned();
        assert_eq!(Failure::Usage(text()).exit(), Exit::Usage);
        assert_eq!(Failure::NotFound(text()).exit(), Exit::NotFound);
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
