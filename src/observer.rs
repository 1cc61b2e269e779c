//! Progress of long work, told while it goes on.

use std::sync::Arc;
use std::time::Duration;

/// Told of the progress of long work. Called from worker threads, often: keep it short.
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
    /// Something happened.
    fn on(&self, event: &Event<'_>);
}

/// What an [`Observer`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work begins.
    #[non_exhaustive]
    Started {
        /// What is worked on: a reference or a path, or a count of them.
        what: &'a str,
        /// How much there is to read. A source that changes makes this wrong.
        bytes_total: u64,
    },
    /// This many more bytes were read and hashed, since the last call.
    #[non_exhaustive]
    Advanced {
        /// How many.
        bytes: u64,
    },
    /// Another process works on the same reference, and is waited for. What it has said of itself; zeros when it has not
    /// yet.
    #[non_exhaustive]
    Waiting {
        /// The reference.
        what: &'a str,
        /// How much it has read.
        bytes_done: u64,
        /// How much there is.
        bytes_total: u64,
        /// How fast it reads.
        bytes_per_s: u64,
    },
    /// An earlier attempt was interrupted; what it has brought is not fetched again.
    #[non_exhaustive]
    Resumed {
        /// The file.
        what: &'a str,
        /// How much of it is here.
        bytes: u64,
    },
    /// Bytes that were fetched have another digest than was named: the file is fetched once more.
    #[non_exhaustive]
    Refetching {
        /// The file.
        what: &'a str,
    },
    /// The source was not asked whether a reference means something else by now; what is here is given.
    #[non_exhaustive]
    NotAsked {
        /// The reference.
        what: &'a str,
        /// Why not.
        why: &'a str,
    },
    /// That a model is used cannot be noted here, by this user: a collection takes it for one that is not. Told once by a
    /// handle.
    #[non_exhaustive]
    UseNotNoted {
        /// Its id.
        what: &'a str,
    },
    /// A server gave no answer, or half of one. It is asked again.
    #[non_exhaustive]
    Retrying {
        /// What was asked for.
        what: &'a str,
        /// What came of it.
        why: &'a str,
        /// How long it waits before.
        after: Duration,
    },
    /// A server gives nothing that can be used, and another one is asked, which has to have the same: a mirror, or the origin.
    #[non_exhaustive]
    AskedElsewhere {
        /// The server that is left.
        what: &'a str,
        /// What came of it.
        why: &'a str,
    },
    /// Every byte was read; what was brought in is being made durable.
    Syncing,
    /// The work that was started last has ended, well or not.
    Finished,
}

/// Says nothing.
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
