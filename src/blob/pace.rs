//! A limit on how fast bytes are read, over all threads of one operation.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How often a thread that waits looks whether it still has to.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// So many bytes a second, on average.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_s: u64,
    /// When the next bytes may be read.
    next: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Pace { bytes_per_s: bytes_per_s.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits until this many more bytes may be read, or until there is no need any more.
    pub(crate) fn wait(&self, bytes: u64, is_cancelled: impl Fn() -> bool) {
        #[allow(clippy::cast_precision_loss)]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // What was not used earlier is not made up for by a burst.
            let turn = (*next).max(Instant::now());
            *next = turn + takes;
            turn
        };
        loop {
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() || is_cancelled() {
                return;
            }
            // At a low rate, a turn may be hours away.
            thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
