//! Signers as rules keep them.

use super::signer::TrustedSigner;
use super::{PublicKey, Roots};
use crate::entry::SigningMethod;
use crate::store::RuleSigner;

impl RuleSigner {
    /// This signer, who must sign every file.
    #[must_use]
    pub fn new(signer: &TrustedSigner) -> Self {
        let (method, fingerprints, pem, identity) = match signer {
            TrustedSigner::Key(key) => (SigningMethod::Key, vec![key.fingerprint()], key.to_pem(), None),
            TrustedSigner::Certificates(roots) => {
                (SigningMethod::Certificate, roots.fingerprints(), roots.to_pem(), None)
            }
            TrustedSigner::Identity(identity) => {
                (SigningMethod::Identity, vec![identity.fingerprint()], String::new(), Some(identity.clone()))
            }
        };
        let at_signing_time = signer.is_at_signing_time();
        RuleSigner { method, fingerprints, pem, identity, at_signing_time, allow_unsigned_files: false }
    }

    /// Sets [`allow_unsigned_files`](RuleSigner::allow_unsigned_files).
    #[must_use]
    pub fn with_allow_unsigned_files(mut self, allow: bool) -> Self {
        self.allow_unsigned_files = allow;
        self
    }

    /// The signer, to verify with. The error is the reason, for humans.
    pub fn trusted(&self) -> Result<TrustedSigner, &'static str> {
        Ok(match self.method {
            SigningMethod::Key => PublicKey::from_pem(&self.pem)?.into(),
            SigningMethod::Certificate => Roots::from_pem(&self.pem)?.with_at_signing_time(self.at_signing_time).into(),
            SigningMethod::Identity => self.identity.clone().ok_or("the rule does not say which identity")?.into(),
        })
    }
}
