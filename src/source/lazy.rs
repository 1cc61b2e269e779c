//! Options that are read when they are first needed, so that an error in them affects only what needs them.

use std::fmt;
use std::sync::LazyLock;

use crate::error::Result;

type Read<T> = Box<dyn FnOnce() -> Result<T> + Send>;

pub(super) struct Lazy<T>(LazyLock<Result<T>, Read<T>>);

impl<T> Lazy<T> {
    pub(super) fn new(read: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Lazy(LazyLock::new(Box::new(read)))
    }

    pub(super) fn get(&self) -> Result<&T> {
        self.0.as_ref().map_err(Clone::clone)
    }
}

/// Does not print the options, so that it need not read them.
impl<T> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lazy(…)")
    }
}
