//! Compares receipts and lines of output with what happened.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::process::{Command, Output};

use common::*;
use serde_json::Value;

fn catalog(host: &Host, args: &[&str]) -> Output {
    host.command().args(args).output().unwrap()
}

fn line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

/// A source that cannot be removed until this is dropped.
struct Immutable(std::path::PathBuf);

impl Immutable {
    fn new(path: std::path::PathBuf) -> Option<Self> {
        let is_set = Command::new("chattr").arg("+i").arg(&path).output().is_ok_and(|output| output.status.success());
        if !is_set {
            skip("this file system has no immutable files, or this is not root");
        }
        is_set.then_some(Immutable(path))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).status();
    }
}

/// Asserts that a move has staged the bytes, says what stays and why, and does not count as a success.
#[track_caller]
fn assert_unmoved(host: &Host, output: &Output, id: &str, source: &std::path::Path, why: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains(&format!("could not remove {}: ", source.display())) && errors.contains(why), "{errors}");
    let receipt: Value = serde_json::from_str(&line(output)).unwrap();
    assert_eq!(receipt["unmoved"][0]["path"], source.to_str().unwrap(), "{receipt}");
    assert_ne!(receipt["mode"], "move", "{receipt}");
    assert!(source.exists());
    assert_readable(&host.catalog(), id, b"bytes");
}

// Red when a receipt says "moved" before the source is gone, or when `catalog stage` only reports the staging.
#[test]
fn a_move_whose_source_stays_says_so() {
    let host = Host::new();
    set_mode(host.dir.path(), 0o755);
    let real = host.file("real/m.gguf", "bytes");
    let link = host.path("link.gguf");
    symlink(&real, &link).unwrap();
    let stage = |source: &std::path::Path, id: &str| {
        catalog(&host, &["stage", source.to_str().unwrap(), "--mode", "move", "--id", id, "--json"])
    };
    assert_unmoved(&host, &stage(&link, "by a symlink"), "by a symlink", &link, "it is a symlink");
    assert!(real.exists());
    if let Some(kept) = Immutable::new(host.file("immutable.gguf", "bytes")) {
        assert_unmoved(&host, &stage(&kept.0, "immutable"), "immutable", &kept.0, "Operation not permitted");
    }
    // A source that can be removed is removed.
    let moved = catalog(&host, &["stage", real.to_str().unwrap(), "--mode", "move", "--id", "moved"]);
    assert!(moved.status.success() && !real.exists(), "{moved:?}");

    // A folder in which the user may not write.
    let Some(words) = as_nobody() else { return };
    let own = Host { dir: tempfile::TempDir::new().unwrap() };
    set_mode(own.dir.path(), 0o755);
    fs::create_dir(own.root()).unwrap();
    let source = own.file("theirs/m.gguf", "bytes");
    for path in [&source, &own.root()] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(own.command().get_program()).args([
        "stage",
        source.to_str().unwrap(),
        "--mode",
        "move",
    ]);
    command.args(["--id", "theirs", "--json"]).current_dir("/").env("CATALOG_ROOT", own.root()).env("HOME", "/");
    assert_unmoved(&own, &command.output().unwrap(), "theirs", &source, "Permission denied");
}

// Red when only blobs count: a whole copy on disk would count as nothing.
#[test]
fn a_copy_that_is_made_for_the_path_is_counted() {
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let host = Host::new();
    let file = host.file("m.gguf", vec![7; 1 << 20]);
    let refused = |id: &str, json: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=linkat:error=EMLINK:when=1+"]);
        strace.arg(host.command().get_program()).args(["stage", file.to_str().unwrap(), "--mode", "copy", "--id", id]);
        strace.args(json).env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
        strace.output().unwrap()
    };
    let used =
        || files_below(&host.root().join("views")).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    stage(&host.catalog(), &file, "linked").unwrap();
    let before = used();
    let receipt: Value = serde_json::from_str(&line(&refused("copied", &["--json"]))).unwrap();
    if receipt["view"] == "reflink" {
        return skip("this file system shares blocks");
    }
    assert_eq!(receipt["view_copied_bytes"], used() - before, "{receipt}");
    assert_eq!((&receipt["deduplicated"], &receipt["stored_bytes"]), (&true.into(), &0.into()));
    let words = line(&refused("copied too", &[]));
    assert!(words.contains("its bytes are here already, 1.0 MB copied for its path"), "{words}");
}

// Red when the receipt of a tree counts all of it as new, or when it does not name the previous digest of the id.
#[test]
fn what_is_new_of_a_tree_and_what_it_replaces_is_told() {
    let host = Host::new();
    for (name, size) in [("a", 1 << 20), ("b", 2 << 20)] {
        host.file(&format!("tree/{name}"), vec![7; size]);
    }
    let tree = host.path("tree");
    let stage = |json: &[&str]| catalog(&host, &[&["stage", tree.to_str().unwrap(), "--id", "tree"], json].concat());
    let first = line(&stage(&[]));
    assert!(!first.contains("here already") && !first.contains("in the place of"), "{first}");
    let was = digest_of(&host, "tree");
    host.file("tree/c", "6 new!");
    let second = line(&stage(&[]));
    assert!(second.contains("6 B of it new, the rest is here already"), "{second}");
    assert!(second.contains(&format!("in the place of {}", &was[.."sha256:".len() + 12])), "{second}");
    let before = digest_of(&host, "tree");
    host.file("tree/c", "6 newer");
    let receipt: Value = serde_json::from_str(&line(&stage(&["--json"]))).unwrap();
    assert_eq!((receipt["replaced"].as_str(), &receipt["stored_bytes"]), (Some(before.as_str()), &7.into()));
    // The same content replaces nothing.
    set_mtime(&host.path("tree/c"), std::time::SystemTime::now());
    let again: Value = serde_json::from_str(&line(&stage(&["--json"]))).unwrap();
    assert_eq!(again["replaced"], Value::Null);
}

fn digest_of(host: &Host, id: &str) -> String {
    host.catalog().record(id).unwrap().unwrap().entry.digest.unwrap().to_string()
}

// Red when a repair names only the requested entry.
#[test]
fn a_repair_names_all_that_it_made_whole() {
    let host = Host::new();
    let file = host.file("m.gguf", vec![7; 1 << 20]);
    let ids = ["one", "two", "three"];
    let paths = ids.map(|id| stage(&host.catalog(), &file, id).unwrap().local_path);
    set_mode(&paths[0], 0o644);
    fs::write(&paths[0], vec![8; 1 << 20]).unwrap();
    assert_eq!(catalog(&host, &["verify", "--all"]).status.code(), Some(4));
    let repaired = catalog(&host, &["repair", "two", "--from", file.to_str().unwrap()]);
    let words = String::from_utf8_lossy(&repaired.stdout);
    assert!(words.starts_with("repaired two: ") && words.contains("whole again with it: one, three"), "{repaired:?}");
    assert!(paths.iter().all(|path| fs::read(path).unwrap() == vec![7; 1 << 20]));
}
