//! Digests: the only way in which untrusted text can become part of a blob path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::excerpt::excerpt;

/// The error for text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not read {input:?} as a digest: {reason}; a digest is sha256:<64 lowercase hex digits>")]
pub struct DigestError {
    /// The text, cut to a printable length.
    input: String,
    /// What is wrong with it.
    reason: &'static str,
}

impl DigestError {
    pub(crate) fn new(text: &str, reason: &'static str) -> Self {
        DigestError { input: excerpt(text), reason }
    }
}

/// A digest algorithm that names blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, [FIPS 180-4](https://doi.org/10.6028/NIST.FIPS.180-4).
    Sha256,
}

impl Algorithm {
    const ALL: [Algorithm; 1] = [Algorithm::Sha256];

    /// The name before the colon of a digest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(name: &str) -> Result<Self, DigestError> {
        let unknown = || DigestError::new(name, UNKNOWN_ALGORITHM);
        Algorithm::named(name).ok_or_else(unknown)
    }
}

const UNKNOWN_ALGORITHM: &str = "the algorithm is not sha256";

/// An algorithm and its output, always written as `sha256:<64 lowercase hex>`.
///
/// Parsing accepts exactly that form: no upper case, no blanks, no other length, no other algorithm. A blob path is
/// built from the parsed bytes, never from the text.
///
/// ```
/// # use catalog_core::Digest;
/// let digest = Digest::sha256_of(b"");
/// assert_eq!(format!("{digest:.12x}"), "e3b0c44298fc");
/// assert_eq!(Digest::try_from(digest.to_string().as_str())?, digest);
/// # Ok::<_, catalog_core::DigestError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 32],
}

impl Digest {
    /// The digest with these SHA-256 output bytes.
    #[must_use]
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Digest { algorithm: Algorithm::Sha256, bytes }
    }

    /// Parses the digits after `sha256:`; `None` if they are not a digest.
    pub(crate) fn from_sha256_hex(digits: &str) -> Option<Self> {
        sha256_of_digits(digits).ok()
    }

    /// The SHA-256 of `bytes`, which are in memory already.
    #[must_use]
    pub fn sha256_of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Digest::from_sha256(sha2::Sha256::digest(bytes).into())
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes; 32 for SHA-256.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the SHA-256; every digest of this version is one.
    pub(crate) fn to_sha256(self) -> [u8; 32] {
        self.bytes
    }

    /// The bytes in lowercase hex, without the algorithm; 64 digits for SHA-256.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.to_hex())
    }
}

/// Like [`to_hex`](Digest::to_hex); a precision limits the number of digits.
impl fmt::LowerHex for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl TryFrom<&str> for Digest {
    type Error = DigestError;

    fn try_from(text: &str) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let fail = |reason| DigestError::new(text, reason);
        let (name, digits) = text.split_once(':').ok_or_else(|| fail("there is no `algorithm:` in front"))?;
        let Algorithm::Sha256 = Algorithm::named(name).ok_or_else(|| fail(UNKNOWN_ALGORITHM))?;
        sha256_of_digits(digits).map_err(fail)
    }
}

/// The error says what is wrong with the digits.
fn sha256_of_digits(digits: &str) -> Result<Digest, &'static str> {
    if digits.len() != 64 {
        return Err("there are not exactly 64 hex digits");
    }
    if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("there is something other than 0-9 and a-f");
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| "the digits are not hex")?;
    Ok(Digest::from_sha256(bytes))
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "schema")]
crate::json::schema_of_text!(Digest, "A SHA-256 digest.", "^sha256:[0-9a-f]{64}$");

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The result of [`verify_digest`]. Each outcome carries its reason as a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
#[must_use]
pub enum VerificationOutcome {
    /// Both digests exist and are equal.
    Pass {
        /// Why.
        reason: String,
    },
    /// There is no expected digest to compare with.
    Warn {
        /// Why.
        reason: String,
    },
    /// The digests differ, or one was expected and the content has none.
    Fail {
        /// Why.
        reason: String,
    },
}

impl VerificationOutcome {
    /// Whether the digests are equal.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        matches!(self, VerificationOutcome::Pass { .. })
    }

    /// The word for this outcome: `pass`, `warn` or `fail`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            VerificationOutcome::Pass { .. } => "pass",
            VerificationOutcome::Warn { .. } => "warn",
            VerificationOutcome::Fail { .. } => "fail",
        }
    }

    /// The reason, whatever the outcome.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            VerificationOutcome::Pass { reason }
            | VerificationOutcome::Warn { reason }
            | VerificationOutcome::Fail { reason } => reason,
        }
    }
}

impl fmt::Display for VerificationOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.as_str(), self.reason())
    }
}

/// Compares the digest of the content with the expected one.
pub fn verify_digest(actual: Option<&Digest>, expected: Option<&Digest>) -> VerificationOutcome {
    match (actual, expected) {
        (Some(a), Some(e)) if a == e => VerificationOutcome::Pass { reason: format!("the digest is {e} as expected") },
        (Some(a), Some(e)) => VerificationOutcome::Fail { reason: format!("the digest is {a}, expected {e}") },
        (None, Some(e)) => {
            VerificationOutcome::Fail { reason: format!("expected {e}, and there is no digest of the content") }
        }
        (Some(a), None) => VerificationOutcome::Warn { reason: format!("no digest was expected; the content is {a}") },
        (None, None) => VerificationOutcome::Warn { reason: "no digest was expected, and none was computed".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_and_bytes_are_one_digest() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest, Digest::sha256_of(b""));
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!((format!("{digest:x}"), format!("{digest:.4x}")), (digest.to_hex(), "e3b0".into()));
        assert_eq!(hex::encode(digest), digest.to_hex());
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("{EMPTY:?}"));
        assert_eq!(serde_json::from_str::<Digest>(&format!("{EMPTY:?}")).unwrap(), digest);
        // An escaped character cannot be borrowed from the input: parsing must still work.
        assert_eq!(
            serde_json::from_str::<Digest>(&format!("{:?}", EMPTY.replace('a', "\\u0061")).replace("\\\\", "\\"))
                .unwrap(),
            digest
        );
    }

    #[test]
    fn an_algorithm_has_one_name() {
        for algorithm in Algorithm::ALL {
            let name = algorithm.to_string();
            assert_eq!((name.as_str(), name.parse::<Algorithm>().unwrap()), (algorithm.as_str(), algorithm));
            assert_eq!(serde_json::to_string(&algorithm).unwrap(), format!("{name:?}"));
            assert_eq!(serde_json::from_str::<Algorithm>(&format!("{name:?}")).unwrap(), algorithm);
        }
        for other in ["", "SHA256", "sha-256", "sha512", "sha256:"] {
            other.parse::<Algorithm>().expect_err(other);
        }
    }

    #[test]
    fn every_other_form_is_rejected() {
        let hex = &EMPTY[7..];
        for bad in [
            String::new(),
            "sha256:".into(),
            hex.into(),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:{hex}\n"),
            format!(" sha256:{hex}"),
            format!("sha256:{hex} "),
            format!("SHA256:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha512:{hex}"),
            format!("sha256-{hex}"),
            format!("sha256:sha256:{hex}"),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:{}\0", &hex[1..]),
            format!("sha256:{}é", &hex[2..]), // 64 bytes, 63 characters
            format!("sha256:0x{}", &hex[2..]),
        ] {
            let error = bad.parse::<Digest>().expect_err(&bad);
            assert!(error.to_string().contains("as a digest"), "{bad:?}: {error}");
            assert!(serde_json::from_value::<Digest>(bad.clone().into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_five_cases_of_a_comparison() {
        let a = Digest::sha256_of(b"a");
        let b = Digest::sha256_of(b"b");
        assert!(matches!(verify_digest(Some(&a), Some(&a)), VerificationOutcome::Pass { .. }));
        assert!(matches!(verify_digest(Some(&a), Some(&b)), VerificationOutcome::Fail { .. }));
        assert!(matches!(verify_digest(None, Some(&b)), VerificationOutcome::Fail { .. }));
        assert!(matches!(verify_digest(Some(&a), None), VerificationOutcome::Warn { .. }));
        assert!(matches!(verify_digest(None, None), VerificationOutcome::Warn { .. }));
        assert!(verify_digest(Some(&a), Some(&b)).reason().contains(&b.to_string()));
    }
}
