//! Docker Model Runner.
//!
//! ```text
//! models.json                  the digest of each model's manifest, and its tags
//! manifests/sha256/<64 hex>    a manifest
//! blobs/sha256/<64 hex>        a layer, or the configuration
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::found::{Found, FoundFile};
use super::layers::{Layer, Manifest, Names, blob};
use super::names;
use super::reader::{Reader, shown};
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::oci::MODEL_FILE_PATH;

pub(super) const MODELS: &str = "models.json";
pub(super) const MEDIA_TYPE: &str = "application/vnd.docker.ai.";

#[derive(Deserialize)]
struct Models {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    /// The digest of its manifest.
    id: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

pub(super) fn scan(reader: &mut Reader) {
    let root = reader.root();
    let list = root.join(MODELS);
    match reader.json::<Models>(&list) {
        Ok(Models { models }) => {
            for model in models {
                let found = found(reader, &root, &model);
                match found.and_then(|mut found| found.check().map(|()| found)) {
                    Ok(found) => reader.add(&list, found),
                    Err(reason) => reader.skip(&list, format!("{}: {reason}", shown(&model.name()))),
                }
            }
        }
        Err(problem) => reader.skip(list, problem),
    }
    for folder in ["blobs", "manifests"] {
        for entry in reader.list(&root.join(folder).join("sha256")) {
            if names::is_leftover(&entry.name) {
                reader.skip(entry.path, "an unfinished download");
            }
        }
    }
}

impl Model {
    fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }

    /// Its first tag. Without a tag, the digits that `docker model list` prints.
    fn name(&self) -> String {
        let digits = || self.id.trim_start_matches("sha256:").chars().take(12).collect();
        self.tags().first().cloned().unwrap_or_else(digits)
    }
}

fn found(reader: &Reader, root: &Path, model: &Model) -> Result<Found, String> {
    let digest: Digest = model.id.parse().map_err(|_| "its id is no digest".to_owned())?;
    let at = root.join("manifests").join("sha256").join(digest.to_hex());
    let manifest: Manifest = reader.json(&at).map_err(|problem| format!("its manifest: {problem}"))?;
    let name = names::plain(names::file_name(&model.name()));
    let (kind, name, files) = files(reader, root, &manifest.layers, name)?;
    let also = model.tags().iter().skip(1).map(|tag| format!("docker:{tag}")).collect();
    let (tool, id, pinned) = (reader.tool(), format!("docker:{}", model.name()), Some(digest.to_string()));
    Ok(Found { tool, id, also, pinned, kind, name, files, is_whole: true })
}

/// The files of a model that its layers are, with its kind and the name of its view.
pub(super) fn files(
    reader: &Reader,
    root: &Path,
    layers: &[Layer],
    name: String,
) -> Result<(ArtifactKind, String, Vec<FoundFile>), String> {
    let mut files: Vec<FoundFile> = Vec::new();
    for (layer, path) in layers.iter().zip(paths(layers, &name)?) {
        files.push(blob(reader, &blob_at(root, layer), layer, path)?);
    }
    Ok(match (layers, files.as_mut_slice()) {
        ([layer], [file]) if is_gguf(layer) => {
            file.path = String::new();
            (ArtifactKind::File, format!("{name}.gguf"), files)
        }
        _ => (ArtifactKind::Tree, name, files),
    })
}

pub(super) fn blob_at(root: &Path, layer: &Layer) -> PathBuf {
    root.join("blobs").join("sha256").join(layer.digest.to_hex())
}

fn kind_of(layer: &Layer) -> Option<&str> {
    layer.media_type.strip_prefix(MEDIA_TYPE)
}

fn is_gguf(layer: &Layer) -> bool {
    kind_of(layer).is_some_and(|kind| kind.starts_with("gguf"))
}

/// The path of each layer in the model.
fn paths(layers: &[Layer], model: &str) -> Result<Vec<String>, String> {
    let is_safetensors = |layer: &Layer| kind_of(layer) == Some("safetensors");
    let ggufs = layers.iter().filter(|layer| is_gguf(layer)).count();
    let safetensors = layers.iter().filter(|layer| is_safetensors(layer)).count();
    let (mut given, mut number) = (Names::default(), 0);
    // llama.cpp finds the parts of a split model by their names.
    let mut of = |count: usize, stem: &str, ending: &str| {
        number += 1;
        if count == 1 { format!("{stem}{ending}") } else { format!("{stem}-{number:05}-of-{count:05}{ending}") }
    };
    let path = |layer: &Layer| {
        let kind = kind_of(layer).unwrap_or_default();
        // An archive of a folder is annotated with the path of the folder.
        let is_archive = layer.media_type.contains(".tar");
        if let Some(path) = layer.annotations.get(MODEL_FILE_PATH).filter(|path| !path.is_empty() && !is_archive) {
            return Ok(path.clone());
        }
        Ok(match kind {
            _ if is_gguf(layer) => of(ggufs, model, ".gguf"),
            "safetensors" => of(safetensors, "model", ".safetensors"),
            "mmproj" => given.give("mmproj", ".gguf"),
            "dduf" => given.give(model, ".dduf"),
            "chat.template.jinja" => given.give("template", ".jinja"),
            "license" => given.give("license", ".txt"),
            "vllm.config.tar" => given.give("vllm.config", ".tar"),
            "dir.tar" => given.give("dir", ".tar"),
            _ => return Err(format!("a layer of an unknown type: {}", shown(&layer.media_type))),
        })
    };
    layers.iter().map(path).collect()
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::Tool;
    use super::super::fake::{Fake, digits};
    use super::*;

    fn layer(fake: &Fake, kind: &str, bytes: &str, path: Option<&str>) -> String {
        fake.file(&format!("blobs/sha256/{}", digits(bytes)), bytes);
        let notes =
            path.map(|path| format!(r#", "annotations": {{"{MODEL_FILE_PATH}": "{path}"}}"#)).unwrap_or_default();
        let (digest, size) = (digits(bytes), bytes.len());
        format!(r#"{{"mediaType": "{MEDIA_TYPE}{kind}", "digest": "sha256:{digest}", "size": {size}{notes}}}"#)
    }

    /// Adds a manifest, and returns the line of the model for the list.
    fn model(fake: &Fake, tags: &str, layers: &[String]) -> String {
        let json = format!(r#"{{"schemaVersion": 2, "layers": [{}]}}"#, layers.join(","));
        fake.file(&format!("manifests/sha256/{}", digits(&json)), &json);
        format!(r#"{{"id": "sha256:{}", "tags": {tags}, "files": []}}"#, digits(&json))
    }

    fn list(fake: &Fake, models: &[String]) -> Vec<String> {
        fake.file("models.json", format!(r#"{{"models": [{}]}}"#, models.join(",")));
        fake.lines(Tool::Docker)
    }

    #[test]
    fn a_model_has_its_tags_as_ids() {
        let fake = Fake::new();
        let one = [layer(&fake, "gguf.v3", "gguf", Some("x.gguf"))];
        let (tagged, bare) = (
            model(&fake, r#"["ai/m:1B-Q4", "ai/m:latest"]"#, &one),
            model(&fake, "null", &[layer(&fake, "gguf.v3", "b", None)]),
        );
        let digits = &bare[r#"{"id": "sha256:"#.len()..][..12];
        let lines = [
            "docker:ai/m:1B-Q4 = docker:ai/m:latest whole file m-1B-Q4.gguf [:4]".to_owned(),
            format!("docker:{digits} whole file {digits}.gguf [:1]"),
        ];
        assert_eq!(list(&fake, &[tagged, bare]), lines);
        assert_eq!(super::super::tool_of(&fake.root), Some(Tool::Docker));
    }

    #[test]
    fn several_layers_are_a_tree() {
        let fake = Fake::new();
        let layers = [
            layer(&fake, "gguf.v3", "1", None),
            layer(&fake, "gguf.v3", "2", None),
            layer(&fake, "mmproj", "3", None),
            layer(&fake, "chat.template.jinja", "4", None),
            layer(&fake, "license", "5", None),
            layer(&fake, "license", "6", None),
            layer(&fake, "model.file", "7", Some("sub/tokenizer.json")),
            layer(&fake, "dir.tar", "8", Some("sub")),
        ];
        let model = model(&fake, r#"["ai/m:1"]"#, &layers);
        assert_eq!(
            list(&fake, &[model]),
            ["docker:ai/m:1 whole tree m-1 [dir.tar:1 license-2.txt:1 license.txt:1 m-1-00001-of-00002.gguf:1 \
              m-1-00002-of-00002.gguf:1 mmproj.gguf:1 sub/tokenizer.json:1 template.jinja:1]"]
        );
        assert!(fake.claims(Tool::Docker).iter().all(|line| line.contains(" sha256 ")));
    }

    #[test]
    fn what_is_wrong_is_skipped() {
        let fake = Fake::new();
        let gguf = layer(&fake, "gguf.v3", "gguf", None);
        let said = |layers: &[String]| list(&fake, &[model(&fake, r#"["m"]"#, layers)]);
        assert_eq!(
            said(&[gguf.replace("\"size\": 4", "\"size\": 5")]),
            [format!("- models.json: m: blob {} has 4 of 5 bytes", &digits("gguf")[..12])]
        );
        for path in ["../x", "/x", "a/../../x"] {
            assert!(
                said(&[gguf.clone(), layer(&fake, "model.file", "x", Some(path))])[0].contains("could lead out"),
                "{path}"
            );
        }
        assert_eq!(said(&[]), ["- models.json: m: no file in it"]);
        assert!(said(&[layer(&fake, "new", "x", None)])[0].contains("a layer of an unknown type"));
        let odd = [
            r#"{"id": "sha256:../../x", "tags": ["m"]}"#.to_owned(),
            format!(r#"{{"id": "sha256:{}"}}"#, "0".repeat(64)),
        ];
        assert_eq!(
            list(&fake, &odd),
            ["- models.json: 000000000000: its manifest: it is not there", "- models.json: m: its id is no digest"]
        );
        assert!(list(&fake, &["1".into()])[0].starts_with("- models.json: it is not as expected"));
        fake.file("models.json", "{\"models\": []}").file("blobs/sha256/0.incomplete", "");
        assert_eq!(fake.lines(Tool::Docker), ["- blobs/sha256/0.incomplete: an unfinished download"]);
    }
}
