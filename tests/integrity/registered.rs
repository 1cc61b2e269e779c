//! Paths that were registered before anything was staged: these files are not the store's. They are compared with their
//! digest if they have one, and never moved.

use catalog_core::{CatalogStore, TrustState, VerifyDepth};

use super::*;
use crate::common::entry;

fn register(host: &Host, catalog: &FsCatalog, id: &str, digest: Option<Digest>, bytes: &[u8]) -> PathBuf {
    let path = host.root().join(format!("incoming/{id}.gguf"));
    let mut entry = entry(id, &path);
    entry.digest = digest;
    catalog.put(&entry).unwrap();
    assert_eq!(catalog.record(id).unwrap().unwrap().trust, TrustState::Unverified);
    host.file(&format!("root/incoming/{id}.gguf"), bytes)
}

// Red when a match is not recorded.
#[test]
fn with_a_digest_that_matches_it_is_verified() {
    let host = Host::new();
    let catalog = catalog(&host);
    let path = register(&host, &catalog, "m", Some(Digest::sha256_of(b"bytes")), b"bytes");
    let ran = run(&host, &["verify", "m"]);
    assert_eq!((ran.code, &ran.object()["outcome"]), (0, &"pass".into()), "{}", ran.errors);
    let record = catalog.record("m").unwrap().unwrap();
    assert_eq!(record.trust, TrustState::Verified);
    assert!(record.entry.last_verified_ms.is_some() && path.exists());
}

#[test]
fn with_another_digest_it_fails_and_stays_where_it_is() {
    let host = Host::new();
    let catalog = catalog(&host);
    let path = register(&host, &catalog, "m", Some(Digest::sha256_of(b"bytes")), b"other");
    let ran = run(&host, &["verify", "m"]);
    assert_eq!((ran.code, &ran.object()["outcome"]), (4, &"fail".into()), "{}", ran.errors);
    assert_eq!((json_ranges(ran.object()), &ran.object()["quarantined"]), (vec![0..5], &false.into()));
    assert_eq!(fs::read(path).unwrap(), b"other");
    assert!(quarantined(&catalog).is_empty());
    assert_eq!(catalog.record("m").unwrap().unwrap().trust, TrustState::Unverified);
}

#[test]
fn without_a_digest_there_is_nothing_to_compare_with() {
    let host = Host::new();
    let catalog = catalog(&host);
    register(&host, &catalog, "m", None, b"bytes");
    let ran = run(&host, &["verify", "m"]);
    assert_eq!((ran.code, &ran.object()["outcome"]), (0, &"warn".into()), "{}", ran.errors);
    let record = catalog.record("m").unwrap().unwrap();
    assert_eq!((record.trust, record.entry.last_verified_ms), (TrustState::Unverified, None));
}

#[test]
fn what_is_not_there_yet_is_not_found() {
    let host = Host::new();
    let catalog = catalog(&host);
    fs::remove_file(register(&host, &catalog, "m", None, b"bytes")).unwrap();
    assert_eq!(run(&host, &["verify", "m"]).code, 3);
}

#[test]
fn a_quick_check_reads_nothing_of_it() {
    let host = Host::new();
    let catalog = catalog(&host);
    register(&host, &catalog, "m", Some(Digest::sha256_of(b"bytes")), b"other");
    let options = VerifyOptions::default().with_depth(VerifyDepth::Quick);
    let report = catalog.verify("m", &options).unwrap();
    assert!(matches!(report.outcome, VerificationOutcome::Warn { .. }) && report.bytes_read == 0, "{report:?}");
}

// Red when every entry with the digest is marked, and not only those that have the blob as content.
#[test]
fn it_is_not_marked_when_a_blob_of_its_digest_is_damaged() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "staged", b"bytes");
    register(&host, &catalog, "registered", Some(digest), b"bytes");
    rot(&blob(&catalog, &digest), |file| flip(file, 0));
    assert!(fails(&check(&catalog, "staged")));
    assert!(catalog.record("staged").unwrap().unwrap().damaged_ms.is_some());
    assert!(catalog.record("registered").unwrap().unwrap().damaged_ms.is_none());
    assert!(passes(&check(&catalog, "registered")));
}
