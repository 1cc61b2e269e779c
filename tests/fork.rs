//! Processes that fork without calling `exec`.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing, unsafe_code)]

mod common;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use catalog_core::{CatalogStore, FsCatalog, VerifyOptions};
use common::*;
use rayon::prelude::*;

/// Does the work in a forked child, and waits until it ends.
fn in_child(work: impl FnOnce()) {
    // SAFETY: only a copy of this thread runs in the child, and no other thread of this process uses what the work
    // needs: this is the only test in its process.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let is_done = catch_unwind(AssertUnwindSafe(work)).is_ok();
        // SAFETY: the child ends here; neither the harness nor any destructor of the parent runs.
        unsafe { libc::_exit(i32::from(!is_done)) }
    }
    let (began, mut status) = (Instant::now(), 0);
    // SAFETY: `status` outlives the call.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == 0 {
        if began.elapsed() > Duration::from_secs(60) {
            // SAFETY: `pid` is a child of this process that nobody has waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(status, 0, "the child failed");
}

/// Runs a test in a process that runs no other test.
fn alone(test: &str, work: impl FnOnce()) {
    match is_child(test) {
        true => work(),
        false => drop(run(child_test(&[], test))),
    }
}

fn files(host: &Host) -> Vec<std::path::PathBuf> {
    (0..20).map(|n| host.file(&format!("{n}.gguf"), vec![n; (1 << 20) + 1])).collect()
}

/// Every operation that uses several threads.
fn use_it(host: &Host, catalog: &FsCatalog, name: &str) {
    let items: Vec<_> = files(host).iter().map(|file| (reference(file), options_for(name, file))).collect();
    for staged in catalog.stage_many(&items) {
        staged.unwrap();
    }
    let ids: Vec<String> = catalog.list().unwrap().into_iter().map(|entry| entry.id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    catalog.verify_many(&ids, &VerifyOptions::default(), &mut |report| drop(report.unwrap()));
    for id in ids {
        catalog.resolve(id).unwrap();
    }
    catalog_core::Doctor::open(catalog.root()).unwrap().examine().unwrap();
}

fn options_for(name: &str, file: &std::path::Path) -> catalog_core::StageOptions {
    options(&format!("{name} {}", file.display()))
}

// Red when dropping a copy of a `Lock` unlocks it: the child ends its parent's lease.
#[test]
fn a_forked_child_does_not_end_a_lease() {
    alone("a_forked_child_does_not_end_a_lease", || {
        let host = Host::new();
        let catalog = host.catalog();
        let staged = stage(&catalog, &host.file("a.gguf", b"a"), "a").unwrap();
        let lease = catalog.lease("a").unwrap();
        let blob = File::open(blob_path(&host.root(), &staged.digest)).unwrap();
        let is_leased = || blob.try_lock().is_err() || blob.unlock().is_err();
        in_child(|| drop(lease.clone().into_map().unwrap()));
        assert!(is_leased());
        let mut held = Some(lease);
        in_child(|| drop(held.take()));
        assert!(is_leased(), "the child has ended it");
        in_child(|| {
            drop(catalog.lease("a").unwrap()); // one of the child's own
            assert!(catalog.remove("a").is_ok());
        });
        assert!(blob_path(&host.root(), &staged.digest).exists(), "it is leased");
        drop(held);
        assert!(!is_leased());
    });
}

// Red when a child relies on its parent's threads: it waits for them for ever.
#[test]
fn a_forked_child_uses_a_catalog() {
    alone("a_forked_child_uses_a_catalog", || {
        let host = Host::new();
        let catalog = host.catalog();
        use_it(&host, &catalog, "parent");
        in_child(|| use_it(&host, &catalog, "child"));
        in_child(|| {
            use_it(&host, &FsCatalog::open(host.root()).unwrap(), "second child");
            in_child(|| use_it(&host, &host.catalog(), "grandchild"));
        });
        use_it(&host, &catalog, "parent again");
    });
}

// Red when rayon's threads are assumed to exist because the program itself started them once.
#[test]
fn a_forked_child_of_a_program_that_uses_rayon_itself() {
    alone("a_forked_child_of_a_program_that_uses_rayon_itself", || {
        let host = Host::new();
        assert_eq!((0..1000_u32).into_par_iter().sum::<u32>(), 499_500);
        in_child(|| use_it(&host, &host.catalog(), "child"));
        use_it(&host, &host.catalog(), "parent");
    });
}
