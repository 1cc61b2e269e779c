//! The content of a bucket below the prefix of models: an OCI image layout, so that image tools can read it after it is
//! copied to a disk.
//!
//! ```text
//! PREFIX/oci-layout            which version of it
//! PREFIX/index.json            manifests, each under its names; changed by compare and swap
//! PREFIX/blobs/sha256/HEX      what hashes to that: manifests, and what they name
//! PREFIX/outboards/sha256/HEX  what each MiB of the files of the manifest with this digest is; other tools pass it over
//! ```
//!
//! Source: the [OCI image specification](https://github.com/opencontainers/image-spec/blob/main/image-layout.md).

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::options::ESCAPED;
use super::place::{Name, Place};
use crate::digest::Digest;
use crate::oci;

/// More than an index of a hundred thousand names needs.
pub(super) const MAX_INDEX_BYTES: u64 = 32 << 20;

pub(super) const INDEX: &str = "index.json";

/// The layout below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) bucket: String,
    /// Ends with a slash, or is empty.
    prefix: String,
    pub(super) name: Option<Name>,
}

impl Layout {
    pub(super) fn of(place: Place) -> Self {
        let Place { bucket, key, name, .. } = place;
        let prefix = key.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Layout { bucket, prefix, name }
    }

    pub(super) fn key(&self, below: &str) -> String {
        format!("{}{below}", self.prefix)
    }

    pub(super) fn blob(&self, digest: &Digest) -> String {
        self.key(&format!("blobs/sha256/{}", digest.to_hex()))
    }

    pub(super) fn outboards(&self, manifest: &Digest) -> String {
        self.key(&outboards(manifest))
    }

    /// The last component of the name or the prefix; otherwise the bucket.
    pub(super) fn label(&self) -> &str {
        let of_prefix = || self.prefix.split('/').rfind(|part| !part.is_empty()).unwrap_or(&self.bucket);
        match &self.name {
            Some(Name::Tag(name)) => name.rsplit('/').next().unwrap_or(name),
            _ => of_prefix(),
        }
    }

    /// The reference to the place, without a name.
    pub(super) fn place(&self) -> String {
        let prefix = utf8_percent_encode(self.prefix.trim_end_matches('/'), &ESCAPED);
        format!("s3://{}/{prefix}", self.bucket).trim_end_matches('/').to_owned()
    }

    /// The reference to the model with this name or digest.
    pub(super) fn reference(&self, name: &str) -> String {
        format!("{}#{name}", self.place())
    }
}

/// The key of the document with the values of each MiB of a manifest's files.
pub(super) fn outboards(manifest: &Digest) -> String {
    format!("outboards/sha256/{}", manifest.to_hex())
}

/// Finds the manifest with this name in the index. The error says why that is not possible.
pub(super) fn find(index: &[u8], name: &str) -> Result<Option<Digest>, String> {
    let index = read(index)?;
    let mut found = manifests(&index).filter(|manifest| name_of(manifest) == Some(name)).map(digest_of);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(format!("it has two manifests under the name {name:?}")),
        (Some(digest), None) => digest.map(Some).ok_or_else(|| "it has a manifest without a digest".to_owned()),
        (None, _) => Ok(None),
    }
}

/// Some names in the index, for an error message.
pub(super) fn some_names(index: &[u8]) -> Vec<String> {
    let Ok(index) = read(index) else { return Vec::new() };
    let names = manifests(&index).filter_map(name_of).map(str::to_owned);
    names.take(10).collect()
}

/// Returns an index in which only this manifest has these names, or `None` if that is already so. Keeps members that it
/// does not know.
pub(super) fn with_names(
    index: Option<&[u8]>,
    digest: &Digest,
    size_bytes: u64,
    names: &[String],
) -> Result<Option<Vec<u8>>, String> {
    let mut index = match index {
        Some(bytes) => read(bytes)?,
        None => Map::from_iter([
            ("schemaVersion".to_owned(), json!(2)),
            ("mediaType".to_owned(), json!(oci::INDEX)),
            ("manifests".to_owned(), json!([])),
        ]),
    };
    let is_own = |manifest: &Value| digest_of(manifest) == Some(*digest);
    let is_named = |name: &String| {
        let mut named = manifests(&index).filter(|manifest| name_of(manifest) == Some(name));
        named.next().is_some_and(is_own) && named.next().is_none()
    };
    let missing: Vec<&String> = names.iter().filter(|name| !is_named(name)).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let Some(Value::Array(all)) = index.get_mut("manifests") else { return Err("it has no manifests".into()) };
    all.retain(|manifest| !missing.iter().any(|name| name_of(manifest) == Some(name)));
    for name in missing {
        let annotations = json!({ oci::REF_NAME: name });
        let digest = digest.to_string();
        all.push(json!({"mediaType": oci::MANIFEST, "digest": digest, "size": size_bytes, "annotations": annotations}));
    }
    serde_json::to_vec(&index).map(Some).map_err(|e| e.to_string())
}

fn read(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let index: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| format!("it is not an index: {e}"))?;
    match (index.get("schemaVersion").and_then(Value::as_u64), index.get("manifests")) {
        (Some(2), Some(Value::Array(_))) => Ok(index),
        _ => Err("it is not an index of version 2 with a list of manifests".into()),
    }
}

fn manifests(index: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    index.get("manifests").and_then(Value::as_array).into_iter().flatten()
}

fn name_of(manifest: &Value) -> Option<&str> {
    manifest.get("annotations")?.get(oci::REF_NAME)?.as_str()
}

fn digest_of(manifest: &Value) -> Option<Digest> {
    manifest.get("digest")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    // Red when another tool's members are lost, when a name leads to two manifests, or when an unchanged index is
    // written again.
    #[test]
    fn names_are_added() {
        let (one, two) = (Digest::sha256_of(b"1"), Digest::sha256_of(b"2"));
        let first = with_names(None, &one, 1, &names(&["a", "b"])).unwrap().unwrap();
        assert_eq!(with_names(Some(&first), &one, 1, &names(&["b", "a"])), Ok(None));
        let mut index: Value = serde_json::from_slice(&first).unwrap();
        index["other"] = json!("kept");
        index["manifests"].as_array_mut().unwrap().push(json!({"digest": "blake3:0", "size": 1, "more": 2}));
        let second = with_names(Some(index.to_string().as_bytes()), &two, 2, &names(&["b", "c"])).unwrap().unwrap();
        let found = |name: &str| find(&second, name).unwrap();
        assert_eq!([found("a"), found("b"), found("c"), found("d")], [Some(one), Some(two), Some(two), None]);
        let index: Value = serde_json::from_slice(&second).unwrap();
        assert_eq!((&index["other"], index["manifests"].as_array().unwrap().len()), (&json!("kept"), 4));
        assert_eq!(index["manifests"][1]["more"], json!(2));
        assert_eq!(some_names(&second), ["a", "b", "c"]);
    }

    // Red when a file that is not an index is overwritten.
    #[test]
    fn what_is_no_index() {
        for text in
            ["", "[]", "{}", r#"{"schemaVersion": 1, "manifests": []}"#, r#"{"schemaVersion": 2, "manifests": {}}"#]
        {
            with_names(Some(text.as_bytes()), &Digest::sha256_of(b""), 0, &names(&["a"])).unwrap_err();
            find(text.as_bytes(), "a").unwrap_err();
        }
        let twice = json!({"schemaVersion": 2, "manifests": [{"annotations": {oci::REF_NAME: "a"}}, {"annotations": {oci::REF_NAME: "a"}}]});
        find(twice.to_string().as_bytes(), "a").unwrap_err();
    }

    #[test]
    fn where_it_is() {
        let layout = |text: &str| Layout::of(Place::parse(text).unwrap());
        for (text, place, key) in [
            ("s3://b", "s3://b", "index.json"),
            ("s3://b/", "s3://b", "index.json"),
            ("s3://b/p%20q/r/#a", "s3://b/p%20q/r", "p q/r/index.json"),
            ("s3://b/p#a", "s3://b/p", "p/index.json"),
        ] {
            let layout = layout(text);
            assert_eq!((layout.place().as_str(), layout.key(INDEX).as_str()), (place, key), "{text}");
            assert_eq!(Layout::of(Place::parse(&layout.place()).unwrap()).key(INDEX), key);
        }
    }
}
