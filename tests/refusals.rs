//! File systems that give no more names to a file, or share no blocks: work is done by another way. A disk that fails is
//! not such a file system.
//!
//! Each link and each reflink of an operation fails once, with every error number that is a refusal and with some that are
//! none; `src/fs/fault.rs` lets them fail.
//!
//! Red when `show`, `publish_new`, `reflink` or `keep_previous` take a failed disk for a refusal, or a refusal for a
//! failed disk; and when `publish_new` takes a private file that it could not rename for one that was.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use catalog_core::testing::fault::{Fault, inject};
use catalog_core::{FsCatalog, IngestMode, LinkMode, Result};
use rstest::rstest;

use common::{Host, assert_readable, assert_sound, stage_as};

const NO_LINK: [i32; 5] = [libc::EMLINK, libc::EXDEV, libc::EPERM, libc::EOPNOTSUPP, libc::EACCES];
const NO_REFLINK: [i32; 7] =
    [libc::EOPNOTSUPP, libc::ENOSYS, libc::EXDEV, libc::EINVAL, libc::ENOTTY, libc::EPERM, libc::ETXTBSY];
const FAILED: [i32; 3] = [libc::EIO, libc::ENOSPC, libc::EMFILE];

const CONTENT: &[u8] = b"the bytes of a model";

/// Injections are for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What is there before the operation, which is always a stage of `m` under the id "m".
#[derive(Clone, Copy)]
enum Before {
    /// Neither the blob nor the view.
    Nothing,
    /// The blob, of another entry.
    Blob,
    /// All of it, and at the view's path a file with other bytes.
    OtherView,
}

fn prepare(host: &Host, before: Before) -> FsCatalog {
    let catalog = host.catalog();
    let source = host.file("m", CONTENT);
    match before {
        Before::Nothing => {}
        Before::Blob => drop(stage_as(&catalog, &source, "other", IngestMode::Auto).unwrap()),
        Before::OtherView => {
            stage_as(&catalog, &source, "m", IngestMode::Auto).unwrap();
            let view = catalog.record("m").unwrap().unwrap().entry.local_path;
            fs::remove_file(&view).unwrap();
            fs::write(&view, "other bytes").unwrap();
        }
    }
    catalog
}

fn act(host: &Host, catalog: &FsCatalog) -> Result<()> {
    stage_as(catalog, &host.path("m"), "m", IngestMode::Auto).map(drop)
}

/// The steps of the operation that have this name, by number.
fn steps(before: Before, name: &str) -> Vec<usize> {
    let host = Host::new();
    let catalog = prepare(&host, before);
    let injection = inject(None, Fault::Errno(0));
    act(&host, &catalog).unwrap();
    let steps = injection.steps();
    steps.iter().enumerate().filter(|(_, step)| **step == name).map(|(at, _)| at).collect()
}

#[rstest]
#[case::a_new_blob(Before::Nothing)]
#[case::a_blob_that_is_here(Before::Blob)]
#[case::a_view_of_other_bytes(Before::OtherView)]
fn what_is_refused_is_done_otherwise_and_what_fails_fails(#[case] before: Before) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, refusals) in [("link", &NO_LINK[..]), ("reflink", &NO_REFLINK[..])] {
        let steps = steps(before, name);
        // The first reflink is of two empty files, to see how much room is needed: it is advice.
        let tried = usize::from(name == "reflink");
        assert!(steps.len() > tried, "it has no {name}");
        for at in steps.into_iter().skip(tried) {
            for (errno, is_refusal) in refusals.iter().map(|e| (e, true)).chain(FAILED.iter().map(|e| (e, false))) {
                let state = format!("{name} at step {at}, error {errno}");
                let host = Host::new();
                let catalog = prepare(&host, before);
                let injection = inject(Some(at), Fault::Errno(*errno));
                let outcome = act(&host, &catalog);
                drop(injection);
                assert_eq!(outcome.is_ok(), is_refusal, "{state}: {outcome:?}");
                if !is_refusal {
                    act(&host, &catalog).unwrap();
                }
                assert_readable(&catalog, "m", CONTENT);
                assert_sound(catalog.root());
                let record = catalog.record("m").unwrap().unwrap();
                let links = fs::metadata(&record.entry.local_path).unwrap().nlink();
                assert_eq!(record.view == Some(LinkMode::Hardlink), links > 1, "{state}: the record says {record:?}");
            }
        }
    }
}
