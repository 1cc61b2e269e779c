//! Documents of models: kept with the content, and gone with it.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::time::Duration;

use catalog_core::{
    CatalogStore as _, Digest, Doctor, DocumentKind, Error, FindingKind, FsCatalog, GcPolicy, NewDocument,
    VerificationOutcome, VerifyOptions,
};
use common::{Host, assert_sound, blob_path, blobs, debris, entry, stage};

const BOM: &[u8] = b"a bill of materials";

/// A model `m`.
fn host() -> (Host, FsCatalog) {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("m.gguf", "model"), "m").unwrap();
    (host, catalog)
}

fn bom() -> NewDocument {
    NewDocument::new(DocumentKind::Sbom, "bom.json", BOM)
}

fn names(catalog: &FsCatalog, id: &str) -> Vec<String> {
    catalog.documents(id).unwrap().into_iter().map(|document| document.name).collect()
}

fn has_blob(catalog: &FsCatalog) -> bool {
    blob_path(catalog.root(), &Digest::sha256_of(BOM)).exists()
}

/// Collects without grace, and checks that the store is sound and has no debris.
#[track_caller]
fn collect(catalog: &FsCatalog) {
    drop(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert_eq!(debris(catalog), Vec::<String>::new());
    assert_sound(catalog.root());
}

// Red when `replacing`, `follow` or `has_all_of` forgets documents, or when no record needs their blobs.
#[test]
fn a_document_stays_as_long_as_the_content() {
    let (host, catalog) = host();
    let record = catalog.attach("m", &bom()).unwrap();
    assert_eq!(record.needs, [Digest::sha256_of(BOM)].into());
    let attached = catalog.documents("m").unwrap();
    assert_eq!((attached[0].kind.as_str(), attached[0].size_bytes), ("sbom", Some(BOM.len() as u64)));
    // The same again changes nothing.
    catalog.attach("m", &bom()).unwrap();
    assert_eq!(catalog.documents("m").unwrap(), attached);

    collect(&catalog);
    stage(&catalog, &host.file("again/m.gguf", "model"), "m").unwrap();
    catalog.tag("m", "second").unwrap();
    catalog.rename("m", "third").unwrap();
    collect(&catalog);
    for id in ["second", "third"] {
        assert_eq!(catalog.documents(id).unwrap(), attached, "{id}");
        assert_eq!(catalog.document(id, "bom.json").unwrap().as_deref(), Some(BOM));
    }

    // It goes with other content, with the entry, and when it is detached.
    stage(&catalog, &host.file("other.gguf", "other"), "third").unwrap();
    assert_eq!(names(&catalog, "third"), [""; 0]);
    catalog.tag("second", "fourth").unwrap();
    catalog.remove("second").unwrap().unwrap();
    assert!(has_blob(&catalog) && catalog.detach("fourth", "bom.json").unwrap());
    assert!(!has_blob(&catalog) && catalog.record("fourth").unwrap().unwrap().needs.is_empty());
    assert!(!catalog.detach("fourth", "bom.json").unwrap());
    catalog.attach("fourth", &bom()).unwrap();
    assert_eq!(catalog.remove("fourth").unwrap().unwrap().blobs_removed, 2);
    collect(&catalog);
    assert_eq!(blobs(&host.root()).len(), 1);
}

// Red when a name can stand for two documents, or bytes for two names.
#[test]
fn nothing_is_replaced_unless_it_is_asked_for() {
    let (_host, catalog) = host();
    catalog.attach("m", &bom()).unwrap();
    let other_bytes = NewDocument::new(DocumentKind::Doc, "bom.json", "other bytes");
    let other_name = bom().with_name("other.json");
    for (new, same_bytes) in [(&other_bytes, None), (&other_name, Some("bom.json"))] {
        match catalog.attach("m", new).unwrap_err() {
            Error::DocumentExists { same_bytes: found, .. } => assert_eq!(found.as_deref(), same_bytes),
            error => panic!("{error}"),
        }
    }
    collect(&catalog);
    catalog.attach("m", &other_name.with_replace(true)).unwrap();
    assert_eq!(names(&catalog, "m"), ["other.json"]);
    catalog.attach("m", &bom().with_replace(true)).unwrap();
    catalog.attach("m", &NewDocument::new(DocumentKind::Doc, "a.txt", "a")).unwrap();
    catalog.attach("m", &other_bytes.with_replace(true)).unwrap();
    assert_eq!(names(&catalog, "m"), ["a.txt", "bom.json"]);
    assert_eq!(catalog.document("m", "bom.json").unwrap().as_deref(), Some(&b"other bytes"[..]));
    assert!(!has_blob(&catalog), "what was replaced is freed");
    collect(&catalog);
}

#[test]
fn what_can_have_no_document() {
    let (host, catalog) = host();
    catalog.put(&entry("later", "models/later.gguf")).unwrap();
    assert!(matches!(catalog.attach("later", &bom()), Err(Error::NotStaged { .. })));
    assert!(catalog.attach("absent", &bom()).unwrap_err().is_not_found());
    for name in ["", ".", "..", "a/b", "/a", "a\nb", &"x".repeat(256)] {
        let refused = catalog.attach("m", &bom().with_name(name));
        assert!(matches!(refused, Err(Error::InvalidPath { .. })), "{name:?}: {refused:?}");
    }
    let large = fs::File::create(host.path("large")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    assert!(NewDocument::read(DocumentKind::Doc, &host.path("large")).is_err());
    assert!(NewDocument::read(DocumentKind::Doc, &host.path("absent")).unwrap_err().is_not_found());
    assert_eq!(blobs(&host.root()).len(), 1);
    collect(&catalog);
}

// Red when the bytes of a document are given out without a check.
#[test]
fn a_document_that_is_damaged_or_lost_is_told() {
    let (_host, catalog) = host();
    catalog.attach("m", &bom()).unwrap();
    let blob = blob_path(catalog.root(), &Digest::sha256_of(BOM));
    fs::rename(&blob, blob.with_extension("kept")).unwrap();
    fs::write(&blob, "another bill of it").unwrap();
    assert!(catalog.document("m", "bom.json").unwrap_err().is_corrupt());
    fs::remove_file(&blob).unwrap();
    assert_eq!(catalog.documents("m").unwrap()[0].size_bytes, None);
    assert!(catalog.document("m", "bom.json").is_err());
    let report = catalog.verify("m", &VerifyOptions::default()).unwrap();
    assert!(matches!(report.outcome, VerificationOutcome::Fail { .. }) && report.bad[0].is_needed, "{report:?}");
    let found = Doctor::open(catalog.root()).unwrap().examine().unwrap();
    assert!(found.iter().any(|finding| finding.kind == FindingKind::NeededBlobMissing), "{found:?}");
    fs::rename(blob.with_extension("kept"), &blob).unwrap();
    assert_eq!(catalog.document("m", "bom.json").unwrap().as_deref(), Some(BOM));
}

// Red when what is elsewhere without the document still counts as pushed: `gc --if-pushed` would take the only copy.
#[test]
fn a_model_with_a_new_document_is_not_pushed_yet() {
    let (host, _) = host();
    common::edit_shard(&host.root(), "m", |entries| {
        entries["m"]["pushed"] = serde_json::json!({"oci://r.example/m": 3})
    });
    let catalog = FsCatalog::open(host.root()).unwrap();
    assert_eq!(catalog.record("m").unwrap().unwrap().pushed.len(), 1);
    assert!(catalog.attach("m", &bom()).unwrap().pushed.is_empty());
    assert!(catalog.record("m").unwrap().unwrap().pushed.is_empty());
}
