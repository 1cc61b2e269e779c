//! Whether any process has a file open, as Linux reports it to the file's owner. One of the four places with `unsafe`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// `F_SETSIG` of `asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// Whether another descriptor or a map of this file exists, in any process of any user, in any container of this
/// machine and through any mount. `None` if the system does not tell: it tells only the owner and root, not on every
/// file system, and not over a network.
///
/// It asks for a write lease, which the kernel grants only if nobody else has the file open (`F_SETLEASE` in
/// `fcntl(2)`), and gives it back at once. A process that opens the file in between waits that long; an open with
/// `O_NONBLOCK`, which this crate always uses, fails instead and is retried ([`once_not_leased`]).
pub(crate) fn is_open_elsewhere(file: &File) -> Option<bool> {
    lease(file.as_raw_fd(), libc::F_WRLCK)
}

/// Whether this file is open for writing, or mapped so, in any process of any user, in any container of this machine and
/// through any mount. `file` is open for reading only. `None` if the system does not tell, as for [`is_open_elsewhere`].
///
/// It asks for a read lease, which the kernel grants only if nobody has the file open for writing. A refusal holds only
/// after [`START_PATIENCE`].
pub(crate) fn is_open_for_writing(file: &File) -> Option<bool> {
    let begun = Instant::now();
    let mut nap = Duration::from_millis(1);
    loop {
        match lease(file.as_raw_fd(), libc::F_RDLCK) {
            Some(true) if begun.elapsed() < START_PATIENCE => thread::sleep(nap),
            answer => return answer,
        }
        nap *= 2;
    }
}

/// How long a descriptor that was closed may still count: a program that starts another one shares all its descriptors
/// with the child until the child's `exec` has read the new program from the disk.
const START_PATIENCE: Duration = Duration::from_millis(500);

/// Whether something keeps this lease from being granted. A granted one is given back at once.
fn lease(descriptor: RawFd, kind: libc::c_int) -> Option<bool> {
    // When a process opens the file in between, the kernel signals us: by default with SIGIO, which would end the
    // process. SIGURG is ignored unless the program handles it.
    control(descriptor, F_SETSIG, libc::SIGURG)?;
    match control(descriptor, libc::F_SETLEASE, kind) {
        Some(()) => {
            // If this fails, the lease ends with the descriptor.
            let _ = control(descriptor, libc::F_SETLEASE, libc::F_UNLCK);
            Some(false)
        }
        None => (io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock).then_some(true),
    }
}

/// How long to retry an open while another process holds a lease on the file. A lease lasts microseconds, unless its
/// holder is stopped: then the kernel breaks the lease after 45 s (`/proc/sys/fs/lease-break-time`).
const LEASE_PATIENCE: Duration = Duration::from_secs(60);

/// Opens a file with `O_NONBLOCK`, and retries while another process or thread holds a lease on it.
pub(super) fn once_not_leased<T>(open: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    let begun = Instant::now();
    let mut nap = Duration::from_micros(50);
    loop {
        match open() {
            Err(Errno::AGAIN) if begun.elapsed() < LEASE_PATIENCE => thread::sleep(nap),
            other => return other,
        }
        nap = (nap * 2).min(Duration::from_millis(10));
    }
}

#[allow(unsafe_code)]
fn control(descriptor: RawFd, command: libc::c_int, argument: libc::c_int) -> Option<()> {
    // SAFETY: these commands take a number and touch no memory of this process; an invalid descriptor is an error.
    let done = unsafe { libc::fcntl(descriptor, command, argument) };
    (done >= 0).then_some(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::fs::sys::{Handle, Open, open_source};

    /// Each way in which this crate opens an existing file.
    const WAYS: [fn(&Path) -> io::Result<File>; 4] = [
        |path| open_below(path, Open::Read),
        |path| open_below(path, Open::Write),
        |path| open_below(path, Open::Lock(0o600)),
        open_source,
    ];

    fn open_below(path: &Path, how: Open) -> io::Result<File> {
        Handle::open(path.parent().unwrap())?.open_file(path.file_name().unwrap().as_ref(), how)
    }

    fn is_wanted_by_another(file: &File) -> bool {
        // SAFETY: the command has no argument and touches no memory of this process.
        #[allow(unsafe_code)]
        let kept = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
        kept != libc::F_WRLCK
    }

    // Red when an open that meets a lease is not retried: EAGAIN, "Resource temporarily unavailable".
    #[test]
    fn an_open_waits_for_a_lease_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        #[allow(clippy::disallowed_methods)]
        std::fs::write(&path, b"bytes").unwrap();
        for open in WAYS {
            let holder = File::options().read(true).write(true).open(&path).unwrap();
            control(holder.as_raw_fd(), F_SETSIG, libc::SIGURG).unwrap();
            control(holder.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK).unwrap();
            thread::scope(|scope| {
                let opened = scope.spawn(|| open(&path));
                // The kernel tells the holder once it has refused the other open.
                while !is_wanted_by_another(&holder) && !opened.is_finished() {
                    thread::yield_now();
                }
                drop(holder);
                opened.join().unwrap().unwrap();
            });
        }
    }

    // Red for the same reason: `verify` would fail to open a model that `gc` asks about.
    #[test]
    fn many_open_what_many_ask_about() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        #[allow(clippy::disallowed_methods)]
        std::fs::write(&path, b"bytes").unwrap();
        for open in WAYS {
            let is_done = AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !is_done.load(Ordering::Relaxed) {
                            is_open_elsewhere(&open_source(&path).unwrap()).unwrap();
                        }
                    });
                }
                let opened: Result<(), _> = (0..2000).try_for_each(|_| open(&path).map(drop));
                is_done.store(true, Ordering::Relaxed);
                opened.unwrap();
            });
        }
        assert_eq!(is_open_elsewhere(&open_source(&path).unwrap()), Some(false));
    }

    // Red when no lease is requested.
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

    // Red when the first answer counts: what was just downloaded is refused if its program starts another one meanwhile.
    #[test]
    fn a_writer_that_ends_soon_is_awaited() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        #[allow(clippy::disallowed_methods)]
        std::fs::write(&path, b"bytes").unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        let asked = File::open(&path).unwrap();
        assert_eq!(lease(asked.as_raw_fd(), libc::F_RDLCK), Some(true));
        thread::scope(|scope| {
            let answer = scope.spawn(|| is_open_for_writing(&asked));
            thread::sleep(Duration::from_millis(5));
            drop(writer);
            assert_eq!(answer.join().unwrap(), Some(false));
        });
    }

    // Red when a write lease is requested: every reader would count as a writer.
    #[test]
    fn who_writes_is_seen_and_who_reads_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        #[allow(clippy::disallowed_methods)]
        std::fs::write(&path, b"bytes").unwrap();
        let reader = File::open(&path).unwrap();
        let is_written = || is_open_for_writing(&File::open(&path).unwrap());
        assert_eq!(is_written(), Some(false));
        let writer = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(is_written(), Some(true));
        // SAFETY: nobody shortens the file, and nothing is read or written through the map.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::MmapMut::map_mut(&writer).unwrap() };
        drop(writer);
        assert_eq!(is_written(), Some(true), "a map alone");
        drop(map);
        assert_eq!(is_written(), Some(false));
        drop(reader);
    }
}
