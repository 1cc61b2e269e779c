//! What went wrong with a verb, and the exit code that says so.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use catalog_core::Error;

use crate::advice;
use crate::stderr;

/// How a verb ends. By then it has printed what it found or did.
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
    NoRoom = 9,
    /// What shells use for SIGINT: 128 plus its number.
    Cancelled = 130,
}

impl Exit {
    /// The word for it in the JSON of an error.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::NotFound => "not_found",
            Exit::Corrupt => "corrupt",
            Exit::Busy => "busy",
            Exit::Refused => "refused",
            Exit::Unreachable => "unreachable",
            Exit::Denied => "denied",
            Exit::NoRoom => "no_room",
            Exit::Cancelled => "cancelled",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a verb, or one of its arguments, was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's error.
    Library(Error),
    /// What the command itself has to say.
    Stated { exit: Exit, message: String, hint: Option<String> },
    /// Standard output could not be written.
    Output(io::Error),
    /// Every failure was reported when it happened; the code is that of the first.
    Told(Exit),
}

/// What the command itself has to say, with nothing to do about it so far.
impl Failure {
    fn stated(exit: Exit, message: impl Into<String>) -> Self {
        Failure::Stated { exit, message: message.into(), hint: None }
    }

    /// The arguments make no sense, or none together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure::stated(Exit::Usage, message)
    }

    /// What was named is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Failure::stated(Exit::NotFound, message)
    }

    /// What was asked for was not done, or only in part.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure::stated(Exit::Failed, message)
    }

    /// Content is not what it should be.
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Failure::stated(Exit::Corrupt, message)
    }

    /// There is not as much room as was asked for.
    pub(crate) fn no_room(message: impl Into<String>) -> Self {
        Failure::stated(Exit::NoRoom, message)
    }

    /// The library's error, with the subject of the action added if the error names only files of the store.
    pub(crate) fn of(error: Error, action: &str, subject: &str, command: &str) -> Self {
        let words = with_causes(&error);
        // A URL names what was to be fetched.
        if words.contains(subject) || error.net().is_some() {
            return error.into();
        }
        let hint = hint_of(&error, command);
        let message = format!("could not {action} {subject}: {words}");
        Failure::Stated { exit: Failure::from(error).exit(), message, hint }
    }

    /// What to do about it.
    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Failure::Stated { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
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
            Failure::Library(error) if error.is_refused() || error.is_unsigned() => Exit::Refused,
            Failure::Library(error) if error.is_unreachable() => Exit::Unreachable,
            Failure::Library(error) if error.is_denied() => Exit::Denied,
            Failure::Library(error) if error.is_cancelled() => Exit::Cancelled,
            Failure::Library(error) if error.is_no_space() => Exit::NoRoom,
            Failure::Library(_) | Failure::Output(_) => Exit::Failed,
            Failure::Stated { exit, .. } | Failure::Told(exit) => *exit,
        }
    }
}

/// Reports a failure on standard error. `about` is the argument that failed; `command` calls this command again for
/// the same root.
pub(crate) fn tell(failure: &Failure, about: Option<&str>, command: &str) -> Exit {
    let exit = failure.exit();
    let say = |message: &str, hint: Option<&str>| stderr::error(about, exit.word(), message, hint);
    match failure {
        Failure::Library(error) => say(&with_causes(error), hint_of(error, command).as_deref()),
        Failure::Stated { message, hint, .. } => say(message, hint.as_deref()),
        Failure::Output(error) => say(
            &format!(
                "could not write to standard output: {error}; what was printed is not complete, what was done is done"
            ),
            None,
        ),
        Failure::Told(_) => {}
    }
    exit
}

/// The error in words, and what to do about it.
pub(crate) fn with_hint(error: &Error, command: &str) -> String {
    let words = with_causes(error);
    match hint_of(error, command) {
        Some(hint) => format!("{words}; {hint}"),
        None => words,
    }
}

fn hint_of(error: &Error, command: &str) -> Option<String> {
    error.hint().map(|hint| advice::words(&hint, command))
}

/// The message of the error, and those of its causes that it does not contain already.
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
        assert_eq!(
            of(Exit::Usage),
            "InvalidDigest InvalidRef InvalidId Ambiguous Ambiguous NoSink InvalidExport InvalidLimit InvalidNetRule"
        );
        assert_eq!(of(Exit::NotFound), "NotFound NotStaged SourceMissing NoCatalog Net Net Net Net Net Net");
        assert_eq!(
            of(Exit::Corrupt),
            "DamagedCache DigestMismatch BadSignature Incomplete CorruptIndex CorruptBlob Damaged Occupied NoGoodSource NoGoodSource Net"
        );
        assert_eq!(of(Exit::Busy), "Busy Busy");
        assert_eq!(of(Exit::Refused), format!("Unsigned Unsigned {}", ["Net"; 10].join(" ")));
        assert_eq!(of(Exit::Unreachable), "Net Offline");
        assert_eq!(of(Exit::Denied), ["Net"; 6].join(" "));
        assert_eq!(of(Exit::Cancelled), "Cancelled");
        assert_eq!(of(Exit::Done), "");
        assert_eq!(of(Exit::NoRoom), "NoRoom Io Io");
        assert_eq!(Failure::usage("x").exit(), Exit::Usage);
        assert_eq!(Failure::not_found("x").with_hint("y").exit(), Exit::NotFound);
        assert_eq!(Failure::failed("x").exit(), Exit::Failed);
        assert_eq!(Failure::no_room("x").exit(), Exit::NoRoom);
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
