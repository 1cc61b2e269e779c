//! `hash_files` on files in the page cache, compared with `sha2` on the same number of bytes in memory, and with only
//! reading the files. All use all cores; the two controls process one file at a time on each core.
//!
//! `CATALOG_HASH_KERNEL` chooses the kernel of `hash_files`; see docs/performance.md.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::hint::black_box;
use std::path::PathBuf;

use catalog_core::{HashFunction, HashOptions, hash_files};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use sha2::Digest as _;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn hash(c: &mut Criterion) {
    for (name, size, counts) in [
        ("4KiB", 4 * KIB, [1, 8, 64].as_slice()),
        ("1MiB", MIB, &[1, 8, 64]),
        ("32MiB", 32 * MIB, &[64]),   // the largest size of which 64 fit into 2 GiB
        ("64MiB", 64 * MIB, &[1, 8]), // 64 of them would be 4 GiB
        ("1GiB", 1024 * MIB, &[1]),
    ] {
        let scratch = support::scratch();
        let files = support::files(scratch.path(), 0..*counts.iter().max().unwrap(), size);
        for &count in counts {
            one_group(c, &format!("hash/{count}x{name}"), &files[..count], size);
        }
    }
}

fn one_group(c: &mut Criterion, name: &str, files: &[PathBuf], size: usize) {
    let mut group = c.benchmark_group(name);
    let total = files.len() * size;
    group.throughput(Throughput::Bytes(total as u64));
    if total > 16 * MIB {
        group.sampling_mode(SamplingMode::Flat);
    }
    group.bench_function("catalog_sha256", |b| {
        b.iter(|| hash_files(black_box(files), HashFunction::Sha256, &HashOptions::default()));
    });
    group.bench_function("catalog_blake3", |b| {
        b.iter(|| hash_files(black_box(files), HashFunction::Blake3, &HashOptions::default()));
    });
    // A part that stays in the processor's cache, as many times as needed: this measures SHA-256 and not memory.
    let part = support::bytes(0, size.min(MIB));
    group.bench_function("control_sha2_in_memory", |b| {
        b.iter(|| {
            files.par_iter().for_each(|_| {
                let mut hasher = sha2::Sha256::new();
                (0..size / part.len()).for_each(|_| hasher.update(black_box(&part)));
                black_box(hasher.finalize());
            });
        });
    });
    group.bench_function("control_read", |b| {
        b.iter(|| {
            files.par_iter().for_each(|file| {
                support::read(file, |bytes| {
                    black_box(bytes);
                });
            });
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = hash }
criterion_main!(benches);
