//! Trusted signers.

use super::bundle::{Bundle, Method};
use super::certificate::SigningCertificate;
use super::keys::PublicKey;
use super::roots::Roots;

/// A trusted signer. A signature is by a key or by certificates, and each is refused in the other's place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedSigner {
    /// Whoever has the private part of this key.
    Key(PublicKey),
    /// Whoever has a certificate from one of these authorities.
    Certificates(Roots),
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

/// A bundle that a trusted signer has signed.
#[derive(Debug)]
pub(super) struct Verified<'b> {
    /// What is signed.
    pub(super) payload: &'b [u8],
    pub(super) key: PublicKey,
    pub(super) certificate: Option<SigningCertificate>,
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
                Ok(Verified { payload, key: key.clone(), certificate: None })
            }
            (TrustedSigner::Certificates(roots), Method::Certificates(chain)) => {
                let vouched = roots.vouch_for(chain, now_ms)?;
                let payload = bundle.verified_by(&vouched.key).ok_or("the key of its certificate has not signed it")?;
                Ok(Verified { payload, key: vouched.key, certificate: Some(vouched.certificate) })
            }
            (TrustedSigner::Key(_), Method::Certificates(_)) => Err("certificates vouch for it, and not a key".into()),
            (TrustedSigner::Certificates(_), Method::Key(_)) => Err("a key vouches for it, and no certificate".into()),
            (_, Method::Sigstore) => {
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
        let trusted = [Roots::from_pem(&root.pem).unwrap().into(), TrustedSigner::from(by_chain.public_key())];
        let verdicts = |bundle: &Bundle| {
            trusted.each_ref().map(|signer| signer.verify(bundle, NOW_MS).map(|verified| verified.payload.to_vec()))
        };
        let [by_roots, by_key] = verdicts(&bundle(&by_chain));
        assert_eq!(by_roots.unwrap(), b"{}");
        assert_eq!(by_key.unwrap_err(), "certificates vouch for it, and not a key");
        let [by_roots, by_key] = verdicts(&bundle(&key(&signer)));
        assert_eq!(by_roots.unwrap_err(), "a key vouches for it, and no certificate");
        assert_eq!(by_key.unwrap(), b"{}");

        assert!(key(&other).with_certificates(&signer.pem).is_err(), "certificates of another key");
        let mut stolen = bundle(&key(&other).with_certificates(&other.pem).unwrap());
        stolen.method = bundle(&by_chain).method;
        assert_eq!(verdicts(&stolen)[0].as_ref().unwrap_err(), "the key of its certificate has not signed it");
        stolen.method = Method::Key(None);
        assert_eq!(verdicts(&stolen)[1].as_ref().unwrap_err(), "this key has not signed it");
        stolen.method = Method::Key(Some("00".into()));
        assert!(verdicts(&stolen)[1].as_ref().unwrap_err().contains("and not this one"));
        stolen.method = Method::Sigstore;
        assert!(verdicts(&stolen).iter().all(|verdict| verdict.as_ref().unwrap_err().contains("Sigstore")));
    }
}
