//! What a tool claims that a file is, and whether it is.

use super::{Claim, FoundFile};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::git_blob::GitBlobHasher;
use crate::hash::{Hasher, read_all};

/// The SHA-256 that the tool names, without a look at the file.
pub(super) fn named(file: &FoundFile) -> Option<Digest> {
    match file.claim? {
        Claim::Sha256(digest) => Some(digest),
        Claim::GitBlobSha1(_) => None,
    }
}

/// The SHA-256 that the file must have when it is ingested. If the tool names another hash, the file is read now and
/// checked against that: other bytes are an error.
pub(super) fn expected(file: &FoundFile) -> Result<Option<Digest>> {
    let Some(Claim::GitBlobSha1(named)) = file.claim else { return Ok(self::named(file)) };
    let source = Foreign::open_real(&file.source)?;
    let (mut git, mut sha256) = (GitBlobHasher::new(source.before().size_bytes), Hasher::default());
    read_all(&mut source.file(), source.before().size_bytes, |bytes| {
        git.update(bytes);
        sha256.update(bytes);
    })
    .map_err(|e| source.fail("read", e))?;
    let actual = git.finish();
    if actual != named {
        // If it was being written to, it is not damaged.
        source.stamp_after()?;
        let (named, actual) = (hex::encode(named), hex::encode(actual));
        return Err(Error::DamagedCache { path: file.source.clone(), named, actual });
    }
    Ok(Some(sha256.finish()))
}
