//! Progress of long work, reported while it runs.

use std::sync::Arc;
use std::time::Duration;

/// Receives progress events of long work. It is called from worker threads, and often: keep it short.
///
/// ```
/// use catalog_core::{Event, ModelRef, StageOptions};
/// # let (_dir, catalog, file) = catalog_core::testing::example();
/// let options = StageOptions::default().with_observer(|event: &Event<'_>| {
///     if let Event::Started { what, bytes_total, .. } = event {
///         println!("{what}: {bytes_total} bytes");
///     }
/// });
/// catalog.stage(&ModelRef::from(file), &options)?;
/// # Ok::<(), catalog_core::Error>(())
/// ```
pub trait Observer: Send + Sync {
    /// Handles an event.
    fn on(&self, event: &Event<'_>);
}

/// An event that an [`Observer`] receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work begins.
    #[non_exhaustive]
    Started {
        /// The work: a reference or a path, or a count of them.
        what: &'a str,
        /// How many bytes there are to read. Wrong if the source changes.
        bytes_total: u64,
    },
    /// More bytes were read and hashed since the last event.
    #[non_exhaustive]
    Advanced {
        /// How many.
        bytes: u64,
    },
    /// Another process works on the same reference, and this one waits for it. The numbers are what the other process
    /// has reported; zero if it has not reported yet.
    #[non_exhaustive]
    Waiting {
        /// The reference.
        what: &'a str,
        /// How many bytes it has read.
        bytes_done: u64,
        /// How many bytes there are in all.
        bytes_total: u64,
        /// How fast it reads, in bytes per second.
        bytes_per_s: u64,
    },
    /// An earlier attempt was interrupted; the bytes that it fetched are not fetched again.
    #[non_exhaustive]
    Resumed {
        /// The file.
        what: &'a str,
        /// How many of its bytes are here.
        bytes: u64,
    },
    /// The fetched bytes do not have the expected digest: the file is fetched once more.
    #[non_exhaustive]
    Refetching {
        /// The file.
        what: &'a str,
    },
    /// The source was not asked whether the reference has changed; the caller gets what is here.
    #[non_exhaustive]
    NotAsked {
        /// The reference.
        what: &'a str,
        /// The reason.
        why: &'a str,
    },
    /// This user may not note here that a model is used, so `gc` takes it for unused. Reported once per handle.
    #[non_exhaustive]
    UseNotNoted {
        /// Its id.
        what: &'a str,
    },
    /// A server gave no response, or an incomplete one. It is asked again.
    #[non_exhaustive]
    Retrying {
        /// The request.
        what: &'a str,
        /// What went wrong.
        why: &'a str,
        /// How long the wait before the retry is.
        after: Duration,
    },
    /// A server returns nothing usable, and another that must have the same content is asked instead: a mirror, or the
    /// origin.
    #[non_exhaustive]
    AskedElsewhere {
        /// The server that failed.
        what: &'a str,
        /// What went wrong.
        why: &'a str,
    },
    /// Every byte was read; the ingested files are being made durable.
    Syncing,
    /// The work that was started last has ended, successfully or not.
    Finished,
}

/// Ignores all events.
impl Observer for () {
    fn on(&self, _: &Event<'_>) {}
}

/// A closure is an observer, and so is a reference to one: `|event: &Event<'_>| …`.
impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn on(&self, event: &Event<'_>) {
        self(event);
    }
}

impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn on(&self, event: &Event<'_>) {
        (**self).on(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn tell(observer: impl Observer) {
        observer.on(&Event::Advanced { bytes: 2 });
    }

    #[test]
    fn closures_and_what_points_to_an_observer_are_told() {
        let sum = AtomicU64::new(0);
        let add = |event: &Event<'_>| {
            if let Event::Advanced { bytes } = event {
                sum.fetch_add(*bytes, Ordering::Relaxed);
            }
        };
        let by_reference: &(dyn Fn(&Event<'_>) + Send + Sync) = &add;
        tell(by_reference);
        tell(Arc::new(&add));
        tell(Arc::new(&add) as Arc<dyn Observer + '_>);
        tell(add);
        tell(());
        assert_eq!(sum.into_inner(), 8);
    }
}
