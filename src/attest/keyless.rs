//! Signatures that Sigstore vouches for: the crate sigstore-verify checks the certificate, its entry in the log of
//! certificates, the entry of the signature in the log of signatures, and the signature itself. It asks no network.

#[cfg(feature = "sigstore")]
pub(super) use built::verify;

use crate::entry::SigningIdentity;

impl SigningIdentity {
    /// An error with the reason, for humans, if nobody can be verified with its trusted root, or if this build lacks the
    /// feature `sigstore`.
    pub fn check_usable(&self) -> Result<(), String> {
        check_usable(self)
    }
}

#[cfg(feature = "sigstore")]
use built::check_usable;

#[cfg(not(feature = "sigstore"))]
use absent::check_usable;
#[cfg(not(feature = "sigstore"))]
pub(super) use absent::verify;

#[cfg(not(feature = "sigstore"))]
mod absent {
    use crate::attest::signer::Verified;
    use crate::entry::SigningIdentity;

    const ABSENT: &str = "this build cannot check what Sigstore vouches for: it lacks the feature `sigstore`";

    pub(super) fn check_usable(_: &SigningIdentity) -> Result<(), String> {
        Err(ABSENT.into())
    }

    pub(in crate::attest) fn verify(_: &str, _: &SigningIdentity) -> Result<Verified<'static>, String> {
        Err(ABSENT.into())
    }
}

#[cfg(feature = "sigstore")]
mod built {
    use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
    use sigstore_verify::types::{Bundle, Sha256Hash, SignatureContent};
    use sigstore_verify::{Error, VerificationPolicy, Verifier};

    use crate::attest::keys::PublicKey;
    use crate::attest::signer::{Verified, VerifiedIdentity, Voucher};
    use crate::attest::statement;
    use crate::entry::SigningIdentity;

    /// Returns what the identity has signed, and its key. The error is the reason, for humans.
    pub(in crate::attest) fn verify(text: &str, identity: &SigningIdentity) -> Result<Verified<'static>, String> {
        let verifier = verifier(identity)?;
        let bundle = Bundle::from_json(text).map_err(|e| format!("its bundle makes no sense to Sigstore: {e}"))?;
        // These are the bytes that are verified here, whatever another reader of the text takes for them.
        let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
            return Err("it is not a signature of a statement".into());
        };
        let payload = envelope.payload.as_bytes();
        // Whether the statement was signed is asked here; whether it fits the files, elsewhere.
        let claimed = statement::claimed_digest(payload).ok_or("its statement names no SHA-256 digest")?;
        let artifact = Sha256Hash::try_from(claimed.as_bytes()).map_err(|e| e.to_string())?;
        let policy = VerificationPolicy::new(identity.name.as_str(), identity.issuer.as_str());
        let result = verifier.verify(artifact, &bundle, &policy).map_err(|e| reason(&e))?;
        let key = result.certificate().and_then(|certificate| PublicKey::from_der(certificate.public_key.as_bytes()));
        let key = key.ok_or("the key of its certificate is on another curve")?;
        let logged_ms = result.integrated_time().and_then(|time| u64::try_from(time.as_millisecond()).ok());
        let SigningIdentity { name, issuer, .. } = identity.clone();
        let voucher = VerifiedIdentity { name, issuer, logged_ms, fingerprint: identity.fingerprint() };
        Ok(Verified { payload: payload.to_vec().into(), key, voucher: Voucher::Identity(voucher) })
    }

    pub(super) fn check_usable(identity: &SigningIdentity) -> Result<(), String> {
        verifier(identity).map(drop)
    }

    fn verifier(identity: &SigningIdentity) -> Result<Verifier, String> {
        let root = identity.trusted_root.as_deref().unwrap_or(SIGSTORE_PRODUCTION_TRUSTED_ROOT);
        let root = TrustedRoot::from_json(root).map_err(|e| format!("the trusted root cannot be read: {e}"))?;
        Verifier::new(&root).map_err(|e| format!("the trusted root cannot be used: {e}"))
    }

    fn reason(error: &Error) -> String {
        let named = |name: Option<&str>| name.map_or_else(|| "nobody".to_owned(), |name| format!("{name:?}"));
        match error {
            Error::IdentityMismatch { actual, .. } => {
                format!("{} has signed it, and not this identity", named(actual.as_ref().map(|name| name.as_str())))
            }
            Error::IssuerMismatch { actual, .. } => {
                format!("{} knows its signer, and not this issuer", named(actual.as_deref()))
            }
            other => format!("Sigstore does not vouch for it: {other}"),
        }
    }
}
