//! A program that uses rayon itself; rayon's threads may be busy when the program first uses a catalog.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Barrier};
use std::thread;

use catalog_core::{CatalogStore as _, ModelRef, StageOptions, VerificationOutcome, VerifyOptions};
use common::*;

/// Uses a catalog on a thread. Returns whether it did so without rayon's threads: the thread is then a pool of its own.
fn does_without() -> bool {
    let user = thread::spawn(|| {
        let host = Host::new();
        host.catalog().list().unwrap();
        rayon::current_thread_index().is_some()
    });
    user.join().unwrap()
}

/// Runs a test in a process that runs no other test.
fn alone(test: &str, work: impl FnOnce()) {
    match is_child(test) {
        true => work(),
        false => drop(run(child_test(&[], test))),
    }
}

// Red when the process remembers for ever that the threads once did not answer.
#[test]
fn threads_that_were_busy_once_are_used_later() {
    alone("threads_that_were_busy_once_are_used_later", || {
        let threads = rayon::current_num_threads();
        let (begun, ended) = (Arc::new(Barrier::new(threads + 1)), Arc::new(Barrier::new(threads + 1)));
        for _ in 0..threads {
            let (begun, ended) = (begun.clone(), ended.clone());
            rayon::spawn(move || {
                begun.wait();
                ended.wait();
            });
        }
        begun.wait();
        assert!(does_without(), "they are busy");
        ended.wait();
        assert!(!does_without());
    });
}

// Red when a thread of rayon waits for rayon to answer: all of them wait for an answer that one of them would have to
// give.
#[test]
fn a_catalog_is_first_used_on_all_threads_of_rayon() {
    alone("a_catalog_is_first_used_on_all_threads_of_rayon", || {
        let all = Barrier::new(rayon::current_num_threads());
        let host = Host::new();
        let catalog = host.catalog();
        rayon::broadcast(|_| {
            all.wait();
            catalog.list().unwrap();
        });
        assert!(!does_without());
    });
}

// Red when staging one small file, a look at it, or its check starts rayon's threads: that takes longer than the work itself.
#[test]
fn one_small_model_needs_no_threads() {
    alone("one_small_model_needs_no_threads", || {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let host = Host::new();
        let catalog = host.catalog();
        let file = host.file("m.gguf", "small");
        let options = StageOptions::default().with_id(Some("m".into()));
        catalog.stage(&ModelRef::File { path: file }, &options).unwrap();
        catalog.resolve("m").unwrap();
        let report = catalog.verify("m", &VerifyOptions::default()).unwrap();
        assert!(matches!(report.outcome, VerificationOutcome::Pass { .. }), "{report:?}");
        assert_eq!(threads(), before);
        catalog.list().unwrap();
        assert!(threads() > before, "it counts them");
    });
}
