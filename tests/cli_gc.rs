//! The verbs that let several processes share one root: `lease`, `pin`, `unpin`, `gc`, `du`, `config`; and what `stage`
//! does when another process stages the same reference or when there is no room.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use assert_cmd::cargo::cargo_bin;
use catalog_core::{Digest, IngestMode};
use common::{
    Host, Running, as_nobody, blob_path, blobs, edit_shard, files_below, has_tool, listing, noise, set_mode, skip,
    stage_as,
};
use rstest::rstest;
use serde_json::Value;

/// A whole number of blocks on every file system, so that sums on disk are exact.
const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

/// The result of one run of the command.
struct Run {
    code: i32,
    text: String,
    stderr: String,
}

impl Run {
    fn of(command: Command) -> Self {
        // Only a hang can take this long.
        let output = assert_cmd::Command::from_std(command).timeout(Duration::from_secs(60)).output().unwrap();
        Run {
            code: output.status.code().expect("it ends by itself, and not by a signal"),
            text: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// One error line and this exit code; what was printed before does not matter.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(self.stderr.starts_with("error: ") && self.stderr.lines().count() == 1, "{}", self.stderr);
        self.stderr
    }

    #[track_caller]
    fn json_lines(&self) -> Vec<Value> {
        self.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn json_line(self) -> Value {
        let mut lines = self.done().json_lines();
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }
}

fn run<A: AsRef<OsStr>>(host: &Host, args: impl IntoIterator<Item = A>) -> Run {
    let mut command = host.command();
    command.args(args);
    Run::of(command)
}

/// Runs a command line whose words contain no blanks.
fn words(host: &Host, line: &str) -> Run {
    run(host, line.split_whitespace())
}

/// The keys in the order in which they are written, which `Value` does not keep.
fn keys(json: &str) -> String {
    let object: Value = serde_json::from_str(json).unwrap();
    let mut keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| json.find(&format!("\"{key}\":")));
    keys.join(" ")
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// A model of one MiB that shares no bytes with any other.
fn stage_one_mib(host: &Host, id: &str) -> PathBuf {
    let pattern = Digest::sha256_of(id.as_bytes()).to_hex().into_bytes();
    let source = host.file(&format!("{id}.gguf"), pattern.repeat(usize::try_from(MIB).unwrap() / pattern.len()));
    let staged = run(host, ["stage", source.to_str().unwrap(), "--id", id, "--json"]).json_line();
    PathBuf::from(staged["local_path"].as_str().unwrap())
}

/// Makes an entry look as if it had been staged, and last used, this long ago.
fn age(host: &Host, id: &str, hours: u64) {
    edit_shard(&host.root(), id, |entries| {
        let then = now_ms() - hours * HOUR_MS;
        for time in ["created_ms", "updated_ms", "last_used_ms"] {
            entries[id][time] = then.into();
        }
    });
}

fn ids(host: &Host) -> Vec<String> {
    let list = words(host, "list --json").done().json_lines();
    list.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

/// The ids on the lines of a collection that have this action.
fn with_action(lines: &[Value], action: &str) -> Vec<String> {
    let these = lines.iter().filter(|line| line["action"] == action);
    these.map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

/// A `catalog lease` that has printed its path and holds the lease until it is dropped or ended.
struct Leased {
    child: Running,
    stdin: Option<ChildStdin>,
    path: PathBuf,
}

impl Leased {
    fn by(mut command: Command, id: &str) -> Self {
        command.args(["lease", id]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Running(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stdin = child.0.stdin.take();
        Leased { child, stdin, path: PathBuf::from(line.strip_suffix('\n').expect("a path, at once")) }
    }

    #[track_caller]
    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.0.wait().unwrap().success());
    }
}

#[test]
fn the_keys_of_the_json() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    for (line, expected) in [
        ("pin m", "type id pins"),
        ("unpin m", "type id pins"),
        ("lease m", "type id local_path"),
        ("config set max_bytes 1GB", "type key value"),
        ("config get max_bytes", "type key value"),
        ("config unset max_bytes", "type key value"),
    ] {
        let run = words(&host, &format!("--json {line}")).done();
        assert_eq!(keys(run.text.trim_end()), expected, "{line}");
        assert_eq!(run.stderr, "", "{line}");
    }
    let du = words(&host, "du --json").done();
    let du: Vec<_> = du.text.lines().collect();
    assert_eq!(keys(du[0]), "type id size_bytes exclusive_bytes proportional_bytes");
    let summary = "type logical_bytes physical_bytes shared_bytes saved_bytes copied_view_bytes trash_bytes quarantine_bytes \
                   ingest_bytes partial_bytes lock_bytes unreferenced_bytes export_bytes entries blobs";
    assert_eq!(keys(du[1]), summary);

    for line in ["gc --max-bytes 0 --grace 0 --dry-run --json", "gc --max-bytes 0 --grace 0s --json"] {
        let gc = words(&host, line).done();
        let gc: Vec<_> = gc.text.lines().collect();
        assert_eq!(gc.len(), 2, "{gc:?}");
        assert_eq!(keys(gc[0]), "type action id reason bytes", "{line}");
        let summary = "type action dry_run entries blobs trashed leftovers quarantined locks logical_bytes physical_bytes shared_bytes \
                       removed_shared_bytes used_bytes shortfall_bytes skipped failed";
        assert_eq!(keys(gc[1]), summary, "{line}");
    }
}

// Red when a dry run says 0 for what it cannot know, or when nothing says that the removal freed nothing.
#[test]
fn a_dry_run_does_not_tell_what_is_known_afterwards() {
    let host = Host::new();
    for id in ["linked", "other"] {
        let file = host.file(&format!("{id}.gguf"), noise(MIB as usize, id.len() as u64));
        stage_as(&host.catalog(), &file, id, IngestMode::Link).unwrap();
    }
    words(&host, "retire linked").done();
    let known_afterwards = ["blobs", "trashed", "locks", "removed_shared_bytes"];
    let dry_run = words(&host, "gc --retired-after 0 --grace 0 --dry-run --json").done().json_lines().pop().unwrap();
    assert!(known_afterwards.iter().all(|key| dry_run[key].is_null()), "{dry_run}");
    assert_eq!(dry_run["shared_bytes"].as_u64(), Some(2 * MIB));
    let lock = &files_below(&host.root().join("locks/fetch"))[0];
    let held = std::fs::File::open(lock).unwrap();
    held.lock().unwrap();
    let done = words(&host, "gc --retired-after 0 --grace 0 --json").done().json_lines().pop().unwrap();
    assert_eq!(known_afterwards.map(|key| done[key].as_u64()), [Some(1), Some(0), Some(1), Some(MIB)], "{done}");
    assert_eq!((done["physical_bytes"].as_u64(), done["shared_bytes"].as_u64()), (Some(0), Some(2 * MIB)));
    words(&host, "retire other").done();
    let said = words(&host, "gc --retired-after 0 --grace 0").done().text;
    let summary = "freed 0 B of 0 B, 1 model evicted, 1 blob removed; 1.0 MB of what was removed did not come free: files outside the \
                   store have it too\n";
    assert!(said.ends_with(summary), "{said}");
}

#[test]
fn a_pin_has_a_name_and_mostly_an_end() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    stage_one_mib(&host, "n");
    let before = now_ms();
    assert_eq!(words(&host, "pin m").done().text, "pinned m as default, for good\n");
    let pinned = words(&host, "pin m n --as pool-7 --for 2h --json").done().json_lines();
    assert_eq!((pinned[0]["id"].as_str(), pinned[1]["id"].as_str()), (Some("m"), Some("n")));
    assert_eq!(pinned[0]["pins"]["default"]["expiry_ms"], Value::Null);
    let pool = &pinned[0]["pins"]["pool-7"];
    let created = pool["created_ms"].as_u64().unwrap();
    assert!((before..=now_ms()).contains(&created));
    assert_eq!(pool["expiry_ms"].as_u64(), Some(created + 2 * HOUR_MS));

    let show = words(&host, "show m").done().text;
    let shown: Vec<_> = show.lines().filter(|line| line.starts_with("pinned: ")).collect();
    assert!(shown[0].contains(" default, since ") && shown[0].ends_with(", for good"), "{show}");
    assert!(shown[1].contains(" pool-7, since ") && shown[1].ends_with(" (in 2 h)"), "{show}");
    assert_eq!(words(&host, "show m --json").json_line()["pins"], pinned[0]["pins"]);

    // An expired pin is still on record, and `show` says that it is over.
    edit_shard(&host.root(), "m", |entries| entries["m"]["pins"]["pool-7"]["expiry_ms"] = created.into());
    assert!(words(&host, "show m").done().text.contains(", over since "));

    assert_eq!(words(&host, "unpin m --as pool-7").done().text, "unpinned m; still pinned as default\n");
    assert_eq!(words(&host, "unpin m --as pool-7").done().text, "m had no such pin; still pinned as default\n");
    words(&host, "pin m --as other").done();
    let unpinned = words(&host, "unpin m n --json").done().json_lines();
    assert_eq!(unpinned[0]["pins"], serde_json::json!({}));
    assert_eq!(unpinned[1]["pins"], serde_json::json!({}));

    let mixed = words(&host, "pin m missing n --json");
    assert_eq!((mixed.code, mixed.json_lines().len()), (3, 2), "{}", mixed.stderr);
    run(&host, ["pin", "m", "--as", "a\nb"]).failed(2);
}

#[test]
fn a_time_has_a_unit() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    for line in [
        "pin m --for 90",
        "pin m --for 0s",
        "pin m --for 1.5h",
        "gc --grace 60",
        "gc --max-idle 1y",
        "gc --retired-after -1d",
        "gc --max-bytes 10%",
        "gc --max-bytes lots",
        "gc --min-free 101%",
        "stage m.gguf --wait 5",
        "stage m.gguf --wait maybe",
        "config set max_bytes 10%",
        "config set min_free all",
        "config set quota 1GB",
        "config get quota",
    ] {
        let run = words(&host, line);
        assert_eq!((run.code, run.text.as_str()), (2, ""), "{line}: {}", run.stderr);
    }
    let told = words(&host, "gc --grace 60").stderr;
    assert!(told.contains("90s, 15m, 2h, 30d or 1w"), "{told}");
}

#[test]
fn limits_are_kept_for_everybody() {
    let host = Host::new();
    words(&host, "config get").failed(3);
    // Before the first model is staged.
    assert_eq!(words(&host, "config set max_bytes 200GB").done().text, "max_bytes is 200.0 GB (200000000000 bytes)\n");
    assert_eq!(words(&host, "config set min_free 10% --json").json_line()["value"], "10%");
    assert_eq!(words(&host, "config get max_bytes").done().text, "200000000000\n");
    assert_eq!(words(&host, "config get min_free").done().text, "10%\n");
    let all = words(&host, "config get --json").done().json_lines();
    assert_eq!(all[0], serde_json::json!({"type": "setting", "key": "max_bytes", "value": 200_000_000_000_u64}));
    assert_eq!(all[1], serde_json::json!({"type": "setting", "key": "min_free", "value": "10%"}));

    assert_eq!(words(&host, "config unset max_bytes --json").json_line()["value"], Value::Null);
    let unset = words(&host, "config get max_bytes").done();
    assert_eq!((unset.text.as_str(), unset.stderr.as_str()), ("", "note: max_bytes is not set\n"));
    words(&host, "config set min_free 2GiB").done();
    let get = words(&host, "config get").done();
    assert_eq!(
        get.text,
        "max_bytes: not set\nmin_free:  2.1 GB (2147483648 bytes)\nsealed:    not set\nallow_net: not set\n"
    );
}

#[test]
fn gc_takes_the_least_recently_used_and_spares_what_is_needed() {
    let host = Host::new();
    let ages = [("pinned", 900), ("leased", 800), ("oldest", 700), ("older", 600), ("old", 500), ("young", 0)];
    for (id, _) in ages {
        stage_one_mib(&host, id);
    }
    words(&host, "pin pinned --as keeper").done();
    let lease = Leased::by(host.command(), "leased");
    for (id, hours) in ages {
        if hours > 0 {
            age(&host, id, hours);
        }
    }

    // There are six MiB here, and two have to go.
    let policy = format!("gc --max-bytes {} --json", 4 * MIB);
    let before = listing(&host.root());
    let planned = words(&host, &format!("{policy} --dry-run")).done().json_lines();
    assert_eq!(listing(&host.root()), before, "a dry run has written");
    let (summary, steps) = planned.split_last().unwrap();
    assert_eq!(with_action(steps, "evict"), ["oldest", "older"]);
    assert_eq!(with_action(steps, "keep"), ["leased", "pinned"]);
    let reason = |id: &str| steps.iter().find(|step| step["id"] == id).unwrap()["reason"].as_str().unwrap();
    assert_eq!(reason("leased"), "a live process leases it");
    assert_eq!(reason("pinned"), "pinned as \"keeper\"");
    assert_eq!(reason("oldest"), "least recently used, and room is needed");
    assert_eq!((&summary["dry_run"], &summary["used_bytes"]), (&true.into(), &(6 * MIB).into()));

    let done = words(&host, &policy).done().json_lines();
    let (report, taken) = done.split_last().unwrap();
    assert_eq!(taken, steps, "what is done is what was planned");
    for key in ["entries", "leftovers", "logical_bytes", "physical_bytes", "used_bytes", "shortfall_bytes", "skipped"] {
        assert_eq!(report[key], summary[key], "{key}");
    }
    assert_eq!((&report["blobs"], &report["physical_bytes"]), (&2.into(), &(2 * MIB).into()));
    assert_eq!(ids(&host), ["leased", "old", "pinned", "young"]);

    // Only `old` can go: a model used within the grace stays as well.
    let more = words(&host, &format!("gc --max-bytes {MIB} --json"));
    assert_eq!(more.code, 9, "{}", more.stderr);
    let lines = more.json_lines();
    assert_eq!(with_action(&lines, "evict"), ["old"]);
    assert_eq!(with_action(&lines, "keep"), ["leased", "pinned", "young"]);
    let summary = lines.last().unwrap();
    assert_eq!((&summary["entries"], &summary["shortfall_bytes"]), (&1.into(), &(2 * MIB).into()));
    assert!(more.stderr.contains(&format!("({} bytes) are missing", 2 * MIB)), "{}", more.stderr);
    assert!(lease.path.exists());
    lease.end();
    let rest = words(&host, "gc --max-bytes 1MiB --grace 0").done();
    assert_eq!(ids(&host), ["pinned"]);
    assert!(rest.text.contains("keep pinned, 1.0 MB: pinned as \"keeper\"\n"), "{}", rest.text);
    assert!(
        rest.text.ends_with("freed 2.1 MB of 3.1 MB, 2 models evicted, 2 blobs removed, 6 lock files removed\n"),
        "{}",
        rest.text
    );
}

#[test]
fn a_shortfall_of_a_plan_is_an_error_as_well() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    words(&host, "pin m").done();
    let before = listing(&host.root());
    let plan = words(&host, "gc --max-bytes 0 --grace 0 --dry-run");
    assert_eq!(listing(&host.root()), before);
    assert_eq!(plan.text, "keep m, 1.0 MB: pinned as \"default\"\nwould free 0 B of 1.0 MB\n");
    let error = plan.failed(9);
    assert!(error.contains("1.0 MB (1048576 bytes) would be missing"), "{error}");
    // `--quiet` still prints a plan, which is data, but not a receipt.
    assert_ne!(words(&host, "gc --max-bytes 0 --dry-run --quiet").text, "");
    assert_eq!(words(&host, "gc --max-bytes 0 --quiet").text, "");
}

#[test]
fn retired_and_idle_models_go_whether_there_is_room_or_not() {
    let host = Host::new();
    for id in ["retired", "idle", "used"] {
        stage_one_mib(&host, id);
    }
    words(&host, "retire retired").done();
    age(&host, "idle", 31 * 24);
    let run = words(&host, "gc --max-idle 30d --retired-after 0s --json").done();
    let lines = run.json_lines();
    assert_eq!(with_action(&lines, "evict"), ["idle", "retired"]);
    assert_eq!(ids(&host), ["used"]);
    // Nobody needs the room, so the blobs stay in the trash, where a stage can still get them back.
    assert_eq!(lines.last().unwrap()["trashed"], 2);
    assert_eq!(files_below(&host.root().join("trash")).len(), 2);
    let du = words(&host, "du --json").done().json_lines();
    assert_eq!(du.last().unwrap()["trash_bytes"], 2 * MIB);

    let text = words(&host, "gc --grace 0s").done().text;
    assert_eq!(text.lines().filter(|line| line.starts_with("empty trash sha256:")).count(), 2, "{text}");
    assert!(text.ends_with("freed 2.1 MB of 3.1 MB, 2 blobs removed, 3 lock files removed\n"), "{text}");
    assert_eq!(words(&host, "gc").done().text, "freed 0 B of 1.0 MB\n");
}

#[test]
fn gc_goes_by_the_limits_of_the_store() {
    let host = Host::new();
    for (id, hours) in [("old", 900), ("older", 901)] {
        stage_one_mib(&host, id);
        age(&host, id, hours);
    }
    words(&host, "config set max_bytes 1MiB").done();
    let lines = words(&host, "gc --json --max-bytes 2MiB").done().json_lines();
    assert_eq!(lines.len(), 1, "what is said beats what is kept: {lines:?}");
    assert_eq!(with_action(&words(&host, "gc --json").done().json_lines(), "evict"), ["older"]);

    words(&host, "config unset max_bytes").done();
    words(&host, "config set min_free 99%").done();
    words(&host, "gc").failed(9);
    assert_eq!(ids(&host), Vec::<String>::new());
}

#[test]
fn gc_takes_what_a_dead_process_has_left() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    let leftover = host.root().join("ingest/0123456789abcdef");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("half"), vec![1; 4096]).unwrap();
    let plan = words(&host, "gc --json --dry-run").done().json_lines();
    let lines = words(&host, "gc --json").done().json_lines();
    assert_eq!(plan[0], lines[0]);
    let step = &lines[0];
    assert_eq!((&step["action"], &step["path"]), (&"remove_leftover".into(), &"ingest/0123456789abcdef".into()));
    for summary in [&plan[1], &lines[1]] {
        assert_eq!((&summary["leftovers"], &summary["physical_bytes"]), (&1.into(), &4096.into()));
    }
    assert!(!leftover.exists());
}

#[test]
fn gc_refuses_while_any_part_of_the_index_cannot_be_read() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    stage_one_mib(&host, "n");
    let shard = common::shard_path(&host.root(), "m");
    fs::write(&shard, "damaged").unwrap();
    let before = listing(&host.root());
    for line in ["gc --max-bytes 0 --grace 0 --max-idle 0s", "gc --max-bytes 0 --grace 0 --dry-run", "du"] {
        let run = words(&host, line);
        assert_eq!(run.text, "", "{line}");
        let error = run.failed(4);
        assert!(error.contains(shard.file_name().unwrap().to_str().unwrap()), "{line}: {error}");
        assert_eq!(listing(&host.root()), before, "{line}");
    }
}

#[test]
fn a_leased_model_outlives_its_removal() {
    let host = Host::new();
    let path = stage_one_mib(&host, "m");
    let lease = Leased::by(host.command(), "m");
    assert_eq!(lease.path, path);
    let removed = words(&host, "remove m").done().text;
    assert!(
        removed.contains("a live process leases it; the next gc takes it once that process has ended"),
        "{removed}"
    );
    let digest = Digest::sha256_of(&fs::read(&path).unwrap());
    assert!(blob_path(&host.root(), &digest).exists());
    words(&host, "gc --max-bytes 0 --grace 0");
    assert!(path.exists(), "a collection has taken what is leased");

    lease.end();
    let lines = words(&host, "gc --max-bytes 0 --grace 0 --json").done().json_lines();
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["remove_view", "remove_blob", "summary"]);
    assert_eq!((&lines[1]["digest"], &lines[1]["bytes"]), (&digest.to_string().into(), &MIB.into()));
    assert!(!path.exists() && common::blobs(&host.root()).is_empty());
}

#[test]
fn a_leased_tree_keeps_all_its_files() {
    let host = Host::new();
    host.file("tree/config.json", b"{}");
    host.file("tree/part/a.safetensors", b"weights");
    words(&host, "stage tree --id t").done();
    let lease = Leased::by(host.command(), "t");
    words(&host, "remove t").done();
    words(&host, "gc --max-bytes 0 --grace 0");
    assert_eq!(fs::read(lease.path.join("config.json")).unwrap(), b"{}");
    assert_eq!(fs::read(lease.path.join("part/a.safetensors")).unwrap(), b"weights");
    let path = lease.path.clone();
    lease.end();
    words(&host, "gc --max-bytes 0 --grace 0").done();
    assert!(!path.exists() && common::blobs(&host.root()).is_empty());
}

#[test]
fn a_lease_ends_with_its_process_however_that_ends() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    let mut lease = Leased::by(host.command(), "m");
    words(&host, "gc --max-bytes 0 --grace 0").failed(9);
    lease.child.0.kill().unwrap();
    lease.child.0.wait().unwrap();
    words(&host, "gc --max-bytes 0 --grace 0").done();
    assert!(ids(&host).is_empty());
}

#[test]
fn a_lease_without_an_input_is_over_at_once() {
    let host = Host::new();
    let path = stage_one_mib(&host, "m");
    let leased = words(&host, "lease m").done();
    assert_eq!((leased.text, leased.stderr), (format!("{}\n", path.display()), String::new()));
    words(&host, "lease missing").failed(3);
    fs::remove_file(path).unwrap();
    let gone = words(&host, "lease m");
    assert_eq!(gone.text, "");
    gone.failed(3);
}

#[test]
fn a_lease_on_a_read_only_root() {
    let Some(nobody) = as_nobody() else { return };
    let host = Host::new();
    stage_one_mib(&host, "m");
    age(&host, "m", 900);
    set_mode(host.dir.path(), 0o755);
    let by_nobody = || {
        let mut command = Command::new(nobody[0]);
        command.args(&nobody[1..]).arg(cargo_bin!("catalog")).env("CATALOG_ROOT", host.root()).current_dir("/");
        command
    };
    let mut dry_run = by_nobody();
    dry_run.args(["gc", "--dry-run", "--max-bytes", "0"]);
    assert!(Run::of(dry_run).done().text.starts_with("evict m, "));

    let before = listing(&host.root());
    let lease = Leased::by(by_nobody(), "m");
    words(&host, "gc --max-bytes 0 --grace 0").failed(9);
    assert!(lease.path.exists());
    lease.end();
    // The use cannot be recorded in the index, and nothing fails because of that. The collection has written lock
    // files.
    let written = ["locks", "uses"].map(|folder| host.root().join(folder));
    let others =
        |(path, _): &(PathBuf, String)| written.iter().all(|folder| !path.starts_with(folder)) && path != &host.root();
    let after: Vec<_> = listing(&host.root()).into_iter().filter(others).collect();
    assert_eq!(after, before.into_iter().filter(others).collect::<Vec<_>>());
}

#[test]
fn a_path_that_is_given_out_is_a_use() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    let used = || words(&host, "show m --json").json_line()["last_used_ms"].as_u64();
    assert_eq!(used(), None);
    let before = now_ms();
    words(&host, "path m").done();
    let first = used().unwrap();
    assert!((before..=now_ms()).contains(&first));
    // A use is recorded at most once an hour.
    words(&host, "path m").done();
    words(&host, "lease m").done();
    assert_eq!(used(), Some(first));

    // A model that was just resolved is not evicted for room.
    age(&host, "m", 900);
    words(&host, "path m").done();
    words(&host, "gc --max-bytes 0").failed(9);
    assert_eq!(ids(&host), ["m"]);

    // A lease counts as a use for as long as it lasts.
    let lease = Leased::by(host.command(), "m");
    age(&host, "m", 900);
    lease.end();
    assert!(used().unwrap() >= first);

    // `path` does not wait to record the use: if the lock is taken, it notes the use next to the index.
    age(&host, "m", 900);
    let store = File::open(host.root().join("locks/store")).unwrap();
    fs2::FileExt::lock_exclusive(&store).unwrap();
    let (shard, before) = (fs::read(common::shard_path(&host.root(), "m")).unwrap(), now_ms());
    words(&host, "path m").done();
    assert_eq!(fs::read(common::shard_path(&host.root(), "m")).unwrap(), shard, "it was written without the lock");
    assert!(used().unwrap() >= before);
}

#[test]
fn staging_keeps_within_the_limit() {
    let host = Host::new();
    words(&host, "config set max_bytes 2MiB").done();
    let first = stage_one_mib(&host, "a");
    // This fits exactly.
    stage_one_mib(&host, "b");

    // Both are young, so nothing can be evicted.
    let c = host.file("c", vec![3; usize::try_from(MIB).unwrap()]);
    let error = words(&host, "stage c --id c").failed(9);
    for number in [format!("{MIB} bytes are needed"), "0 are available".into(), "0 can be evicted".into()] {
        assert!(error.contains(&number), "{error}");
    }
    assert_eq!(ids(&host), ["a", "b"]);
    common::assert_no_debris(&host.root());

    // The older one goes, unless it is pinned.
    words(&host, "pin a").done();
    for id in ["a", "b"] {
        age(&host, id, 900);
    }
    words(&host, "stage c --id c").done();
    assert_eq!(ids(&host), ["a", "c"]);
    assert!(first.exists());
    fs::remove_file(c).unwrap();
    let du = words(&host, "du --json").done().json_lines();
    assert_eq!(du.last().unwrap()["physical_bytes"], 2 * MIB);
}

#[test]
fn two_processes_that_stage_one_file_read_it_once() {
    let host = Host::new();
    // Large enough that the second process arrives while the first is still reading.
    host.file("big", vec![7; 64 << 20]);
    let start = || {
        let mut command = host.command();
        command.args(["stage", "big", "--id", "big", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut modes: Vec<String> = [start(), start()]
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let staged: Value = serde_json::from_slice(&output.stdout).unwrap();
            staged["mode"].as_str().unwrap().to_owned()
        })
        .collect();
    modes.sort();
    assert_eq!(modes[1], "unchanged", "{modes:?}");
    assert_ne!(modes[0], "unchanged", "{modes:?}");
}

/// Holds the lock that a process holds while it stages this file.
fn work_on(host: &Host, source: &Path) -> File {
    let reference = format!("file:{}", fs::canonicalize(source).unwrap().display());
    let key: String = Digest::sha256_of(reference.as_bytes()).to_hex().chars().take(32).collect();
    let lock = File::options().create(true).truncate(false).write(true).open(host.root().join("locks/fetch").join(key));
    let lock = lock.unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    lock
}

#[rstest]
#[case("never")]
#[case("0s")]
#[case("1s")]
fn who_does_not_want_to_wait_is_told_that_another_is_at_work(#[case] wait: &str) {
    let host = Host::new();
    stage_one_mib(&host, "m");
    let source = host.file("n.gguf", b"n");
    let _work = work_on(&host, &source);
    let error = run(&host, ["stage", "n.gguf", "--quiet", "--wait", wait]).failed(5);
    assert!(error.contains("it is being staged"), "{error}");
    assert_eq!(ids(&host), ["m"]);
}

#[test]
fn who_waits_says_so_once_and_then_goes_on() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    let source = host.file("n.bin", b"n");
    let work = work_on(&host, &source);
    let start = |quiet: &[&str]| {
        let mut command = host.command();
        command.args(["stage", "n.bin", "--id", "n"]).args(quiet).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    };
    let (mut waiting, mut quiet) = (start(&[]), start(&["--quiet"]));
    let mut told = BufReader::new(waiting.0.stderr.take().unwrap());
    let mut note = String::new();
    told.read_line(&mut note).unwrap();
    assert!(note.starts_with("note: waiting for another process that stages file:"), "{note}");
    std::thread::sleep(Duration::from_secs(1)); // for several more attempts, which print nothing
    drop(work);
    assert!(waiting.0.wait().unwrap().success() && quiet.0.wait().unwrap().success());
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    quiet.0.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(ids(&host), ["m", "n"]);
}

#[test]
fn du_says_what_is_here_and_what_is_saved() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    words(&host, "stage m.gguf --id again").done();
    let small = host.file("small", vec![1; 4096]);
    run(&host, ["stage", small.to_str().unwrap(), "--id", "small"]).done();
    let lines = words(&host, "du --json").done().json_lines();
    let (summary, entries) = lines.split_last().unwrap();
    let shown: Vec<_> = entries
        .iter()
        .map(|e| (e["id"].as_str().unwrap(), e["size_bytes"].as_u64().unwrap(), e["exclusive_bytes"].as_u64().unwrap()))
        .collect();
    assert_eq!(shown, [("again", MIB, 0), ("m", MIB, 0), ("small", 4096, 4096)]);
    for (key, value) in [
        ("logical_bytes", 2 * MIB + 4096),
        ("physical_bytes", MIB + 4096),
        ("saved_bytes", MIB),
        ("trash_bytes", 0),
        ("unreferenced_bytes", 0),
        ("entries", 3),
        ("blobs", 2),
    ] {
        assert_eq!(summary[key], value, "{key}");
    }

    // In a file: no bars, all entries, exact numbers.
    let text = words(&host, "du").done().text;
    let lines: Vec<_> = text.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]), ["ID", "SIZE", "EXCLUSIVE"]);
    assert_eq!(words(lines[3]), ["small", "4096", "4096"]);
    assert_eq!(words(lines[5]), ["SUM", "BYTES"]);
    assert_eq!(words(lines[6]), ["logical".to_owned(), (2 * MIB + 4096).to_string()]);
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn a_verb_that_only_reads_needs_a_catalog() {
    let host = Host::new();
    for line in ["lease m", "pin m", "unpin m", "gc", "gc --dry-run", "du", "config get", "config unset max_bytes"] {
        let error = words(&host, line).failed(3);
        assert!(error.contains("catalog stage"), "{line}: {error}");
        assert!(!host.root().exists(), "{line}");
    }
}

/// Without this, a user of such a file system would believe that a lease protects the model.
#[test]
fn where_locks_do_nothing_who_needs_them_is_told_once() {
    let host = Host::new();
    stage_one_mib(&host, "m");
    stage_one_mib(&host, "n");
    let probe = Command::new("strace").args(["-o", "/dev/null", "-e", "inject=flock:retval=0", "true"]).output();
    if !has_tool("strace") || !probe.is_ok_and(|output| output.status.success()) {
        return skip("this needs strace, and the right to trace");
    }
    let without_locks = |line: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq", "-o", "/dev/null", "-e", "inject=flock:retval=0"]);
        command.arg(cargo_bin!("catalog")).args(line.split(' ')).env("CATALOG_ROOT", host.root());
        Run::of(command)
    };
    for line in ["pin m n", "unpin m n", "retire m n", "lease m", "remove m n"] {
        let run = without_locks(line);
        let notes: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("note: file locks do nothing")).collect();
        assert_eq!((run.code, notes.len()), (0, 1), "{line}: {}", run.stderr);
    }
    // Nothing is collected, because nobody can see what is in use.
    let gc = without_locks("gc --grace 0 --quiet");
    assert!(gc.stderr.starts_with("error: could not collect at "), "{}", gc.stderr);
    assert_eq!((gc.code, common::blobs(&host.root()).len()), (1, 2));
    assert_eq!(without_locks("list").stderr.lines().filter(|line| line.contains("file locks")).count(), 0);
}

// Red when `remove_blob` keeps its claim on every file of a tree: each is an open descriptor.
#[test]
fn a_tree_has_more_files_than_a_process_may_have_open() {
    let host = Host::new();
    for number in 0..300 {
        host.file(&format!("tree/{number}"), number.to_string());
    }
    let limited = |line: &str| {
        let command = format!("ulimit -n 64; exec {} {line}", env!("CARGO_BIN_EXE_catalog"));
        let done = Command::new("sh").args(["-c", &command]).env("CATALOG_ROOT", host.root()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let tree = host.path("tree");
    limited(&format!("stage --id tree {}", tree.display()));
    limited("remove tree");
    limited(&format!("stage --id tree {}", tree.display()));
    limited("gc --max-bytes 0 --grace 0");
    assert!(blobs(&host.root()).is_empty());
}
