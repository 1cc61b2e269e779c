//! Partials that several workers fill at once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use super::super::pull::insert_in_order;
use super::*;
use crate::read_at::ReadAt;

/// A remote file that is read over several connections of varying speed.
struct Several {
    served: Arc<Served>,
    connections: usize,
    open: AtomicUsize,
    most: AtomicUsize,
    anew: AtomicUsize,
}

impl Several {
    fn of(bench: &Bench, connections: usize, fault: Fault) -> Arc<Self> {
        let counts = || AtomicUsize::new(0);
        Arc::new(Several { served: bench.served(fault), connections, open: counts(), most: counts(), anew: counts() })
    }
}

impl ReadAt for Several {
    fn name(&self) -> String {
        self.served.name()
    }

    fn size_bytes(&self) -> u64 {
        self.served.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(offset % 7)); // so that they overtake each other
        let read = self.served.read_exact_at(offset, buffer);
        self.open.fetch_sub(1, Ordering::Relaxed);
        read
    }

    fn connections(&self) -> usize {
        self.connections
    }

    fn starts_over(&self) {
        self.anew.fetch_add(1, Ordering::Relaxed);
    }
}

fn ingest<'r>(
    bench: &Bench,
    session: &Session<'r>,
    several: &Arc<Several>,
    expected: Option<Digest>,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Sealed<'r>> {
    ingest_from(bench, session, several.clone(), expected, told)
}

fn ingest_from<'r>(
    bench: &Bench,
    session: &Session<'r>,
    reader: Arc<dyn ReadAt>,
    expected: Option<Digest>,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Sealed<'r>> {
    let origin = Origin::Remote(Ranges { reader, validator: Some("\"v1\"".into()) });
    let size_bytes = bench.bytes.len() as u64;
    let file = ContentFile { path: String::new(), size_bytes, expected, origin, present: None };
    ingest_one(session, &file, with_partials(options(told)))
}

#[track_caller]
fn assert_right(bench: &Bench, sealed: &Sealed<'_>) {
    assert_eq!((sealed.digest(), *sealed.groups().unwrap().root()), (bench.digest(), bench.blake3));
    assert!(bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap() == *bench.bytes);
}

/// Red when a group that arrives early counts for another one, or when SHA-256 does not wait for those before it.
#[test]
fn workers_that_overtake_each_other_bring_the_same_bytes() {
    let bench = Bench::of_size((33 << 20) + 12_345);
    let session = Session::begin(&bench.root).unwrap();
    let several = Several::of(&bench, 4, Fault::Nothing);
    let told = std::sync::atomic::AtomicU64::new(0);
    let advanced = |bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
    };
    assert_right(&bench, &ingest(&bench, &session, &several, None, &advanced).unwrap());
    assert_eq!((told.into_inner(), several.served.asked_bytes()), (bench.bytes.len() as u64, bench.bytes.len() as u64));
    assert!(several.most.load(Ordering::Relaxed) > 1);
}

/// Red when bytes ahead of the first gap are fetched again, or taken for bytes behind it.
#[test]
fn what_arrived_ahead_of_a_gap_is_not_fetched_again() {
    let bench = Bench::of_size((33 << 20) + 12_345);
    for broken_at in [0, 9 * MIB + 5, 25 * MIB, 33 * MIB] {
        let session = Session::begin(&bench.root).unwrap();
        let broken = Several::of(&bench, 4, Fault::Broken(broken_at));
        let error = ingest(&bench, &session, &broken, None, &|_| {}).unwrap_err();
        assert!(matches!(&error, Error::Io { action: "read", .. }), "{error}");
        let several = Several::of(&bench, 3, Fault::Nothing);
        let mut sealed = ingest(&bench, &session, &several, None, &|_| {}).unwrap();
        assert_right(&bench, &sealed);
        let missing = bench.bytes.len() as u64 - sealed.resumed_bytes();
        assert_eq!(several.served.asked_bytes(), missing, "{broken_at}");
        sealed.keep();
    }
}

/// Red when one wrong part ends the ingestion, or when it is fetched more than once again.
#[test]
fn what_was_wrong_once_is_fetched_once_more() {
    let bench = Bench::of_size((33 << 20) + 12_345);
    let session = Session::begin(&bench.root).unwrap();
    let several = Several::of(&bench, 4, Fault::WrongOnce(9 * MIB + 5));
    let told = std::sync::atomic::AtomicU64::new(0);
    let advanced = |bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
    };
    let mut sealed = ingest(&bench, &session, &several, Some(bench.digest()), &advanced).unwrap();
    assert_right(&bench, &sealed);
    assert_eq!(several.served.asked_bytes(), 2 * bench.bytes.len() as u64);
    assert_eq!((several.anew.load(Ordering::Relaxed), told.into_inner()), (1, bench.bytes.len() as u64));
    sealed.keep();
    drop(sealed);
    assert!(folders(&bench.root).is_empty());
}

/// Red when a cancelled pull waits for workers that wait for it, or when its partial is removed.
#[test]
fn a_pull_that_is_cancelled_ends_and_keeps_what_it_has() {
    let bench = Bench::of_size((33 << 20) + 12_345);
    let session = Session::begin(&bench.root).unwrap();
    let several = Several::of(&bench, 4, Fault::Slow(Duration::from_millis(5)));
    let origin = Origin::Remote(Ranges { reader: several, validator: Some("\"v1\"".into()) });
    let size_bytes = bench.bytes.len() as u64;
    let file = ContentFile { path: String::new(), size_bytes, expected: None, origin, present: None };
    let cancel = crate::cancel::Cancel::new();
    let advanced = |_| cancel.cancel();
    let error =
        ingest_one(&session, &file, Options { cancel: &cancel, ..with_partials(options(&advanced)) }).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(folders(&bench.root).len(), 1);
}

/// A server that answers each of four workers once, and then misbehaves.
struct Worse {
    served: Arc<Served>,
    then: Then,
    /// How often each worker has asked.
    asked: Mutex<HashMap<ThreadId, usize>>,
    /// The workers that received bytes afterwards.
    given: Mutex<HashSet<ThreadId>>,
}

#[derive(PartialEq)]
enum Then {
    Panics,
    /// It stops serving ranges. Those in flight end there.
    HasNoRanges,
}

impl Worse {
    const WORKERS: usize = 4;

    fn of(bench: &Bench, then: Then) -> Arc<Self> {
        Arc::new(Worse { served: bench.served(Fault::Nothing), then, asked: Mutex::default(), given: Mutex::default() })
    }

    /// Counts a request of this worker, and returns how many it has made.
    fn note(&self) -> usize {
        let mut asked = self.asked.lock().unwrap();
        let questions = asked.entry(std::thread::current().id()).or_default();
        *questions += 1;
        *questions
    }

    /// Whether every worker has asked this often.
    fn have_all(&self, questions: usize) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.len() == Self::WORKERS && asked.values().all(|count| *count >= questions)
    }
}

impl ReadAt for Worse {
    fn name(&self) -> String {
        self.served.name()
    }

    fn size_bytes(&self) -> u64 {
        self.served.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let before = self.note() - 1;
        while !self.have_all(before.min(2)) && before > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        match before {
            0 => {}
            1 if self.then == Then::Panics => panic!("as the test has it"),
            1 => return Err(io::ErrorKind::Unsupported.into()),
            _ => drop(self.given.lock().unwrap().insert(std::thread::current().id())),
        }
        self.served.read_exact_at(offset, buffer)
    }

    fn connections(&self) -> usize {
        if self.have_all(1) { 1 } else { Self::WORKERS }
    }
}

/// Red when bytes that a server without ranges did not send are lost, or are requested by several workers.
#[test]
fn one_worker_brings_what_a_server_without_ranges_has() {
    let bench = Bench::of_size((33 << 20) + 12_345);
    let session = Session::begin(&bench.root).unwrap();
    let worse = Worse::of(&bench, Then::HasNoRanges);
    let sealed = ingest_from(&bench, &session, worse.clone(), None, &|_| {}).unwrap();
    assert_right(&bench, &sealed);
    assert_eq!(worse.served.asked_bytes(), bench.bytes.len() as u64);
    assert_eq!(worse.given.lock().unwrap().len(), 1);
}

/// A server that stops serving ranges when one of two workers has nothing left to do.
struct LateRefusal {
    served: Arc<Served>,
    first_bytes: AtomicUsize,
    has_ranges: AtomicBool,
}

impl ReadAt for LateRefusal {
    fn name(&self) -> String {
        self.served.name()
    }

    fn size_bytes(&self) -> u64 {
        self.served.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset < 8 * MIB {
            self.served.read_exact_at(offset, buffer)?;
            self.first_bytes.fetch_add(buffer.len(), Ordering::Relaxed);
            return Ok(());
        }
        if self.has_ranges.load(Ordering::Relaxed) {
            while (self.first_bytes.load(Ordering::Relaxed) as u64) < 8 * MIB {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(200)); // so that the first worker looks for more
            self.has_ranges.store(false, Ordering::Relaxed);
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.served.read_exact_at(offset, buffer)
    }

    fn connections(&self) -> usize {
        if self.has_ranges.load(Ordering::Relaxed) { 2 } else { 1 }
    }
}

/// Red (it never ends) when the first worker leaves while another one may give its segment back.
#[test]
fn a_segment_that_is_given_back_last_is_fetched() {
    let bench = Bench::of_size(16 << 20);
    let session = Session::begin(&bench.root).unwrap();
    let late = Arc::new(LateRefusal {
        served: bench.served(Fault::Nothing),
        first_bytes: AtomicUsize::new(0),
        has_ranges: AtomicBool::new(true),
    });
    assert_right(&bench, &ingest_from(&bench, &session, late.clone(), None, &|_| {}).unwrap());
    assert_eq!(late.served.asked_bytes(), bench.bytes.len() as u64);
}

/// Red when a stream, which only goes forward, is asked for bytes that lie behind it.
#[test]
fn what_is_given_back_keeps_its_place() {
    let mut segments = VecDeque::from([8..16, 24..32]);
    for back in [17..24, 1..8, 33..40] {
        insert_in_order(&mut segments, back);
    }
    assert_eq!(segments, [1..8, 8..16, 17..24, 24..32, 33..40]);
}

/// Red (it never ends) when the segment of a panicked worker is waited for.
#[test]
fn a_worker_that_panics_ends_the_pull() {
    let bench = Bench::of_size((33 << 20) + 12_345);
    let session = Session::begin(&bench.root).unwrap();
    let pull = || ingest_from(&bench, &session, Worse::of(&bench, Then::Panics), None, &|_| {}).map(drop);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(pull));
    assert!(ended.is_err(), "the panic is the caller's to see");
}
