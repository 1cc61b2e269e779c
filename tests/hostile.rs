//! Names and bytes chosen to do harm: ids that look like paths or like each other (row 21 of docs/testing.md), model
//! files whose headers lie (row 28), sizes that overflow any sum, a tree whose manifest is not one.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Component;

use catalog_core::testing::{accepted_ids, rejected_ids};
use catalog_core::{CatalogStore, Digest, Durability, FsCatalog, LifecycleState, VerifyOptions, check_id};
use common::*;
use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;

fn host() -> (Host, FsCatalog) {
    let host = Host::new();
    host.file("outside/secret", b"secret");
    host.file("a", b"a");
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    (host, catalog)
}

/// The name on the least capable file system: without case, and with one form of each character.
fn folded(name: &str) -> String {
    name.to_lowercase().chars().filter(char::is_ascii).collect()
}

// Red when `layout::slug` leaves the hash out: two ids then share a folder.
#[test]
fn every_hostile_id_has_a_view_of_its_own_and_nothing_outside_is_touched() {
    let (host, catalog) = host();
    let before = listing(&host.path("outside"));
    let mut homes = BTreeSet::new();
    for id in accepted_ids() {
        assert!(check_id(&id).is_ok(), "{id:?}");
        let staged = stage(&catalog, &host.path("a"), &id).unwrap_or_else(|e| panic!("{id:?}: {e}"));
        assert!(staged.local_path.starts_with(host.root().join("views")), "{id:?}: {}", staged.local_path.display());
        assert!(staged.local_path.components().all(|part| part != Component::ParentDir));
        let home = staged.local_path.parent().unwrap().parent().unwrap();
        assert_eq!(home.parent(), Some(host.root().join("views").as_path()), "{id:?}");
        let name = home.file_name().unwrap().to_str().unwrap();
        assert!(name.len() <= 96 && !name.starts_with(['.', '-']) && !name.ends_with(['.', ' ']), "{id:?}: {name:?}");
        assert!(homes.insert(folded(name)), "{id:?} shares {name:?} with another");
        assert_eq!(catalog.get(&id).unwrap().unwrap().id, id);
    }
    let mut sorted = accepted_ids();
    sorted.sort();
    assert_eq!(catalog.list().unwrap().into_iter().map(|entry| entry.id).collect::<Vec<_>>(), sorted);
    for (number, id) in accepted_ids().into_iter().enumerate() {
        assert!(catalog.delete(&id).unwrap(), "{id:?}");
        assert_eq!(catalog.list().unwrap().len(), sorted.len() - number - 1, "{id:?} took another with it");
    }
    assert_eq!(listing(&host.path("outside")), before);
    assert_sound(&host.root());
}

// Red when `item::decide` or `plan_put` does not call `check_id`.
#[test]
fn what_can_be_no_id_is_none_for_anybody() {
    let (host, catalog) = host();
    let before = listing(host.dir.path());
    for id in rejected_ids() {
        assert!(check_id(&id).is_err(), "{id:?}");
        let refused = |what: &str, error: catalog_core::Error| {
            let is_refusal = error.is_invalid_input() || error.is_not_found();
            assert!(is_refusal, "{what} of {id:?}: {error}");
        };
        refused("stage", stage(&catalog, &host.path("a"), &id).unwrap_err());
        refused("put", catalog.put(&entry(&id, host.path("a"))).unwrap_err());
        refused("put of a path", catalog.put(&entry(&id, "models/x")).unwrap_err());
        refused("set_state", catalog.set_state(&id, LifecycleState::Retired).unwrap_err());
        refused("pin", catalog.pin(&id, "p", None).unwrap_err());
        refused("lease", catalog.lease(&id).unwrap_err());
        refused("resolve", catalog.resolve(&id).unwrap_err());
        assert!(matches!(catalog.get(&id), Ok(None)) || catalog.get(&id).unwrap_err().is_invalid_input());
        assert!(matches!(catalog.delete(&id), Ok(false)) || catalog.delete(&id).unwrap_err().is_invalid_input());
    }
    let after: Vec<_> =
        listing(host.dir.path()).into_keys().filter(|path| !path.starts_with(host.root().join("locks"))).collect();
    let before: Vec<_> = before.into_keys().filter(|path| !path.starts_with(host.root().join("locks"))).collect();
    assert_eq!(after, before);
}

fn piece() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "..", "/", "\\", ".", "a", "A", "%2e", "%2f", "é", "e\u{301}", ":", "C:", "\0", "\n", " ", "-", "~", "outside",
    ];
    proptest::collection::vec(select(PIECES), 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ids_of_hostile_pieces_stay_apart_and_inside(ids in proptest::collection::btree_set(piece(), 1..6)) {
        let (host, catalog) = host();
        let before = listing(&host.path("outside"));
        let mut homes = BTreeSet::new();
        let mut there = Vec::new();
        for id in &ids {
            let staged = stage(&catalog, &host.path("a"), id);
            prop_assert_eq!(staged.is_ok(), check_id(id).is_ok(), "{:?}", id);
            if let Ok(staged) = staged {
                let home = staged.local_path.parent().unwrap().parent().unwrap().to_path_buf();
                prop_assert_eq!(home.parent().unwrap(), host.root().join("views"));
                prop_assert!(homes.insert(folded(home.file_name().unwrap().to_str().unwrap())));
                there.push(id.clone());
            }
        }
        let listed: Vec<_> = catalog.list().unwrap().into_iter().map(|entry| entry.id).collect();
        prop_assert_eq!(listed, there);
        prop_assert_eq!(listing(&host.path("outside")), before);
    }
}

fn gguf(version: u32, tensors: u64, pairs: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF" as &[u8], &version.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes(), rest].concat()
}

fn safetensors(length: u64, header: &str) -> Vec<u8> {
    [&length.to_le_bytes(), header.as_bytes()].concat()
}

/// Row 28. This crate parses no header, so there is none to attack: bytes are bytes. The test holds it to that: it is
/// red when opening a source that starts with "GGUF" is refused (`fs::source::Foreign`).
#[rstest]
#[case::gguf_with_counts_without_end("a.gguf", gguf(3, u64::MAX, u64::MAX, b""))]
#[case::gguf_with_a_key_of_all_bytes("a.gguf", gguf(3, 0, 1, &u64::MAX.to_le_bytes()))]
#[case::gguf_with_an_offset_outside("a.gguf", gguf(3, 1, 0, &[0xff; 64]))]
#[case::gguf_of_no_version("a.gguf", gguf(u32::MAX, 1, 1, b""))]
#[case::gguf_that_is_cut_off("a.gguf", b"GGU".to_vec())]
#[case::safetensors_longer_than_memory("a.safetensors", safetensors(u64::MAX, "{}"))]
#[case::safetensors_with_offsets_that_wrap(
    "a.safetensors",
    safetensors(80, r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[8,0]}}"#)
)]
#[case::safetensors_nested_without_end("a.safetensors", safetensors(200_000, &"[".repeat(200_000)))]
#[case::safetensors_of_no_json("a.safetensors", safetensors(2, "\u{0}\u{ff}"))]
fn a_hostile_header_is_stored_as_the_bytes_that_it_is(#[case] name: &str, #[case] bytes: Vec<u8>) {
    let (host, catalog) = host();
    stage(&catalog, &host.file(name, &bytes), "file").unwrap();
    assert_readable(&catalog, "file", &bytes);
    host.file(&format!("tree/{name}"), &bytes);
    host.file("tree/config.json", br#"{"architectures":["../../x"],"_name_or_path":"/etc/passwd"}"#);
    let tree = stage(&catalog, &host.path("tree"), "tree").unwrap();
    assert_eq!(fs::read(tree.local_path.join(name)).unwrap(), bytes);
    for id in ["file", "tree"] {
        let report = catalog.verify(id, &catalog_core::VerifyOptions::default()).unwrap();
        assert!(matches!(report.outcome, catalog_core::VerificationOutcome::Pass { .. }), "{report:?}");
    }
    assert_sound(&host.root());
}

/// Stores bytes as a blob, and makes the record of an id name it.
fn forge(catalog: &FsCatalog, id: &str, bytes: &[u8], edit: impl FnOnce(&mut serde_json::Value)) {
    let (root, digest) = (catalog.root(), Digest::sha256_of(bytes));
    let blob = blob_path(root, &digest);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, bytes).unwrap();
    set_mode(&blob, 0o444);
    edit_shard(root, id, |entries| {
        entries[id]["digest"] = digest.to_string().into();
        edit(&mut entries[id]);
    });
}

fn stage_tree(host: &Host, catalog: &FsCatalog, id: &str) -> Digest {
    for name in ["x", "y", "z"] {
        host.file(&format!("{id}/{name}"), format!("{name} of {id}"));
    }
    stage(catalog, &host.path(id), id).unwrap().digest
}

// Red when sums wrap: everything is then within a quota, and a build without optimisation panics.
#[test]
fn sizes_near_the_largest_number_are_counted_as_it() {
    let (host, catalog) = host();
    for id in ["tree", "another tree"] {
        let digest = stage_tree(&host, &catalog, id);
        let manifest = fs::read_to_string(blob_path(&host.root(), &digest)).unwrap();
        let size = manifest.rsplit("\"size\":").next().unwrap().split([',', '}']).next().unwrap().to_owned();
        let huge = manifest.replace(&format!("\"size\":{size}"), &format!("\"size\":{}", u64::MAX));
        assert_ne!(huge, manifest);
        forge(&catalog, id, huge.as_bytes(), |record| record["size_bytes"] = u64::MAX.into());
    }
    for (id, view) in [("a", "hardlink"), ("b", "copy"), ("c", "copy")] {
        stage(&catalog, &host.file(&format!("{id}.gguf"), id), id).unwrap();
        edit_shard(&host.root(), id, |entries| {
            entries[id]["size_bytes"] = (u64::MAX - 1).into();
            entries[id]["view"] = view.into();
        });
    }
    let new = host.file("new", "new");
    let from = host.path("a.gguf");
    let verbs: [&[&str]; 16] = [
        &["list"],
        &["show", "tree", "a"],
        &["path", "tree"],
        &["path", "a"],
        &["verify", "--all"],
        &["verify", "--all", "--quick"],
        &["doctor"],
        &["du"],
        &["gc", "--dry-run", "--max-bytes", "1MB", "--grace", "0"],
        &["config", "set", "max_bytes", "1GB"],
        &["stage", new.to_str().unwrap(), "--id", "new"],
        &["repair", "tree"],
        &["repair", "a", "--from", from.to_str().unwrap()],
        &["doctor", "--repair"],
        &["remove", "tree", "a"],
        &["gc", "--max-bytes", "1", "--grace", "0"],
    ];
    for args in verbs {
        let ended = host.command().args(args).arg("--json").output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(
            ended.status.code().is_some_and(|code| code < 100) && !errors.contains("panicked"),
            "{args:?}: {errors}"
        );
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(args != ["du"] || told.contains(&format!("\"logical_bytes\":{}", u64::MAX)), "{told}");
    }
}

// Red when a tree whose manifest is readable, but not a manifest, is taken for a tree without files: every byte of it
// would be good.
#[test]
fn a_tree_whose_manifest_is_none_is_not_good() {
    let (host, catalog) = host();
    let digest = stage_tree(&host, &catalog, "tree");
    let manifest = fs::read_to_string(blob_path(&host.root(), &digest)).unwrap();
    for text in ["no manifest".to_owned(), "{}".into(), manifest.replace("\"size\":", "\"length\":")] {
        forge(&catalog, "tree", text.as_bytes(), |_| {});
        for args in [&["verify", "tree"][..], &["verify", "--all"], &["verify", "tree", "--sha256"], &["path", "tree"]]
        {
            let ended = host.command().args(args).output().unwrap();
            assert_eq!(ended.status.code(), Some(4), "{args:?}: {ended:?}");
        }
        let report = catalog.verify("tree", &VerifyOptions::default()).unwrap();
        let reason = format!("{:?}", report.outcome);
        assert!(reason.contains("its files are unknown"), "{reason}");
    }
}
