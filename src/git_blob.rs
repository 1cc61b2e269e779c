//! The hash that git names a file by.

use sha1::{Digest as _, Sha1};

/// Computes the hash like `git hash-object`, over bytes that come in pieces.
pub(crate) struct GitBlobHasher(Sha1);

impl GitBlobHasher {
    /// Begins with the size of the whole file.
    pub(crate) fn new(size_bytes: u64) -> Self {
        let mut hasher = Sha1::new();
        hasher.update(format!("blob {size_bytes}\0"));
        GitBlobHasher(hasher)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 20] {
        self.0.finalize().into()
    }
}

/// Computes the hash of bytes in memory.
pub(crate) fn git_blob_sha1(bytes: &[u8]) -> [u8; 20] {
    let mut hasher = GitBlobHasher::new(bytes.len() as u64);
    hasher.update(bytes);
    hasher.finish()
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
