//! What a record keeps of a signature that was verified.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A signature of an entry's content that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Attestation {
    // Sorted by name, like the members of its text.
    /// Whether the certificates were checked for the moment from which that of the signer is valid.
    pub at_signing_time: bool,
    /// The SHA-256 of the bundle.
    pub bundle: Digest,
    /// When it was verified, in milliseconds since the Unix epoch.
    pub checked_ms: u64,
    /// The content that is signed. A signature of other content than the entry has counts for nothing.
    pub digest: Digest,
    /// The OpenID provider that knows the signer, if Sigstore vouches for the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The fingerprint of the key that signed.
    pub key: Digest,
    /// What vouches for the signature.
    pub method: SigningMethod,
    /// The pattern of the rule that asked for it, if one did.
    pub pattern: Option<String>,
    /// The fingerprint of who was trusted: the key itself, the authority above the signer's certificate, or the identity.
    pub signer: Digest,
    /// The subject of the signer's certificate, or the name of the identity.
    pub subject: Option<String>,
    /// Whether some file is not signed, and was accepted all the same.
    pub with_unsigned_files: bool,
}

/// What vouches for a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SigningMethod {
    /// A key.
    Key,
    /// A chain of certificates.
    Certificate,
    /// An identity, by Sigstore.
    Identity,
}
