//! Row 16: a file system where `flock` succeeds and excludes nobody. Work may be done twice, but nothing may be damaged
//! or lost, and nothing is collected.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use catalog_core::{CatalogStore as _, Digest, Durability, Error, FsCatalog, GcPolicy};

use crate::common::{
    Host, Running, assert_sound, check_artifact, child_test, entry, has_tool, is_child, options, reference, skip,
};
use crate::rng::Rng;
use crate::say;

const PROCESSES: usize = 4;
const ENTRIES: usize = 25;
/// Contents that all processes stage, each under its own ids.
const CONTENTS: usize = 6;

/// Not a test: one of the processes without locks.
#[test]
fn without_locks() {
    if !is_child("no_locks::without_locks") {
        return;
    }
    let dir = PathBuf::from(std::env::var("CATALOG_FLEET_DIR").unwrap());
    let number = std::env::var("CATALOG_FLEET_NUMBER").unwrap();
    let is_contended = std::env::var_os("CATALOG_FLEET_CONTENDED").is_some();
    let catalog = FsCatalog::new(dir.join("root")).unwrap().with_durability(Durability::Relaxed);
    assert!(!catalog.locks_work(), "the locks were to do nothing here");
    let mut rng = Rng::new(7, &number);
    let mut acknowledged = File::create(dir.join(format!("{number}.acknowledged"))).unwrap();
    let mut busy = 0;
    for at in 0..ENTRIES {
        let source = dir.join(format!("content-{}", rng.below(CONTENTS as u64)));
        let digest = Digest::sha256_of(&fs::read(&source).unwrap());
        let id = id_in_shard(&format!("{number} {at}"), if is_contended { 0 } else { number.parse().unwrap() });
        // The index returns "busy" if another writer came between; the loop retries, as a caller would.
        loop {
            let done = match at % 2 {
                0 => {
                    catalog.stage(&reference(&source), &options(&id)).map(|receipt| assert_eq!(receipt.digest, digest))
                }
                _ => catalog.put(&entry(&id, &source)),
            };
            match done {
                Ok(()) => break,
                Err(error) if error.is_busy() => busy += 1,
                Err(error) => panic!("{id}: {error}"),
            }
        }
        writeln!(acknowledged, "{id}\t{digest}").unwrap();
        if at % 5 == 0 {
            let error = catalog.gc(&GcPolicy::default()).unwrap_err();
            assert!(matches!(error, Error::LocksDoNothing { .. }), "{error}");
        }
    }
    fs::write(dir.join(format!("{number}.busy")), busy.to_string()).unwrap();
}

/// An id that starts with `start` and falls into this shard (one of [`PROCESSES`]).
fn id_in_shard(start: &str, shard: u8) -> String {
    let mut ids = (0..).map(|n| format!("{start} {n}"));
    ids.find(|id| Digest::sha256_of(id.as_bytes()).as_bytes()[0] == shard).unwrap()
}

// Red when a collection does not check whether locks work.
#[test]
fn where_locks_do_nothing_nothing_is_damaged_and_nothing_is_collected() {
    run_without_locks(false);
}

// Red as long as a writer checks an index shard and replaces it in two separate steps.
#[test]
fn where_locks_do_nothing_no_change_of_one_shard_is_lost() {
    run_without_locks(true);
}

fn run_without_locks(is_contended: bool) {
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let host = Host::new();
    for number in 0..CONTENTS {
        host.file(&format!("content-{number}"), number.to_string().repeat(1 << (8 + number)));
    }
    FsCatalog::new(host.root()).unwrap();
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:retval=0"];
    let start = |number: usize| {
        let mut command = child_test(&strace, "no_locks::without_locks");
        if is_contended {
            command.env("CATALOG_FLEET_CONTENDED", "1");
        }
        command.env("CATALOG_FLEET_DIR", host.dir.path()).env("CATALOG_FLEET_NUMBER", number.to_string());
        let errors = File::create(host.path(&format!("{number}.errors"))).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Running(command.spawn().unwrap())
    };
    let running: Vec<Running> = (0..PROCESSES).map(start).collect();
    for (number, mut running) in running.into_iter().enumerate() {
        let status = running.0.wait().unwrap();
        let said = fs::read_to_string(host.path(&format!("{number}.errors"))).unwrap();
        if said.contains("ptrace") && said.contains("Operation not permitted") {
            return skip("strace may not trace here");
        }
        assert!(status.success(), "{number}: {status}\n{said}");
    }
    let read = |number: usize, ending: &str| fs::read_to_string(host.path(&format!("{number}.{ending}"))).unwrap();
    let busy: Vec<String> = (0..PROCESSES).map(|number| read(number, "busy")).collect();
    say(&format!("without locks: {} entries, tried again {busy:?} times", PROCESSES * ENTRIES));

    let acknowledged: String = (0..PROCESSES).map(|number| read(number, "acknowledged")).collect();
    let acknowledged: BTreeMap<&str, &str> = acknowledged.lines().map(|line| line.split_once('\t').unwrap()).collect();
    assert_eq!(acknowledged.len(), PROCESSES * ENTRIES);
    let catalog = host.catalog();
    let records = catalog.records().unwrap();
    let found: BTreeMap<&str, String> =
        records.iter().map(|record| (record.entry.id.as_str(), record.entry.digest.unwrap().to_string())).collect();
    let lost: Vec<_> =
        acknowledged.iter().filter(|(id, digest)| found.get(**id).is_none_or(|f| f != **digest)).collect();
    assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    for record in &records {
        check_artifact(catalog.root(), record).unwrap_or_else(|reason| panic!("{}: {reason}", record.entry.id));
    }
    // The leftovers can be collected once locks work again.
    drop(catalog.gc(&GcPolicy::default().with_grace(std::time::Duration::ZERO)).unwrap());
    assert_sound(catalog.root());
}
