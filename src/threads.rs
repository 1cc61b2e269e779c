//! Threads, which the system may refuse to start: because of a user's process limit (`ulimit -u`) or a container's. The
//! work then runs on the calling thread.

use std::cell::Cell;
use std::error::Error as _;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

/// How long to wait for an answer from threads that another part of the program started.
const PATIENCE: Duration = Duration::from_secs(2);

/// The number of threads that can run at the same time. The system is asked once: that takes as long as creating a file.
pub(crate) fn cores() -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    *CORES
}

/// From this many pieces of work on, sharing them saves more than it costs, if each is a few system calls.
pub(crate) const SHARE_FROM: usize = 16;

/// Does the work for each item, on all cores if there are many. Returns the results in the same order. For a few items it
/// starts no thread: starting rayon's takes longer than looking at a file.
pub(crate) fn map_all<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    if items.len() < SHARE_FROM {
        return items.into_iter().map(work).collect();
    }
    ready_for_rayon();
    items.into_par_iter().map(work).collect()
}

/// Starts a thread. Unlike [`Scope::spawn`], it returns an error if the system refuses; `work` is then dropped.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).inspect_err(|error| tracing::debug!(%error, "could not start a thread"))
}

/// Must be called on a thread before it uses rayon: rayon starts its threads at the first use and, if it cannot, panics
/// then and at every later use.
///
/// If there are no rayon threads, the calling thread becomes a pool of just itself. There is no single fallback pool
/// for all threads: work that another thread gives to it would wait until this thread calls rayon again.
pub(crate) fn ready_for_rayon() {
    thread_local! {
        static IS_ALONE: Cell<bool> = const { Cell::new(false) };
    }
    if IS_ALONE.get() || rayon::current_thread_index().is_some() || has_pool() {
        return;
    }
    match ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        // Dropping the handle would end the pool; this thread may need it as long as it lives.
        Ok(pool) => std::mem::forget(pool),
        Err(error) => tracing::warn!(%error, "could not make rayon use only this thread"),
    }
    IS_ALONE.set(true);
}

/// Whether this process has rayon's threads. It starts them if they were not started yet.
fn has_pool() -> bool {
    static START: LazyLock<Start> = LazyLock::new(|| match ThreadPoolBuilder::new().build_global() {
        Ok(()) => Start::By(std::process::id()),
        // Only one of the two possible errors, "no thread", has a source; the other says that the pool exists already, in
        // this process or inherited from a parent.
        Err(error) if error.source().is_some() => Start::Failed,
        Err(_) => Start::BySomebody,
    });
    /// The ID of the process in which they have answered, or 0.
    static ANSWERED_IN: AtomicU32 = AtomicU32::new(0);

    let this = std::process::id();
    let known = match *START {
        Start::Failed => return false, // rayon tries only once
        Start::By(process) => process,
        Start::BySomebody => ANSWERED_IN.load(Ordering::Relaxed),
    };
    // A child forked from the process that started them has none, and would wait for ever.
    if known != 0 {
        return known == this;
    }
    // Do not remember that they did not answer: they may only be busy.
    let is_there = answers();
    if is_there {
        ANSWERED_IN.store(this, Ordering::Relaxed);
    }
    is_there
}

/// How rayon's threads were started.
enum Start {
    /// By the process with this ID.
    By(u32),
    /// By another part of the program, or by a parent process.
    BySomebody,
    /// Not at all: the system refused a thread.
    Failed,
}

/// Whether rayon's threads exist. If they are very busy they may seem not to, and the caller then works without them.
fn answers() -> bool {
    let (sender, receiver) = mpsc::channel();
    rayon::spawn(move || {
        let _ = sender.send(()); // the receiver may have given up
    });
    receiver.recv_timeout(PATIENCE).is_ok()
}
