//! Syncs files and folders that do not depend on each other side by side.
//!
//! A sync waits for the disk, and each one that is made after another waits once more. Those that wait together share
//! one commit of a file system's journal and one flush of the disk. Where a sync takes no longer than a few threads take to
//! start, because the disk has no cache to flush, they are made one after the other.

use std::path::Path;
use std::thread;

use super::{Root, Temp};
use crate::error::Result;
use crate::threads;

/// Threads mostly wait, so their number does not depend on the number of cores.
const THREADS: usize = 16;

/// Makes the content of `files` and the names in `folders` durable. Returns an error if any of these syncs failed.
///
/// The calling thread syncs the first of them itself, and the others too if the system refuses it threads.
pub(crate) fn sync<'a>(
    root: &Root,
    files: impl IntoIterator<Item = &'a Temp<'a>>,
    folders: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    // A file gets its blocks when it is written to the disk. If the journal were committed for a folder before that, it
    // would have to be committed again for the blocks.
    let files = files.into_iter().inspect(|file| file.write_out()).map(Subject::File);
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
    use std::time::Duration;

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
