//! The options that name a trusted signer, and the files that they name.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use catalog_core::{PublicKey, Roots, SigningIdentity, TrustedSigner};

use crate::failure::Failure;

/// A key, certificates or an identity. Verbs that need one of them ask for it by a group.
#[derive(clap::Args)]
pub(crate) struct Signer {
    /// The public key that must have signed: a PEM file
    #[arg(long, value_name = "PEM", conflicts_with_all = ["cert", "identity"])]
    key: Option<PathBuf>,
    /// Certificates of authorities, one of which must have issued that of the signer: a PEM file
    #[arg(long, value_name = "PEM", conflicts_with = "identity")]
    cert: Option<PathBuf>,
    /// Check the certificates for the moment from which that of the signer is valid, and not for now
    #[arg(long, requires = "cert")]
    at_signing_time: bool,
    /// The name that must have signed by Sigstore, such as a mail address; needs a build with the feature sigstore
    #[arg(long, value_name = "NAME", requires = "issuer")]
    identity: Option<String>,
    /// The URL of the OpenID provider that knows the name
    #[arg(long, value_name = "URL", requires = "identity")]
    issuer: Option<String>,
    /// The keys of another Sigstore than the public one: its trusted_root.json
    #[arg(long, value_name = "FILE", requires = "identity")]
    trusted_root: Option<PathBuf>,
}

impl Signer {
    pub(crate) fn read(&self) -> Result<Option<TrustedSigner>, Failure> {
        if let (Some(name), Some(issuer)) = (&self.identity, &self.issuer) {
            let root = self.trusted_root.as_deref().map(|path| read_pem(path, "trusted root")).transpose()?;
            let identity = SigningIdentity::new(name, issuer).with_trusted_root(root);
            identity.check_usable().map_err(|reason| {
                let failure = Failure::usage(format!("could not use the identity {name:?}: {reason}"));
                if cfg!(feature = "sigstore") {
                    failure
                } else {
                    failure.with_hint("build it with --features sigstore")
                }
            })?;
            return Ok(Some(identity.into()));
        }
        if let Some(path) = &self.cert {
            let roots = Roots::from_pem(&read_pem(path, "certificates")?);
            let roots = roots.map_err(|reason| unusable(path, "certificates", reason))?;
            return Ok(Some(roots.with_at_signing_time(self.at_signing_time).into()));
        }
        let Some(path) = &self.key else { return Ok(None) };
        let key = PublicKey::from_pem(&read_pem(path, "key")?).map_err(|reason| unusable(path, "key", reason))?;
        Ok(Some(key.into()))
    }
}

/// The text of a key or of certificates.
pub(crate) fn read_pem(path: &Path, what: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| unread(path, what, &e))
}

/// The bytes of a signature.
pub(crate) fn read_signature(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| unread(path, "signature", &e))
}

pub(crate) fn unusable(path: &Path, what: &str, reason: &str) -> Failure {
    Failure::usage(format!("could not use the {what} {}: {reason}", path.display()))
}

fn unread(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::not_found(format!("could not find the {what} {}", path.display())),
        _ => Failure::failed(format!("could not read the {what} {}: {error}", path.display())),
    }
}
