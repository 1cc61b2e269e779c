//! What `--sync` makes again, and what it forgets.

use super::*;

use catalog_core::SyncAction;

fn sync(catalog: &FsCatalog) -> (ExportState, SyncAction) {
    let mut done = Vec::new();
    catalog.sync_exports(&mut |_, result| done.push(result.unwrap())).unwrap();
    assert_eq!(done.len(), 1, "{done:?}");
    (done[0].state, done[0].action)
}

#[test]
fn a_whole_export_is_left_alone() {
    let (host, catalog) = host();
    for layout in ExportLayout::ALL.iter().copied() {
        export(&host, &catalog, layout).unwrap();
        let before = listing(&to(&host, layout));
        assert_eq!(sync(&catalog), (ExportState::Whole, SyncAction::Nothing), "{layout}");
        export(&host, &catalog, layout).unwrap();
        let after = listing(&to(&host, layout));
        assert!(before == after, "{layout}: a repeated export writes nothing there");
        catalog.remove_export(&only(&catalog).key).unwrap();
    }
}

#[test]
fn what_is_missing_is_made_again() {
    let (host, catalog) = host();
    for layout in ExportLayout::ALL.iter().copied() {
        export(&host, &catalog, layout).unwrap();
        let whole = content(&to(&host, layout));
        let gone = only(&catalog).files[0].path.clone();
        let gone = if layout == ExportLayout::Oci {
            format!("blobs/sha256/{}", whole.keys().find_map(|name| name.strip_prefix("blobs/sha256/")).unwrap())
        } else {
            gone
        };
        fs::remove_file(to(&host, layout).join(gone)).unwrap();
        assert_eq!(sync(&catalog), (ExportState::Incomplete, SyncAction::Made), "{layout}");
        assert_eq!(content(&to(&host, layout)), whole, "{layout}");
        assert_eq!(state(&catalog), ExportState::Whole);
        catalog.remove_export(&only(&catalog).key).unwrap();
    }
}

// Red when heads are not told from other names: sync would bring back what the user has just removed.
#[test]
fn what_was_removed_by_the_tool_is_forgotten_with_the_rest() {
    let (host, catalog) = host();
    let manifest = "manifests/registry.ollama.ai/library/file/latest";
    for (layout, removed) in [
        (ExportLayout::Hf, format!("models--org--model/snapshots/{COMMIT}")),
        (ExportLayout::Ollama, manifest.to_owned()),
        (ExportLayout::RamaLama, "store/huggingface/org/model/refs/latest.json".to_owned()),
        (ExportLayout::LmStudio, "org/model".to_owned()),
        (ExportLayout::Oci, "index.json".to_owned()),
        (ExportLayout::Dir, "model".to_owned()),
    ] {
        export(&host, &catalog, layout).unwrap();
        let removed = to(&host, layout).join(removed);
        if removed.is_dir() {
            fs::remove_dir_all(&removed).unwrap()
        } else {
            fs::remove_file(&removed).unwrap()
        }
        assert_eq!(sync(&catalog), (ExportState::Removed, SyncAction::Forgotten), "{layout}");
        assert!(exports(&catalog).is_empty());
        assert!(names(&to(&host, layout)).is_empty(), "{layout}: {:?}", names(&to(&host, layout)));
    }
}

#[test]
fn an_export_follows_its_id() {
    let (host, catalog) = host();
    for layout in ExportLayout::ALL.iter().copied().filter(|layout| *layout != ExportLayout::Ollama) {
        tree(&host, b"weights");
        stage(&catalog, &host.path("model"), "hf:org/model").unwrap();
        export(&host, &catalog, layout).unwrap();
        let before = names(&to(&host, layout)).len();
        tree(&host, b"new weights");
        stage(&catalog, &host.path("model"), "hf:org/model").unwrap();
        assert_eq!(sync(&catalog), (ExportState::Outdated, SyncAction::Updated), "{layout}");
        assert_eq!(state(&catalog), ExportState::Whole, "{layout}: {:?}", only(&catalog));
        let all = content(&to(&host, layout));
        assert!(all.values().any(|bytes| bytes == "new weights"), "{layout}: {all:?}");
        assert!(all.values().all(|bytes| bytes != "weights"), "{layout}: the old files are gone");
        assert_eq!(names(&to(&host, layout)).len(), before, "{layout}");
        catalog.remove_export(&only(&catalog).key).unwrap();
        assert!(names(&to(&host, layout)).is_empty(), "{layout}: {:?}", names(&to(&host, layout)));
    }
}

#[test]
fn what_a_user_has_changed_stays_and_a_branch_that_moved_on_is_no_damage() {
    let (host, catalog) = host();
    export(&host, &catalog, ExportLayout::Dir).unwrap();
    let edited = to(&host, ExportLayout::Dir).join("model/config.json");
    fs::write(&edited, "[1]").unwrap();
    assert_eq!(sync(&catalog), (ExportState::Changed, SyncAction::Nothing));
    assert_eq!(fs::read_to_string(&edited).unwrap(), "[1]");
    catalog.remove_export(&only(&catalog).key).unwrap();

    export(&host, &catalog, ExportLayout::Hf).unwrap();
    let repo = to(&host, ExportLayout::Hf).join("models--org--model");
    let newer = "f".repeat(40);
    fs::write(repo.join("refs/main"), &newer).unwrap();
    fs::create_dir(repo.join("snapshots").join(&newer)).unwrap();
    assert_eq!(sync(&catalog), (ExportState::Whole, SyncAction::Nothing));
    catalog.remove_export(&only(&catalog).key).unwrap();
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), newer, "it is the tool's by now");
}

#[test]
fn without_its_id_an_export_stays() {
    let (host, catalog) = host();
    export(&host, &catalog, ExportLayout::LmStudio).unwrap();
    catalog.remove("hf:org/model").unwrap().unwrap();
    assert_eq!(sync(&catalog), (ExportState::Orphaned, SyncAction::Nothing));
    fs::remove_file(to(&host, ExportLayout::LmStudio).join("org/model/config.json")).unwrap();
    assert_eq!(sync(&catalog), (ExportState::Incomplete, SyncAction::Nothing));
    assert_eq!(names(&to(&host, ExportLayout::LmStudio)).len(), 2);
}

// Red when a handle trusts a record that it has read before, although another process has written it anew.
#[test]
fn a_handle_sees_what_another_one_exports() {
    let (host, catalog) = host();
    let other = FsCatalog::open(catalog.root()).unwrap();
    export(&host, &catalog, ExportLayout::Dir).unwrap();
    for content in [&b"one"[..], b"two", b"six"] {
        let before = only(&catalog);
        tree(&host, content);
        let staged = stage(&other, &host.path("model"), "hf:org/model").unwrap();
        assert_eq!(state(&catalog), ExportState::Outdated);
        export(&host, &other, ExportLayout::Dir).unwrap();
        let now = only(&catalog);
        assert_eq!((now.digest, now.state), (staged.digest, ExportState::Whole));
        assert_ne!(now.digest, before.digest);
    }
    other.remove_export(&only(&other).key).unwrap().unwrap();
    assert!(exports(&catalog).is_empty());
}
