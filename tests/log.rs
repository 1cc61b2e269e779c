//! The log of what happened to models.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::time::Duration;

use catalog_core::{
    CatalogStore as _, Digest, Doctor, FindingKind, FsCatalog, GcPolicy, LifecycleState, LogEvent,
    LogEventKind as Kind, VerifyOptions,
};
use common::{Host, blob_path, entry, set_mode, shard_path, stage};

fn kinds(catalog: &FsCatalog, id: &str) -> Vec<(Kind, Option<String>)> {
    catalog.log(Some(id)).unwrap().into_iter().map(|event| (event.what, event.note)).collect()
}

fn of(kind: Kind) -> (Kind, Option<String>) {
    (kind, None)
}

fn noted(kind: Kind, note: &str) -> (Kind, Option<String>) {
    (kind, Some(note.to_owned()))
}

#[track_caller]
fn assert_whole(catalog: &FsCatalog) {
    let problems: Vec<String> = catalog.check_log(None).unwrap().into_iter().flat_map(|chain| chain.problems).collect();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn the_life_of_a_model_is_told_also_after_its_end() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("m.bin", "model");
    stage(&catalog, &file, "m").unwrap();
    stage(&catalog, &file, "m").unwrap(); // nothing happens
    catalog.resolve("m").unwrap();
    drop(catalog.verify("m", &VerifyOptions::default()).unwrap());
    catalog.pin("m", "pool", None).unwrap();
    catalog.unpin("m", None).unwrap();
    catalog.set_state("m", LifecycleState::Retired).unwrap();
    catalog.set_state("m", LifecycleState::Active).unwrap();
    catalog.tag("m", "prod").unwrap();
    catalog.rename("m", "n").unwrap();
    let m = [
        of(Kind::Staged),
        of(Kind::Verified),
        noted(Kind::Pinned, "pool"),
        noted(Kind::Unpinned, "pool"),
        of(Kind::Retired),
        of(Kind::Activated),
        noted(Kind::Removed, "it was renamed to n"),
    ];
    assert_eq!(kinds(&catalog, "m"), m);
    assert_eq!(kinds(&catalog, "prod"), [noted(Kind::Tagged, "m")]);
    assert_eq!(kinds(&catalog, "n"), [noted(Kind::Renamed, "m")]);
    catalog.remove("n").unwrap();
    catalog.set_state("prod", LifecycleState::Retired).unwrap();
    let policy = GcPolicy::default().with_grace(Duration::ZERO).with_retired_after(Duration::ZERO);
    assert_eq!(catalog.gc(&policy).unwrap().entries, 1);
    assert_eq!(kinds(&catalog, "n").last(), Some(&of(Kind::Removed)));
    assert_eq!(kinds(&catalog, "prod").last().unwrap().0, Kind::Evicted);
    assert_whole(&catalog);

    let staged = &catalog.log(Some("m")).unwrap()[0];
    assert_eq!(staged.digest, Some(Digest::sha256_of(b"model")));
    assert_eq!(staged.size_bytes, Some(5));
    assert_eq!(staged.source.as_ref().unwrap().reference, format!("file:{}", file.display()));
    assert_eq!(staged.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(catalog.log(None).unwrap().len(), m.len() + 5);
    assert!(catalog.log(Some("other")).unwrap().is_empty());
}

#[test]
fn other_content_damage_and_registration_are_told_apart() {
    let host = Host::new();
    let catalog = host.catalog();
    catalog.put(&entry("later", host.root().join("later.bin"))).unwrap();
    stage(&catalog, &host.file("m.bin", "model"), "m").unwrap();
    stage(&catalog, &host.file("other.bin", "other"), "m").unwrap();
    let blob = blob_path(catalog.root(), &Digest::sha256_of(b"other"));
    set_mode(&blob, 0o644);
    fs::write(&blob, "OTHER").unwrap();
    set_mode(&blob, 0o444);
    drop(catalog.verify("m", &VerifyOptions::default()).unwrap());
    catalog.repair("m", &Default::default()).unwrap();
    let expected = [of(Kind::Staged), of(Kind::Staged), of(Kind::Damaged), of(Kind::Repaired)];
    assert_eq!(kinds(&catalog, "m"), expected);
    assert_eq!(kinds(&catalog, "later"), [of(Kind::Registered)]);
    assert_whole(&catalog);
}

// Red when the log is not looked at: an event that was changed, removed or put in passes.
#[test]
fn a_log_that_was_changed_is_not_whole() {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("m.bin", "model"), "m").unwrap();
    catalog.pin("m", "pool", None).unwrap();
    catalog.set_state("m", LifecycleState::Retired).unwrap();
    assert_whole(&catalog);
    let path = shard_path(&host.root(), "m");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let events: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(r#""what":"#)).collect();
    assert_eq!(events.len(), 3, "{text}");
    let is_broken = |text: &str| {
        fs::write(&path, text).unwrap();
        let chains = catalog.check_log(None).unwrap();
        // The model is there whatever its history says.
        assert!(FsCatalog::open(host.root()).unwrap().resolve("m").is_ok());
        chains.iter().any(|chain| !chain.problems.is_empty())
    };
    for at in events {
        let changed = text.replace(lines[at], &lines[at].replace(r#""at_ms":1"#, r#""at_ms":2"#));
        assert!(changed != text && is_broken(&changed), "event {at} changed");
        let removed = text.replace(&format!("{}\n", lines[at]), "").replace("},\n]", "}\n]");
        assert!(is_broken(&removed), "event {at} removed");
    }
    assert!(is_broken(&text.replace(r#""head":"blake3:"#, r#""head":"blake3:0"#)));
    let found = Doctor::open(host.root()).unwrap().examine().unwrap();
    assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::LogBroken]);
    assert!(!is_broken(&text));
}

// Red when two processes that change a shard at once write events that are linked to the same one.
#[test]
fn the_chains_hold_with_many_writers() {
    let host = Host::new();
    let root = host.root();
    drop(host.catalog());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let root = &root;
            scope.spawn(move || {
                let catalog = FsCatalog::open(root).unwrap().with_durability(catalog_core::Durability::Relaxed);
                for n in 0..100 {
                    catalog.put(&entry("m", root.join(format!("{writer}-{n}")))).unwrap();
                }
            });
        }
    });
    let catalog = FsCatalog::open(&root).unwrap();
    assert_whole(&catalog);
    let numbers: Vec<u64> = catalog.log(Some("m")).unwrap().iter().map(|event: &LogEvent| event.number).collect();
    assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
    assert!(fs::read_dir(root.join("log")).unwrap().count() > 0, "the older events are in segments");
}
