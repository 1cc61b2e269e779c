//! Signatures of models, and bills of materials.

use super::{FsCatalog, Key};
use crate::attest::{self, BomOptions, PrivateKey, SignatureOptions, SignatureReport};
use crate::entry::Record;
use crate::error::Result;

/// Signatures of models, by OpenSSF Model Signing 1.0, and bills of materials, by CycloneDX 1.6.
impl FsCatalog {
    /// Signs the files of an entry, by the digests that the catalog has. Like
    /// [`resolve`](FsCatalog::resolve), it reads them only if one has changed since it was staged. Returns the signature: a Sigstore
    /// bundle, which `model_signing verify key` reads, too.
    ///
    /// A signature covers every file of a tree except `model.sig`, `.gitattributes`, `.gitignore` and what is below
    /// `.git` and `.github`, like one that PyPI `model-signing` makes. It covers no id and no name of the model: a good
    /// signature of an older model stays good.
    pub fn sign<'a>(&self, key: impl Into<Key<'a>>, with: &PrivateKey) -> Result<Vec<u8>> {
        attest::sign(&self.store, &self.usable(key)?, with)
    }

    /// Verifies the signature of an entry against the digests that the catalog has. First checks like
    /// [`resolve`](FsCatalog::resolve) that the files are still those that were staged; it reads them only if one has
    /// changed since.
    ///
    /// If it holds, the record of the entry says so from now on ([`Record::attested`](crate::Record::attested)), and keeps the
    /// bundle; on a read-only root, it is only verified. This is how an entry that was here before a rule is accepted.
    ///
    /// The error satisfies [`is_corrupt`](crate::Error::is_corrupt) if another key has signed, if a file differs, is
    /// missing or is not signed, or if the bundle is none.
    pub fn verify_signature<'a>(&self, key: impl Into<Key<'a>>, options: &SignatureOptions) -> Result<SignatureReport> {
        attest::verify_signature(&self.store, &self.usable(key)?, options)
    }

    /// The bill of materials of an entry: JSON of CycloneDX 1.6, with the model as `metadata.component` and the files of
    /// a tree as `components`. First checks like [`resolve`](FsCatalog::resolve) that the files are still those that
    /// were staged. Reads headers, and no weights.
    ///
    /// It is the same, byte for byte, for the same content under the same id in any root, unless a time is asked for.
    pub fn bom<'a>(&self, key: impl Into<Key<'a>>, options: &BomOptions) -> Result<String> {
        attest::bom(&self.store, &self.usable(key)?, options)
    }

    fn usable<'a>(&self, key: impl Into<Key<'a>>) -> Result<Record> {
        let record = self.store.require(&key.into().id(&self.store)?)?;
        self.store.ensure_here(&record)?;
        Ok(record)
    }
}
