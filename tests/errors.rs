//! What every error says: the action, the path, the cause and the remedy, in one line.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog_core::{Digest, Error};

fn path(name: &str) -> PathBuf {
    format!("/srv/models/{name}").into()
}

fn system(action: &'static str, kind: io::ErrorKind) -> Error {
    // Only the kind: the words of the system differ between systems.
    Error::Io { action, path: path("index/3f.json"), source: Arc::new(kind.into()) }
}

/// At least one of every variant.
fn samples() -> Vec<Error> {
    let id = || "llama3".to_owned();
    vec![
        Error::InvalidDigest { input: "sha256:1ef0".into(), reason: "there are not exactly 64 hex digits" },
        Error::InvalidRef { input: "ftp://host/a".into(), reason: "`ftp://` is not supported; write a path".into() },
        Error::InvalidId { id: "a\nb".into(), reason: "it has a control character" },
        Error::InvalidPath { path: path("a.gguf"), reason: "it is not UTF-8, which the index needs; rename it" },
        Error::NotFound { id: id(), root: path("") },
        Error::NotStaged { id: id(), path: path("views/llama3/1ef0bef1eb6c/llama3.gguf") },
        Error::SourceMissing { path: path("a.gguf") },
        Error::NoCatalog { root: path("") },
        Error::NoFetcher { scheme: "hf".into(), reference: "hf:org/repo/a.gguf".into() },
        Error::UnsupportedFileType { path: path("a.gguf"), kind: "FIFO" },
        Error::SourceChanged { path: path("a.gguf"), detail: "it was written to".into() },
        Error::SourceInUse { path: path("a.gguf"), reason: "process 7 (curl) has it open for writing".into() },
        Error::LinkLeadsOut { link: path("tree/a.gguf"), target: path("blobs/a.gguf") },
        Error::UnusableTree { path: path("tree"), reason: "there is no file in it" },
        Error::NameCollision { path: path("views/llama3/1ef0bef1eb6c/llama3/Config.json") },
        Error::ReservedPath { path: path("blobs/a.gguf") },
        Error::PathEscapesRoot { path: path("../a.gguf"), root: path("") },
        Error::DigestMismatch {
            path: path("a.gguf"),
            expected: Digest::of_bytes(b"expected"),
            actual: Digest::of_bytes(b"actual"),
        },
        Error::CorruptIndex { path: path("index/3f.json"), reason: "its checksum does not match its entries".into() },
        Error::CorruptBlob { path: path("blobs/sha256/1e/1ef0"), reason: "its bytes are not its name".into() },
        Error::Damaged { id: "llama3".into(), path: path("views/llama3-0/1ef0/a.gguf") },
        Error::NoGoodSource {
            path: path("blobs/sha256/1e/1ef0"),
            range: 0..1 << 20,
            tried: vec!["/backup/a.gguf".into()],
        },
        Error::NoGoodSource { path: path("blobs/sha256/1e/1ef0"), range: 0..0, tried: vec![] },
        Error::UnsupportedFormat { path: path("store.json"), found: "format 2".into(), supported: "format 1".into() },
        Error::Busy { what: "index shard 3f", path: path("locks/index/3f"), waited: Duration::from_secs(30) },
        Error::NoRoom { root: path(""), needed_bytes: 40, available_bytes: 30, evictable_bytes: 5 },
        Error::LocksDoNothing { root: path("") },
        Error::Cancelled { what: "reading /srv/models/a.gguf".into() },
        system("read", io::ErrorKind::NotFound),
        system("create", io::ErrorKind::PermissionDenied),
        system("write", io::ErrorKind::StorageFull),
        system("write", io::ErrorKind::QuotaExceeded),
        system("sync", io::ErrorKind::ReadOnlyFilesystem),
        system("list", io::ErrorKind::NotADirectory),
    ]
}

/// `NotFound` of `NotFound { id: …`.
fn variant(error: &Error) -> String {
    format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
fn what_each_error_says() {
    let lines: Vec<String> = samples().iter().map(|error| format!("{}: {error}", variant(error))).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn each_message_is_one_line_that_begins_with_what_was_done() {
    for error in samples() {
        let message = error.to_string();
        assert!(message.starts_with("could not ") || error.is_cancelled(), "{message}");
        assert!(!message.contains(char::is_control), "{message}");
        assert!(!message.ends_with(['.', ' ', ';']) && !message.contains("  "), "{message}");
        assert!(message.contains("/srv/models/") || message.contains(['"', '`']), "it names nothing: {message}");
    }
}

// Red when a variant is added without a sample.
#[test]
fn every_variant_has_a_sample() {
    let source = include_str!("../src/error.rs");
    let (_, body) = source.split_once("pub enum Error {").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let variants: BTreeSet<String> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect();
    assert!(variants.len() > 20, "{variants:?}");
    assert_eq!(samples().iter().map(variant).collect::<BTreeSet<_>>(), variants);
}

#[test]
fn callers_ask_for_the_kind() {
    type Is = fn(&Error) -> bool;
    let of = |is: Is| samples().iter().filter(|error| is(error)).map(variant).collect::<Vec<_>>().join(" ");
    assert_eq!(of(Error::is_not_found), "NotFound NotStaged SourceMissing NoCatalog");
    assert_eq!(of(Error::is_corrupt), "DigestMismatch CorruptIndex CorruptBlob Damaged NoGoodSource NoGoodSource");
    assert_eq!(of(Error::is_busy), "Busy");
    assert_eq!(of(Error::is_cancelled), "Cancelled");
    assert_eq!(of(Error::is_invalid_input), "InvalidDigest InvalidRef InvalidId");
    assert_eq!(of(Error::is_no_space), "NoRoom Io Io");
}
