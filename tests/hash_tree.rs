//! `hash_tree`: the digest that staging a directory would result in.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use catalog_core::{Cancel, Error, Event, HashOptions, hash_tree};
use common::{Host, listing, noise, options, reference, set_mode, stage};

/// A tree with names that sort, fold and print oddly, sizes around the limits, and links inside.
fn odd_tree(host: &Host) -> PathBuf {
    for (name, size) in [
        ("a", 0),
        ("a.b", 1),
        ("a-b/c", 2),
        ("a b/\u{e9}", 3),
        ("a b/e\u{301}", 4),
        (" leading", 5),
        ("trailing ", 6),
        (".hidden/.file", 7),
        ("-rf", 8),
        ("back\\slash", 9),
        ("\"quoted\" & <b>", 10),
        ("\u{202e}gguf.exe", 11),
        ("deep/er/and/deeper/still", 12),
        ("model.gguf", (1 << 20) + 1),
        ("models/two.gguf", 9 << 20),
        ("A", 13),
        ("\u{1f980}", 14),
        ("%2e%2e", 15),
        ("...", 16),
    ] {
        host.file(&format!("tree/{name}"), noise(size, size as u64));
    }
    let tree = host.path("tree");
    fs::create_dir_all(tree.join("empty/er")).unwrap();
    symlink("model.gguf", tree.join("link.gguf")).unwrap();
    symlink("deep/er", tree.join("linked folder")).unwrap();
    set_mode(&tree.join("A"), 0o755);
    tree
}

fn hash(path: &Path) -> catalog_core::Result<catalog_core::TreeHash> {
    hash_tree(path, &HashOptions::default())
}

// Red when paths are sorted differently, links are left out, or an empty folder counts.
#[test]
fn it_is_what_staging_says() {
    let host = Host::new();
    let tree = odd_tree(&host);
    let before = listing(&tree);
    let hashed = hash(&tree).unwrap();
    assert_eq!(listing(&tree), before, "something was written");
    assert!(!host.root().exists());
    let staged = stage(&host.catalog(), &tree, "tree").unwrap();
    assert_eq!((hashed.digest, hashed.size_bytes, hashed.files), (staged.digest, staged.size_bytes, staged.files));
    assert_eq!(hashed.path, tree);
    assert!(hashed.files > 20);
    // The catalog's view and the tree by another name have the same digest.
    assert_eq!(hash(&staged.local_path).unwrap().digest, staged.digest);
    symlink(&tree, host.path("alias")).unwrap();
    assert_eq!(hash(&host.path("alias")).unwrap().digest, staged.digest);
    assert_eq!(hash(&tree.join("deep/../")).unwrap().digest, staged.digest);
    // `stage` accepts it as the expected digest.
    let catalog = host.catalog();
    assert!(catalog.stage(&reference(&tree), &options("again").with_digest(hashed.digest)).is_ok());
    // A change in the tree changes the digest.
    fs::write(tree.join("a"), "x").unwrap();
    assert_ne!(hash(&tree).unwrap().digest, staged.digest);
}

/// A change that makes a tree impossible to stage, and whether following links helps.
type Spoil = (&'static str, fn(&Host, &Path), bool);

const SPOILED: [Spoil; 9] = [
    ("leads out", |host, tree| symlink(host.file("out", "x"), tree.join("out")).unwrap(), true),
    ("leads nowhere", |_, tree| symlink("nowhere", tree.join("link")).unwrap(), false),
    ("leads to itself", |_, tree| symlink("link", tree.join("link")).unwrap(), false),
    ("leads above", |_, tree| symlink("..", tree.join("link")).unwrap(), false),
    ("a control character", |_, tree| fs::write(tree.join("a\nb"), "x").unwrap(), false),
    ("not utf8", |_, tree| fs::write(tree.join(OsStr::from_bytes(b"\xff")), "x").unwrap(), false),
    ("a socket", |_, tree| drop(std::os::unix::net::UnixListener::bind(tree.join("s")).unwrap()), false),
    ("no file", |_, tree| fs::remove_file(tree.join("a")).unwrap(), false),
    ("no directory", |_, tree| fs::remove_dir_all(tree).unwrap(), false),
];

// Red when one of the two accepts what the other refuses.
#[test]
fn it_refuses_what_staging_refuses() {
    for (name, spoil, may_follow) in SPOILED {
        let host = Host::new();
        host.file("tree/a", "x");
        let tree = host.path("tree");
        spoil(&host, &tree);
        let catalog = host.catalog();
        for follow in [false, true] {
            let hashed = hash_tree(&tree, &HashOptions::default().with_follow_links(follow));
            let staged = catalog.stage(&reference(&tree), &options("m").with_follow_links(follow));
            match (hashed, staged) {
                (Ok(hashed), Ok(staged)) => {
                    assert!(follow && may_follow, "{name}");
                    assert_eq!(hashed.digest, staged.digest, "{name}");
                }
                (Err(hashed), Err(staged)) => {
                    assert!(!follow || !may_follow, "{name}: {hashed}");
                    assert_eq!(hashed.to_string(), staged.to_string());
                }
                (hashed, staged) => panic!("{name}: {hashed:?} {staged:?}"),
            }
        }
    }
}

#[test]
fn a_file_is_no_tree() {
    let host = Host::new();
    let error = hash(&host.file("a", "x")).unwrap_err();
    assert!(error.hint() == Some(catalog_core::Hint::GiveDirectory), "{error}");
    assert!(hash(&host.path("absent")).unwrap_err().is_not_found());
}

// Red when the result is the hash of a tree that never existed.
#[test]
fn a_file_that_is_written_to_meanwhile_is_an_error() {
    let host = Host::new();
    host.file("tree/a", "x");
    let file = host.file("tree/b", noise(9 << 20, 1));
    let written = std::sync::Once::new();
    let options = HashOptions::default().with_observer(move |event: &Event<'_>| {
        if matches!(event, Event::Advanced { .. }) {
            written.call_once(|| fs::write(&file, "other").unwrap());
        }
    });
    let error = hash_tree(host.path("tree"), &options).unwrap_err();
    assert!(matches!(error, Error::SourceChanged { .. }), "{error}");
}

#[test]
fn it_can_be_cancelled() {
    let host = Host::new();
    host.file("tree/a", noise(9 << 20, 1));
    let cancel = Cancel::new();
    cancel.cancel();
    let options = HashOptions::default().with_cancel(cancel);
    assert!(hash_tree(host.path("tree"), &options).unwrap_err().is_cancelled());
}
