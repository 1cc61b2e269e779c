//! A limit on the rate at which all threads of one operation together read bytes.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How often a waiting thread checks whether it was cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A rate in bytes per second, on average.
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

    /// Waits until this many more bytes may be read, or until the work is cancelled.
    pub(crate) fn wait(&self, bytes: u64, is_cancelled: impl Fn() -> bool) {
        #[allow(clippy::cast_precision_loss)]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // An unused allowance is not made up for by a later burst.
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
