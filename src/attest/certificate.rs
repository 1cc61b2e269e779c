//! What a certificate says of itself. That it is well formed, and who has issued it, is for rustls-webpki to say.

use p256::pkcs8::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use p256::pkcs8::der::{Reader as _, SliceReader, Tag, Tagged as _};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The extensions that are read, as DER of their identifiers.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// The parts of a name that have a short word.
const WORDS: [(&[u8], &str); 7] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

/// The certificate whose key made a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SigningCertificate {
    /// Its fingerprint: the SHA-256 of its DER.
    pub digest: Digest,
    /// Its subject, such as `CN=Models, O=Example`. Empty if it has none.
    pub subject: String,
    /// The mail addresses, DNS names and URIs that it was issued for.
    pub names: Vec<String>,
    /// Since when it is valid, in Unix milliseconds.
    pub not_before_ms: u64,
    /// Until when it is valid, in Unix milliseconds.
    pub not_after_ms: u64,
    /// The fingerprint of the trusted certificate that vouches for it.
    pub root: Digest,
}

/// What was read of a certificate.
pub(super) struct Read {
    pub(super) digest: Digest,
    subject: String,
    names: Vec<String>,
    pub(super) not_before_ms: u64,
    pub(super) not_after_ms: u64,
    /// Whether it says what its key is for at all, by `extKeyUsage`.
    pub(super) has_purposes: bool,
    /// Whether its `keyUsage` has `digitalSignature`.
    pub(super) is_for_signatures: bool,
}

impl Read {
    /// `None` if it is no certificate of version 3.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let whole = elements(der)?;
        let [certificate] = whole.as_slice() else { return None };
        let tbs = elements(certificate.value())?;
        let mut parts = elements(tbs.first()?.value())?.into_iter();
        let (_version, _serial, _algorithm, _issuer) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (validity, subject, _key) = (elements(parts.next()?.value())?, parts.next()?, parts.next()?);
        let [not_before_ms, not_after_ms] = [milliseconds(validity.first()?)?, milliseconds(validity.get(1)?)?];
        let mut read = Read {
            digest: Digest::sha256_of(der),
            subject: name(subject.value())?,
            names: Vec::new(),
            not_before_ms,
            not_after_ms,
            has_purposes: false,
            is_for_signatures: false,
        };
        for list in parts {
            for extension in elements(list.value())?.first().and_then(|all| elements(all.value()))? {
                read.extension(&elements(extension.value())?)?;
            }
        }
        Some(read)
    }

    pub(super) fn vouched_for_by(self, root: Digest) -> SigningCertificate {
        let Read { digest, subject, names, not_before_ms, not_after_ms, .. } = self;
        SigningCertificate { digest, subject, names, not_before_ms, not_after_ms, root }
    }

    fn extension(&mut self, parts: &[AnyRef<'_>]) -> Option<()> {
        let (id, value) = (parts.first()?.value(), parts.last()?.value());
        match id {
            // A string of bits starts with how many are unused; `digitalSignature` is the first bit.
            KEY_USAGE => {
                self.is_for_signatures = elements(value)?.first()?.value().get(1).is_some_and(|bits| bits & 0x80 != 0);
            }
            EXTENDED_KEY_USAGE => self.has_purposes = true,
            SUBJECT_ALT_NAME => {
                // rfc822Name, dNSName, uniformResourceIdentifier
                let is_text = |name: &AnyRef<'_>| [1, 2, 6].contains(&name.tag().number().value());
                let names = elements(elements(value)?.first()?.value())?;
                self.names = names.iter().filter(|name| is_text(name)).map(|name| text(name.value())).collect();
            }
            _ => {}
        }
        Some(())
    }
}

/// The values that stand one after the other in these bytes.
fn elements(bytes: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(reader.decode().ok()?);
    }
    Some(elements)
}

fn milliseconds(time: &AnyRef<'_>) -> Option<u64> {
    let since = match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    u64::try_from(since.as_millis()).ok()
}

/// The most specific part first, as OpenSSL lists them last.
fn name(parts: &[u8]) -> Option<String> {
    let mut words = Vec::new();
    for set in elements(parts)? {
        for pair in elements(set.value())? {
            let pair = elements(pair.value())?;
            let (id, value) = (pair.first()?.value(), text(pair.get(1)?.value()));
            let word = WORDS.iter().find(|(known, _)| *known == id);
            words.push(
                word.map_or_else(|| format!("{}={value}", hex::encode(id)), |(_, word)| format!("{word}={value}")),
            );
        }
    }
    words.reverse();
    Some(words.join(", "))
}

/// Text of a certificate for humans, whatever its encoding is.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}
