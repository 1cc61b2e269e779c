//! SHA-256 and the BLAKE3 groups of one file in one pass over its bytes.

use std::ops::{Deref, Range};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use super::groups::{GroupHasher, Groups};
use super::{Hasher, chunks};
use crate::digest::Digest;
use crate::threads;

/// The hashes of a file.
#[derive(Clone, Debug)]
pub(crate) struct Hashes {
    pub(crate) digest: Digest,
    /// `None` if they were not requested.
    pub(crate) groups: Option<Groups>,
}

/// A second thread pays off from this size on.
const OVERLAP_FROM_BYTES: u64 = 8 << 20;

/// How many chunks may wait for SHA-256; few enough that they are still in the processor's cache.
const QUEUED_CHUNKS: usize = 2;

/// Computes both hashes of bytes that arrive piece by piece.
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

/// Hashes a file of this size. It calls `fetch` for each part in order, which may have to copy or read it first, and
/// `advanced` with the number of bytes hashed.
pub(crate) fn hash_both<B: Deref<Target = [u8]> + Send, E: Send>(
    size_bytes: u64,
    with_groups: bool,
    mut fetch: impl FnMut(Range<u64>) -> Result<B, E> + Send,
    advanced: &dyn Fn(u64),
) -> Result<Hashes, E> {
    let mut sha256 = Hasher::default();
    let mut groups = with_groups.then(GroupHasher::default);
    let fetch_and_group = |part| {
        let bytes = fetch(part)?;
        if let Some(groups) = &mut groups {
            groups.update(&bytes);
        }
        Ok(bytes)
    };
    hash_in_order(&mut sha256, size_bytes, fetch_and_group, &mut |_, bytes| advanced(bytes))?;
    Ok(Hashes { digest: sha256.finish(), groups: groups.map(GroupHasher::finish) })
}

/// Hashes the rest of a file of this size. It calls `fetch` for each part in order, which may have to copy or read it
/// first, and `hashed` after each part, with the hasher's state at that point and the number of bytes hashed.
///
/// SHA-256 is the slowest step and cannot be parallelized. So it has this thread to itself, and another thread fetches
/// and runs BLAKE3 at the same time.
pub(crate) fn hash_in_order<B: Deref<Target = [u8]> + Send, E: Send>(
    sha256: &mut Hasher,
    size_bytes: u64,
    fetch: impl FnMut(Range<u64>) -> Result<B, E> + Send,
    hashed: &mut dyn FnMut(&Hasher, u64),
) -> Result<(), E> {
    let rest = sha256.length_bytes()..size_bytes;
    let mut hash = |bytes: &[u8]| {
        sha256.update(bytes);
        hashed(sha256, bytes.len() as u64);
    };
    if rest.end.saturating_sub(rest.start) < OVERLAP_FROM_BYTES {
        return hash_here(rest, fetch, &mut hash);
    }
    // Whichever thread fetches takes the closure from here: a thread that could not be started has not taken it.
    let fetch = Mutex::new(Some(fetch));
    let take = || fetch.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it is taken by one of two");
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel::<B>(QUEUED_CHUNKS);
        let parts = rest.clone();
        let fetching = threads::spawn(scope, move || {
            let mut fetch = take();
            for part in chunks(parts) {
                if sender.send(fetch(part)?).is_err() {
                    break; // the other side has panicked
                }
            }
            Ok(())
        });
        let Ok(fetching) = fetching else { return hash_here(rest, take(), &mut hash) };
        for bytes in receiver {
            hash(&bytes);
        }
        fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Fetches and hashes on this thread.
fn hash_here<B: Deref<Target = [u8]>, E>(
    part: Range<u64>,
    mut fetch: impl FnMut(Range<u64>) -> Result<B, E>,
    hash: &mut dyn FnMut(&[u8]),
) -> Result<(), E> {
    chunks(part).try_for_each(|part| {
        hash(&fetch(part)?);
        Ok(())
    })
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
