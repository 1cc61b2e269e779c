//! Asks the disk for the next parts of a file while others are checked, so that it never waits for a processor.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fs::cached::{self, Visit};

/// How many parts are asked for ahead of those that are checked.
const PARTS: usize = 2;

/// The parts of a file that were asked for and not visited yet, by their start, with what that brings into memory.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<BTreeMap<u64, Vec<Range<u64>>>>);

impl Ahead {
    /// Reads a part. If it was not in memory, asks for the `next` ones, too.
    pub(super) fn visit<'f>(
        &self,
        file: &'f File,
        part: Range<u64>,
        next: impl Iterator<Item = Range<u64>>,
    ) -> io::Result<Visit<'f>> {
        let asked = self.held().remove(&part.start);
        let started = Visit::begin(file, part, asked.unwrap_or_default())?;
        if started.is_cold() {
            next.take(PARTS).for_each(|part| self.ask(file, &part));
        }
        started.finish()
    }

    fn ask(&self, file: &File, part: &Range<u64>) {
        // The name comes first, so that no other thread asks, too; the kernel may keep this one waiting.
        match self.held().entry(part.start) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => _ = place.insert(Vec::new()),
        }
        // Advice: a part that cannot be asked for is read in its turn.
        let brought_in = cached::ask_for(file, part).unwrap_or_default();
        self.held().insert(part.start, brought_in);
    }

    /// Evicts what was asked for and never visited.
    pub(super) fn give_up(&self, file: &File) {
        for part in std::mem::take(&mut *self.held()).into_values().flatten() {
            cached::evict(file, &part);
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Range<u64>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::fs::cached::testing::resident;
    use crate::skip::skip;

    const PART: u64 = 1 << 20;

    // Red when nothing is asked for ahead, and when what was asked for stays in memory although nobody has visited it.
    #[test]
    fn what_was_asked_for_and_not_visited_is_evicted() {
        // Next to the test program: the usual temporary folder may be entirely in memory (tmpfs).
        let dir = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 4 * PART as usize]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        cached::evict(&file, &(0..4 * PART));
        if resident(&file, 0..4 * PART).contains(&true) {
            return skip("this file system keeps everything in memory");
        }
        let ahead = Ahead::default();
        let part = |number| number * PART..(number + 1) * PART;
        drop(ahead.visit(&file, part(0), (1..4).map(part)).unwrap());
        let is_here = |number| !resident(&file, part(number)).contains(&false);
        for _ in 0..1000 {
            if is_here(1) && is_here(2) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!([0, 1, 2, 3].map(is_here), [false, true, true, false]);
        drop(ahead.visit(&file, part(1), std::iter::empty()).unwrap());
        assert_eq!([0, 1, 2, 3].map(is_here), [false, false, true, false]);
        ahead.give_up(&file);
        assert!(!resident(&file, 0..4 * PART).contains(&true));
    }
}
