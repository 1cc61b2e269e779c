//! From a complete partial to a blob, and what an interruption leaves in between.

use std::collections::BTreeMap;

use super::*;
use crate::blob::{Published, Touched, publish};
use crate::fs::Durability;

fn publish_it(bench: &Bench, sealed: &mut Sealed<'_>) -> Published {
    bench.root.make_dirs(Path::new(layout::TRASH)).unwrap();
    publish(&bench.root, sealed, &BTreeMap::new(), Durability::Relaxed, &mut Touched::default()).unwrap()
}

/// A failed commit, for example because the store is busy: the hashed bytes are not thrown away.
#[test]
fn what_was_not_published_is_read_and_hashed_no_second_time() {
    let bench = Bench::new();
    bench.leave_complete();
    let session = Session::begin(&bench.root).unwrap();
    // The source is not even read: the SHA-256 is recorded.
    let served = bench.served(Fault::Broken(0));
    let told = std::sync::atomic::AtomicU64::new(0);
    let advanced = |bytes| {
        told.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    };
    let origin = Origin::Remote(Ranges { reader: served.clone(), validator: Some("\"v1\"".into()) });
    let file =
        ContentFile { path: String::new(), size_bytes: SIZE_BYTES as u64, expected: None, origin, present: None };
    let mut sealed = ingest_one(&session, &file, with_partials(options(&advanced))).unwrap();
    assert_eq!((sealed.digest(), sealed.resumed_bytes()), (bench.digest(), SIZE_BYTES as u64));
    assert_eq!((told.into_inner(), served.asked_bytes()), (SIZE_BYTES as u64, 0));
    assert!(matches!(publish_it(&bench, &mut sealed), Published::New { .. }));
    sealed.keep();
    drop(sealed);
    assert!(bench.root.read(&layout::blob(&bench.digest()), u64::MAX).unwrap().unwrap() == *bench.bytes);
    assert!(folders(&bench.root).is_empty());
}

/// Killed after the publish and before the partial was removed: both names lead to one inode.
///
/// Red when its link count is not checked: the next copy would be written into the blob.
#[test]
fn nothing_is_ever_written_to_what_was_published() {
    for cut in [false, true] {
        let bench = Bench::new();
        bench.leave_complete();
        let session = Session::begin(&bench.root).unwrap();
        let mut sealed = bench.ingest(&session, &bench.served(Fault::Nothing)).unwrap();
        assert!(matches!(publish_it(&bench, &mut sealed), Published::New { .. }));
        drop(sealed); // not recorded, as after a kill
        let blob = bench.root.meta(&layout::blob(&bench.digest())).unwrap().unwrap();
        assert_eq!(blob.links, 2);
        if cut {
            // As after a power cut that the blob survived and the journal did not.
            let journal = std::fs::read(bench.journal()).unwrap();
            // Otherwise the mode alone would protect it from a user who may not write to it.
            let writable = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(bench.data(), writable).unwrap();
            std::fs::write(bench.journal(), &journal[..10 * journal::RECORD_BYTES]).unwrap();
        }
        bench.assert_goes_on(&if cut { from(0) } else { Vec::new() }, "published and not recorded");
        let now = bench.root.meta(&layout::blob(&bench.digest())).unwrap().unwrap();
        assert!(now.same_inode(&blob) && now.stamp() == blob.stamp(), "the blob was written to");
        assert!(bench.root.read(&layout::blob(&bench.digest()), u64::MAX).unwrap().unwrap() == *bench.bytes);
    }
}

/// Red when a kept sealed file is removed with its session, or its name is removed after the partial is gone: by then
/// another process may have created the same one.
#[test]
fn a_partial_that_is_done_with_takes_nothing_of_the_next_one() {
    let bench = Bench::new();
    let session = Session::begin(&bench.root).unwrap();
    let mut sealed = bench.ingest(&session, &bench.served(Fault::Nothing)).unwrap();
    sealed.keep();
    bench.leave_complete();
    drop(sealed);
    bench.assert_goes_on(&[], "the next one");
}

/// Red when `distrust` leaves the partial: its bytes may not be on disk, and nothing would report that again.
#[test]
fn what_could_not_be_synced_is_not_relied_on() {
    let bench = Bench::new();
    let session = Session::begin(&bench.root).unwrap();
    let mut sealed = bench.ingest(&session, &bench.served(Fault::Nothing)).unwrap();
    sealed.distrust();
    assert!(folders(&bench.root).is_empty());
}
