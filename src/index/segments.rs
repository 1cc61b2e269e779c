//! Older events of a shard, moved out of its text: `log/<xx>.<first>.jsonl`, one event a line.
//!
//! A segment is written and synced before the shard without its events takes the shard's place. If the writer is
//! killed between the two, the events are in both, and the shard's count; the next one to move them writes the segment
//! again.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::load::{Index, load_logged};
use super::log::{Chain, Log, Logged};
use crate::error::Result;
use crate::fs::{Durability, Root, Temp};
use crate::layout::{self, Thing};
use crate::threads::ready_for_rayon;

/// From this size on, the events of a shard are moved out of it.
pub(super) const SEGMENT_FROM_BYTES: usize = 32 << 10;

/// How many segments of a shard are kept: more than a megabyte, some 3,000 events.
pub(super) const KEPT_SEGMENTS: usize = if cfg!(test) { 4 } else { 32 };

/// A segment of one event for each entry that a shard can hold.
const MAX_SEGMENT_BYTES: u64 = layout::MAX_SHARD_BYTES;

/// The numbers of the first events of each shard's segments, ascending.
pub(super) fn segments(root: &Root) -> Result<BTreeMap<u8, Vec<u64>>> {
    let folder = Path::new(layout::LOG);
    let mut all: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    for name in root.names(folder)? {
        if let Thing::LogSegment { number, first } = layout::classify_in(folder, &name) {
            all.entry(number).or_default().push(first);
        }
    }
    all.values_mut().for_each(|firsts| firsts.sort_unstable());
    Ok(all)
}

/// The text of a segment; `None` if it is gone.
fn read(root: &Root, number: u8, first: u64) -> Result<Option<String>> {
    let bytes = root.read(&layout::log_segment(number, first), MAX_SEGMENT_BYTES)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The log of a shard that has none, or none that can be read, for its next event.
pub(super) fn resume(root: &Root, number: u8, logged: &Logged) -> Log {
    let last = segments(root).ok().and_then(|all| all.get(&number)?.last().copied());
    let Some(first) = last else {
        return if matches!(logged, Logged::Nothing) { Log::default() } else { Log::after_loss(0) };
    };
    let text = read(root, number, first).ok().flatten().unwrap_or_default();
    let lines = text.lines().count() as u64;
    Log::after_loss(first.saturating_sub(1).saturating_add(lines))
}

/// Writes the events of a shard to a segment that has no name yet.
pub(super) fn write<'r>(root: &'r Root, log: &Log, durability: Durability) -> Result<Temp<'r>> {
    let folder = Path::new(layout::LOG);
    if root.meta(folder)?.is_none() {
        root.make_dirs(folder)?; // the store is of an earlier version
    }
    let mut text = String::with_capacity(log.size_bytes().saturating_add(log.events.len()));
    for event in &log.events {
        text.push_str(event.get());
        text.push('\n');
    }
    Temp::write(root, folder, text.as_bytes(), durability)
}

/// Removes the oldest segments of these shards. Best effort.
pub(super) fn drop_oldest(root: &Root, numbers: &[u8]) {
    let Ok(all) = segments(root) else { return };
    for (number, firsts) in numbers.iter().filter_map(|number| Some((*number, all.get(number)?))) {
        for first in firsts.iter().rev().skip(KEPT_SEGMENTS) {
            let _ = root.remove_file(&layout::log_segment(number, *first));
        }
    }
}

impl Index {
    /// The events of these shards that are still there.
    pub(crate) fn chains(&self, numbers: &[u8]) -> Result<Vec<Chain>> {
        self.of_chains(numbers, |chain| chain)
    }

    /// What does not hold in the events of each of these shards. The events themselves are not kept: there may be many
    /// more than entries.
    pub(crate) fn problems_of_chains(&self, numbers: &[u8]) -> Result<Vec<Vec<String>>> {
        self.of_chains(numbers, |chain| chain.problems)
    }

    fn of_chains<T: Send>(&self, numbers: &[u8], take: impl Fn(Chain) -> T + Sync) -> Result<Vec<T>> {
        ready_for_rayon();
        let logged = |number: &u8| Ok((*number, load_logged(&self.root, *number)?));
        let logged: Vec<(u8, Logged)> = numbers.par_iter().map(logged).collect::<Result<_>>()?;
        // Only now: what is moved out of a shard in the meantime would be missing.
        let segments = segments(&self.root)?;
        let chain = |(number, logged): (u8, Logged)| {
            self.chain(number, logged, segments.get(&number).map(Vec::as_slice).unwrap_or_default()).map(&take)
        };
        logged.into_par_iter().map(chain).collect()
    }

    fn chain(&self, number: u8, logged: Logged, firsts: &[u64]) -> Result<Chain> {
        let log = match logged {
            Logged::Log(log) => log,
            other => resume(&self.root, number, &other),
        };
        let (mut older, mut oldest) = (Vec::new(), None);
        for first in firsts.iter().filter(|first| **first < log.first()) {
            // The oldest ones may have been dropped in the meantime.
            let Some(text) = read(&self.root, number, *first)? else { continue };
            oldest = oldest.or(Some(*first));
            // Events that are in the shard, too, are read from there.
            let count = usize::try_from(log.first().saturating_sub(*first)).unwrap_or(usize::MAX);
            older.extend(text.lines().take(count).map(str::to_owned));
        }
        let first = oldest.unwrap_or(log.first());
        let mut chain = Chain::follow(&log, first, older.iter().map(String::as_str));
        if first > 1 && firsts.len() < KEPT_SEGMENTS && !log.is_trimmed && chain.problems.is_empty() {
            chain.problems.push(format!("the events before event {first} are lost"));
        }
        Ok(chain)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::lock::Wait;
    use crate::index::testing::{record, root};
    use crate::index::{Change, Happened};

    /// Changes "m" so that each time the log gets an event.
    fn put(index: &Index, times: usize) {
        let noted = "x".repeat(1000);
        for _ in 0..times {
            let mut edit = |_: &str, old: Option<_>| match old {
                None => Ok(Change::Put(Box::new(record("m")))),
                Some(_) => Ok(Change::Remove(Happened::with_note(crate::entry::LogEventKind::Removed, noted.as_str()))),
            };
            index.update(&["m"], Durability::Relaxed, Wait::Never, &mut |_| Ok(()), &mut edit).unwrap();
        }
    }

    fn chain(index: &Index) -> Chain {
        index.chains(&[layout::shard_number("m")]).unwrap().pop().unwrap()
    }

    fn firsts(root: &Root) -> Vec<u64> {
        segments(root).unwrap().remove(&layout::shard_number("m")).unwrap_or_default()
    }

    /// Asserts that the chain is whole and has had this many events.
    fn is_whole(index: &Index, count: u64) {
        let chain = chain(index);
        assert_eq!((chain.problems, chain.count, chain.first), (vec![], count, Some(1)));
        assert_eq!(chain.events.len() as u64, count);
    }

    #[test]
    fn a_shard_with_many_events_gives_the_older_ones_to_a_segment() {
        let (_dir, root) = root();
        let index = Index::new(root.clone(), true);
        put(&index, 200);
        is_whole(&index, 200);
        let firsts = firsts(&root);
        assert!(firsts.len() >= 2 && firsts[0] == 1, "{firsts:?}");
        let shard = root.read(&layout::shard(layout::shard_number("m")), layout::MAX_SHARD_BYTES).unwrap().unwrap();
        assert!(shard.len() < 2 * SEGMENT_FROM_BYTES, "{}", shard.len());
    }

    // The writer was killed after the segment had its name: the shard still has the events, and goes on from there.
    #[test]
    fn events_that_are_in_a_segment_and_in_the_shard_count_once() {
        let (_dir, root) = root();
        let index = Index::new(root.clone(), true);
        put(&index, 20);
        let logged = load_logged(&root, layout::shard_number("m")).unwrap();
        let Logged::Log(log) = logged else { panic!() };
        let mut killed = write(&root, &log, Durability::Relaxed).unwrap();
        killed.publish_over(&layout::log_segment(layout::shard_number("m"), 1)).unwrap();
        is_whole(&index, 20);
        put(&index, 100);
        is_whole(&index, 120);
    }

    // Red when a segment that is cut or changed is not noticed, or when a chain that lost its end looks whole.
    #[test]
    fn what_is_lost_is_noticed_for_good() {
        let (_dir, root) = root();
        let index = Index::new(root.clone(), true);
        put(&index, 100);
        let number = layout::shard_number("m");
        let segment = root.absolute(&layout::log_segment(number, 1));
        let text = std::fs::read_to_string(&segment).unwrap();
        std::fs::write(&segment, text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!(chain(&index).problems, ["the events before event 2 are lost"]);
        std::fs::write(&segment, text.replacen(r#""what":"removed""#, r#""what":"evicted""#, 1)).unwrap();
        assert_eq!(chain(&index).problems.len(), 1);
        std::fs::remove_file(&segment).unwrap();
        assert_eq!(chain(&index).problems.len(), 1);
        std::fs::write(&segment, &text).unwrap();
        assert_eq!(chain(&index).problems.len(), 0);
        // The newest events cannot be read, and the next one begins anew.
        let path = root.absolute(&layout::shard(number));
        let shard = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = shard.split_once(r#","log":"#).unwrap();
        let (_, entries) = rest.split_once("\n]}").unwrap();
        std::fs::write(&path, format!(r#"{head},"log":7{entries}"#)).unwrap();
        assert_eq!(chain(&index).problems.len(), 1);
        assert_eq!(index.get("m").unwrap(), None, "an entry is there or not, whatever the log says");
        put(&index, 1);
        assert!(index.get("m").unwrap().is_some());
        let problems = chain(&index).problems;
        assert!(problems.len() == 1 && problems[0].contains("is missing"), "{problems:?}");
    }

    // Red when segments are never removed.
    #[test]
    fn the_oldest_events_go() {
        let (_dir, root) = root();
        let index = Index::new(root.clone(), true);
        put(&index, (KEPT_SEGMENTS + 3) * SEGMENT_FROM_BYTES / 500);
        let chain = chain(&index);
        assert!(chain.problems.is_empty() && chain.first > Some(1), "{:?} {:?}", chain.first, chain.problems);
        assert_eq!(firsts(&root).len(), KEPT_SEGMENTS);
    }

    // Where locks do not work, two writers could replace each other's segments.
    #[test]
    fn without_locks_only_the_newest_events_are_kept() {
        let (_dir, root): (_, Arc<Root>) = root();
        let index = Index::without_locks(root.clone());
        put(&index, 200);
        let chain = chain(&index);
        assert_eq!((chain.problems, chain.count), (vec![], 200));
        assert!(chain.first > Some(1) && firsts(&root).is_empty());
    }

    #[test]
    fn after_a_lost_shard_the_chain_goes_on_from_the_one_before() {
        let (_dir, root) = root();
        let index = Index::new(root.clone(), true);
        for puts in [3, 50] {
            put(&index, puts);
            std::fs::write(root.absolute(&layout::shard(layout::shard_number("m"))), "x").unwrap();
            root.make_dirs(Path::new("quarantine")).unwrap();
            index.restore_previous(layout::shard_number("m"), Durability::Relaxed, Wait::Never).unwrap().unwrap();
            assert_eq!(chain(&index).problems, Vec::<String>::new());
            put(&index, 60);
            assert_eq!(chain(&index).problems, Vec::<String>::new());
        }
    }
}
