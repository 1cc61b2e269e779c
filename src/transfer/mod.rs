//! Pushing: what the store has, to a registry or a bucket. What is there is sent once, and an upload that was interrupted is
//! taken up.
//!
//! ```text
//! options.rs    how a model is pushed, and what came of it
//! package.rs    an entry as others see it: a manifest, and the blobs that it names
//! memory.rs     where an upload stood
//! push.rs       the order of a push
//! many.rs       several models below one target
//! workers.rs    several things at a time
//! ```

mod many;
mod memory;
mod options;
mod package;
mod push;
mod workers;

pub(crate) use many::push_many;
pub use options::{PushOptions, PushReceipt};
pub(crate) use push::push;
