//! Staging, compared with the plain work that it cannot avoid: copying, syncing and hashing the same bytes.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catalog_core::{
    CatalogEntry, CatalogStore, Durability, FsCatalog, IngestMode, LifecycleState, ModelRef, StageOptions,
};
use criterion::{Bencher, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

fn reference(path: &Path) -> ModelRef {
    ModelRef::File { path: path.to_path_buf() }
}

fn options(id: &str, mode: IngestMode) -> StageOptions {
    StageOptions::default().with_id(Some(id.to_owned())).with_mode(mode)
}

/// Times only `work`, on what `prepare` makes in a new folder each time. The folder is kept below `kept`, or removed at
/// once. Everything written earlier is synced before the clock starts.
fn timed<T>(b: &mut Bencher<'_>, kept: Option<&Path>, prepare: impl Fn(&Path) -> T, work: impl Fn(&T)) {
    b.iter_custom(|rounds| {
        let mut elapsed = Duration::ZERO;
        for _ in 0..rounds {
            let mut folder = kept.map_or_else(support::scratch, |kept| TempDir::new_in(kept).unwrap());
            folder.disable_cleanup(kept.is_some());
            let prepared = prepare(folder.path());
            support::sync_all(folder.path());
            let start = Instant::now();
            work(&prepared);
            elapsed += start.elapsed();
        }
        elapsed
    });
}

fn in_a_new_folder(b: &mut Bencher<'_>, kept: Option<&Path>, work: impl Fn(&PathBuf)) {
    timed(b, kept, Path::to_path_buf, work);
}

fn in_a_new_catalog(b: &mut Bencher<'_>, kept: Option<&Path>, work: impl Fn(&FsCatalog)) {
    timed(b, kept, |folder| FsCatalog::new(folder).unwrap(), work);
}

/// After many files were removed, ext4 searches long for a free inode for some minutes, so the cleanup after one
/// measurement would slow down the next. The measurements with many files therefore come first, and are cleaned up at
/// the end.
fn stage(c: &mut Criterion) {
    let scratch = support::scratch();
    tree(c, scratch.path());
    many(c, scratch.path());
    one_file(c);
    outboard(c);
    unchanged(c);
}

/// The cost of computing the BLAKE3 groups on the way: with them, and without. There is no sync, whose time would hide
/// it. The largest size takes a minute and 6 GiB of disk, so it only runs on request.
fn outboard(c: &mut Criterion) {
    let is_large_wanted = std::env::var_os("CATALOG_BENCH_LARGE").is_some();
    for (name, size) in [("16MiB", 16 * MIB), ("256MiB", 256 * MIB), ("2GiB", 2048 * MIB)] {
        if size > 1024 * MIB && !is_large_wanted {
            continue;
        }
        let source = support::scratch();
        let file = support::files(source.path(), 0..1, size).pop().unwrap();
        let mut group = c.benchmark_group(format!("stage/outboard_{name}"));
        group.throughput(Throughput::Bytes(size as u64)).sampling_mode(SamplingMode::Flat);
        for (name, defer_outboard) in [("catalog_with_outboard", false), ("control_deferred", true)] {
            let options = options("m", IngestMode::Copy).with_defer_outboard(defer_outboard);
            let open = |folder: &Path| FsCatalog::new(folder).unwrap().with_durability(Durability::Relaxed);
            group.bench_function(name, |b| {
                timed(b, None, open, |catalog| drop(catalog.stage(&reference(&file), &options).unwrap()));
            });
        }
        group.finish();
    }
}

/// One large file, always without a reflink: that would be another measurement.
fn one_file(c: &mut Criterion) {
    const SIZE: usize = 256 * MIB;
    let source = support::scratch();
    let file = support::files(source.path(), 0..1, SIZE).pop().unwrap();
    let mut group = c.benchmark_group("stage/256MiB");
    group.throughput(Throughput::Bytes(SIZE as u64)).sampling_mode(SamplingMode::Flat);
    group.bench_function("catalog_copy", |b| {
        in_a_new_catalog(b, None, |catalog| {
            drop(catalog.stage(&reference(&file), &options("m", IngestMode::Copy)).unwrap());
        });
    });
    group.bench_function("control_copy_sync_then_sha2", |b| {
        in_a_new_folder(b, None, |folder| {
            support::copy_and_sync(&file, &folder.join("copy"));
            black_box(support::sha256_of(&folder.join("copy")));
        });
    });
    group.bench_function("control_copy_sync", |b| {
        in_a_new_folder(b, None, |folder| support::copy_and_sync(&file, &folder.join("copy")));
    });
    group.bench_function("control_sha2", |b| b.iter(|| support::sha256_of(black_box(&file))));

    // The same bytes under other names: nothing is stored again.
    let root = support::scratch();
    let catalog = FsCatalog::new(root.path()).unwrap();
    catalog.stage(&reference(&file), &options("first", IngestMode::Copy)).unwrap();
    let mut number = 0;
    group.bench_function("catalog_dedupe", |b| {
        b.iter_custom(|rounds| {
            let start = Instant::now();
            for _ in 0..rounds {
                number += 1;
                let options = options(&format!("again-{number}"), IngestMode::Copy);
                assert!(catalog.stage(&reference(&file), &options).unwrap().deduplicated);
            }
            start.elapsed()
        });
    });
    group.finish();
}

/// A file that has not changed since it was staged: nothing is read, whatever its size.
fn unchanged(c: &mut Criterion) {
    let scratch = support::scratch();
    let file = support::files(&scratch.path().join("source"), 0..1, MIB).pop().unwrap();
    support::settle();
    let catalog = FsCatalog::new(scratch.path().join("root")).unwrap();
    catalog.stage(&reference(&file), &options("m", IngestMode::Auto)).unwrap();
    support::settle();
    let mut group = c.benchmark_group("stage/unchanged");
    group.bench_function("catalog", |b| {
        b.iter(|| {
            let receipt = catalog.stage(&reference(&file), &options("m", IngestMode::Auto)).unwrap();
            assert_eq!(receipt.mode.as_str(), "unchanged");
        });
    });
    // At the least, each needs a look: the source, the blob, the file with its stamp, the view and the shard.
    group.bench_function("control_five_stats", |b| b.iter(|| (0..5).for_each(|_| drop(std::fs::metadata(&file)))));
    group.finish();
}

/// Many small files in one call.
fn many(c: &mut Criterion, scratch: &Path) {
    const COUNT: usize = 2_000;
    const SAMPLE: usize = 50;
    const SIZE: usize = 10_000;
    let source = support::scratch();
    let files = support::files(source.path(), 0..COUNT, SIZE);
    let items: Vec<(ModelRef, StageOptions)> =
        files.iter().map(|file| (reference(file), options(&file.display().to_string(), IngestMode::Copy))).collect();
    let mut group = c.benchmark_group("stage/2000x10KB");
    group.throughput(Throughput::Elements(COUNT as u64)).sampling_mode(SamplingMode::Flat);
    group.bench_function("catalog_stage_many", |b| {
        in_a_new_catalog(b, Some(scratch), |catalog| {
            catalog.stage_many(&items).into_iter().for_each(|result| drop(result.unwrap()));
        });
    });
    group.bench_function("control_copy_all_sha2_sync_once", |b| {
        in_a_new_folder(b, Some(scratch), |folder| copy_all(source.path(), &files, folder));
    });
    // A sample of them, with one durable call each: by the store, and by hand.
    group.throughput(Throughput::Elements(SAMPLE as u64));
    group.bench_function("catalog_put_each_of_50", |b| {
        in_a_new_catalog(b, Some(scratch), |catalog| {
            for file in &files[..SAMPLE] {
                let entry = CatalogEntry {
                    id: file.display().to_string(),
                    local_path: file.clone(),
                    lifecycle: LifecycleState::Active,
                    digest: None,
                    last_verified_ms: None,
                };
                catalog.put(&entry).unwrap();
            }
        });
    });
    group.bench_function("control_copy_sync_sha2_each_of_50", |b| {
        in_a_new_folder(b, Some(scratch), |folder| {
            for file in &files[..SAMPLE] {
                let copy = folder.join(file.file_name().unwrap());
                support::copy_and_sync(file, &copy);
                black_box(support::sha256_of(&copy));
            }
            std::fs::File::open(folder).unwrap().sync_all().unwrap();
        });
    });
    group.finish();
}

/// A directory as one artifact.
fn tree(c: &mut Criterion, scratch: &Path) {
    const FOLDERS: [&str; 4] = ["", "sub", "sub/folder", "tokenizer"];
    const EACH: usize = 50;
    const COUNT: usize = FOLDERS.len() * EACH;
    const SIZE: usize = 100_000;
    let source = support::scratch();
    let folders = FOLDERS.iter().zip((0..).step_by(EACH));
    let files: Vec<PathBuf> = folders
        .flat_map(|(folder, first)| support::files(&source.path().join(folder), first..first + EACH, SIZE))
        .collect();
    let mut group = c.benchmark_group("stage/tree_200x100KB");
    group.throughput(Throughput::Bytes((COUNT * SIZE) as u64)).sampling_mode(SamplingMode::Flat);
    group.bench_function("catalog", |b| {
        in_a_new_catalog(b, Some(scratch), |catalog| {
            drop(catalog.stage(&reference(source.path()), &options("m", IngestMode::Copy)).unwrap());
        });
    });
    group.bench_function("control_copy_all_sha2_sync_once", |b| {
        in_a_new_folder(b, Some(scratch), |folder| copy_all(source.path(), &files, folder));
    });
    group.finish();
}

/// Copies and hashes files on all cores, then makes them all durable at once.
fn copy_all(source: &Path, files: &[PathBuf], to: &Path) {
    files.par_iter().for_each(|file| {
        let copy = to.join(file.strip_prefix(source).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(file, &copy).unwrap();
        black_box(support::sha256_of(&copy));
    });
    support::sync_all(to);
}

criterion_group! { name = benches; config = support::criterion(); targets = stage }
criterion_main!(benches);
