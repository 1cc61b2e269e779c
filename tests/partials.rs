//! A large copy that is killed again and again resumes where it was.
//!
//! `CATALOG_TEST_PARTIAL_MIB` and `CATALOG_TEST_PARTIAL_KILLS` make the test larger; the design demands 3072 and 50.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use catalog_core::{Cancel, Digest, Event, FsCatalog, GcPolicy, IngestMode, Observer, StageOptions, UsedMode};
use common::*;
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A place where blocks are not shared, so that staging copies.
fn host() -> Host {
    let is_clone = |dir: &TempDir| {
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "x").unwrap();
        let command = Command::new("cp").arg("--reflink=always").args([from, to]).stderr(Stdio::null()).status();
        command.unwrap().success()
    };
    let dir = TempDir::new().unwrap();
    Host { dir: if is_clone(&dir) { TempDir::new_in("/dev/shm").unwrap() } else { dir } }
}

/// A file in which every MiB is different, and none is empty.
fn source(folder: &Path, mib: usize) -> PathBuf {
    let path = folder.join("large.gguf");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut part: Vec<u8> = Vec::with_capacity(MIB);
    while part.len() < MIB {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        part.extend(random.to_le_bytes());
    }
    for number in 0..mib as u64 {
        part[..8].copy_from_slice(&(number + 1).to_le_bytes());
        file.write_all(&part).unwrap();
    }
    file.write_all(b"and a group that is not full").unwrap();
    drop(file);
    set_mtime(&path, long_ago());
    path
}

/// The state of a root's only partial: the groups that its journal records, and the others that have bytes in `data`.
///
/// The others were copied but not recorded, so they are copied twice.
struct Left {
    recorded: usize,
    unrecorded: usize,
}

fn left(root: &Path) -> Option<Left> {
    let folder = fs::read_dir(root.join("partials")).ok()?.next()?.unwrap().path();
    let (journal, data) = (fs::read(folder.join("journal")).ok()?, File::open(folder.join("data")).ok()?);
    let groups = data.metadata().unwrap().len().div_ceil(MIB as u64) as usize;
    let mut is_recorded = vec![false; groups];
    for record in journal.as_chunks::<64>().0.iter().filter(|record| record[0] == b'G') {
        is_recorded[u64::from_le_bytes(record[8..16].try_into().unwrap()) as usize] = true;
    }
    let (mut unrecorded, mut part) = (0, Vec::new());
    for is_recorded in &is_recorded {
        part.clear();
        (&data).take(MIB as u64).read_to_end(&mut part).unwrap();
        unrecorded += usize::from(!is_recorded && part.iter().any(|byte| *byte != 0));
    }
    Some(Left { recorded: is_recorded.iter().filter(|is| **is).count(), unrecorded })
}

struct Staging<'a> {
    host: &'a Host,
    source: PathBuf,
    digest: Digest,
    random: u64,
}

impl Staging<'_> {
    fn command(&self) -> Command {
        let mut command = self.host.command();
        command.args(["stage", self.source.to_str().unwrap(), "--id", "large", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        command
    }

    /// Xorshift: the same in every run.
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit.max(1)
    }

    /// Stages to the end, checks the result, and removes it. Returns how many bytes were resumed.
    fn complete(&self) -> u64 {
        let receipt: Value = serde_json::from_slice(&run(self.command()).stdout).unwrap();
        self.check(&receipt);
        receipt["resumed_bytes"].as_u64().unwrap()
    }

    fn check(&self, receipt: &Value) {
        assert_eq!(receipt["digest"], self.digest.to_string());
        let path = PathBuf::from(receipt["local_path"].as_str().unwrap());
        let mut command = Command::new("cmp");
        command.args([&path, &self.source]);
        run(command);
        assert!(fs::read_dir(self.host.root().join("partials")).unwrap().next().is_none(), "a partial is left");
        let catalog = FsCatalog::open(self.host.root()).unwrap();
        catalog.remove("large").unwrap().unwrap();
        assert!(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap().failed.is_empty());
        assert_sound(&self.host.root());
    }
}

// Red when a killed copy starts from the beginning, when a group that was not copied is believed, or when copying is
// recorded less often than every 64 MiB.
#[test]
fn a_stage_that_is_killed_at_any_moment_goes_on_where_it_was() {
    let (mib, kills) = (number("CATALOG_TEST_PARTIAL_MIB", 300), number("CATALOG_TEST_PARTIAL_KILLS", 10));
    let host = host();
    let source = source(host.dir.path(), mib);
    let hash = run({
        let mut command = Command::new("sha256sum");
        command.arg(&source);
        command
    });
    let digest =
        format!("sha256:{}", String::from_utf8(hash.stdout).unwrap().split(' ').next().unwrap()).parse().unwrap();
    let mut staging = Staging { host: &host, source, digest, random: std::process::id().into() };

    let began = Instant::now();
    assert_eq!(staging.complete(), 0, "nothing was interrupted");
    let takes = began.elapsed().as_micros() as u64;

    // The groups of the current attempt: those that are recorded, and those that were or will be copied twice.
    let (mut recorded, mut twice) = (0, 0);
    let (mut killed, mut ended, mut resumed) = (0, 0, 0);
    while killed < kills {
        let mut running = Running(staging.command().spawn().unwrap());
        // Each run resumes the last one, so runs of up to a third of the time finish the copy in a few steps.
        sleep(Duration::from_micros(staging.below(takes / 3)));
        running.0.kill().unwrap();
        let is_done = running.0.wait().unwrap().success();
        if is_done {
            let mut said = String::new();
            running.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            let receipt: Value = serde_json::from_str(&said).unwrap();
            resumed += usize::from(receipt["resumed_bytes"].as_u64().unwrap() > 0);
            staging.check(&receipt);
            (recorded, twice) = (0, 0);
            ended += 1;
            continue;
        }
        killed += 1;
        let Some(now) = left(&host.root()) else {
            // Killed before the first byte or after the last one: a partial only goes once its content is recorded.
            let is_recorded = FsCatalog::open(host.root()).is_ok_and(|catalog| catalog.exists("large").unwrap());
            assert!(is_recorded || recorded == 0, "{recorded} groups are gone");
            (recorded, twice) = (0, 0);
            continue;
        };
        assert!(now.recorded >= recorded, "{} groups were there, {} are now", recorded, now.recorded);
        (recorded, twice) = (now.recorded, twice + now.unrecorded);
        assert!(twice < 64, "{twice} MiB are copied twice");
    }
    // The last one may have been killed after its blob had its name: then nothing is left to copy.
    let is_stored = common::blob_path(&host.root(), &staging.digest).exists();
    let last = staging.complete();
    // Copied groups that survived the kill are not copied again.
    assert!(
        is_stored || last >= (recorded.saturating_sub(1) * MIB) as u64,
        "{last} bytes were taken over of {recorded} groups"
    );
    resumed += usize::from(last > 0);
    assert!(resumed > 0, "no kill has left anything");
    println!("{killed} kills, {ended} ended before, {resumed} went on with something, {twice} MiB were copied twice");
}

// Red when a stage that finds everything here takes the leftovers of a killed stage for another process's.
#[test]
fn whatever_a_kill_has_left_goes_with_the_next_stage() {
    if !has_tool("strace") {
        return skip("this needs strace");
    }
    let host = host();
    let source = source(host.dir.path(), 64);
    let stage = |root: &Path, before: &[&str]| {
        let program = host.command().get_program().to_owned();
        let mut command = Command::new(before.first().map_or(program.as_os_str(), OsStr::new));
        command.args(before.get(1..).unwrap_or_default());
        if !before.is_empty() {
            command.arg(program);
        }
        command.args(["stage", "--quiet", "--id", "large"]).arg(&source).env("CATALOG_ROOT", root);
        command.env("HOME", host.path("home")).stderr(Stdio::null()).status().unwrap().success()
    };
    for call in ["renameat", "unlinkat"] {
        for number in 1.. {
            let root = host.path(&format!("{call}-{number}"));
            let kill = format!("inject={call}:signal=KILL:when={number}");
            let trace = format!("trace={call}");
            let was_killed = !stage(&root, &["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &kill]);
            assert!(stage(&root, &[]));
            let left: Vec<_> =
                fs::read_dir(root.join("partials")).map(|entries| entries.flatten().collect()).unwrap_or_default();
            assert!(left.is_empty(), "killed at {call} {number}: {left:?}");
            fs::remove_dir_all(&root).unwrap();
            if !was_killed {
                assert!(number > 3, "it makes only {number} calls of {call}");
                break;
            }
        }
    }
}

// Red when `excludes` is not checked: two processes would write to one file, and into what the other has published.
#[test]
fn where_locks_do_nothing_nothing_is_kept_for_another_process() {
    if !has_tool("strace") {
        return skip("this needs strace");
    }
    let host = host();
    let source = source(host.dir.path(), 96);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:retval=0"]);
    command.arg(host.command().get_program()).args(["stage", source.to_str().unwrap(), "--quiet"]);
    command.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
    let mut running = Running(command.spawn().unwrap());
    let mut looks = 0;
    while running.0.try_wait().unwrap().is_none() {
        assert!(left(&host.root()).is_none(), "it fills a partial");
        looks += 1;
        sleep(Duration::from_millis(1));
    }
    assert!(running.0.wait().unwrap().success() && looks > 10, "{looks} looks");
    assert_eq!(fs::read_dir(host.root().join("partials")).unwrap().count(), 0);
}

// Red when the receipt of an uninterrupted copy claims that it was resumed, or when the bytes of an earlier attempt are
// used although the source has changed since.
#[test]
fn a_source_that_changed_since_a_kill_is_copied_from_the_beginning() {
    let host = host();
    let source = source(host.dir.path(), 96);
    let mut staging = Staging { host: &host, source, digest: Digest::from_sha256([0; 32]), random: 7 };
    for _ in 0..50 {
        let mut running = Running(staging.command().spawn().unwrap());
        wait_until("something is written down", || {
            left(&host.root()).is_some_and(|left| left.recorded > 8) || running.0.try_wait().unwrap().is_some()
        });
        let _ = running.0.kill();
        if !running.0.wait().unwrap().success() {
            break;
        }
        FsCatalog::open(host.root()).unwrap().remove("large").unwrap().unwrap();
    }
    let recorded = left(&host.root()).unwrap().recorded;
    assert!(recorded > 8, "{recorded}");
    let mut bytes = fs::read(&staging.source).unwrap();
    bytes[4] ^= 1;
    fs::write(&staging.source, &bytes).unwrap();
    // As an attacker or an accident might do: `ls -l` does not show the change.
    set_mtime(&staging.source, long_ago());
    staging.digest = Digest::sha256_of(&bytes);
    let receipt: Value = serde_json::from_slice(&run(staging.command()).stdout).unwrap();
    assert_eq!(
        (receipt["digest"].as_str().unwrap(), &receipt["resumed_bytes"]),
        (&*staging.digest.to_string(), &0.into())
    );
    assert_eq!(fs::read(receipt["local_path"].as_str().unwrap()).unwrap(), bytes);
    // The old bytes are in another partial, which nothing needs now.
    assert_eq!(fs::read_dir(host.root().join("partials")).unwrap().count(), 1);
}

/// Cancels once this many bytes were read.
struct CancelAt {
    left_bytes: std::sync::atomic::AtomicI64,
    cancel: Cancel,
}

impl Observer for CancelAt {
    fn on(&self, event: &Event<'_>) {
        if let Event::Advanced { bytes, .. } = event
            && self.left_bytes.fetch_sub(*bytes as i64, std::sync::atomic::Ordering::Relaxed) < *bytes as i64
        {
            self.cancel.cancel();
        }
    }
}

fn cancelled_at(bytes: i64, mode: IngestMode) -> StageOptions {
    let cancel = Cancel::new();
    let observer = CancelAt { left_bytes: bytes.into(), cancel: cancel.clone() };
    mode_options("large", mode).with_cancel(cancel).with_observer(std::sync::Arc::new(observer))
}

/// The room that a partial clone takes counts too.
// Red when `reserved_bytes` only looks for a copy.
#[test]
fn an_interrupted_clone_has_its_room_already() {
    let Some(mounted) = mount::image(500, &["mkfs.xfs", "-q"], "loop") else { return };
    let file = source(mounted.path(), 100);
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    catalog.change_config(|limits| limits.max_bytes = Some(180 << 20)).unwrap();
    for _ in 0..3 {
        let error = catalog.stage(&reference(&file), &cancelled_at(20 << 20, IngestMode::Auto)).unwrap_err();
        assert!(error.is_cancelled(), "{error}");
    }
    assert!(catalog.stage(&reference(&file), &options("large")).unwrap().resumed_bytes > 0);
}

// Red when a cancelled copy throws away its bytes, when `du` does not count them, when gc removes them within the grace
// or keeps them after it, or when their room is requested a second time.
#[test]
fn a_cancelled_copy_is_kept_for_its_grace_and_counted() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = source(host.dir.path(), 100);
    set_mtime(&file, long_ago());
    catalog.change_config(|limits| limits.max_bytes = Some(180 << 20)).unwrap();
    for _ in 0..4 {
        let error = catalog.stage(&reference(&file), &cancelled_at(20 << 20, IngestMode::Copy)).unwrap_err();
        assert!(error.is_cancelled(), "{error}");
    }
    let usage = catalog.disk_usage().unwrap();
    // Four attempts leave one copy, not four.
    assert!((100 << 20..110 << 20).contains(&usage.partial_bytes), "{usage:?}");
    assert!(usage.physical_bytes >= usage.partial_bytes && usage.ingest_bytes == 0, "{usage:?}");
    let report = catalog.gc(&GcPolicy::default()).unwrap();
    assert_eq!((report.leftovers, report.failed.len()), (0, 0), "{report:?}");

    let receipt = catalog.stage(&reference(&file), &mode_options("large", IngestMode::Copy)).unwrap();
    assert!(receipt.resumed_bytes >= 16 << 20, "{receipt:?}");
    assert_eq!(catalog.disk_usage().unwrap().partial_bytes, 0);
    assert_sound(&host.root());
    catalog.remove("large").unwrap();

    catalog.stage(&reference(&file), &cancelled_at(20 << 20, IngestMode::Copy)).unwrap_err();
    let report = catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap();
    assert_eq!(report.leftovers, 1, "{report:?}");
    assert_eq!(catalog.disk_usage().unwrap().partial_bytes, 0);
}

/// On ext4 a copy, on xfs a clone.
// Red when the hashed bytes are thrown away because a lock was not available in time.
#[rstest]
#[case::copy(&["mkfs.ext4", "-q"], UsedMode::Copy)]
#[case::clone(&["mkfs.xfs", "-q"], UsedMode::Reflink)]
fn a_busy_store_does_not_cost_the_hashes(#[case] mkfs: &[&str], #[case] mode: UsedMode) {
    let mounted = mount::image(400, mkfs, "loop");
    if mounted.is_none() && mode == UsedMode::Reflink {
        return;
    }
    let host = host();
    let place = mounted.as_ref().map_or(host.dir.path(), |mounted| mounted.path());
    let file = source(place, 100);
    let root = place.join("root");
    let catalog = FsCatalog::new(&root).unwrap().with_lock_wait(catalog_core::Wait::UpTo(Duration::from_millis(100)));
    let lock = fs::File::options().read(true).write(true).create(true).truncate(false).open(root.join("locks/store"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    assert!(catalog.stage(&reference(&file), &cancelled_at(32 << 20, IngestMode::Auto)).unwrap_err().is_cancelled());
    assert!(catalog.stage(&reference(&file), &options("large")).unwrap_err().is_busy());
    // The bytes are not read again, and there is no second partial.
    assert_eq!(fs::read_dir(root.join("partials")).unwrap().count(), 1);
    drop(lock);
    let receipt = catalog.stage(&reference(&file), &options("large")).unwrap();
    assert_eq!((receipt.resumed_bytes, receipt.mode), (receipt.size_bytes, mode));
    assert_eq!(receipt.digest, Digest::sha256_of(&fs::read(&file).unwrap()));
    assert_eq!(fs::read_dir(root.join("partials")).unwrap().count(), 0);
    assert_sound(&root);
}

/// What is left of a clone is the source as it was when it was cloned.
// Red when a clone is resumed for a source that has changed, or for a copy, which must not share blocks.
#[test]
fn an_interrupted_clone_is_for_the_same_source_and_another_clone() {
    let Some(mounted) = mount::image(400, &["mkfs.xfs", "-q"], "loop") else { return };
    let file = source(mounted.path(), 100);
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let interrupt = || {
        let options = cancelled_at(20 << 20, IngestMode::Auto);
        assert!(catalog.stage(&reference(&file), &options).unwrap_err().is_cancelled());
    };
    interrupt();
    let copy = catalog.stage(&reference(&file), &mode_options("copy", IngestMode::Copy)).unwrap();
    assert_eq!((copy.resumed_bytes, copy.mode), (0, UsedMode::Copy));
    catalog.remove("copy").unwrap().unwrap();

    interrupt();
    let mut source = fs::File::options().write(true).open(&file).unwrap();
    std::io::Write::write_all(&mut source, b"other bytes").unwrap();
    set_mtime(&file, long_ago());
    let receipt = catalog.stage(&reference(&file), &options("large")).unwrap();
    assert_eq!((receipt.resumed_bytes, receipt.mode), (0, UsedMode::Reflink));
    assert_eq!(receipt.digest, Digest::sha256_of(&fs::read(&file).unwrap()));
}
