//! Signers that Sigstore knows by name.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// An identity that signs without a key of its own: [Sigstore](https://docs.sigstore.dev) issues a certificate for minutes to
/// whom an OpenID provider has logged in, and a public log keeps the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SigningIdentity {
    /// The name in the certificate, such as a mail address or the URL of a workflow. Compared as a whole, byte for byte.
    pub name: String,
    /// The URL of the OpenID provider.
    pub issuer: String,
    /// The keys of the Sigstore instance: a `trusted_root.json`. `None`: those of the public one, as this version has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_root: Option<String>,
}

impl SigningIdentity {
    /// An identity of the public Sigstore.
    #[must_use]
    pub fn new(name: impl Into<String>, issuer: impl Into<String>) -> Self {
        SigningIdentity { name: name.into(), issuer: issuer.into(), trusted_root: None }
    }

    /// Sets [`trusted_root`](SigningIdentity::trusted_root).
    #[must_use]
    pub fn with_trusted_root(mut self, trusted_root: Option<String>) -> Self {
        self.trusted_root = trusted_root;
        self
    }

    /// What tells this identity from others: the SHA-256 of name, issuer and the SHA-256 of the trusted root, as a JSON array.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let root = self.trusted_root.as_ref().map(|text| Digest::sha256_of(text.as_bytes()).to_hex());
        let parts = serde_json::json!([self.name, self.issuer, root]);
        Digest::sha256_of(parts.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when two identities, or one of two instances of Sigstore, pass for each other.
    #[test]
    fn each_part_tells_identities_apart() {
        let of = |name, issuer, root: Option<&str>| {
            SigningIdentity::new(name, issuer).with_trusted_root(root.map(str::to_owned)).fingerprint()
        };
        let all = [of("a", "b", None), of("a", "c", None), of("ab", "", None), of("a", "b", Some("{}"))];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(of("a", "b", None), all[0]);
    }
}
