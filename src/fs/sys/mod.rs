//! The differences between platforms, behind one set of names.
//!
//! Linux is built and tested. `portable.rs` uses only the standard library and should work on macOS and Windows;
//! `--cfg catalog_portable` builds it on Linux, so that it does not rot.

#[cfg(all(target_os = "linux", not(catalog_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(catalog_portable)))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", not(catalog_portable))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(catalog_portable))))]
pub(crate) use portable::*;

/// How to open a file of the store. None of these follows a symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
    /// For reading and writing; the file must not exist yet, and gets this mode regardless of the umask.
    CreateNew(u32),
    /// For locking: if it does not exist, it is created with this mode minus the umask.
    Lock(u32),
}

/// What happens to an existing target of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    Yes,
    No,
    /// The two names are exchanged. Not every file system can; the error is then `Unsupported` or `InvalidInput`.
    Exchange,
}
