//! Artifacts whose bytes come from anywhere: a remote source, memory, local files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::ingest_and_commit;
use super::item::{Content, Item};
use crate::blob::IngestMode;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, TrustState};
use crate::error::Error;
use crate::ingest::{ContentFile, Origin, Ranges};
use crate::layout;
use crate::read_at::ReadAt;
use crate::store::{Others, Store};

/// A remote file in memory. It fails at `broken_at`, and claims `more` bytes than it has.
struct Served {
    bytes: Vec<u8>,
    broken_at: Option<u64>,
    more: u64,
}

impl ReadAt for Served {
    fn name(&self) -> String {
        "https://models.example/a.gguf".into()
    }

    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.more
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if self.broken_at.is_some_and(|at| (offset..end).contains(&at)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let part = self.bytes.get(offset as usize..end as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}

const BYTES: usize = 9 << 20;

fn served(broken_at: Option<u64>, more: u64) -> Origin {
    let bytes = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let reader = Arc::new(Served { bytes, broken_at, more });
    Origin::Remote(Ranges { reader, validator: None })
}

fn content(path: &str, origin: Origin, expected: Option<Digest>) -> Content {
    let size_bytes = match &origin {
        Origin::Remote(ranges) => ranges.reader.size_bytes(),
        Origin::Memory(bytes) => bytes.len() as u64,
        Origin::Local { path, .. } => std::fs::metadata(path).unwrap().len(),
    };
    Content {
        file: ContentFile { path: path.into(), size_bytes, expected, origin, present: None },
        stamp: None,
        git_sha1: None,
    }
}

fn stage(store: &Store, kind: ArtifactKind, contents: Vec<Content>) -> crate::Result<crate::StageReceipt> {
    let reference = "https://models.example/a.gguf".to_owned();
    let item = Item::new("m".into(), reference.clone(), kind, PathBuf::from(reference), contents);
    ingest_and_commit(store, vec![(0, item)], &(), &Cancel::new()).pop().unwrap().1
}

fn is_empty(store: &Store) -> bool {
    let nothing_in = |folder: &str| store.root.names(Path::new(folder)).unwrap().is_empty();
    crate::blob::all(&store.root).unwrap().is_empty()
        && nothing_in(layout::INGEST)
        && nothing_in(layout::VIEWS)
        && store.record("m").unwrap().is_none()
}

#[test]
fn a_tree_of_contents_from_everywhere_is_one_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("root"), Others::Refuse).unwrap();
    let local = dir.path().join("local");
    std::fs::File::create(&local).unwrap();
    let contents = vec![
        content("a.gguf", served(None, 0), None),
        content("b.json", Origin::Memory(b"{}".to_vec()), Some(Digest::sha256_of(b"{}"))),
        content(
            "c/local",
            Origin::Local { path: local, mode: IngestMode::Auto, links: crate::ingest::Links::Followed },
            None,
        ),
    ];
    let receipt = stage(&store, ArtifactKind::Tree, contents).unwrap();
    assert_eq!((receipt.files, receipt.size_bytes), (3, BYTES as u64 + 2));
    let read = |path: &str| std::fs::read(receipt.local_path.join(path)).unwrap();
    assert_eq!((read("a.gguf").len(), read("b.json"), read("c/local")), (BYTES, b"{}".to_vec(), Vec::new()));
    let record = store.record("m").unwrap().unwrap();
    assert_eq!((record.kind, record.trust), (ArtifactKind::Tree, TrustState::Warned));
    store.ensure_usable(&record).unwrap();
}

// Red when the results of an item are taken only up to the first failed file: the next item then has the files of this
// one.
#[test]
fn a_failed_file_does_not_give_its_neighbours_to_the_next_item() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("root"), Others::Refuse).unwrap();
    let memory = |path: &str, bytes: &[u8], expected| content(path, Origin::Memory(bytes.to_vec()), expected);
    let wrong = Some(Digest::sha256_of(b"other bytes"));
    let item = |id: &str, contents| Item::new(id.into(), id.into(), ArtifactKind::Tree, PathBuf::from(id), contents);
    let items = vec![
        (0, item("bad", vec![memory("a", b"a of bad", wrong), memory("b", b"b of bad", None)])),
        (1, item("good", vec![memory("a", b"a of good", None), memory("b", b"b of good", None)])),
        (2, item("last", vec![memory("c", b"c of last", None)])),
    ];
    let mut results = ingest_and_commit(&store, items, &(), &Cancel::new());
    results.sort_by_key(|(number, _)| *number);
    let receipts: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
    assert!(matches!(receipts[0], Err(Error::DigestMismatch { .. })), "{receipts:?}");
    let read = |number: usize, path: &str| {
        let receipt = receipts[number].as_ref().unwrap();
        std::fs::read_to_string(receipt.local_path.join(path)).unwrap()
    };
    assert_eq!(
        (read(1, "a"), read(1, "b"), read(2, "c")),
        ("a of good".into(), "b of good".into(), "c of last".into())
    );
}

// Red when a failed range or unexpected content leaves anything behind or is recorded.
#[test]
fn a_remote_file_is_right_or_not_there() {
    let wrong = Some(Digest::sha256_of(b"other bytes"));
    for (origin, expected, is_mismatch) in [
        (served(Some(BYTES as u64 / 2), 0), None, false),
        (served(None, 1), None, false),
        (served(None, 0), wrong, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("root"), Others::Refuse).unwrap();
        let error = stage(&store, ArtifactKind::File, vec![content("", origin, expected)]).unwrap_err();
        assert_eq!(matches!(error, Error::DigestMismatch { .. }), is_mismatch, "{error}");
        assert!(is_empty(&store), "{error}");
    }
}
