//! The file of a signature: a [Sigstore bundle](https://docs.sigstore.dev/about/bundle/) with a
//! [DSSE](https://github.com/secure-systems-lab/dsse) envelope.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::keys::{PrivateKey, PublicKey};

/// More than the signature of a hundred thousand files has.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// How the same version was written before.
const OLD_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Material {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<KeyName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<Certificates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<serde_json::Value>,
    tlog_entries: Option<Vec<serde_json::Value>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct KeyName {
    /// Absent in signatures of early versions, which have the key itself.
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Certificates {
    certificates: Vec<Certificate>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    raw_bytes: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: Option<String>,
}

/// A signature that was read and not verified.
pub(super) struct Bundle {
    pub(super) payload: Vec<u8>,
    signature: Vec<u8>,
    pub(super) method: Method,
}

/// What vouches for a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// A key, perhaps with its name.
    Key(Option<String>),
    /// A chain of certificates, that of the signer first.
    Certificates(Vec<CertificateDer<'static>>),
    /// A certificate of a moment, for an identity. This is the text of the whole bundle.
    Sigstore(String),
}

impl Bundle {
    /// Reads the file. The error is the reason, for humans.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|e| format!("it is not a bundle of Sigstore: {e}"))?;
        if ![MEDIA_TYPE, OLD_MEDIA_TYPE].contains(&file.media_type.as_str()) {
            return Err("it is a bundle of another version than 0.3".into());
        }
        if file.dsse_envelope.payload_type != PAYLOAD_TYPE {
            return Err("what it signs is no statement of in-toto".into());
        }
        let [signature] = file.dsse_envelope.signatures.as_slice() else {
            return Err(format!("it has {} signatures, and must have one", file.dsse_envelope.signatures.len()));
        };
        let decoded = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| "it is not in base64".to_owned());
        let material = file.verification_material;
        let method = match (material.public_key, material.x509_certificate_chain, material.certificate) {
            (Some(key), None, None) => Method::Key(key.hint.filter(|hint| !hint.is_empty())),
            (None, Some(chain), None) => {
                let der = |one: Certificate| decoded(&one.raw_bytes).map(CertificateDer::from);
                Method::Certificates(chain.certificates.into_iter().map(der).collect::<Result<_, _>>()?)
            }
            (None, None, Some(_)) if material.tlog_entries.is_none_or(|entries| entries.is_empty()) => {
                return Err("Sigstore vouches for it, and it names no entry of a log".into());
            }
            (None, None, Some(_)) => Method::Sigstore(String::from_utf8_lossy(bytes).into_owned()),
            _ => return Err("it does not say whether a key or certificates vouch for it".into()),
        };
        let (payload, signature) = (decoded(&file.dsse_envelope.payload)?, decoded(&signature.sig)?);
        Ok(Bundle { payload, signature, method })
    }

    /// What is signed, if this key has signed it. Nothing in it may be read before.
    pub(super) fn verified_by(&self, key: &PublicKey) -> Option<&[u8]> {
        key.verifies(&pre_authentication(&self.payload), &self.signature).then_some(&self.payload)
    }

    /// Signs a statement.
    pub(super) fn sign(payload: &[u8], key: &PrivateKey) -> Result<Vec<u8>, serde_json::Error> {
        let encoded = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let signature = Signature { sig: encoded(&key.sign(&pre_authentication(payload))), keyid: Some(String::new()) };
        let name = || KeyName { hint: Some(key.public_key().fingerprint().to_hex()) };
        let certificate = |der: &CertificateDer<'_>| Certificate { raw_bytes: encoded(der) };
        let chain = || Certificates { certificates: key.chain().iter().map(certificate).collect() };
        let by_key = key.chain().is_empty();
        serde_json::to_vec(&File {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material {
                public_key: by_key.then(name),
                x509_certificate_chain: (!by_key).then(chain),
                tlog_entries: Some(Vec::new()),
                ..Material::default()
            },
            dsse_envelope: Envelope {
                payload: encoded(payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![signature],
            },
        })
    }
}

/// What DSSE signs for a payload: its type and its bytes, each with its length.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let start = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [start.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgM71FI1wfreGLWq/W
J8YMzFoBub9RPsTbWkjsTdUOW2ChRANCAARZ3mUJV3IKvDUxRiIrYTs5WzgySjmV
BMbfTN5eJHm0GCpU0FZ/M/kuEe7+NLu+Y1A9Le6doLz57ehihG6c6nbu
-----END PRIVATE KEY-----
";

    fn key() -> PrivateKey {
        PrivateKey::from_pem(KEY).unwrap()
    }

    // Red when the envelope's bytes are not what is signed.
    #[test]
    fn only_what_the_key_has_signed_is_given_out() {
        let text = String::from_utf8(Bundle::sign(b"{}", &key()).unwrap()).unwrap();
        let public = key().public_key();
        let bundle = Bundle::parse(text.as_bytes()).unwrap();
        assert_eq!(bundle.verified_by(&public), Some(&b"{}"[..]));
        assert_eq!(bundle.method, Method::Key(Some(public.fingerprint().to_hex())));
        let other = text.replace("\"payload\":\"e30=\"", "\"payload\":\"W10=\"");
        assert_ne!(other, text);
        assert!(Bundle::parse(other.as_bytes()).unwrap().verified_by(&public).is_none());
    }

    // Red when a bundle of another kind is taken for one of a key.
    #[test]
    fn other_bundles_are_refused() {
        let text = String::from_utf8(Bundle::sign(b"{}", &key()).unwrap()).unwrap();
        for (from, to) in [
            (MEDIA_TYPE, "application/vnd.dev.sigstore.bundle.v0.2+json"),
            (PAYLOAD_TYPE, "text/plain"),
            ("\"signatures\":[", "\"signatures\":[{\"sig\":\"\"},"),
            ("\"publicKey\"", "\"other\""),
            ("\"publicKey\"", "\"certificate\":{},\"publicKey\""),
            ("\"publicKey\":{", "\"x509CertificateChain\":{\"certificates\":[{\"rawBytes\":\"?\"}]},\"no\":{"),
            ("\"e30=\"", "\"?\""),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Bundle::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        // What the specification says must be accepted.
        for (from, to) in [
            (MEDIA_TYPE, OLD_MEDIA_TYPE),
            (",\"tlogEntries\":[]", ""),
            ("\"tlogEntries\":[]", "\"tlogEntries\":null"),
            // Before version 1.1.0 of the peer, with the key itself instead of its name.
            ("\"hint\":\"", "\"keyDetails\":\"PKIX_ECDSA_P256_SHA_256\",\"rawBytes\":\""),
            ("\"keyid\":\"\"", "\"keyid\":null"),
            (",\"keyid\":\"\"", ""),
        ] {
            assert!(text.contains(from), "{from}");
            let text = text.replacen(from, to, 1);
            assert!(Bundle::parse(text.as_bytes()).unwrap().verified_by(&key().public_key()).is_some(), "{to}");
        }
    }
}
