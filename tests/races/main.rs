//! Real races with a bounded number of rounds: somebody changes what the store works with while it works.
//!
//! Each test prints how many rounds it ran and how many of them the racer hit, and fails if it hit none.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod folders;
mod formats;
mod lock_files;
mod naming;
mod source;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// For people, also when the test passes.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Runs `race` again and again while `work` runs. Returns the result of `work`, and how many times `race` ran.
fn against<T>(mut race: impl FnMut(u64) + Send, work: impl FnOnce() -> T) -> (T, u64) {
    /// Set when the work ends, even by a panic: otherwise the racer would never be joined.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let racer = scope.spawn(|| {
            let mut times = 0;
            while !stop.load(Ordering::Relaxed) {
                race(times);
                times += 1;
            }
            times
        });
        let done = {
            let _stop = Stop(&stop);
            work()
        };
        (done, racer.join().unwrap())
    })
}
