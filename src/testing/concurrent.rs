//! Promises that only several threads at once can break.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::probe::{Probe, entry, same};
use crate::CatalogStore;
use crate::entry::{CatalogEntry, LifecycleState};

const THREADS: u64 = 8;
const ROUNDS: u64 = 8;

/// Runs `work` with the numbers 0 to 7 at once. When it panics, so does this, with the message of the first panic.
fn at_once<T: Send>(work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    // Without it, a thread with little to do is done before the next one starts.
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

/// Threads that work on ids of their own do not lose, mix or bring back each other's entries.
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

/// Threads that read an id which others put and delete see all of an entry or nothing, never the fields of two.
pub(super) fn entries_are_whole<S: CatalogStore>(store: &S) {
    let store = Probe(store);
    // Each has a `local_path` of its own, so that a mix of two is none of them.
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

/// Counts down when it is dropped, also by a panic: otherwise the readers would wait for a writer that is gone.
struct CountDown<'a>(&'a AtomicU64);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// If many delete one entry, one of them is told that there was something to delete.
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
