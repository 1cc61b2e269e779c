//! Signatures of models, by [OpenSSF Model Signing](https://github.com/ossf/model-signing-spec) 1.0, from the digests
//! that the catalog has: no model is read.
//!
//! ```text
//! keys.rs          public and private keys: ECDSA with P-256, P-384 and P-521
//! bundle.rs        the file of a signature: a Sigstore bundle with a DSSE envelope
//! statement.rs     what is signed: the files of a model and their digests
//! check.rs         a statement held against the files of an entry
//! sign.rs, verify.rs     the two verbs
//! log.rs           the log of an id, signed
//! ```

mod bundle;
mod check;
mod keys;
mod log;
mod sign;
mod statement;
mod verify;

pub use keys::{PrivateKey, PublicKey};
pub(crate) use log::sign_log;
pub(crate) use sign::sign;
pub(crate) use verify::verify_signature;
pub use verify::{SignatureOptions, SignatureReport};
