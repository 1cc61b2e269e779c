//! Fills a partial: copies the missing bytes, only hashes those that are there, and records each step.

use std::ops::Range;

use super::journal::{Fact, MIDSTATE_EVERY_BYTES};
use super::pull::{Pull, Way};
use super::{Partial, group_range, is_new};
use crate::error::{Error, Result};
use crate::fs::map::Map;
use crate::fs::writeback::Writeback;
use crate::hash::groups::{GROUP_BYTES, value_of};
use crate::hash::{Hasher, Hashes, hash_in_order};
use crate::ingest::Options;
use crate::ingest::reader::Reader;

impl Partial<'_> {
    /// Copies everything that is missing, and returns the hashes of the whole file.
    pub(in crate::ingest) fn fill(
        &mut self,
        reader: Reader<'_>,
        options: Options<'_>,
        writeback: &Writeback,
        cancelled: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Hashes> {
        if let Some(hashes) = self.whole() {
            (options.advanced)(self.size_bytes);
            return Ok(hashes);
        }
        if let (Reader::Remote(source), 1..) = (reader, self.resumed_bytes) {
            source.resumes(self.resumed_bytes);
        }
        if let (Reader::Remote(source), None, true) = (reader, &self.told, self.values.contains(&None)) {
            let told = source.group_values().filter(|told| told.len() == self.values.len());
            self.told = Some(told.unwrap_or_default());
            if self.forget_what_differs() {
                self.midstate = None; // it may cover bytes that are fetched again
            }
        }
        // SHA-256 resumes from its last recorded state, and reads back what was written after it.
        let mut sha256 = self.midstate.map_or_else(Hasher::default, Hasher::resume);
        (options.advanced)(sha256.length_bytes());
        let Partial { root, data, journal, size_bytes, is_clone, values, before, told, folder, .. } = self;
        let told = told.as_deref().unwrap_or_default();
        let (data, name) = (&*data, folder.path().join(super::DATA));
        let fail = |e| root.fail("write", &name, e);
        let pull = match reader {
            Reader::Local(_) => None,
            Reader::Remote(source) => {
                let way = Way { source, data, journal, before, told, fail: &fail, writeback, cancelled };
                Some(Pull::new(way, values, *size_bytes))
            }
        };
        let mut fill = |pull: Option<&Pull<'_>>| {
            let fetch = |part: Range<u64>| {
                cancelled()?;
                let numbers = groups_in(&part);
                let brought = match pull {
                    Some(pull) => pull.wait_for(&part)?,
                    None => {
                        // A clone has all its bytes from the start.
                        let is_missing = |number: &usize| !*is_clone && values.get(*number) == Some(&None);
                        for run in runs(numbers.clone().filter(is_missing), *size_bytes) {
                            reader.copy(&run, data, fail)?;
                            writeback.wrote(run.end - run.start);
                        }
                        Vec::new()
                    }
                };
                let map = Map::read_in(data, part.clone()).map_err(fail)?;
                let mut facts = Vec::new();
                for (place, number) in numbers.enumerate() {
                    let range = group_range(number, *size_bytes);
                    let inside = (range.start - part.start) as usize..(range.end - part.start) as usize;
                    let (Some(bytes), Some(slot)) = (map.get(inside), values.get_mut(number)) else { continue };
                    if let (None, Some(value)) = (&slot, brought.get(place)) {
                        *slot = Some(*value); // hashed and recorded when it arrived
                        continue;
                    }
                    let value = value_of(number as u64, bytes);
                    if is_new(slot, value, || root.absolute(&name))? {
                        facts.push(Fact::Group { number: number as u64, value });
                    }
                }
                // Only after the bytes that the records describe.
                journal.append(&facts);
                Ok::<_, Error>(map)
            };
            hash_in_order(&mut sha256, *size_bytes, fetch, &mut |sha256, bytes| {
                (options.advanced)(bytes);
                if sha256.length_bytes().is_multiple_of(MIDSTATE_EVERY_BYTES) {
                    journal.append(&sha256.midstate().map(Fact::Midstate).into_iter().collect::<Vec<_>>());
                }
            })
        };
        match &pull {
            Some(pull) => pull.with_workers(|are_there| fill(are_there.then_some(pull))),
            None => fill(None),
        }?;
        let digest = sha256.finish();
        self.note_whole(digest);
        Ok(self.hashes(digest).expect("every group was there or has been copied"))
    }
}

/// The groups of a part that begins at a group boundary.
pub(super) fn groups_in(part: &Range<u64>) -> Range<usize> {
    let number = |at: u64| usize::try_from(at / GROUP_BYTES as u64).unwrap_or(usize::MAX);
    number(part.start)..number(part.end.saturating_sub(1)).saturating_add(1)
}

/// The byte ranges of these groups, merged where they are adjacent.
pub(super) fn runs(groups: impl Iterator<Item = usize>, size_bytes: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in groups.map(|number| group_range(number, size_bytes)) {
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_part_and_runs_of_groups() {
        const MIB: u64 = 1 << 20;
        assert_eq!(groups_in(&(4 * MIB..8 * MIB)), 4..8);
        assert_eq!(groups_in(&(4 * MIB..4 * MIB + 1)), 4..5);
        assert_eq!(runs([0, 1, 3].into_iter(), 3 * MIB + 7), [0..2 * MIB, 3 * MIB..3 * MIB + 7]);
        assert_eq!(runs(std::iter::empty(), MIB), []);
    }
}
