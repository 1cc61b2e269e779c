//! Whether anybody has a file open, as Linux tells the file's owner. One of the four places with `unsafe`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

/// `F_SETSIG` of `asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// Whether another descriptor than this one is open for the file, or a map of it is there: of any process and any user, in
/// any container of this machine and through any mount. `None` when the system does not tell: to nobody but the owner and
/// root, not on every file system, and not over a network.
///
/// A write lease is asked for, which the kernel grants on a file that nobody else has open (`F_SETLEASE` in `fcntl(2)`), and
/// given back at once. Whoever opens the file in between waits that long.
pub(crate) fn is_open_elsewhere(file: &File) -> Option<bool> {
    let descriptor = file.as_raw_fd();
    // To one who opens the file in between, the kernel has us signalled: by default with SIGIO, which ends a process. SIGURG
    // is ignored unless somebody asks for it.
    control(descriptor, F_SETSIG, libc::SIGURG)?;
    match control(descriptor, libc::F_SETLEASE, libc::F_WRLCK) {
        Some(()) => {
            // Should it be refused, the lease ends with the descriptor.
            let _ = control(descriptor, libc::F_SETLEASE, libc::F_UNLCK);
            Some(false)
        }
        None => (io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock).then_some(true),
    }
}

#[allow(unsafe_code)]
fn control(descriptor: RawFd, command: libc::c_int, argument: libc::c_int) -> Option<()> {
    // SAFETY: these commands take a number and touch no memory of this process; a descriptor that is none is an error.
    let done = unsafe { libc::fcntl(descriptor, command, argument) };
    (done >= 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when no lease is asked for.
    #[test]
    fn what_is_open_or_mapped_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        #[allow(clippy::disallowed_methods)]
        std::fs::write(&path, b"bytes").unwrap();
        let open = || File::open(&path).unwrap();
        assert_eq!(is_open_elsewhere(&open()), Some(false));
        let other = open();
        assert_eq!(is_open_elsewhere(&open()), Some(true));
        let map = super::super::map::Map::of_part(&other, 0..5).unwrap();
        drop(other);
        assert_eq!(is_open_elsewhere(&open()), Some(true), "a map alone");
        drop(map);
        assert_eq!(is_open_elsewhere(&open()), Some(false));
    }
}
