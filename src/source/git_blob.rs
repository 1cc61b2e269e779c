//! A small file of a git repository. Its hash covers the whole file, so no byte is returned before the whole file was
//! checked.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Expected, RemoteFile, RemoteReader, Source};
use crate::error::{Error, NetError, Result};
use crate::git_blob::git_blob_sha1;
use crate::net::{Client, shown_text};
use crate::observer::Observer;
use crate::read_at::ReadAt;

/// The limit for files that are held in memory. The Hub stores larger ones in LFS, with their SHA-256.
const LIMIT_BYTES: u64 = 64 << 20;

/// After wrong bytes, fetch once more: a proxy or a cache on the way may have caused them.
const TIMES: u32 = 2;

/// A file whose source names its git blob SHA-1. The first read fetches and checks the whole file. Later reads come
/// from memory until as many bytes were read as the file has; then its memory is freed, so that a whole repository need
/// not fit.
pub struct GitBlobReader {
    inner: RemoteReader,
    url: String,
    expected: [u8; 20],
    checked: Mutex<Checked>,
}

#[derive(Default)]
struct Checked {
    bytes: Vec<u8>,
    /// How many bytes are still to be read. 0: nothing is held.
    left_bytes: usize,
}

impl std::fmt::Debug for GitBlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitBlobReader").field("url", &self.url).finish_non_exhaustive()
    }
}

impl GitBlobReader {
    /// Creates a reader for a file of `source` with [`Expected::GitBlobSha1`]. Fails if the file is larger than 64 MiB.
    pub fn new(source: Arc<dyn Source>, file: RemoteFile, client: Client, observer: Arc<dyn Observer>) -> Result<Self> {
        let url = shown_text(&file.url);
        let fail = |source| Err(Error::Net { url: url.clone(), source });
        let Expected::GitBlobSha1(expected) = file.expected else {
            return fail(NetError::malformed("no git blob is named for it"));
        };
        if file.size_bytes.is_some_and(|size| size > LIMIT_BYTES) {
            return fail(NetError::TooLarge { what: "a file that is not in LFS", limit_bytes: LIMIT_BYTES });
        }
        let inner = RemoteReader::new(source, file, client, observer)?;
        Ok(GitBlobReader { inner, url, expected, checked: Mutex::default() })
    }

    /// Fetches the whole file, and checks it.
    fn fetch(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.inner.size_bytes()).map_err(io::Error::other)?];
        let mut found = [0; 20];
        for _ in 0..TIMES {
            self.inner.read_exact_at(0, &mut bytes)?;
            found = git_blob_sha1(&bytes);
            if found == self.expected {
                return Ok(bytes);
            }
            tracing::warn!(url = self.url, "the bytes are not those of the expected git blob");
        }
        let source = NetError::WrongGitBlob { expected: hex::encode(self.expected), found: hex::encode(found) };
        Err(io::Error::other(Error::Net { url: self.url.clone(), source }))
    }
}

impl ReadAt for GitBlobReader {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        // Hold the lock during the fetch: other readers wait for the same bytes.
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.left_bytes == 0 {
            let bytes = self.fetch()?;
            *checked = Checked { left_bytes: bytes.len(), bytes };
        }
        let start = usize::try_from(offset).ok();
        let part = start.and_then(|start| checked.bytes.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        checked.left_bytes = checked.left_bytes.saturating_sub(buffer.len());
        if checked.left_bytes == 0 {
            *checked = Checked::default();
        }
        Ok(())
    }
}
