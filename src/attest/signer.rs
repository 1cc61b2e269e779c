//! Trusted signers.

use std::borrow::Cow;

use serde::Serialize;

use super::bundle::{Bundle, Method};
use super::certificate::SigningCertificate;
use super::keyless;
use super::keys::PublicKey;
use super::roots::Roots;
use crate::digest::Digest;
use crate::entry::SigningIdentity;

/// A trusted signer. A signature is by a key, by certificates or by an identity, and each is refused in another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedSigner {
    /// Whoever has the private part of this key.
    Key(PublicKey),
    /// Whoever has a certificate from one of these authorities.
    Certificates(Roots),
    /// Whoever has signed under this identity, by Sigstore's word. Verifying needs the feature `sigstore`.
    Identity(SigningIdentity),
}

impl From<PublicKey> for TrustedSigner {
    fn from(key: PublicKey) -> Self {
        TrustedSigner::Key(key)
    }
}

impl From<Roots> for TrustedSigner {
    fn from(roots: Roots) -> Self {
        TrustedSigner::Certificates(roots)
    }
}

impl From<SigningIdentity> for TrustedSigner {
    fn from(identity: SigningIdentity) -> Self {
        TrustedSigner::Identity(identity)
    }
}

/// A bundle that a trusted signer has signed.
#[derive(Debug)]
pub(super) struct Verified<'b> {
    /// What is signed.
    pub(super) payload: Cow<'b, [u8]>,
    pub(super) key: PublicKey,
    pub(super) voucher: Voucher,
}

/// What vouches for the key that has signed.
#[derive(Debug)]
pub(super) enum Voucher {
    /// The key itself is trusted.
    Key,
    Certificate(SigningCertificate),
    #[cfg_attr(not(feature = "sigstore"), expect(dead_code, reason = "only that feature verifies identities"))]
    Identity(VerifiedIdentity),
}

/// The identity that has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VerifiedIdentity {
    /// The name in the certificate.
    pub name: String,
    /// The URL of the OpenID provider that knows the name.
    pub issuer: String,
    /// When the log took the signature, in Unix milliseconds, if the log says so itself.
    pub logged_ms: Option<u64>,
    /// The fingerprint of the identity that was trusted.
    pub fingerprint: Digest,
}

impl TrustedSigner {
    /// Whether certificates are checked for the moment from which that of the signer is valid.
    pub(super) fn is_at_signing_time(&self) -> bool {
        matches!(self, TrustedSigner::Certificates(roots) if roots.is_at_signing_time())
    }

    /// What is signed, if this signer has signed it. Nothing in it may be read before. The error is the reason, for
    /// humans.
    pub(super) fn verify<'b>(&self, bundle: &'b Bundle, now_ms: u64) -> Result<Verified<'b>, String> {
        match (self, &bundle.method) {
            (TrustedSigner::Key(key), Method::Key(hint)) => {
                // The key decides; its name in the bundle only explains.
                let payload = bundle.verified_by(key).ok_or_else(|| match hint {
                    Some(hint) if *hint != key.fingerprint().to_hex() => {
                        format!("the key sha256:{hint:.16} has signed it, and not this one")
                    }
                    _ => "this key has not signed it".to_owned(),
                })?;
                Ok(Verified { payload: payload.into(), key: key.clone(), voucher: Voucher::Key })
            }
            (TrustedSigner::Certificates(roots), Method::Certificates(chain)) => {
                let vouched = roots.vouch_for(chain, now_ms)?;
                let payload = bundle.verified_by(&vouched.key).ok_or("the key of its certificate has not signed it")?;
                let voucher = Voucher::Certificate(vouched.certificate);
                Ok(Verified { payload: payload.into(), key: vouched.key, voucher })
            }
            (TrustedSigner::Identity(identity), Method::Sigstore(text)) => keyless::verify(text, identity),
            (TrustedSigner::Key(_), Method::Certificates(_)) => Err("certificates vouch for it, and not a key".into()),
            (TrustedSigner::Certificates(_), Method::Key(_)) => Err("a key vouches for it, and no certificate".into()),
            (TrustedSigner::Identity(_), _) => Err("a key or certificates vouch for it, and not Sigstore".into()),
            (_, Method::Sigstore(_)) => {
                Err("Sigstore vouches for it, and neither a key nor a chain of certificates".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::PrivateKey;
    use crate::testing::{Issued, Wanted};

    /// 2030
    const NOW_MS: u64 = 1_893_500_000_000;

    fn key(of: &Issued) -> PrivateKey {
        PrivateKey::from_pem(&of.key_pem).unwrap()
    }

    fn bundle(key: &PrivateKey) -> Bundle {
        Bundle::parse(&Bundle::sign(b"{}", key).unwrap()).unwrap()
    }

    // Red when the chain is good and another key has signed, or when one method passes for the other.
    #[test]
    fn the_key_of_the_certificate_must_have_signed() {
        let root = Issued::root(&Wanted::authority("root"));
        let [signer, other] = ["models", "other"].map(|name| root.issue(&Wanted::signer(name)));
        let by_chain = key(&signer).with_certificates(&signer.pem).unwrap();
        let trusted: [TrustedSigner; 3] = [
            Roots::from_pem(&root.pem).unwrap().into(),
            by_chain.public_key().into(),
            SigningIdentity::new("models@example.org", "https://example.org").into(),
        ];
        let verdicts = |bundle: &Bundle| {
            trusted.each_ref().map(|signer| signer.verify(bundle, NOW_MS).map(|verified| verified.payload.to_vec()))
        };
        let [by_roots, by_key, by_identity] = verdicts(&bundle(&by_chain));
        assert_eq!(by_roots.unwrap(), b"{}");
        assert_eq!(by_key.unwrap_err(), "certificates vouch for it, and not a key");
        assert!(by_identity.unwrap_err().contains("and not Sigstore"));
        let [by_roots, by_key, by_identity] = verdicts(&bundle(&key(&signer)));
        assert_eq!(by_roots.unwrap_err(), "a key vouches for it, and no certificate");
        assert_eq!(by_key.unwrap(), b"{}");
        assert!(by_identity.unwrap_err().contains("and not Sigstore"));

        assert!(key(&other).with_certificates(&signer.pem).is_err(), "certificates of another key");
        let mut stolen = bundle(&key(&other).with_certificates(&other.pem).unwrap());
        stolen.method = bundle(&by_chain).method;
        assert_eq!(verdicts(&stolen)[0].as_ref().unwrap_err(), "the key of its certificate has not signed it");
        stolen.method = Method::Key(None);
        assert_eq!(verdicts(&stolen)[1].as_ref().unwrap_err(), "this key has not signed it");
        stolen.method = Method::Key(Some("00".into()));
        assert!(verdicts(&stolen)[1].as_ref().unwrap_err().contains("and not this one"));
        stolen.method = Method::Sigstore(String::new());
        assert!(verdicts(&stolen).iter().all(|verdict| verdict.as_ref().unwrap_err().contains("Sigstore")));
    }
}
