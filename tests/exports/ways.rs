//! By which way a file is shared, and what the tool has already.

use super::*;

use catalog_core::{Error, ExportWay, GcPolicy};
use std::time::Duration;

#[test]
fn another_file_system_gets_copies_and_the_receipt_says_why() {
    let (_host, catalog) = host();
    let Some(other) = mount::tmpfs("size=16m") else { return };
    for layout in ExportLayout::ALL.iter().copied() {
        let options = ExportOptions::new(layout).with_to(other.path().join(layout.as_str()));
        let receipt = catalog.export(id_for(layout), &options).unwrap();
        let reason = receipt.reason.unwrap();
        let is_why = reason.contains("another file system") || layout == ExportLayout::Dir;
        assert!(receipt.way == ExportWay::Copy && is_why, "{layout}: {} {reason}", receipt.way);
        assert!(receipt.copied_bytes >= receipt.size_bytes, "{layout}");
        // A second name in RamaLama's store is no second copy.
        assert!(layout != ExportLayout::RamaLama || receipt.copied_bytes == receipt.size_bytes, "{layout}");
    }
    let whole = exports(&catalog);
    assert!(whole.iter().all(|export| export.state == ExportState::Whole), "{whole:?}");
    let usage = catalog.disk_usage().unwrap();
    assert!(usage.export_bytes > 122_688, "{usage:?}");
    drop(other);
    // The disk is not there: nothing is made on the folder below, and nothing is forgotten.
    assert!(exports(&catalog).iter().all(|export| export.state == ExportState::Unreachable));
    catalog.sync_exports(&mut |_, done| assert_eq!(done.unwrap().action, catalog_core::SyncAction::Nothing)).unwrap();
    assert_eq!(exports(&catalog).len(), ExportLayout::ALL.len());
}

#[test]
fn a_plain_folder_gets_reflinks_where_blocks_can_be_shared() {
    let Some(disk) = mount::image(400, &["mkfs.xfs", "-q"], "loop") else { return };
    let catalog = FsCatalog::new(disk.path().join("root")).unwrap();
    stage(&catalog, &fixture(), "file").unwrap();
    let options = ExportOptions::new(ExportLayout::Dir).with_to(disk.path().join("to"));
    let receipt = catalog.export("file", &options).unwrap();
    assert_eq!((receipt.way, receipt.copied_bytes), (ExportWay::Reflink, 0), "{receipt:?}");
    assert_eq!(state(&catalog), ExportState::Whole);
    assert_eq!(catalog.disk_usage().unwrap().export_bytes, 0);
    catalog.remove_export(&only(&catalog).key).unwrap();
    assert!(names(&disk.path().join("to")).is_empty());
}

// Red when `SameOwner` is not looked at: Ollama could not set the times of our blob, and would fail to create models.
#[test]
fn ollama_of_another_user_gets_a_file_of_its_own() {
    if !is_root() {
        return skip("this needs root");
    }
    let (host, catalog) = host();
    let to = to(&host, ExportLayout::Ollama);
    fs::create_dir(&to).unwrap();
    std::os::unix::fs::chown(&to, Some(NOBODY), Some(NOBODY)).unwrap();
    let receipt = export(&host, &catalog, ExportLayout::Ollama).unwrap();
    assert!(receipt.way > ExportWay::Hardlink && receipt.reason.unwrap().contains("another user"));
    for path in files_below(&to) {
        assert_eq!(fs::metadata(&path).unwrap().uid(), NOBODY, "{}", path.display());
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().uid(), NOBODY);
    }
}

#[test]
fn what_the_tool_has_stays_and_is_never_removed() {
    let (host, catalog) = host();
    for layout in [ExportLayout::LmStudio, ExportLayout::Dir, ExportLayout::ModelScope] {
        let mine = match layout {
            ExportLayout::LmStudio => "org/model/config.json",
            ExportLayout::ModelScope => "models/org--model/snapshots/master/config.json",
            _ => "model/config.json",
        };
        let to = to(&host, layout);
        let mine = host.file(to.join(mine).to_str().unwrap(), "{}");
        let inode = inode_of(&mine);
        let receipt = export(&host, &catalog, layout).unwrap();
        assert_eq!((receipt.kept_files, inode_of(&mine)), (1, inode), "{layout}");
        assert_eq!(state(&catalog), ExportState::Whole);
        catalog.remove_export(&only(&catalog).key).unwrap().unwrap();
        assert_eq!(names(&to).len(), 1, "{layout}");
        assert_eq!(inode_of(&mine), inode);
    }
}

// Red when only the size is compared.
#[test]
fn a_file_with_other_bytes_in_the_way_is_an_error_before_anything_is_made() {
    let (host, catalog) = host();
    let weights = catalog_core::Digest::sha256_of(b"weights").to_hex();
    let manifest = "manifests/registry.ollama.ai/library/file/latest";
    for (layout, at) in [
        (ExportLayout::Hf, format!("models--org--model/blobs/{weights}")),
        (ExportLayout::RamaLama, format!("store/huggingface/org/model/blobs/sha256-{weights}")),
        (ExportLayout::RamaLama, "store/huggingface/org/model/refs/latest.json".to_owned()),
        (ExportLayout::Ollama, format!("blobs/sha256-{FIXTURE_SHA256}")),
        (ExportLayout::Ollama, manifest.to_owned()),
        (ExportLayout::LmStudio, "org/model/model.safetensors".to_owned()),
        (ExportLayout::ModelScope, "models/org--model/snapshots/master/model.safetensors".to_owned()),
        (ExportLayout::Oci, format!("blobs/sha256/{weights}")),
        (ExportLayout::Oci, "index.json".to_owned()),
        (ExportLayout::Dir, "model/model.safetensors".to_owned()),
    ] {
        let to = to(&host, layout);
        for bytes in ["WEIGHTS", "longer than it should be"] {
            let mine = host.file(to.join(&at).to_str().unwrap(), bytes);
            let error = export(&host, &catalog, layout).unwrap_err();
            assert!(matches!(error, Error::ExportInTheWay { .. }), "{layout}: {error}");
            assert!(error.to_string().contains(mine.file_name().unwrap().to_str().unwrap()), "{error}");
            assert_eq!(names(&to), [at.as_str()], "{layout}: nothing was made");
            assert_eq!(fs::read_to_string(&mine).unwrap(), bytes);
            assert!(exports(&catalog).is_empty());
            fs::remove_file(&mine).unwrap();
        }
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn a_branch_that_the_tool_has_stays_where_it_is() {
    let (host, catalog) = host();
    let repo = to(&host, ExportLayout::Hf).join("models--org--model");
    let other = "f".repeat(40);
    host.file(repo.join("refs/main").to_str().unwrap(), &other);
    host.file(repo.join(format!("snapshots/{other}/config.json")).to_str().unwrap(), "{}");
    let receipt = export(&host, &catalog, ExportLayout::Hf).unwrap();
    assert!(receipt.notes[0].contains(&format!("refs/main stays at {other}")), "{receipt:?}");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), other);
    // One that leads nowhere is of no use to anybody.
    catalog.remove_export(&only(&catalog).key).unwrap();
    fs::remove_dir_all(repo.join("snapshots")).unwrap();
    export(&host, &catalog, ExportLayout::Hf).unwrap();
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
}

/// Newer versions of huggingface_hub keep one copy for all repositories, and a link to it in each.
#[test]
fn a_blob_that_the_tool_shares_between_repositories_stays() {
    let (host, catalog) = host();
    let to = to(&host, ExportLayout::Hf);
    let weights = catalog_core::Digest::sha256_of(b"weights").to_hex();
    let shared = host.file(to.join("blobs/ab/xet").to_str().unwrap(), "weights");
    let link = to.join("models--org--model/blobs").join(weights);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../../blobs/ab/xet", &link).unwrap();
    assert_eq!(export(&host, &catalog, ExportLayout::Hf).unwrap().kept_files, 1);
    catalog.remove_export(&only(&catalog).key).unwrap();
    assert!(link.is_symlink() && shared.exists());
    // A link that leads out of the cache is not looked behind.
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(host.file("outside", "weights"), &link).unwrap();
    assert!(matches!(export(&host, &catalog, ExportLayout::Hf), Err(Error::ExportInTheWay { .. })));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_leaves_no_record() {
    let (host, catalog) = host();
    fs::create_dir(host.path("mounted")).unwrap();
    let Some(mounted) = mount::read_only_bind(&host.path("mounted")) else { return };
    let options = ExportOptions::new(ExportLayout::LmStudio).with_to(mounted.path().to_path_buf());
    let error = catalog.export("hf:org/model", &options).unwrap_err();
    assert!(error.to_string().contains("Read-only file system"), "{error}");
    assert!(exports(&catalog).is_empty());
}

#[test]
fn what_is_damaged_is_not_exported() {
    let (host, catalog) = host();
    let blob = blob_path(&host.root(), &format!("sha256:{FIXTURE_SHA256}").parse().unwrap());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    set_mode(&blob, 0o644);
    fs::write(&blob, bytes).unwrap();
    let error = catalog.export("file", &options_for(&host, ExportLayout::Oci)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(!to(&host, ExportLayout::Oci).exists());
}

#[test]
fn an_export_is_a_use_and_gc_du_and_remove_know_it() {
    let (host, catalog) = host();
    assert_eq!(catalog.record("file").unwrap().unwrap().last_used_ms, None);
    catalog.export("file", &options_for(&host, ExportLayout::Oci)).unwrap();
    assert!(catalog.record("file").unwrap().unwrap().last_used_ms.is_some());
    assert!(catalog.disk_usage().unwrap().shared_bytes > 0, "a second name outside");
    let policy = GcPolicy::default().with_max_bytes(0).with_grace(Duration::ZERO);
    drop(catalog.gc(&policy).unwrap());
    assert_eq!(files_below(&host.path("root/exports")).len(), 1, "a collection keeps the record");
    if catalog.record("file").unwrap().is_none() {
        stage(&catalog, &fixture(), "file").unwrap();
    }
    let receipt = catalog.remove("file").unwrap().unwrap();
    assert_eq!(receipt.exports, [format!("oci in {}", to(&host, ExportLayout::Oci).display())]);
    assert_eq!(state(&catalog), ExportState::Orphaned);
    assert!(to(&host, ExportLayout::Oci).join("index.json").exists());
    let removal = catalog.remove_export(&only(&catalog).key).unwrap().unwrap();
    assert!(removal.kept.is_empty() && names(&to(&host, ExportLayout::Oci)).is_empty(), "{removal:?}");
}
