//! Checks both directions against each other.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::layout::{self, place};

const TAG: &str = "0123456789abcdef";

proptest! {
    // Red when a function of `layout` disagrees with `classify.rs`: what the store creates would then be strange to
    // `doctor`, or never removed.
    #[test]
    fn what_is_joined_is_told_apart(
        bytes: [u8; 32], number: u8, generation: u64, trashed_ms: u64, id in "\\PC{1,80}", key in "[0-9a-f]{32}",
    ) {
        let digest = Digest::from_sha256(bytes);
        let view = layout::view(&id, &digest, "m.gguf");
        let session = Path::new(INGEST).join(TAG);
        let quarantined = layout::quarantine(&digest, TAG);
        let things = [
            (layout::shard(number), Thing::Shard(number)),
            (layout::shard_prev(number), Thing::PreviousShard(number)),
            (layout::shard_claim(number, generation), Thing::ShardClaim { number, generation }),
            (layout::blob(&digest), Thing::Blob(digest)),
            (layout::outboard(&digest), Thing::Outboard(digest)),
            (layout::outboard_groups(&digest), Thing::OutboardGroups(digest)),
            (layout::facts(&digest), Thing::Facts(digest)),
            (layout::trash(&digest, trashed_ms), Thing::Trashed { digest, trashed_ms }),
            (layout::lock_probe(), Thing::Lock(LockFile::Probe)),
            (layout::lock_gate(), Thing::Lock(LockFile::Gate)),
            (layout::lock_store(), Thing::Lock(LockFile::Store)),
            (layout::lock_shard(number), Thing::Lock(LockFile::Shard(number))),
            (layout::lock_fetch(&id), Thing::Lock(LockFile::Fetch)),
            (layout::use_note(&key, 7), Thing::UseNote { key: key.clone(), number: 7 }),
            (layout::export(&key), Thing::ExportRecord(key.clone())),
            (layout::log_segment(7, 12), Thing::LogSegment { number: 7, first: 12 }),
            (layout::partial(&key).join(DATA), Thing::PartialData(key.clone())),
            (layout::partial(&key).join(JOURNAL), Thing::PartialJournal(key.clone())),
            (RESERVE.into(), Thing::Reserve),
            (STORE_JSON.into(), Thing::StoreJson),
            (CACHEDIR_TAG.into(), Thing::CachedirTag),
        ];
        let folders = [
            (PathBuf::new(), Thing::Root, Thing::Foreign),
            (layout::blob(&digest).parent().unwrap().into(), Thing::BlobFolder(bytes[0]), Thing::Strange),
            (layout::outboard(&digest).parent().unwrap().into(), Thing::OutboardFolder(bytes[0]), Thing::Strange),
            (layout::view_home(&id), Thing::ViewHome, Thing::ViewFolder(None)),
            (view.parent().unwrap().into(), Thing::ViewFolder(Some(format!("{digest:.40x}"))), Thing::InView),
            (view, Thing::InView, Thing::InView),
            (session.clone(), Thing::Session, Thing::InSession),
            (session.join("0"), Thing::InSession, Thing::InSession),
            (layout::partial(&key), Thing::Partial(key.clone()), Thing::Strange),
            (layout::partial(&layout::partial_key(&id)), Thing::Partial(layout::partial_key(&id)), Thing::Strange),
            (quarantined.clone(), Thing::Quarantined(Some(digest)), Thing::InQuarantined),
            (layout::quarantine_stranger(TAG), Thing::Quarantined(None), Thing::InQuarantined),
            (layout::quarantine_other(STORE_JSON, TAG), Thing::Quarantined(None), Thing::InQuarantined),
            (layout::quarantine_other(&format!("{number:02x}.json"), TAG), Thing::Quarantined(None), Thing::InQuarantined),
        ];
        let files = things.into_iter().map(|(path, thing)| (path, thing, Thing::Strange));
        for (path, thing, below) in files.chain(folders) {
            prop_assert_eq!(classify(&path), thing.clone(), "{}", path.display());
            prop_assert_eq!(classify(&path.join("x")), below, "below {}", path.display());
            prop_assert_eq!(thing.path().unwrap_or(path.clone()), path, "{:?}", thing);
        }
    }

    #[test]
    fn any_path_is_something(path in "(/|\\.\\.?/)?([a-z0-9.]{1,8}/|\\PC{1,4}/|locks/|index/|views/){0,6}\\PC{0,8}") {
        check(Path::new(&path));
    }
}

/// Checks that a classified path is exactly where `layout` joins it.
fn check(path: &Path) {
    let thing = classify(path);
    if let Some(right) = thing.path() {
        assert_eq!(right, path, "{thing:?}");
    }
    assert_eq!(thing == Thing::Folder, FOLDERS.iter().any(|folder| Path::new(folder) == path), "{}", path.display());
    let mut parts = path.components();
    let first = match parts.next() {
        Some(Component::Normal(first)) if parts.all(|part| matches!(part, Component::Normal(_))) => first,
        first => return assert_eq!(thing, if first.is_none() { Thing::Root } else { Thing::Strange }),
    };
    let is_own = first.to_str().is_some_and(is_own);
    let is_foreign = !is_own && thing != Thing::Temporary;
    assert_eq!(thing == Thing::Foreign, is_foreign, "{}: {thing:?}", path.display());
    let is_in_views = first == VIEWS && path != Path::new(VIEWS);
    assert_eq!(place(path) == layout::Place::Views, is_in_views, "{}", path.display());
}

// Red when a number with a sign or a leading zero is accepted, or a digest in another digest's folder: an action on the
// thing would then hit another path.
#[test]
fn names_of_the_store_anywhere_are_what_lies_there() {
    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let folders = "index blobs blobs/sha256 blobs/sha256/e3 blobs/sha256/00 blobs/sha256/E3 blobs/sha512 outboards \
                   outboards/sha256 outboards/sha256/e3 outboards/sha256/00 views views/x views/x/y ingest \
                   ingest/0123456789abcdef partials trash quarantine uses exports locks locks/index locks/fetch Index \
                   Blobs/sha256/e3 elsewhere";
    let words = "CACHEDIR.TAG store.json store.reserve index blobs outboards views ingest partials trash quarantine uses exports locks \
                 fetch sha256 sha512 e3 3f 3F E3 00 3 3f.json 3f.json.prev .3f.7 .3f.07 .3f.+7 .3f .0123456789abcdef .x \
                 probe gate store 0123456789abcdef x é";
    let endings =
        " .json .json.prev .prev .groups .7 .07 .+7 .18446744073709551616 .0123456789abcdef .0123456789ABCDEF .tmp";
    let upper = HEX.to_uppercase();
    let words: Vec<&str> = words.split(' ').chain([&HEX[..32], &HEX[..40], HEX, &upper, ""]).collect();
    for folder in folders.split(' ').chain([""]).map(Path::new) {
        for name in words.iter().flat_map(|word| endings.split(' ').map(move |ending| format!("{word}{ending}"))) {
            let path = folder.join(name);
            check(&path);
            check(&path.join("x"));
            if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
                assert_eq!(classify_in(folder, name), classify(&path));
            }
        }
    }
}

#[test]
fn what_the_store_gives_no_name_is_strange() {
    let hex = Digest::sha256_of(b"").to_hex();
    for strange in [
        "index/3F.json",
        "index/3f",
        "index/3f.json.prev.prev",
        "index/3f.json/x",
        "index/.3f.07.tmp",
        "blobs/x",
        "blobs/sha512",
        "blobs/sha256/abc",
        &format!("blobs/sha256/00/{hex}"),
        &format!("blobs/sha256/e3/{hex}.json"),
        &format!("blobs/sha256/e3/.{TAG}.tmp"),
        &format!("outboards/sha256/e3/{hex}"),
        &format!("outboards/sha256/E3/.{TAG}.tmp"),
        "ingest/x",
        "partials/x",
        &format!("partials/{}/x", &hex[..32]),
        &format!("trash/{hex}"),
        &format!("trash/{hex}.+7"),
        &format!("quarantine/{hex}"),
        "quarantine/x.0123456789abcdef",
        "locks/x",
        "locks/index/1",
        "locks/fetch/x",
        "store.json/x",
        "BLOBS",
        "Views/a/b",
        "../blobs",
        "/blobs",
        "blobs/../x",
    ] {
        assert_eq!(classify(Path::new(strange)), Thing::Strange, "{strange}");
    }
    for foreign in ["a.gguf", "models/index/3f.json", ".x.tmp", ".3f.7.tmp", "blobs2"] {
        assert_eq!(classify(Path::new(foreign)), Thing::Foreign, "{foreign}");
    }
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_utf_8_is_none_of_the_stores() {
    use std::os::unix::ffi::OsStrExt as _;

    let name = OsStr::from_bytes(b"\xff");
    for (folder, thing) in [
        ("", Thing::Foreign),
        ("index", Thing::Strange),
        ("blobs/sha256", Thing::Strange),
        ("trash", Thing::Strange),
        ("views", Thing::ViewHome),
        ("views/x/y", Thing::InView),
    ] {
        assert_eq!(classify_in(Path::new(folder), name), thing, "{folder}");
    }
}

// Red when the head of layout.rs draws a line for which there is no `Thing`.
#[test]
fn the_drawing_has_only_what_is_told_apart() {
    let drawing = include_str!("../../layout.rs").lines().filter_map(|line| line.strip_prefix("//!   "));
    let mut lines = 0;
    for path in drawing.filter_map(|line| line.split("  ").next()) {
        let hex = Digest::sha256_of(b"").to_hex();
        let mut path = path.to_owned();
        for (drawn, real) in [
            ("<64 hex>", hex.as_str()),
            ("<40 hex>", &hex[..40]),
            ("<key>", &hex[..KEY_DIGITS]),
            ("<xx>", &hex[..2]),
            ("<session>", TAG),
            ("<slug>", "m-0123"),
            ("<name>", "m.gguf"),
            ("<epoch ms>", "7"),
            ("<number>", "0"),
        ] {
            path = path.replace(drawn, real);
        }
        let thing = classify(Path::new(&path));
        assert!(!matches!(thing, Thing::Strange | Thing::Foreign), "{path}");
        lines += 1;
    }
    assert!(lines > 15, "{lines}");
}
