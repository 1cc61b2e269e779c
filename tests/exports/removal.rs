//! What `--remove` takes, and what it leaves.

use super::*;

#[test]
fn everything_that_was_made_goes_with_its_folders() {
    let (host, catalog) = host();
    for layout in ExportLayout::ALL.iter().copied() {
        export(&host, &catalog, layout).unwrap();
        let before = only(&catalog);
        let removal = catalog.remove_export(&before.key).unwrap().unwrap();
        assert_eq!(removal.removed_files as usize, before.files.len(), "{layout}: {removal:?}");
        assert!(removal.kept.is_empty(), "{removal:?}");
        let left: Vec<_> = fs::read_dir(to(&host, layout)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let is_right = left.iter().all(|name| name == ".locks");
        assert!(is_right, "{layout}: {left:?}");
        assert!(exports(&catalog).is_empty());
    }
    assert_eq!(catalog.remove_export("0123456789abcdef0123456789abcdef").unwrap(), None);
    assert_eq!(catalog.remove_export("../x").unwrap(), None);
    assert_sound(&host.root());
}

// Red when a name is removed without a look at what it leads to by now.
#[test]
fn what_the_tool_or_a_user_has_replaced_stays() {
    let (host, catalog) = host();
    for layout in [ExportLayout::LmStudio, ExportLayout::Dir] {
        export(&host, &catalog, layout).unwrap();
        let folder = only(&catalog).to.join(if layout == ExportLayout::Dir { "model" } else { "org/model" });
        let (replaced, added) = (folder.join("config.json"), folder.join("added"));
        fs::remove_file(&replaced).unwrap();
        fs::write(&replaced, "{}").unwrap();
        fs::write(&added, "mine").unwrap();
        assert_eq!(state(&catalog), ExportState::Changed, "{layout}");
        let removal = catalog.remove_export(&only(&catalog).key).unwrap().unwrap();
        assert_eq!(removal.removed_files, 2);
        assert!(removal.kept[0].ends_with("config.json: it is no longer what was exported"), "{removal:?}");
        assert!(replaced.exists() && added.exists());
    }
    // A copy that was edited belongs to the user, too.
    fs::remove_dir_all(to(&host, ExportLayout::Dir)).unwrap();
    export(&host, &catalog, ExportLayout::Dir).unwrap();
    let edited = to(&host, ExportLayout::Dir).join("model/config.json");
    fs::write(&edited, "[]").unwrap();
    catalog.remove_export(&only(&catalog).key).unwrap().unwrap();
    assert_eq!(fs::read_to_string(&edited).unwrap(), "[]");
}

// Red when another export's names are not looked at.
#[test]
fn files_that_another_export_needs_stay_until_that_one_goes() {
    let (host, catalog) = host();
    host.file("second/model.safetensors", "weights");
    host.file("second/other.json", "[]");
    stage(&catalog, &host.path("second"), "second").unwrap();
    let to = to(&host, ExportLayout::Hf);
    export(&host, &catalog, ExportLayout::Hf).unwrap();
    let options = ExportOptions::new(ExportLayout::Hf).with_to(to.clone()).with_repo("org/model".to_owned());
    catalog.export("second", &options.with_revision("e".repeat(40))).unwrap();
    let key = |id: &str| exports(&catalog).into_iter().find(|export| export.id == id).unwrap().key;
    catalog.remove_export(&key("hf:org/model")).unwrap().unwrap();
    let snapshot = to.join("models--org--model/snapshots").join("e".repeat(40));
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), b"weights");
    assert!(exports(&catalog).iter().all(|export| export.state == ExportState::Whole));
    catalog.remove_export(&key("second")).unwrap().unwrap();
    assert!(names(&to).is_empty(), "{:?}", names(&to));
}

/// A tool makes pointers of its own to what an export has made.
// Red when `InUse` is not asked: the tool's model would lose its content.
#[test]
fn what_the_tool_points_to_by_now_stays() {
    let (host, catalog) = host();
    for layout in [ExportLayout::Hf, ExportLayout::Ollama, ExportLayout::RamaLama, ExportLayout::Oci] {
        export(&host, &catalog, layout).unwrap();
        let to = to(&host, layout);
        let copy = |from: &str, at: &str| {
            fs::create_dir_all(to.join(at).parent().unwrap()).unwrap();
            let mut cp = std::process::Command::new("cp");
            cp.args(["-a"]).arg(to.join(from)).arg(to.join(at));
            run(cp);
        };
        let needed = match layout {
            ExportLayout::Hf => {
                let snapshots = "models--org--model/snapshots";
                copy(&format!("{snapshots}/{COMMIT}"), &format!("{snapshots}/{}", "f".repeat(40)));
                3
            }
            ExportLayout::Ollama => {
                let models = "manifests/registry.ollama.ai/library";
                copy(&format!("{models}/file"), &format!("{models}/copy"));
                2
            }
            ExportLayout::RamaLama => {
                let refs = "store/huggingface/org/model/refs";
                copy(&format!("{refs}/latest.json"), &format!("{refs}/other.json"));
                6
            }
            _ => {
                let index = fs::read_to_string(to.join("index.json")).unwrap();
                let mine = index.split_once("[{").unwrap().1.split_once("}]").unwrap().0;
                let other = mine.replace("hf:org/model", "other").replace("\"model\"", "\"other\"");
                fs::write(to.join("index.json"), index.replace(mine, &format!("{mine}}},{{{other}"))).unwrap();
                5
            }
        };
        let removal = catalog.remove_export(&only(&catalog).key).unwrap().unwrap();
        let kept = removal.kept.iter().filter(|kept| kept.ends_with("it is in use there")).count();
        assert_eq!(kept, needed, "{layout}: {removal:?}");
        for path in files_below(&to) {
            assert!(path.exists(), "{layout}: {} leads nowhere", path.display());
        }
        assert!(layout != ExportLayout::Oci || to.join("oci-layout").exists());
    }
}

#[test]
fn a_file_that_was_adopted_from_there_is_the_tools_own() {
    let host = Host::new();
    let catalog = host.catalog();
    // The tool's file and the blob are one file.
    let theirs = host.file(to(&host, ExportLayout::LmStudio).join("org/m/m.gguf").to_str().unwrap(), "theirs");
    stage_as(&catalog, &theirs, "m", catalog_core::IngestMode::Link).unwrap();
    assert!(is_a_blob(&host.root(), &theirs));
    let options = options_for(&host, ExportLayout::LmStudio).with_repo("org/m".to_owned());
    assert_eq!(catalog.export("m", &options).unwrap().kept_files, 1);
    catalog.remove_export(&only(&catalog).key).unwrap().unwrap();
    assert_eq!(fs::read_to_string(theirs).unwrap(), "theirs");
}
