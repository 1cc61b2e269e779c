//! Verifies a signature.

use serde::Serialize;

use super::bundle::{self, Bundle};
use super::certificate::SigningCertificate;
use super::check::{self, Files, Unsigned};
use super::note;
use super::signer::{TrustedSigner, VerifiedIdentity, Voucher};
use super::statement::{ONE_FILE, Signed};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Attestation, Record, SigningMethod};
use crate::error::{Error, Result};
use crate::facts::{self, StoredFile};
use crate::fs::now_ms;
use crate::layout;
use crate::store::Store;

/// Where a signature is in a tree by default.
pub(crate) const IN_TREE: &str = "model.sig";

/// How a signature is verified.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignatureOptions {
    /// The signer that must have signed. A signature names its signer; this one decides.
    pub signer: TrustedSigner,
    /// The bundle. `None`: the file `model.sig` of the model.
    pub signature: Option<Vec<u8>>,
    /// Accept files that the signature says nothing about.
    pub allow_unsigned_files: bool,
}

impl SignatureOptions {
    /// By this signer, for the signature in the model.
    #[must_use]
    pub fn new(signer: impl Into<TrustedSigner>) -> Self {
        SignatureOptions { signer: signer.into(), signature: None, allow_unsigned_files: false }
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
    /// The fingerprint of the key that signed: the SHA-256 of its PEM.
    pub key: Digest,
    /// The certificate of the key, if certificates vouch for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SigningCertificate>,
    /// The identity that signed, if Sigstore vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<VerifiedIdentity>,
    /// Number of files that were signed.
    pub signed_files: u64,
    /// Files of the model that the signature says nothing about.
    pub unsigned_files: Vec<String>,
    /// Whether the record of the entry says so from now on ([`Record::attested`](crate::Record::attested)). `false`: the
    /// root cannot be written, or the entry has just been given other content.
    pub recorded: bool,
}

/// A signature that holds for the files that it was held against.
pub(crate) struct Checked {
    key: Digest,
    voucher: Voucher,
    signed_files: u64,
    unsigned: Unsigned,
    at_signing_time: bool,
}

/// Holds a bundle against files. `at` is the name of the file among them that it was read from. The error is the reason,
/// for humans.
pub(crate) fn hold(
    bundle: &[u8],
    signer: &TrustedSigner,
    allow_unsigned_files: bool,
    files: &Files,
    at: Option<&str>,
) -> Result<Checked, String> {
    let bundle = Bundle::parse(bundle)?;
    let verified = signer.verify(&bundle, now_ms())?;
    let signed = Signed::parse(&verified.payload)?;
    let unsigned = check::check(&signed, files, at, allow_unsigned_files)?;
    Ok(Checked {
        key: verified.key.fingerprint(),
        voucher: verified.voucher,
        signed_files: signed.files.len() as u64,
        unsigned,
        at_signing_time: signer.is_at_signing_time(),
    })
}

impl Checked {
    /// What a record keeps of it.
    pub(crate) fn attestation(&self, digest: Digest, bundle: &[u8], pattern: Option<&str>) -> Attestation {
        let (method, signer, subject, issuer) = match &self.voucher {
            Voucher::Key => (SigningMethod::Key, self.key, None, None),
            Voucher::Certificate(certificate) => {
                (SigningMethod::Certificate, certificate.root, Some(certificate.subject.clone()), None)
            }
            Voucher::Identity(identity) => {
                let (name, issuer) = (identity.name.clone(), identity.issuer.clone());
                (SigningMethod::Identity, identity.fingerprint, Some(name), Some(issuer))
            }
        };
        Attestation {
            at_signing_time: self.at_signing_time,
            bundle: Digest::sha256_of(bundle),
            checked_ms: now_ms(),
            digest,
            issuer,
            key: self.key,
            method,
            pattern: pattern.map(str::to_owned),
            signer,
            subject,
            with_unsigned_files: self.unsigned.was_allowed,
        }
    }
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
    let (bundle, at) = match &options.signature {
        Some(bytes) => (bytes.clone(), None),
        None => {
            let own = stored.iter().find(|file| file.path == IN_TREE && record.kind == ArtifactKind::Tree);
            let own = own.ok_or_else(|| bad(format!("it has no file {IN_TREE}")))?;
            (read(store, own)?, Some(IN_TREE))
        }
    };
    let files = names(record.kind, stored.into_iter().map(|file| (file.path, file.digest)));
    let checked = hold(&bundle, &options.signer, options.allow_unsigned_files, &files, at).map_err(bad)?;
    let attestation = checked.attestation(digest, &bundle, None);
    let (certificate, identity) = match checked.voucher {
        Voucher::Key => (None, None),
        Voucher::Certificate(certificate) => (Some(certificate), None),
        Voucher::Identity(identity) => (None, Some(identity)),
    };
    let recorded = note::note(store, record, attestation, at.is_none().then_some(bundle));
    Ok(SignatureReport {
        id: id.clone(),
        digest,
        key: checked.key,
        certificate,
        identity,
        signed_files: checked.signed_files,
        unsigned_files: checked.unsigned.files,
        recorded,
    })
}

/// The names that a signature has for these files.
pub(crate) fn names(kind: ArtifactKind, files: impl Iterator<Item = (String, Digest)>) -> Files {
    let name = |path: String| if kind == ArtifactKind::File { ONE_FILE.to_owned() } else { path };
    files.map(|(path, digest)| (name(path), digest)).collect()
}

fn read(store: &Store, file: &StoredFile) -> Result<Vec<u8>> {
    let name = layout::blob(&file.digest);
    let missing = || store.root.fail("open", &name, std::io::ErrorKind::NotFound.into());
    store.root.read(&name, bundle::MAX_BYTES)?.ok_or_else(missing)
}
