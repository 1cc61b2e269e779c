//! `rename` and `tag`: another id for the content of an entry.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::time::Duration;

use catalog_core::{
    ArtifactKind, CatalogStore as _, Digest, Error, FsCatalog, GcPolicy, Key, LifecycleState, Record, TrustState,
};
use common::{
    Host, assert_sound, blob_path, blobs, check_artifact, debris, edit_shard, entry, inode_of, options, reference,
    set_mode, stage,
};
use rstest::rstest;

/// A file `f` and a tree `t`, both old, pinned and used, each with a signature.
fn host() -> (Host, FsCatalog) {
    let host = Host::new();
    let catalog = host.catalog();
    let content = Digest::sha256_of(b"model");
    let options = options("f").with_digest(content);
    catalog.stage(&reference(&host.file("f.gguf", "model")), &options).unwrap();
    host.file("t/config.json", "{}");
    host.file("t/deep/a.gguf", "a");
    stage(&catalog, &host.path("t"), "t").unwrap();
    for id in ["f", "t"] {
        catalog.pin(id, "pool-7", None).unwrap();
        catalog.pin(id, "short", Some(Duration::from_secs(3600))).unwrap();
        catalog.resolve(id).unwrap();
        edit_shard(&host.root(), id, |entries| {
            entries[id]["created_ms"] = 1_000.into();
            entries[id]["last_verified_ms"] = 2_000.into();
            entries[id]["needs"] = serde_json::json!([Digest::sha256_of(b"{}")]);
            entries[id]["pushed"] = serde_json::json!({"oci://r.example/m": 3_000});
        });
    }
    let catalog = FsCatalog::open(host.root()).unwrap();
    (host, catalog)
}

fn record(catalog: &FsCatalog, id: &str) -> Record {
    catalog.record(id).unwrap().unwrap_or_else(|| panic!("{id} is not there"))
}

/// Collects, and checks that the store is sound and has no debris.
#[track_caller]
fn assert_clean(catalog: &FsCatalog) {
    drop(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert_eq!(debris(catalog), Vec::<String>::new());
    assert_sound(catalog.root());
}

#[rstest]
fn a_renamed_entry_is_what_it_was(#[values("f", "t")] id: &str, #[values(false, true)] retired: bool) {
    let (host, catalog) = host();
    if retired {
        catalog.set_state(id, LifecycleState::Retired).unwrap();
    }
    let before = record(&catalog, id);
    let (blobs_before, bytes_of) = (blobs(&host.root()), blob_path(&host.root(), &before.entry.digest.unwrap()));
    let inode = inode_of(&bytes_of);

    let renamed = catalog.rename(id, "hf:org/new name").unwrap();
    let after = record(&catalog, "hf:org/new name");
    assert_eq!(renamed, after);
    assert!(!catalog.exists(id).unwrap() && !before.entry.local_path.exists());
    assert!(after.entry.local_path.starts_with(host.root().join("views")));
    assert_eq!(after.entry.local_path.file_name(), before.entry.local_path.file_name());
    check_artifact(&host.root(), &after).unwrap();
    catalog.resolve("hf:org/new name").unwrap();
    // Everything is the same except the id and what depends on it.
    let mut expected = before.clone();
    expected.entry.id = after.entry.id.clone();
    expected.entry.local_path = after.entry.local_path.clone();
    expected.updated_ms = after.updated_ms;
    assert_eq!(after, expected);
    assert_eq!((blobs(&host.root()), inode_of(&bytes_of)), (blobs_before, inode));
    // Nothing is left of the old name, even without a collection.
    let views = fs::read_dir(host.root().join("views")).unwrap().count();
    assert_eq!(views, 2);
    assert_clean(&catalog);
    // A renamed entry can be renamed back.
    let back = catalog.rename("hf:org/new name", id).unwrap();
    let mut expected = before;
    expected.updated_ms = back.updated_ms;
    assert_eq!(back, expected);
    assert_clean(&catalog);
}

#[rstest]
fn a_tag_is_an_entry_of_its_own(#[values("f", "t")] id: &str) {
    let (host, catalog) = host();
    catalog.set_state(id, LifecycleState::Retired).unwrap();
    let (before, blobs_before) = (record(&catalog, id), blobs(&host.root()));
    let tagged = catalog.tag(id, "prod").unwrap();
    assert_eq!(tagged, record(&catalog, "prod"));
    assert_eq!(record(&catalog, id), before);
    assert!(tagged.pins.is_empty() && tagged.last_used_ms.is_none() && tagged.retired_ms.is_none());
    assert!(tagged.created_ms > 1_000);
    assert_eq!(tagged.entry.lifecycle, LifecycleState::Active);
    let of_content = |record: &Record| {
        let Record { kind, size_bytes, files, trust, .. } = *record;
        let (source, needs, pushed) = (record.source.clone(), record.needs.clone(), record.pushed.clone());
        (kind, size_bytes, files, trust, source, needs, pushed, record.entry.last_verified_ms, record.entry.digest)
    };
    assert_eq!(of_content(&tagged), of_content(&before));
    assert_eq!(tagged.trust == TrustState::Verified, id == "f");
    assert_eq!(blobs(&host.root()), blobs_before);
    // Each stays without the other.
    catalog.unpin(id, None).unwrap();
    catalog.remove(id).unwrap().unwrap();
    check_artifact(&host.root(), &record(&catalog, "prod")).unwrap();
    catalog.resolve("prod").unwrap();
    assert_clean(&catalog);
}

#[test]
fn an_id_that_is_there_is_an_error_unless_it_is_of_the_same_content() {
    let (host, catalog) = host();
    stage(&catalog, &host.path("f.gguf"), "same").unwrap();
    let before = catalog.records().unwrap();
    let taken = |result: catalog_core::Result<Record>| match result.unwrap_err() {
        error @ Error::IdTaken { .. } => {
            assert!(error.hint().is_some());
            let Error::IdTaken { has_same_content, .. } = error else { unreachable!() };
            has_same_content
        }
        other => panic!("{other}"),
    };
    assert!(!taken(catalog.rename("f", "t")) && !taken(catalog.tag("f", "t")));
    assert!(taken(catalog.rename("f", "same")), "its pins would be lost");
    assert_eq!(catalog.tag("f", "same").unwrap(), record(&catalog, "same"));
    assert_eq!(catalog.tag("f", "f").unwrap(), record(&catalog, "f"));
    assert_eq!(catalog.rename("f", "f").unwrap(), record(&catalog, "f"));
    assert_eq!(catalog.records().unwrap(), before);

    for result in [catalog.rename("none", "x"), catalog.tag("none", "x"), catalog.rename("none", "none")] {
        assert!(result.unwrap_err().is_not_found());
    }
    for id in ["", "a\nb"] {
        assert!(catalog.rename("f", id).unwrap_err().is_invalid_input());
        assert!(catalog.tag("f", id).unwrap_err().is_invalid_input());
    }
    assert_eq!(catalog.records().unwrap(), before);
    // Neither of the two leaves anything behind.
    assert_clean(&catalog);
}

#[test]
fn a_path_of_ones_own_stays_when_it_is_renamed_and_a_tag_has_a_view() {
    let (host, catalog) = host();
    let mine = host.root().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("a.gguf"), "mine").unwrap();
    fs::write(mine.join("notes.txt"), "notes").unwrap();
    catalog.put(&entry("mine", "mine/a.gguf")).unwrap();
    let tagged = catalog.tag("mine", "tag").unwrap();
    assert!(tagged.entry.local_path.starts_with(host.root().join("views")));
    assert_eq!(tagged.entry.local_path.file_name().unwrap(), "a.gguf");
    let renamed = catalog.rename("mine", "yours").unwrap();
    assert_eq!(renamed.entry.local_path, mine.join("a.gguf"));
    assert_eq!(fs::read(mine.join("a.gguf")).unwrap(), b"mine");
    catalog.resolve("yours").unwrap();
    assert_clean(&catalog);
    assert_eq!(fs::read(mine.join("a.gguf")).unwrap(), b"mine");
    // Removing the entry removes the file, as before the rename.
    catalog.remove("yours").unwrap().unwrap();
    assert!(!mine.join("a.gguf").exists() && mine.join("notes.txt").exists());
    assert_eq!(fs::read(catalog.resolve("tag").unwrap().entry.local_path).unwrap(), b"mine");
}

#[test]
fn what_is_only_registered_can_have_another_id() {
    let (host, catalog) = host();
    catalog.put(&entry("later", "mine/later.gguf")).unwrap();
    catalog.pin("later", "p", None).unwrap();
    let renamed = catalog.rename("later", "soon").unwrap();
    assert_eq!((renamed.kind, renamed.pins.len()), (ArtifactKind::Registered, 1));
    assert_eq!(renamed.entry.local_path, host.root().join("mine/later.gguf"));
    assert!(!catalog.exists("later").unwrap());
    let tagged = catalog.tag("soon", "also").unwrap();
    assert_eq!((tagged.kind, tagged.entry.local_path), (ArtifactKind::Registered, renamed.entry.local_path));
    assert_eq!(catalog.tag("soon", "also").unwrap().created_ms, tagged.created_ms);
    // A registered entry with another path counts as different content.
    catalog.put(&entry("other", "mine/other.gguf")).unwrap();
    assert!(matches!(catalog.tag("soon", "other"), Err(Error::IdTaken { has_same_content: false, .. })));
}

// Red when damaged content gets an id that is not marked as damaged.
#[rstest]
fn what_is_damaged_gets_no_other_id(#[values("f", "t")] id: &str, #[values(false, true)] is_known: bool) {
    let (host, catalog) = host();
    let bytes: &[u8] = if id == "f" { b"model" } else { b"a" };
    let blob = blob_path(&host.root(), &Digest::sha256_of(bytes));
    set_mode(&blob, 0o644);
    fs::write(&blob, "other").unwrap();
    set_mode(&blob, 0o444);
    if is_known {
        catalog.resolve(id).unwrap_err();
    }
    assert!(matches!(catalog.tag(id, "new"), Err(Error::Damaged { .. })));
    assert!(matches!(catalog.rename(id, "new"), Err(Error::Damaged { .. })));
    assert!(!catalog.exists("new").unwrap() && catalog.exists(id).unwrap());
    assert_eq!(fs::read_dir(host.root().join("views")).unwrap().count(), 2);
}

// Red when the view of the old id goes although an engine holds a lease on it.
#[rstest]
fn a_lease_on_the_old_id_goes_on(#[values("f", "t")] id: &str) {
    let (host, catalog) = host();
    let lease = catalog.lease(id).unwrap();
    let old = record(&catalog, id);
    let renamed = catalog.rename(id, "new").unwrap();
    let policy = GcPolicy::default().with_grace(Duration::ZERO).with_max_bytes(0);
    for _ in 0..2 {
        check_artifact(&host.root(), &old).unwrap();
        check_artifact(&host.root(), &renamed).unwrap();
        drop(catalog.gc(&policy).unwrap());
    }
    // The path that `ps` shows for the engine still finds the entry.
    let path = old.entry.local_path.to_str().unwrap().to_owned();
    assert_eq!(catalog.record(Key::typed(&path)).unwrap().unwrap().entry.id, "new");
    drop(lease);
    assert_clean(&catalog);
    assert!(!old.entry.local_path.exists());
    check_artifact(&host.root(), &renamed).unwrap();
}

#[test]
fn what_a_person_typed_can_be_renamed() {
    let (_host, catalog) = host();
    let digest = record(&catalog, "f").entry.digest.unwrap().to_string();
    assert_eq!(catalog.rename(Key::typed(&digest), "new").unwrap().entry.id, "new");
    assert_eq!(catalog.tag(Key::typed(&digest[.."sha256:".len() + 8]), "newer").unwrap().entry.id, "newer");
}

// Red when a rename drops a use that was noted in `uses/`.
#[test]
fn a_use_that_a_reader_has_noted_is_kept() {
    let (host, catalog) = host();
    edit_shard(&host.root(), "f", |entries| entries["f"]["last_used_ms"] = 1.into());
    let key = &Digest::sha256_of(b"f").to_hex()[..32];
    fs::write(host.root().join(format!("uses/{key}.0")), "").unwrap();
    let noted = record(&catalog, "f").last_used_ms.unwrap();
    assert!(noted > 1);
    assert_eq!(catalog.rename("f", "new").unwrap().last_used_ms, Some(noted));
}

// The store is as a process leaves it that is killed between the two steps. Red when the new id counts as taken, so
// that a repeated script stops there, and when the rename continues although the old entry has been pinned since.
#[test]
fn a_rename_that_was_interrupted_goes_on() {
    for is_pinned_since in [false, true] {
        let (host, catalog) = host();
        let old = record(&catalog, "f");
        let left = |name: &str| {
            let text = fs::read_to_string(common::shard_path(&host.root(), name)).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["entries"][name].clone()
        };
        let text = left("f");
        let renamed = catalog.rename("f", "new").unwrap();
        // The record and the view that the killed process would have left.
        edit_shard(&host.root(), "f", |entries| drop(entries.insert("f".into(), text)));
        fs::create_dir_all(old.entry.local_path.parent().unwrap()).unwrap();
        fs::hard_link(blob_path(&host.root(), &old.entry.digest.unwrap()), &old.entry.local_path).unwrap();
        let catalog = FsCatalog::open(host.root()).unwrap();
        catalog.resolve("f").unwrap();
        if is_pinned_since {
            catalog.pin("f", "late", None).unwrap();
            let error = catalog.rename("f", "new").unwrap_err();
            assert!(matches!(error, Error::IdTaken { has_same_content: true, .. }), "{error}");
            continue;
        }
        assert_eq!(catalog.rename("f", "new").unwrap(), renamed);
        assert!(!catalog.exists("f").unwrap() && !old.entry.local_path.exists());
        assert_clean(&catalog);
    }
}

// Red when the new record has only the members that this version knows.
#[test]
fn what_a_later_version_has_written_is_renamed_too() {
    let (host, catalog) = host();
    edit_shard(&host.root(), "f", |entries| entries["f"]["later"] = serde_json::json!({"a": 1}));
    catalog.rename("f", "new").unwrap();
    let has_it =
        |id: &str| fs::read_to_string(common::shard_path(&host.root(), id)).unwrap().contains(r#""later":{"a":1}"#);
    assert!(has_it("new"));
    catalog.pin("new", "p", None).unwrap();
    assert!(has_it("new"));
}
