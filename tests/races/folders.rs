//! Somebody swaps a folder of the store for a symlink to a folder elsewhere, and back, again and again while the store
//! is in use (row 23 of docs/testing.md).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catalog_core::{CatalogStore, Digest, Durability, FsCatalog, GcPolicy};
use rstest::rstest;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::common::*;
use crate::{against, say};

const ROUNDS: usize = 12;

/// The folder with the views of an id, relative to the root.
fn home(catalog: &FsCatalog, id: &str) -> PathBuf {
    let view = catalog.record(id).unwrap().unwrap().entry.local_path;
    let home = view.parent().unwrap().parent().unwrap();
    home.strip_prefix(catalog.root()).unwrap().to_path_buf()
}

fn fill(catalog: &FsCatalog, host: &Host) {
    for id in ["kept", "again"] {
        stage(catalog, &host.file(id, id), id).unwrap();
    }
    // One content in the trash, and one in `blobs/` without an entry.
    stage(catalog, &host.file("old", b"old"), "changing").unwrap();
    stage(catalog, &host.file("new", b"new"), "changing").unwrap();
    drop(catalog.gc(&GcPolicy::default()).unwrap());
    stage(catalog, &host.file("newer", b"newer"), "changing").unwrap();
}

/// Elsewhere is a store with the same content, so that every name that is looked up there exists.
// Red when names are looked up below the root without RESOLVE_NO_SYMLINKS and RESOLVE_BENEATH (`fs::sys::linux`): files
// elsewhere are then written and removed.
#[rstest]
#[case("index")]
#[case("blobs")]
#[case("blobs/sha256")]
#[case("BLOBS OF AGAIN")]
#[case("outboards")]
#[case("outboards/sha256")]
#[case("views")]
#[case("VIEWS OF AGAIN")]
#[case("ingest")]
#[case("trash")]
#[case("locks")]
#[case("locks/index")]
fn nothing_elsewhere_is_touched_when_a_folder_is_swapped_for_a_symlink(#[case] folder: &str) {
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let elsewhere = FsCatalog::new(host.path("elsewhere")).unwrap();
    fill(&catalog, &host);
    fill(&elsewhere, &host);
    let folder = match folder {
        "BLOBS OF AGAIN" => Path::new("blobs/sha256").join(&Digest::sha256_of(b"again").to_hex()[..2]),
        "VIEWS OF AGAIN" => home(&catalog, "again"),
        folder => PathBuf::from(folder),
    };
    let (real, swapped) = (host.root().join(&folder), host.path("swapped"));
    symlink(host.path("elsewhere").join(&folder), &swapped).unwrap();
    let before = listing(&host.path("elsewhere"));

    let exchange = || {
        // A folder that was just removed because it was empty cannot be exchanged.
        let _ = renameat_with(CWD, &real, CWD, &swapped, RenameFlags::EXCHANGE);
    };
    let race = |step: u64| {
        exchange();
        std::thread::sleep(Duration::from_micros(step * 37 % 500));
    };
    let now = GcPolicy::default().with_grace(Duration::ZERO);
    let ((done, failed, is_there), swaps) = against(race, || {
        // `true`: certainly staged; `false`: certainly removed; `None`: an operation failed, perhaps half done.
        let mut is_there = Some(true);
        let (mut done, mut failed) = (0, 0);
        for round in 0..ROUNDS {
            // A handle that has never seen the root, and one that has.
            let handle = FsCatalog::open(host.root()).unwrap_or_else(|_| catalog.clone());
            let handle = if round % 2 == 0 { catalog.clone() } else { handle.with_durability(Durability::Relaxed) };
            let source = host.path(if round % 3 == 0 { "again" } else { "old" });
            let results = [
                handle.delete("again").map(|_| Some(false)),
                handle.gc(&now).map(|_| None),
                stage(&handle, &source, "again").map(|_| Some(true)),
                handle.gc(&now).map(|_| None),
                handle.set_state("kept", catalog_core::LifecycleState::Active).map(|()| None),
            ];
            for (number, result) in results.into_iter().enumerate() {
                match result {
                    Ok(now) => {
                        done += 1;
                        is_there = now.or(is_there);
                    }
                    Err(_) => {
                        failed += 1;
                        is_there = if number == 0 || number == 2 { None } else { is_there };
                    }
                }
            }
        }
        (done, failed, is_there)
    });
    if fs::symlink_metadata(&real).is_ok_and(|meta| meta.is_symlink()) {
        exchange();
    }
    let after = listing(&host.path("elsewhere"));
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, what)| after.get(*path) != Some(what))
        .map(|(path, _)| path)
        .chain(after.keys().filter(|path| !before.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "{}: touched elsewhere: {changed:?}", folder.display());
    say(&format!("{} swapped {swaps} times: {done} operations done, {failed} refused", folder.display()));
    assert!(swaps > 10 && done + failed > 0);

    // Everything acknowledged is there, and everything works again.
    let catalog = host.catalog();
    assert_readable(&catalog, "kept", b"kept");
    assert_readable(&catalog, "changing", b"newer");
    if let Some(is_there) = is_there {
        assert_eq!(catalog.exists("again").unwrap(), is_there);
    }
    if let Some(record) = catalog.record("again").unwrap() {
        // A symlink in `views/` is moved out of the way; after that two folders are swapped, and the view may be in the
        // other.
        if check_artifact(&host.root(), &record).is_err() && swapped.is_dir() && !swapped.is_symlink() {
            // A collection removes the folder here if it is empty; then there is nothing to exchange.
            if real.exists() { exchange() } else { fs::rename(&swapped, &real).unwrap() }
        }
        check_artifact(&host.root(), &record).unwrap();
    }
    let _ = fs::remove_file(&swapped);
    stage(&catalog, &host.path("again"), "again").unwrap();
    assert_readable(&catalog, "again", b"again");
    drop(catalog.gc(&now).unwrap());
    assert_sound(&host.root());
}
