//! What clap says about the arguments: the help or the version, or what is wrong.

use std::io::{self, Write as _};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};

use crate::NAME;
use crate::failure::{Exit, Failure, tell};
use crate::stderr;

/// The verbs of other tools, and what they are called here.
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

/// The global options. If they were given, clap adds them to the usage line as though they were required.
const GLOBAL: [&str; 6] =
    [" --root <DIR>", " --json", " --quiet", " --verbose...", " --log-format <FORMAT>", " --progress <HOW>"];

/// The error with two corrections: what a verb of another tool is called here, and no global options in the usage line.
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

/// Prints it.
pub(crate) fn print(answer: clap::Error) -> Exit {
    // The arguments were not understood, so this looks for `--json` among the words.
    if answer.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
        stderr::use_json();
        let text = answer.to_string();
        let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        return tell(&Failure::usage(message.replace('\n', " ")), None, NAME);
    }
    // Standard output buffers what follows the last line break, and an error at exit would be lost.
    let printed = answer.print().and_then(|()| io::stdout().flush());
    match printed {
        _ if answer.use_stderr() => Exit::Usage,
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => tell(&Failure::Output(error), None, NAME),
        _ => Exit::Done,
    }
}
