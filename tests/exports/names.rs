//! Names and folders that somebody else chooses.

use super::*;

use catalog_core::Error;

// Red when a name is joined to a path before it was checked.
#[test]
fn no_name_leads_elsewhere() {
    let (host, catalog) = host();
    let before = listing(&host.path("root/blobs"));
    let hostile =
        ["..", "../x", "a/../b", "/etc/x", "a//b", "", ".", "a/b/c", "a\nb/c", "org/..", "-a/b", "a\0/b", "a/b@main"];
    for layout in ExportLayout::ALL.iter().copied() {
        for name in hostile {
            // Ollama's names can have a host.
            if layout == ExportLayout::Ollama && name == "a/b/c" {
                continue;
            }
            let options = options_for(&host, layout).with_repo(name.to_owned());
            let error = catalog.export(id_for(layout), &options).unwrap_err();
            assert!(error.is_invalid_input(), "{layout} {name:?}: {error}");
        }
        for version in ["..", "../../x", "a/b", "", "\0", "main\n"] {
            let options = options_for(&host, layout).with_revision(version.to_owned());
            let done = catalog.export(id_for(layout), &options);
            // Three layouts have no version.
            let is_without =
                matches!(layout, ExportLayout::Ollama | ExportLayout::Oci | ExportLayout::Dir | ExportLayout::LmStudio);
            assert!(is_without || done.unwrap_err().is_invalid_input(), "{layout} {version:?}");
        }
    }
    let outside: Vec<PathBuf> = fs::read_dir(host.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(outside.iter().all(|path| !path.ends_with("x") && !path.ends_with("b")), "{outside:?}");
    assert!(before.keys().all(|blob| blob.exists()));
}

#[test]
fn a_model_without_a_known_repository_needs_a_name() {
    let (host, catalog) = host();
    for layout in [ExportLayout::Hf, ExportLayout::RamaLama, ExportLayout::LmStudio, ExportLayout::ModelScope] {
        let error = catalog.export("file", &options_for(&host, layout)).unwrap_err();
        assert!(error.to_string().contains("name it, as ORG/NAME"), "{error}");
        catalog.export("file", &options_for(&host, layout).with_repo("me/tiny".to_owned())).unwrap();
    }
}

#[test]
fn a_folder_in_the_catalog_is_refused_and_one_behind_a_symlink_is_not_followed() {
    let (host, catalog) = host();
    for inside in ["root", "root/blobs", "root/new"] {
        let options = ExportOptions::new(ExportLayout::Dir).with_to(host.path(inside));
        let error = catalog.export("file", &options).unwrap_err();
        assert!(matches!(error, Error::InvalidPath { .. }), "{error}");
    }
    let error = catalog.export("file", &ExportOptions::new(ExportLayout::Dir)).unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    // The folder of the repository leads elsewhere.
    let to = to(&host, ExportLayout::Hf);
    fs::create_dir(&to).unwrap();
    fs::create_dir(host.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(host.path("elsewhere"), to.join("models--org--model")).unwrap();
    let error = export(&host, &catalog, ExportLayout::Hf).unwrap_err();
    assert!(matches!(error, Error::PathEscapesRoot { .. }), "{error}");
    assert!(names(&host.path("elsewhere")).is_empty() && exports(&catalog).is_empty());
}

#[test]
fn a_damaged_record_is_an_error_and_never_leads_out() {
    let (host, catalog) = host();
    export(&host, &catalog, ExportLayout::LmStudio).unwrap();
    let record = files_below(&host.path("root/exports")).remove(0);
    let text = fs::read_to_string(&record).unwrap();
    let victim = host.file("victim", "x");
    for damaged in [
        "{}".to_owned(),
        text.replace("org/model/config.json", "../victim"),
        text.replace("\"folders\":[", "\"folders\":[\"..\","),
        text.replace("to lmstudio", "to"),
    ] {
        assert_ne!(damaged, text);
        fs::write(&record, &damaged).unwrap();
        let error = catalog.exports().unwrap().remove(0).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        let mut synced = Vec::new();
        catalog.sync_exports(&mut |id, done| synced.push((id.map(str::to_owned), done))).unwrap();
        assert!(matches!(synced.as_slice(), [(None, Err(error))] if error.is_corrupt()), "{synced:?}");
    }
    assert!(victim.exists());
}

// Red when one damaged record stops what is done with the others.
#[test]
fn a_damaged_record_does_not_stop_other_exports() {
    let (host, catalog) = host();
    export(&host, &catalog, ExportLayout::LmStudio).unwrap();
    let damaged = files_below(&host.path("root/exports")).remove(0);
    fs::write(&damaged, "{}").unwrap();
    let other = export(&host, &catalog, ExportLayout::Dir).unwrap();
    let word = |words: &[&str]| {
        let output = host.command().arg("export").args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(damaged.file_name().unwrap().to_str().unwrap()), "{said}");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, listed) = word(&["--list"]);
    assert!(code == 4 && listed.contains("to dir"), "{code}: {listed}");
    fs::remove_file(host.path("to dir").join("model/config.json")).unwrap();
    let (code, synced) = word(&["--sync"]);
    assert!(code == 4 && synced.contains("made again"), "{code}: {synced}");
    assert!(other.path.join("config.json").exists());
    let found = catalog_core::Doctor::open(host.path("root")).unwrap().examine().unwrap();
    let found: Vec<_> = found.iter().filter(|finding| finding.path == damaged).map(|finding| finding.kind).collect();
    assert_eq!(found, [catalog_core::FindingKind::ExportRecordDamaged]);
    run({
        let mut command = host.command();
        command.args(["export", "--remove", "hf:org/model", "--as", "dir"]);
        command
    });
    assert!(names(&host.path("to dir")).is_empty());
}
