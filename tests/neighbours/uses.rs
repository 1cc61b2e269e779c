//! Uses by users who cannot write the index, and how a collection takes them into account.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use catalog_core::FsCatalog;
use serde_json::Value;

use super::common::{has_tool, mode_of, mount, skip};
use super::*;

/// Two models of a mebibyte; `a` was staged first.
fn two_models(place: &Place) {
    for name in ["a", "b"] {
        let file = place.file(name, name.repeat(1 << 20));
        place.does(ANN, &["stage", &file, "--id", name]);
    }
}

fn last_used_ms(place: &Place, id: &str) -> Option<u64> {
    let lines = place.does(ANN, &["list", "--json"]);
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let used = records.into_iter().find(|record| record["id"] == id).unwrap()["last_used_ms"].as_u64();
    let shown: Value = serde_json::from_str(&place.does(ANN, &["show", id, "--json"])).unwrap();
    assert_eq!(shown["last_used_ms"].as_u64(), used);
    used
}

/// A collection that has to evict one of the two models.
const MAKE_ROOM: [&str; 5] = ["gc", "--grace", "0", "--max-bytes", "1500000"];

fn ids(place: &Place) -> Vec<String> {
    FsCatalog::open(place.host.root()).unwrap().records().unwrap().into_iter().map(|record| record.entry.id).collect()
}

// Red when `note_use` writes no note, when `gather` or `records` does not read the notes, or when `uses/` has the mode
// of the other folders: the used model goes first, because it was staged first.
#[test]
fn a_use_by_a_reader_is_noted_and_gc_goes_by_it() {
    for mode in [0o755, 0o2775] {
        let Some(place) = Place::new(mode) else { return };
        two_models(&place);
        assert_eq!(last_used_ms(&place, "a"), None);
        let path = place.catalog_as(READER, &["path", "a"]);
        assert!(path.status.success() && path.stderr.is_empty(), "{path:?}");
        let used = last_used_ms(&place, "a").unwrap();
        // At most one note an hour, also if another user comes.
        place.does(OTHER_READER, &["path", "a"]);
        assert_eq!((last_used_ms(&place, "a"), notes(&place).len()), (Some(used), 1));
        // A user who may not write another user's note gets a note of their own.
        set_times(&place, 2);
        place.does(OTHER_READER, &["path", "a"]);
        assert!(last_used_ms(&place, "a").unwrap() >= used);
        assert_eq!(notes(&place).len(), 2);
        // A later use renews it.
        set_times(&place, 2);
        place.does(OTHER_READER, &["path", "a"]);
        assert!(last_used_ms(&place, "a").unwrap() >= used);
        assert_eq!(notes(&place).len(), 2);
        place.does(ANN, &MAKE_ROOM);
        assert_eq!(ids(&place), ["a"]);
        place.does(ANN, &["doctor"]);
    }
}

fn notes(place: &Place) -> Vec<PathBuf> {
    let mut notes: Vec<_> =
        fs::read_dir(place.host.root().join("uses")).unwrap().map(|note| note.unwrap().path()).collect();
    notes.sort_unstable();
    notes
}

fn set_times(place: &Place, hours: u64) {
    for note in notes(place) {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::options().write(true).open(&note).unwrap().set_modified(then).unwrap();
    }
}

// Red when anything is accepted as a note: a use by root changes the mode or the time of somebody's file.
#[test]
fn a_note_that_is_something_else_is_left_alone() {
    let Some(place) = Place::new(0o755) else { return };
    two_models(&place);
    place.does(READER, &["path", "a"]);
    let note = notes(&place).remove(0);
    let victim = PathBuf::from(place.file("victim", "v"));
    chown(&victim, Some(READER), None).unwrap();
    let (before, was) = (fs::metadata(&victim).unwrap().modified().unwrap(), note.clone());
    fs::remove_file(&note).unwrap();
    fs::hard_link(&victim, &note).unwrap();
    place.does(READER, &["path", "a"]);
    fs::remove_file(&was).unwrap();
    std::os::unix::fs::symlink(&victim, &was).unwrap();
    set_times_of_real_notes(&place);
    place.does(READER, &["path", "a"]);
    assert_eq!(fs::metadata(&victim).unwrap().modified().unwrap(), before);
    assert!(last_used_ms(&place, "a").is_some());
}

// Red when a note is opened before it is examined: `path` waits 45 s, until the kernel breaks the lease.
#[test]
fn a_lease_on_anothers_note_is_not_waited_for() {
    const HOLD: &str = "import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
note = open(sys.argv[1], 'r+')
fcntl.fcntl(note, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
sys.stdin.read()
print(fcntl.fcntl(note, fcntl.F_GETLEASE) == fcntl.F_WRLCK)";
    if !has_tool("python3") {
        return skip("python3 is not installed");
    }
    let Some(place) = Place::new(0o755) else { return };
    two_models(&place);
    place.does(OTHER_READER, &["path", "a"]);
    set_times(&place, 2);
    let note = notes(&place).remove(0);
    set_mode(&note, 0o666);
    let mut holder = Command::new("python3");
    let mut holder = holder.args(["-c", HOLD]).arg(&note).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    place.does(READER, &["path", "a"]);
    drop(holder.stdin.take());
    let mut is_held_still = String::new();
    said.read_line(&mut is_held_still).unwrap();
    assert!(holder.wait().unwrap().success());
    assert_eq!((is_held_still.trim(), notes(&place).len()), ("True", 2));
}

/// Readers have no access, or may list names but not examine them.
// Red when `NotedUses::read` fails: so do `list`, `verify --all`, `gc`, and a `stage` that makes room. When
// `stray_notes` fails, so does `gc`.
#[test]
fn notes_that_cannot_be_read_stop_nobody() {
    for mode in [0o700, 0o744] {
        let Some(place) = Place::new(0o2775) else { return };
        two_models(&place);
        place.does(READER, &["path", "a"]);
        set_mode(&place.host.root().join("uses"), mode);
        for user in [READER, BOB] {
            for args in [&["list"][..], &["verify", "--all"], &["path", "b"], &["du"], &["gc", "--dry-run"]] {
                place.does(user, args);
            }
        }
        place.does(BOB, &["config", "set", "max_bytes", "3MiB"]);
        let third = place.file("c", "c".repeat(2 << 20));
        let refused = stderr(&place.catalog_as(BOB, &["stage", &third, "--id", "c"]));
        assert!(refused.contains("could not make room"), "both are too young: {refused}");
        place.does(BOB, &MAKE_ROOM);
        assert_eq!(ids(&place).len(), 1);
        assert_eq!(notes(&place).len(), 1);
    }
}

/// An earlier version did not make the folder.
// Red when only a new store gets `uses/`: no reader's use is ever noted in an older one. Red when the mode of an
// existing folder is reset.
#[test]
fn whoever_writes_to_an_older_store_makes_the_folder() {
    let Some(place) = Place::new(0o755) else { return };
    two_models(&place);
    let uses = place.host.root().join("uses");
    let third = place.file("c", "c");
    for args in [&["stage", &third, "--id", "c"][..], &["gc"], &["remove", "c"]] {
        fs::remove_dir_all(&uses).unwrap();
        place.does(READER, &["path", "a"]);
        assert!(!uses.exists(), "readers cannot make it");
        place.does(ANN, args);
        assert_eq!(mode_of(&uses), 0o1777, "{args:?}");
        place.does(READER, &["path", "a"]);
        assert_eq!(notes(&place).len(), 1);
    }
    fs::remove_file(notes(&place).remove(0)).unwrap();
    for mode in [0o700, 0o755] {
        set_mode(&uses, mode);
        place.does(ANN, &["gc"]);
        place.does(ANN, &["stage", &third, "--id", "c"]);
        place.does(ANN, &["remove", "c"]);
        assert_eq!(mode_of(&uses), mode, "Ann wants it so");
    }
}

fn set_times_of_real_notes(place: &Place) {
    let real = notes(place).into_iter().filter(|note| fs::symlink_metadata(note).unwrap().is_file());
    for note in real {
        let then = SystemTime::now() - Duration::from_secs(7200);
        fs::File::options().write(true).open(&note).unwrap().set_modified(then).unwrap();
    }
}

// Red when stray notes are not removed, or when the notes of entries are.
#[test]
fn notes_go_with_their_entries() {
    let Some(place) = Place::new(0o755) else { return };
    two_models(&place);
    for id in ["a", "b"] {
        place.does(READER, &["path", id]);
    }
    place.does(ANN, &["remove", "a"]);
    place.does(ANN, &["gc"]);
    assert_eq!(notes(&place).len(), 2, "somebody may stage it again just now");
    set_times(&place, 2);
    place.does(ANN, &["gc"]);
    assert_eq!(notes(&place).len(), 1);
    assert!(last_used_ms(&place, "b").is_some());
}

// Red when the observer does not learn that a use cannot be noted, when it gets that event for a sealed root, or when a
// use is not noted in a `uses/` that is writable.
#[test]
fn a_use_through_a_read_only_mount() {
    let Some(place) = Place::new(0o755) else { return };
    two_models(&place);
    let Some(read_only) = mount::read_only_bind(&place.host.root()) else { return };
    set_mode(read_only.path().parent().unwrap(), 0o755);
    let path = || {
        let output = place.catalog_as(READER, &["--root", read_only.path().to_str().unwrap(), "path", "a"]);
        assert!(output.status.success(), "{output:?}");
        stderr(&output)
    };
    let told = path();
    assert!(told.contains("note: this user cannot record here that a is in use"), "{told}");
    assert_eq!(last_used_ms(&place, "a"), None);
    place.does(ANN, &["config", "set", "sealed", "true"]);
    assert_eq!(path(), "");
    place.does(ANN, &["config", "unset", "sealed"]);
    let writable = mount::bind_over(&place.host.root().join("uses"), &read_only.path().join("uses"));
    assert_eq!(path(), "");
    assert!(last_used_ms(&place, "a").is_some());
    drop(writable);
}

// Red when `used_by` does not check whether a file is open: the model that an engine reads goes first.
#[test]
fn what_an_engine_has_open_through_a_read_only_mount_stays() {
    let Some(place) = Place::new(0o755) else { return };
    two_models(&place);
    let Some(read_only) = mount::read_only_bind(&place.host.root()) else { return };
    let path = place.does(ANN, &["path", "a", "--unchecked"]);
    let path = read_only.path().join(Path::new(path.trim()).strip_prefix(place.host.root()).unwrap());
    // According to the index, `a` was used less recently.
    place.does(ANN, &["path", "b"]);
    let engine = fs::File::open(path).unwrap();
    let told = place.does(ANN, &MAKE_ROOM);
    assert!(told.contains("b"), "{told}");
    assert_eq!(ids(&place), ["a"]);
    let refused = place.catalog_as(ANN, &["gc", "--grace", "0", "--max-bytes", "1"]);
    assert!(String::from_utf8_lossy(&refused.stdout).contains("a process has it open"), "{refused:?}");
    assert_eq!(refused.status.code(), Some(9));
    drop(engine);
    place.does(ANN, &["gc", "--grace", "0", "--max-bytes", "1"]);
    assert!(ids(&place).is_empty());
}
