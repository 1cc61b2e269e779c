//! Chains of certificates: whether one that is trusted has issued the one whose key has signed.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::certificate::{Read, SigningCertificate};
use super::ecdsa::ALGORITHMS;
use super::keys::PublicKey;
use crate::digest::Digest;

/// More than any chain has.
const MAX_CHAIN: usize = 10;

/// `codeSigning`, 1.3.6.1.5.5.7.3.3
const CODE_SIGNING: KeyUsage = KeyUsage::required_if_present(&[0x2b, 6, 1, 5, 5, 7, 3, 3]);

/// Certificates of authorities whose word is trusted: whoever has a certificate for signing code from one of them may have
/// signed. Each is trusted as it is, whether or not it is self-signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Roots {
    roots: Vec<Root>,
    at_signing_time: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Root {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    /// The SHA-256 of its DER.
    fingerprint: Digest,
    valid_ms: (u64, u64),
}

/// The signer, as a chain of certificates names it.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) certificate: SigningCertificate,
    pub(super) key: PublicKey,
}

impl Roots {
    /// Reads every certificate of a PEM text (`BEGIN CERTIFICATE`). The error is the reason, for humans.
    pub fn from_pem(text: &str) -> Result<Self, &'static str> {
        let mut roots = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|_| "it is not PEM")?;
            roots.push(Root::of(&certificate).ok_or("it has a certificate that cannot be read")?);
        }
        if roots.is_empty() {
            return Err("it has no certificate in PEM");
        }
        Ok(Roots { roots, at_signing_time: false })
    }

    /// Sets the clock to the moment from which the signer's certificate is valid, as PyPI `model-signing` does. A
    /// signature then outlives the certificate, also one that was made after the certificate had expired.
    #[must_use]
    pub fn with_at_signing_time(mut self, at_signing_time: bool) -> Self {
        self.at_signing_time = at_signing_time;
        self
    }

    pub(super) fn is_at_signing_time(&self) -> bool {
        self.at_signing_time
    }

    /// Writes the certificates as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let pem = |root: &Root| {
            let text = BASE64_STANDARD.encode(&root.certificate);
            let lines: String =
                text.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
            format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
        };
        self.roots.iter().map(pem).collect()
    }

    /// The fingerprints of the certificates: the SHA-256 of the DER of each.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<Digest> {
        self.roots.iter().map(|root| root.fingerprint).collect()
    }

    /// Returns the signer that a chain names; the chain begins with its certificate. The error is the reason, for humans.
    pub(super) fn vouch_for(&self, chain: &[CertificateDer<'_>], now_ms: u64) -> Result<Vouched, String> {
        let Some((leaf, above)) = chain.split_first() else { return Err("its chain of certificates is empty".into()) };
        if chain.len() > MAX_CHAIN {
            return Err(format!("its chain has {} certificates, and may have {MAX_CHAIN}", chain.len()));
        }
        let refused = |e: Error| reason(&e);
        let certificate = EndEntityCert::try_from(leaf).map_err(refused)?;
        let facts = Read::of(leaf).ok_or("the certificate of its signer cannot be read")?;
        let time_ms = if self.at_signing_time { facts.not_before_ms } else { now_ms };
        let valid = |root: &&Root| (root.valid_ms.0..=root.valid_ms.1).contains(&time_ms);
        let anchors: Vec<_> = self.roots.iter().filter(valid).map(|root| root.anchor.clone()).collect();
        if anchors.is_empty() {
            return Err("no certificate that is trusted is valid now".into());
        }
        let time = UnixTime::since_unix_epoch(Duration::from_millis(time_ms));
        let path = certificate.verify_for_usage(ALGORITHMS, &anchors, above, time, CODE_SIGNING, None, None);
        let path = path.map_err(refused)?;
        if !facts.has_purposes && !facts.is_for_signatures {
            return Err("the certificate of its signer is not for signatures".into());
        }
        let key = certificate.subject_public_key_info();
        let key = PublicKey::from_der(&key).ok_or("the certificate of its signer has a key on another curve")?;
        let vouching = self.roots.iter().filter(valid).find(|root| root.anchor == *path.anchor());
        let root = vouching.ok_or("no certificate that is trusted has issued it")?.fingerprint;
        Ok(Vouched { certificate: facts.vouched_for_by(root), key })
    }
}

impl Root {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?.to_owned();
        let facts = Read::of(certificate)?;
        Some(Root {
            certificate: certificate.clone().into_owned(),
            anchor,
            fingerprint: facts.digest,
            valid_ms: (facts.not_before_ms, facts.not_after_ms),
        })
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.fingerprints()).finish()
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::UnknownIssuer => "no certificate that is trusted has issued that of its signer".into(),
        Error::CertExpired { .. } => "a certificate of its chain has expired".into(),
        Error::CertNotValidYet { .. } => "a certificate of its chain is not valid yet".into(),
        Error::RequiredEkuNotFoundContext(_) => "a certificate of its chain is not for signing code".into(),
        Error::CaUsedAsEndEntity => "its first certificate is that of an authority, and not of a signer".into(),
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "a certificate of its chain is not signed by ECDSA on P-256, P-384 or P-521".into()
        }
        other => format!("a certificate of its chain is not good: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Issued, Wanted};

    /// 2030
    const NOW_MS: u64 = 1_893_500_000_000;

    struct Chain {
        root: Issued,
        middle: Issued,
    }

    impl Chain {
        fn new() -> Self {
            let root = Issued::root(&Wanted::authority("root"));
            let middle = root.issue(&Wanted::authority("middle"));
            Chain { root, middle }
        }

        fn roots(&self) -> Roots {
            Roots::from_pem(&self.root.pem).unwrap()
        }

        fn signer(&self, wanted: &Wanted<'_>) -> Vec<Vec<u8>> {
            vec![self.middle.issue(wanted).der, self.middle.der.clone()]
        }

        fn of(&self, wanted: &Wanted<'_>) -> Result<Vouched, String> {
            vouched(&self.roots(), &self.signer(wanted))
        }
    }

    fn vouched(roots: &Roots, chain: &[Vec<u8>]) -> Result<Vouched, String> {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        roots.vouch_for(&chain, NOW_MS)
    }

    #[test]
    fn a_chain_says_who_has_signed() {
        let chain = Chain::new();
        let Vouched { certificate, key } = chain.of(&Wanted::signer("models")).unwrap();
        let signer = chain.middle.issue(&Wanted::signer("models"));
        assert_eq!(key, super::super::keys::PrivateKey::from_pem(&signer.key_pem).unwrap().public_key());
        assert_eq!((certificate.subject.as_str(), certificate.names), ("CN=models", vec!["models@example.org".into()]));
        assert_eq!(certificate.digest, Digest::sha256_of(&signer.der));
        assert_eq!(vec![certificate.root], chain.roots().fingerprints());
        assert_eq!(certificate.root, Digest::sha256_of(&chain.root.der));
        let years = [certificate.not_before_ms, certificate.not_after_ms].map(|ms| ms / 31_556_952_000 + 1970);
        assert_eq!(years, [2020, 2120]);
        // The order above the signer does not matter, and the root may stand in it.
        let [leaf, middle] = chain.signer(&Wanted::signer("models")).try_into().unwrap();
        vouched(&chain.roots(), &[leaf, chain.root.der.clone(), middle]).unwrap();
        // Keys are enough for an authority in the middle, as for a root.
        let roots = Roots::from_pem(&chain.middle.pem).unwrap();
        vouched(&roots, &chain.signer(&Wanted::signer("models"))).unwrap();
    }

    // Red when one of these is not checked.
    #[test]
    fn other_chains_are_refused() {
        let (chain, signer) = (Chain::new(), Wanted::signer("models"));
        let good = chain.signer(&signer);
        let alike = Chain { root: Issued::root(&Wanted::authority("other")), middle: Chain::new().middle };
        let backwards: Vec<_> = good.iter().rev().cloned().collect();
        let garbage = vec![[good[0].as_slice(), b"x"].concat(), good[1].clone()];
        let long = [good.clone(), vec![good[1].clone(); MAX_CHAIN]].concat();
        let forged = Wanted { is_authority: false, ..Wanted::authority("middle") };
        let forged = chain.root.issue(&forged);
        for (roots, chain, why) in [
            (chain.roots(), vec![], "empty"),
            (chain.roots(), good[..1].to_vec(), "has issued"),
            (alike.roots(), good.clone(), "has issued"),
            (chain.roots(), backwards, "of an authority"),
            (chain.roots(), garbage, "not good"),
            (chain.roots(), vec![vec![], good[1].clone()], "not good"),
            (chain.roots(), long, "12 certificates"),
            (chain.roots(), vec![forged.issue(&signer).der, forged.der.clone()], "not good"),
        ] {
            let refused = vouched(&roots, &chain).unwrap_err();
            assert!(refused.contains(why), "{why}: {refused}");
        }
    }

    // Red when a certificate for something else, such as that of a web server, signs models.
    #[test]
    fn the_certificate_is_one_for_signing_code() {
        let chain = Chain::new();
        let signer = Wanted::signer("models");
        let verdict = |purposes, usage| chain.of(&Wanted { purposes, usage, ..signer }).map(|_| ());
        for (purposes, usage) in [(&[3][..], Some(0x80)), (&[1, 3], None), (&[], Some(0x80)), (&[], Some(0xc0))] {
            assert_eq!(verdict(purposes, usage), Ok(()), "{purposes:?} {usage:?}");
        }
        for (purposes, usage) in [(&[1][..], Some(0x80)), (&[], None), (&[], Some(0x20))] {
            let refused = verdict(purposes, usage).unwrap_err();
            assert!(refused.contains("not for sign"), "{purposes:?} {usage:?}: {refused}");
        }
    }

    // Red when the time is not checked, or when the moment of signing lets through what was not valid then.
    #[test]
    fn a_certificate_is_valid_for_a_time() {
        let chain = Chain::new();
        let signer = |years| Wanted { years, ..Wanted::signer("models") };
        assert!(chain.of(&signer((2021, 2025))).unwrap_err().contains("has expired"));
        assert!(chain.of(&signer((2031, 2035))).unwrap_err().contains("not valid yet"));
        let then = chain.roots().with_at_signing_time(true);
        let at_signing = |chain: &Chain, years| vouched(&then, &chain.signer(&signer(years)));
        assert!(at_signing(&chain, (2021, 2025)).is_ok());
        assert!(at_signing(&chain, (2031, 2035)).is_ok());
        // No authority was there at that time.
        assert!(at_signing(&chain, (2010, 2025)).unwrap_err().contains("is valid"));
        let middle = chain.root.issue(&Wanted { years: (2022, 2120), ..Wanted::authority("middle") });
        let young = Chain { root: chain.root, middle };
        assert!(at_signing(&young, (2021, 2025)).unwrap_err().contains("not valid yet"));
        let root = Issued::root(&Wanted { years: (2020, 2025), ..Wanted::authority("root") });
        assert!(Chain { root, ..Chain::new() }.of(&signer((2020, 2120))).unwrap_err().contains("is valid"));
    }

    #[test]
    fn roots_are_certificates_in_pem() {
        let chain = Chain::new();
        let both = format!("A root:\n{}{}", chain.root.pem, chain.middle.pem);
        let roots = Roots::from_pem(&both).unwrap();
        assert_eq!(roots.fingerprints().len(), 2);
        assert_eq!(Roots::from_pem(&roots.to_pem()).as_ref(), Ok(&roots));
        let cut = chain.root.pem.replace("-----END CERTIFICATE-----", "");
        let other = chain.root.pem.replace("MII", "MIA");
        for text in ["", "x", &chain.root.key_pem, &cut, &other] {
            assert!(Roots::from_pem(text).is_err(), "{text}");
        }
    }
}
