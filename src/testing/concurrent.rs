//! Promises that only concurrent threads can break.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::probe::{Probe, entry, same};
use crate::CatalogStore;
use crate::entry::{CatalogEntry, LifecycleState};

const THREADS: u64 = 8;
const ROUNDS: u64 = 8;

/// Runs `work` concurrently with the numbers 0 to 7. If it panics, panics with the message of the first panic.
fn at_once<T: Send>(work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    // Without the barrier, a thread with little work would finish before the next one starts.
    let start = Barrier::new(THREADS as usize);
    let start_and_work = &|thread| {
        start.wait();
        work(thread)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || start_and_work(thread))).collect();
        let joined: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        joined.into_iter().map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Threads that work on separate ids do not lose, mix or resurrect each other's entries.
pub(super) fn each_thread_finds_its_own<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    let kept = at_once(|thread| {
        let mut kept = Vec::new();
        for round in 0..ROUNDS {
            let n = thread * ROUNDS + round;
            let mut model = entry(&format!("thread-{thread}-{round}"), n);
            store.put(&model);
            store.holds(&model);
            store.set_state(&model.id, LifecycleState::Retired);
            model.lifecycle = LifecycleState::Retired;
            store.holds(&model);
            if round.is_multiple_of(2) {
                assert!(store.delete(&model.id), "delete of {:?} must answer true beside other threads", model.id);
                store.lacks(&model.id);
            } else {
                kept.push(model);
            }
            let listed = store.list();
            assert!(
                listed.is_sorted_by(|a, b| a.id < b.id),
                "list is unsorted, or has an id twice, beside other threads"
            );
            for own in &kept {
                assert!(listed.iter().any(|found| same(found, own)), "list misses {:?} beside other threads", own.id);
            }
        }
        kept
    });
    store.lists(kept.iter().flatten());
}

/// Threads that read an id while others put and delete it see a whole entry or nothing, never a mix of two.
pub(super) fn entries_are_whole<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    // Each candidate has a different `local_path`, so that a mix of two equals none of them.
    let candidates: Vec<CatalogEntry> = (1..=THREADS).map(|n| entry("shared", n)).collect();
    let writers = AtomicU64::new(THREADS / 2);
    at_once(|thread| {
        if thread < THREADS / 2 {
            let _done = CountDown(&writers);
            for (round, new) in (1..=ROUNDS).zip(candidates.iter().cycle().skip(thread as usize)) {
                store.put(new);
                if round.is_multiple_of(3) {
                    store.delete("shared");
                }
            }
        } else {
            while writers.load(Ordering::Acquire) > 0 {
                let listed = store.list();
                assert!(listed.len() <= 1, "list has one id {} times: {listed:?}", listed.len());
                for found in listed.into_iter().chain(store.get("shared")) {
                    let is_whole = candidates.iter().any(|put| same(&found, put));
                    assert!(is_whole, "the store gives {found:?}, which nobody put");
                }
            }
        }
    });
    let last = entry("shared", 2);
    store.put(&last);
    store.holds(&last);
    store.lists([&last]);
}

/// Counts down when it is dropped, even by a panic: otherwise the readers would wait for a dead writer.
struct CountDown<'a>(&'a AtomicU64);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// If many threads delete one entry, exactly one of them learns that there was something to delete.
pub(super) fn one_delete_wins<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    for round in 0..ROUNDS {
        let model = entry("model", round);
        store.put(&model);
        let deleted = at_once(|_| store.delete("model")).into_iter().filter(|deleted| *deleted).count();
        assert!(deleted == 1, "of {THREADS} deletes of one entry {deleted} answer true, but one must");
        store.lists([]);
    }
}
