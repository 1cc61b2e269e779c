//! How fast bytes come: never faster than a limit, over all connections, and not for long slower than a minimum.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bucket of bytes that fills at a rate, and from which all connections take.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_s: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Below zero: so much was taken ahead.
    bytes: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(bytes_per_s: u64, now: Instant) -> Self {
        Bucket { bytes_per_s: bytes_per_s.max(1), state: Mutex::new(State { bytes: 0.0, at: now }) }
    }

    /// The most that should be taken at once, so that the rate is smooth: a tenth of a second's.
    pub(super) fn at_once(&self) -> usize {
        usize::try_from(self.bytes_per_s / 10).unwrap_or(usize::MAX).clamp(1024, 1 << 20)
    }

    /// Takes what has come. The answer is how long to wait before more is taken.
    #[must_use = "without the wait there is no limit"]
    pub(super) fn take(&self, bytes: usize, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = self.bytes_per_s as f64;
        let filled = now.saturating_duration_since(state.at).as_secs_f64() * rate;
        // What nobody has taken for longer than that is lost: a pause gives no burst.
        let most = rate / 10.0;
        state.bytes = (state.bytes + filled).min(most) - bytes as f64;
        state.at = state.at.max(now);
        Duration::from_secs_f64((-state.bytes / rate).max(0.0))
    }
}

/// Whether a connection is too slow to be waited for: a server that sends a byte now and then never comes to an end, and no
/// time-out of a single read sees it.
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

    /// Counts what has come, and says whether it is too little. `waited` is how long nobody has read.
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

    /// Time that the server is not to blame for: this side was waiting.
    pub(super) fn pardon(&mut self, time: Duration) {
        self.since += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when the bucket is one for each connection, or when a pause fills it without end.
    #[test]
    fn a_limit_holds_over_all_who_take() {
        let start = Instant::now();
        let bucket = Bucket::new(1000, start);
        assert_eq!(bucket.take(500, start), Duration::from_millis(500));
        assert_eq!(bucket.take(500, start), Duration::from_millis(1000));
        assert_eq!(bucket.take(0, start + Duration::from_secs(1)), Duration::ZERO);
        // After a long pause there is a tenth of a second's, and no more.
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
