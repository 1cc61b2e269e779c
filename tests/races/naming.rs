//! Several processes rename one entry, or pin it while it is renamed.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use catalog_core::{Durability, FsCatalog, GcPolicy};

use crate::common::*;
use crate::{against, say};

const ROUNDS: usize = 60;

fn open(host: &Host) -> FsCatalog {
    FsCatalog::open(host.root()).unwrap().with_durability(Durability::Relaxed)
}

fn ids(catalog: &FsCatalog) -> Vec<String> {
    catalog.records().unwrap().into_iter().map(|record| record.entry.id).collect()
}

// Red when a loser's entry stays, and when several remove the old one.
#[test]
fn one_of_several_that_rename_an_entry_does() {
    let host = Host::new();
    host.catalog();
    let source = host.file("m.gguf", "model");
    let (mut id, mut met) = ("m".to_owned(), 0);
    stage(&open(&host), &source, &id).unwrap();
    for round in 0..ROUNDS {
        let begin = Barrier::new(3);
        let rename = |name: String| {
            let (catalog, begin, id) = (open(&host), &begin, &id);
            move || {
                begin.wait();
                catalog.rename(id.as_str(), &name).map(|record| record.entry.id)
            }
        };
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|number| scope.spawn(rename(format!("{round}-{number}")))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{won:?} {lost:?}");
        assert!(lost.into_iter().all(|result| result.unwrap_err().is_not_found()));
        id = won.into_iter().next().unwrap().unwrap();
        assert_eq!(ids(&open(&host)), std::slice::from_ref(&id));
        assert_readable(&open(&host), &id, b"model");
        // A loser that has made its view removes it, or a collection does.
        met += usize::from(std::fs::read_dir(host.root().join("views")).unwrap().count() == 1);
    }
    drop(open(&host).gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert_eq!(debris(&open(&host)), Vec::<String>::new());
    assert_eq!(blobs(&host.root()).len(), 1);
    say(&format!("three rename one entry: {ROUNDS} rounds, {met} left nothing to collect"));
}

// Red when the old record is removed although it has a pin that the new one lacks.
#[test]
fn a_pin_that_comes_while_its_entry_is_renamed_is_kept() {
    let host = Host::new();
    host.catalog();
    stage(&open(&host), &host.file("m.gguf", "model"), "0").unwrap();
    let pinning = open(&host);
    let (mut pinned, mut refused) = (Vec::new(), 0);
    let pin = |step: u64| {
        let Some(id) = ids(&pinning).into_iter().next() else { return };
        let name = format!("pin {step}");
        thread::sleep(Duration::from_millis(step % 5));
        match pinning.pin(id.as_str(), &name, None) {
            Ok(_) => pinned.push(name),
            Err(error) => {
                assert!(error.is_not_found(), "{error}");
                refused += 1;
            }
        }
    };
    let (id, _) = against(pin, || {
        let catalog = open(&host);
        for round in 0..ROUNDS {
            catalog.rename(round.to_string().as_str(), &(round + 1).to_string()).unwrap();
        }
        ROUNDS.to_string()
    });
    let catalog = open(&host);
    assert_eq!(ids(&catalog), std::slice::from_ref(&id));
    let record = catalog.record(id.as_str()).unwrap().unwrap();
    let missing: Vec<_> = pinned.iter().filter(|name| !record.pins.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{} of {} pins are lost: {missing:?}", missing.len(), pinned.len());
    say(&format!("pins while an entry is renamed: {} came, {refused} too late", pinned.len()));
    assert!(pinned.len() > 10 && !record.pins.is_empty());
}
