//! Single flight: one worker per reference. Waiting processes can see its progress.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::Result;
use crate::excerpt;
use crate::fs::lock::{Hold, Lock, Wait, busy, poll};
use crate::layout;
use crate::observer::{Event, Observer};
use crate::store::Store;

/// How often a worker writes its progress, and a waiter reads it.
const TICK: Duration = Duration::from_millis(200);

/// More than a worker ever writes, including the trailing white space.
const MAX_PROGRESS_BYTES: u64 = 4096;

/// The progress that a worker writes to its lock file. It means nothing once the lock is free.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Progress {
    bytes_done: u64,
    bytes_total: u64,
    bytes_per_s: u64,
}

/// The right to work on a reference. It ends when the value is dropped or its process exits.
#[must_use = "when it is dropped, another process may begin the same work"]
pub(super) struct SingleFlight {
    lock: Lock,
    start: Instant,
    bytes_total: u64,
    bytes_done: AtomicU64,
    told: Mutex<Instant>,
}

/// Waits for the right to work on `reference`. The work may already be done by then, so the caller must look again. If
/// a worker dies, the kernel releases its lock to one of the waiters.
pub(super) fn begin(
    store: &Store,
    reference: &str,
    bytes_total: u64,
    wait: Wait,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<SingleFlight> {
    let path = layout::lock_fetch(reference);
    let what = excerpt::reference(reference);
    let start = Instant::now();
    loop {
        cancel.check(|| format!("waiting for {what}"))?;
        let tick = match wait {
            Wait::Never => Wait::Never,
            Wait::UpTo(limit) => Wait::UpTo(limit.saturating_sub(start.elapsed()).min(TICK)),
            Wait::Forever => Wait::UpTo(TICK),
        };
        if let Some(lock) = poll(&store.root, &path, Hold::Exclusive, tick)? {
            let now = Instant::now();
            let (bytes_done, told) = (AtomicU64::new(0), Mutex::new(now));
            let flight = SingleFlight { lock, start: now, bytes_total, bytes_done, told };
            flight.tell();
            return Ok(flight);
        }
        show_progress_of_worker(store, &what, &path, observer);
        let is_over = match wait {
            Wait::Never => true,
            Wait::UpTo(limit) => start.elapsed() >= limit,
            Wait::Forever => false,
        };
        if is_over {
            let held = store.root.meta(&path)?;
            return Err(busy(&store.root, held, &path, "a reference (it is being staged)", start));
        }
    }
}

fn show_progress_of_worker(store: &Store, what: &str, path: &Path, observer: &dyn Observer) {
    // A half-written text does not parse; the next tick reads it again.
    let Ok(Some(text)) = store.root.read_start(path, MAX_PROGRESS_BYTES) else { return };
    let progress = serde_json::from_slice::<Progress>(&text).ok();
    let (bytes_done, bytes_total, bytes_per_s) =
        progress.map_or((0, 0, 0), |progress| (progress.bytes_done, progress.bytes_total, progress.bytes_per_s));
    observer.on(&Event::Waiting { what, bytes_done, bytes_total, bytes_per_s });
}

impl SingleFlight {
    /// Sets the total once it is known.
    pub(super) fn with_total(mut self, bytes_total: u64) -> Self {
        self.bytes_total = bytes_total;
        self.tell();
        self
    }

    /// Counts processed bytes, and writes the progress down at most once per tick.
    pub(super) fn advance(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        if let Ok(mut told) = self.told.try_lock()
            && told.elapsed() >= TICK
        {
            *told = Instant::now();
            self.tell();
        }
    }

    /// Writes in place, because a lock file is never replaced. A failed write only hides the progress.
    fn tell(&self) {
        let bytes_done = self.bytes_done.load(Ordering::Relaxed);
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bytes_per_s = (bytes_done as f64 / seconds) as u64;
        let progress = Progress { bytes_done, bytes_total: self.bytes_total, bytes_per_s };
        let Ok(mut text) = serde_json::to_vec(&progress) else { return };
        // Trailing white space covers what a longer text may have left.
        text.resize(text.len().max(128), b' ');
        let mut file = self.lock.file();
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&text));
    }
}
