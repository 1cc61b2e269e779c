//! Digests of many files at once, for `catalog hash`.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use serde::{Deserialize, Serialize, Serializer};

use super::buffers::{Buffers, fill};
use super::file_stream::FileStream;
use super::streams::{Stream, digest_streams};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::meta_of_path;
use crate::fs::source::Foreign;
use crate::json::lossy;
use crate::observer::{Event, Observer};
use crate::sum::SumBytes;
use crate::threads::ready_for_rayon;
use crate::words::words;

/// What [`hash_files`] computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HashFunction {
    /// SHA-256, which names blobs.
    #[default]
    Sha256,
    /// BLAKE3, which is faster.
    Blake3,
}

words!(HashFunction, "hash function", { Sha256 => "sha256", Blake3 => "blake3" });

/// The hash of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct FileHash {
    /// The path as it was given.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub path: PathBuf,
    /// Its hash.
    #[serde(rename = "digest")]
    pub value: HashValue,
    /// How many bytes were hashed.
    pub size_bytes: u64,
}

impl FileHash {
    pub(super) fn new(path: &Path, value: HashValue, size_bytes: u64) -> Self {
        FileHash { path: path.to_path_buf(), value, size_bytes }
    }
}

/// A hash by one of the functions, written as the function's name, a colon and 64 lowercase hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashValue {
    /// By SHA-256.
    Sha256(Digest),
    /// By BLAKE3.
    Blake3([u8; 32]),
}

impl HashValue {
    /// The function.
    #[must_use]
    pub fn function(&self) -> HashFunction {
        match self {
            HashValue::Sha256(_) => HashFunction::Sha256,
            HashValue::Blake3(_) => HashFunction::Blake3,
        }
    }

    /// The digest that names a blob of this content; `None` for a function that names no blobs.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            HashValue::Sha256(digest) => Some(*digest),
            HashValue::Blake3(_) => None,
        }
    }

    /// 64 lowercase hex digits, without the function.
    #[must_use]
    pub fn to_hex(&self) -> String {
        match self {
            HashValue::Sha256(digest) => digest.to_hex(),
            HashValue::Blake3(bytes) => hex::encode(bytes),
        }
    }
}

impl fmt::Display for HashValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.function(), self.to_hex())
    }
}

impl Serialize for HashValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "schema")]
crate::json::schema_of_text!(HashValue, "A digest, with its function.", "^(sha256|blake3):[0-9a-f]{64}$");

impl From<blake3::Hash> for HashValue {
    fn from(hash: blake3::Hash) -> Self {
        HashValue::Blake3(hash.into())
    }
}

/// Options of [`hash_files`] and [`hash_tree`](crate::hash_tree).
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HashOptions {
    /// Receives progress events.
    pub observer: Option<Arc<dyn Observer>>,
    /// Cancels the work: each file whose hash is not yet known is then an error.
    pub cancel: Option<Cancel>,
    /// [`hash_tree`](crate::hash_tree) also takes files outside the directory that symlinks lead to.
    pub follow_links: bool,
}

impl HashOptions {
    /// Sets [`observer`](HashOptions::observer).
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Sets [`cancel`](HashOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Sets [`follow_links`](HashOptions::follow_links).
    #[must_use]
    pub fn with_follow_links(mut self, follow_links: bool) -> Self {
        self.follow_links = follow_links;
        self
    }

    fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            observer.on(event);
        }
    }

    /// Reports that bytes of one of the files were hashed. An error if the work was cancelled.
    pub(super) fn advanced(&self, path: &Path, bytes: u64) -> Result<()> {
        if bytes > 0 {
            self.tell(&Event::Advanced { bytes });
        }
        let what = || format!("hashing {}", path.display());
        self.cancel.as_ref().map_or(Ok(()), |cancel| cancel.check(what))
    }
}

impl fmt::Debug for HashOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashOptions").finish_non_exhaustive()
    }
}

/// Hashes files on all cores, several at once per core if there are many. Returns one result per path, in the same
/// order. Symlinks are followed.
///
/// The files are read, never mapped, because their owner may shrink them at any time. If a file is written to while it
/// is read, its result is the hash of the bytes that were read.
///
/// ```
/// use catalog_core::{HashFunction, HashOptions, hash_files};
///
/// for hash in hash_files(&["Cargo.toml"], HashFunction::Sha256, &HashOptions::default()) {
///     let hash = hash?;
///     println!("{}  {}", hash.value.to_hex(), hash.path.display());
/// }
/// # Ok::<(), catalog_core::Error>(())
/// ```
pub fn hash_files(
    paths: &[impl AsRef<Path> + Sync],
    function: HashFunction,
    options: &HashOptions,
) -> Vec<Result<FileHash>> {
    let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    // A path that cannot be looked at becomes an error when its turn comes.
    let sizes: Vec<u64> = paths.iter().map(|path| meta_of_path(path).map_or(0, |meta| meta.size_bytes)).collect();
    let what = match paths.as_slice() {
        [one] => one.display().to_string(),
        many => format!("{} files", many.len()),
    };
    let bytes_total = sizes.iter().sum_bytes();
    options.tell(&Event::Started { what: &what, bytes_total });
    let hashes = match function {
        HashFunction::Sha256 => sha256(&paths, &sizes, options),
        HashFunction::Blake3 => blake3(&paths, &sizes, options),
    };
    options.tell(&Event::Finished);
    hashes
}

/// A file as a stream, and where its result belongs.
struct Numbered<'a>(FileStream<'a>, &'a OnceLock<Result<FileHash>>);

impl Stream for Numbered<'_> {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn advance(&mut self) -> Result<()> {
        self.0.advance()
    }

    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

fn sha256(paths: &[&Path], sizes: &[u64], options: &HashOptions) -> Vec<Result<FileHash>> {
    let buffers = Buffers::default();
    let results: Vec<_> = paths.iter().map(|_| OnceLock::new()).collect();
    let files = paths.iter().zip(sizes).map(|(path, size)| FileStream::new(path, *size, &buffers, options));
    let streams = files.zip(&results).map(|(file, result)| Numbered(file, result)).collect();
    digest_streams(streams, |Numbered(file, result), digest| {
        result.get_or_init(|| digest.map(|digest| file.hash(HashValue::Sha256(digest))));
    });
    results.into_iter().map(|result| result.into_inner().expect("each stream is told of once")).collect()
}

fn blake3(paths: &[&Path], sizes: &[u64], options: &HashOptions) -> Vec<Result<FileHash>> {
    if let ([path], [size]) = (paths, sizes)
        && *size >= LARGE_BYTES
    {
        return vec![blake3_of_large(path, options)];
    }
    ready_for_rayon();
    let buffers = Buffers::default();
    let files = paths.par_iter().zip(sizes).map(|(path, size)| FileStream::new(path, *size, &buffers, options));
    files.map(blake3_of).collect()
}

fn blake3_of(mut file: FileStream<'_>) -> Result<FileHash> {
    let mut hasher = blake3::Hasher::new();
    loop {
        file.advance()?;
        if file.bytes().is_empty() {
            return Ok(file.hash(hasher.finalize().into()));
        }
        hasher.update(file.bytes());
    }
}

/// A single file of at least this size is hashed on all cores.
const LARGE_BYTES: u64 = 8 << 20;

/// How much of such a file one read gets.
const PART_BYTES: usize = 2 << 20;

fn blake3_of_large(path: &Path, options: &HashOptions) -> Result<FileHash> {
    let file = Foreign::open(path)?;
    let mut size_bytes = 0;
    let advanced = |bytes| {
        size_bytes += bytes;
        options.advanced(path, bytes)
    };
    let hash = blake3_ahead(&mut file.file(), |e| file.fail("read", e), advanced)?;
    Ok(FileHash::new(path, hash.into(), size_bytes))
}

/// Hashes one part on all cores while the next is read. It calls `advanced` after each part, which may end it with an
/// error.
fn blake3_ahead(
    file: &mut (impl Read + Send),
    fail: impl Fn(io::Error) -> Error,
    mut advanced: impl FnMut(u64) -> Result<()>,
) -> Result<blake3::Hash> {
    ready_for_rayon();
    let mut hasher = blake3::Hasher::new();
    let (mut part, mut next) = (vec![0; PART_BYTES], vec![0; PART_BYTES]);
    let mut filled = fill(file, &mut part).map_err(&fail)?;
    while filled > 0 {
        let bytes = part.get(..filled).unwrap_or_default();
        let (read, _) = rayon::join(|| fill(file, &mut next), || hasher.update_rayon(bytes).count());
        advanced(filled as u64)?;
        filled = read.map_err(&fail)?;
        std::mem::swap(&mut part, &mut next);
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn hash(function: HashFunction, bytes: &[u8]) -> HashValue {
        match function {
            HashFunction::Sha256 => HashValue::Sha256(Digest::sha256_of(bytes)),
            HashFunction::Blake3 => HashValue::Blake3(*blake3::hash(bytes).as_bytes()),
        }
    }

    #[test]
    fn every_path_has_its_result_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = ["a", "missing", "b"].iter().map(|name| dir.path().join(name)).collect();
        std::fs::write(&paths[0], "").unwrap();
        std::fs::write(&paths[2], "abc").unwrap();
        let hashes = hash_files(&paths, HashFunction::Sha256, &HashOptions::default());
        assert_eq!(hashes[0].as_ref().unwrap().value.digest(), Some(Digest::sha256_of(b"")));
        assert!(hashes[1].as_ref().unwrap_err().is_not_found());
        assert_eq!(hashes[2].as_ref().unwrap().value.to_string(), Digest::sha256_of(b"abc").to_string());
        let hashes = hash_files(&paths[2..], HashFunction::Blake3, &HashOptions::default());
        let value = hashes[0].as_ref().unwrap().value;
        assert_eq!((value.to_string(), value.digest()), (format!("blake3:{}", blake3::hash(b"abc").to_hex()), None));
        for function in [HashFunction::Sha256, HashFunction::Blake3] {
            assert!(hash_files(&[dir.path()], function, &HashOptions::default())[0].is_err());
            assert!(hash_files(&[""; 0], function, &HashOptions::default()).is_empty());
        }
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>, AtomicU64);

    impl Observer for Told {
        fn on(&self, event: &Event<'_>) {
            match event {
                Event::Advanced { bytes } => drop(self.1.fetch_add(*bytes, Ordering::Relaxed)),
                other => self.0.lock().unwrap().push(format!("{other:?}")),
            }
        }
    }

    #[test]
    fn files_of_all_sizes_have_their_hashes_and_are_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [
            0,  // ends at once
            63, // less than a block
            4095,
            4096, // around the smallest buffer, which has room for one more byte
            (32 << 10) - 1,
            32 << 10,
            (32 << 10) + 1, // around a full buffer
            3 << 20,        // a buffer many times
        ];
        // More files than one thread has lanes; small ones after large ones, so that they reuse their buffers.
        let files: Vec<_> = (0..40).map(|i| (dir.path().join(i.to_string()), vec![i as u8; sizes[i % 8]])).collect();
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        let paths: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
        let total: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        for function in [HashFunction::Sha256, HashFunction::Blake3] {
            let told = Arc::new(Told::default());
            let hashes = hash_files(&paths, function, &HashOptions::default().with_observer(told.clone()));
            for (hashed, (path, bytes)) in hashes.into_iter().zip(&files) {
                assert_eq!(hashed.unwrap(), FileHash::new(path, hash(function, bytes), bytes.len() as u64));
            }
            let started = format!("Started {{ what: \"40 files\", bytes_total: {total} }}");
            assert_eq!(*told.0.lock().unwrap(), [started.as_str(), "Finished"]);
            assert_eq!(told.1.load(Ordering::Relaxed), total as u64);
        }
    }

    #[test]
    fn a_large_file_has_its_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        for size in [LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 12_345] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            for function in [HashFunction::Sha256, HashFunction::Blake3] {
                let told = Arc::new(Told::default());
                let options = HashOptions::default().with_observer(told.clone());
                let hashed = hash_files(std::slice::from_ref(&path), function, &options).remove(0).unwrap();
                assert_eq!(hashed, FileHash::new(&path, hash(function, &bytes), size));
                assert_eq!(told.1.load(Ordering::Relaxed), size);
            }
        }
    }

    // Red when one of the three ways does not check for it: a large file by BLAKE3, files by BLAKE3, files by SHA-256.
    #[test]
    fn what_is_cancelled_has_no_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        std::fs::write(&path, vec![7; LARGE_BYTES as usize]).unwrap();
        let paths = vec![path; 9];
        for (paths, function) in [
            (&paths[..1], HashFunction::Blake3),
            (&paths[..], HashFunction::Blake3),
            (&paths[..], HashFunction::Sha256),
        ] {
            let cancel = Cancel::new();
            let told = {
                let cancel = cancel.clone();
                move |event: &Event<'_>| {
                    if matches!(event, Event::Advanced { .. }) {
                        cancel.cancel();
                    }
                }
            };
            let options = HashOptions::default().with_observer(told).with_cancel(cancel);
            for hash in hash_files(paths, function, &options) {
                assert!(hash.unwrap_err().is_cancelled(), "{function}");
            }
        }
    }

    // Red when an error counts as the end: the result would be the hash of the bytes before it.
    #[test]
    fn a_large_file_that_cannot_be_read_to_its_end_has_no_hash() {
        struct Bad;
        impl Read for Bad {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        for good in [0, 1, PART_BYTES as u64, 3 * PART_BYTES as u64] {
            let error = blake3_ahead(
                &mut io::repeat(7).take(good).chain(Bad),
                |e| Error::io("read", Path::new("bad"), e),
                |_| Ok(()),
            );
            assert_eq!(
                error.unwrap_err().to_string(),
                format!("could not read bad: {}", io::Error::from_raw_os_error(5))
            );
        }
    }
}
