//! What a reference names (a file, a folder, a repository, at a branch or a commit), and what the Hub may list.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog_core::{
    ArtifactKind, Client, Expected, GitBlobReader, HfOptions, HfSource, Listing, ModelRef, NetError, ReadAt as _,
    Source as _,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::server::{FILES, Hub};
use crate::{Asker, LARGE, SMALL, content, policy, quick, wire};

fn paths(listing: &Listing) -> Vec<&str> {
    listing.files.iter().map(|file| file.path.as_str()).collect()
}

// Red when each file is asked about, or when the Hub is asked for the commit that the reference names already.
#[test]
fn two_requests_for_a_repository_and_one_for_a_commit() {
    let Some(hub) = Hub::start(&[]) else { return };
    let asker = Asker::new(&hub);
    let listing = asker.resolve("hf:acme/tiny").unwrap();
    assert_eq!(hub.counts(), (2, 0));
    assert_eq!((listing.kind, listing.name.as_str(), listing.immutable), (ArtifactKind::Tree, "tiny", false));
    assert_eq!(listing.named_by.as_deref(), Some("127.0.0.1"));
    assert_eq!(paths(&listing), FILES);

    let commit = listing.pinned.clone().unwrap();
    let reference = format!("hf:acme/tiny@{commit}");
    hub.rule(&json!({"kind": "status", "times": 0}));
    let fixed = asker.resolve(&reference).unwrap();
    assert_eq!(hub.counts(), (1, 0));
    assert_eq!((&fixed.files, fixed.immutable), (&listing.files, true));
    assert_eq!(asker.source.fixed(&ModelRef::parse(&reference).unwrap()), Some(commit.clone()));
    assert_eq!(asker.source.fixed(&ModelRef::parse("hf:acme/tiny@v1").unwrap()), None);
    assert_eq!(asker.source.fixed(&ModelRef::parse(&reference[..reference.len() - 1]).unwrap()), None);
}

#[test]
fn every_file_is_as_it_was_made() {
    let Some(hub) = Hub::start(&[]) else { return };
    let asker = Asker::new(&hub);
    let listing = asker.resolve("hf:acme/tiny").unwrap();
    for file in &listing.files {
        assert_eq!(matches!(file.expected, Expected::Sha256(_)), file.path == LARGE);
        assert_eq!(asker.read(file).unwrap(), content(&file.path), "{}", file.path);
    }
}

#[test]
fn a_file_a_folder_and_a_branch() {
    let Some(hub) = Hub::start(&[]) else { return };
    let asker = Asker::new(&hub);
    let listing = asker.resolve(&format!("hf:acme/tiny/{LARGE}")).unwrap();
    assert_eq!((listing.kind, listing.name.as_str()), (ArtifactKind::File, "model.gguf"));
    assert_eq!(paths(&listing), ["model.gguf"]);
    let listing = asker.resolve("hf:acme/tiny/docs").unwrap();
    assert_eq!((listing.kind, listing.name.as_str()), (ArtifactKind::Tree, "docs"));
    assert_eq!(paths(&listing), ["a b?#%.md", "read me.txt"]);
    assert_eq!(paths(&asker.resolve("hf:acme/tiny@v1").unwrap()), ["old.txt"]);
    let some = asker.resolve_some("hf:acme/tiny", &["docs/", "*.json"], &["*.md"]).unwrap();
    assert_eq!(paths(&some), [SMALL, "docs/read me.txt"]);
}

#[test]
fn all_pages_are_read() {
    let Some(hub) = Hub::start(&["--page", "1"]) else { return };
    assert_eq!(paths(&Asker::new(&hub).resolve("hf:acme/tiny").unwrap()), FILES);
    assert_eq!(hub.counts(), (5, 0));
}

fn page(link: &str, entries: &Value) -> Value {
    json!({"kind": "status", "code": 200, "path": "/tree/", "headers": {"Link": link}, "body": entries.to_string()})
}

fn file(path: &str) -> Value {
    json!({"type": "file", "oid": "0".repeat(40), "size": 3, "path": path})
}

// Red when `next` is followed to any server (the token would go along), or for ever.
#[rstest]
#[case::elsewhere("<http://127.0.0.1:9/api>; rel=\"next\"", json!([file("a")]), "the next page is on another server")]
#[case::other_scheme("<file:///etc/passwd>; rel=\"next\"", json!([file("a")]), "the next page is on another server")]
#[case::for_ever("<?cursor=1>; rel=\"next\"", json!([]), "an empty page has a next one")]
#[case::no_url("<http://[>; rel=\"next\"", json!([file("a")]), "the next page has no URL")]
#[case::up("", json!([file("../../etc/passwd")]), "is not a plain path below the repository")]
#[case::twice("", json!([file("a"), file("a")]), "two files have the same path")]
#[case::text("", json!([{"type": "file", "path": 7}]), "it is not what the Hub says there")]
#[case::object("", json!({}), "it is not what the Hub says there")]
fn pages_that_lie(#[case] link: &str, #[case] entries: Value, #[case] words: &str) {
    let Some(hub) = Hub::start(&[]) else { return };
    hub.rule(&page(link, &entries));
    let error = Asker::new(&hub).resolve("hf:acme/tiny").unwrap_err();
    assert!(matches!(error.net(), Some(NetError::Malformed { .. })), "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

// Red when the body of an answer is read only once: only the first half of each arrives.
#[test]
fn what_breaks_off_is_asked_for_again() {
    let commit = "c0".repeat(20);
    let (info, tree) = (json!({"sha": commit}).to_string(), json!([file("a")]).to_string());
    let server = wire::Server::new(move |asked, stream| {
        let body = if asked.path().contains("/revision/") { &info } else { &tree };
        let whole = wire::answer("200 OK", "", body.as_bytes());
        let length = if asked.number % 2 == 0 { whole.len() - body.len() / 2 } else { whole.len() };
        wire::send(stream, &whole[..length]);
    });
    let options = HfOptions::default().with_endpoint(&server.url("/mirror")).unwrap();
    let client = Client::new(policy(&[&server.rule()]), quick()).unwrap();
    let asker = Asker { source: Arc::new(HfSource::new(options)), client };
    let listing = asker.resolve("hf:acme/tiny").unwrap();
    assert_eq!((paths(&listing), listing.pinned.as_deref()), (vec!["a"], Some(commit.as_str())));
    assert_eq!(listing.files[0].url, server.url(&format!("/mirror/acme/tiny/resolve/{commit}/a")));
    assert_eq!(server.connections(), 4);
}

// Red when the pages of one answer have no common limit: this Hub always has a next page.
#[test]
fn a_tree_without_an_end() {
    let Some(hub) = Hub::start(&[]) else { return };
    let entries: Vec<Value> = (0..20_000).map(|i| file(&format!("{i}/{}", "a".repeat(200)))).collect();
    hub.rule(&page("<?cursor=1>; rel=\"next\"", &json!(entries)));
    let error = Asker::new(&hub).resolve("hf:acme/tiny").unwrap_err();
    assert!(matches!(error.net(), Some(NetError::TooLarge { .. })), "{error}");
}

#[test]
fn a_commit_that_is_none() {
    let Some(hub) = Hub::start(&[]) else { return };
    hub.rule(&json!({"kind": "status", "code": 200, "path": "/revision/", "body": "{\"sha\": \"../../x\"}"}));
    let error = Asker::new(&hub).resolve("hf:acme/tiny").unwrap_err();
    assert!(error.to_string().contains("it names \"../../x\", which is not a commit"), "{error}");
}

// Red when a file outside LFS is held in memory whatever its size.
#[test]
fn a_large_file_without_lfs() {
    let Some(hub) = Hub::start(&[]) else { return };
    let large = json!([{"type": "file", "oid": "0".repeat(40), "size": (64 << 20) + 1, "path": "a"}]);
    hub.rule(&page("", &large));
    let asker = Asker::new(&hub);
    let listing = asker.resolve("hf:acme/tiny").unwrap();
    let error = asker.read(&listing.files[0]).unwrap_err();
    assert!(error.to_string().contains("a file that is not in LFS is larger than 67108864 bytes"), "{error}");
}

#[test]
fn an_empty_file() {
    let Some(hub) = Hub::start(&[]) else { return };
    let empty = json!([{"type": "file", "oid": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", "size": 0, "path": "a"}]);
    hub.rule(&page("", &empty));
    let asker = Asker::new(&hub);
    let listing = asker.resolve("hf:acme/tiny").unwrap();
    assert_eq!(asker.read(&listing.files[0]).unwrap(), b"");
}

// Red when the bytes are held as long as the reader is (the second pass asks nobody), or released too early (each part
// asks again).
#[test]
fn a_small_file_is_let_go_once_it_was_read() {
    let Some(hub) = Hub::start(&["--no-resolve-cache"]) else { return };
    let asker = Asker::new(&hub);
    let file = asker.resolve(&format!("hf:acme/tiny/{SMALL}")).unwrap().files.remove(0);
    let reader = GitBlobReader::new(asker.source.clone(), file, asker.client.clone(), Arc::new(())).unwrap();
    let bytes = content(SMALL);
    for times in 1..3 {
        hub.rule(&json!({"kind": "status", "times": 0}));
        let mut read = vec![0; bytes.len()];
        let (first, rest) = read.split_at_mut(7);
        reader.read_exact_at(7, rest).unwrap();
        reader.read_exact_at(0, first).unwrap();
        assert!(read == bytes && hub.counts() == (1, 0), "{times}");
    }
    assert!(reader.read_exact_at(bytes.len() as u64, &mut [0]).is_err());
}

#[test]
fn other_references_are_for_other_sources() {
    let files: BTreeMap<&str, &str> = [("file:/a", "file"), ("https://huggingface.co/acme/tiny", "https")].into();
    for (reference, scheme) in files {
        let Some(hub) = Hub::start(&[]) else { return };
        let error = Asker::new(&hub).resolve(reference).unwrap_err();
        assert!(error.to_string().contains(scheme), "{error}");
        assert_eq!(HfSource::default().fixed(&ModelRef::parse(reference).unwrap()), None);
    }
}
