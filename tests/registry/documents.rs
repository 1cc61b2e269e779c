//! Documents that are attached to a model travel with a push: other tools find them as referrers of its manifest.

use std::fs;

use catalog_core::{Digest, DocumentKind, FsCatalog, NewDocument, OciOptions, PushOptions, PushReceipt, StageOptions};
use serde_json::Value;

use crate::common::{Host, assert_sound, blob_path, set_mode, stage};
use crate::server::{Registry, skopeo};
use crate::{catalog, reference};

const BOM: &[u8] = br#"{"bomFormat": "CycloneDX", "specVersion": "1.6"}"#;
const SIGNATURE: &[u8] = br#"{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}"#;

fn attach(catalog: &FsCatalog, kind: DocumentKind, name: &str, bytes: &[u8]) {
    catalog.attach("m", &NewDocument::new(kind, name, bytes)).unwrap();
}

/// A catalog with a model that has a bill of materials and a signature.
fn filled(registry: &Registry) -> (Host, FsCatalog) {
    let host = Host::new();
    let catalog = catalog(&host, &[&registry.host()], OciOptions::default());
    stage(&catalog, &host.file("m.gguf", "model"), "m").unwrap();
    attach(&catalog, DocumentKind::Sbom, "m.cdx.json", BOM);
    attach(&catalog, DocumentKind::Signature, "m.sig", SIGNATURE);
    (host, catalog)
}

fn push(catalog: &FsCatalog, registry: &Registry, is_dry_run: bool) -> PushReceipt {
    let target = reference(&registry.reference("acme/m:v1"));
    catalog.push("m", &target, &PushOptions::default().with_dry_run(is_dry_run)).unwrap()
}

/// The referrers of the model, as skopeo reads the list, by the names of their documents.
fn listed(registry: &Registry, manifest: &Digest) -> Option<Vec<(String, Value)>> {
    let list = format!("docker://{}/acme/m:{}", registry.host(), manifest.to_string().replace(':', "-"));
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &list])?;
    let list: Value = serde_json::from_slice(&raw.stdout).unwrap();
    let title = |entry: &Value| entry["annotations"]["org.opencontainers.image.title"].as_str().unwrap().to_owned();
    let mut listed: Vec<_> =
        list["manifests"].as_array().unwrap().iter().map(|entry| (title(entry), entry.clone())).collect();
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    Some(listed)
}

// Red when a push leaves documents out, sends them again, or does not list them: no other tool would find them.
#[test]
fn documents_go_with_a_push() {
    let Some(registry) = Registry::open() else { return };
    let (_host, catalog) = filled(&registry);
    let plan = push(&catalog, &registry, true);
    assert_eq!(registry.asked_by(&["POST", "PUT", "PATCH"], ""), 0, "a dry run sends nothing");
    let pushed = push(&catalog, &registry, false);
    assert_eq!((plan.pushed_blobs, plan.pushed_bytes), (pushed.pushed_blobs, pushed.pushed_bytes));
    assert_eq!(pushed.pushed_blobs, 4, "the file, its configuration and two documents");

    let Some(entries) = listed(&registry, &pushed.manifest) else { return };
    let types: Vec<_> = entries.iter().map(|(name, entry)| (name.as_str(), entry["artifactType"].clone())).collect();
    let expected = [
        ("m.cdx.json", "application/vnd.cyclonedx+json".into()),
        ("m.sig", "application/vnd.dev.sigstore.bundle.v0.3+json".into()),
    ];
    assert_eq!(types, expected);
    for ((name, entry), bytes) in entries.iter().zip([BOM, SIGNATURE]) {
        let digest = entry["digest"].as_str().unwrap();
        let Some(folder) = registry.pull(&format!("acme/m@{digest}")) else { return };
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), bytes, "{name}");
        let at = format!("docker://{}/acme/m@{digest}", registry.host());
        let Some(raw) = skopeo(&["inspect", "--raw", "--tls-verify=false", &at]) else { return };
        let referrer: Value = serde_json::from_slice(&raw.stdout).unwrap();
        assert_eq!(referrer["subject"]["digest"], pushed.manifest.to_string());
        assert_eq!(referrer["artifactType"], entry["artifactType"]);
    }

    // Nothing is sent twice.
    let before = registry.asked_by(&["POST", "PUT", "PATCH"], "");
    let again = push(&catalog, &registry, false);
    assert_eq!((again.pushed_blobs, again.pushed_bytes, again.skipped_blobs), (0, 0, 4));
    assert_eq!(registry.asked_by(&["POST", "PUT", "PATCH"], ""), before);

    // A document of a model that is there goes alone, and those of before stay.
    attach(&catalog, DocumentKind::Doc, "review.txt", b"good");
    let later = push(&catalog, &registry, false);
    assert_eq!((later.pushed_blobs, later.pushed_bytes), (1, 4));
    let entries = listed(&registry, &later.manifest).unwrap();
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[2].1["artifactType"], "application/vnd.catalog-core.document.v1");
    assert_eq!(entries[2].1["annotations"]["org.catalog-core.document.kind"], "doc");
}

// Red when the bytes of a document are sent as they are on disk, without a look at its digest.
#[test]
fn a_damaged_document_is_not_pushed() {
    let Some(registry) = Registry::open() else { return };
    let (_host, catalog) = filled(&registry);
    let blob = blob_path(catalog.root(), &Digest::sha256_of(BOM));
    set_mode(&blob, 0o644);
    fs::write(&blob, [b'x'; BOM.len()]).unwrap();
    let target = reference(&registry.reference("acme/m:v1"));
    let error = catalog.push("m", &target, &PushOptions::default()).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
}

// Red when a pull does not look for documents, or takes bytes other than the registry names.
#[test]
fn documents_come_with_a_pull() {
    let Some(registry) = Registry::open() else { return };
    let (_host, from) = filled(&registry);
    attach(&from, DocumentKind::Doc, "review.txt", b"good");
    let pushed = push(&from, &registry, false);
    // The bytes of one document are damaged there.
    fs::write(registry.blob(&Digest::sha256_of(b"good").to_hex()), "evil").unwrap();
    for text in ["acme/m:v1".to_owned(), format!("acme/m@{}", pushed.manifest)] {
        let host = Host::new();
        let to = catalog(&host, &[&registry.host()], OciOptions::default());
        let staged = to.stage(&reference(&registry.reference(&text)), &StageOptions::default()).unwrap();
        let documents = to.documents(staged.id.as_str()).unwrap();
        let there: Vec<_> = documents.iter().map(|there| (there.name.as_str(), there.kind.as_str())).collect();
        assert_eq!(there, [("m.cdx.json", "sbom"), ("m.sig", "signature")]);
        assert_eq!(to.document(staged.id.as_str(), "m.cdx.json").unwrap().as_deref(), Some(BOM));
        assert_sound(to.root());
    }
}

// Red when a referrer is not compared with the model that it is said to be about.
#[test]
fn a_document_of_another_model_is_not_taken() {
    let Some(registry) = Registry::open() else { return };
    let (host, from) = filled(&registry);
    let pushed = push(&from, &registry, false);
    stage(&from, &host.file("other.gguf", "other"), "other").unwrap();
    let target = reference(&registry.reference("acme/m:other"));
    let other = from.push("other", &target, &PushOptions::default()).unwrap();
    // The list of the first model, under the name of that of the second.
    let tags = registry.dir.path().join("storage/docker/registry/v2/repositories/acme/m/_manifests/tags");
    let tag = |manifest: &Digest| tags.join(format!("sha256-{}/current", manifest.to_hex()));
    fs::create_dir_all(tag(&other.manifest)).unwrap();
    fs::copy(tag(&pushed.manifest).join("link"), tag(&other.manifest).join("link")).unwrap();
    assert!(listed(&registry, &other.manifest).is_none_or(|list| list.len() == 2));
    let host = Host::new();
    let to = catalog(&host, &[&registry.host()], OciOptions::default());
    let staged = to.stage(&target, &StageOptions::default()).unwrap();
    assert!(to.documents(staged.id.as_str()).unwrap().is_empty());
}
