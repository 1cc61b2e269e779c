//! Cancels long work from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "net")]
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a wait checks whether it was cancelled.
#[cfg(feature = "net")]
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Cancels long work. All clones share one state: cancelling one cancels the work that checks any other.
///
/// The work ends at the next chunk of a few MiB, with an error for which
/// [`is_cancelled`](crate::Error::is_cancelled) holds.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Returns one that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Asks the work to end. This cannot be undone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Cancel::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if it was cancelled. `what` describes the work, for example "reading …".
    pub(crate) fn check(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled { what: what() }) } else { Ok(()) }
    }

    /// Waits for this time; an error as soon as it is cancelled.
    #[cfg(feature = "net")]
    pub(crate) fn wait(&self, time: Duration, what: impl Fn() -> String) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.check(&what)?;
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                left => std::thread::sleep(left.min(LOOK_EVERY)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clone_is_told() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        other.check(|| unreachable!("nobody has cancelled")).unwrap();
        cancel.cancel();
        let error = other.check(|| "reading a".into()).unwrap_err();
        assert!(error.is_cancelled() && error.to_string() == "cancelled: reading a", "{error}");
    }
}
