//! Retries: when, and after how long.

use std::time::Duration;

/// How often to retry, and how long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Number of retries after the first attempt.
    pub(crate) times: u32,
    /// The longest wait before the second attempt. It doubles each time.
    pub(crate) first_delay: Duration,
    /// The longest wait that this side chooses.
    pub(crate) longest_delay: Duration,
}

/// If a server asks for a longer pause, give up, so that the caller learns of it now.
pub(super) const LONGEST_WISH: Duration = Duration::from_secs(300);

impl Retry {
    /// How long to wait after the `attempt`-th attempt (from 1). `wish` is what the server asks for; `random` is
    /// between 0 and 1. `None`: give up.
    ///
    /// The whole delay is random ("full jitter"), so that many clients that lost their connections together do not
    /// return together.
    pub(crate) fn delay(&self, attempt: u32, wish: Option<Duration>, random: f64) -> Option<Duration> {
        if attempt > self.times {
            return None;
        }
        let doubled = self.first_delay.saturating_mul(1 << (attempt - 1).min(20)).min(self.longest_delay);
        let jitter = doubled.mul_f64(random.clamp(0.0, 1.0));
        match wish {
            Some(wish) if wish > LONGEST_WISH => None,
            Some(wish) => Some(wish + self.first_delay.mul_f64(random.clamp(0.0, 1.0))),
            None => Some(jitter),
        }
    }
}

/// Whether the same request may get another response later.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// How long the server asks clients to wait: `Retry-After` in seconds, otherwise the reset time of an exhausted window
/// in `RateLimit`, such as `"api";r=0;t=55`.
pub(super) fn wish(retry_after: Option<&str>, rate_limit: Option<&str>) -> Option<Duration> {
    let seconds = |text: &str| text.trim().parse::<u32>().ok().map(|s| Duration::from_secs(s.into()));
    retry_after.and_then(seconds).or_else(|| {
        rate_limit?
            .split(',')
            .filter_map(|limit| {
                let field = |name: &str| limit.split(';').find_map(|part| part.trim().strip_prefix(name));
                field("r=").filter(|left| left.trim() == "0").and_then(|_| seconds(field("t=")?))
            })
            .max()
    })
}

/// A number between 0 and 1 that two processes rarely share.
pub(crate) fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id()) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const RETRY: Retry =
        Retry { times: 5, first_delay: Duration::from_millis(500), longest_delay: Duration::from_secs(20) };

    #[rstest]
    #[case(1, 500)]
    #[case(2, 1000)]
    #[case(5, 8000)]
    fn delays_double_and_are_random(#[case] attempt: u32, #[case] most_ms: u64) {
        assert_eq!(RETRY.delay(attempt, None, 1.0), Some(Duration::from_millis(most_ms)));
        assert_eq!(RETRY.delay(attempt, None, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn it_ends() {
        assert_eq!(RETRY.delay(6, None, 1.0), None);
        let many = Retry { times: u32::MAX, ..RETRY };
        assert_eq!(many.delay(u32::MAX, None, 1.0), Some(RETRY.longest_delay));
        assert_eq!(RETRY.delay(1, Some(Duration::from_secs(3)), 0.0), Some(Duration::from_secs(3)));
        assert_eq!(RETRY.delay(1, Some(Duration::from_secs(301)), 0.0), None);
    }

    #[rstest]
    #[case(Some("2"), None, Some(2))]
    #[case(Some("2"), Some("\"api\";r=0;t=55"), Some(2))]
    #[case(None, Some("\"api\";r=0;t=55"), Some(55))]
    #[case(None, Some("\"api\";r=7;t=55"), None)]
    #[case(None, Some("\"a\";r=0;t=5, \"b\"; r=0; t=9"), Some(9))]
    #[case(Some("Wed, 21 Oct 2015 07:28:00 GMT"), None, None)]
    #[case(Some("-1"), None, None)]
    #[case(Some("99999999999999"), None, None)]
    fn what_a_server_asks_for(#[case] after: Option<&str>, #[case] limit: Option<&str>, #[case] seconds: Option<u64>) {
        assert_eq!(wish(after, limit), seconds.map(Duration::from_secs));
    }

    #[test]
    fn random_numbers_differ() {
        let some: Vec<f64> = (0..8).map(|_| random()).collect();
        assert!(some.iter().all(|x| (0.0..=1.0).contains(x)) && some.iter().any(|x| *x != some[0]), "{some:?}");
    }
}
