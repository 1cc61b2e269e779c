//! An export is killed at each of its steps, or a step fails.
//!
//! Whatever is there afterwards is named by the record: a removal takes all of it and nothing of the tool's, and a sync
//! or a second export completes it. The store stays sound throughout.

use super::*;

use std::sync::Mutex;
use std::time::Duration;

use catalog_core::testing::fault::{Fault, inject};
use catalog_core::{Durability, GcPolicy, SyncAction};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The tool's own file, which is one of those that the export needs.
fn prepare(layout: ExportLayout) -> (Host, FsCatalog, Vec<(PathBuf, u64)>) {
    let (host, catalog) = host();
    let own = match layout {
        ExportLayout::Hf => "models--org--model/blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b",
        ExportLayout::LmStudio => "org/model/config.json",
        ExportLayout::Dir => "model/config.json",
        _ => "tools/own",
    };
    let own = host.file(to(&host, layout).join(own).to_str().unwrap(), "{}");
    let inode = inode_of(&own);
    (host, catalog, vec![(own, inode)])
}

fn check(host: &Host, catalog: &FsCatalog, layout: ExportLayout, own: &[(PathBuf, u64)], by_sync: bool, state: &str) {
    drop(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert!(debris(catalog).is_empty(), "{layout}: {state}: {:?}", debris(catalog));
    assert_sound(&host.root());
    let to = to(host, layout);
    if by_sync {
        catalog
            .sync_exports(&mut |_, done| {
                let done = done.unwrap();
                assert!(done.action != SyncAction::Forgotten, "{layout}: {state}: {done:?}");
            })
            .unwrap();
        export(host, catalog, layout).unwrap();
        assert_eq!(only(catalog).state, ExportState::Whole, "{layout}: {state}");
    }
    for export in exports(catalog) {
        catalog.remove_export(&export.key).unwrap().unwrap();
    }
    let left: Vec<PathBuf> = files_below(&to).into_iter().filter(|path| !path.starts_with(to.join(".locks"))).collect();
    assert_eq!(left, own.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), "{layout}: {state}");
    assert!(own.iter().all(|(path, inode)| inode_of(path) == *inode), "{layout}: {state}");
    let private =
        fs::read_dir(&to).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(".catalog"));
    assert!(!private, "{layout}: {state}: the private folder stays");
}

const LAYOUTS: [ExportLayout; 4] = [ExportLayout::Hf, ExportLayout::Ollama, ExportLayout::Oci, ExportLayout::Dir];

/// All steps in CI, otherwise every third, from one that differs from run to run.
fn steps() -> impl Iterator<Item = usize> {
    let every = if runs_all() { 1 } else { 3 };
    let from = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() as usize % every;
    (from..).step_by(every)
}

// Red when the record is written after the names, when it does not have the stamps of copies before these get their
// names, or when the private folder is not named in it.
#[test]
fn a_killed_export_can_be_removed_and_completed() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut states = 0;
    for layout in LAYOUTS {
        for at in steps() {
            let (host, catalog, own) = prepare(layout);
            let mut child = child_test(&[], "kills::the_one_that_is_killed");
            child.env("CATALOG_TEST_DIR", host.dir.path()).env("CATALOG_TEST_LAYOUT", layout.as_str());
            child.env("CATALOG_TEST_STEP", at.to_string());
            let output = child.output().unwrap();
            let is_done = output.status.success();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("panicked"), "{layout}: step {at}: {said}");
            check(&host, &catalog, layout, &own, at % 2 == 0, &format!("killed at step {at}"));
            if is_done {
                assert!(at > 10, "{layout}: it has few steps");
                break;
            }
            states += 1;
        }
    }
    println!("exports: killed: {states} states");
}

#[test]
fn the_one_that_is_killed() {
    if !is_child("kills::the_one_that_is_killed") {
        return;
    }
    let value = |name: &str| std::env::var(name).unwrap();
    let dir = PathBuf::from(value("CATALOG_TEST_DIR"));
    let layout: ExportLayout = value("CATALOG_TEST_LAYOUT").parse().unwrap();
    let catalog = FsCatalog::open(dir.join("root")).unwrap().with_durability(Durability::Full);
    let options = ExportOptions::new(layout).with_to(dir.canonicalize().unwrap().join(format!("to {layout}")));
    let options = if layout == ExportLayout::Hf { options.with_revision(COMMIT.to_owned()) } else { options };
    let is_removal = std::env::var_os("CATALOG_TEST_REMOVAL").is_some();
    let key = is_removal.then(|| only(&catalog).key);
    let injection = inject(Some(value("CATALOG_TEST_STEP").parse().unwrap()), Fault::Kill);
    match key {
        Some(key) => drop(catalog.remove_export(&key).unwrap().unwrap()),
        None => drop(catalog.export(id_for(layout), &options).unwrap()),
    }
    drop(injection);
}

// Red when the record goes before the names.
#[test]
fn a_killed_removal_can_be_repeated() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for layout in LAYOUTS {
        for at in steps() {
            let (host, catalog, own) = prepare(layout);
            export(&host, &catalog, layout).unwrap();
            let mut child = child_test(&[], "kills::the_one_that_is_killed");
            child.env("CATALOG_TEST_DIR", host.dir.path()).env("CATALOG_TEST_LAYOUT", layout.as_str());
            child.env("CATALOG_TEST_STEP", at.to_string()).env("CATALOG_TEST_REMOVAL", "1");
            let is_done = child.output().unwrap().status.success();
            assert!(is_done || !exports(&catalog).is_empty(), "{layout}: step {at}: it is no longer recorded");
            check(&host, &catalog, layout, &own, false, &format!("a removal was killed at step {at}"));
            if is_done {
                assert!(at > 3, "{layout}: it has few steps");
                break;
            }
        }
    }
}

// Red when `undo` is left out. In a process of its own: the fault would hit other tests, too.
#[test]
fn a_failed_export_leaves_nothing() {
    const NAME: &str = "kills::a_failed_export_leaves_nothing";
    if !is_child(NAME) {
        run(child_test(&[], NAME));
        return;
    }
    for layout in LAYOUTS {
        for at in steps() {
            let (host, catalog, own) = prepare(layout);
            let injection = inject(Some(at), Fault::Errno(28));
            let outcome = export(&host, &catalog, layout);
            let steps = injection.steps();
            drop(injection);
            let Some(step) = steps.get(at) else {
                outcome.unwrap();
                break;
            };
            let state = format!("step {at} ({step}) failed, {outcome:?}");
            if outcome.is_err() {
                // The last write of the record is after everything is made: then it stays, and says what is there.
                let left = names(&to(&host, layout)).len();
                let is_recorded = !exports(&catalog).is_empty();
                assert!(left == own.len() || is_recorded, "{layout}: {state}: {left} names");
            }
            check(&host, &catalog, layout, &own, at % 2 == 1, &state);
        }
    }
}
