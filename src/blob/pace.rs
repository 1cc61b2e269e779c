//! A limit on how fast bytes are read, over all threads of one operation.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

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

    /// Waits until this many more bytes may be read.
    pub(crate) fn wait(&self, bytes: u64) {
        #[allow(clippy::cast_precision_loss)]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // What was not used earlier is not made up for by a burst.
            let turn = (*next).max(Instant::now());
            *next = turn + takes;
            turn
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
}
