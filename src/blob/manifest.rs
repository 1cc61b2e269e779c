//! A tree as a blob: an OCI image manifest of the ModelPack artifact type, with one `raw` layer per file.
//!
//! Sources: the [OCI image manifest](https://github.com/opencontainers/image-spec/blob/main/manifest.md) and the
//! [CNCF model specification](https://github.com/modelpack/model-spec). Nothing in it depends on time or machine, and
//! every file has the same media type whatever its name, so that equal trees have equal digests in every version.
//!
//! The manifest names a configuration by its digest. That document says nothing that the layers do not say, so it is
//! not stored as a blob: [`config`] computes it from them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::ser::Error as _;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::layout;
use crate::oci;

/// More than any model has; a manifest of this many files is about 45 MB.
pub(crate) const MAX_FILES: usize = 100_000;

/// More than the manifest of [`MAX_FILES`] files with the longest paths that are common.
pub(crate) const MAX_BYTES: u64 = 128 << 20;

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeFile {
    /// Relative, with `/` as separator; empty if the artifact is a single file.
    pub(crate) path: String,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
}

impl TreeFile {
    /// The file's path if the artifact is at `at`: that same path if the file is the artifact itself.
    pub(crate) fn below(&self, at: &Path) -> PathBuf {
        if self.path.is_empty() { at.to_path_buf() } else { at.join(&self.path) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// Returns the manifest's bytes. `files` must be sorted by path. More than [`MAX_BYTES`] is an error, because no reader
/// would accept it.
pub(crate) fn encode(files: &[TreeFile]) -> serde_json::Result<Vec<u8>> {
    encode_within(MAX_BYTES, files)
}

fn encode_within(max_bytes: u64, files: &[TreeFile]) -> serde_json::Result<Vec<u8>> {
    let layers = files.iter().map(|file| Descriptor {
        media_type: oci::MODEL_WEIGHT_RAW.into(),
        digest: file.digest,
        size: file.size_bytes,
        annotations: [oci::MODEL_FILE_PATH, oci::TITLE].map(|name| (name.to_owned(), file.path.clone())).into(),
    });
    let config = config(files);
    let bytes = serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type: oci::MANIFEST.into(),
        artifact_type: oci::MODEL.into(),
        config: Descriptor {
            media_type: oci::MODEL_CONFIG.into(),
            digest: Digest::sha256_of(&config),
            size: config.len() as u64,
            annotations: BTreeMap::new(),
        },
        layers: layers.collect(),
    })?;
    if bytes.len() as u64 > max_bytes {
        return Err(serde_json::Error::custom(format!("its manifest would have {} bytes", bytes.len())));
    }
    Ok(bytes)
}

/// The configuration that the manifest of these files names: that of a model about which only its layers are known.
pub(crate) fn config(files: &[TreeFile]) -> Vec<u8> {
    let layers: Vec<String> = files.iter().map(|file| format!("\"{}\"", file.digest)).collect();
    let layers = layers.join(",");
    format!(r#"{{"descriptor":{{}},"config":{{}},"modelfs":{{"type":"layers","diffIds":[{layers}]}}}}"#).into_bytes()
}

/// The configuration that a manifest of these files names, if it can be computed from them: ours, or the empty one that
/// earlier versions name.
pub(crate) fn named_config(bytes: &[u8], files: &[TreeFile]) -> Option<Vec<u8>> {
    let named = serde_json::from_slice::<Manifest>(bytes).ok()?.config.digest;
    [config(files), b"{}".to_vec()].into_iter().find(|config| Digest::sha256_of(config) == named)
}

/// Parses a manifest. The error says what is wrong with it. Its configuration need not be ours.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<TreeFile>, String> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| format!("it is not a manifest: {e}"))?;
    if manifest.schema_version != 2 || manifest.artifact_type != oci::MODEL {
        return Err(format!("it is not a manifest of the type {}", oci::MODEL));
    }
    if manifest.layers.len() > MAX_FILES {
        return Err(format!("it names more than {MAX_FILES} files"));
    }
    let mut files: Vec<TreeFile> = Vec::with_capacity(manifest.layers.len());
    for mut layer in manifest.layers {
        let path = layer.annotations.remove(oci::MODEL_FILE_PATH).ok_or("a layer has no file path")?;
        if let Some(title) = layer.annotations.get(oci::TITLE).filter(|title| **title != path) {
            return Err(format!("it gives one file two paths, {path:?} and {title:?}"));
        }
        if !is_tree_path(&path) {
            return Err(format!("it names the path {path:?}, which could lead out of the tree"));
        }
        if files.last().is_some_and(|last| last.path >= path) {
            return Err(format!("its paths are not sorted, or one occurs twice: {path:?}"));
        }
        files.push(TreeFile { path, digest: layer.digest, size_bytes: layer.size });
    }
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for path in &paths {
        let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        if let Some(folder) = folders.into_iter().find(|folder| paths.contains(folder)) {
            return Err(format!("it has {folder:?} both as a file and as a folder"));
        }
    }
    Ok(files)
}

/// Whether a path stays in its tree: only plain names separated by single slashes, no control characters.
pub(crate) fn is_tree_path(path: &str) -> bool {
    layout::is_plain_path(path) && !path.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> TreeFile {
        TreeFile { path: path.into(), digest: Digest::sha256_of(path.as_bytes()), size_bytes: path.len() as u64 }
    }

    #[test]
    fn a_manifest_is_the_same_bytes_for_ever() {
        let bytes = encode(&[file("a.gguf"), file("sub/b.json")]).unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap());
        assert_eq!(decode(&bytes).unwrap(), [file("a.gguf"), file("sub/b.json")]);
    }

    // The schema is schema/config-schema.json of the specification: it has exactly these members.
    #[test]
    fn the_configuration_names_the_layers_and_is_named_by_the_manifest() {
        let files = [file("a.gguf"), file("sub/b.json")];
        let config = config(&files);
        insta::assert_snapshot!(String::from_utf8(config.clone()).unwrap());
        let manifest: Manifest = serde_json::from_slice(&encode(&files).unwrap()).unwrap();
        assert_eq!((manifest.config.digest, manifest.config.size), (Digest::sha256_of(&config), config.len() as u64));
    }

    #[test]
    fn the_path_of_a_file_is_known_by_the_specifications_annotation() {
        let text = String::from_utf8(encode(&[file("a")]).unwrap()).unwrap();
        let title = format!(r#","{}":"a""#, oci::TITLE);
        assert!(text.contains(&title));
        let of = |title: &str| decode(text.replace(&format!(r#","{}":"a""#, oci::TITLE), title).as_bytes());
        assert_eq!(of("").unwrap(), [file("a")], "as others write it");
        // Red when the title is ignored: other tools would write a different tree.
        of(&title.replace(":\"a\"", ":\"b\"")).unwrap_err();
        decode(text.replace(oci::MODEL_FILE_PATH, "other").as_bytes()).unwrap_err();
        let foreign = text.replace(oci::MODEL_CONFIG, "application/vnd.oci.empty.v1+json");
        assert_eq!(decode(foreign.as_bytes()).unwrap(), [file("a")]);
    }

    // Red when `encode` does not refuse it: a sweep could not read it, and would remove the files of a leased tree.
    #[test]
    fn a_manifest_that_nobody_would_read_is_not_written() {
        let files = [file("a")];
        let bytes = encode(&files).unwrap();
        assert_eq!(encode_within(bytes.len() as u64, &files).unwrap(), bytes);
        encode_within(bytes.len() as u64 - 1, &files).unwrap_err();
    }

    #[test]
    fn hostile_manifests_are_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\nb", "a\0b"] {
            let bytes = encode(&[file(path)]).unwrap();
            decode(&bytes).expect_err(path);
        }
        decode(&encode(&[file("b"), file("a")]).unwrap()).unwrap_err();
        decode(&encode(&[file("a"), file("a")]).unwrap()).unwrap_err();
        decode(&encode(&[file("a"), file("a-b"), file("a/b")]).unwrap()).unwrap_err();
        decode(b"").unwrap_err();
        decode(b"{}").unwrap_err();
        decode("[".repeat(100_000).as_bytes()).unwrap_err();
        let other = String::from_utf8(encode(&[file("a")]).unwrap()).unwrap().replace("cncf.model.manifest", "other");
        decode(other.as_bytes()).unwrap_err();
    }
}
