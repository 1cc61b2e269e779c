//! Syncs files and folders that do not depend on each other side by side.
//!
//! A sync waits for the disk, and each one that is made after another waits once more. Those that wait together share
//! one commit of a file system's journal and one flush of the disk. Where a sync takes no longer than a few threads take to
//! start, because the disk has no cache to flush, they are made one after the other.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Root, Temp};
use crate::error::Result;
use crate::threads;

/// Threads mostly wait, so their number does not depend on the number of cores.
const THREADS: usize = 16;

/// In a process that has just begun, starting a thread takes 60 to 80 µs: about as long as the sync of a folder on a disk
/// without a cache to flush. The sync of the file before it takes some three times as long, and is what is known first.
const SHORT: Duration = Duration::from_micros(600);

/// How long the last sync below a root took.
#[derive(Debug)]
pub(super) struct LastSync {
    nanos: AtomicU64,
}

impl Default for LastSync {
    /// Nothing is known, so it counts as long.
    fn default() -> Self {
        LastSync { nanos: AtomicU64::new(u64::MAX) }
    }
}

impl LastSync {
    pub(super) fn timed<T>(&self, sync: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let synced = sync();
        self.note(begun.elapsed());
        synced
    }

    fn note(&self, took: Duration) {
        self.nanos.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn was_short(&self) -> bool {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)) < SHORT
    }
}

/// Makes the content of `files` and the names in `folders` durable. Returns an error if any of these syncs failed.
///
/// The calling thread syncs the first of them itself, and the others too if the system refuses it threads.
pub(crate) fn sync<'a>(
    root: &Root,
    files: impl IntoIterator<Item = &'a Temp<'a>>,
    folders: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let files = files.into_iter().map(Subject::File);
    let all: Vec<Subject<'_>> = files.chain(folders.into_iter().map(Subject::Folder)).collect();
    let sync = |part: &[Subject<'_>]| part.iter().try_for_each(|subject| subject.sync(root));
    let (mut rest, mut result) = (all.as_slice(), Ok(()));
    while root.last_sync().was_short()
        && let Some((next, others)) = rest.split_first()
    {
        result = result.and(next.sync(root));
        rest = others;
    }
    let mut parts = rest.chunks(rest.len().div_ceil(THREADS).max(1));
    let Some(own) = parts.next() else { return result };
    thread::scope(|scope| {
        let begun: Vec<_> = parts.map(|part| threads::spawn(scope, move || sync(part)).map_err(|_| part)).collect();
        result = result.and(sync(own));
        for part in begun {
            let synced = match part {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(part) => sync(part),
            };
            result = result.and(synced);
        }
        result
    })
}

#[derive(Clone, Copy)]
enum Subject<'a> {
    File(&'a Temp<'a>),
    Folder(&'a Path),
}

impl Subject<'_> {
    fn sync(self, root: &Root) -> Result<()> {
        match self {
            Subject::File(file) => file.sync(),
            Subject::Folder(folder) => root.sync_dir(folder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Durability;

    // Red when the error of any but the first is dropped, or one of a part that another thread syncs.
    #[test]
    fn one_that_cannot_be_synced_is_an_error_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let file = Temp::write(&root, Path::new(""), b"x", Durability::Relaxed).unwrap();
        for took in [Duration::ZERO, Duration::MAX] {
            for count in [1, 2, THREADS, THREADS + 1, 3 * THREADS] {
                for missing in 0..count {
                    let folders = (0..count).map(|n| Path::new(if n == missing { "no folder" } else { "" }));
                    root.last_sync().note(took);
                    assert!(sync(&root, [&file], folders).is_err(), "{missing} of {count}");
                }
                root.last_sync().note(took);
                sync(&root, [&file], (0..count).map(|_| Path::new(""))).unwrap();
            }
        }
        sync(&root, [], []).unwrap();
    }
}
