//! Several real processes that work on one root at the same time.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use catalog_core::{CatalogStore, Digest, FsCatalog, LifecycleState, LinkMode};
use common::*;
use rstest::rstest;
use serde_json::Value;

/// What was acknowledged to a worker: each id, and its current content.
type Acknowledged = BTreeMap<String, Vec<u8>>;

/// Runs one process after the other, each a command on the shared root.
struct Worker<'a> {
    host: &'a Host,
    number: usize,
    random: u64,
    acknowledged: Acknowledged,
    /// The previous contents of ids: their blobs stay until a sweep.
    replaced: BTreeSet<String>,
    commands: usize,
}

impl<'a> Worker<'a> {
    fn new(host: &'a Host, number: usize) -> Self {
        let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
        Worker { host, number, random, acknowledged: BTreeMap::new(), replaced: BTreeSet::new(), commands: 0 }
    }

    /// Xorshift: the same in every run.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit as u64) as usize
    }

    fn catalog(&mut self, args: &[&str]) -> Vec<Value> {
        self.commands += 1;
        let mut command = self.host.command();
        command.args(args).arg("--json");
        let stdout = String::from_utf8(run(command).stdout).unwrap();
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A file with content that all workers stage, or with content of its own.
    fn source(&mut self) -> (PathBuf, Vec<u8>) {
        let (is_shared, which, times) = (self.below(3) > 0, self.below(4), 1 + self.below(2) * 5_000);
        let owner = if is_shared { "of all workers".to_owned() } else { format!("of worker {} alone", self.number) };
        let content = format!("{owner}, {which}").repeat(times).into_bytes();
        let (number, which) = (self.number, self.below(3));
        let file = self.host.path(&format!("{which} of worker {number}.gguf"));
        fs::write(&file, &content).unwrap(); // with the current time, which reveals the change
        (file, content)
    }

    fn stage(&mut self, id: String) {
        let (source, content) = self.source();
        let staged = self.catalog(&["stage", source.to_str().unwrap(), "--id", &id]).remove(0);
        assert_eq!(staged["digest"], Digest::sha256_of(&content).to_string());
        assert_eq!(fs::read(staged["local_path"].as_str().unwrap()).unwrap(), content);
        if let Some(old) = self.acknowledged.insert(id, content.clone())
            && old != content
        {
            self.replaced.insert(Digest::sha256_of(&old).to_hex());
        }
    }

    fn step(&mut self) {
        let model = self.below(6);
        let id = format!("worker {} model {model}", self.number);
        match self.below(10) {
            0..4 => self.stage(id),
            4..7 if self.acknowledged.contains_key(&id) => {
                let removed = self.catalog(&["remove", &id]).remove(0);
                assert_eq!(removed["removed"], true);
                self.acknowledged.remove(&id);
            }
            7 => {
                // The same id and content as all other workers.
                let common = self.host.path("common.gguf");
                self.catalog(&["stage", common.to_str().unwrap(), "--id", "common"]);
            }
            8 => {
                let mut words = vec!["stage".to_owned()];
                let sources: Vec<_> = (0..10).map(|n| format!("batch-{}/{n}", self.number)).collect();
                words.extend(sources.iter().map(|name| self.host.file(name, name).display().to_string()));
                let staged = self.catalog(&words.iter().map(String::as_str).collect::<Vec<_>>());
                for (staged, name) in staged.iter().zip(&sources) {
                    self.acknowledged.insert(staged["id"].as_str().unwrap().to_owned(), name.clone().into_bytes());
                }
            }
            _ => {
                let listed = self.catalog(&["list"]);
                let ids: BTreeSet<&str> = listed.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
                assert!(self.acknowledged.keys().all(|id| ids.contains(id.as_str())), "an entry is not listed");
            }
        }
    }
}

fn seconds() -> u64 {
    std::env::var("CATALOG_TEST_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(5)
}

// The tests with strace below force what this one finds by chance.
#[rstest]
fn processes_that_stage_and_remove_the_same_and_different_things(#[values(2, 4)] workers: usize) {
    let host = Host::new();
    host.file("common.gguf", b"of all workers, 0");
    let end = Instant::now() + Duration::from_secs(seconds());
    let done: Vec<Worker<'_>> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|number| {
                let mut worker = Worker::new(&host, number);
                scope.spawn(move || {
                    worker.stage(format!("worker {number} model 0"));
                    while Instant::now() < end {
                        worker.step();
                    }
                    worker
                })
            })
            .collect();
        running.into_iter().map(|worker| worker.join().unwrap()).collect()
    });

    let catalog = FsCatalog::open(host.root()).unwrap();
    let mut expected: Acknowledged = done.iter().flat_map(|worker| worker.acknowledged.clone()).collect();
    if catalog.exists("common").unwrap() {
        expected.insert("common".into(), b"of all workers, 0".to_vec());
    }
    for (id, content) in &expected {
        assert_readable(&catalog, id, content);
    }
    assert_eq!(ids(&catalog), expected.keys().cloned().collect::<Vec<_>>());
    assert_sound(&host.root());

    let needed: BTreeSet<String> = expected.values().map(|content| Digest::sha256_of(content).to_hex()).collect();
    let replaced = done.iter().flat_map(|worker| worker.replaced.clone()).collect();
    let here = blobs(&host.root());
    assert!(needed.is_subset(&here), "{:?}", needed.difference(&here));
    let unexplained: Vec<_> = here.difference(&(&needed | &replaced)).cloned().collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
    assert!(files_below(&host.root().join("quarantine")).is_empty(), "nobody damaged anything");
    let commands: usize = done.iter().map(|worker| worker.commands).sum();
    assert!(commands > workers * 5, "only {commands} commands were run");
}

// Red when publishing replaces an existing blob: earlier views then have other inodes.
#[test]
fn twenty_processes_that_stage_one_file_store_it_once() {
    let host = Host::new();
    let running: Vec<_> = (0..20)
        .map(|number| {
            let mut command = host.command();
            command.args(["stage", fixture().to_str().unwrap(), "--id", &format!("id {number}"), "--quiet"]);
            Running(command.spawn().unwrap())
        })
        .collect();
    for mut process in running {
        assert!(process.0.wait().unwrap().success());
    }
    let catalog = host.catalog();
    let records = catalog.records().unwrap();
    assert_eq!((records.len(), blobs(&host.root())), (20, [FIXTURE_SHA256.to_owned()].into()));
    let blob = inode_of(&blob_path(&host.root(), &records[0].entry.digest.unwrap()));
    for record in records {
        assert_eq!((record.view, inode_of(&record.entry.local_path)), (Some(LinkMode::Hardlink), blob));
    }
    assert_sound(&host.root());
}

/// A `catalog` command that strace delays for a second before the `which`th system call of this kind. If the machine is
/// so slow that the other processes come too late or too early, nothing goes wrong, and the test shows nothing.
fn held_up(host: &Host, call: &str, which: usize, args: &[&str]) -> Option<Running> {
    if !has_tool("strace") {
        skip("this needs strace");
        return None;
    }
    let inject = format!("inject={call}:delay_enter=1200000:when={which}");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    command.arg(host.command().get_program()).args(args).arg("--quiet");
    command.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
    let running = Running(command.spawn().unwrap());
    thread::sleep(Duration::from_millis(500)); // it is at the call by now
    Some(running)
}

#[track_caller]
fn assert_succeeds(mut process: Running) {
    assert!(process.0.wait().unwrap().success());
}

// Red when a bad blob goes to quarantine by its name: the slower of the two then removes the good blob that the faster
// one has recorded and acknowledged.
#[test]
fn two_that_find_the_same_damaged_blob() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"good bytes");
    let digest = stage(&catalog, &file, "first").unwrap().digest;
    let blob = blob_path(&host.root(), &digest);
    set_mode(&blob, 0o644);
    fs::write(&blob, b"BAD BYTES!").unwrap();

    let Some(slow) = held_up(&host, "renameat", 1, &["stage", file.to_str().unwrap(), "--id", "slow"]) else { return };
    let fast = stage(&catalog, &file, "fast").unwrap();
    assert_succeeds(slow);
    let quarantine: Vec<_> = files_below(&host.root().join("quarantine"));
    assert_eq!(quarantine.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), [b"BAD BYTES!"]);
    assert_eq!(inode_of(&blob), inode_of(&fast.local_path));
    assert_readable(&catalog, "slow", b"good bytes");
    assert_readable(&catalog, "fast", b"good bytes");
    assert_sound(&host.root());
}

// Red when a removal holds the store lock shared: it has seen that nothing needs the blob, and removes it after another
// process has found and recorded it. (Delayed before it removes the view, a folder, the blob.)
#[rstest]
fn a_removal_while_the_same_content_comes_back(#[values(2, 3, 5)] which: usize) {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    stage(&catalog, &file, "old").unwrap();
    let Some(removal) = held_up(&host, "unlinkat", which, &["remove", "old"]) else { return };
    stage(&catalog, &file, "new").unwrap();
    assert_succeeds(removal);
    assert_readable(&catalog, "new", b"a");
    assert_eq!(ids(&catalog), ["new"]);
    assert_eq!(blobs(&host.root()), [Digest::sha256_of(b"a").to_hex()].into());
    assert_sound(&host.root());
}

// Red when a commit does not hold the store lock from the check of the blob until the record that names it. (Delayed
// before it publishes, before it makes the view, and before each of the two renames that record it.)
#[rstest]
#[case("linkat", 1)]
#[case("linkat", 2)]
#[case("renameat", 1)]
#[case("renameat", 2)]
fn a_commit_while_its_content_is_removed(#[case] call: &str, #[case] which: usize) {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    stage(&catalog, &file, "old").unwrap();
    // Its shard has a previous generation, so that each step is a rename or a link.
    let words = ["stage", file.to_str().unwrap(), "--id", "new"];
    stage(&catalog, &host.file("b.gguf", b"b"), "new").unwrap();
    let Some(commit) = held_up(&host, call, which, &words) else { return };
    assert!(catalog.delete("old").unwrap());
    assert_succeeds(commit);
    assert_readable(&catalog, "new", b"a");
    assert_eq!(ids(&catalog), ["new"]);
    assert!(blobs(&host.root()).contains(&Digest::sha256_of(b"a").to_hex()));
    assert_sound(&host.root());
}

// Red when a shard is changed under a shared lock: the slower of the two writes what it had read before.
#[rstest]
fn two_that_change_one_shard(#[values(1, 2)] which: usize) {
    let host = Host::new();
    let catalog = host.catalog();
    let shard = |id: &str| shard_path(&host.root(), id);
    let other = (0..).map(|number| format!("other {number}")).find(|id| shard(id) == shard("slow")).unwrap();
    let file = host.file("a.gguf", b"a");
    stage(&catalog, &file, "slow").unwrap();
    let Some(slow) = held_up(&host, "renameat", which, &["retire", "slow"]) else { return };
    stage(&catalog, &file, &other).unwrap();
    assert_succeeds(slow);
    assert_eq!(ids(&catalog), [other, "slow".into()]);
    assert_eq!(catalog.get("slow").unwrap().unwrap().lifecycle, LifecycleState::Retired);
    assert_sound(&host.root());
}

fn ids(catalog: &FsCatalog) -> Vec<String> {
    catalog.list().unwrap().into_iter().map(|entry| entry.id).collect()
}

// Red when a missing `store.json` is judged by a later look at the index: another process may have made both in
// between.
#[test]
fn two_that_make_the_same_root() {
    let host = Host::new();
    fs::create_dir_all(host.root().join("index")).unwrap();
    let (a, b) = (host.file("a", b"a"), host.file("b", b"b"));
    let Some(slow) = held_up(&host, "getdents64", 1, &["stage", a.to_str().unwrap(), "--id", "a"]) else { return };
    stage(&host.catalog(), &b, "b").unwrap();
    assert_succeeds(slow);
    assert_readable(&host.catalog(), "a", b"a");
    assert_readable(&host.catalog(), "b", b"b");
    assert_sound(&host.root());
}

/// Kills processes that stage, at arbitrary moments, and checks what they leave: only private files, which the next
/// sweep removes.
// Red when a blob is written directly under its own name.
#[test]
fn processes_that_are_killed() {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("kept", b"kept"), "kept").unwrap();
    let big = host.file("big.gguf", b"0123456789abcdef".repeat(100_000));
    let mut killed = 0;
    for round in 0..15 {
        let mut command = host.command();
        command.args(["stage", big.to_str().unwrap(), "--id", &format!("big {round}"), "--quiet"]);
        let mut process = Running(command.spawn().unwrap());
        thread::sleep(Duration::from_millis(2 + 4 * round));
        let _ = process.0.kill();
        killed += usize::from(!process.0.wait().unwrap().success());
        assert_blobs_are_their_names(&host.root());
        for entry in catalog.list().unwrap() {
            assert_eq!(Digest::sha256_of(&fs::read(&entry.local_path).unwrap()), entry.digest.unwrap());
        }
        // Locks of a dead process keep nobody out.
        stage(&catalog, &host.path("kept"), &format!("after {round}")).unwrap();
    }
    assert!(killed > 0, "none was killed in time");
    stage(&catalog, &big, "big").unwrap();
    catalog.delete("big").unwrap();
}

fn assert_blobs_are_their_names(root: &Path) {
    for blob in files_below(&root.join("blobs")) {
        assert_eq!(Digest::sha256_of(&fs::read(&blob).unwrap()).to_hex(), *blob.file_name().unwrap().to_str().unwrap());
    }
}

/// The number of system calls for staging nested folders with a file in each.
fn calls_of_a_tree(host: &Host, depth: usize) -> Option<u64> {
    if !has_tool("strace") {
        skip("this needs strace");
        return None;
    }
    let mut folder = format!("deep-{depth}");
    for number in 0..depth {
        host.file(&format!("{folder}/f"), number.to_string());
        folder.push_str("/d");
    }
    let counts = host.path("counts");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&counts).arg(host.command().get_program()).args(["stage", "--quiet"]);
    command.arg(host.path(&format!("deep-{depth}"))).env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
    assert!(command.status().unwrap().success());
    let counts = fs::read_to_string(counts).unwrap();
    let total = counts.lines().last().unwrap().split_whitespace().nth(3).unwrap();
    Some(total.parse().unwrap())
}

// Red when the path to each folder is walked from the root: four times as many calls for twice the depth.
#[test]
fn a_deep_tree_costs_as_much_as_it_has_folders() {
    let host = Host::new();
    host.catalog();
    let (Some(once), Some(twice)) = (calls_of_a_tree(&host, 150), calls_of_a_tree(&host, 300)) else { return };
    assert!(twice < once * 11 / 5, "{once} calls, and {twice} for twice the depth");
}

// Red when each attempt at the lock asks who holds it: the kernel's whole list of locks is read five times a second.
#[test]
fn who_holds_a_reference_is_asked_when_the_wait_is_over() {
    if !has_tool("strace") {
        return skip("this needs strace");
    }
    let host = Host::new();
    let file = host.file("m.gguf", b"model");
    stage(&host.catalog(), &file, "m").unwrap();
    fs::write(&file, "another model").unwrap();
    let held = fs::File::open(&files_below(&host.root().join("locks/fetch"))[0]).unwrap();
    held.lock().unwrap();
    let opened = host.path("opened");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=open,openat", "-o"]).arg(&opened).arg(host.command().get_program());
    command.args(["stage", "--id", "m", "--wait", "2s"]).arg(&file);
    let output = command.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    let opened = fs::read_to_string(opened).unwrap();
    assert_eq!(opened.matches("/proc/locks").count(), 1);
}
