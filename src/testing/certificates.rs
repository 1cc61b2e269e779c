//! Certificates for tests: small, on P-256, with keys that follow from their names.

use std::time::Duration;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::der::Encode as _;
use p256::pkcs8::der::asn1::{GeneralizedTime, UtcTime};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};

use crate::digest::Digest;

/// ecdsa-with-SHA256
const ALGORITHM: &[u8] = &[0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// `codeSigning` is 3, `serverAuth` is 1.
const PURPOSE: [u8; 9] = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3];
const YEAR_S: u64 = 31_556_952;

/// What a certificate is to say.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Wanted<'w> {
    pub name: &'w str,
    pub is_authority: bool,
    /// The last number of each purpose; none: no such extension.
    pub purposes: &'w [u8],
    /// The first byte of `keyUsage`.
    pub usage: Option<u8>,
    /// A year, and the year in which it is no longer valid.
    pub years: (u64, u64),
}

impl<'w> Wanted<'w> {
    /// An authority.
    #[must_use]
    pub fn authority(name: &'w str) -> Self {
        Wanted { name, is_authority: true, purposes: &[], usage: Some(0x04), years: (2020, 2120) }
    }

    /// A signer of code.
    #[must_use]
    pub fn signer(name: &'w str) -> Self {
        Wanted { name, is_authority: false, purposes: &[3], usage: Some(0x80), years: (2020, 2120) }
    }
}

/// A certificate and its key.
#[allow(missing_docs)]
pub struct Issued {
    pub der: Vec<u8>,
    /// The certificate.
    pub pem: String,
    /// The private key.
    pub key_pem: String,
    name: Vec<u8>,
    key: SigningKey,
}

impl Issued {
    /// One that has issued itself.
    #[must_use]
    pub fn root(wanted: &Wanted<'_>) -> Self {
        issue(wanted, None)
    }

    /// One that this one has issued.
    #[must_use]
    pub fn issue(&self, wanted: &Wanted<'_>) -> Self {
        issue(wanted, Some(self))
    }
}

fn issue(wanted: &Wanted<'_>, issuer: Option<&Issued>) -> Issued {
    let key = SigningKey::from_slice(Digest::sha256_of(wanted.name.as_bytes()).as_bytes()).expect("a hash is a key");
    let name = sequence(&[&der(0x31, &[&sequence(&[&[6, 3, 0x55, 4, 3], &der(0x0c, &[wanted.name.as_bytes()])])])]);
    let (issuer_name, signing) = issuer.map_or((&name, &key), |issuer| (&issuer.name, &issuer.key));
    let extension = |id: u8, value: &[u8]| sequence(&[&[6, 3, 0x55, 0x1d, id], &der(4, &[value])]);
    let mut extensions = vec![extension(17, &sequence(&[&der(0x81, &[wanted.name.as_bytes(), b"@example.org"])]))];
    if wanted.is_authority {
        extensions.push(extension(19, &sequence(&[&[1, 1, 0xff]])));
    }
    extensions.extend(wanted.usage.map(|usage| extension(15, &der(3, &[&[0, usage]]))));
    if !wanted.purposes.is_empty() {
        let purposes: Vec<_> = wanted.purposes.iter().map(|last| [&PURPOSE[..], &[*last]].concat()).collect();
        extensions.push(extension(37, &sequence(&[&purposes.concat()])));
    }
    let public = key.verifying_key().to_public_key_der().expect("it can be written");
    let tbs = sequence(&[
        &der(0xa0, &[&[2, 1, 2]]),
        &[2, 1, 1],
        ALGORITHM,
        issuer_name,
        &sequence(&[&time(wanted.years.0), &time(wanted.years.1)]),
        &name,
        public.as_bytes(),
        &der(0xa3, &[&sequence(&[&extensions.concat()])]),
    ]);
    let signature: Signature = signing.sign(&tbs);
    let whole = sequence(&[&tbs, ALGORITHM, &der(3, &[&[0], signature.to_der().as_bytes()])]);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(&whole));
    let key_pem = key.to_pkcs8_pem(LineEnding::LF).expect("it can be written").to_string();
    Issued { der: whole, pem, key_pem, name, key }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    let text = ::base64::prelude::BASE64_STANDARD.encode(bytes);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    lines.join("\n")
}

/// A value in DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = value.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let head = match value.len() {
        short @ 0..128 => vec![tag, short as u8],
        _ => [&[tag, 0x80 | length.len() as u8], length.as_slice()].concat(),
    };
    [head, value].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

/// About the first day of a year.
fn time(year: u64) -> Vec<u8> {
    let since = Duration::from_secs((year - 1970) * YEAR_S);
    let written = match UtcTime::from_unix_duration(since) {
        Ok(time) => time.to_der(),
        Err(_) => GeneralizedTime::from_unix_duration(since).and_then(|time| time.to_der()),
    };
    written.expect("a year before 9999")
}
