//! The store's own folders: missing, strange, with another mode or owner, or replaced by something that is no folder.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use catalog_core::FindingKind as K;
use common::{is_root, mode_of, skip};

use super::*;

#[test]
fn folders_that_are_gone_are_made_again() {
    let store = Store::new();
    for folder in ["quarantine", "trash", "ingest", "partials"] {
        let folder = store.root().join(folder);
        fs::remove_dir(&folder).unwrap();
        store.repairs(&[(K::FolderMissing, &folder)], &[&folder]);
    }
    let locks = store.root().join("locks");
    fs::remove_dir_all(&locks).unwrap();
    let below = ["probe", "gate", "store", "index", "fetch"].map(|name| locks.join(name));
    let may_change: Vec<&Path> = below.iter().chain([&locks]).map(PathBuf::as_path).collect();
    store.repairs(&[(K::FolderMissing, &locks)], &may_change);
    assert!(locks.join("probe").exists() && locks.join("index").exists());
}

#[test]
fn the_file_that_tells_whether_locks_work_is_made_again() {
    let store = Store::new();
    let probe = store.root().join("locks/probe");
    fs::remove_file(&probe).unwrap();
    store.repairs(&[(K::ProbeMissing, &probe)], &[&probe]);
}

// Red when doctor looks below a symlink.
#[test]
fn a_folder_that_has_become_a_symlink_is_named_and_not_followed() {
    for name in ["trash", "blobs", "index", "views", "locks/index"] {
        let store = Store::new();
        let folder = store.root().join(name);
        let away = store.host.path("away");
        fs::rename(&folder, &away).unwrap();
        symlink(&away, &folder).unwrap();
        let found = store.finds(&[(K::FolderReplaced, &folder)]);
        assert!(!found[0].is_repairable(), "{found:#?}");
        let before = listing(&away);
        store.doctor().repair(&found);
        assert_eq!(listing(&away), before, "{name}");
    }
}

#[test]
fn a_folder_whose_place_a_file_has_taken_is_named() {
    let store = Store::new();
    let folder = store.root().join("trash");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "x").unwrap();
    store.finds(&[(K::FolderReplaced, &folder)]);
}

#[test]
fn a_lock_file_that_is_none_is_named() {
    let store = Store::new();
    for name in ["locks/gate", "locks/index/07", "locks/fetch/0123456789abcdef0123456789abcdef"] {
        let path = store.root().join(name);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let found = store.finds(&[(K::LockFileReplaced, &path)]);
        assert!(!found[0].is_repairable());
        fs::remove_dir(&path).unwrap();
    }
}

#[test]
fn strange_files_are_named_wherever_they_are() {
    let store = Store::new();
    let fan_out = store.blob("file").parent().unwrap().strip_prefix(store.root()).unwrap().to_path_buf();
    let hex = "0".repeat(64);
    let misplaced = format!("blobs/sha256/ff/{hex}");
    fs::create_dir_all(store.root().join("blobs/sha256/ff")).unwrap();
    let names = [
        "index/notes.txt",
        "index/3F.json",
        "blobs/notes",
        "blobs/sha256/notes",
        "outboards/notes",
        "views/notes",
        "ingest/notes",
        "trash/notes",
        "quarantine/notes",
        "locks/notes",
        "locks/index/notes",
        "locks/fetch/notes",
        &misplaced,
    ];
    let mut paths: Vec<PathBuf> = names.iter().map(|name| store.root().join(name)).collect();
    paths.push(store.root().join(fan_out).join("notes"));
    for path in &paths {
        fs::write(path, "x").unwrap();
        let mut expected = vec![(K::StrangeFile, path.as_path())];
        let quarantine = store.root().join("quarantine");
        if path.starts_with(&quarantine) {
            expected.push((K::QuarantineNotEmpty, &quarantine));
        }
        let found = store.finds(&expected);
        assert!(found.iter().all(|finding| !finding.is_repairable()), "{found:#?}");
        fs::remove_file(path).unwrap();
    }
    // Anything may be in the root itself: files that are shown in place lie there.
    fs::write(store.root().join("notes.txt"), "x").unwrap();
    store.finds(&[]);
}

// Red when modes are set by path: a symlink that appears in between would lead outside the root.
#[test]
fn modes_are_set_again() {
    let store = Store::new();
    let shard = common::shard_path(&store.root(), "file");
    let cases = [
        (store.blob("small"), 0o644, 0o444),
        (store.outboard("small", "json"), 0o666, 0o644),
        (shard.clone(), 0o664, 0o644),
        (store.root().join("store.json"), 0o646, 0o644),
        (store.root().join("index"), 0o777, 0o755),
        (store.blob("small").parent().unwrap().to_path_buf(), 0o775, 0o755),
        (store.view("small").parent().unwrap().to_path_buf(), 0o757, 0o755),
        (store.root().join("locks/gate"), 0o666, 0o600),
        (store.root().join("locks/probe"), 0o666, 0o644),
    ];
    for (path, wrong, right) in cases {
        set_mode(&path, wrong);
        let view = store.view("small"); // shares the blob's inode
        let outboard = store.outboard("small", "json"); // records that the blob was read
        store.repairs(&[(K::WrongMode, &path)], &[&path, &view, &outboard]);
        assert_eq!(mode_of(&path), right, "{}", path.display());
    }
    // An owner who denies others read access has a reason.
    set_mode(&store.root().join("index"), 0o700);
    set_mode(&shard, 0o600);
    store.finds(&[]);
}

#[test]
fn the_private_folder_of_an_operation_that_runs_is_made_private_again() {
    let store = Store::new();
    let folder = store.root().join("ingest/0123456789abcdef");
    fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o755);
    let alive = fs::File::open(&folder).unwrap();
    fs2::FileExt::lock_exclusive(&alive).unwrap();
    store.repairs(&[(K::WrongMode, &folder)], &[&folder]);
    assert_eq!(mode_of(&folder), 0o700);
}

// Red when `check_partial` expects another mode or none, when it reports a young partial or stays silent about an old
// one, and when it accepts a name in it that the layout does not know.
#[test]
fn a_partial_is_private_and_spoken_of_once_it_is_a_day_old() {
    let store = Store::new();
    let folder = store.root().join("partials/0123456789abcdef0123456789abcdef");
    let set_age = |hours: u64| {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
        for path in [&folder.join("data"), &folder.join("journal"), &folder] {
            common::set_mtime(path, then);
        }
    };
    fs::create_dir(&folder).unwrap();
    for name in ["data", "journal", ".0123456789abcdef.tmp"] {
        fs::write(folder.join(name), "x").unwrap();
        common::set_mtime(&folder.join(name), std::time::SystemTime::UNIX_EPOCH);
    }
    set_mode(&folder, 0o700);
    set_age(23);
    store.finds(&[]);
    set_age(25);
    let found = store.finds(&[(K::StalePartial, &folder)]);
    assert!(!found[0].needs_attention() && found[0].what.contains("for 25 hours"), "{found:#?}");
    // A recent write to one of its files makes it young.
    common::set_mtime(&folder.join("data"), std::time::SystemTime::now());
    store.finds(&[]);
    set_mode(&folder, 0o755);
    store.repairs(&[(K::WrongMode, &folder)], &[&folder]);
    assert_eq!(mode_of(&folder), 0o700);
    // Strange names, inside it and next to it.
    let strange = [folder.join("notes"), store.root().join("partials/notes")];
    strange.iter().for_each(|path| fs::write(path, "x").unwrap());
    store.finds(&[(K::StrangeFile, &strange[0]), (K::StrangeFile, &strange[1])]);
}

#[test]
fn a_root_that_others_can_write_is_named_and_left_alone() {
    let store = Store::new();
    let mode = fs::metadata(store.root()).unwrap().permissions().mode() & 0o7777;
    for open in [0o757, 0o1757] {
        set_mode(&store.root(), open);
        let found = store.finds(&[(K::RootWritable, &store.root())]);
        assert!(!found[0].is_repairable() && found[0].needs_attention());
    }
    set_mode(&store.root(), mode);
}

#[test]
fn files_of_another_owner_are_counted() {
    if !is_root() {
        return skip("giving files away needs root");
    }
    let store = Store::new();
    let (blob, shard) = (store.blob("small"), common::shard_path(&store.root(), "file"));
    chown(&blob, Some(common::NOBODY), None).unwrap();
    chown(blob.parent().unwrap(), Some(common::NOBODY), None).unwrap();
    chown(&shard, Some(common::NOBODY), None).unwrap();
    let (blobs, index) = (store.root().join("blobs"), store.root().join("index"));
    // Each folder is reported for its owner, and the blob because of what its owner may have written.
    let found = store.finds(&[(K::OtherOwner, &blobs), (K::OtherOwner, &index), (K::UntrustedBlob, &blob)]);
    let counted = found.iter().find(|finding| finding.path == blobs).unwrap();
    assert!(counted.what.starts_with("2 of its files belong to the user 65534"), "{found:#?}");
    // In the root of a group, each member owns their own files.
    set_mode(&store.root(), 0o2775);
    let found = store.doctor().examine().unwrap();
    assert!(found.iter().all(|finding| finding.kind != K::OtherOwner), "{found:#?}");
}

#[test]
fn what_may_not_be_read_is_said_not_to_have_been() {
    let Some(words) = common::as_nobody() else { return };
    let store = Store::new();
    set_mode(store.host.dir.path(), 0o755);
    set_mode(&store.root().join("quarantine"), 0o700);
    let mut command = common::catalog_command();
    command.args(["--root", store.root().to_str().unwrap(), "doctor", "--json"]);
    let program = command.get_program().to_owned();
    let mut as_nobody = std::process::Command::new(words[0]);
    as_nobody.args(&words[1..]).arg(program).args(command.get_args());
    let output = as_nobody.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let not_examined: Vec<&str> = text.lines().filter(|line| line.contains("not_examined")).collect();
    assert_eq!(not_examined.len(), 1, "{text}");
    assert!(not_examined[0].contains("quarantine"), "{text}");
}
