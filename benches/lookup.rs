//! The index with 100, 10,000 and 100,000 entries, compared with the plain system calls behind its work.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use catalog_core::{CatalogEntry, CatalogStore, Durability, FsCatalog, LifecycleState};
use criterion::{Criterion, criterion_group, criterion_main};

/// A path that is registered before anything is staged: only the index, no blob.
fn entry(number: usize) -> CatalogEntry {
    CatalogEntry {
        id: format!("hf:org/repo/model-{number:06}.gguf"),
        local_path: format!("models/model-{number:06}.gguf").into(),
        lifecycle: LifecycleState::Active,
        digest: None,
        last_verified_ms: None,
    }
}

fn lookup(c: &mut Criterion) {
    for count in [100, 10_000, 100_000] {
        let scratch = support::scratch();
        let root = scratch.path().join("root");
        let catalog = FsCatalog::new(&root).unwrap();
        let entries: Vec<CatalogEntry> = (0..count).map(entry).collect();
        catalog.clone().with_durability(Durability::Relaxed).put_many(&entries).unwrap();
        support::sync_all(scratch.path());
        support::settle();
        assert_eq!(catalog.list().unwrap().len(), count);
        let shards = shards(&root);
        get(c, count, &catalog, &root, &shards);
        list(c, count, &catalog, &entries, &shards);
        put(c, count, &catalog, scratch.path(), &shards);
    }
}

fn get(c: &mut Criterion, count: usize, catalog: &FsCatalog, root: &Path, shards: &[PathBuf]) {
    let mut group = c.benchmark_group(format!("get/{count}"));
    let ids: Vec<String> = (0..count).step_by(count / 100).map(|number| entry(number).id).collect();
    let mut turn = ids.iter().cycle();
    group.bench_function("catalog_warm", |b| {
        b.iter(|| catalog.get(black_box(turn.next().unwrap())).unwrap().unwrap());
    });
    let mut turn = shards.iter().cycle();
    group.bench_function("control_one_stat", |b| b.iter(|| std::fs::metadata(turn.next().unwrap()).unwrap()));
    // Like `catalog path`: a handle that knows nothing yet.
    let mut turn = ids.iter().cycle();
    group.bench_function("catalog_open_and_get", |b| {
        b.iter(|| FsCatalog::open(root).unwrap().get(black_box(turn.next().unwrap())).unwrap().unwrap());
    });
    let mut turn = shards.iter().cycle();
    let store_json = root.join("store.json");
    group.bench_function("control_read_two_files", |b| {
        b.iter(|| (std::fs::read(&store_json).unwrap(), std::fs::read(turn.next().unwrap()).unwrap()));
    });
    group.finish();
}

fn list(c: &mut Criterion, count: usize, catalog: &FsCatalog, entries: &[CatalogEntry], shards: &[PathBuf]) {
    let mut group = c.benchmark_group(format!("list/{count}"));
    group.bench_function("catalog_warm", |b| b.iter(|| catalog.list().unwrap()));
    let root = catalog.root();
    group.bench_function("catalog_open_and_list", |b| b.iter(|| FsCatalog::open(root).unwrap().list().unwrap()));
    group.bench_function("control_stat_all_shards", |b| {
        b.iter(|| shards.iter().map(|shard| std::fs::metadata(shard).unwrap().len()).sum::<u64>());
    });
    group.bench_function("control_read_all_shards", |b| {
        b.iter(|| shards.iter().map(|shard| std::fs::read(shard).unwrap().len()).sum::<usize>());
    });
    group.bench_function("control_clone_entries", |b| b.iter(|| entries.to_vec()));
    group.finish();
}

fn put(c: &mut Criterion, count: usize, catalog: &FsCatalog, scratch: &Path, shards: &[PathBuf]) {
    let mut group = c.benchmark_group(format!("put/{count}"));
    group.sample_size(20);
    let mut turn = (0..count).cycle();
    group.bench_function("catalog_durable", |b| b.iter(|| catalog.put(&entry(turn.next().unwrap())).unwrap()));
    // A shard of median size, so that both write the same number of bytes.
    let mut texts: Vec<Vec<u8>> = shards.iter().map(|shard| std::fs::read(shard).unwrap()).collect();
    texts.sort_by_key(Vec::len);
    let text = &texts[texts.len() / 2];
    let plain = scratch.join("plain");
    std::fs::create_dir(&plain).unwrap();
    group.bench_function("control_fsynced_rename", |b| b.iter(|| support::replace(&plain.join("shard"), text)));
    let relaxed = catalog.clone().with_durability(Durability::Relaxed);
    group.bench_function("catalog_relaxed", |b| b.iter(|| relaxed.put(&entry(turn.next().unwrap())).unwrap()));
    group.finish();
}

fn shards(root: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(root.join("index")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
}

criterion_group! { name = benches; config = support::criterion(); targets = lookup }
criterion_main!(benches);
