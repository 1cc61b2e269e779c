//! Verifies a signature.

use serde::Serialize;

use super::bundle::{self, Bundle, Method};
use super::check::{self, Files};
use super::keys::PublicKey;
use super::statement::{ONE_FILE, Signed};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::facts::{self, StoredFile};
use crate::layout;
use crate::store::Store;

/// Where a signature is in a tree by default.
pub(super) const IN_TREE: &str = "model.sig";

/// How a signature is verified.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignatureOptions {
    /// The key that must have signed. A signature names its key; this one decides.
    pub key: PublicKey,
    /// The bundle. `None`: the file `model.sig` of the model.
    pub signature: Option<Vec<u8>>,
    /// Accept files that the signature says nothing about.
    pub allow_unsigned_files: bool,
}

impl SignatureOptions {
    /// With this key, for the signature in the model.
    #[must_use]
    pub fn new(key: PublicKey) -> Self {
        SignatureOptions { key, signature: None, allow_unsigned_files: false }
    }

    /// Sets [`signature`](SignatureOptions::signature).
    #[must_use]
    pub fn with_signature(mut self, signature: Option<Vec<u8>>) -> Self {
        self.signature = signature;
        self
    }

    /// Sets [`allow_unsigned_files`](SignatureOptions::allow_unsigned_files).
    #[must_use]
    pub fn with_allow_unsigned_files(mut self, allow: bool) -> Self {
        self.allow_unsigned_files = allow;
        self
    }
}

/// A good signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SignatureReport {
    /// The entry's id.
    pub id: String,
    /// The digest of its content.
    pub digest: Digest,
    /// The fingerprint of the key: the SHA-256 of its PEM.
    pub key: Digest,
    /// Number of files that were signed.
    pub signed_files: u64,
    /// Files of the model that the signature says nothing about.
    pub unsigned_files: Vec<String>,
}

/// Verifies a signature over the digests of an entry; see
/// [`FsCatalog::verify_signature`](crate::FsCatalog::verify_signature).
pub(crate) fn verify_signature(store: &Store, record: &Record, options: &SignatureOptions) -> Result<SignatureReport> {
    let id = &record.entry.id;
    let bad = |reason: String| Error::BadSignature { id: id.clone(), reason };
    let digest = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered);
    let not_staged = || Error::NotStaged { id: id.clone(), path: record.entry.local_path.clone() };
    let digest = digest.ok_or_else(not_staged)?;
    let stored = facts::files(store, record)?;
    let (bytes, at) = match &options.signature {
        Some(bytes) => (bytes.clone(), None),
        None => {
            let own = stored.iter().find(|file| file.path == IN_TREE && record.kind == ArtifactKind::Tree);
            let own = own.ok_or_else(|| bad(format!("it has no file {IN_TREE}")))?;
            (read(store, own)?, Some(IN_TREE))
        }
    };
    let bundle = Bundle::parse(&bytes).map_err(bad)?;
    bundle.method.check_key(&options.key).map_err(bad)?;
    let payload = bundle.verified_by(&options.key).ok_or_else(|| bad("this key has not signed it".into()))?;
    let signed = Signed::parse(payload).map_err(bad)?;
    let files = names(record.kind, stored);
    let unsigned_files = check::check(&signed, &files, at, options.allow_unsigned_files).map_err(bad)?;
    let (key, signed_files) = (options.key.fingerprint(), signed.files.len() as u64);
    Ok(SignatureReport { id: id.clone(), digest, key, signed_files, unsigned_files })
}

/// The names that a signature has for these files.
pub(super) fn names(kind: ArtifactKind, stored: Vec<StoredFile>) -> Files {
    let name = |path: String| if kind == ArtifactKind::File { ONE_FILE.to_owned() } else { path };
    stored.into_iter().map(|file| (name(file.path), file.digest)).collect()
}

fn read(store: &Store, file: &StoredFile) -> Result<Vec<u8>> {
    let name = layout::blob(&file.digest);
    let missing = || store.root.fail("open", &name, std::io::ErrorKind::NotFound.into());
    store.root.read(&name, bundle::MAX_BYTES)?.ok_or_else(missing)
}

impl Method {
    /// Whether this key can have made the signature.
    fn check_key(&self, key: &PublicKey) -> Result<(), String> {
        match self {
            Method::Key(Some(hint)) if *hint != key.fingerprint().to_hex() => {
                Err(format!("the key sha256:{:.16} has signed it, and not this one", hint))
            }
            Method::Key(_) => Ok(()),
            Method::Certificates => Err("certificates vouch for it, and not a key".into()),
            Method::Sigstore => Err("Sigstore vouches for it, and not a key".into()),
        }
    }
}
