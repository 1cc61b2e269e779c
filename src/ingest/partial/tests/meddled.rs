//! Partials that someone has tampered with, and several processes that want the same one.

use super::*;
use crate::fs::sparse::Blocks;
use crate::skip::skip;

/// Lets `meddle` change the folder of a complete partial.
fn meddle(bench: &Bench, meddle: impl FnOnce(&Path)) {
    bench.leave_complete();
    let folder = bench.root.absolute(&bench.folder());
    meddle(&folder);
}

/// Red when any of this fails the ingestion or is believed.
#[test]
fn what_is_no_partial_is_begun_anew() {
    type Meddle = fn(&Path);
    let ways: [(&str, Meddle); 9] = [
        ("no journal", |folder| std::fs::remove_file(folder.join(JOURNAL)).unwrap()),
        ("no data", |folder| std::fs::remove_file(folder.join(DATA)).unwrap()),
        ("an empty journal", |folder| std::fs::write(folder.join(JOURNAL), "").unwrap()),
        ("noise", |folder| std::fs::write(folder.join(JOURNAL), noise(100_000)).unwrap()),
        ("a huge journal", |folder| {
            std::fs::File::create(folder.join(JOURNAL)).unwrap().set_len(20 << 30).unwrap();
        }),
        ("data of another size", |folder| {
            let data = folder.join(DATA);
            std::fs::remove_file(&data).unwrap();
            std::fs::write(data, "short").unwrap();
        }),
        ("a symlink for the data", |folder| {
            std::fs::rename(folder.join(DATA), folder.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", folder.join(DATA)).unwrap();
        }),
        ("a folder for the journal", |folder| {
            std::fs::remove_file(folder.join(JOURNAL)).unwrap();
            std::fs::create_dir(folder.join(JOURNAL)).unwrap();
            std::fs::write(folder.join(JOURNAL).join("x"), "x").unwrap();
        }),
        ("a fifo for the journal", |folder| {
            std::fs::remove_file(folder.join(JOURNAL)).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(folder.join(JOURNAL)).status().unwrap().success());
        }),
    ];
    for (way, how) in ways {
        let bench = Bench::new();
        meddle(&bench, how);
        bench.assert_goes_on(&from(0), way);
    }
}

/// Red when another user's partial is resumed: that user may have it open for writing.
#[test]
fn what_belongs_to_another_user_is_left_alone() {
    const OTHER: Option<u32> = Some(65534);
    if std::os::unix::fs::chown(Bench::new()._dir.path(), OTHER, None).is_err() {
        return skip("only root can give a file to another user");
    }
    for name in [JOURNAL, DATA] {
        let bench = Bench::new();
        meddle(&bench, |folder| std::os::unix::fs::chown(folder.join(name), OTHER, None).unwrap());
        bench.assert_goes_on(&from(0), name);
    }
    let bench = Bench::new();
    meddle(&bench, |folder| std::os::unix::fs::chown(folder, OTHER, None).unwrap());
    let session = Session::begin(&bench.root).unwrap();
    let mut sealed = bench.ingest(&session, &bench.served(Fault::Nothing)).unwrap();
    assert_eq!((sealed.digest(), sealed.resumed_bytes()), (bench.digest(), 0));
    sealed.keep();
    drop(sealed);
    assert_eq!(folders(&bench.root).len(), 1, "it stays");
}

/// Red when the lock is not taken: two processes would write to one file.
#[test]
fn while_one_fills_it_another_makes_a_private_copy() {
    let bench = Bench::new();
    let what = bench.what();
    let owner = Partial::open(&bench.root, &what, SIZE_BYTES as u64, Begin::Empty(Blocks::Reserved)).unwrap();
    assert!(Partial::open(&bench.root, &what, SIZE_BYTES as u64, Begin::Empty(Blocks::Reserved)).is_none());
    let session = Session::begin(&bench.root).unwrap();
    let served = bench.served(Fault::Nothing);
    let mut sealed = bench.ingest(&session, &served).unwrap();
    assert_eq!((sealed.digest(), sealed.resumed_bytes()), (bench.digest(), 0));
    assert!(sealed.name().starts_with(layout::INGEST));
    sealed.keep();
    drop(sealed);
    assert_eq!(folders(&bench.root).len(), 1, "it is not taken from its owner");
    drop(owner);
    bench.assert_goes_on(&from(0), "nothing was filled in");
}

#[test]
fn many_at_once_all_have_the_bytes() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let session = Session::begin(&bench.root).unwrap();
                let mut sealed = bench.ingest(&session, &bench.served(Fault::Nothing)).unwrap();
                assert_eq!(sealed.digest(), bench.digest());
                assert!(bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap() == *bench.bytes);
                sealed.keep();
            });
        }
    });
    assert!(folders(&bench.root).is_empty());
}

/// Red when nothing is read again: the right bytes, which are served now, would be rejected because an earlier attempt
/// received wrong ones.
#[test]
fn wrong_bytes_of_an_earlier_attempt_do_not_spoil_a_later_one() {
    let bench = Bench::new();
    let session = Session::begin(&bench.root).unwrap();
    let expected = Some(bench.digest());
    let mut wrong = bench.bytes.to_vec();
    wrong[1000] ^= 1;
    let first = Served::new(&wrong, Fault::Broken(10 * MIB));
    bench.ingest_expecting(&session, &first, expected).unwrap_err();
    let served = bench.served(Fault::Nothing);
    let mut sealed = bench.ingest_expecting(&session, &served, expected).unwrap();
    assert_eq!((sealed.digest(), sealed.resumed_bytes()), (bench.digest(), 0));
    assert!(served.asked_bytes() > SIZE_BYTES as u64);
    assert!(bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap() == *bench.bytes);
    sealed.keep();
    drop(sealed);
    assert!(folders(&bench.root).is_empty());
}

#[test]
fn wrong_bytes_are_an_error_and_their_partial_goes() {
    let bench = Bench::new();
    let session = Session::begin(&bench.root).unwrap();
    let served = bench.served(Fault::Wrong(9 * MIB));
    let error = bench.ingest_expecting(&session, &served, Some(bench.digest())).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(served.asked_bytes(), 2 * SIZE_BYTES as u64, "once more, and no third time");
    assert!(folders(&bench.root).is_empty());
}

#[test]
fn who_collects_and_counts_is_told_of_each() {
    let bench = Bench::new();
    assert!(partials(&bench.root).unwrap().is_empty());
    let session = Session::begin(&bench.root).unwrap();
    bench.ingest(&session, &bench.served(Fault::Broken(10 * MIB))).unwrap_err();
    let key = bench.folder().file_name().unwrap().to_str().unwrap().to_owned();
    let told = partials(&bench.root).unwrap().remove(0);
    assert_eq!((told.key.as_str(), told.state), (key.as_str(), PartialState::Dead));
    assert_eq!(told.name, "https://models.example/a.gguf");
    assert_eq!((told.size_bytes, told.done_bytes), (SIZE_BYTES as u64, 10 * MIB));
    assert!(told.disk_bytes >= SIZE_BYTES as u64, "its room is reserved: {}", told.disk_bytes);
    assert!(crate::fs::now_ms() - told.changed_ms < 60_000);

    let owner = Partial::open(&bench.root, &bench.what(), SIZE_BYTES as u64, Begin::Empty(Blocks::Reserved)).unwrap();
    assert_eq!(partials(&bench.root).unwrap()[0].state, PartialState::Alive);
    assert_eq!(remove_partial(&bench.root, &key).unwrap(), None, "somebody fills it");
    drop(owner);
    assert_eq!(remove_partial(&bench.root, &key).unwrap(), Some(told.disk_bytes));
    assert!(folders(&bench.root).is_empty() && remove_partial(&bench.root, &key).unwrap().is_none());
}
