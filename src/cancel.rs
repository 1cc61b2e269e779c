//! Giving long work up from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "net")]
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// What waits looks so often whether it was asked to end.
#[cfg(feature = "net")]
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Gives long work up. Clones are of one: whoever has one tells all who look at another.
///
/// The work ends at the next chunk of a few MiB, with an error for which
/// [`is_cancelled`](crate::Error::is_cancelled) holds.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// One that nobody has used.
    #[must_use]
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Asks the work to end. There is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once it was asked to. `what` is what is being done, "reading …".
    pub(crate) fn check(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled { what: what() }) } else { Ok(()) }
    }

    /// Waits for this time; an error once it was asked to end.
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
