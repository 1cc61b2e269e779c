//! Pushing: from the store to a registry or a bucket. Nothing that is already there is sent, and an interrupted upload
//! is resumed.
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
