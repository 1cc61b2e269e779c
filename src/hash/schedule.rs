//! How many streams a thread hashes at once: pure functions from sizes to a mode.
//!
//! More streams at once process more bytes per second, but each one is slower: of sixteen, each runs at a seventh of
//! the speed that it has alone. So the best choice depends on the load. Many files of similar size should fill all
//! lanes. A file of 40 GB next to 500 small ones should run alone: in one of sixteen lanes it would take seven times as
//! long, and everything else would be done long before.
//!
//! The work cannot end before its longest stream does, nor before all threads together have hashed all bytes. The later
//! of the two is a lower bound for the time of a mode; the mode with the smallest bound is chosen. The choice is made
//! again after each round of blocks, for what is left then.

use super::kernel::Mode;

/// The work that is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// How many streams the thread could hash at once.
    pub(super) streams: usize,
    /// The longest of them.
    pub(super) longest_bytes: u64,
    /// All bytes of all threads that are not hashed yet.
    pub(super) unfinished_bytes: u64,
    pub(super) threads: usize,
}

/// The mode to hash with. `None` if there is no mode at all.
pub(super) fn choose<'m>(modes: &'m [Mode], load: &Load) -> Option<&'m Mode> {
    modes.iter().min_by_key(|mode| duration(mode, load))
}

/// A lower bound for the time that all of it takes, in an arbitrary unit.
fn duration(mode: &Mode, load: &Load) -> u128 {
    const UNIT: u128 = 1 << 20;
    let at_once = (mode.streams.min(load.streams).max(1) * load.threads.max(1)) as u128;
    let longest = u128::from(load.longest_bytes) * at_once;
    longest.max(load.unfinished_bytes.into()) * UNIT / (at_once * u128::from(mode.pace))
}

/// How many threads are worthwhile. Starting one takes as long as hashing some 100 KiB; opening a file, some 16 KiB.
pub(super) fn threads(streams: usize, bytes: u64, cores: usize) -> usize {
    const WORTH_BYTES: u64 = 256 << 10;
    const OPENING_BYTES: u64 = 16 << 10;
    let work = bytes.saturating_add((streams as u64).saturating_mul(OPENING_BYTES));
    let worth = usize::try_from(work.div_ceil(WORTH_BYTES)).unwrap_or(usize::MAX);
    cores.min(streams).min(worth).max(1)
}

/// How many streams may be open at once if the process can open this many more files: a stream that is being staged
/// uses up to four, including the partial that it is copied into.
pub(super) fn streams_within(spare_descriptors: usize) -> usize {
    (spare_descriptors / 4).clamp(1, 256)
}

/// The modes that each of `threads` threads may use if `streams` streams may be open at once.
pub(super) fn allowed(modes: &[Mode], threads: usize, streams: usize) -> &[Mode] {
    let allowed = modes.partition_point(|mode| mode.streams == 1 || mode.streams * threads <= streams);
    modes.get(..allowed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::kernel::Kernel;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn modes() -> [Mode; 4] {
        [(1, 100), (2, 68), (4, 35), (16, 14)].map(|(streams, pace)| Mode { kernel: Kernel::Single, streams, pace })
    }

    /// How many streams a thread hashes at once if it finds these sizes, the longest first, and other threads have
    /// `elsewhere` bytes left.
    fn chosen(sizes: &[u64], elsewhere: u64, threads: usize) -> usize {
        let unfinished_bytes = sizes.iter().sum::<u64>() + elsewhere;
        let load = Load { streams: sizes.len(), longest_bytes: sizes[0], unfinished_bytes, threads };
        choose(&modes(), &load).unwrap().streams
    }

    #[test]
    fn like_files_fill_the_lanes_that_they_are_enough_for() {
        for (files, threads, streams) in [
            (1, 1, 1),
            (2, 1, 2),
            (4, 1, 4),
            (9, 1, 4),
            (11, 1, 16), // from here on, sixteen slow lanes are faster than four fast ones
            (16, 1, 16),
            (1000, 1, 16),
            (2, 2, 1), // a core each
            (4, 2, 2),
            (16, 2, 4),
            (64, 2, 16),
            (64, 8, 4),
        ] {
            for size in [64, 4 << 10, GIB] {
                assert_eq!(chosen(&vec![size; files], 0, threads), streams, "{files} files, {threads} threads");
            }
        }
    }

    // Red when only the number of streams decides: the long one is then one of sixteen, and all wait for it.
    #[test]
    fn a_long_file_beside_many_small_ones_is_alone() {
        let small = vec![10 * MIB; 500];
        let all: Vec<_> = [40 * GIB].into_iter().chain(small.clone()).collect();
        assert_eq!(chosen(&all, 0, 2), 1, "the thread that comes first");
        assert_eq!(chosen(&small, 40 * GIB, 2), 16, "the other one");
        assert_eq!(chosen(&all, 0, 1), 1, "with one core, the small ones come after it");
        assert_eq!(chosen(&[40 * GIB, 40 * GIB], 5 * GIB, 2), 1, "two long ones, a core each");
        assert_eq!(chosen(&[40 * GIB, 40 * GIB, 40 * GIB, 40 * GIB], 5 * GIB, 2), 2);
    }

    #[test]
    fn a_file_that_is_a_little_longer_is_one_of_many() {
        let mut sizes = vec![100 * MIB; 100];
        sizes[0] = 200 * MIB;
        assert_eq!(chosen(&sizes, 0, 2), 16);
    }

    #[test]
    fn there_is_always_a_mode() {
        let load = Load { streams: 0, longest_bytes: u64::MAX, unfinished_bytes: u64::MAX, threads: 0 };
        assert!(choose(&modes(), &load).is_some());
        assert!(choose(&modes()[..1], &load).is_some());
        assert!(choose(&[], &load).is_none());
    }

    #[test]
    fn a_thread_is_started_for_what_is_worth_it() {
        assert_eq!(threads(1, GIB, 8), 1);
        assert_eq!(threads(0, 0, 8), 1);
        assert_eq!(threads(8, 8 * 4096, 8), 1);
        assert_eq!(threads(64, 64 * 4096, 2), 2);
        assert_eq!(threads(64, 64 * MIB, 8), 8);
        assert_eq!(threads(3, GIB, 8), 3);
        assert_eq!(threads(usize::MAX, u64::MAX, 8), 8);
    }

    // Red without the limit: 64 cores would open 1,024 files, leaving no descriptor for anything else.
    #[test]
    fn no_more_files_are_open_than_a_process_may_have() {
        for (cores, streams) in [(1, 16), (2, 16), (16, 16), (17, 4), (64, 4), (65, 2), (128, 2), (1000, 1)] {
            assert_eq!(allowed(&modes(), cores, 256).last().unwrap().streams, streams, "{cores} cores");
        }
        for (spare, streams) in [(0, 1), (7, 1), (190, 47), (1_000, 250), (1_000_000, 256), (usize::MAX, 256)] {
            assert_eq!(streams_within(spare), streams, "{spare} descriptors");
        }
        assert_eq!(allowed(&modes(), 2, 1).len(), 1);
    }
}
