//! SHA-256 and the BLAKE3 groups of one file in one pass over its bytes.

use std::ops::{Deref, Range};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use super::groups::{GroupHasher, Groups};
use super::{Hasher, chunks};
use crate::digest::Digest;
use crate::threads;

/// What a file hashes to.
#[derive(Clone, Debug)]
pub(crate) struct Hashes {
    pub(crate) digest: Digest,
    /// `None`: they were not wanted.
    pub(crate) groups: Option<Groups>,
}

/// From what size on a second thread is worth its start.
const OVERLAP_FROM_BYTES: u64 = 8 << 20;

/// How many chunks may wait for SHA-256. They are in the processor's cache when they come.
const QUEUED_CHUNKS: usize = 2;

/// Both hashes of bytes that come one piece after the other.
pub(crate) struct BothHasher {
    sha256: Hasher,
    groups: Option<GroupHasher>,
}

impl BothHasher {
    pub(crate) fn new(with_groups: bool) -> Self {
        BothHasher { sha256: Hasher::default(), groups: with_groups.then(GroupHasher::default) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(groups) = &mut self.groups {
            groups.update(bytes);
        }
    }

    pub(crate) fn finish(self) -> Hashes {
        Hashes { digest: self.sha256.finish(), groups: self.groups.map(GroupHasher::finish) }
    }
}

/// Hashes a file of this size. `fetch` is asked for each part in turn, and may have to copy or read it first; `advanced` is
/// told of what was hashed.
///
/// SHA-256 is the slowest of what happens to a byte, and cannot be divided. So it has this thread for itself, and fetching
/// and BLAKE3 happen on another one meanwhile: both together take less.
pub(crate) fn hash_both<B: Deref<Target = [u8]> + Send, E: Send>(
    size_bytes: u64,
    with_groups: bool,
    fetch: impl FnMut(Range<u64>) -> Result<B, E> + Send,
    advanced: &dyn Fn(u64),
) -> Result<Hashes, E> {
    if size_bytes < OVERLAP_FROM_BYTES {
        return hash_here(size_bytes, with_groups, fetch, advanced);
    }
    // The thread that does it takes it from here; one that could not be started has not.
    let fetch = Mutex::new(Some(fetch));
    let take = || fetch.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it is taken by one of two");
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel::<B>(QUEUED_CHUNKS);
        let fetching = threads::spawn(scope, move || {
            let mut fetch = take();
            let mut groups = with_groups.then(GroupHasher::default);
            for chunk in chunks(size_bytes) {
                let bytes = fetch(chunk)?;
                if let Some(groups) = &mut groups {
                    groups.update(&bytes);
                }
                if sender.send(bytes).is_err() {
                    break; // the other side has panicked
                }
            }
            Ok(groups.map(GroupHasher::finish))
        });
        let Ok(fetching) = fetching else { return hash_here(size_bytes, with_groups, take(), advanced) };
        let mut sha256 = Hasher::default();
        for bytes in receiver {
            sha256.update(&bytes);
            advanced(bytes.len() as u64);
        }
        let groups = fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Hashes { digest: sha256.finish(), groups })
    })
}

/// Both hashes on this thread.
fn hash_here<B: Deref<Target = [u8]>, E>(
    size_bytes: u64,
    with_groups: bool,
    mut fetch: impl FnMut(Range<u64>) -> Result<B, E>,
    advanced: &dyn Fn(u64),
) -> Result<Hashes, E> {
    let mut hasher = BothHasher::new(with_groups);
    for chunk in chunks(size_bytes) {
        let bytes = fetch(chunk)?;
        hasher.update(&bytes);
        advanced(bytes.len() as u64);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::CHUNK_BYTES;

    #[test]
    fn both_hashes_are_those_of_the_bytes() {
        let sizes = [
            0, // empty
            CHUNK_BYTES + 1,
            OVERLAP_FROM_BYTES as usize - 1, // on one thread
            OVERLAP_FROM_BYTES as usize,     // on two
            3 * CHUNK_BYTES + 1,
        ];
        let all: Vec<u8> = (0..4 * CHUNK_BYTES).map(|i| (i % 251) as u8).collect();
        for size in sizes {
            let bytes = &all[..size];
            let told = std::cell::Cell::new(0);
            let fetch = |part: Range<u64>| Ok::<_, ()>(&bytes[part.start as usize..part.end as usize]);
            let hashes = hash_both(size as u64, true, fetch, &|n| told.set(told.get() + n)).unwrap();
            assert_eq!(hashes.digest, Digest::sha256_of(bytes), "{size}");
            assert_eq!(*hashes.groups.unwrap().root(), blake3::hash(bytes), "{size}");
            assert_eq!(told.get(), size as u64);
            assert!(hash_both(size as u64, false, fetch, &|_| {}).unwrap().groups.is_none());
        }
    }

    #[test]
    fn a_part_that_cannot_be_had_is_the_error_of_the_whole() {
        for size in [CHUNK_BYTES as u64, 4 * OVERLAP_FROM_BYTES] {
            let fetch = |part: Range<u64>| if part.end == size { Err("gone") } else { Ok(vec![0; 10]) };
            assert_eq!(hash_both(size, true, fetch, &|_| {}).unwrap_err(), "gone");
        }
    }
}
