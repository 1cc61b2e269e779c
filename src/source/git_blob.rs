//! A small file of a git repository. Its hash is one over all of it, so nothing of it is given out before all of it was checked.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sha1::{Digest as _, Sha1};

use super::{Expected, RemoteFile, RemoteReader, Source};
use crate::error::{Error, NetError, Result};
use crate::net::{Client, shown_text};
use crate::observer::Observer;
use crate::read_at::ReadAt;

/// A larger file is held in memory by nobody: the Hub has it in LFS, under its SHA-256.
const LIMIT_BYTES: u64 = 64 << 20;

/// After wrong bytes, once more: what was wrong may have been a proxy or a cache on the way.
const TIMES: u32 = 2;

/// A file whose source names its git blob SHA-1. The first read fetches and checks all of it, and the others are from memory,
/// until as many bytes were read as it has: what is brought in once is not held for as long as a whole repository takes.
pub struct GitBlobReader {
    inner: RemoteReader,
    url: String,
    expected: [u8; 20],
    checked: Mutex<Checked>,
}

#[derive(Default)]
struct Checked {
    bytes: Vec<u8>,
    /// So many are still to be read. 0: nothing is held.
    left_bytes: usize,
}

impl std::fmt::Debug for GitBlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitBlobReader").field("url", &self.url).finish_non_exhaustive()
    }
}

impl GitBlobReader {
    /// Reads a file of `source`, of which [`Expected::GitBlobSha1`] is expected. An error if it is larger than 64 MiB.
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

    /// Fetches all of it, and checks it.
    fn fetch(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.inner.size_bytes()).map_err(io::Error::other)?];
        let mut found = [0; 20];
        for _ in 0..TIMES {
            self.inner.read_exact_at(0, &mut bytes)?;
            found = git_blob_sha1(&bytes);
            if found == self.expected {
                return Ok(bytes);
            }
            tracing::warn!(url = self.url, "its bytes are not the git blob that was named");
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
        // Held meanwhile: whoever else reads waits for the same bytes.
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

/// As `git hash-object` has it.
fn git_blob_sha1(bytes: &[u8]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says() {
        assert_eq!(hex::encode(git_blob_sha1(b"")), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(hex::encode(git_blob_sha1(b"what is up, doc?")), "bd9dbf5aae1a3862dd1526723246b20206e5fc37");
    }
}
