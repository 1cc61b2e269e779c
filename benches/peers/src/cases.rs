//! What is compared, and how: each round runs every program once, in another order each time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use catalog_core::{CatalogEntry, CatalogStore as _, FsCatalog};

use crate::stores::{SIZE_BYTES, Stores, id};

/// Puts of each kind in each round. The files stay, so the stores grow: removing them would slow down the next puts on
/// ext4, which looks at every inode that was freed lately.
const PUTS: usize = 10;
/// Enough look-ups to read the clock rarely, over ids in all shards and buckets.
const GETS: usize = 1000;
/// More than one tick of the clock behind file times.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn all(folder: &Path, count: usize, rounds: usize) {
    let (stores, filled) = Stores::filled(folder, count);
    let print = |work: &str, program: &str, seconds: &[f64]| {
        println!(
            r#"{{"part":"entries","work":"{work}","entries":{count},"program":"{program}","seconds":{seconds:?}}}"#
        );
    };
    print("put all", "catalog put_many", &[filled.catalog_seconds / count as f64]);
    print("put all", "cacache write, one sync", &[filled.cacache_seconds / count as f64]);
    // Puts come last: they change the number of entries.
    for (work, cases) in [("get", get(&stores, count)), ("list", list(&stores, count)), ("put", put(&stores, count))] {
        for (program, seconds) in in_turns(rounds, cases) {
            print(work, program, &seconds);
        }
    }
}

/// A program's name, and a function that runs it once and returns the seconds that one operation took.
type Case<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

/// Runs all cases in rounds, each time starting with another one. An additional first round is not counted.
fn in_turns(rounds: usize, mut cases: Vec<Case<'_>>) -> BTreeMap<&'static str, Vec<f64>> {
    let mut seconds: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for round in 0..=rounds {
        cases.rotate_left(1);
        for (program, run) in &mut cases {
            let took = run();
            if round > 0 {
                seconds.entry(program).or_default().push(took);
            }
        }
    }
    seconds
}

fn put<'a>(stores: &'a Stores, count: usize) -> Vec<Case<'a>> {
    let next = Cell::new(count);
    let each = Rc::new(move |put: &dyn Fn(&CatalogEntry)| {
        let entries: Vec<_> = (0..PUTS).map(|number| stores.source(next.get() + number)).collect();
        next.set(next.get() + PUTS);
        stores.sync();
        // The catalog waits for the file system's clock if a file was just written; models are older.
        std::thread::sleep(TICK);
        let start = Instant::now();
        entries.iter().for_each(put);
        start.elapsed().as_secs_f64() / PUTS as f64
    });
    let relaxed = stores.relaxed();
    let [catalog, other, cacache] = [each.clone(), each.clone(), each.clone()];
    vec![
        ("catalog put", Box::new(move || catalog(&|entry| stores.catalog.put(entry).unwrap()))),
        ("catalog put, relaxed", Box::new(move || other(&|entry| relaxed.put(entry).unwrap()))),
        ("cacache write", Box::new(move || cacache(&|entry| stores.cacache_put(entry)))),
        (
            "cacache write and sync",
            Box::new(move || {
                each(&|entry| {
                    stores.cacache_put(entry);
                    stores.sync();
                })
            }),
        ),
    ]
}

fn get<'a>(stores: &'a Stores, count: usize) -> Vec<Case<'a>> {
    // A step that shares no factor with any count visits every entry.
    let ids: Vec<String> = (0..GETS).map(|number| id(number * 7919 % count)).collect();
    let each = move |get: &dyn Fn(&str)| {
        let start = Instant::now();
        ids.iter().for_each(|id| get(id));
        start.elapsed().as_secs_f64() / GETS as f64
    };
    let (catalog, cache) = (&stores.catalog, &stores.cache);
    let [get, read, cacache_get] = [each.clone(), each.clone(), each.clone()];
    vec![
        ("catalog get", Box::new(move || get(&|id| drop(black_box(catalog.get(id).unwrap().unwrap()))))),
        (
            "cacache metadata",
            Box::new(move || cacache_get(&|id| drop(black_box(cacache::metadata_sync(cache, id).unwrap().unwrap())))),
        ),
        (
            "catalog get, and read the file",
            Box::new(move || {
                read(&|id| {
                    let path = catalog.get(id).unwrap().unwrap().local_path;
                    assert_eq!(black_box(std::fs::read(path).unwrap()).len(), SIZE_BYTES);
                })
            }),
        ),
        (
            "cacache read",
            Box::new(move || {
                each(&|id| assert_eq!(black_box(cacache::read_sync(cache, id).unwrap()).len(), SIZE_BYTES))
            }),
        ),
    ]
}

fn list<'a>(stores: &'a Stores, count: usize) -> Vec<Case<'a>> {
    let timed = move |list: &dyn Fn() -> usize| {
        let start = Instant::now();
        assert_eq!(list(), count);
        start.elapsed().as_secs_f64()
    };
    let (catalog, cache) = (&stores.catalog, &stores.cache);
    vec![
        ("catalog list", Box::new(move || timed(&|| catalog.list().unwrap().len()))),
        (
            "catalog open and list",
            Box::new(move || timed(&|| FsCatalog::open(catalog.root()).unwrap().list().unwrap().len())),
        ),
        (
            "cacache list",
            Box::new(move || timed(&|| cacache::list_sync(cache).map(Result::unwrap).collect::<Vec<_>>().len())),
        ),
    ]
}
