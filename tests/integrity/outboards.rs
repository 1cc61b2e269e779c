//! Outboards that are lost, torn or another blob's: they never lead to a wrong verdict, and the next full check writes
//! a new one.

use std::fs;

use catalog_core::VerifyDepth;
use rstest::rstest;

use super::*;
use crate::common::{options, reference};

const SIZE: u64 = 3 * GROUP + 11;

fn verify(catalog: &FsCatalog, depth: VerifyDepth) -> VerifyReport {
    catalog.verify("m", &VerifyOptions::default().with_depth(depth)).unwrap()
}

/// Asserts that a spoilt outboard neither makes good bytes bad nor hides damage.
#[track_caller]
fn assert_right(catalog: &FsCatalog, digest: &Digest, spoil: &dyn Fn()) {
    spoil();
    assert!(passes(&check(catalog, "m")), "good bytes");
    let groups = fs::metadata(outboard(catalog, digest, "groups")).unwrap();
    assert_eq!(groups.len(), SIZE.div_ceil(GROUP) * 32, "there is a new one");
    rot(&blob(catalog, digest), |file| flip(file, 2 * GROUP));
    spoil();
    assert!(fails(&check(catalog, "m")), "damaged bytes");
    assert!(catalog.resolve("m").unwrap_err().is_corrupt());
}

fn lose(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn cut_at(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn flip_at(path: &Path, offset: u64) {
    flip(&File::options().read(true).write(true).open(path).unwrap(), offset);
}

// Red when the list is not merged to the root: good bytes are then called bad.
#[rstest]
#[case::lost(lose)]
#[case::empty(|path: &Path| cut_at(path, 0))]
#[case::short(|path: &Path| cut_at(path, 100))]
#[case::cut_at_a_value(|path: &Path| cut_at(path, 64))]
#[case::flipped_at_the_start(|path: &Path| flip_at(path, 0))]
#[case::flipped_inside(|path: &Path| flip_at(path, 70))]
fn a_torn_outboard_is_no_verdict(#[case] spoil: fn(&Path), #[values("json", "groups")] ending: &str) {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(40, SIZE));
    assert_right(&catalog, &digest, &|| spoil(&outboard(&catalog, &digest, ending)));
}

// Red when the digits of the BLAKE3 root are not checked as a whole.
#[test]
fn a_flip_in_any_byte_of_the_small_file_is_no_verdict() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(41, SIZE));
    let path = outboard(&catalog, &digest, "json");
    for offset in 0..fs::metadata(&path).unwrap().len() {
        flip_at(&path, offset);
        assert!(passes(&check(&catalog, "m")), "a flip at {offset}");
    }
}

/// One file of an outboard, or both, belong to another blob of the same size.
// Red when an outboard does not say which blob it belongs to: with both files swapped, all of a good blob is called
// bad.
#[rstest]
#[case::json(&["json"])]
#[case::groups(&["groups"])]
#[case::both(&["json", "groups"])]
fn the_outboard_of_another_blob_is_no_verdict(#[case] endings: &[&str]) {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(42, SIZE));
    let other = add(&host, &catalog, "other", &noise(43, SIZE));
    assert_right(&catalog, &digest, &|| {
        for ending in endings {
            fs::copy(outboard(&catalog, &other, ending), outboard(&catalog, &digest, ending)).unwrap();
        }
    });
    assert!(passes(&check(&catalog, "other")));
}

/// A model of one group has no list, only a root.
#[test]
fn a_small_blob_with_another_ones_outboard_is_checked_by_its_name() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", b"small model");
    let other = add(&host, &catalog, "other", b"other model");
    fs::copy(outboard(&catalog, &other, "json"), outboard(&catalog, &digest, "json")).unwrap();
    assert!(passes(&check(&catalog, "m")));
    flip_at(&outboard(&catalog, &digest, "json"), 160);
    assert!(passes(&check(&catalog, "m")));
    rot(&blob(&catalog, &digest), |file| flip(file, 0));
    assert_eq!(bad_ranges(&check(&catalog, "m")), [0..11]);
}

#[test]
fn what_was_staged_without_one_gets_one_by_its_first_check() {
    let host = Host::new();
    let catalog = catalog(&host);
    let file = host.file("m.gguf", noise(44, SIZE));
    let deferred = options("m").with_defer_outboard(true);
    let digest = catalog.stage(&reference(&file), &deferred).unwrap().digest;
    fs::remove_file(file).unwrap();
    let groups = outboard(&catalog, &digest, "groups");
    assert!(!groups.exists());
    assert_eq!(run(&host, &["verify", "--quick", "m"]).code, 0, "it was hashed, and has a stamp");
    assert!(passes(&check(&catalog, "m")));
    assert!(groups.exists());
    rot(&blob(&catalog, &digest), |file| flip(file, GROUP));
    assert_eq!(bad_ranges(&check(&catalog, "m")), [GROUP..2 * GROUP], "it tells the groups apart");
}

/// Somebody has changed a blob and written a matching outboard.
// Red when `--sha256` relies on the outboard.
#[test]
fn an_outboard_that_lies_is_caught_by_the_name() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(45, SIZE));
    let forged = noise(46, SIZE);
    let other = add(&host, &catalog, "forged", &forged);
    edit(&blob(&catalog, &digest), |file| file.write_all_at(&forged, 0).unwrap());
    fs::copy(outboard(&catalog, &other, "groups"), outboard(&catalog, &digest, "groups")).unwrap();
    let mut text: Value = serde_json::from_slice(&fs::read(outboard(&catalog, &other, "json")).unwrap()).unwrap();
    let tree = &text["blake3"];
    let says = format!("{digest} {} {} {GROUP}", tree["size_bytes"], tree["root"].as_str().unwrap());
    text["blake3"]["checksum"] = format!("blake3:{}", blake3::hash(says.as_bytes()).to_hex()).into();
    fs::write(outboard(&catalog, &digest, "json"), text.to_string()).unwrap();
    assert!(passes(&verify(&catalog, VerifyDepth::Full)), "the outboard is what it is checked against");
    let by_name = run(&host, &["verify", "--sha256", "m"]);
    assert_eq!(by_name.code, 4);
    assert_eq!(json_ranges(by_name.object()), [0..SIZE]);
    assert_eq!(quarantined(&catalog).len(), 1);
}

#[test]
fn by_name_names_the_groups_too() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(47, SIZE));
    assert!(passes(&verify(&catalog, VerifyDepth::ByName)));
    rot(&blob(&catalog, &digest), |file| flip(file, GROUP));
    assert_eq!(bad_ranges(&verify(&catalog, VerifyDepth::ByName)), [GROUP..2 * GROUP]);
}
