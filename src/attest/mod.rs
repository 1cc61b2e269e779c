//! Signatures of models, by [OpenSSF Model Signing](https://github.com/ossf/model-signing-spec) 1.0, and bills of
//! materials, by [CycloneDX](https://cyclonedx.org) 1.6, from the digests that the catalog has: no model is read.
//!
//! ```text
//! keys.rs          public and private keys: ECDSA with P-256, P-384 and P-521
//! roots.rs         chains of certificates, and the authorities that are trusted
//! certificate.rs   what a certificate says of itself
//! ecdsa.rs         the algorithms with which certificates may be signed
//! keyless.rs       identities that Sigstore vouches for
//! signer.rs        who is trusted to have signed: a key, authorities or an identity
//! rule.rs          signers as the rules of a store keep them
//! bundle.rs        the file of a signature: a Sigstore bundle with a DSSE envelope
//! statement.rs     what is signed: the files of a model and their digests
//! check.rs         a statement held against the files of an entry
//! sign.rs, verify.rs     the two verbs
//! log.rs           the log of an id, signed
//! bom.rs           the bill of materials of a model
//! cyclonedx.rs     its form
//! origin.rs        where a model came from, as others write it
//! spdx.rs          licences that have an SPDX id
//! note.rs          records that a signature was verified
//! ```

mod bom;
mod bundle;
mod certificate;
mod check;
mod cyclonedx;
mod ecdsa;
#[cfg(feature = "testing")]
mod fuzz;
mod keyless;
mod keys;
mod log;
mod note;
mod origin;
mod roots;
mod rule;
mod sign;
mod signer;
mod spdx;
mod statement;
mod verify;

pub use bom::BomOptions;
pub(crate) use bom::bom;
pub(crate) use bundle::MAX_BYTES;
pub use certificate::SigningCertificate;
#[cfg(feature = "testing")]
pub(crate) use fuzz::makes_sense;
pub use keys::{PrivateKey, PublicKey};
pub(crate) use log::sign_log;
pub use roots::Roots;
pub(crate) use sign::sign;
pub use signer::{TrustedSigner, VerifiedIdentity};
pub(crate) use verify::{Checked, IN_TREE, hold, names, verify_signature};
pub use verify::{SignatureOptions, SignatureReport};
