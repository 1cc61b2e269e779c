//! Giving long work up from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

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

    /// Whether both are clones of one.
    #[cfg(feature = "net")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// An error once it was asked to. `what` is what is being done, "reading …".
    pub(crate) fn check(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled { what: what() }) } else { Ok(()) }
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
