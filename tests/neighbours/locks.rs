//! Which users can lock which files, and which holders an error names.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use catalog_core::{FsCatalog, Wait};

use super::common::mount::{self, Mounted};
use super::common::{Running, files_below, has_tool, mode_of, reference, skip, wait_until};
use super::*;

// Red when lock files have mode 0644, or when `lock_file::finish` does not fix those of an older version: `flock` gets
// each of them, and no stage gets the store.
#[test]
fn who_only_reads_can_lock_nothing_that_writers_need() {
    for (of_root, of_locks) in [(0o755, 0o600), (0o2775, 0o660)] {
        let Some(place) = Place::new(of_root) else { return };
        let file = place.file("a.gguf", "a");
        place.does(ANN, &["stage", &file, "--id", "a"]);
        let locks: Vec<_> =
            files_below(&place.host.root().join("locks")).into_iter().filter(|p| is_lock_file(p)).collect();
        assert!(locks.len() >= 4, "{locks:?}");
        locks.iter().for_each(|path| set_mode(path, 0o644 | of_root & 0o020)); // an older version
        place.file("a.gguf", "other bytes");
        place.does(ANN, &["stage", &file, "--id", "a"]);
        place.does(ANN, &["gc"]);
        for path in &locks {
            assert_eq!(mode_of(path), of_locks, "{}", path.display());
            let mut flock = place.command_as(READER, "flock");
            let refused = flock.args(["--exclusive", "--nonblock"]).arg(path).arg("true").output().unwrap();
            assert!(stderr(&refused).contains("Permission denied"), "{}: {refused:?}", path.display());
        }
        // Verbs that need none of the locks work, and do not mention them.
        for args in [&["path", "a"][..], &["list"], &["show", "a"], &["verify", "a"], &["du"], &["gc", "--dry-run"]] {
            let read = place.catalog_as(READER, args);
            assert!(read.status.success() && read.stderr.is_empty(), "{args:?}: {read:?}");
        }
        let mut lease = place.command_as(READER, place.host.command().get_program());
        let lease = lease.args(["lease", "a"]).stdin(Stdio::null()).output().unwrap();
        assert!(lease.status.success(), "{lease:?}");
    }
}

// Red when a lock file's owner does not fix its mode on the next use, or when doctor accepts 0600 in a group's root:
// Bob is locked out for ever, and nothing says why.
#[test]
fn a_lock_file_whose_maker_was_killed_is_opened_to_the_group() {
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let Some(place) = Place::new(0o2775) else { return };
    let file = place.file("a.gguf", "a");
    place.does(ANN, &["stage", &file, "--id", "a"]);
    let store = place.host.root().join("locks/store");
    let kill_ann = || {
        std::fs::remove_file(&store).unwrap();
        let mut killed = place.command_as(ANN, "sh");
        let script = "umask 077; exec strace -o /dev/null -P \"$1\" -e inject=fchmod:signal=KILL \"$2\" pin a";
        killed.args(["-c", script, "sh"]).arg(&store).arg(place.host.command().get_program());
        let status = killed.output().unwrap().status;
        assert_eq!(status.signal().or(status.code().map(|code| code - 128)), Some(9), "{status:?}");
        assert_eq!(mode_of(&store), 0o600);
        let refused = place.catalog_as(BOB, &["pin", "a"]);
        assert!(stderr(&refused).contains("locks/store: Permission denied"), "{refused:?}");
    };
    kill_ann();
    place.does(ANN, &["unpin", "a"]);
    assert_eq!(mode_of(&store), 0o660);
    place.does(BOB, &["pin", "a"]);
    kill_ann();
    // Bob may not change Ann's file, and doctor tells him.
    let found = place.catalog_as(BOB, &["doctor", "--repair"]);
    let told = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(told.contains("wrong_mode") && told.contains("locks/store"), "{found:?}");
    assert_eq!(mode_of(&store), 0o600);
    place.does(ANN, &["doctor", "--repair"]);
    place.does(BOB, &["pin", "a"]);
}

/// Returns a process that already holds the lock.
fn hold(path: &Path) -> Running {
    let mut flock = Command::new("flock");
    let child = flock.args(["--exclusive", "--no-fork"]).arg(path).args(["sleep", "60"]).spawn().unwrap();
    let file = fs::File::open(path).unwrap();
    wait_until("the lock is held", || {
        file.try_lock_shared().is_err() || {
            file.unlock().unwrap();
            false
        }
    });
    Running(child)
}

// Red when the holder is searched only by device, which differs on btrfs, or not at all.
#[test]
fn who_is_busy_is_named() {
    let kinds: [&dyn Fn() -> Option<Mounted>; 3] =
        [&|| mount::tmpfs("size=16m"), &|| mount::image(32, &["mkfs.ext4", "-q"], "loop"), &|| {
            mount::image(128, &["mkfs.btrfs", "-q"], "loop")
        }];
    for mounted in kinds {
        let Some(mounted) = mounted() else { continue };
        let catalog = FsCatalog::new(mounted.path().join("root")).unwrap().with_lock_wait(Wait::Never);
        let host = Host::new();
        let options = super::common::options("a").with_wait(Wait::Never);
        let stage = || catalog.stage(&reference(&host.file("a.gguf", "a")), &options);
        stage().unwrap();
        let fetch = files_below(&catalog.root().join("locks/fetch")).remove(0);
        for name in [catalog.root().join("locks/store"), fetch] {
            let holder = hold(&name);
            host.file("a.gguf", format!("other, {}", name.display()));
            let error = catalog.stage(&reference(&host.path("a.gguf")), &options).unwrap_err();
            assert!(error.is_busy(), "{error}");
            let expected = format!("process {} (", holder.0.id()); // flock, or sleep by now
            assert!(error.to_string().contains(&expected), "{error}");
            drop(holder);
        }
    }
}

// Red when a removal fails because it may not unlink another user's reserve: it may free the reserve's blocks instead.
#[test]
fn a_sticky_root_is_a_root_of_the_group() {
    let Some(mounted) = mount::image(64, &["mkfs.xfs", "-q", "--unsupported"], "loop") else { return };
    let Some(mut place) = Place::new(0o755) else { return };
    place.host = Host { dir: tempfile::TempDir::new_in(mounted.path()).unwrap() };
    set_mode(mounted.path(), 0o755);
    set_mode(place.host.dir.path(), 0o755);
    fs::create_dir(place.host.root()).unwrap();
    place.give_root(0o3775);
    let reserve = place.host.root().join("store.reserve");
    let (a, b) = (place.file("a.gguf", "a"), place.file("b.gguf", "b"));
    place.does(ANN, &["stage", &a, "--id", "a"]);
    place.does(BOB, &["stage", &b, "--id", "b"]);
    place.does(BOB, &["pin", "a"]);
    place.does(ANN, &["unpin", "a"]);
    place.does(BOB, &["remove", "a"]);
    place.does(BOB, &["gc", "--grace", "0"]);
    place.does(ANN, &["stage", &a, "--id", "a"]);
    let fill = place.host.path("fill");
    let mut file = fs::File::create(&fill).unwrap();
    for piece_bytes in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; piece_bytes]).is_ok() {}
    }
    let names = (0..).map(|number| place.host.path(&format!("fill {number}")));
    let _: Vec<_> = names.map_while(|name| fs::File::create(name).ok()).collect();
    place.does(BOB, &["remove", "a"]);
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 0, "it was not needed");
    drop(file);
    fs::remove_file(fill).unwrap();
    place.does(ANN, &["stage", &a, "--id", "a"]);
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 1 << 20);
    // Other users need the store's folders too.
    let index = place.host.root().join("index");
    set_mode(&index, 0o3775);
    let found = place.does(ANN, &["doctor", "--repair"]);
    assert!(found.contains("wrong_mode"), "{found}");
    assert_eq!(mode_of(&index), 0o2775);
}
