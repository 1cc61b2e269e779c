//! The public contract that other crates rely on: the program in the design, `put` for every place a path can be in,
//! reads that write nothing, and a `delete` that stays below the root.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use catalog_core::{
    ArtifactKind, CatalogEntry, CatalogStore, Digest, Error, FsCatalog, Hint, Key, LifecycleState, LinkMode, ModelRef,
    Record, TrustState,
};
use common::*;
use rstest::rstest;
use serde_json::json;

/// The program that the contract promises will compile and run, to the letter.
#[rustfmt::skip]
mod program {
use catalog_core::{FsCatalog, CatalogStore, FileFetcher, ModelFetcher, ModelRef, LifecycleState};
pub(super) fn demo() -> anyhow::Result<()> {
    let cat = FsCatalog::new(catalog_core::default_model_cache_dir())?;
    let mr = ModelRef::parse("./models/llama3-8b.gguf")?;
    let resolved = FileFetcher.ensure_present(&mr)?;
    cat.put(&catalog_core::CatalogEntry {
        id: resolved.id.clone(), local_path: resolved.local_path.clone(),
        lifecycle: LifecycleState::Active, digest: None, last_verified_ms: None,
    })?;
    Ok(())
}
}

#[test]
fn child_runs_the_program() {
    if is_child("child_runs_the_program") {
        program::demo().unwrap();
    }
}

#[test]
fn the_program_of_the_contract_runs() {
    let host = Host::new();
    let model = host.file("models/llama3-8b.gguf", b"model");
    let mut child = child_test(&[], "child_runs_the_program");
    child.current_dir(host.dir.path()).env("HOME", host.path("home")).env_remove("XDG_CACHE_HOME");
    run(child);

    let catalog = FsCatalog::open(host.path("home/.cache/models")).unwrap();
    let id = format!("file:{}", model.canonicalize().unwrap().display());
    assert_readable(&catalog, &id, b"model");
    let found = catalog.locate(&ModelRef::parse(model.to_str().unwrap()).unwrap()).unwrap().unwrap();
    assert_eq!((found.id, found.local_path.file_name().unwrap()), (id, "llama3-8b.gguf".as_ref()));
}

#[test]
fn a_store_is_used_through_the_trait() {
    let host = Host::new();
    let store: Box<dyn CatalogStore> = Box::new(host.catalog());
    store.put(&entry("b", host.file("b", b"b"))).unwrap();
    store.put(&entry("a", "models/a")).unwrap();
    store.set_state("a", LifecycleState::Retired).unwrap();
    let listed: Vec<_> = store.list().unwrap().into_iter().map(|entry| (entry.id, entry.lifecycle)).collect();
    assert_eq!(listed, [("a".into(), LifecycleState::Retired), ("b".into(), LifecycleState::Active)]);
    assert!(store.delete("b").unwrap() && !store.delete("b").unwrap());
    assert!(store.get("b").unwrap().is_none());
    assert!(store.set_state("b", LifecycleState::Active).unwrap_err().is_not_found());

    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    shared(&host.catalog());
    // Behind any pointer, it is a store too.
    fn is_store(_: impl CatalogStore) {}
    is_store(&store);
    is_store(std::sync::Arc::new(host.catalog()));
}

fn record(catalog: &FsCatalog, id: &str) -> Record {
    catalog.record(id).unwrap().unwrap()
}

#[test]
fn put_ingests_what_is_outside() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    let before = listing(&file);
    catalog.put(&entry("a", &file)).unwrap();
    let found = record(&catalog, "a");
    assert!(found.entry.local_path.starts_with(catalog.root().join("views")));
    assert!(found.entry.local_path.ends_with("a.gguf"));
    assert_eq!(
        (found.kind, found.trust, found.view),
        (ArtifactKind::File, TrustState::Warned, Some(LinkMode::Hardlink))
    );
    assert!(found.entry.last_verified_ms.is_some());
    assert_readable(&catalog, "a", b"a");
    assert_eq!(listing(&file), before, "the source is as it was");

    let known = CatalogEntry { digest: Some(Digest::sha256_of(b"a")), ..entry("known", &file) };
    catalog.put(&known).unwrap();
    assert_eq!(record(&catalog, "known").trust, TrustState::Verified);
    assert_sound(&host.root());
}

#[rstest]
#[case::relative("models/a.gguf")]
#[case::absolute("ROOT/models/a.gguf")]
#[case::through_an_alias_of_the_root("ALIAS/models/a.gguf")]
#[case::with_steps_back("models/../models/./sub/../a.gguf")]
#[case::by_a_symlink_that_stays_inside("in/a.gguf")]
fn put_takes_what_is_inside_in_place(#[case] path: &str) {
    let host = Host::new();
    let catalog = host.catalog();
    host.file("root/models/sub/b", b"b");
    let file = host.file("root/models/a.gguf", b"a").canonicalize().unwrap();
    symlink("models", host.path("root/in")).unwrap();
    symlink(host.root(), host.path("alias")).unwrap();
    let path = path.replace("ROOT", catalog.root().to_str().unwrap());
    let path = path.replace("ALIAS", host.path("alias").to_str().unwrap());
    catalog.put(&entry("a", path)).unwrap();
    let found = record(&catalog, "a");
    assert_eq!((found.entry.local_path.as_path(), found.kind), (file.as_path(), ArtifactKind::File));
    assert_eq!(inode_of(&file), inode_of(&blob_path(catalog.root(), &Digest::sha256_of(b"a"))));
    assert_readable(&catalog, "a", b"a");
    assert!(files_below(&host.root().join("views")).is_empty());
    assert_sound(&host.root());

    assert!(catalog.delete("a").unwrap());
    assert!(!file.exists() && host.path("root/models/sub/b").exists());
}

#[test]
fn put_takes_a_directory_inside_in_place() {
    let host = Host::new();
    let catalog = host.catalog();
    host.file("root/models/m/config.json", b"{}");
    host.file("root/models/m/part/a.safetensors", b"a");
    catalog.put(&entry("m", "models/m")).unwrap();
    let found = record(&catalog, "m");
    assert_eq!((found.kind, found.files, found.size_bytes), (ArtifactKind::Tree, 2, 3));
    assert_eq!(found.entry.local_path, catalog.root().join("models/m"));
    let shown = catalog.root().join("models/m/part/a.safetensors");
    assert_eq!(inode_of(&shown), inode_of(&blob_path(catalog.root(), &Digest::sha256_of(b"a"))));
    // A file that a user puts there later does not belong to the catalog.
    host.file("root/models/m/notes.txt", b"mine");
    assert!(catalog.delete("m").unwrap());
    assert_eq!(files_below(&host.path("root/models")), [host.path("root/models/m/notes.txt")]);
    assert_sound(&host.root());
}

#[test]
fn put_registers_what_is_not_there_yet() {
    let host = Host::new();
    let catalog = host.catalog();
    let digest = Some(Digest::sha256_of(b"later"));
    let registered = CatalogEntry { digest, last_verified_ms: Some(7), ..entry("a", "models/new/a.gguf") };
    catalog.put(&registered).unwrap();
    let found = record(&catalog, "a");
    assert_eq!(found.entry, CatalogEntry { local_path: catalog.root().join("models/new/a.gguf"), ..registered });
    assert_eq!((found.kind, found.trust), (ArtifactKind::Registered, TrustState::Unverified));
    assert_eq!((found.view, found.source, found.size_bytes, found.files), (None, None, 0, 0));
    assert!(!host.path("root/models").exists(), "nothing was made there");

    let a = ModelRef::parse("hf:org/repo/a.gguf").unwrap();
    catalog.put(&entry(&a.to_string(), "views/later/a.gguf")).unwrap();
    assert!(catalog.exists(&a).unwrap() && catalog.exists("a").unwrap());
    assert!(catalog.locate(&a).unwrap().is_none());
    host.file("root/views/later/a.gguf", b"a");
    assert_eq!(catalog.locate(&a).unwrap().unwrap().local_path, catalog.root().join("views/later/a.gguf"));

    // A file that appeared at the path since then is not the catalog's to remove.
    let file = host.file("root/models/new/a.gguf", b"later");
    assert!(catalog.delete("a").unwrap());
    assert_eq!(fs::read(file).unwrap(), b"later");
}

/// A root with ways out of it, and the files that they lead to.
fn host_with_ways_out() -> Host {
    let host = Host::new();
    host.catalog();
    let outside = host.file("outside/secret.gguf", b"secret");
    fs::create_dir(host.root().join("models")).unwrap();
    symlink(host.path("outside"), host.root().join("out")).unwrap();
    symlink("../../outside", host.root().join("models/out")).unwrap();
    symlink(outside, host.root().join("out.gguf")).unwrap();
    symlink("/no/such/place", host.root().join("dangling")).unwrap();
    symlink(host.root(), host.path("alias")).unwrap();
    host
}

// Red when a path is compared with the root by its text alone, or when an alias of the root is not resolved.
#[rstest]
#[case::step_back("..")]
#[case::to_a_neighbour("../outside/secret.gguf")]
#[case::back_and_forth("models/../../outside/secret.gguf")]
#[case::to_what_is_absent("../absent")]
#[case::back_into_the_root("../root/models/a.gguf")]
#[case::folder_symlink("out/secret.gguf")]
#[case::folder_symlink_itself("out")]
#[case::relative_symlink("models/out/secret.gguf")]
#[case::file_symlink("out.gguf")]
#[case::absent_below_a_symlink("out/absent/a.gguf")]
#[case::by_a_symlink_and_back("out/../outside/secret.gguf")]
fn put_refuses_a_path_that_leaves_the_root(#[case] path: &str) {
    let host = host_with_ways_out();
    let catalog = host.catalog();
    let outside = listing(&host.path("outside"));
    let below = |start: &Path| start.join(path);
    let mut paths = vec![PathBuf::from(path), below(catalog.root())];
    if !path.contains("..") {
        // A path with `..` does not start in the root; it is a path in its own right.
        paths.push(below(&host.path("alias")));
    }
    for path in paths {
        let error = catalog.put(&entry("a", &path)).unwrap_err();
        assert!(matches!(error, Error::PathEscapesRoot { .. }), "{}: {error}", path.display());
    }
    assert!(catalog.list().unwrap().is_empty() && blobs(&host.root()).is_empty());
    assert_eq!(listing(&host.path("outside")), outside);
    catalog.put(&entry("a", "dangling")).unwrap_err();
}

#[rstest]
fn put_refuses_the_stores_own_places(
    #[values(
        ".",
        "blobs",
        "blobs/sha256/aa/x",
        "index/00.json",
        "outboards/x",
        "ingest/x",
        "trash/x",
        "quarantine/x",
        "locks/store",
        "views",
        "store.json",
        "CACHEDIR.TAG",
        "BLOBS/x",
        "models/../index/00.json"
    )]
    path: &str,
) {
    let host = Host::new();
    let catalog = host.catalog();
    fs::create_dir(host.root().join("models")).unwrap();
    for path in [PathBuf::from(path), catalog.root().join(path)] {
        let error = catalog.put(&entry("a", &path)).unwrap_err();
        assert!(matches!(error, Error::ReservedPath { .. }), "{}: {error}", path.display());
    }
    assert!(catalog.list().unwrap().is_empty());
}

// Red when the digest is compared only after publication, or never.
#[test]
fn put_of_content_with_another_digest_records_nothing() {
    let host = Host::new();
    let catalog = host.catalog();
    catalog.put(&entry("kept", host.file("kept", b"kept"))).unwrap();
    host.file("tree/a", b"a");
    host.file("root/inside", b"inside");
    let before = listing(&host.root());
    let digest = Some(Digest::sha256_of(b"other"));
    for (id, path) in [
        ("new", host.file("a", b"a")),
        ("kept", host.file("a", b"a")),
        ("tree", host.path("tree")),
        ("inside", "inside".into()),
        ("kept", catalog.get("kept").unwrap().unwrap().local_path),
    ] {
        let error = catalog.put(&CatalogEntry { digest, ..entry(id, &path) }).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }) && error.is_corrupt(), "{error}");
    }
    let changed: BTreeSet<PathBuf> = listing(&host.root())
        .into_iter()
        .filter(|(path, what)| before.get(path) != Some(what))
        .map(|(path, _)| path)
        // Lock files are permanent: there is one for each reference that a process worked on.
        .filter(|path| !path.starts_with(host.root().join("locks/fetch")))
        .collect();
    assert_eq!(changed, [host.root().join("ingest")].into(), "only private files have come and gone");
    assert_readable(&catalog, "kept", b"kept");
    assert_no_debris(&host.root());
}

// Red when an entry that `get` returned is staged again: its source would then be its own view.
#[test]
fn an_entry_that_get_gave_out_can_be_put_back() {
    let host = Host::new();
    let catalog = host.catalog();
    catalog.put(&entry("a", host.file("a.gguf", b"a"))).unwrap();
    let got = catalog.get("a").unwrap().unwrap();
    fs::remove_file(host.path("a.gguf")).unwrap();
    let changed = CatalogEntry { lifecycle: LifecycleState::Retired, last_verified_ms: Some(9), ..got.clone() };
    let source = record(&catalog, "a").source;
    catalog.put(&changed).unwrap();
    assert_eq!(catalog.get("a").unwrap().unwrap(), changed);
    assert_eq!(record(&catalog, "a").source, source);
    assert_eq!(record(&catalog, "a").trust, TrustState::Verified, "its digest was given, and is the one computed");
    assert_readable(&catalog, "a", b"a");
    // Under another id: both show the same path.
    catalog.put(&CatalogEntry { id: "b".into(), ..got.clone() }).unwrap();
    assert_eq!(catalog.get("b").unwrap().unwrap().local_path, got.local_path);
}

// Red when removing an entry does not check which other entries have its path.
#[test]
fn two_entries_at_one_path() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("root/models/a.gguf", b"a");
    catalog.put(&entry("one", "models/a.gguf")).unwrap();
    catalog.put(&entry("two", "models/a.gguf")).unwrap();
    assert!(catalog.delete("one").unwrap());
    assert_readable(&catalog, "two", b"a");
    assert!(catalog.delete("two").unwrap());
    assert!(!file.exists() && blobs(&host.root()).is_empty());

    let view = stage(&catalog, &host.file("b.gguf", b"b"), "one").unwrap().local_path;
    catalog.put(&entry("two", &view)).unwrap();
    assert!(catalog.delete("one").unwrap());
    assert_readable(&catalog, "two", b"b");
    assert!(catalog.delete("two").unwrap());
    assert!(!view.exists() && blobs(&host.root()).is_empty());
}

// Red when only identical paths are compared: the file is part of what the other entry shows.
#[rstest]
#[case::the_file_first("file", "tree")]
#[case::the_directory_first("tree", "file")]
fn an_entry_for_a_file_in_the_directory_of_another(#[case] first: &str, #[case] second: &str) {
    let host = Host::new();
    let catalog = host.catalog();
    let (a, b) = (host.file("root/models/m/a.gguf", b"a"), host.file("root/models/m/b.gguf", b"b"));
    catalog.put(&entry("tree", "models/m")).unwrap();
    catalog.put(&entry("file", "models/m/a.gguf")).unwrap();
    assert!(catalog.delete(first).unwrap());
    assert_eq!(fs::read(&a).unwrap(), b"a");
    assert_eq!(b.exists(), second == "tree", "what nobody else shows is removed");
    assert!(record(&catalog, second).entry.local_path.exists());
    assert!(catalog.delete(second).unwrap());
    assert!(!a.exists());
    assert_sound(&host.root());
}

/// Plants a record as an attacker with write access to the index would: its checksum is right.
fn plant(host: &Host, id: &str, kind: &str, path: &str, digest: &Digest, size_bytes: u64, view: &str) {
    let record = json!({
        "path": path, "kind": kind, "digest": digest.to_string(), "size_bytes": size_bytes, "files": 1,
        "lifecycle": "active", "trust": "verified", "view": view, "source": null, "created_ms": 1, "updated_ms": 1,
        "last_verified_ms": null, "last_used_ms": null, "pins": {},
    });
    edit_shard(&host.root(), id, |entries| drop(entries.insert(id.into(), record)));
}

// Red when removal follows symlinks and `..`. (A path whose text leads out is refused earlier, when the record is
// parsed. Each of the two protections is enough alone.)
#[rstest]
#[case::step_back("../outside/secret.gguf")]
#[case::absolute("OUTSIDE/secret.gguf")]
#[case::back_and_forth("models/../../outside/secret.gguf")]
#[case::folder_symlink("out/secret.gguf")]
#[case::relative_symlink("models/out/secret.gguf")]
#[case::file_symlink("out.gguf")]
#[case::folder_symlink_itself("out")]
#[case::nothing("")]
fn delete_changes_nothing_outside_whatever_the_record_says(
    #[case] path: &str,
    #[values("file", "tree")] kind: &str,
    #[values("hardlink", "copy")] view: &str,
) {
    let host = host_with_ways_out();
    let catalog = host.catalog();
    // Make it look like a file of the catalog.
    set_mode(&host.path("outside/secret.gguf"), 0o444);
    let path = path.replace("OUTSIDE", host.path("outside").to_str().unwrap());
    let tree = host.path("tree");
    host.file("tree/secret.gguf", b"secret");
    let digest = match kind {
        "tree" => stage(&catalog, &tree, "real").unwrap().digest,
        _ => Digest::sha256_of(b"secret"),
    };
    plant(&host, "planted", kind, &path, &digest, 6, view);
    // The entry's folder below `views/` leads out as well.
    let home = stage(&catalog, &host.file("b", b"b"), "home").unwrap().local_path;
    let home = home.parent().unwrap().parent().unwrap();
    fs::remove_dir_all(home).unwrap();
    symlink(host.path("outside"), home).unwrap();

    let before = listing(&host.path("outside"));
    match catalog.delete("planted") {
        Ok(removed) => assert!(removed && catalog.record("planted").unwrap().is_none()),
        Err(error) => assert!(error.is_corrupt(), "{error}"),
    }
    let _ = catalog.delete("home");
    assert_eq!(listing(&host.path("outside")), before);
}

// Red when a manifest's paths are joined as they are, and also opened without telling the kernel to stay below the
// root. Each of the two protections is enough alone.
#[rstest]
fn delete_of_a_tree_with_a_hostile_manifest(
    #[values("../../outside/x", "OUTSIDE/x", "sub/../../../outside/x", "out/x")] path: &str,
) {
    let host = host_with_ways_out();
    let catalog = host.catalog();
    host.file("outside/x", b"x");
    set_mode(&host.path("outside/x"), 0o444);
    host.file("tree/PLACE", b"x");
    let digest = stage(&catalog, &host.path("tree"), "tree").unwrap().digest;
    let manifest = fs::read_to_string(blob_path(&host.root(), &digest)).unwrap();
    fs::create_dir(host.root().join("models/sub")).unwrap();
    let hostile = manifest.replace("PLACE", &path.replace("OUTSIDE", host.path("outside").to_str().unwrap()));
    assert_ne!(hostile, manifest);
    let hostile_digest = Digest::sha256_of(hostile.as_bytes());
    let blob = blob_path(&host.root(), &hostile_digest);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, hostile).unwrap();
    plant(&host, "planted", "tree", "models", &hostile_digest, 1, "copy");
    let before = listing(&host.path("outside"));
    assert!(catalog.delete("planted").unwrap());
    assert_eq!(listing(&host.path("outside")), before);
}

// Red when a record's path is removed wherever it points: another entry's blob is a read-only file as well.
#[test]
fn delete_takes_no_place_of_the_store_for_a_view() {
    let host = Host::new();
    let catalog = host.catalog();
    let kept = stage(&catalog, &host.file("kept", b"kept"), "kept").unwrap();
    let blob = blob_path(catalog.root(), &kept.digest);
    let path = |file: &Path| file.strip_prefix(catalog.root()).unwrap().to_str().unwrap().to_owned();
    plant(&host, "copy", "file", &path(&blob), &Digest::sha256_of(b"other"), 4, "copy");
    plant(&host, "link", "file", &path(&blob), &kept.digest, 4, "hardlink");
    plant(&host, "tag", "file", "CACHEDIR.TAG", &Digest::sha256_of(b"other"), 4, "copy");
    for planted in ["copy", "link", "tag"] {
        assert!(catalog.delete(planted).unwrap());
    }
    assert_readable(&catalog, "kept", b"kept");
    assert!(blob.exists() && catalog.root().join("CACHEDIR.TAG").exists());
}

/// Every way to read a catalog.
fn read_everything(root: &Path) {
    let catalog = FsCatalog::new(root).unwrap();
    let ids: Vec<String> = catalog.list().unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["absent", "file", "tree"]);
    assert_eq!(catalog.records().unwrap().len(), 3);
    let reference = ModelRef::File { path: "/models/never-staged.gguf".into() };
    for id in ["file", "tree"] {
        let entry = catalog.get(id).unwrap().unwrap();
        assert!(catalog.exists(id).unwrap() && catalog.record(Key::typed(id)).unwrap().is_some());
        assert!(fs::metadata(&entry.local_path).unwrap().len() > 0);
    }
    assert!(catalog.get("missing").unwrap().is_none() && !catalog.exists("missing").unwrap());
    assert!(catalog.record("missing").unwrap().is_none());
    assert!(!catalog.exists(&reference).unwrap() && catalog.locate(&reference).unwrap().is_none());
    assert!(catalog.resolve("absent").unwrap_err().is_not_found());
    assert!(!catalog.delete("missing").unwrap(), "there is nothing to write for it");
}

/// Every way to change a catalog; each one fails.
fn change_nothing(root: &Path, source: &Path) {
    let catalog = FsCatalog::new(root).unwrap();
    for error in [
        catalog.put(&entry("new", source)).unwrap_err(),
        catalog.put(&entry("new", "models/new")).unwrap_err(),
        catalog.set_state("file", LifecycleState::Retired).unwrap_err(),
        catalog.delete("file").unwrap_err(),
        stage(&catalog, source, "file").unwrap_err(),
    ] {
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

fn host_to_read() -> Host {
    let host = Host::new();
    let catalog = host.catalog();
    host.file("tree/a", b"a");
    stage(&catalog, &fixture(), "file").unwrap();
    stage(&catalog, &host.path("tree"), "tree").unwrap();
    catalog.put(&entry("absent", "models/absent.gguf")).unwrap();
    host.file("source", b"source");
    host
}

// Red when `get` takes a lock: it would create the shard's lock file.
#[test]
fn reads_write_nothing() {
    let host = host_to_read();
    let before = listing(&host.root());
    read_everything(&host.root());
    assert_eq!(listing(&host.root()), before);
}

#[test]
fn reads_work_on_a_read_only_root() {
    let host = host_to_read();
    let Some(read_only) = mount::read_only_bind(&host.root()) else { return };
    let before = listing(&host.root());
    read_everything(read_only.path());
    change_nothing(read_only.path(), &host.path("source"));
    let catalog = FsCatalog::new(read_only.path()).unwrap();
    assert!(catalog.resolve("tree").is_ok(), "its use cannot be noted, and that is no error");
    let error = catalog.delete("file").unwrap_err();
    assert_eq!(error.hint(), Some(Hint::ReadOnly), "{error}");
    assert_eq!(listing(&host.root()), before);
}

#[test]
fn child_reads_and_cannot_write() {
    if is_child("child_reads_and_cannot_write") {
        let root = PathBuf::from(std::env::var_os("CATALOG_TEST_ROOT").unwrap());
        read_everything(&root);
        change_nothing(&root, &root.with_file_name("source"));
    }
}

#[test]
fn reads_work_for_a_user_who_owns_nothing() {
    let Some(words) = as_nobody() else { return };
    let host = host_to_read();
    set_mode(host.dir.path(), 0o755);
    for entry in walkdir::WalkDir::new(host.root()) {
        let entry = entry.unwrap();
        set_mode(entry.path(), if entry.file_type().is_dir() { 0o555 } else { 0o444 });
    }
    let before = listing(&host.root());
    let mut child = child_test(&words, "child_reads_and_cannot_write");
    child.env("CATALOG_TEST_ROOT", host.root()).env("HOME", "/");
    run(child);
    assert_eq!(listing(&host.root()), before);
}
