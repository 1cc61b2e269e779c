//! OCI image layouts: what `export` writes, and what skopeo, oras and others write.
//!
//! ```text
//! oci-layout
//! index.json               the manifests, with their tags
//! blobs/sha256/<64 hex>    a manifest, a configuration, or a layer
//! ```
//!
//! A model is a manifest of the ModelPack type with raw layers, or one of Docker Model Runner. A layer that is a tar
//! archive has other bytes than the file in it, so such a model is skipped.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::docker;
use super::found::{Found, FoundFile};
use super::layers::{Layer, blob};
use super::names;
use super::reader::{MAX_JSON_BYTES, Reader, parse, shown};
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::oci;

const INDEX: &str = "index.json";
const MODELPACK: &str = "application/vnd.cncf.model.";

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    digest: Digest,
    size: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    artifact_type: Option<String>,
    /// The manifest that it refers to.
    #[serde(default)]
    subject: Option<IgnoredAny>,
    config: Layer,
    layers: Vec<Layer>,
}

pub(super) fn scan(reader: &mut Reader) {
    let root = reader.root();
    let at = root.join(INDEX);
    let index: Index = match reader.json(&at) {
        Ok(index) => index,
        Err(problem) => return reader.skip(at, problem),
    };
    let folder = root.file_name().and_then(|name| name.to_str()).unwrap_or("layout").to_owned();
    for listed in &index.manifests {
        match found(reader, &root, &folder, listed) {
            Ok(Some(found)) => reader.add(&at, found),
            Ok(None) => {}
            Err(reason) => reader.skip(&at, format!("{}: {reason}", shown(&listed.name()))),
        }
    }
}

impl Listed {
    fn tag(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(oci::REF_NAME).map(String::as_str).filter(|tag| !tag.is_empty())
    }

    /// Its tag; without one, the first digits of its digest.
    fn name(&self) -> String {
        self.tag().map_or_else(|| format!("{:.12x}", self.digest), str::to_owned)
    }
}

/// `None`: it is a document beside a manifest, and no model.
fn found(reader: &Reader, root: &Path, folder: &str, listed: &Listed) -> Result<Option<Found>, String> {
    if listed.media_type.as_ref().is_some_and(|kind| kind.contains("index") || kind.contains("manifest.list")) {
        return Err("it is a list of manifests, and not one".into());
    }
    let at = root.join("blobs").join("sha256").join(listed.digest.to_hex());
    let bytes = reader.read(&at, MAX_JSON_BYTES).map_err(|problem| format!("its manifest: {problem}"))?;
    if bytes.len() as u64 != listed.size {
        return Err(format!("its manifest has {} of {} bytes", bytes.len(), listed.size));
    }
    if Digest::sha256_of(&bytes) != listed.digest {
        return Err("its manifest has other bytes than its digest says".into());
    }
    let manifest: Manifest = parse(&bytes).map_err(|problem| format!("its manifest: {problem}"))?;
    if manifest.schema_version != 2 {
        return Err("its manifest is not of version 2".into());
    }
    let kind = manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type);
    // Some registries strip the type of a manifest, but never that of its configuration.
    let is_modelpack = kind == oci::MODEL || manifest.config.media_type == oci::MODEL_CONFIG;
    let name = names::plain(names::file_name(&listed.name()));
    let (kind, name, files) = if is_modelpack {
        modelpack(reader, root, &manifest.layers, name)?
    } else if manifest.config.media_type.starts_with(docker::MEDIA_TYPE) {
        docker::files(reader, root, &manifest.layers, name)?
    } else if manifest.subject.is_some() {
        return Ok(None);
    } else {
        return Err(format!("it is no model, but {}", shown(kind)));
    };
    let id = match listed.tag() {
        Some(tag) => format!("oci:{folder}:{tag}"),
        None => format!("oci:{folder}@{:.12x}", listed.digest),
    };
    let pinned = Some(listed.digest.to_string());
    Ok(Some(Found { tool: reader.tool(), id, also: Vec::new(), pinned, kind, name, files, is_whole: true }))
}

/// One layer is one file, as when it is pulled from a registry.
fn modelpack(
    reader: &Reader,
    root: &Path,
    layers: &[Layer],
    name: String,
) -> Result<(ArtifactKind, String, Vec<FoundFile>), String> {
    let mut files = Vec::new();
    for layer in layers {
        let kind = layer.media_type.as_str();
        match kind.strip_prefix(MODELPACK) {
            Some(rest) if rest.ends_with(".raw") => {}
            Some(rest) if rest.contains(".tar") => return Err("a layer is a tar archive".into()),
            _ => return Err(format!("a layer of an unknown type: {}", shown(kind))),
        }
        let path = layer.annotations.get(oci::MODEL_FILE_PATH).or_else(|| layer.annotations.get(oci::TITLE));
        let path = path.ok_or("a layer has no file path")?;
        files.push(blob(reader, &docker::blob_at(root, layer), layer, path.clone())?);
    }
    Ok(match files.as_mut_slice() {
        [file] => {
            let name = names::file_name(&file.path).to_owned();
            file.path = String::new();
            (ArtifactKind::File, name, files)
        }
        _ => (ArtifactKind::Tree, name, files),
    })
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::fake::{Fake, digits};
    use super::super::{Tool, scan, tool_of};
    use super::*;

    fn blob(fake: &Fake, bytes: &str) -> (String, usize) {
        fake.file(&format!("blobs/sha256/{}", digits(bytes)), bytes);
        (digits(bytes), bytes.len())
    }

    fn layer(fake: &Fake, kind: &str, bytes: &str, path: &str) -> String {
        let (digest, size) = blob(fake, bytes);
        let notes = format!(r#""annotations": {{"{}": "{path}"}}"#, oci::MODEL_FILE_PATH);
        format!(r#"{{"mediaType": "{kind}", "digest": "sha256:{digest}", "size": {size}, {notes}}}"#)
    }

    fn raw(fake: &Fake, bytes: &str, path: &str) -> String {
        layer(fake, "application/vnd.cncf.model.weight.v1.raw", bytes, path)
    }

    /// Adds a manifest, and returns its entry for the index.
    fn manifest(fake: &Fake, tag: &str, config: &str, layers: &[String]) -> String {
        let config = layer(fake, config, "{}", "x");
        let (digest, size) =
            blob(fake, &format!(r#"{{"schemaVersion": 2, "config": {config}, "layers": [{}]}}"#, layers.join(",")));
        format!(r#"{{"digest": "sha256:{digest}", "size": {size}, "annotations": {{"{}": "{tag}"}}}}"#, oci::REF_NAME)
    }

    fn lines(fake: &Fake, manifests: &[String]) -> Vec<String> {
        fake.file("oci-layout", "{}");
        fake.file(INDEX, format!(r#"{{"schemaVersion": 2, "manifests": [{}]}}"#, manifests.join(",")));
        fake.lines(Tool::Oci)
    }

    #[test]
    fn models_of_both_kinds_are_found_and_others_are_named() {
        let fake = Fake::new();
        let tree = [raw(&fake, "w", "model.safetensors"), raw(&fake, "{ }", "sub/config.json")];
        let one = [raw(&fake, "gguf", "q8/tiny.gguf")];
        let docker = [layer(&fake, "application/vnd.docker.ai.gguf.v3", "more", "")];
        let config = "application/vnd.docker.ai.model.config.v0.1+json";
        let all = [
            manifest(&fake, "tree", oci::MODEL_CONFIG, &tree),
            manifest(&fake, "one", oci::MODEL_CONFIG, &one),
            manifest(&fake, "smol:1", config, &docker),
            manifest(&fake, "image", "application/vnd.oci.image.config.v1+json", &[]),
        ];
        assert_eq!(
            lines(&fake, &all),
            [
                "oci:store:one whole file tiny.gguf [:4]",
                "oci:store:smol:1 whole file smol-1.gguf [:4]",
                "oci:store:tree whole tree tree [model.safetensors:1 sub/config.json:3]",
                "- index.json: image: it is no model, but application/vnd.oci.image.config.v1+json",
            ]
        );
        assert!(fake.claims(Tool::Oci).iter().all(|line| line.contains(" sha256 ") && line.ends_with("hardlink")));
        assert_eq!(tool_of(&fake.root), Some(Tool::Oci));
    }

    // Red when sizes or digests are not compared, or names are taken as they come.
    #[test]
    fn what_is_wrong_is_skipped() {
        let fake = Fake::new();
        let good = raw(&fake, "gguf", "a.gguf");
        let said = |layers: &[String]| {
            let lines = lines(&fake, &[manifest(&fake, "m", oci::MODEL_CONFIG, layers)]);
            assert_eq!(lines.len(), 1, "{lines:?}");
            lines[0]
                .strip_prefix("- index.json: m: ")
                .or(lines[0].strip_prefix("- index.json: "))
                .unwrap_or(&lines[0])
                .to_owned()
        };
        for path in ["../x", "/etc/x", "a//b", "a/../../x", "."] {
            let said = said(&[good.clone(), raw(&fake, "x", path)]);
            assert!(said.contains("could lead out"), "{path}: {said}");
        }
        assert!(said(&[raw(&fake, "x", "..")]).contains("cannot be the name of a file"));
        assert!(said(&[good.clone(), good.clone()]).contains("twice"));
        assert_eq!(said(&[]), "no file in it");
        let tar = good.replace("weight.v1.raw", "weight.v1.tar+gzip");
        assert_eq!(said(&[tar]), "a layer is a tar archive");
        assert!(said(&[good.replace("cncf.model.weight", "other")]).contains("a layer of an unknown type"));
        assert_eq!(said(&[good.replace(oci::MODEL_FILE_PATH, "other")]), "a layer has no file path");
        let short = &digits("gguf")[..12];
        assert_eq!(said(&[good.replace("\"size\": 4", "\"size\": 5")]), format!("blob {short} has 4 of 5 bytes"));
        for digest in ["sha256:..", "sha512:", "sha256:../../"] {
            assert!(said(&[good.replace("sha256:", digest)]).starts_with("its manifest: it is not as expected"));
        }
        // The manifest itself.
        let listed = manifest(&fake, "m", oci::MODEL_CONFIG, &[good]);
        let at = format!("blobs/sha256/{}", &listed["{\"digest\": \"sha256:".len()..][..64]);
        let text = std::fs::read_to_string(fake.path(&at)).unwrap();
        fake.file(&at, text.replace("a.gguf", "b.gguf"));
        assert_eq!(
            lines(&fake, std::slice::from_ref(&listed)),
            ["- index.json: m: its manifest has other bytes than its digest says"]
        );
        fake.file(&at, "{}");
        assert!(lines(&fake, &[listed])[0].contains("its manifest has 2 of "));
        for index in ["", "[]", "{}", "{\"manifests\": 1}"] {
            fake.file(INDEX, index);
            assert!(fake.lines(Tool::Oci)[0].starts_with("- index.json: it is not as expected"), "{index}");
        }
    }

    #[test]
    fn an_archive_is_to_be_unpacked_first() {
        let fake = Fake::new();
        fake.file("layout.tar", "");
        let archive = fake.path("layout.tar");
        assert_eq!(tool_of(&archive), Some(Tool::Oci));
        let error = scan(Tool::Oci, &archive).unwrap_err();
        assert!(error.to_string().contains("`tar xf`"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_index_is_too_odd(text in "[\\[\\]{}\":,a-z0-9./ ]{0,80}", tag in "\\PC{0,20}") {
            let fake = Fake::new();
            let tag = serde_json::to_string(&tag).unwrap();
            let one = manifest(&fake, "oci::REF_NAME", oci::MODEL_CONFIG, &[raw(&fake, "x", "x")]).replace("\"oci::REF_NAME\"", &tag);
            proptest::prop_assert_eq!(lines(&fake, &[one]).len(), 1);
            proptest::prop_assert!(lines(&fake, &[text]).len() <= 1);
        }
    }
}
