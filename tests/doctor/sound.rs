//! A store in which nothing is wrong.

use catalog_core::{StageOptions, TrustState};

use super::*;

const ENTRIES: usize = 1000;

#[test]
fn an_undamaged_store_of_a_thousand_entries_has_nothing_wrong() {
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let store = Store { host, catalog };
    let mut items = Vec::new();
    for number in 0..ENTRIES {
        let id = format!("model {number}");
        let path = match number % 10 {
            0 => {
                for name in ["config.json", "weights/1", "weights/2"] {
                    store.host.file(&format!("many/{number}/{name}"), format!("{name} {}", number % 70));
                }
                store.host.path(&format!("many/{number}"))
            }
            _ => store.host.file(&format!("many/{number}.bin"), format!("{}", number % 900)),
        };
        let mut options = options(&id);
        options.digest = (number % 3 == 1 && number % 10 != 0).then(|| Digest::sha256_of(&fs::read(&path).unwrap()));
        items.push((reference(&path), options));
    }
    let receipts: Vec<_> =
        items.iter().map(|(reference, options): &(_, StageOptions)| store.catalog.stage(reference, options)).collect();
    assert!(receipts.iter().all(Result::is_ok));
    for number in 0..50 {
        store.catalog.pin(&format!("model {}", number * 7), "kept", None).unwrap();
        store.catalog.remove(&format!("model {}", number * 7 + 3)).unwrap();
    }
    store.catalog.put(&common::entry("registered", "not/there/yet")).unwrap();
    let in_place = store.host.file("root/mine/in-place.bin", "in place");
    store.catalog.put(&common::entry("in-place", in_place)).unwrap();
    store.host.file("root/mine/notes.txt", "somebody's own");
    assert!(store.catalog.records().unwrap().iter().any(|record| record.trust == TrustState::Verified));
    assert_eq!(store.examine(), []);

    // Entries shown by copies are reported; that is no fault.
    store.make_copy("model 1");
    let found = store.examine();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].kind, FindingKind::NoHardlinks);
    assert!(found[0].what.contains(": 1 entry, 1 byte"), "{found:#?}");
}

#[test]
fn the_store_of_these_tests_is_sound() {
    let store = Store::new();
    store.finds(&[]);
    // A store in which nothing was ever staged is sound too.
    let empty = Host::new();
    FsCatalog::new(empty.root()).unwrap();
    assert_eq!(Doctor::open(empty.root()).unwrap().examine().unwrap(), []);
}

#[test]
fn where_there_is_no_store_none_is_made() {
    let host = Host::new();
    assert!(Doctor::open(host.root()).unwrap_err().is_not_found());
    fs::create_dir_all(host.root().join("index")).unwrap();
    assert!(Doctor::open(host.root()).unwrap_err().is_not_found());
    assert_eq!(listing(&host.root()).len(), 2);
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let store = Store::new();
    fs::write(store.root().join("store.json"), r#"{"format":2}"#).unwrap();
    let before = listing(&store.root());
    let error = Doctor::open(store.root()).unwrap_err();
    assert!(matches!(error, catalog_core::Error::UnsupportedFormat { .. }), "{error}");
    assert_eq!(listing(&store.root()), before);
}
