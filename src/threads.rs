//! Threads, where the system may refuse them: a user's limit of processes (`ulimit -u`), a container's. The work is then
//! done on the thread that asks for it.

use std::cell::Cell;
use std::error::Error as _;
use std::io;
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
    /// The process that has rayon's threads: a child that was forked from it has none of them, and would wait for ever.
    static POOL_OF: LazyLock<Option<u32>> = LazyLock::new(|| {
        let has_pool = match ThreadPoolBuilder::new().build_global() {
            Ok(()) => true,
            // One of the two ways to fail has a cause; the other is that it has been started already, if not by a parent.
            Err(error) => error.source().is_none() && answers(),
        };
        has_pool.then(std::process::id)
    });
    thread_local! {
        static IS_ALONE: Cell<bool> = const { Cell::new(false) };
    }
    if *POOL_OF == Some(std::process::id()) || IS_ALONE.get() || rayon::current_thread_index().is_some() {
        return;
    }
    match ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        // It would end with its handle; this thread may need it as long as it lives.
        Ok(pool) => std::mem::forget(pool),
        Err(error) => tracing::warn!(%error, "rayon cannot be made to do with one thread"),
    }
    IS_ALONE.set(true);
}

/// Whether rayon's threads are there. When they are very busy they may seem not to be, and this process does without them.
fn answers() -> bool {
    let (sender, receiver) = mpsc::channel();
    rayon::spawn(move || {
        let _ = sender.send(()); // nobody may wait any more
    });
    receiver.recv_timeout(PATIENCE).is_ok()
}
