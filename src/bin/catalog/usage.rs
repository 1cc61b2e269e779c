//! Prints what clap returns for the arguments: the help, the version, or an error.

use std::io::{self, Write as _};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};

use crate::NAME;
use crate::failure::{Exit, Failure, tell};
use crate::stderr;

/// The verbs of other tools, and their names here.
const ELSEWHERE: [(&str, &str); 9] = [
    ("add", "stage"),
    ("pull", "stage"),
    ("import", "stage"),
    ("download", "stage"),
    ("fetch", "stage"),
    ("delete", "remove"),
    ("prune", "gc"),
    ("cat", "path"),
    ("info", "show"),
];

/// The global options. If they were given, clap adds them to the usage line as if they were required.
const GLOBAL: [&str; 6] =
    [" --root <DIR>", " --json", " --quiet", " --verbose...", " --log-format <FORMAT>", " --progress <HOW>"];

/// The error with two corrections: it suggests this command's name for a verb of another tool, and its usage line has
/// no global options.
pub(crate) fn with_tip(mut answer: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(typed)) = answer.get(ContextKind::InvalidSubcommand)
        && let Some((_, verb)) = ELSEWHERE.iter().find(|(name, _)| name == typed)
    {
        answer.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![(*verb).to_owned()]));
    }
    if let Some(ContextValue::StyledStr(usage)) = answer.get(ContextKind::Usage) {
        let plain = usage.to_string();
        let short = GLOBAL.iter().fold(plain.clone(), |usage, option| usage.replace(option, ""));
        if short != plain {
            answer.insert(ContextKind::Usage, ContextValue::StyledStr(StyledStr::from(short)));
        }
    }
    answer
}

/// Prints the answer of clap.
pub(crate) fn print(answer: clap::Error) -> Exit {
    // clap could not parse the arguments, so this looks for `--json` among the words.
    if answer.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
        stderr::use_json();
        let text = answer.to_string();
        let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        return tell(&Failure::usage(message.replace('\n', " ")), None, NAME);
    }
    // Standard output buffers the text after the last line break, and an error in writing that at exit would be lost.
    let printed = answer.print().and_then(|()| io::stdout().flush());
    match printed {
        _ if answer.use_stderr() => Exit::Usage,
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => tell(&Failure::Output(error), None, NAME),
        _ => Exit::Done,
    }
}
