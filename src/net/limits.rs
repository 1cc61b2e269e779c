//! What a policy requires of a file before any byte of it is fetched.

use crate::error::Refused;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) max_file_bytes: Option<u64>,
    pub(super) digest_required: bool,
}

impl Limits {
    /// The combined requirements of two policies.
    pub(super) fn and(self, other: Limits) -> Limits {
        Limits {
            max_file_bytes: self.max_file_bytes.into_iter().chain(other.max_file_bytes).min(),
            digest_required: self.digest_required || other.digest_required,
        }
    }

    pub(super) fn check(self, size_bytes: u64, has_digest: bool) -> Result<(), Refused> {
        match self.max_file_bytes {
            Some(limit_bytes) if size_bytes > limit_bytes => Err(Refused::FileTooLarge { size_bytes, limit_bytes }),
            _ if self.digest_required && !has_digest => Err(Refused::NoDigest),
            _ => Ok(()),
        }
    }
}
