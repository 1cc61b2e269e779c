//! How long a sync takes on this file system, by the last one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In a process that has just begun, starting a thread takes 60 to 80 µs: about as long as the sync of a folder on a disk
/// without a cache to flush. The sync of the file before it takes some three times as long, and is what is known first.
const SHORT: Duration = Duration::from_micros(600);

/// How long the last sync below a root took.
#[derive(Debug)]
pub(super) struct LastSync {
    nanos: AtomicU64,
}

impl Default for LastSync {
    /// Nothing is known, so it counts as long.
    fn default() -> Self {
        LastSync { nanos: AtomicU64::new(u64::MAX) }
    }
}

impl LastSync {
    pub(super) fn timed<T>(&self, sync: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let synced = sync();
        self.note(begun.elapsed());
        synced
    }

    pub(super) fn note(&self, took: Duration) {
        self.nanos.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn was_short(&self) -> bool {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)) < SHORT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a sync counts as short before any was made, or when one that was long is not noticed: all that follow would
    // wait for the disk one after the other.
    #[test]
    fn only_a_sync_that_was_short_counts_as_short() {
        let last = LastSync::default();
        assert!(!last.was_short());
        last.timed(|| ());
        assert!(last.was_short());
        last.timed(|| std::thread::sleep(2 * SHORT));
        assert!(!last.was_short());
    }
}
