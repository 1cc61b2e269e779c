use std::collections::{BTreeMap, HashSet};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::hash::kernel::tests::only;

/// Bytes in parts, optionally followed by an error or a panic.
#[derive(Clone, Debug)]
struct Parts {
    number: usize,
    bytes: Vec<u8>,
    part_bytes: usize,
    size_bytes: u64,
    end: End,
    at: usize,
    now: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Well,
    Error,
    Panic,
}

impl Parts {
    fn new(number: usize, bytes: Vec<u8>, part_bytes: usize) -> Self {
        let size_bytes = bytes.len() as u64;
        Parts { number, bytes, part_bytes, size_bytes, end: End::Well, at: 0, now: 0 }
    }
}

impl Stream for Parts {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn advance(&mut self) -> Result<()> {
        self.at += self.now;
        self.now = self.part_bytes.min(self.bytes.len() - self.at);
        match self.end {
            End::Error if self.now == 0 => {
                Err(Error::io("read", self.number.to_string(), std::io::Error::from_raw_os_error(5)))
            }
            End::Panic if self.now == 0 => panic!("stream {}", self.number),
            _ => Ok(()),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.at..self.at + self.now]
    }
}

fn digests<S: Stream>(
    threads: usize,
    modes: &[Mode],
    streams: Vec<S>,
    number: fn(&S) -> usize,
) -> BTreeMap<usize, Result<Digest>> {
    let results = Mutex::new(BTreeMap::new());
    digest_on(threads, modes, streams, |stream, digest| {
        let twice = results.lock().unwrap().insert(number(&stream), digest);
        assert!(twice.is_none(), "{} is told of twice", number(&stream));
    });
    results.into_inner().unwrap()
}

/// Checks that every stream gets the digest of its bytes, or its own error.
fn check(threads: usize, modes: &[Mode], streams: &[Parts]) {
    let results = digests(threads, modes, streams.to_vec(), |stream| stream.number);
    assert_eq!(results.len(), streams.len());
    for stream in streams {
        match (&results[&stream.number], stream.end) {
            (Ok(digest), End::Well) => {
                assert_eq!(*digest, Digest::sha256_of(&stream.bytes), "{} bytes", stream.bytes.len());
            }
            (Err(error), End::Error) => assert!(error.to_string().contains(&format!(" {}:", stream.number)), "{error}"),
            (result, _) => panic!("stream {}: {result:?}", stream.number),
        }
    }
}

/// The sets of modes to test: each kernel alone, and all together.
fn sets() -> Vec<Vec<Mode>> {
    let alone = ["avx512", "sha-ni", "portable"].map(only).into_iter().flatten().map(|mode| vec![mode]);
    let together = ["portable", "sha-ni", "avx512"].map(only).into_iter().flatten().collect();
    alone.chain([together]).collect()
}

/// The examples of FIPS 180-2, appendix B, and the empty message.
// Red when one bit of the padding or of the length is wrong.
#[test]
fn the_messages_of_nist_have_their_digests() {
    let million = "a".repeat(1_000_000);
    let messages = [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
        ),
        (&million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ];
    for modes in sets() {
        let streams = messages.iter().enumerate();
        let streams = streams.map(|(number, (text, _))| Parts::new(number, text.as_bytes().to_vec(), 65_536));
        let results = digests(1, &modes, streams.collect(), |stream| stream.number);
        for (number, (_, hex)) in messages.iter().enumerate() {
            assert_eq!(results[&number].as_ref().unwrap().to_hex(), *hex, "{modes:?}");
        }
    }
}

/// Lengths around which the padding changes.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![
            0, // only padding
            1, 55, // 55 is the longest with its padding in one block
            56, // the length needs a block of its own
            63, 64, 65, // around a block
            119, 120, // like 55 and 56, after a block
            128, 640, // whole blocks
        ]),
        0..2000_usize,
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    let part_bytes = prop_oneof![prop::sample::select(vec![1, 63, 64, 65, 4096]), 1..300_usize];
    let end = prop_oneof![4 => Just(End::Well), 1 => Just(End::Error)];
    // The size that a stream reports may be wrong, for example for a file that grows or a file of /proc.
    let size = prop_oneof![4 => Just(None), 1 => prop::sample::select(vec![Some(0), Some(1 << 40), Some(u64::MAX)])];
    (length(), part_bytes, end, size, any::<u8>()).prop_map(|(length, part_bytes, end, size, seed)| {
        let bytes: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
        let parts = Parts::new(0, bytes, part_bytes);
        Parts { size_bytes: size.unwrap_or(parts.size_bytes), end, ..parts }
    })
}

#[test]
fn streams_of_any_sizes_have_their_digests_and_errors() {
    for modes in sets() {
        let config = ProptestConfig::with_cases(40);
        proptest!(config, |(mut streams in prop::collection::vec(parts(), 0..40), threads in 1..4_usize)| {
            for (number, stream) in streams.iter_mut().enumerate() {
                stream.number = number;
            }
            check(threads, &modes, &streams);
        });
    }
}

/// Records which threads ask it for bytes, and does not end until there were two.
struct Watched<'a> {
    seen: &'a Mutex<HashSet<ThreadId>>,
    until: Instant,
    is_over: bool,
}

impl Stream for Watched<'_> {
    fn size_bytes(&self) -> u64 {
        1 << 20
    }

    fn advance(&mut self) -> Result<()> {
        let mut seen = self.seen.lock().unwrap();
        seen.insert(std::thread::current().id());
        assert!(Instant::now() < self.until, "one thread has all streams, the other none");
        self.is_over = seen.len() > 1;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        if self.is_over { &[] } else { &[7; 64] }
    }
}

// Red when `deal` gives nothing away: the first thread would keep both streams.
#[test]
fn a_thread_without_streams_gets_some_of_another() {
    let seen = Mutex::new(HashSet::new());
    let until = Instant::now() + Duration::from_secs(20);
    let mode = Mode { streams: 16, ..only("portable").unwrap() };
    let streams: Vec<_> = (0..2).map(|_| Watched { seen: &seen, until, is_over: false }).collect();
    digest_on(2, &[mode], streams, |_, digest| assert!(digest.is_ok()));
}

// Red without `Leave`: the test never ends.
#[test]
fn a_stream_that_panics_does_not_leave_the_others_waiting() {
    let mut streams: Vec<_> = (0..8).map(|number| Parts::new(number, vec![0; 1000], 64)).collect();
    streams[3].end = End::Panic;
    let modes = [only("portable").unwrap()];
    let ended = std::panic::catch_unwind(|| digest_on(3, &modes, streams, |_, _| ()));
    assert!(ended.is_err());
}

#[test]
fn many_streams_on_all_cores() {
    let streams: Vec<_> = (0..300).map(|number| Parts::new(number, vec![number as u8; number * 37], 1024)).collect();
    let count = std::sync::atomic::AtomicUsize::new(0);
    digest_streams(streams, |stream, digest| {
        assert_eq!(digest.unwrap(), Digest::sha256_of(&stream.bytes));
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(count.into_inner(), 300);
}
