//! The rate at which bytes arrive: never above a limit for all connections, and not below a minimum for long.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A token bucket of bytes that all connections draw from.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_s: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Negative if more was taken than had accumulated.
    bytes: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(bytes_per_s: u64, now: Instant) -> Self {
        Bucket { bytes_per_s: bytes_per_s.max(1), state: Mutex::new(State { bytes: 0.0, at: now }) }
    }

    /// How much should be taken at once for a smooth rate: a tenth of a second's worth.
    pub(super) fn at_once(&self) -> usize {
        usize::try_from(self.bytes_per_s / 10).unwrap_or(usize::MAX).clamp(1024, 1 << 20)
    }

    /// Takes bytes that have arrived. Returns how long to wait before taking more.
    #[must_use = "without the wait there is no limit"]
    pub(super) fn take(&self, bytes: usize, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = self.bytes_per_s as f64;
        let filled = now.saturating_duration_since(state.at).as_secs_f64() * rate;
        // The bucket holds no more than this, so that a pause does not allow a burst.
        let most = rate / 10.0;
        state.bytes = (state.bytes + filled).min(most) - bytes as f64;
        state.at = state.at.max(now);
        Duration::from_secs_f64((-state.bytes / rate).max(0.0))
    }
}

/// Detects connections that are too slow. A server that sends a byte now and then never finishes, and no timeout of a
/// single read notices.
#[derive(Debug)]
pub(super) struct Minimum {
    bytes_per_s: u64,
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Minimum {
    pub(super) fn new(bytes_per_s: u64, window: Duration, now: Instant) -> Self {
        Minimum { bytes_per_s, window, since: now, bytes: 0 }
    }

    /// Counts arrived bytes, and returns whether the rate is too low.
    pub(super) fn is_too_slow(&mut self, bytes: usize, now: Instant) -> bool {
        self.bytes += bytes as u64;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < self.window {
            return false;
        }
        let is_too_slow = (self.bytes as f64) < self.bytes_per_s as f64 * elapsed.as_secs_f64();
        (self.since, self.bytes) = (now, 0);
        is_too_slow
    }

    /// Excludes time in which this side was waiting.
    pub(super) fn pardon(&mut self, time: Duration) {
        self.since += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when each connection has its own bucket, or when a pause fills it without limit.
    #[test]
    fn a_limit_holds_over_all_who_take() {
        let start = Instant::now();
        let bucket = Bucket::new(1000, start);
        assert_eq!(bucket.take(500, start), Duration::from_millis(500));
        assert_eq!(bucket.take(500, start), Duration::from_millis(1000));
        assert_eq!(bucket.take(0, start + Duration::from_secs(1)), Duration::ZERO);
        // Even after a long pause, it holds only a tenth of a second's worth.
        let wait = bucket.take(1000, start + Duration::from_secs(100));
        assert_eq!(wait, Duration::from_millis(900));
        assert_eq!((bucket.at_once(), Bucket::new(0, start).at_once()), (1024, 1024));
    }

    #[test]
    fn a_drip_is_too_slow() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut minimum = Minimum::new(1000, Duration::from_secs(30), start);
        assert!(!minimum.is_too_slow(1, at(29)));
        assert!(minimum.is_too_slow(1, at(30)));
        let mut minimum = Minimum::new(1000, Duration::from_secs(30), start);
        assert!(!minimum.is_too_slow(30_000, at(30)));
        assert!(!minimum.is_too_slow(0, at(59)));
        minimum.pardon(Duration::from_secs(20));
        assert!(!minimum.is_too_slow(0, at(79)));
        assert!(minimum.is_too_slow(0, at(80)));
    }
}
