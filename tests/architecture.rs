//! The layers of the crate: modules only ever depend downwards, and dangerous code is confined to one place.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// From bottom to top. A module may use its own layer and the layers below it.
const LAYERS: [&[&str]; 15] = [
    &["excerpt", "threads", "read_at", "sum", "counts", "pattern", "skip", "git_blob", "oci", "ollama_name"],
    &["digest", "words", "json", "referrer"],
    &["hint", "error", "cancel"],
    &["model_ref", "entry", "layout", "observer"],
    &["fs"],
    &["hash", "fetch", "net", "formats"],
    &["source"],
    &["blob", "index"],
    &["view", "ingest"],
    &["store"],
    &["gc"],
    &["stage", "verify", "repair", "lease", "naming", "facts", "documents", "history", "attest"],
    &["doctor", "transfer", "adopt", "export"],
    &["catalog"],
    // The front page, and the checks of the public surface.
    &["lib", "testing"],
];

/// Dependencies that the layers would allow but the design forbids.
const NEVER: [(&str, &[&str]); 8] = [
    ("fs", &["digest"]),
    ("blob", &["index"]),
    ("index", &["blob"]),
    ("ingest", &["index", "view"]),
    ("fetch", &["hash"]),
    // The network code knows nothing about files or the store.
    ("net", &["fs", "hash", "fetch", "layout", "model_ref", "entry"]),
    ("source", &["fs", "hash", "layout"]),
    ("verify", &["stage", "repair", "lease"]),
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file: its path below `src/`, and its text without comments and unit tests. Unit tests come last in a
/// file, or have a file `tests.rs` of their own.
fn sources() -> Vec<(PathBuf, String)> {
    let files = WalkDir::new(src()).sort_by_file_name().into_iter().map(|entry| entry.unwrap().into_path());
    let files =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs"));
    files.map(|path| (path.strip_prefix(src()).unwrap().to_path_buf(), code(&path))).collect()
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines =
        text.lines().take_while(|line| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test"));
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// `blob` for `blob/mod.rs` and for `blob.rs`; `None` for the command.
fn module(file: &Path) -> Option<String> {
    let first = Path::new(file.components().next()?.as_os_str());
    let name = first.file_stem()?.to_str()?.to_owned();
    (name != "bin").then_some(name)
}

/// The modules that a text names after `crate::`, alone or in braces. A type named directly belongs to the front page.
fn uses(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let names = match after.strip_prefix('{') {
            Some(braced) => braced.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![after],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is_module = name.starts_with(|c: char| c.is_ascii_lowercase());
            used.insert(if is_module { name } else { "lib".into() });
        }
    }
    used
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("the module {module} has no layer: give it one here and in the design"))
}

fn is_allowed(from: &str, to: &str) -> bool {
    let never = NEVER.iter().any(|(module, not)| *module == from && not.contains(&to));
    from == to || (layer(to) <= layer(from) && !never)
}

/// Every dependency between two modules, with the file that contains it.
fn arrows() -> Vec<(String, String, PathBuf)> {
    let mut arrows = Vec::new();
    for (file, code) in sources() {
        let Some(from) = module(&file) else { continue };
        for to in uses(&code) {
            arrows.push((from.clone(), to, file.clone()));
        }
    }
    assert!(arrows.len() > 50, "{arrows:?}");
    arrows
}

// Red when, for example, `src/fs/mod.rs` says `use crate::blob;`.
#[test]
fn arrows_point_down() {
    let wrong: Vec<String> = arrows()
        .iter()
        .filter(|(from, to, _)| !is_allowed(from, to))
        .map(|(from, to, file)| format!("{}: {from} uses {to}", file.display()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// At the top of `src/`, `super::` would be a dependency that the test above does not see.
#[test]
fn files_at_the_top_name_each_other_by_crate() {
    for (file, code) in sources() {
        let is_top = file.components().count() == 1 || file.ends_with("mod.rs") && file.components().count() == 2;
        assert!(!is_top || !code.contains("super::"), "{}", file.display());
    }
}

// Red when a file of the command reaches into the library by `#[path]`, or uses something meant for tests.
#[test]
fn the_command_uses_the_public_surface_alone() {
    for (file, code) in sources().into_iter().filter(|(file, _)| file.starts_with("bin")) {
        for forbidden in ["#[path", "include!", "catalog_core::testing", "unsafe"] {
            assert!(!code.contains(forbidden), "{}: {forbidden}", file.display());
        }
    }
}

#[test]
fn unsafe_code_is_in_four_places() {
    let may = |file: &Path| {
        ["fs/map.rs", "fs/extents.rs", "fs/open_files.rs"].iter().any(|may| file == Path::new(may))
            || file.starts_with("hash")
    };
    for (file, code) in sources() {
        let has = code.contains("allow(unsafe_code)") || code.contains("unsafe ");
        assert!(!has || may(&file), "{}", file.display());
    }
    let map = code(&src().join("fs/map.rs"));
    assert!(map.contains("allow(unsafe_code)"), "the test looks for the right words");
}

/// Only `fs/`, which holds the protocols, calls crates that touch files, locks and memory.
#[test]
fn the_system_is_called_from_one_place() {
    for (file, code) in sources() {
        for (name, home) in [("fs2::", "fs"), ("rustix::", "fs"), ("memmap2::", "fs/map.rs")] {
            assert!(!code.contains(name) || file.starts_with(home), "{}: {name}", file.display());
        }
    }
}

/// Only one file names an API that may change in any minor release of a dependency.
#[test]
fn what_is_not_stable_is_named_in_one_place() {
    let files = sources().into_iter().filter(|(_, code)| code.contains("ureq::unversioned")).map(|(file, _)| file);
    assert_eq!(files.collect::<Vec<_>>(), [Path::new("net/agent.rs")]);
    // A request made elsewhere would bypass the policy.
    for (file, code) in sources().into_iter().filter(|(_, code)| code.contains("ureq::")) {
        assert!(file.starts_with("net"), "{}: {code}", file.display());
    }
}

/// Whatever requires the store lock is a method of its guards, so that it is called from there alone.
// Red when, for example, a verb calls `index.update` by itself.
#[test]
fn the_store_changes_under_its_guards_alone() {
    let calls = ["blob::publish(", "view::show(", "index.update(", "blob::to_trash(", ".restore_previous("];
    let mut found = BTreeSet::new();
    for (file, code) in sources() {
        for call in calls.iter().filter(|call| code.contains(**call)) {
            assert_eq!(file, Path::new("store/guard.rs"), "{call}");
            found.insert(*call);
        }
    }
    assert_eq!(found.len(), calls.len(), "the test looks for the right words: {found:?}");
}

/// Locks are types: nobody checks a promise made in a comment.
#[test]
fn no_comment_says_that_a_lock_is_held() {
    for entry in WalkDir::new(src()).into_iter().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let text = fs::read_to_string(entry.path()).unwrap();
        for words in ["caller holds", "caller must hold", "lock is held shared", "lock is held exclusive"] {
            assert!(!text.contains(words), "{}: {words}", entry.path().display());
        }
    }
}
