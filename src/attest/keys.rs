//! ECDSA keys. The hash follows the curve: SHA-256, SHA-384 or SHA-512.

use std::fmt;

use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::EndEntityCert;

use crate::digest::Digest;

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Public);

/// A key that makes signatures, perhaps with certificates that vouch for it. It never appears in a message.
#[derive(Clone)]
pub struct PrivateKey {
    key: Private,
    chain: Vec<CertificateDer<'static>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

#[derive(Clone)]
enum Private {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

/// Why text is no key that can be used.
const CURVES: &str = "it is not the PEM of a key on one of the curves P-256, P-384 and P-521";

impl PublicKey {
    /// Reads PEM (`BEGIN PUBLIC KEY`). The error is the reason, for humans.
    pub fn from_pem(text: &str) -> Result<Self, &'static str> {
        let p256 = || p256::ecdsa::VerifyingKey::from_public_key_pem(text).map(Public::P256).ok();
        let p384 = || p384::ecdsa::VerifyingKey::from_public_key_pem(text).map(Public::P384).ok();
        let p521 = || p521::ecdsa::VerifyingKey::from_public_key_pem(text).map(Public::P521).ok();
        p256().or_else(p384).or_else(p521).map(PublicKey).ok_or(CURVES)
    }

    /// The key of a certificate, in DER.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let p256 = || p256::ecdsa::VerifyingKey::from_public_key_der(der).map(Public::P256).ok();
        let p384 = || p384::ecdsa::VerifyingKey::from_public_key_der(der).map(Public::P384).ok();
        let p521 = || p521::ecdsa::VerifyingKey::from_public_key_der(der).map(Public::P521).ok();
        p256().or_else(p384).or_else(p521).map(PublicKey)
    }

    /// Writes PEM, as OpenSSL does.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let pem = match &self.0 {
            Public::P256(key) => key.to_public_key_pem(LineEnding::LF),
            Public::P384(key) => key.to_public_key_pem(LineEnding::LF),
            Public::P521(key) => key.to_public_key_pem(LineEnding::LF),
        };
        pem.unwrap_or_default()
    }

    /// The SHA-256 of its PEM: how a signature names the key that made it.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::sha256_of(self.to_pem().as_bytes())
    }

    /// Whether the signature, in ASN.1 DER, is of this message by this key.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Public::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Public::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Public::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl PrivateKey {
    /// Reads PEM: PKCS #8 (`BEGIN PRIVATE KEY`) or SEC 1 (`BEGIN EC PRIVATE KEY`), not encrypted. The error is the
    /// reason, for humans.
    pub fn from_pem(text: &str) -> Result<Self, &'static str> {
        if text.contains("ENCRYPTED") {
            return Err("it is encrypted; `openssl pkey -in KEY -out PLAIN` decrypts it");
        }
        let p256 = || {
            let key = p256::SecretKey::from_sec1_pem(text).or_else(|_| p256::SecretKey::from_pkcs8_pem(text));
            key.map(|key| Private::P256(key.into())).ok()
        };
        let p384 = || {
            let key = p384::SecretKey::from_sec1_pem(text).or_else(|_| p384::SecretKey::from_pkcs8_pem(text));
            key.map(|key| Private::P384(key.into())).ok()
        };
        let p521 = || {
            let key = p521::SecretKey::from_sec1_pem(text).or_else(|_| p521::SecretKey::from_pkcs8_pem(text));
            key.map(|key| Private::P521(key.into())).ok()
        };
        let key = p256().or_else(p384).or_else(p521).ok_or(CURVES)?;
        Ok(PrivateKey { key, chain: Vec::new() })
    }

    /// Signs by the certificates of a PEM text: first that of this key, then each authority's above the one before,
    /// perhaps without the root. The error is the reason, for humans.
    pub fn with_certificates(mut self, text: &str) -> Result<Self, &'static str> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        self.chain = chain.map_err(|_| "it is not PEM")?;
        let first = self.chain.first().ok_or("it has no certificate in PEM")?;
        let first = EndEntityCert::try_from(first).map_err(|_| "its first certificate cannot be read")?;
        match PublicKey::from_der(&first.subject_public_key_info()) {
            Some(key) if key == self.public_key() => Ok(self),
            _ => Err("its first certificate is not one of the key that signs"),
        }
    }

    /// The certificates that vouch for it, if any do.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The key that verifies its signatures.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(match &self.key {
            Private::P256(key) => Public::P256(*key.verifying_key()),
            Private::P384(key) => Public::P384(*key.verifying_key()),
            Private::P521(key) => Public::P521(*key.verifying_key()),
        })
    }

    /// Signs a message, by RFC 6979: without randomness. In ASN.1 DER.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Private::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Private::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Private::P521(key) => {
                let signature: p521::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {:?})", self.public_key())
    }
}
