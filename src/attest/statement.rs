//! What a signature signs: an in-toto statement with the files of a model and their digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::layout;

pub(super) const TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// Before version 1.0.
const OLD_PREDICATE_TYPE: &str = "https://model_signing/Digests/v0.1";

/// The name of the only file, if the model is one.
pub(super) const ONE_FILE: &str = ".";

/// What no signature covers.
pub(super) const IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    #[serde(default)]
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// The files that were signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) files: BTreeMap<String, Digest>,
    /// Paths that the signer left out, with all below them.
    pub(super) ignored: Vec<String>,
}

/// The digest of the whole that a statement claims. Nobody has signed it yet.
#[cfg(feature = "sigstore")]
pub(super) fn claimed_digest(payload: &[u8]) -> Option<Digest> {
    let statement: Statement = serde_json::from_slice(payload).ok()?;
    Digest::from_sha256_hex(statement.subject.first()?.digest.get("sha256")?)
}

impl Signed {
    /// Reads a statement whose signature is good. The error is the reason, for humans.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, String> {
        let unread = |e: serde_json::Error| format!("its statement makes no sense: {e}");
        let value: serde_json::Value = serde_json::from_slice(payload).map_err(unread)?;
        match value.get("predicateType").and_then(serde_json::Value::as_str) {
            Some(PREDICATE_TYPE) => {}
            Some(OLD_PREDICATE_TYPE) => return Err("it was made before version 1.0 of the format; sign again".into()),
            _ => return Err("its statement is not about the files of a model".into()),
        }
        let statement: Statement = serde_json::from_value(value).map_err(unread)?;
        if statement.kind != TYPE {
            return Err("its statement is of another type than in-toto 1".into());
        }
        let Serialization { method, hash_type, ignore_paths, .. } = statement.predicate.serialization;
        if method != "files" || hash_type != "sha256" {
            return Err(format!(
                "it has {hash_type} digests of {method}, and the catalog has SHA-256 digests of files"
            ));
        }
        let [subject] = statement.subject.as_slice() else { return Err("its statement is not about one model".into()) };
        let (mut files, mut all) = (BTreeMap::new(), Vec::new());
        for Resource { name, algorithm, digest } in statement.predicate.resources {
            let known = (algorithm == "sha256").then(|| Digest::from_sha256_hex(&digest)).flatten();
            let digest = known.ok_or_else(|| format!("it has no SHA-256 digest of {name:?}"))?;
            if name != ONE_FILE && !layout::is_plain_path(&name) {
                return Err(format!("it names the path {name:?}, which could lead elsewhere"));
            }
            all.extend_from_slice(digest.as_bytes());
            if files.insert(name.clone(), digest).is_some() {
                return Err(format!("it names {name:?} twice"));
            }
        }
        if files.is_empty() {
            return Err("it signs no file".into());
        }
        // Over the digests in the order in which they stand there.
        if subject.digest.get("sha256") != Some(&Digest::sha256_of(&all).to_hex()) {
            return Err("its digest of the whole model is not that of the digests of its files".into());
        }
        Ok(Signed { files, ignored: ignore_paths })
    }

    /// The statement about these files, in the order of their names.
    pub(super) fn encode(&self, name: &str) -> Result<Vec<u8>, serde_json::Error> {
        let all: Vec<u8> = self.files.values().flat_map(|digest| digest.as_bytes().to_vec()).collect();
        let resource = |(name, digest): (&String, &Digest)| Resource {
            name: name.clone(),
            algorithm: "sha256".into(),
            digest: digest.to_hex(),
        };
        let digest = BTreeMap::from([("sha256".to_owned(), Digest::sha256_of(&all).to_hex())]);
        serde_json::to_vec(&Statement {
            kind: TYPE.into(),
            subject: vec![Subject { name: name.to_owned(), digest }],
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                serialization: Serialization {
                    method: "files".into(),
                    hash_type: "sha256".into(),
                    allow_symlinks: false,
                    ignore_paths: self.ignored.clone(),
                },
                resources: self.files.iter().map(resource).collect(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Signed {
        let files = ["a", "sub/b"].map(|name| (name.to_owned(), Digest::sha256_of(name.as_bytes())));
        Signed { files: files.into(), ignored: vec!["model.sig".into()] }
    }

    #[test]
    fn a_statement_is_read_as_it_was_written() {
        let text = signed().encode("model").unwrap();
        assert_eq!(Signed::parse(&text), Ok(signed()));
        // Other members, and no list of what is ignored, are fine.
        let text = String::from_utf8(text).unwrap().replace("\"ignore_paths\":[\"model.sig\"]", "\"more\":1");
        assert_eq!(Signed::parse(text.as_bytes()).unwrap().ignored, [""; 0]);
    }

    // Red when a statement about nothing holds for any model whose files its signer ignores.
    #[test]
    fn a_statement_about_no_file_is_refused() {
        let empty = Signed { files: BTreeMap::new(), ignored: vec![".".into()] }.encode("model").unwrap();
        assert_eq!(Signed::parse(&empty).unwrap_err(), "it signs no file");
    }

    // Red when one of these is not checked.
    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = String::from_utf8(signed().encode("model").unwrap()).unwrap();
        let (a, b) = (Digest::sha256_of(b"a").to_hex(), Digest::sha256_of(b"sub/b").to_hex());
        for (from, to, why) in [
            (PREDICATE_TYPE, OLD_PREDICATE_TYPE, "before version 1.0"),
            (PREDICATE_TYPE, "https://slsa.dev/provenance/v1", "not about the files of a model"),
            (TYPE, "https://in-toto.io/Statement/v0.1", "of another type"),
            ("\"files\"", "\"shards\"", "SHA-256 digests of files"),
            ("\"hash_type\":\"sha256\"", "\"hash_type\":\"blake2b\"", "blake2b"),
            ("\"sub/b\"", "\"../b\"", "could lead elsewhere"),
            ("\"sub/b\"", "\"/b\"", "could lead elsewhere"),
            ("\"sub/b\"", "\"a\"", "twice"),
            (a.as_str(), b.as_str(), "digest of the whole model"),
            (a.as_str(), "00", "no SHA-256 digest of \"a\""),
            ("\"subject\":[", "\"subject\":[{\"digest\":{}},", "not about one model"),
            ("{\"_type\"", "[{\"_type\"", "makes no sense"),
        ] {
            assert!(text.contains(from), "{from}");
            let refused = Signed::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{to}: {refused}");
        }
    }
}
