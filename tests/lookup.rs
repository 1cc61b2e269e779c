//! Which entries a text stands for that a person types or copies from the output of a tool.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use catalog_core::{CatalogStore as _, Error, FsCatalog, Key};
use common::{Host, entry, reference, stage};

/// A file `f`, and two trees that have one file in common and no other blob.
struct Three {
    host: Host,
    catalog: FsCatalog,
}

impl Three {
    fn new() -> Self {
        let host = Host::new();
        let catalog = host.catalog();
        stage(&catalog, &host.file("m.gguf", "model"), "f").unwrap();
        for tree in ["t1", "t2"] {
            host.file(&format!("{tree}/config.json"), "{}");
            host.file(&format!("{tree}/deep/a.gguf"), tree);
            stage(&catalog, &host.path(tree), tree).unwrap();
        }
        Three { host, catalog }
    }

    fn ids(&self, text: &str) -> Vec<String> {
        let found = self.catalog.find(text).unwrap();
        found.into_iter().map(|record| record.entry.id).collect()
    }

    /// Looks a text up both ways. It must stand for at most one entry.
    #[track_caller]
    fn one(&self, text: impl AsRef<Path>) -> Option<String> {
        let text = text.as_ref().to_str().unwrap();
        let typed = self.catalog.record(Key::typed(text)).unwrap().map(|record| record.entry.id);
        assert_eq!(self.ids(text), typed.clone().into_iter().collect::<Vec<_>>(), "{text}");
        typed
    }

    fn path(&self, id: &str) -> PathBuf {
        self.catalog.record(id).unwrap().unwrap().entry.local_path
    }

    fn hex(&self, id: &str) -> String {
        self.catalog.record(id).unwrap().unwrap().entry.digest.unwrap().to_hex()
    }

    /// The path of a blob, from the root.
    fn blob_of(&self, bytes: &str) -> PathBuf {
        let hex = catalog_core::Digest::sha256_of(bytes.as_bytes()).to_hex();
        format!("blobs/sha256/{}/{hex}", &hex[..2]).into()
    }
}

#[test]
fn a_digest_or_its_first_digits_find_what_has_it() {
    let three = Three::new();
    for id in ["f", "t1", "t2"] {
        let hex = three.hex(id);
        for digits in [8, 9, 63, 64] {
            assert_eq!(three.one(&hex[..digits]).as_deref(), Some(id), "{digits} digits");
            assert_eq!(three.one(format!("sha256:{}", &hex[..digits])).as_deref(), Some(id), "{digits} digits");
        }
        // Too few digits, too many, and text that is spelt differently from a digest.
        for text in [
            &hex[..7],
            &format!("{hex}0"),
            &hex.to_uppercase(),
            &format!(" {hex}"),
            &hex[..8].replacen(|_| true, "g", 1),
        ] {
            assert_eq!(three.one(text), None, "{text}");
        }
    }
    assert_eq!(three.one("00000000"), None);
    // The digest of a file that only one tree has.
    let inner = catalog_core::Digest::sha256_of(b"t1").to_hex();
    assert_eq!(three.one(&inner).as_deref(), Some("t1"));
    assert_eq!(three.one(&inner[..12]).as_deref(), Some("t1"));
}

#[test]
fn a_path_below_the_root_finds_what_is_shown_there() {
    let three = Three::new();
    let root = three.catalog.root().to_path_buf();
    let alias = three.host.path("alias");
    symlink(&root, &alias).unwrap();
    symlink(three.path("f"), three.host.path("link.gguf")).unwrap();
    let folder_of_t1 = three.path("t1");
    for (relative, id) in [
        (three.path("f").strip_prefix(&root).unwrap().to_path_buf(), "f"),
        (folder_of_t1.strip_prefix(&root).unwrap().to_path_buf(), "t1"),
        (folder_of_t1.strip_prefix(&root).unwrap().join("deep/a.gguf"), "t1"),
        (folder_of_t1.strip_prefix(&root).unwrap().join("deep"), "t1"),
        (three.blob_of("model"), "f"),
        (three.blob_of("t2"), "t2"),
    ] {
        for top in [&root, &alias] {
            assert_eq!(three.one(top.join(&relative)).as_deref(), Some(id), "{}", relative.display());
            assert_eq!(three.one(top.join("index/..").join(&relative)).as_deref(), Some(id));
            assert_eq!(three.one(format!("file:{}", top.join(&relative).display())).as_deref(), Some(id));
        }
    }
    assert_eq!(three.one(three.host.path("link.gguf")).as_deref(), Some("f"));
    // The file no longer has to exist.
    fs::remove_file(three.path("f")).unwrap();
    for top in [&root, &alias] {
        let path = top.join(three.path("f").strip_prefix(&root).unwrap());
        assert_eq!(three.one(&path).as_deref(), Some("f"), "{}", path.display());
    }
    for nothing in ["", "views", "store.json", "views/other/file", "index/00.json", "mine/file"] {
        assert_eq!(three.one(root.join(nothing)), None, "{nothing:?}");
    }
    // A path that begins with the path of a view is not necessarily below it.
    assert_eq!(three.one(format!("{}-other", three.host.path("f").display())), None);
    assert_eq!(three.one(three.host.path("elsewhere/m.gguf")), None);
}

#[test]
fn a_path_of_ones_own_below_the_root_finds_its_entry() {
    let three = Three::new();
    let root = three.catalog.root().to_path_buf();
    fs::create_dir(root.join("mine")).unwrap();
    fs::write(root.join("mine/a.gguf"), "mine").unwrap();
    three.catalog.put(&entry("in place", "mine/a.gguf")).unwrap();
    three.catalog.put(&entry("later", "mine/later.gguf")).unwrap();
    assert_eq!(three.one(root.join("mine/a.gguf")).as_deref(), Some("in place"));
    assert_eq!(three.one(root.join("mine/later.gguf")).as_deref(), Some("later"));
    assert_eq!(three.one(root.join("mine")), None);
    assert_eq!(three.one(root.join("mine/later.gguf/x")), None);
}

#[test]
fn what_stands_for_several_entries_is_an_error_that_names_them() {
    let three = Three::new();
    let ambiguous = |text: &str| match three.catalog.record(Key::typed(text)).unwrap_err() {
        error @ Error::Ambiguous { .. } => {
            assert!(error.is_invalid_input() && !error.is_not_found());
            let Error::Ambiguous { ids, .. } = error else { unreachable!() };
            assert_eq!(ids, three.ids(text), "{text}");
            ids
        }
        other => panic!("{text}: {other}"),
    };
    // A blob that both trees need, by its digest and by its path.
    let shared = catalog_core::Digest::sha256_of(b"{}");
    assert_eq!(ambiguous(&shared.to_hex()), ["t1", "t2"]);
    assert_eq!(ambiguous(three.catalog.root().join(three.blob_of("{}")).to_str().unwrap()), ["t1", "t2"]);
    // The same content under a second id.
    stage(&three.catalog, &three.host.path("m.gguf"), "a").unwrap();
    assert_eq!(ambiguous(&three.hex("f")[..8]), ["a", "f"]);
    // No call picks one of them.
    let digest = shared.to_string();
    assert!(matches!(three.catalog.remove(Key::typed(&digest)), Err(Error::Ambiguous { .. })));
    assert!(matches!(three.catalog.resolve(Key::typed(&digest)), Err(Error::Ambiguous { .. })));
    assert_eq!(three.catalog.records().unwrap().len(), 4);
    // A path tells them apart.
    assert_eq!(three.one(three.path("a")).as_deref(), Some("a"));
}

// Red when two digests with a common prefix count as one.
#[test]
fn a_prefix_of_two_digests_is_ambiguous_and_one_digit_more_is_not() {
    // The first two numbers whose digests begin with the same 8 digits. They are below 2^17.
    let mut seen = std::collections::BTreeMap::new();
    let (a, b) = (0_u32..)
        .find_map(|number| {
            let hex = catalog_core::Digest::sha256_of(number.to_string().as_bytes()).to_hex();
            seen.insert(hex[..8].to_owned(), number).map(|other| (other.to_string(), number.to_string()))
        })
        .unwrap();
    let host = Host::new();
    let catalog = host.catalog();
    for content in [&a, &b] {
        stage(&catalog, &host.file(content, content), content).unwrap();
    }
    let [a, b] = [a, b].map(|content| catalog_core::Digest::sha256_of(content.as_bytes()).to_hex());
    let alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    assert!(matches!(catalog.exists(Key::typed(&a[..alike])), Err(Error::Ambiguous { .. })));
    assert!(catalog.exists(Key::typed(&a[..=alike])).unwrap() && catalog.exists(Key::typed(&b[..=alike])).unwrap());
}

#[test]
fn an_id_that_exists_wins_whatever_it_looks_like() {
    let three = Three::new();
    let root = three.catalog.root().to_path_buf();
    let (hex, path) = (three.hex("f"), three.path("t1"));
    let odd = [hex[..8].to_owned(), hex.clone(), format!("sha256:{hex}"), "t*".into(), path.to_str().unwrap().into()];
    for id in &odd {
        stage(&three.catalog, &three.host.file("other", id), id).unwrap();
        assert_eq!(three.one(id).as_ref(), Some(id));
    }
    // A reference also comes before an entry that is shown at its path.
    let mine = root.join("mine.gguf");
    fs::write(&mine, "mine").unwrap();
    three.catalog.put(&entry("mine", &mine)).unwrap();
    assert_eq!(three.one(&mine).as_deref(), Some("mine"));
    let id = format!("file:{}", mine.display());
    stage(&three.catalog, &three.host.path("other"), &id).unwrap();
    assert_eq!(three.one(&mine), Some(id));
}

#[test]
fn a_pattern_finds_ids_and_names_no_single_entry() {
    let three = Three::new();
    for id in ["hf:org/repo/a.gguf", "hf:org/repo", "hf:other/repo", "a[1]"] {
        stage(&three.catalog, &three.host.path("m.gguf"), id).unwrap();
    }
    assert_eq!(three.ids("hf:org/*"), ["hf:org/repo", "hf:org/repo/a.gguf"]);
    assert_eq!(three.ids("t[12]"), ["t1", "t2"]);
    assert_eq!(three.ids("?"), ["f"]);
    assert_eq!(three.ids("a[1]"), ["a[1]"]);
    assert_eq!(three.ids("*").len(), 7);
    assert!(three.ids("hf:nobody/*").is_empty() && three.ids("F*").is_empty());
    // A pattern names no single entry, even if it matches only one.
    assert_eq!(three.catalog.record(Key::typed("t[1]")).unwrap(), None);
    // Text that can be neither a reference, a pattern nor a digest is an error.
    for text in ["ftp://host/x", "hf:org"] {
        assert!(three.catalog.find(text).unwrap_err().is_invalid_input(), "{text}");
        assert!(three.catalog.record(Key::typed(text)).unwrap_err().is_invalid_input(), "{text}");
    }
    assert!(three.catalog.find("").unwrap_err().is_invalid_input());
}

#[test]
fn a_records_last_use_is_as_everywhere() {
    let three = Three::new();
    three.catalog.resolve("f").unwrap();
    let record = three.catalog.record("f").unwrap();
    for text in ["f", "?", &three.hex("f")] {
        assert_eq!(three.catalog.find(text).unwrap().into_iter().next(), record, "{text}");
    }
}

// Red when the lookup of an id reads more than its own shard.
#[test]
fn an_id_is_found_though_another_shard_cannot_be_read() {
    let three = Three::new();
    let shard = |id: &str| format!("index/{}.json", &catalog_core::Digest::sha256_of(id.as_bytes()).to_hex()[..2]);
    assert_ne!(shard("f"), shard("t1"));
    fs::write(three.catalog.root().join(shard("t1")), "{").unwrap();
    assert_eq!(three.one("f").as_deref(), Some("f"));
    // These texts may stand for an entry in the unreadable shard.
    for text in ["hf:*", &three.hex("f"), three.path("f").to_str().unwrap()] {
        assert!(three.catalog.find(text).unwrap_err().is_corrupt(), "{text}");
    }
}

// Red when one damaged tree prevents every digest from being found, or counts as a tree without files.
#[test]
fn a_tree_whose_manifest_is_damaged_is_found_by_its_own_digest() {
    let three = Three::new();
    let hex = three.hex("t1");
    fs::remove_file(three.catalog.root().join(format!("blobs/sha256/{}/{hex}", &hex[..2]))).unwrap();
    let catalog = FsCatalog::open(three.catalog.root()).unwrap();
    let id = |text: &str| catalog.record(Key::typed(text)).map(|record| record.map(|record| record.entry.id));
    assert_eq!(id(&hex).unwrap().as_deref(), Some("t1"));
    assert_eq!(id(&three.hex("f")).unwrap().as_deref(), Some("f"));
    assert!(id(&catalog_core::Digest::sha256_of(b"t1").to_hex()).unwrap_err().is_corrupt());
    assert!(id("00000000").unwrap_err().is_corrupt());
}

#[test]
fn a_signature_finds_what_it_is_of() {
    let three = Three::new();
    let needed = catalog_core::Digest::sha256_of(b"signature");
    let digest = three.hex("f");
    let shard =
        three.catalog.root().join(format!("index/{}.json", &catalog_core::Digest::sha256_of(b"f").to_hex()[..2]));
    let text = fs::read_to_string(&shard).unwrap();
    let (head, entries) = text.split_once(r#""entries":"#).unwrap();
    let entries = entries.trim_end().strip_suffix('}').unwrap();
    let changed = entries.replace(r#","path":"#, &format!(r#","needs":["{needed}"],"path":"#));
    assert_ne!(entries, changed);
    let old = blake3::hash(entries.as_bytes()).to_hex();
    assert!(head.contains(old.as_str()), "{head}");
    let head = head.replace(old.as_str(), &blake3::hash(changed.as_bytes()).to_hex());
    fs::write(&shard, format!("{head}\"entries\":{changed}}}")).unwrap();
    assert_eq!(three.one(needed.to_hex()).as_deref(), Some("f"));
    assert_eq!(three.one(digest).as_deref(), Some("f"));
}

#[test]
fn a_reference_is_looked_up_by_its_own_string() {
    let three = Three::new();
    let file = three.host.path("m.gguf");
    let id = reference(&file).id().unwrap();
    assert_eq!(three.one(&file), None);
    stage(&three.catalog, &file, &id).unwrap();
    assert_eq!(three.one(&file), Some(id));
}
