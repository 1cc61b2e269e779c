//! The content of a manifest: the files of a model, named explicitly or by their media types.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::oci;
use crate::source::selection::Selection;
use crate::source::{Expected, RemoteFile, paths};

/// Registries accept manifests of up to 4 MiB. This limit is enough for a tree of a hundred thousand files.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The media types to request.
#[cfg(feature = "oci")]
pub(super) const MEDIA_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Annotations with the path of a file in its tree: of the CNCF model specification, and of the OCI image
/// specification.
const NAMES: [&str; 2] = [oci::MODEL_FILE_PATH, oci::TITLE];

/// The annotation by which ORAS marks a packed folder.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// The file names of unnamed layers, by media type: those of Ollama and of Docker Model Runner.
const TYPES: [(&str, &str); 14] = [
    ("application/vnd.ollama.image.model", "model.gguf"),
    ("application/vnd.ollama.image.projector", "projector.gguf"),
    ("application/vnd.ollama.image.adapter", "adapter.gguf"),
    ("application/vnd.ollama.image.template", "template"),
    ("application/vnd.ollama.image.prompt", "prompt"),
    ("application/vnd.ollama.image.system", "system"),
    ("application/vnd.ollama.image.params", "params.json"),
    ("application/vnd.ollama.image.messages", "messages.json"),
    ("application/vnd.ollama.image.license", "LICENSE"),
    ("application/vnd.docker.ai.gguf.v3", "model.gguf"),
    ("application/vnd.docker.ai.gguf.v3.lora", "adapter.gguf"),
    ("application/vnd.docker.ai.gguf.v3.mmproj", "projector.gguf"),
    ("application/vnd.docker.ai.license", "LICENSE"),
    ("application/vnd.docker.ai.chat.template.file", "template.jinja"),
];

/// More layers than any model has.
const MAX_LAYERS: usize = 100_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    layers: Vec<Layer>,
    /// An index has manifests instead of layers.
    #[serde(default)]
    manifests: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Files(ArtifactKind, Vec<LayerFile>),
    /// A list that contains only this manifest.
    Manifest(Digest),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct LayerFile {
    pub(super) path: String,
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
}

/// Returns the model that a manifest names, or the only model in a list of manifests: its kind, its name and its files.
/// `first` is the manifest with its digest, `next` fetches another manifest, `url` is where a file is, and `label` is
/// the name of a tree.
pub(super) fn model(
    (digest, bytes): (Digest, &[u8]),
    label: &str,
    selection: &Selection,
    fail: &dyn Fn(String) -> Error,
    next: impl FnOnce(&Digest) -> Result<Vec<u8>>,
    url: impl Fn(&Digest) -> Result<String>,
) -> Result<(ArtifactKind, String, Vec<RemoteFile>)> {
    let (kind, files, named_in) = match read(bytes, selection).map_err(fail)? {
        Content::Files(kind, files) => (kind, files, digest),
        Content::Manifest(digest) => match read(&next(&digest)?, selection).map_err(fail)? {
            Content::Files(kind, files) => (kind, files, digest),
            Content::Manifest(_) => return Err(fail("it is a list of lists".into())),
        },
    };
    let name = match (kind, files.as_slice()) {
        (ArtifactKind::File, [file]) => file.path.rsplit('/').next().unwrap_or(&file.path),
        _ => label,
    };
    let name = name.to_owned();
    let file = |LayerFile { path, digest, size_bytes }| {
        let file = RemoteFile::new(path, url(&digest)?).with_size(size_bytes).with_manifest(named_in);
        Ok(file.with_expected(Expected::Sha256(digest)))
    };
    Ok((kind, name, files.into_iter().map(file).collect::<Result<_>>()?))
}

/// Parses a manifest or a list of manifests. The error says why it is not a model that can be fetched.
pub(super) fn read(bytes: &[u8], selection: &Selection) -> Result<Content, String> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| format!("it is not a manifest: {e}"))?;
    if manifest.schema_version != 2 {
        return Err(format!(
            "it is a manifest of version {}, and only version 2 is supported",
            manifest.schema_version
        ));
    }
    if manifest.layers.is_empty() && !manifest.manifests.is_empty() {
        return only_one(&manifest.manifests);
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(format!("it has more than {MAX_LAYERS} layers"));
    }
    // A single layer is a file. Several layers are a tree, no matter how many are selected.
    let kind = if manifest.layers.len() == 1 { ArtifactKind::File } else { ArtifactKind::Tree };
    let mut files = Vec::with_capacity(manifest.layers.len());
    let mut unnamed: BTreeMap<&str, u32> = BTreeMap::new();
    for layer in &manifest.layers {
        let path = path_of(layer, &mut unnamed)?;
        paths::check(&path)?;
        files.push(LayerFile { path, digest: layer.digest, size_bytes: layer.size });
    }
    paths::check_apart(files.iter().map(|file| file.path.as_str()))?;
    files.retain(|file| selection.takes(&file.path));
    if files.is_empty() {
        return Err("none of its files is selected".into());
    }
    Ok(Content::Files(kind, files))
}

/// In lists by Docker's tools, signatures and the like have no operating system or an unknown one.
fn only_one(manifests: &[Layer]) -> Result<Content, String> {
    let is_known = |manifest: &&Layer| manifest.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let mut known = manifests.iter().filter(is_known);
    match (known.next(), known.next()) {
        (Some(manifest), None) => Ok(Content::Manifest(manifest.digest)),
        (None, _) => Err("it is a list without a manifest".into()),
        (Some(_), Some(_)) => {
            let all: Vec<String> =
                manifests.iter().filter(is_known).take(10).map(|manifest| format!("@{}", manifest.digest)).collect();
            Err(format!("it is a list of several manifests; name one of them: {}", all.join(", ")))
        }
    }
}

fn path_of(layer: &Layer, unnamed: &mut BTreeMap<&'static str, u32>) -> Result<String, String> {
    let kind = layer.media_type.as_str();
    if is_archive(layer) {
        return Err(format!(
            "a layer is an archive ({}), and archives are not unpacked; fetch it with a tool that unpacks them, and \
             stage the folder",
            excerpt(kind)
        ));
    }
    let mut names = NAMES.iter().filter_map(|name| layer.annotations.get(*name));
    match (names.next(), names.next()) {
        (Some(one), Some(other)) if one != other => {
            Err(format!("it gives one file two paths, {:?} and {:?}", excerpt(one), excerpt(other)))
        }
        (Some(name), _) => Ok(name.clone()),
        (None, _) => {
            let known = TYPES.iter().find(|(known, _)| *known == kind);
            let (_, name) = known.ok_or_else(|| format!("a layer of the type {:?} has no name", excerpt(kind)))?;
            let number = unnamed.entry(name).and_modify(|number| *number += 1).or_insert(1);
            Ok(if *number == 1 { (*name).to_owned() } else { format!("{name}.{number}") })
        }
    }
}

/// Whether the layer has to be unpacked. ORAS gives this archive type to every single file, together with its name, and
/// marks folders that it has packed.
fn is_archive(layer: &Layer) -> bool {
    let kind = layer.media_type.split(';').next().unwrap_or_default().trim_end();
    let is_packed = layer.annotations.get(UNPACK).is_some_and(|unpack| unpack == "true");
    let is_plain = kind == "application/vnd.oci.image.layer.v1.tar" && layer.annotations.contains_key(oci::TITLE);
    let is_archive = kind.split(['.', '+']).any(|part| matches!(part, "tar" | "gzip" | "zstd" | "zip" | "tgz"));
    is_packed || (is_archive && !is_plain)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const RAW: &str = "application/vnd.cncf.model.weight.v1.raw";

    fn layer(kind: &str, annotations: Value) -> Value {
        json!({"mediaType": kind, "digest": format!("sha256:{}", "1".repeat(64)), "size": 3, "annotations": annotations})
    }

    fn named(name: &str) -> Value {
        layer(RAW, json!({"org.opencontainers.image.title": name}))
    }

    fn read_layers(layers: &[Value]) -> Result<Content, String> {
        let manifest = json!({"schemaVersion": 2, "layers": layers});
        read(manifest.to_string().as_bytes(), &Selection::new(&[], &[]))
    }

    fn paths(layers: &[Value]) -> Vec<String> {
        match read_layers(layers).unwrap() {
            Content::Files(_, files) => files.into_iter().map(|file| file.path).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_carried_or_meant() {
        assert_eq!(paths(&[named("a/b.json"), named("c.gguf")]), ["a/b.json", "c.gguf"]);
        let ollama = |kind: &str| layer(&format!("application/vnd.ollama.image.{kind}"), json!({}));
        assert_eq!(
            paths(&[ollama("model"), ollama("license"), ollama("license")]),
            ["model.gguf", "LICENSE", "LICENSE.2"]
        );
    }

    // Red when every file pushed by ORAS is taken for an archive.
    #[test]
    fn a_file_of_oras() {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        assert_eq!(paths(&[layer(kind, json!({"org.opencontainers.image.title": "a"}))]), ["a"]);
    }

    // Red when a tree with one selected file is taken for a file.
    #[test]
    fn one_layer_is_a_file() {
        assert!(matches!(read_layers(&[named("a")]), Ok(Content::Files(ArtifactKind::File, _))));
        let manifest = json!({"schemaVersion": 2, "layers": [named("a"), named("b")]}).to_string();
        let selected = read(manifest.as_bytes(), &Selection::new(&["b".into()], &[]));
        assert!(matches!(selected, Ok(Content::Files(ArtifactKind::Tree, files)) if files.len() == 1));
        assert!(read(manifest.as_bytes(), &Selection::new(&["c".into()], &[])).is_err());
    }

    #[rstest]
    #[case::up(named("../a"), "not a plain path")]
    #[case::absolute(named("/a"), "not a plain path")]
    #[case::control(named("a\n"), "not a plain path")]
    #[case::nameless(layer(RAW, json!({})), "has no name")]
    #[case::two_names(layer(RAW, json!({"org.opencontainers.image.title": "a", "org.cncf.model.filepath": "b"})), "two paths")]
    #[case::docker(layer("application/vnd.docker.image.rootfs.diff.tar.gzip", json!({})), "an archive")]
    #[case::oci(layer("application/vnd.oci.image.layer.v1.tar", json!({})), "an archive")]
    #[case::oras(layer("application/vnd.oci.image.layer.v1.tar", json!({"org.opencontainers.image.title": "a",
        "io.deis.oras.content.unpack": "true"})), "an archive")]
    #[case::oci_gzip(layer("application/vnd.oci.image.layer.v1.tar+gzip", json!({"org.opencontainers.image.title": "a"})), "an archive")]
    #[case::oci_zstd(layer("application/vnd.oci.image.layer.v1.tar+zstd", json!({})), "an archive")]
    #[case::model_pack(layer("application/vnd.cncf.model.weight.v1.tar", json!({})), "an archive")]
    fn what_is_no_file_of_a_model(#[case] layer: Value, #[case] problem: &str) {
        let error = read_layers(&[layer]).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }

    #[test]
    fn two_files_are_apart() {
        for pair in [["a", "a"], ["a", "a/b"]] {
            read_layers(&pair.map(named)).unwrap_err();
        }
    }

    #[test]
    fn a_list_of_one_is_that_one() {
        let digit = |digit: &str| json!({"digest": format!("sha256:{}", digit.repeat(64)), "size": 1});
        let mut attestation = digit("2");
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let list = |manifests: &[Value]| {
            let list = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
            read(list.as_bytes(), &Selection::new(&[], &[]))
        };
        assert_eq!(list(&[digit("1"), attestation]), Ok(Content::Manifest(Digest::from_sha256([0x11; 32]))));
        assert!(list(&[digit("1"), digit("3")]).unwrap_err().contains(&"3".repeat(64)));
        assert!(read(br#"{"schemaVersion": 1}"#, &Selection::new(&[], &[])).is_err());
    }
}
