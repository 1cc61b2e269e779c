//! A catalog alone, with very many entries: `scale.py` calls it.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use catalog_core::{CatalogEntry, CatalogStore as _, Durability, FsCatalog, LifecycleState};

use crate::stores::id;

/// How many entries one call registers.
const AT_ONCE: usize = 100_000;
/// Enough look-ups to read the clock rarely, over ids in all shards.
const GETS: usize = 1000;
const PUTS: usize = 20;

/// A path that is registered before anything is staged: only the index, no blob.
fn entry(number: usize) -> CatalogEntry {
    let local_path = format!("models/model-{number:06}.gguf").into();
    let lifecycle = LifecycleState::Active;
    CatalogEntry { id: id(number), local_path, lifecycle, digest: None, last_verified_ms: None }
}

pub(crate) fn register(root: &Path, count: usize) {
    let catalog = FsCatalog::new(root).unwrap().with_durability(Durability::Relaxed);
    let entries: Vec<CatalogEntry> = (0..count).map(entry).collect();
    entries.chunks(AT_ONCE).for_each(|some| catalog.put_many(some).unwrap());
}

/// Prints the median times of a look-up and of a durable put of a path, in seconds.
pub(crate) fn ask(root: &Path, rounds: usize) {
    let catalog = FsCatalog::open(root).unwrap();
    let all: Vec<String> = catalog.list().unwrap().into_iter().map(|entry| entry.id).collect();
    // A step that shares no factor with any count visits every entry.
    let ids: Vec<&String> = (0..GETS).map(|number| &all[number * 7919 % all.len()]).collect();
    let per = |count: usize, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() / count as f64
    };
    let mut get = || ids.iter().for_each(|id| drop(black_box(catalog.get(id).unwrap().unwrap())));
    let gets: Vec<f64> = (0..rounds).map(|_| per(GETS, &mut get)).collect();
    // They replace entries of their own, so the catalog does not grow.
    let new: Vec<CatalogEntry> = (10_000_000..).take(PUTS).map(entry).collect();
    let mut put = || new.iter().for_each(|entry| catalog.put(entry).unwrap());
    put();
    let puts: Vec<f64> = (0..rounds).map(|_| per(PUTS, &mut put)).collect();
    println!(r#"{{"get, warm":{},"put of a path, durable":{}}}"#, median(gets), median(puts));
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
