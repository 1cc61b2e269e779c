//! Threads, where the system may refuse them: a user's limit of processes (`ulimit -u`), a container's. The work is then
//! done on the thread that asks for it.

use std::cell::Cell;
use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use rayon::ThreadPoolBuilder;

/// How long threads that somebody else has started may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts a thread. Unlike [`Scope::spawn`], it does not panic when there can be none; `work` is then gone.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).inspect_err(|error| tracing::debug!(%error, "no thread can be started"))
}

/// Has to come before whatever uses rayon on a thread: rayon starts its threads when it is first used, and panics, then and
/// ever after, when it could not.
///
/// A thread that comes here when there are none becomes a pool of its own, of itself alone. Not one for all: what another
/// thread gives to that would wait for this one to come back to rayon.
pub(crate) fn ready_for_rayon() {
    thread_local! {
        static IS_ALONE: Cell<bool> = const { Cell::new(false) };
    }
    if IS_ALONE.get() || rayon::current_thread_index().is_some() || has_pool() {
        return;
    }
    match ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        // It would end with its handle; this thread may need it as long as it lives.
        Ok(pool) => std::mem::forget(pool),
        Err(error) => tracing::warn!(%error, "rayon cannot be made to do with one thread"),
    }
    IS_ALONE.set(true);
}

/// Whether this process has rayon's threads, which are started when there are none.
fn has_pool() -> bool {
    static START: LazyLock<Start> = LazyLock::new(|| match ThreadPoolBuilder::new().build_global() {
        Ok(()) => Start::By(std::process::id()),
        // One of the two ways to fail has a cause; the other is that it has been started already, if not by a parent.
        Err(error) if error.source().is_some() => Start::Failed,
        Err(_) => Start::BySomebody,
    });
    /// The process in which they have answered, or 0.
    static ANSWERED_IN: AtomicU32 = AtomicU32::new(0);

    let this = std::process::id();
    let known = match *START {
        Start::Failed => return false, // rayon tries once
        Start::By(process) => process,
        Start::BySomebody => ANSWERED_IN.load(Ordering::Relaxed),
    };
    // A child that was forked from the process that has them has none, and would wait for ever.
    if known != 0 {
        return known == this;
    }
    // That they do not answer is not kept: they may be busy just now.
    let is_there = answers();
    if is_there {
        ANSWERED_IN.store(this, Ordering::Relaxed);
    }
    is_there
}

/// How rayon's threads were started.
enum Start {
    /// By this process.
    By(u32),
    /// By the rest of the program, or by a parent.
    BySomebody,
    /// There was no room for a thread.
    Failed,
}

/// Whether rayon's threads are there. When they are very busy they may seem not to be, and the thread that asks does without
/// them.
fn answers() -> bool {
    let (sender, receiver) = mpsc::channel();
    rayon::spawn(move || {
        let _ = sender.send(()); // nobody may wait any more
    });
    receiver.recv_timeout(PATIENCE).is_ok()
}
