//! Progress of long work, told while it goes on.

/// Told of the progress of long work. Called from worker threads, often: keep it short.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn on(&self, event: &Event<'_>);
}

/// What an [`Observer`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work begins.
    Started {
        /// What is worked on: a reference or a path, or a count of them.
        what: &'a str,
        /// How much there is to read. A source that changes makes this wrong.
        bytes_total: u64,
    },
    /// This many more bytes were read and hashed, since the last call.
    Advanced {
        /// How many.
        bytes: u64,
    },
    /// Another process works on the same reference, and is waited for. What it has said of itself; zeros when it has not
    /// yet.
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
    /// Every byte was read; what was brought in is being made durable.
    Syncing,
    /// The work that was started last has ended, well or not.
    Finished,
}

/// Says nothing.
impl Observer for () {
    fn on(&self, _: &Event<'_>) {}
}
