//! Candidates from the catalog: ids, pins, partials. This only reads, and ignores errors.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

use catalog_core::{FsCatalog, Record};
use clap_complete::engine::ValueCompleter as _;
use clap_complete::{ArgValueCompleter, CompletionCandidate, PathCompleter};

use crate::{app, human};

/// The typed words, without quotes: a completer gets only the word that it completes.
static WORDS: OnceLock<Vec<OsString>> = OnceLock::new();

pub(super) fn remember(words: &[OsString]) {
    let _ = WORDS.set(words.to_vec());
}

/// Ids of models, and paths that they may have been staged from.
pub(crate) fn models() -> ArgValueCompleter {
    ArgValueCompleter::new(ids)
}

/// Files and folders, which can be staged.
pub(crate) fn references() -> ArgValueCompleter {
    ArgValueCompleter::new(paths)
}

/// Names of pins.
pub(crate) fn pins() -> ArgValueCompleter {
    ArgValueCompleter::new(pin_names)
}

/// Keys of the partials that interrupted copies and fetches have left.
pub(crate) fn partials() -> ArgValueCompleter {
    ArgValueCompleter::new(keys)
}

/// Ids. A word that begins like a path, or like no id, is completed as a path, because a path also names a model.
fn ids(current: &OsStr) -> Vec<CompletionCandidate> {
    let of_models = || {
        let here = records().into_iter().filter(|record| is_candidate(&record.entry.id, current));
        here.map(|record| CompletionCandidate::new(record.entry.id).help(Some(human::size(record.size_bytes).into())))
    };
    let found: Vec<_> = if is_path(current) { Vec::new() } else { of_models().collect() };
    if found.is_empty() { paths(current) } else { found }
}

/// Paths only: completion contacts no server.
fn paths(current: &OsStr) -> Vec<CompletionCandidate> {
    PathCompleter::any().complete(current)
}

fn pin_names(current: &OsStr) -> Vec<CompletionCandidate> {
    let names: BTreeSet<String> = records().into_iter().flat_map(|record| record.pins.into_keys()).collect();
    names.into_iter().filter(|name| is_candidate(name, current)).map(CompletionCandidate::new).collect()
}

fn keys(current: &OsStr) -> Vec<CompletionCandidate> {
    let partials = open().and_then(|catalog| catalog.partials().ok()).unwrap_or_default();
    let keys = partials.into_iter().filter(|partial| is_candidate(&partial.key, current));
    keys.map(|partial| CompletionCandidate::new(partial.key)).collect()
}

/// A shell reads one candidate a line, so one with a control character such as a line break is left out.
fn is_candidate(text: &str, current: &OsStr) -> bool {
    current.to_str().is_some_and(|current| text.starts_with(current)) && !text.contains(char::is_control)
}

fn is_path(current: &OsStr) -> bool {
    let text = current.to_string_lossy();
    ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start))
}

fn records() -> Vec<Record> {
    open().and_then(|catalog| catalog.records().ok()).unwrap_or_default()
}

/// The catalog that the typed line or the environment names.
fn open() -> Option<FsCatalog> {
    let words = WORDS.get().map(Vec::as_slice).unwrap_or_default();
    let (root, _) = app::root(root_in(words));
    FsCatalog::open(root).ok()
}

/// The root that the words give.
fn root_in(words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let root = match word.to_str() {
            Some("--root") => words.next()?.to_str()?,
            Some(word) if word.starts_with("--root=") => word.strip_prefix("--root=")?,
            _ => continue,
        };
        // The shell has not replaced the `~` yet.
        let home = || Some(PathBuf::from(env::var_os("HOME")?));
        return match root.strip_prefix("~/") {
            Some(below) => home().map(|home| home.join(below)),
            None => Some(root.into()),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_one_of_the_line() {
        for (line, root) in [
            ("catalog --root /r path ", Some("/r")),
            ("catalog path --root=/r m", Some("/r")),
            ("catalog path m", None),
            ("catalog lease m -- engine --root /other", None),
            ("catalog path m --root", None),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(root_in(&words), root.map(PathBuf::from), "{line}");
        }
    }
}
