//! What differs between platforms, behind one set of names.
//!
//! Linux is built and tested. `portable.rs` uses only the standard library and serves macOS and Windows in principle;
//! `--cfg catalog_portable` builds it on Linux, so that it does not rot.

#[cfg(all(target_os = "linux", not(catalog_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(catalog_portable)))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", not(catalog_portable))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(catalog_portable))))]
pub(crate) use portable::*;

/// How a file of the store is opened. None of them follows a symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
    /// For reading and writing; there must be none, and it gets this mode whatever the umask.
    CreateNew(u32),
    /// For locking: created when there is none, with this mode or what the umask leaves of it.
    Lock(u32),
}

/// What becomes of an existing target of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    Yes,
    No,
    /// The two change places. Not every file system can; the error is then `Unsupported` or `InvalidInput`.
    Exchange,
}
