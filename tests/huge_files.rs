//! Small files of the store that somebody has made huge without a single block. The command fails or does without the
//! file, in the memory that it needs anyway.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rstest::rstest;

use common::memory::peak_kb;
use common::*;

const HUGE_BYTES: u64 = 4 << 30;
/// Without the protection, memory exceeds this long before the whole file is read.
const MAX_KB: u64 = 200 << 10;

/// A store with a file and a tree.
struct Scene {
    host: Host,
}

impl Scene {
    fn new() -> Self {
        let host = Host::new();
        let catalog = host.catalog();
        stage(&catalog, &host.file("a", vec![7; 3 << 20]), "a").unwrap();
        host.file("tree/x", "x");
        host.file("tree/y", "y");
        stage(&catalog, &host.path("tree"), "tree").unwrap();
        Scene { host }
    }

    /// The path of a file of the store.
    fn file(&self, what: &str) -> PathBuf {
        let root = self.host.root();
        let of_blob = |id: &str, ending: &str| {
            let hex = self.host.catalog().record(id).unwrap().unwrap().entry.digest.unwrap().to_hex();
            root.join("outboards/sha256").join(&hex[..2]).join(format!("{hex}.{ending}"))
        };
        match what {
            "shard" => shard_path(&root, "a"),
            "previous shard" => shard_path(&root, "a").with_extension("json.prev"),
            "outboard" => of_blob("a", "json"),
            "groups" => of_blob("a", "groups"),
            "manifest" => blob_path(&root, &self.host.catalog().record("tree").unwrap().unwrap().entry.digest.unwrap()),
            name => root.join(name),
        }
    }

    /// Runs a command that must take little memory. Returns its exit code, its error output, and the highest memory
    /// seen.
    #[track_caller]
    fn run(&self, words: &str) -> (Option<i32>, String, u64) {
        let mut command = self.host.command();
        command.args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        let ([peak], status) = peak_kb(&mut running, ["RssAnon:"]);
        assert!(peak < MAX_KB, "{words}: {peak} kB");
        let mut stderr = String::new();
        running.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status.code(), stderr, peak)
    }
}

fn enlarge(path: &Path) {
    if let Ok(meta) = fs::metadata(path) {
        // Blobs too: their owner could do this.
        let mode = mode_of(path);
        set_mode(path, 0o644);
        File::options().write(true).open(path).unwrap().set_len(meta.len() + HUGE_BYTES).unwrap();
        set_mode(path, mode);
    } else {
        File::create(path).unwrap().set_len(HUGE_BYTES).unwrap();
    }
}

// Red when a file is read before its size is checked.
#[rstest]
#[case::store_json("store.json", &[("path a", 4), ("stage a", 4), ("list", 4), ("doctor", 4)])]
#[case::cachedir_tag("CACHEDIR.TAG", &[("path a", 0), ("doctor", 0)])]
#[case::shard("shard", &[("path a", 4), ("list", 4), ("stage a --id a", 4), ("gc", 4), ("doctor", 4)])]
#[case::previous_shard("previous shard", &[("path a", 0), ("list", 0), ("doctor", 1)])]
#[case::outboard("outboard", &[("path a", 0), ("verify a", 0), ("doctor", 1)])]
#[case::groups("groups", &[("path a", 0), ("verify a", 0), ("repair a", 0), ("doctor", 1)])]
#[case::manifest("manifest", &[("path tree", 4), ("gc", 4)])]
fn what_is_huge_is_an_error_or_done_without(#[case] what: &str, #[case] lines: &[(&str, i32)]) {
    let mut seen_kb = 0;
    for (line, code) in lines {
        let scene = Scene::new();
        let path = scene.file(what);
        enlarge(&path);
        let (ended, stderr, peak) = scene.run(line);
        seen_kb = peak.max(seen_kb);
        assert_eq!(ended, Some(*code), "{line}: {stderr}");
        if *code == 4 && what != "manifest" && !line.starts_with("doctor") {
            assert!(stderr.contains(path.file_name().unwrap().to_str().unwrap()), "{line}: {stderr}");
        }
    }
    assert!(seen_kb > 0, "no command took long enough to be seen");
}

// Red when another worker's progress file is read whatever its size.
#[test]
fn a_huge_progress_is_waited_for_like_any_other() {
    let scene = Scene::new();
    let locks = files_below(&scene.host.root().join("locks/fetch"));
    let worker = File::options().write(true).open(&locks[0]).unwrap();
    worker.lock().unwrap();
    for lock in &locks {
        enlarge(lock);
    }
    let (mut codes, mut seen_kb) = (Vec::new(), 0);
    for id in ["a", "tree"] {
        scene.host.file("a", "other"); // so that there is something to do
        scene.host.file("tree/x", "other");
        let (code, _, peak) = scene.run(&format!("stage {id} --id {id} --wait 1s"));
        codes.push(code);
        seen_kb = peak.max(seen_kb);
    }
    codes.sort();
    assert!(seen_kb > 0);
    assert_eq!(codes, [Some(0), Some(5)]);
}
