//! What the benches share: files to work on, and the plain work that a store cannot avoid.
#![allow(dead_code)] // each bench uses some of it

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use tempfile::TempDir;

/// Short runs: all of `cargo bench` is meant to take three minutes.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

/// A folder on the build's file system, removed when it is dropped.
pub(crate) fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Bytes that differ for each number, and that nothing on the way can compress or skip.
pub(crate) fn bytes(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Files of `len` bytes, all different, in the page cache and on disk.
pub(crate) fn files(folder: &Path, numbers: Range<usize>, len: usize) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).unwrap();
    let write = |number| {
        let path = folder.join(format!("{number:04}.gguf"));
        std::fs::write(&path, bytes(number as u64, len)).unwrap();
        path
    };
    let paths = numbers.map(write).collect();
    sync_all(folder);
    paths
}

/// Waits until a further change would show in the modification time of the files written last: before that, nobody may
/// take them for unchanged.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Reads a file to its end and passes on what it reads.
pub(crate) fn read(path: &Path, mut each: impl FnMut(&[u8])) {
    // One buffer for each thread: allocating a new one costs more than reading a small file.
    thread_local! { static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 1 << 20]); }
    BUFFER.with_borrow_mut(|buffer| {
        let mut file = File::open(path).unwrap();
        loop {
            match file.read(buffer).unwrap() {
                0 => return,
                n => each(&buffer[..n]),
            }
        }
    });
}

/// Plain SHA-256 of a file.
pub(crate) fn sha256_of(path: &Path) -> [u8; 32] {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    read(path, |bytes| hasher.update(bytes));
    hasher.finalize().into()
}

/// A plain durable copy of a file.
pub(crate) fn copy_and_sync(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    File::open(to).unwrap().sync_all().unwrap();
}

/// One flush of the whole file system.
#[cfg(target_os = "linux")]
pub(crate) fn sync_all(folder: &Path) {
    rustix::fs::syncfs(File::open(folder).unwrap()).unwrap();
}

/// Other systems have no such call: there, the figures of the batches' controls mean little.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sync_all(_folder: &Path) {}

/// A plain durable replacement of a small file: write, sync, rename, sync the folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    let temp = path.with_extension("tmp");
    let mut file = File::create(&temp).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    std::fs::rename(&temp, path).unwrap();
    File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
}
