//! Partials whose source reports the value of each group.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::hash::groups::GroupHasher;
use crate::read_at::ReadAt;

const SIZE: usize = (33 << 20) + 12_345;

/// The offset of the wrong byte, if there is one.
const AT: u64 = 9 * MIB + 5;

struct Telling {
    served: Arc<Served>,
    told: Vec<[u8; 32]>,
    wrong: AtomicUsize,
    anew: AtomicUsize,
}

impl Telling {
    fn of(bench: &Bench, fault: Fault) -> Self {
        let mut hasher = GroupHasher::default();
        hasher.update(&bench.bytes);
        let told = hasher.finish().values().to_vec();
        Telling { served: bench.served(fault), told, wrong: AtomicUsize::new(0), anew: AtomicUsize::new(0) }
    }

    /// Returns whether the bytes are right, how many bytes beyond the whole file were requested, and how often
    /// `gave_wrong` and `starts_over` were called.
    fn outcome(self, bench: &Bench) -> (bool, u64, usize, usize) {
        let (session, telling) = (Session::begin(&bench.root).unwrap(), Arc::new(self));
        let origin = Origin::Remote(Ranges { reader: telling.clone(), validator: None });
        let (size_bytes, expected) = (SIZE as u64, Some(bench.digest()));
        let file = ContentFile { path: String::new(), size_bytes, expected, origin, present: None };
        let sealed = ingest_one(&session, &file, with_partials(options(&|_| {})));
        if let Ok(sealed) = &sealed {
            assert!(bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap() == *bench.bytes);
        }
        let counts = [&telling.wrong, &telling.anew].map(|count| count.load(Ordering::Relaxed));
        (sealed.is_ok(), telling.served.asked_bytes() - size_bytes, counts[0], counts[1])
    }
}

impl ReadAt for Telling {
    fn name(&self) -> String {
        self.served.name()
    }

    fn size_bytes(&self) -> u64 {
        self.served.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.served.read_exact_at(offset, buffer)
    }

    fn connections(&self) -> usize {
        3
    }

    fn starts_over(&self) {
        self.anew.fetch_add(1, Ordering::Relaxed);
    }

    fn group_values(&self) -> Option<Vec<[u8; 32]>> {
        Some(self.told.clone())
    }

    fn gave_wrong(&self, range: Range<u64>) {
        assert_eq!(range.start % MIB, 0);
        self.wrong.fetch_add(1, Ordering::Relaxed);
    }
}

/// Red when a wrong MiB is kept until the end, or when more than that MiB is fetched again.
#[test]
fn a_wrong_group_alone_is_fetched_again_at_once() {
    let bench = Bench::of_size(SIZE);
    assert_eq!(Telling::of(&bench, Fault::WrongOnce(AT)).outcome(&bench), (true, MIB, 1, 0));
}

/// Red when the group is fetched for ever, when it is believed, or when groups that match are fetched again.
#[test]
fn a_group_that_stays_wrong_is_an_error() {
    let bench = Bench::of_size(SIZE);
    // Fetched twice more, then once more because the whole is wrong, and then twice more again.
    assert_eq!(Telling::of(&bench, Fault::Wrong(AT)).outcome(&bench), (false, 5 * MIB, 4, 1));
    assert!(folders(&bench.root).is_empty());
}

/// Red when a reported value counts more than the digest.
#[test]
fn what_was_told_wrong_hinders_nobody() {
    let bench = Bench::of_size(SIZE);
    let mut telling = Telling::of(&bench, Fault::Nothing);
    telling.told[20] = [7; 32];
    assert_eq!(telling.outcome(&bench), (true, 2 * MIB, 2, 0));
    let bench = Bench::of_size(SIZE);
    let mut telling = Telling::of(&bench, Fault::Nothing);
    telling.told.pop();
    assert_eq!(telling.outcome(&bench), (true, 0, 0, 0), "it is of another file");
}

/// Red when a group from an earlier process is not compared with the value reported now, or when SHA-256 resumes from a
/// state that includes that group.
#[test]
fn what_is_here_is_held_against_what_was_told() {
    let bench = Bench::of_size(SIZE);
    let session = Session::begin(&bench.root).unwrap();
    let served = Served::of(&bench.bytes, Fault::Wrong(AT));
    struct Breaking(Arc<Served>);
    impl ReadAt for Breaking {
        fn name(&self) -> String {
            self.0.name()
        }
        fn size_bytes(&self) -> u64 {
            self.0.size_bytes()
        }
        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            if offset >= 30 * MIB {
                Err(io::ErrorKind::ConnectionReset.into())
            } else {
                self.0.read_exact_at(offset, buffer)
            }
        }
    }
    let origin = Origin::Remote(Ranges { reader: Arc::new(Breaking(served)), validator: None });
    let (size_bytes, expected) = (SIZE as u64, Some(bench.digest()));
    let file = ContentFile { path: String::new(), size_bytes, expected, origin, present: None };
    ingest_one(&session, &file, with_partials(options(&|_| {}))).map(drop).unwrap_err();
    let telling = Arc::new(Telling::of(&bench, Fault::Nothing));
    let origin = Origin::Remote(Ranges { reader: telling.clone(), validator: None });
    let file = ContentFile { origin, ..file };
    let sealed = ingest_one(&session, &file, with_partials(options(&|_| {}))).unwrap();
    assert!(bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap() == *bench.bytes);
    assert_eq!(telling.anew.load(Ordering::Relaxed), 0);
    assert!(telling.served.asked_bytes() <= 5 * MIB, "{}", telling.served.asked_bytes());
}
