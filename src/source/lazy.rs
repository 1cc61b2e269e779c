//! Options that are read when they are first needed: what is wrong with them fails nothing that needs none.

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

/// Without the options, which it does not read.
impl<T> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lazy(…)")
    }
}
