//! Documents that are attached to a model: the layouts that have a place for them get them, and they are part of the
//! export.

use super::*;

use catalog_core::{CatalogStore as _, Digest, DocumentKind, NewDocument};
use serde_json::Value;

const BOM: &[u8] = br#"{"bomFormat": "CycloneDX"}"#;

fn with_document(layout: ExportLayout) -> (Host, FsCatalog) {
    let (host, catalog) = host();
    catalog.attach(id_for(layout), &bom()).unwrap();
    export(&host, &catalog, layout).unwrap();
    (host, catalog)
}

fn bom() -> NewDocument {
    NewDocument::new(DocumentKind::Sbom, "bom.json", BOM)
}

// Red when documents are left out, or are among the files that an engine reads.
#[test]
fn a_folder_has_them_beside_the_model() {
    let (host, catalog) = with_document(ExportLayout::Dir);
    let folder = to(&host, ExportLayout::Dir);
    assert_eq!(
        names(&folder),
        ["model.documents/bom.json", "model/config.json", "model/model.safetensors", "model/sub/README.md"]
    );
    assert_eq!(fs::read(folder.join("model.documents/bom.json")).unwrap(), BOM);

    // A change of the documents is one of the export.
    assert_eq!(state(&catalog), ExportState::Whole);
    let other = NewDocument::new(DocumentKind::Sbom, "bom.json", br#"{"bomFormat": "cycloneDX"}"#).with_replace(true);
    catalog.attach("hf:org/model", &other).unwrap();
    assert_eq!(state(&catalog), ExportState::Outdated);
    sync(&catalog);
    assert_eq!(fs::read(folder.join("model.documents/bom.json")).unwrap(), other.bytes);
    assert_eq!(state(&catalog), ExportState::Whole);
    fs::remove_file(folder.join("model.documents/bom.json")).unwrap();
    assert_eq!(state(&catalog), ExportState::Incomplete);
    sync(&catalog);
    assert_eq!(state(&catalog), ExportState::Whole);
    catalog.detach("hf:org/model", "bom.json").unwrap();
    assert_eq!(state(&catalog), ExportState::Outdated);
    sync(&catalog);
    assert!(!folder.join("model.documents").exists() && folder.join("model/config.json").exists());

    catalog.attach("hf:org/model", &bom()).unwrap();
    sync(&catalog);
    remove(&catalog);
    assert_eq!(names(&folder), [""; 0]);
    assert!(!folder.join("model.documents").exists());
}

fn sync(catalog: &FsCatalog) {
    catalog.sync_exports(&mut |_, done| drop(done.unwrap())).unwrap();
}

fn remove(catalog: &FsCatalog) {
    let removal = catalog.remove_export(&only(catalog).key).unwrap().unwrap();
    assert_eq!(removal.kept, [""; 0]);
}

/// The entries of an image layout: of the model, and of its referrers.
fn entries(host: &Host) -> Vec<Value> {
    let index = fs::read(to(host, ExportLayout::Oci).join("index.json")).unwrap();
    serde_json::from_slice::<Value>(&index).unwrap()["manifests"].as_array().unwrap().clone()
}

// Red when a document is no referrer of the manifest in the layout, when the index does not follow a change, or when a
// removal leaves something there.
#[test]
fn an_image_layout_has_referrers() {
    let (host, catalog) = with_document(ExportLayout::Oci);
    let folder = to(&host, ExportLayout::Oci);
    let blob = |digest: &Value| {
        let digest = digest.as_str().unwrap();
        let bytes = fs::read(folder.join("blobs").join(digest.replace(':', "/"))).unwrap();
        assert_eq!(Digest::sha256_of(&bytes).to_string(), digest);
        bytes
    };
    let entries_now = entries(&host);
    let [model, referrer] = entries_now.as_slice() else { panic!("{entries_now:?}") };
    assert_eq!(referrer["artifactType"], "application/vnd.cyclonedx+json");
    assert_eq!(referrer["annotations"]["org.opencontainers.image.title"], "bom.json");
    let manifest: Value = serde_json::from_slice(&blob(&referrer["digest"])).unwrap();
    assert_eq!(manifest["subject"]["digest"], model["digest"]);
    assert_eq!(blob(&manifest["layers"][0]["digest"]), BOM);
    assert_eq!(blob(&manifest["config"]["digest"]), b"{}");
    if has_tool("skopeo") {
        let at = format!("oci:{}:model", folder.display());
        let raw = std::process::Command::new("skopeo").args(["inspect", "--raw", &at]).output().unwrap();
        assert_eq!(Digest::sha256_of(&raw.stdout).to_string(), model["digest"].as_str().unwrap());
    }
    // What is adopted from it is the model alone.
    let other = Host::new();
    let adopted = typed::done(&other, &["adopt", folder.to_str().unwrap()]);
    assert!(!adopted.contains("skipped"), "{adopted}");
    assert_eq!(other.catalog().list().unwrap().len(), 1);

    // Two models with the same bytes have their own entries.
    let before = content(&folder);
    catalog.tag("hf:org/model", "second").unwrap();
    let options = options_for(&host, ExportLayout::Oci);
    catalog.export("second", &options).unwrap();
    assert_eq!(entries(&host).len(), 4);
    catalog.detach("second", "bom.json").unwrap();
    sync(&catalog);
    assert_eq!(entries(&host).len(), 3);
    let second = exports(&catalog).into_iter().find(|export| export.id == "second");
    catalog.remove_export(&second.unwrap().key).unwrap();
    assert_eq!(content(&folder), before);

    catalog.detach("hf:org/model", "bom.json").unwrap();
    assert_eq!(state(&catalog), ExportState::Outdated);
    sync(&catalog);
    assert_eq!((state(&catalog), entries(&host).len()), (ExportState::Whole, 1));
    catalog.attach("hf:org/model", &bom()).unwrap();
    sync(&catalog);
    // A referrer that somebody has removed is made again.
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entries(&host)[0]]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    assert_eq!(state(&catalog), ExportState::Changed);
    sync(&catalog);
    assert_eq!((state(&catalog), entries(&host).len()), (ExportState::Whole, 2));
    remove(&catalog);
    assert_eq!(names(&folder), [""; 0]);
}

// Red when a layout without a place for documents gets them.
#[test]
fn other_layouts_have_none() {
    for layout in [ExportLayout::Hf, ExportLayout::LmStudio, ExportLayout::ModelScope, ExportLayout::RamaLama] {
        let (host, catalog) = with_document(layout);
        assert!(!content(&to(&host, layout)).keys().any(|name| name.contains("bom.json")), "{layout}");
        assert_eq!(state(&catalog), ExportState::Whole, "{layout}");
        catalog.detach(id_for(layout), "bom.json").unwrap();
        assert_eq!(state(&catalog), ExportState::Whole, "{layout}");
    }
}

// Red when the bytes of a document are not compared with its digest.
#[test]
fn a_damaged_document_is_not_exported() {
    let (host, catalog) = host();
    catalog.attach("hf:org/model", &bom()).unwrap();
    let blob = blob_path(catalog.root(), &Digest::sha256_of(BOM));
    set_mode(&blob, 0o644);
    fs::write(&blob, [b'x'; BOM.len()]).unwrap();
    for layout in [ExportLayout::Dir, ExportLayout::Oci] {
        let error = export(&host, &catalog, layout).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert!(!to(&host, layout).exists());
    }
}

// Red when an archive does not follow a change of the documents.
#[test]
fn an_archive_has_referrers() {
    let (host, catalog) = host();
    catalog.attach("hf:org/model", &bom()).unwrap();
    let archive = host.path("models.tar");
    catalog.export("hf:org/model", &ExportOptions::new(ExportLayout::Oci).with_to(archive.clone())).unwrap();
    let has_bom = || fs::read(&archive).unwrap().windows(BOM.len()).any(|bytes| bytes == BOM);
    assert!(has_bom() && state(&catalog) == ExportState::Whole);
    if has_tool("skopeo") {
        let at = format!("oci-archive:{}:model", archive.display());
        let raw = std::process::Command::new("skopeo").args(["inspect", "--raw", &at]).output().unwrap();
        assert!(raw.status.success(), "{raw:?}");
    }
    catalog.detach("hf:org/model", "bom.json").unwrap();
    assert_eq!(state(&catalog), ExportState::Outdated);
    sync(&catalog);
    assert!(!has_bom() && state(&catalog) == ExportState::Whole);
    remove(&catalog);
    assert!(!archive.exists());
}
