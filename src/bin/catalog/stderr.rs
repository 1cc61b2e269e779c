//! Standard error: errors, notes, and progress for programs. With `--json`, each of its lines is an object too.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

use crate::json::{ErrorInfo, ErrorLine, Line, Note};
use crate::text::visible;

/// Static, because threads without an [`App`](crate::app::App) print too.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// The styles that clap gives to its own errors.
const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();

/// Writes objects from now on.
pub(crate) fn use_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Prints a message that is good to know but not an error.
pub(crate) fn note(message: &str) {
    match IS_JSON.load(Ordering::Relaxed) {
        true => object(&Line::Note(Note { message })),
        false => words("note", NOTE, message),
    }
}

/// Prints an error: what is wrong, and what to do about it. `about` is the argument that it concerns.
pub(crate) fn error(about: Option<&str>, kind: &'static str, message: &str, hint: Option<&str>) {
    match (IS_JSON.load(Ordering::Relaxed), hint) {
        (true, hint) => object(&Line::Error(ErrorLine { id: about, error: ErrorInfo { kind, message, hint } })),
        (false, Some(hint)) => words("error", ERROR, &format!("{message}; {hint}")),
        (false, None) => words("error", ERROR, message),
    }
}

/// Colours are for a terminal, unless the environment says otherwise (NO_COLOR, CLICOLOR, CLICOLOR_FORCE).
fn words(what: &str, style: Style, message: &str) {
    // If standard error itself cannot be written, there is nowhere to report it.
    let _ = writeln!(anstream::stderr(), "{style}{what}:{style:#} {}", visible(message));
}

pub(crate) fn object(line: &Line<'_>) {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    let _ = std::io::stderr().write_all(&text);
}
