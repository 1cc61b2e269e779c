//! A full check of one blob in the page cache, compared with plain BLAKE3 on the same bytes, mapped and in memory, on
//! all cores; and with one SHA-256, as a check without the groups would need.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::hint::black_box;

use catalog_core::{Durability, FsCatalog, IngestMode, ModelRef, StageOptions, VerificationOutcome, VerifyOptions};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

const MIB: usize = 1 << 20;

fn verify(c: &mut Criterion) {
    for (name, size) in [("1MiB", MIB), ("64MiB", 64 * MIB), ("1GiB", 1024 * MIB)] {
        one_size(c, &format!("verify/{name}"), size);
    }
}

fn one_size(c: &mut Criterion, name: &str, size: usize) {
    let scratch = support::scratch();
    let file = support::files(scratch.path(), 0..1, size).pop().unwrap();
    // A check rewrites its outboard; with `Full`, it would wait for nothing more.
    let catalog = FsCatalog::new(scratch.path().join("root")).unwrap().with_durability(Durability::Relaxed);
    let options = StageOptions::default().with_id(Some("m".into())).with_mode(IngestMode::Move);
    let blob = catalog.stage(&ModelRef::File { path: file }, &options).unwrap().local_path;
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(size as u64));
    if size > 16 * MIB {
        group.sampling_mode(SamplingMode::Flat);
    }
    group.bench_function("catalog", |b| {
        b.iter(|| {
            let report = catalog.verify("m", &VerifyOptions::default()).unwrap();
            assert!(matches!(report.outcome, VerificationOutcome::Pass { .. }));
        });
    });
    group.bench_function("control_blake3_mapped", |b| {
        b.iter(|| black_box(blake3::Hasher::new().update_mmap_rayon(&blob).unwrap().finalize()));
    });
    let bytes = std::fs::read(&blob).unwrap();
    group.bench_function("control_blake3_in_memory", |b| {
        b.iter(|| black_box(blake3::Hasher::new().update_rayon(black_box(&bytes)).finalize()));
    });
    drop(bytes);
    group.bench_function("control_sha2", |b| b.iter(|| support::sha256_of(black_box(&blob))));
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = verify }
criterion_main!(benches);
