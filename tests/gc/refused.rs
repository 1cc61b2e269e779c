//! When nothing may be collected: nobody knows what the index or a tree's manifest names.

use std::fs;

use rstest::rstest;

use super::*;
use crate::common::{blob_path, listing, set_mode, shard_path};

/// A store with much to collect; one part of it is damaged before or after the plan is made.
// Red when an unreadable shard or manifest counts as an empty one.
#[rstest]
#[case::a_shard_is_cut_off("shard")]
#[case::a_shard_is_gone("no shard")]
#[case::a_record_is_not_one("record")]
#[case::a_manifest_is_gone("no manifest")]
#[case::a_manifest_has_other_bytes("manifest")]
fn nothing_is_taken_while_it_is_unknown_what_is_needed(#[case] damage: &str) {
    let host = Host::new();
    let catalog = catalog(&host);
    let root = catalog.root().to_path_buf();
    for id in ["a", "b"] {
        add(&host, &catalog, id);
    }
    let manifest = blob_path(&root, &add_tree(&host, &catalog, "tree", &["x", "y"]));
    add(&host, &catalog, "orphan");
    edit_shard(&root, "orphan", |entries| drop(entries.remove("orphan")));
    fs::create_dir(root.join("ingest/0123456789abcdef")).unwrap();
    let plan = catalog.plan_gc(&room_for(0)).unwrap();
    assert_eq!(evicted(&plan).len(), 3);

    let shard = shard_path(&root, "a");
    match damage {
        "shard" => {
            let text = fs::read(&shard).unwrap();
            fs::write(&shard, &text[..text.len() / 2]).unwrap();
        }
        "no shard" => fs::remove_file(&shard).unwrap(),
        "record" => edit_shard(&root, "a", |entries| drop(entries.insert("a".into(), 7.into()))),
        "no manifest" => fs::remove_file(&manifest).unwrap(),
        _ => {
            set_mode(&manifest, 0o644);
            let text = fs::read_to_string(&manifest).unwrap();
            fs::write(&manifest, text.replace("layers", "others")).unwrap();
        }
    }
    let before = listing(&root);
    let error = catalog.plan_gc(&room_for(0)).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    let error = catalog.execute_gc(&plan).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert_eq!(listing(&root), before);
}

// Red when `stray_views` looks into something that is no folder: the whole collection then fails.
#[test]
fn a_strange_file_among_the_views_stops_no_collection() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a");
    fs::write(catalog.root().join("views/strange"), "x").unwrap();
    std::os::unix::fs::symlink("/", catalog.root().join("views/link")).unwrap();
    drop(catalog.gc(&now()).unwrap());
    assert!(catalog.root().join("views/strange").exists());
}
