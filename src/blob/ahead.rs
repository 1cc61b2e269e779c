//! Asks the disk for the next parts of a file while others are checked, so that it never waits for a processor.

use std::collections::BTreeMap;
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
        // The name comes first, so that no other thread asks; the kernel may keep this one waiting.
        if self.held().contains_key(&part.start) {
            return;
        }
        self.held().insert(part.start, Vec::new());
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
