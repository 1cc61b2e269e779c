//! Leases against everything that removes something: leased content stays, and goes once the lease is dropped.
//!
//! tests/protocol explores every interleaving on a model. Here, the real code is stopped at the moments that matter:
//! another holder of a lock keeps it waiting.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use catalog_core::{CatalogStore, Digest, FsCatalog, GcPolicy, GcReason, Lease, ModelMap, OwnedMap, Wait};
use common::*;

/// Collects everything that is neither leased nor pinned.
fn everything() -> GcPolicy {
    leftovers().with_max_bytes(Some(0))
}

/// Collects what no entry needs.
fn leftovers() -> GcPolicy {
    GcPolicy::default().with_grace(Duration::ZERO)
}

/// A catalog with these contents staged under these ids.
fn catalog_with(host: &Host, entries: &[(&str, &[u8])]) -> FsCatalog {
    let catalog = host.catalog();
    for (id, content) in entries {
        stage(&catalog, &host.file(&format!("{id}.gguf"), content), id).unwrap();
    }
    catalog
}

fn blob_of(host: &Host, content: &[u8]) -> PathBuf {
    blob_path(&host.root(), &Digest::sha256_of(content))
}

#[track_caller]
fn assert_shows(lease: &Lease, content: &[u8]) {
    assert_eq!(fs::read(lease.local_path()).unwrap(), content, "{}", lease.local_path().display());
}

/// Nothing of any artifact is left, and no debris.
#[track_caller]
fn assert_empty(host: &Host) {
    for folder in ["blobs", "views", "trash", "ingest", "outboards"] {
        assert_eq!(files_below(&host.root().join(folder)), Vec::<PathBuf>::new());
    }
    assert_eq!(fs::read_dir(host.root().join("views")).unwrap().count(), 0);
}

/// How many times this process has a file open.
fn times_open(path: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    descriptors.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|file| file == path)).count()
}

// Red when `blob::block_leases` takes a blob although it did not get its lock.
#[test]
fn what_is_leased_is_not_evicted_until_the_last_lease_is_dropped() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let first = catalog.lease("a").unwrap();
    let second = catalog.clone().lease("a").unwrap();
    assert_eq!(first.entry(), second.entry());
    for lease in [first, second] {
        let plan = catalog.plan_gc(&everything()).unwrap();
        assert!(plan.steps.is_empty() && plan.shortfall_bytes > 0, "{plan:?}");
        assert_eq!(plan.kept[0].reason, GcReason::Leased);
        assert_eq!(catalog.gc(&everything()).unwrap().entries, 0);
        assert_shows(&lease, b"bytes");
        drop(lease);
    }
    assert_eq!(catalog.gc(&everything()).unwrap().entries, 1);
    assert_empty(&host);
}

// Red when `Sweep::block_leases` takes a blob although it did not get its lock: the plan was made before the lease.
#[test]
fn a_lease_that_comes_after_the_plan_holds() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let plan = catalog.plan_gc(&everything()).unwrap();
    assert_eq!(plan.steps.len(), 1);
    let lease = catalog.lease("a").unwrap();
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.entries, report.skipped), (0, 1));
    assert_shows(&lease, b"bytes");
    assert_readable(&catalog, "a", b"bytes");
}

// Red when `blob::block_leases` takes a blob although it did not get its lock.
#[test]
fn what_is_leased_and_removed_is_readable_until_the_lease_is_dropped() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let lease = catalog.lease("a").unwrap();
    let receipt = catalog.remove("a").unwrap().unwrap();
    assert_eq!((receipt.blobs_removed, receipt.kept.len()), (0, 1));
    assert!(receipt.kept[0].reason.contains("leases"), "{}", receipt.kept[0].reason);
    assert!(!catalog.exists("a").unwrap() && catalog.lease("a").unwrap_err().is_not_found());
    drop(catalog.gc(&everything()).unwrap());
    assert_shows(&lease, b"bytes");
    assert_eq!(&*lease.map().unwrap(), b"bytes");

    drop(lease);
    assert_eq!(catalog.gc(&leftovers()).unwrap().blobs, 1);
    assert_empty(&host);
}

// Red when `remove::reclaim` continues with a leased blob.
#[test]
fn a_leased_path_in_place_stays() {
    let host = Host::new();
    let catalog = host.catalog();
    let path = host.file("root/models/a.gguf", b"bytes");
    catalog.put(&entry("a", &path)).unwrap();
    let lease = catalog.lease("a").unwrap();
    assert_eq!(lease.local_path(), path);
    assert_eq!(catalog.remove("a").unwrap().unwrap().kept.len(), 1);
    drop(catalog.gc(&everything()).unwrap());
    assert_shows(&lease, b"bytes");
    assert_eq!(inode_of(&path), inode_of(&blob_of(&host, b"bytes")));
}

// Red when `blob::block_leases` takes a blob although it did not get its lock.
#[test]
fn new_content_leaves_the_leased_old_one_alone() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"old")]);
    let old = catalog.lease("a").unwrap();
    stage(&catalog, &host.file("a.gguf", b"new!"), "a").unwrap();
    let new = catalog.lease("a").unwrap();
    assert_ne!(old.local_path(), new.local_path());
    drop(catalog.gc(&everything()).unwrap());
    assert_shows(&old, b"old");
    assert_shows(&new, b"new!");

    drop(old);
    drop(catalog.gc(&leftovers()).unwrap());
    assert!(!blob_of(&host, b"old").exists());
    assert_readable(&catalog, "a", b"new!");
    drop(new);
    catalog.remove("a").unwrap().unwrap();
    assert_empty(&host);
}

// Two contents whose digests start with the same 12 hex digits, which takes seconds to find. Red when a view's name has
// only so many digits: the second content then replaces the first at the leased path, and a lease on either keeps the
// views of both.
#[test]
fn contents_whose_digests_begin_alike_have_paths_of_their_own() {
    const OLD: &[u8] = b"model-1-745bb9617c7f\n";
    const NEW: &[u8] = b"model-1-34a5393953b5\n";
    assert_eq!(Digest::sha256_of(OLD).to_hex()[..12], Digest::sha256_of(NEW).to_hex()[..12]);
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("old/m.gguf", OLD), "m").unwrap();
    let old = catalog.lease("m").unwrap();
    stage(&catalog, &host.file("new/m.gguf", NEW), "m").unwrap();
    let new = catalog.lease("m").unwrap();
    assert_ne!(old.local_path(), new.local_path());
    assert_shows(&old, OLD);
    assert_shows(&new, NEW);

    drop(old);
    assert_eq!(catalog.gc(&leftovers()).unwrap().leftovers, 1, "the lease on the new one holds nothing of the old one");
    assert_shows(&new, NEW);
    drop(new);
    catalog.remove("m").unwrap().unwrap();
    assert_empty(&host);
}

// Red when `Store::leased_orphans` does not read a leased blob as a manifest: the tree's files then go.
#[test]
fn a_leased_tree_keeps_its_files_whatever_becomes_of_its_id_and_of_trees_that_share_them() {
    let host = Host::new();
    let catalog = host.catalog();
    for (path, content) in [("t/own.gguf", "own"), ("t/shared.json", "shared"), ("u/shared.json", "shared")] {
        host.file(path, content);
    }
    for id in ["t", "u"] {
        stage(&catalog, &host.path(id), id).unwrap();
    }
    let lease = catalog.lease("t").unwrap();
    assert!(lease.map().is_err(), "a tree has no bytes of its own");
    assert!(lease.map_file("no/such").unwrap_err().is_not_found());
    catalog.remove("t").unwrap().unwrap();
    assert_eq!(catalog.gc(&everything()).unwrap().entries, 1, "only the other tree is evicted");
    for (name, content) in [("own.gguf", "own"), ("shared.json", "shared")] {
        assert_eq!(fs::read_to_string(lease.local_path().join(name)).unwrap(), content);
        assert!(blob_of(&host, content.as_bytes()).exists());
    }
    assert_eq!(blobs(&host.root()).len(), 3, "two files and a manifest");

    drop(lease);
    drop(catalog.gc(&leftovers()).unwrap());
    assert_empty(&host);
}

// Red when `Sweep::remove_stray_view` checks leases only for blobs that no entry needs: it then removes the leased view
// because another entry has the same blob.
#[test]
fn a_leased_view_stays_when_another_entry_has_the_same_bytes() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes"), ("b", b"bytes")]);
    let lease = catalog.lease("a").unwrap();
    catalog.remove("a").unwrap().unwrap();
    let policy = leftovers();
    assert_eq!(catalog.plan_gc(&policy).unwrap().steps, []);
    drop(catalog.gc(&policy).unwrap());
    assert_shows(&lease, b"bytes");

    // Removing the id again, now with other content, removes all its views except this one.
    stage(&catalog, &host.file("a.gguf", b"other"), "a").unwrap();
    assert_eq!(catalog.remove("a").unwrap().unwrap().blobs_removed, 1);
    assert_shows(&lease, b"bytes");

    drop(lease);
    assert_eq!(catalog.gc(&policy).unwrap().leftovers, 1);
    assert_readable(&catalog, "b", b"bytes");
    assert_eq!(fs::read_dir(host.root().join("views")).unwrap().count(), 1);
}

#[test]
fn a_map_has_the_bytes_of_the_blob() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("empty", b""), ("a", b"bytes")]);
    for (id, content) in [("empty", &b""[..]), ("a", b"bytes")] {
        let lease = catalog.lease(id).unwrap();
        assert_eq!(&*lease.map().unwrap(), content);
        // The map survives whatever happens to the view.
        fs::remove_file(lease.local_path()).unwrap();
        assert_eq!(&*lease.map().unwrap(), content);
        drop(lease);
        assert!(catalog.lease(id).unwrap_err().is_not_found(), "its view is gone");
    }
}

#[test]
fn a_lease_works_on_a_read_only_root() {
    let Some(mounted) = mount::tmpfs("size=16m") else { return };
    let host = Host::new();
    let root = mounted.path().join("root");
    stage(&FsCatalog::new(&root).unwrap(), &host.file("a.gguf", b"bytes"), "a").unwrap();
    mounted.remount("ro");
    {
        let catalog = FsCatalog::new(&root).unwrap();
        let lease = catalog.lease("a").unwrap();
        assert_shows(&lease, b"bytes");
        assert_eq!(&*lease.map().unwrap(), b"bytes");
        let plan = catalog.plan_gc(&everything()).unwrap();
        assert_eq!(plan.kept[0].reason, GcReason::Leased, "others see it");
        assert_eq!(catalog.record("a").unwrap().unwrap().last_used_ms, None);
    }
    mounted.remount("rw");
}

#[test]
fn a_lease_notes_the_use() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    assert_eq!(catalog.record("a").unwrap().unwrap().last_used_ms, None);
    drop(catalog.lease("a").unwrap());
    let first = catalog.record("a").unwrap().unwrap();
    assert!(first.last_used_ms.is_some());
    drop(catalog.lease("a").unwrap());
    assert_eq!(catalog.record("a").unwrap().unwrap(), first, "at most once an hour");
}

// Red when `lease::take` ignores the kind: it then leases a blob with the digest that the user gave, and not the file
// at the path.
#[test]
fn what_is_only_registered_cannot_be_leased() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let at = host.root().join("models/later.gguf");
    for digest in [None, Some(Digest::sha256_of(b"bytes"))] {
        let mut later = entry("later", &at);
        later.digest = digest;
        catalog.put(&later).unwrap();
        assert!(catalog.lease("later").unwrap_err().is_not_found());
        // The same if there is a file by now: the catalog knows nothing about it.
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, "other").unwrap();
        assert!(catalog.lease("later").unwrap_err().is_not_found());
        fs::remove_file(&at).unwrap();
    }
    assert!(catalog.lease("absent").unwrap_err().is_not_found());
}

// Red when two protections are taken out together: `Lock` unlocks when it is dropped, and descriptors are closed on
// exec.
#[test]
fn a_lease_that_was_dropped_is_not_held_by_a_child_process() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let lease = catalog.lease("a").unwrap();
    let child = Running(Command::new("sleep").arg("60").spawn().unwrap());
    drop(lease);
    assert_eq!(catalog.remove("a").unwrap().unwrap().blobs_removed, 1);
    assert_empty(&host);
    drop(child);
}

// Red when `Handle::open_file` opens without CLOEXEC: the dead process cannot unlock, and the child keeps the lock.
#[test]
fn a_lease_of_a_killed_process_is_not_held_by_its_child() {
    const ME: &str = "a_lease_of_a_killed_process_is_not_held_by_its_child";
    if is_child(ME) {
        let catalog = FsCatalog::open(std::env::var_os("LEASE_TEST_ROOT").unwrap()).unwrap();
        let _lease = catalog.lease("a").unwrap();
        let mut sleep = Command::new("sleep");
        #[allow(clippy::zombie_processes)] // the child is meant to outlive this process
        let sleep = sleep.arg("60").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        println!("\nchild {}", sleep.id());
        thread::sleep(Duration::from_secs(60));
        return;
    }
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let mut command = child_test(&[], ME);
    let mut holder = Running(
        command.env("LEASE_TEST_ROOT", host.root()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap(),
    );
    let lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    let sleeping = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("child ")?.to_owned())).unwrap();
    assert_eq!(catalog.gc(&everything()).unwrap().entries, 0, "it is leased");
    drop(holder); // by SIGKILL
    let sleeps = Path::new("/proc").join(&sleeping).exists();
    let removed = catalog.remove("a").unwrap().unwrap();
    Command::new("kill").arg(&sleeping).status().unwrap();
    assert!(sleeps, "the child has outlived its parent");
    assert_eq!(removed.blobs_removed, 1);
}

// Red when `lease::take` does not compare inodes: the lease is then on a file that no longer has a name.
#[test]
fn a_lease_is_on_the_blob_that_is_there_when_it_is_given() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let name = blob_of(&host, b"bytes");
    let old = File::open(&name).unwrap();
    old.lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| catalog.lease("a").unwrap());
        wait_until("the lease has the old blob open", || times_open(&name) == 2);
        // As if another process had removed the blob and stored it again under the same digest.
        let new = host.file("new", b"bytes");
        fs::rename(new, &name).unwrap();
        old.unlock().unwrap();
        let lease = waiter.join().unwrap();
        assert!(File::open(&name).unwrap().try_lock().is_err(), "the blob that is there is not leased");
        drop(lease);
        File::open(&name).unwrap().try_lock().unwrap();
    });
}

// Red when `lease::lease` does not read the record again once it has the lock. A sweep that checked for leases before
// that, and found no record, then removes the view and the files of a tree.
#[test]
fn a_lease_is_not_given_on_what_was_removed_while_it_was_waited_for() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    let name = blob_of(&host, b"bytes");
    let sweep = File::open(&name).unwrap();
    sweep.lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| catalog.lease("a"));
        wait_until("the lease has read the record and opened the blob", || times_open(&name) == 2);
        assert_eq!(catalog.remove("a").unwrap().unwrap().kept.len(), 1);
        sweep.unlock().unwrap();
        let error = waiter.join().unwrap().unwrap_err();
        assert!(error.is_not_found(), "{error}");
    });
    drop(catalog.gc(&leftovers()).unwrap());
    assert_empty(&host);
}

/// Leaves a blob that no entry needs: its only entry is removed while it is leased.
fn leave_stray_blob(catalog: &FsCatalog, id: &str) {
    let lease = catalog.lease(id).unwrap();
    catalog.remove(id).unwrap().unwrap();
    drop(lease);
}

// Red when `Shared::lock` does not lock the store: gc then removes the blob that the commit found, and the commit
// records it.
#[test]
fn nothing_is_collected_between_a_blob_that_is_found_and_its_record() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    leave_stray_blob(&catalog, "a");
    let shard = host.root().join("locks").join(shard_path(Path::new(""), "b").with_extension(""));
    let shard = File::options().create(true).truncate(false).write(true).open(shard).unwrap();
    shard.lock().unwrap();
    let source = host.file("b.gguf", b"bytes");
    let collected = thread::scope(|scope| {
        let stager = scope.spawn(|| stage(&catalog, &source, "b"));
        let views = host.root().join("views");
        wait_until("the commit has made its view", || files_below(&views).iter().any(|view| view.ends_with("b.gguf")));
        let impatient = catalog.clone().with_lock_wait(Wait::UpTo(Duration::from_millis(100)));
        let collected = impatient.gc(&leftovers());
        shard.unlock().unwrap();
        assert!(stager.join().unwrap().unwrap().deduplicated);
        collected
    });
    assert!(blob_of(&host, b"bytes").exists(), "an entry was recorded without its blob");
    assert_readable(&catalog, "b", b"bytes");
    assert!(collected.unwrap_err().is_busy());
    assert!(catalog.gc(&leftovers()).unwrap().blobs == 0);
    assert_readable(&catalog, "b", b"bytes");
}

// Red when `Sweep::begin` uses roots from before it had the lock.
#[test]
fn what_was_staged_after_the_plan_stays() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    leave_stray_blob(&catalog, "a");
    let plan = catalog.plan_gc(&leftovers()).unwrap();
    assert_eq!(plan.steps.len(), 2, "a view and a blob: {plan:?}");
    stage(&catalog, &host.file("a.gguf", b"bytes"), "a").unwrap();
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.blobs, report.leftovers, report.skipped), (0, 0, 2));
    assert_readable(&catalog, "a", b"bytes");
    assert!(blob_of(&host, b"bytes").exists());
}

// Red when `gather::stray_views` only looks for folders inside an id's folder: an empty folder, whose owner died before
// making the first view or after removing the last, would stay for ever.
#[test]
fn an_ids_folder_without_a_view_is_collected() {
    let host = Host::new();
    let catalog = catalog_with(&host, &[("a", b"bytes")]);
    fs::create_dir(host.root().join("views/left-0123456789abcdef")).unwrap();
    assert_eq!(catalog.gc(&leftovers()).unwrap().leftovers, 1);
    assert_eq!(fs::read_dir(host.root().join("views")).unwrap().count(), 1);
    // But not a folder that contains a view by now.
    let home = fs::read_dir(host.root().join("views")).unwrap().next().unwrap().unwrap().path();
    catalog.remove("a").unwrap().unwrap();
    fs::create_dir(&home).unwrap();
    let plan = catalog.plan_gc(&leftovers()).unwrap();
    stage(&catalog, &host.path("a.gguf"), "a").unwrap();
    let _lease = catalog.lease("a").unwrap();
    catalog.remove("a").unwrap().unwrap();
    assert_eq!(catalog.execute_gc(&plan).unwrap().leftovers, 0);
    assert_eq!(files_below(&home).len(), 1);
    assert!(host.root().join("views").is_dir());
}

/// An engine's maps of a model: each map holds the lease, so one struct can keep them all.
struct Engine {
    weights: OwnedMap,
    config: OwnedMap,
}

// Red when an owned map does not hold its lease: the collection then removes what is mapped.
#[test]
fn a_map_that_owns_its_lease_keeps_the_model() {
    let host = Host::new();
    let catalog = host.catalog();
    host.file("tree/config.json", b"{}");
    host.file("tree/part/weights.bin", b"weights");
    stage(&catalog, &host.path("tree"), "tree").unwrap();
    stage(&catalog, &host.file("m.gguf", b"model"), "m").unwrap();
    let model = catalog.lease("m").unwrap().into_map().unwrap();
    let lease = catalog.lease("tree").unwrap();
    assert_eq!(&*lease.map_file("config.json").unwrap(), b"{}");
    let weights = lease.clone().into_map_file("part/weights.bin").unwrap();
    let engine = Engine { weights, config: lease.into_map_file("config.json").unwrap() };

    let engine = thread::spawn(move || engine).join().unwrap();
    assert_eq!(catalog.gc(&everything()).unwrap().entries, 0);
    assert_eq!(
        (engine.weights.as_ref(), &*engine.config, model.as_ref()),
        (&b"weights"[..], &b"{}"[..], &b"model"[..])
    );
    assert_eq!(engine.weights.lease().entry().id, "tree");
    drop(engine.weights);
    assert_eq!(catalog.gc(&everything()).unwrap().entries, 0, "the other map still holds the lease");
    drop((engine.config, model));
    assert_eq!(catalog.gc(&everything()).unwrap().entries, 2);
}

#[test]
fn leases_and_maps_cross_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Lease>();
    shared::<OwnedMap>();
    shared::<ModelMap<'_>>();
}

/// While another lock is held exclusively, no lease is given, and no partial is resumed.
// Red when `unnamed_views` checks whether a view is leased, or when `du` claims partials to see what they hold.
#[test]
fn du_takes_no_lock_but_the_one_that_tries_locks() {
    if !has_tool("strace") {
        return skip("this needs strace");
    }
    let host = Host::new();
    catalog_with(&host, &[("m", b"model")]);
    let name = Digest::sha256_of(b"model").to_hex();
    host.file(&format!("root/views/unnamed-0123456789abcdef/{}/m.gguf", &name[..40]), "another view of it");
    host.file(&format!("root/partials/{}/data", &name[..32]), "interrupted");
    let (traced, locked) = (host.command(), host.path("locked"));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-e", "trace=flock", "-o"]).arg(&locked).arg(traced.get_program()).arg("du");
    command.arg("--json").env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
    let summary = String::from_utf8(run(command).stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
    assert!(summary["partial_bytes"].as_u64().unwrap() > 0, "{summary}");
    let locked = fs::read_to_string(locked).unwrap();
    let exclusive: Vec<&str> = locked.lines().filter(|call| call.contains("LOCK_EX")).collect();
    assert!(exclusive.iter().all(|call| call.contains("locks/probe")) && !exclusive.is_empty(), "{locked}");
}
