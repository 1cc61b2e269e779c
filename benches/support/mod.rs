//! What the benches share: files to work on, and the plain work that a store cannot avoid.
#![allow(dead_code)] // each bench uses a part of it

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use tempfile::TempDir;

/// Short runs: the whole of `cargo bench` is to fit into three minutes.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

/// A folder on the file system of the build, removed when it is dropped.
pub(crate) fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Bytes that no two numbers share, and that nothing on the way can compress or leave out.
pub(crate) fn bytes(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Files of `len` bytes, no two alike, in the page cache and on the disk.
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

/// Waits until a change to what was written last would show in its modification time: until then nobody may take it
/// for unchanged.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Reads a file to its end and hands on what was read.
pub(crate) fn read(path: &Path, mut each: impl FnMut(&[u8])) {
    // One for each thread: asking the system for a new one costs more than reading a small file.
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

/// The plain SHA-256 of a file.
pub(crate) fn sha256_of(path: &Path) -> [u8; 32] {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    read(path, |bytes| hasher.update(bytes));
    hasher.finalize().into()
}

/// The plain durable copy of a file.
pub(crate) fn copy_and_sync(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    File::open(to).unwrap().sync_all().unwrap();
}

/// One flush of the whole file system.
#[cfg(target_os = "linux")]
pub(crate) fn sync_all(folder: &Path) {
    rustix::fs::syncfs(File::open(folder).unwrap()).unwrap();
}

/// There is nothing of the kind elsewhere: there, the figures of the batches' controls mean little.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sync_all(_folder: &Path) {}

/// The plain durable replacement of a small file: write, sync, rename, sync the folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    let temp = path.with_extension("tmp");
    let mut file = File::create(&temp).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    std::fs::rename(&temp, path).unwrap();
    File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
}
