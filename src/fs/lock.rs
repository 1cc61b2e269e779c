//! Advisory whole-file locks on permanent lock files. The kernel releases them when their process ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Meta, Root, lock_file, lock_holder, meta_of};
use crate::error::{Error, Result};

/// How long to wait for a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Not at all.
    Never,
    /// At most this long.
    UpTo(Duration),
    /// Until it is free.
    #[default]
    Forever,
}

impl Wait {
    /// What is left of this wait if waiting began at `begun`.
    pub(crate) fn left_since(self, begun: Instant) -> Wait {
        match self {
            Wait::UpTo(limit) => Wait::UpTo(limit.saturating_sub(begun.elapsed())),
            other => other,
        }
    }

    /// Whether waiting for earlier locks has used up all the time.
    fn is_used_up(self) -> bool {
        self == Wait::UpTo(Duration::ZERO)
    }
}

/// Whether others may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Shared,
    Exclusive,
}

/// A held lock.
#[must_use = "a dropped lock no longer protects anything"]
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// The process that has taken it.
    process: u32,
    /// Whether other processes may have inherited a descriptor of it.
    is_inherited: AtomicBool,
}

impl Lock {
    fn of(file: File) -> Self {
        Lock { file, process: std::process::id(), is_inherited: AtomicBool::new(false) }
    }

    /// The locked file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// A descriptor that stays open in programs which this process starts. From now on nobody unlocks: the kernel releases
    /// the lock when its last descriptor is closed, in whichever process that is.
    #[cfg(unix)]
    pub(crate) fn inheritable(&self) -> io::Result<std::os::fd::OwnedFd> {
        // Set before the descriptor exists: dropping the lock must not release it for another process.
        self.is_inherited.store(true, Ordering::SeqCst);
        let copy = std::os::fd::OwnedFd::from(self.file.try_clone()?);
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
        Ok(copy)
    }

    /// Whether the name still leads to the locked file. If not, this lock no longer excludes a process that locks it
    /// now.
    pub(crate) fn is_named(&self, root: &Root, path: &Path) -> Result<bool> {
        let held = meta_of(&self.file).map_err(|e| root.fail("look at", path, e))?;
        Ok(root.meta(path)?.is_some_and(|named| named.same_inode(&held)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Unlock explicitly, because a child process that was just started may still share the descriptor. But a forked
        // child, which has a copy of this value, must not: it would release its parent's lock.
        if self.process == std::process::id() && !self.is_inherited.load(Ordering::SeqCst) {
            let _ = fs2::FileExt::unlock(&self.file);
        }
    }
}

/// Locks the lock file at `path`, which is created if it does not exist. `what` names what the lock protects, for the
/// error. If no time was left to wait, it does not look for the holder: that was done for the lock that took the time.
pub(crate) fn lock(root: &Root, path: PathBuf, what: &'static str, hold: Hold, wait: Wait) -> Result<Lock> {
    let start = Instant::now();
    let lock = poll(root, &path, hold, wait)?;
    let file = || if wait.is_used_up() { None } else { root.meta(&path).ok().flatten() };
    lock.ok_or_else(|| busy(root, file(), &path, what, start))
}

/// Like [`lock`], for a caller that polls: `None` if another still holds the lock after this wait. It does not look for
/// the holder, which would mean reading all locks of the system.
pub(crate) fn poll(root: &Root, path: &Path, hold: Hold, wait: Wait) -> Result<Option<Lock>> {
    let start = Instant::now();
    loop {
        let file = lock_file::open(root, path)?;
        if !acquire(&file, hold, wait, start).map_err(|e| root.fail("lock", path, e))? {
            return Ok(None);
        }
        let lock = Lock::of(file);
        // Another process may have removed or replaced the file while we waited: a lock on the old inode excludes
        // nobody.
        if lock.is_named(root, path)? {
            return Ok(Some(lock));
        }
    }
}

/// Whether locks exclude anybody on this file system: on some network file systems and in some sandboxes, locking
/// always succeeds or is not supported. This tries it with two descriptors of one file. `true` if that cannot be tried.
pub(crate) fn locks_work(root: &Root, path: &Path) -> bool {
    // Open for writing if possible: NFS grants no exclusive lock on a file that is open only for reading.
    let open = || root.open_private_file(path).or_else(|_| root.open_file(path));
    let Ok(Some((first, second))) = open().and_then(|first| Ok(first.zip(open()?))) else {
        return true;
    };
    match fs2::FileExt::try_lock_exclusive(&first) {
        Ok(()) => fs2::FileExt::try_lock_exclusive(&second).is_err(),
        // Another process is trying the same right now, and excludes us.
        Err(e) if is_contended(&e) => true,
        // It is open only for reading, which is not enough on this file system.
        Err(e) if e.raw_os_error() == Some(EBADF) => true,
        Err(_) => false,
    }
}

const EBADF: i32 = 9;

fn is_contended(error: &io::Error) -> bool {
    error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

/// Locks an open file that is not a lock file: a blob.
pub(crate) fn lock_open_file(
    root: &Root,
    file: File,
    name: &Path,
    what: &'static str,
    hold: Hold,
    wait: Wait,
) -> Result<Lock> {
    let start = Instant::now();
    if acquire(&file, hold, wait, start).map_err(|e| root.fail("lock", name, e))? {
        return Ok(Lock::of(file));
    }
    Err(busy(root, meta_of(&file).ok(), name, what, start))
}

/// The error for a lock that has not been free since `start`; it names the processes that hold the lock.
pub(crate) fn busy(root: &Root, file: Option<Meta>, name: &Path, what: &'static str, start: Instant) -> Error {
    let holder = file.and_then(|file| lock_holder::find_holder(&file));
    Error::Busy { what, path: root.absolute(name), waited: start.elapsed(), holder }
}

/// Locks a file or folder that is not a lock file, without waiting; `None`: another holder has it.
pub(crate) fn try_lock_file(root: &Root, file: File, name: &Path, hold: Hold) -> Result<Option<Lock>> {
    let got = acquire(&file, hold, Wait::Never, Instant::now()).map_err(|e| root.fail("lock", name, e))?;
    Ok(got.then(|| Lock::of(file)))
}

fn acquire(file: &File, hold: Hold, wait: Wait, start: Instant) -> io::Result<bool> {
    if wait == Wait::Forever {
        return until_uninterrupted(|| match hold {
            Hold::Shared => fs2::FileExt::lock_shared(file),
            Hold::Exclusive => fs2::FileExt::lock_exclusive(file),
        })
        .or_else(|e| if e.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(e) })
        .map(|()| true);
    }
    // flock has no timeout. Commits hold their locks for milliseconds, so begin with short naps.
    let mut nap = Duration::from_micros(200);
    loop {
        let result = until_uninterrupted(|| match hold {
            Hold::Shared => fs2::FileExt::try_lock_shared(file),
            Hold::Exclusive => fs2::FileExt::try_lock_exclusive(file),
        });
        match result {
            Ok(()) => return Ok(true),
            // There are no locks here at all: the work done under one must be correct without it.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => return Ok(true),
            Err(e) if is_contended(&e) => {}
            Err(e) => return Err(e),
        }
        match wait {
            Wait::UpTo(limit) if start.elapsed() < limit => thread::sleep(nap),
            _ => return Ok(false),
        }
        nap = (nap * 2).min(Duration::from_millis(10));
    }
}

fn until_uninterrupted(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::fs::root::tests::root;

    fn take(root: &Root, hold: Hold, wait: Wait) -> Result<Lock> {
        lock(root, "l".into(), "the test", hold, wait)
    }

    #[test]
    fn two_handles_of_one_process_exclude_each_other() {
        let (_dir, root) = root();
        let first = take(&root, Hold::Shared, Wait::Never).unwrap();
        let second = take(&root, Hold::Shared, Wait::Never).unwrap();
        let error = take(&root, Hold::Exclusive, Wait::UpTo(Duration::from_millis(5))).unwrap_err();
        assert!(error.is_busy(), "{error}");
        drop((first, second));
        let alone = take(&root, Hold::Exclusive, Wait::Never).unwrap();
        assert!(take(&root, Hold::Shared, Wait::Never).unwrap_err().is_busy());
        drop(alone);
        drop(take(&root, Hold::Shared, Wait::Forever).unwrap());
    }

    // Red when `lock` does not compare inodes: the waiter would then hold a file that nobody else will ever lock.
    #[test]
    fn a_lock_file_that_was_replaced_is_noticed() {
        let (dir, root) = root();
        let first = take(&root, Hold::Exclusive, Wait::Never).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| take(&root, Hold::Exclusive, Wait::Forever).unwrap());
            thread::sleep(Duration::from_millis(50)); // the waiter has opened the old file by now
            std::fs::remove_file(dir.path().join("l")).unwrap();
            drop(first);
            let second = waiter.join().unwrap();
            assert!(take(&root, Hold::Exclusive, Wait::Never).unwrap_err().is_busy());
            drop(second);
        });
    }

    // Red when `drop` leaves unlocking to the kernel: a child that was just started still has the descriptor, and so
    // the lock.
    #[test]
    fn a_dropped_lock_is_free_though_its_descriptor_was_copied() {
        let (_dir, root) = root();
        let first = take(&root, Hold::Exclusive, Wait::Never).unwrap();
        let _copy = first.file().try_clone().unwrap();
        drop(first);
        drop(take(&root, Hold::Exclusive, Wait::Never).unwrap());
    }

    #[test]
    fn locks_are_known_to_work_while_another_process_tries_them() {
        let (dir, root) = root();
        let path = Path::new("probe");
        assert!(locks_work(&root, path), "it cannot be tried");
        std::fs::write(dir.path().join(path), "").unwrap();
        assert!(locks_work(&root, path), "two descriptors exclude each other");
        let other = lock(&root, path.into(), "the test", Hold::Exclusive, Wait::Never).unwrap();
        assert!(locks_work(&root, path), "another holds it");
        drop(other);
    }

    // Red when a failure counts as a lock that another process holds, or as a file system without locks.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_lock_that_fails_is_neither_held_nor_contended() {
        use std::os::unix::fs::OpenOptionsExt as _;
        let (dir, root) = root();
        let path = dir.path().join("l");
        std::fs::write(&path, "").unwrap();
        for wait in [Wait::Never, Wait::UpTo(Duration::from_millis(5)), Wait::Forever] {
            for hold in [Hold::Shared, Hold::Exclusive] {
                // flock refuses an O_PATH descriptor: EBADF.
                let file = File::options().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
                let error = lock_open_file(&root, file, Path::new("l"), "the test", hold, wait).unwrap_err();
                assert!(!error.is_busy(), "{error}");
            }
        }
    }

    // Red when EINTR is an error: a signal handler of the program can cause one.
    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut calls = 0;
        let call = || {
            calls += 1;
            if calls < 3 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        };
        until_uninterrupted(call).unwrap();
        assert_eq!(calls, 3);
        let mut calls = 0;
        until_uninterrupted(|| {
            calls += 1;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(calls, 1);
    }
}
