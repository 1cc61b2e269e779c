//! `adopt` and `export` killed on their N-th system call, for every kind of call that changes something: both stores are
//! whole, and the next run finishes the work.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use catalog_core::Digest;

use crate::common::{files_below, run};
use crate::hub::{Hub, models};
use crate::place::{Place, has};
use crate::tree::{assert_same, content, tree};
use crate::venv::Hf;

/// The calls that change what is on disk, or wait for it.
const CALLS: [&str; 12] = [
    "linkat",
    "renameat",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "openat",
    "write",
    "fsync",
    "fdatasync",
    "fchmod",
    "flock",
];

/// Has four files: each file more is another look at all processes, which takes long under strace.
const REPOSITORY: &str = "tiny/llama";

/// How many moments of each call.
const MOMENTS: usize = 3;

/// The words of `catalog` behind those of strace.
fn traced(place: &Place, words: &[&str], strace: &[&str]) -> Command {
    let log = place.path("strace.log");
    let before = [&["strace", "-f", "-qq", "-o", log.to_str().unwrap()], strace].concat();
    let mut command = place.program_as(&before, assert_cmd::cargo::cargo_bin!("catalog"));
    command.arg("--root").arg(place.root()).args(words);
    command
}

/// How often a command makes each call, counted by thread: the most of any thread.
fn counted(place: &Place, words: &[&str]) -> Vec<(&'static str, usize)> {
    let ran = traced(place, words, &["-e", &format!("trace={}", CALLS.join(","))]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let log = fs::read_to_string(place.path("strace.log")).unwrap();
    let of = |call: &str| {
        let mut threads = std::collections::BTreeMap::new();
        let begin = format!("{call}(");
        for line in
            log.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|word| word.starts_with(&begin)))
        {
            *threads.entry(line.split_whitespace().next().unwrap().to_owned()).or_insert(0) += 1;
        }
        threads.into_values().max().unwrap_or(0)
    };
    CALLS.iter().map(|call| (*call, of(call))).filter(|(_, count)| *count > 0).collect()
}

/// Kills the command at moments spread over all of its calls. `check` runs after each kill; `again` restores the place.
fn sweep(place: &Place, words: &[&str], mut check: impl FnMut(&str), mut again: impl FnMut()) {
    again();
    let calls = counted(place, words);
    assert!(calls.iter().any(|(call, _)| *call == "linkat"), "{calls:?}");
    let mut kills = 0;
    for (call, count) in calls {
        let step = count.div_ceil(MOMENTS);
        for number in (1..=count).step_by(step) {
            again();
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let ran = traced(place, words, &["-e", &format!("trace={call}"), "-e", &inject]).output().unwrap();
            // strace ends itself by the signal that ended the command; `timeout` says so by its code.
            let is_killed = ran.status.signal() == Some(9) || ran.status.code() == Some(137);
            assert!(is_killed || ran.status.success(), "{call} {number}: {ran:?}");
            kills += usize::from(is_killed);
            check(&format!("killed on {call} {number}"));
        }
    }
    println!("{kills} kills of {words:?}");
    assert!(kills > 5, "{kills} kills");
}

#[test]
fn adopt() {
    if Hf::V2_4.bin().is_none() || !has("strace") {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    place.hf_does(Hf::V2_4, Some(&hub), &["download", REPOSITORY, "v1"]);
    let before = tree(&place.hf());
    let again = || {
        let _ = fs::remove_dir_all(place.root());
    };
    let check = |when: &str| {
        assert_same(&before, &tree(&place.hf()));
        if place.root().join("store.json").exists() {
            let verified = place.catalog(&["verify", "--all"]);
            assert_eq!(verified.code, 0, "{when}: {verified:?}");
        }
        let ran = place.catalog(&["adopt", "hf"]);
        assert_eq!(ran.code, 0, "{when}: {ran:?}");
        let view = place.shown(&format!("hf:{REPOSITORY}@v1"));
        assert_same(&content(&models().unwrap().join(format!("{REPOSITORY}@v1"))), &content(&view));
        place.done(&["gc", "--grace", "0s"]);
        place.assert_sound();
    };
    sweep(&place, &["adopt", "hf"], check, again);
    place.hf_does(Hf::V2_4, None, &["offline", REPOSITORY, "v1"]);
}

// With `--dedupe`, the other store changes too.
#[test]
fn dedupe() {
    if Hf::V2_4.bin().is_none() || !has("strace") {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    let downloaded = Place::new();
    downloaded.hf_does(Hf::V2_4, Some(&hub), &["download", REPOSITORY, "v1"]);
    let before = content(&downloaded.hf());
    let again = || {
        let _ = fs::remove_dir_all(place.root());
        let _ = fs::remove_dir_all(place.hf());
        copy(&downloaded.hf(), &place.hf());
        place.done(&["adopt", "hf", "--copy"]);
    };
    let check = |when: &str| {
        let is = content(&place.hf());
        let changed: Vec<_> = before.iter().filter(|(path, was)| is.get(*path) != Some(was)).collect();
        assert!(changed.is_empty(), "{when}: {changed:?}");
        let ran = place.catalog(&["adopt", "hf", "--dedupe"]);
        assert_eq!(ran.code, 0, "{when}: {ran:?}");
        place.done(&["gc", "--grace", "0s"]);
        place.assert_sound();
        assert_same(&before, &content(&place.hf()));
    };
    sweep(&place, &["adopt", "hf", "--dedupe"], check, again);
    place.hf_does(Hf::V2_4, None, &["offline", REPOSITORY, "v1"]);
}

// Red when a pointer gets its name before the blob that it leads to.
#[test]
fn export() {
    if Hf::V2_4.bin().is_none() || !has("strace") {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    let source = models().unwrap().join("tiny/bert");
    place.done(&["stage", source.to_str().unwrap(), "--id", "bert", "--mode", "copy"]);
    let to = place.hf();
    let words = ["export", "bert", "--as", "hf", "--to", to.to_str().unwrap(), "--repo", "tiny/bert"];
    let again = || {
        if to.exists() {
            place.done(&["export", "--remove", "bert"]);
        }
        let left = if to.exists() { files_below(&to) } else { Vec::new() };
        let is_of_a_cache = |file: &PathBuf| file.ends_with("CACHEDIR.TAG") || file.starts_with(to.join(".locks"));
        assert!(left.iter().all(is_of_a_cache), "left over: {left:?}");
    };
    let check = |when: &str| {
        place.done(&["verify", "--all"]);
        assert_whole(&to, when);
        let ran = place.catalog(&words);
        assert_eq!(ran.code, 0, "{when}: {ran:?}");
        assert_whole(&to, when);
        let unfinished = tree(&to).into_keys().find(|path| path.to_str().unwrap().starts_with(".catalog-"));
        assert_eq!(unfinished, None, "{when}: left after the next run");
        place.done(&["gc", "--grace", "0s"]);
        place.assert_sound();
        let snapshots = fs::read_dir(to.join("models--tiny--bert/snapshots")).unwrap();
        let snapshots: Vec<_> = snapshots.map(|entry| entry.unwrap().path()).collect();
        let [snapshot] = snapshots.as_slice() else { panic!("{when}: {snapshots:?}") };
        for file in files_below(&source) {
            let name = file.strip_prefix(&source).unwrap();
            assert!(fs::read(snapshot.join(name)).unwrap() == fs::read(&file).unwrap(), "{when}: {}", name.display());
        }
    };
    sweep(&place, &words, check, again);
    place.hf_does(Hf::V2_4, None, &["offline", "tiny/bert"]);
    place.hf_command(Hf::V2_4, Some(&hub), &["ls"]);
}

/// Every blob of a cache of huggingface_hub is what its name says, every symlink leads to one, and a ref to a snapshot.
#[track_caller]
fn assert_whole(cache: &Path, when: &str) {
    if !cache.exists() {
        return;
    }
    for file in files_below(cache) {
        // What was being made. It begins with a dot, so the tool does not look at it.
        if file.strip_prefix(cache).unwrap().to_str().unwrap().starts_with(".catalog-") {
            continue;
        }
        let folder = file.parent().unwrap().file_name().unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        if file.is_symlink() {
            assert!(file.exists(), "{when}: {} leads nowhere", file.display());
        } else if folder == "refs" {
            let commit = fs::read_to_string(&file).unwrap();
            let snapshot = file.parent().unwrap().parent().unwrap().join("snapshots").join(&commit);
            assert!(snapshot.is_dir(), "{when}: no snapshot {commit}");
        } else if folder == "blobs" && name.len() == 64 {
            assert_eq!(Digest::sha256_of(&fs::read(&file).unwrap()).to_hex(), name, "{when}");
        } else if folder == "blobs" && name.len() == 40 {
            let mut hash = Command::new("git");
            hash.args(["hash-object", "--no-filters"]).arg(&file);
            assert_eq!(String::from_utf8(run(hash).stdout).unwrap().trim(), name, "{when}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(from).arg(to);
    run(cp);
}
