//! Files of the store that somebody has changed: a full check finds every change, a quick check those that the stamp
//! reveals.

use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::common::{as_nobody, assert_readable, inode_of, is_root, long_ago, set_mtime, skip};

const SIZE: u64 = 10 * GROUP + 100;

struct Changed {
    host: Host,
    catalog: FsCatalog,
    bytes: Vec<u8>,
    digest: Digest,
}

fn staged() -> Changed {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(4, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    Changed { host, catalog, bytes, digest }
}

/// The verdict of `verify --quick` on the only entry, and its exit code.
fn quick(changed: &Changed) -> (String, i32) {
    let ran = run(&changed.host, &["verify", "--quick", "m"]);
    assert_eq!(ran.object()["bytes_read"], 0);
    assert!(quarantined(&changed.catalog).is_empty(), "a quick check moves nothing");
    (ran.object()["outcome"].as_str().unwrap().to_owned(), ran.code)
}

fn truncate(file: &File) {
    file.set_len(3 * GROUP + 1).unwrap();
}

fn empty(file: &File) {
    file.set_len(0).unwrap();
}

fn extend(file: &File) {
    file.write_all_at(&[0; 100], SIZE).unwrap();
}

fn extend_by_parts(file: &File) {
    file.set_len(SIZE + 20 * GROUP).unwrap();
}

fn zero_the_middle(file: &File) {
    file.write_all_at(&vec![0; 2 * GROUP as usize], 4 * GROUP + 1).unwrap();
}

// Red when a check reads only as many bytes as the outboard names (extended), or only as many as the file has
// (truncated). Quick: red when the size is not compared.
#[rstest]
#[case::truncated(truncate, ("fail", 4), 3 * GROUP..SIZE)]
#[case::empty(empty, ("fail", 4), 0..SIZE)]
#[case::extended(extend, ("fail", 4), SIZE..SIZE + 100)]
#[case::extended_by_parts(extend_by_parts, ("fail", 4), SIZE..SIZE + 20 * GROUP)]
#[case::zeroed(zero_the_middle, ("warn", 1), 4 * GROUP..7 * GROUP)]
fn what_was_written_into_is_found(
    #[case] change: fn(&File),
    #[case] expected: (&str, i32),
    #[case] range: Range<u64>,
    #[values(false, true)] through_the_view: bool,
) {
    let changed = staged();
    let path = if through_the_view { view(&changed.catalog, "m") } else { blob(&changed.catalog, &changed.digest) };
    edit(&path, change);
    let (outcome, code) = quick(&changed);
    assert_eq!((outcome.as_str(), code), expected);
    assert_eq!(bad_ranges(&check(&changed.catalog, "m")), [range]);
    assert_eq!(quarantined(&changed.catalog).len(), 1);
    assert!(!path.exists());

    let backup = changed.host.file("backup.gguf", &changed.bytes);
    let repaired = run(&changed.host, &["repair", "m", "--from", backup.to_str().unwrap()]);
    assert_eq!(repaired.code, 0, "{}", repaired.errors);
    assert_readable(&changed.catalog, "m", &changed.bytes);
    assert!(passes(&check(&changed.catalog, "m")));
}

// This is why a quick check proves nothing.
#[rstest]
#[case(zero_the_middle, 4 * GROUP..7 * GROUP)]
fn an_edit_that_keeps_size_and_time_is_seen_by_a_full_check_alone(
    #[case] change: fn(&File),
    #[case] range: Range<u64>,
) {
    let changed = staged();
    rot(&blob(&changed.catalog, &changed.digest), change);
    assert_eq!(quick(&changed), ("pass".into(), 0));
    changed.catalog.resolve("m").unwrap();
    assert_eq!(bad_ranges(&check(&changed.catalog, "m")), [range]);
}

/// Replaces a file as a copy program does: by a new inode, renamed over the old one.
fn replace(path: &Path, bytes: &[u8]) {
    let before = inode_of(path);
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    set_mtime(&beside, long_ago());
    fs::rename(&beside, path).unwrap();
    assert_ne!(inode_of(path), before);
}

#[test]
fn another_inode_with_the_same_bytes_passes_once_it_was_checked() {
    for through_the_view in [false, true] {
        let changed = staged();
        let blob = blob(&changed.catalog, &changed.digest);
        replace(&if through_the_view { view(&changed.catalog, "m") } else { blob }, &changed.bytes);
        assert_eq!(quick(&changed), ("warn".into(), 1));
        assert!(passes(&check(&changed.catalog, "m")));
        assert_eq!(quick(&changed), ("pass".into(), 0), "in the view: {through_the_view}");
        assert_readable(&changed.catalog, "m", &changed.bytes);
    }
}

// Red when only the blob is checked, and not a view that is another inode.
#[test]
fn another_inode_with_other_bytes_fails() {
    for through_the_view in [false, true] {
        let changed = staged();
        let blob = blob(&changed.catalog, &changed.digest);
        let other = noise(5, SIZE);
        replace(&if through_the_view { view(&changed.catalog, "m") } else { blob }, &other);
        assert_eq!(quick(&changed), ("warn".into(), 1));
        assert_eq!(bad_ranges(&check(&changed.catalog, "m")), [0..SIZE]);
        let [kept] = quarantined(&changed.catalog).try_into().unwrap();
        assert!(fs::read(kept).unwrap() == other);
        assert!(changed.catalog.resolve("m").unwrap_err().is_corrupt());

        // The other one of the two is good: nothing else is needed.
        let repaired = run(&changed.host, &["repair", "m"]);
        assert_eq!(repaired.code, 0, "in the view: {through_the_view}: {}", repaired.errors);
        assert_eq!(repaired.object()["source_bytes"], 0);
        assert_readable(&changed.catalog, "m", &changed.bytes);
        assert!(passes(&check(&changed.catalog, "m")));
    }
}

// Red when a blob has mode 0666.
#[test]
fn somebody_who_is_not_the_owner_cannot_edit_through_the_view() {
    let Some(as_nobody) = as_nobody() else { return };
    let changed = staged();
    for folder in [changed.host.path(""), changed.host.root()] {
        common::set_mode(&folder, 0o755);
    }
    let view = view(&changed.catalog, "m");
    let denied = std::process::Command::new(as_nobody[0])
        .args(&as_nobody[1..])
        .args(["sh", "-c", "cat \"$0\" >/dev/null && echo x >>\"$0\""])
        .arg(&view)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(!denied.status.success() && errors.contains("Permission denied"), "{errors}");
    assert_readable(&changed.catalog, "m", &changed.bytes);
}

#[test]
fn root_can_edit_through_the_view_and_both_checks_see_it() {
    if !is_root() {
        return skip("this needs root: nobody else can write to a view");
    }
    let changed = staged();
    std::thread::sleep(Duration::from_millis(20)); // so that the edit gets another time
    let view = view(&changed.catalog, "m");
    let file = File::options().write(true).open(view).unwrap(); // mode 0444
    file.write_all_at(b"patched", 17).unwrap();
    assert_eq!(quick(&changed), ("warn".into(), 1));
    assert_eq!(bad_ranges(&check(&changed.catalog, "m")), [0..GROUP]);
}
