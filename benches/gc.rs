//! Collection: what a plan costs, and what it costs to execute it, compared with the plain system calls behind both.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catalog_core::{Durability, FsCatalog, GcPlan, GcPolicy, IngestMode, ModelRef, StageOptions};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const SIZE: usize = 1_000;

/// Collects everything that it may, at once.
fn all() -> GcPolicy {
    GcPolicy::default().with_max_bytes(0).with_grace(Duration::ZERO)
}

fn gc(c: &mut Criterion) {
    for count in [100, 1_000, 10_000] {
        let source = support::scratch();
        let files = support::files(source.path(), 0..count, SIZE);
        plan(c, &files);
        if count < 10_000 {
            sweep(c, &files);
        }
    }
}

/// A catalog with these files, each an entry with a view and a blob.
fn filled(files: &[PathBuf]) -> (TempDir, FsCatalog) {
    let folder = support::scratch();
    let catalog = FsCatalog::new(folder.path().join("root")).unwrap();
    let item = |file: &PathBuf| {
        let options = StageOptions::default()
            .with_id(Some(file.file_name().unwrap().to_str().unwrap().to_owned()))
            .with_mode(IngestMode::Copy);
        (ModelRef::File { path: file.clone() }, options)
    };
    let items: Vec<_> = files.iter().map(item).collect();
    let staging = catalog.clone().with_durability(Durability::Relaxed);
    staging.stage_many(&items).into_iter().for_each(|result| drop(result.unwrap()));
    support::sync_all(folder.path());
    (folder, catalog)
}

/// The store, and a plan that evicts all of it.
fn planned(files: &[PathBuf]) -> (TempDir, FsCatalog, GcPlan) {
    let (folder, catalog) = filled(files);
    let plan = catalog.plan_gc(&all()).unwrap();
    assert_eq!(plan.steps.len(), files.len());
    (folder, catalog, plan)
}

fn plan(c: &mut Criterion, files: &[PathBuf]) {
    let (folder, catalog, _) = planned(files);
    let mut group = c.benchmark_group(format!("gc/plan_{}", files.len()));
    group.throughput(Throughput::Elements(files.len() as u64));
    group.bench_function("catalog_evicts_all", |b| b.iter(|| catalog.plan_gc(&all()).unwrap()));
    group.bench_function("catalog_evicts_none", |b| b.iter(|| catalog.plan_gc(&GcPolicy::default()).unwrap()));
    // A plan has to know what exists: it looks at each file of the store once.
    group.bench_function("control_stat_all", |b| b.iter(|| stat_all(folder.path())));
    group.finish();
}

fn sweep(c: &mut Criterion, files: &[PathBuf]) {
    let mut group = c.benchmark_group(format!("gc/sweep_{}", files.len()));
    group.throughput(Throughput::Elements(files.len() as u64)).sampling_mode(SamplingMode::Flat);
    group.bench_function("catalog", |b| {
        b.iter_custom(|rounds| {
            let round = || {
                let (_folder, catalog, plan) = planned(files);
                let start = Instant::now();
                assert_eq!(catalog.execute_gc(&plan).unwrap().entries, files.len() as u64);
                start.elapsed()
            };
            (0..rounds).map(|_| round()).sum()
        });
    });
    // The same files are removed, durably.
    group.bench_function("control_remove_all_sync", |b| {
        b.iter_custom(|rounds| {
            let round = || {
                let (folder, _catalog) = filled(files);
                let start = Instant::now();
                std::fs::remove_dir_all(folder.path().join("root")).unwrap();
                support::sync_all(folder.path());
                start.elapsed()
            };
            (0..rounds).map(|_| round()).sum()
        });
    });
    group.finish();
}

/// The bytes of all files below a folder.
fn stat_all(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => stat_all(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    bytes.sum()
}

criterion_group! { name = benches; config = support::criterion(); targets = gc }
criterion_main!(benches);
