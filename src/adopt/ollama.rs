//! Ollama.
//!
//! ```text
//! manifests/<host>/<namespace>/<model>/<tag>   a manifest
//! blobs/sha256-<64 hex>                        a layer, or the configuration
//! ```

use std::path::Path;

use super::found::{Found, FoundFile};
use super::layers::{Layer, Manifest, Names, blob};
use super::names;
use super::reader::{Entry, MAX_JSON_BYTES, Reader, parse, shown};
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::ollama_name::short_name;

const MEDIA_TYPE: &str = "application/vnd.ollama.image.";

pub(super) fn scan(reader: &mut Reader) {
    let root = reader.root();
    let folders = |reader: &mut Reader, dir: &Path| reader.list(dir).into_iter().filter(Entry::may_be_folder);
    for host in folders(reader, &root.join("manifests")) {
        for namespace in folders(reader, &host.path) {
            for model in folders(reader, &namespace.path) {
                for tag in reader.list(&model.path).into_iter().filter(|tag| !tag.is_folder()) {
                    let name = short_name(&host.name, &namespace.name, &model.name, &tag.name);
                    let id = format!("ollama:{name}");
                    match found(reader, &root, &tag.path, id, format!("{}-{}", model.name, tag.name)) {
                        Ok(found) => reader.add(&tag.path, found),
                        Err(reason) => reader.skip(tag.path, reason),
                    }
                }
            }
        }
    }
    for entry in reader.list(&root.join("blobs")) {
        if names::is_leftover(&entry.name) {
            reader.skip(entry.path, "an unfinished download");
        }
    }
}

fn found(reader: &Reader, root: &Path, manifest: &Path, id: String, name: String) -> Result<Found, String> {
    let bytes = reader.read(manifest, MAX_JSON_BYTES).map_err(|problem| format!("its manifest: {problem}"))?;
    let parsed: Manifest = parse(&bytes).map_err(|problem| format!("its manifest: {problem}"))?;
    let is_model = |layer: &Layer| matches!(kind_of(layer), Some("model" | "tensor"));
    if !parsed.layers.iter().any(is_model) {
        return Err("a cloud or remote model: its manifest has no model layer".to_owned());
    }
    let name = names::plain(&name);
    let mut given = Names::default();
    let mut files: Vec<FoundFile> = Vec::new();
    for layer in &parsed.layers {
        let path = path(layer, &name, &mut given)?;
        files.push(blob(reader, &at(root, layer), layer, path)?);
    }
    if let Some(config) = &parsed.config {
        files.push(blob(reader, &at(root, config), config, given.give("ollama", ".json"))?);
    }
    let pinned = Some(Digest::sha256_of(&bytes).to_string());
    let (tool, kind) = (reader.tool(), ArtifactKind::Tree);
    Ok(Found { tool, id, also: Vec::new(), pinned, kind, name, files, is_whole: true })
}

fn at(root: &Path, layer: &Layer) -> std::path::PathBuf {
    root.join("blobs").join(format!("sha256-{:x}", layer.digest))
}

fn kind_of(layer: &Layer) -> Option<&str> {
    layer.media_type.strip_prefix(MEDIA_TYPE)
}

/// The path of a layer in the model. A tensor or a file of a safetensors model has its own name.
fn path(layer: &Layer, model: &str, given: &mut Names) -> Result<String, String> {
    if let Some(name) = layer.name.as_ref().filter(|name| !name.is_empty()) {
        return Ok(name.clone());
    }
    Ok(match kind_of(layer) {
        Some("model") => given.give(model, ".gguf"),
        Some(kind @ ("projector" | "adapter" | "draft" | "embed")) => given.give(kind, ".gguf"),
        Some(kind @ ("params" | "messages" | "json")) => given.give(kind, ".json"),
        Some(kind @ ("template" | "prompt" | "system" | "license")) => given.give(kind, ".txt"),
        _ => return Err(format!("a layer of an unknown type: {}", shown(&layer.media_type))),
    })
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::fake::{Fake, digits};
    use super::super::{Tool, scan};
    use super::*;

    /// A layer with its blob.
    fn layer(fake: &Fake, kind: &str, bytes: &str, more: &str) -> String {
        fake.file(&format!("blobs/sha256-{}", digits(bytes)), bytes);
        let (digest, size) = (digits(bytes), bytes.len());
        format!(r#"{{"mediaType": "{MEDIA_TYPE}{kind}", "digest": "sha256:{digest}", "size": {size}{more}}}"#)
    }

    fn manifest(fake: &Fake, path: &str, layers: &[String]) -> String {
        let config = layer(fake, "x", "config", "");
        let json = format!(r#"{{"schemaVersion": 2, "config": {config}, "layers": [{}]}}"#, layers.join(","));
        fake.file(&format!("manifests/{path}"), &json);
        json
    }

    #[test]
    fn a_manifest_is_a_tree_with_plain_names() {
        let fake = Fake::new();
        let kinds = ["model", "projector", "adapter", "template", "system", "params", "license", "license", "messages"];
        let layers: Vec<String> =
            kinds.iter().enumerate().map(|(i, kind)| layer(&fake, kind, &format!("{kind}{i}"), "")).collect();
        let json = manifest(&fake, "registry.ollama.ai/library/llama3.2/3b", &layers);
        assert_eq!(
            fake.lines(Tool::Ollama),
            [
                "ollama:llama3.2:3b whole tree llama3.2-3b [adapter.gguf:8 license-2.txt:8 license.txt:8 llama3.2-3b.gguf:6 \
              messages.json:9 ollama.json:6 params.json:7 projector.gguf:10 system.txt:7 template.txt:9]"
            ]
        );
        let found = &scan(Tool::Ollama, &fake.root).unwrap().models[0];
        assert_eq!(found.pinned, Some(format!("sha256:{}", digits(json))));
        assert!(
            fake.claims(Tool::Ollama).contains(&format!("llama3.2-3b.gguf sha256 {} hardlink", &digits("model0")[..4]))
        );
        assert_eq!(super::super::tool_of(&fake.root), Some(Tool::Ollama));
    }

    #[test]
    fn ids_are_what_ollama_prints() {
        for (path, id) in [
            ("registry.ollama.ai/library/m/latest", "ollama:m:latest"),
            ("registry.ollama.ai/me/m/latest", "ollama:me/m:latest"),
            ("hf.co/org/m-GGUF/Q4_K_M", "ollama:hf.co/org/m-GGUF:Q4_K_M"),
            ("localhost:5000/library/m/1", "ollama:localhost:5000/library/m:1"),
        ] {
            let fake = Fake::new();
            manifest(&fake, path, &[layer(&fake, "model", "x", "")]);
            assert!(fake.lines(Tool::Ollama)[0].starts_with(&format!("{id} whole")), "{id}");
        }
    }

    #[test]
    fn a_safetensors_model_keeps_the_names_of_its_layers() {
        let fake = Fake::new();
        let layers = [
            layer(&fake, "tensor", "t", r#", "name": "model.embed_tokens.weight""#),
            layer(&fake, "json", "j", r#", "name": "sub/config.json""#),
        ];
        manifest(&fake, "registry.ollama.ai/library/m/latest", &layers);
        let files = "[model.embed_tokens.weight:1 ollama.json:6 sub/config.json:1]";
        assert_eq!(fake.lines(Tool::Ollama), [format!("ollama:m:latest whole tree m-latest {files}")]);
    }

    // Red when sizes are not compared, or when names are taken as they come.
    #[test]
    fn what_is_wrong_is_skipped() {
        let fake = Fake::new();
        let said = |layers: &[String]| {
            manifest(&fake, "registry.ollama.ai/library/m/latest", layers);
            let lines = fake.lines(Tool::Ollama);
            assert_eq!(lines.len(), 1, "{lines:?}");
            lines[0].strip_prefix("- manifests/registry.ollama.ai/library/m/latest: ").unwrap_or(&lines[0]).to_owned()
        };
        let model = layer(&fake, "model", "model", "");
        assert_eq!(said(&[]), "a cloud or remote model: its manifest has no model layer");
        let short = &digits("model")[..12];
        assert_eq!(said(&[model.replace("\"size\": 5", "\"size\": 6")]), format!("blob {short} has 5 of 6 bytes"));
        let absent = model.replace(&digits("model"), &"0".repeat(64));
        assert_eq!(said(&[absent]), "blob 000000000000 is not there");
        for name in ["../../x", "/etc/x", "a//b", "", "a\\u0000b", "a\\nb"] {
            let said = said(&[model.clone(), layer(&fake, "json", "x", &format!(r#", "name": "{name}""#))]);
            let is_unnamed = name.is_empty();
            assert!(said.contains("could lead out") || is_unnamed && said.contains("json.json:1"), "{name}: {said}");
        }
        let named = |name: &str| layer(&fake, "json", "x", &format!(r#", "name": "{name}""#));
        assert!(said(&[model.clone(), named("a"), named("a")]).contains("twice"));
        assert!(said(&[model.clone(), named("a"), named("a/b")]).contains("both as a file and as a folder"));
        assert_eq!(
            said(&[model.clone(), layer(&fake, "new", "x", "")]),
            format!("a layer of an unknown type: {MEDIA_TYPE}new")
        );
        for wrong in ["sha256:..", "sha256-", "md5:", "SHA256:"] {
            let wrong = model.replace("sha256:", wrong);
            assert!(said(&[wrong]).starts_with("its manifest: it is not as expected: "));
        }
        for size in ["-1", "1e99", "99999999999999999999", "\"5\""] {
            assert!(said(&[model.replace("\"size\": 5", &format!("\"size\": {size}"))]).starts_with("its manifest: "));
        }
        assert!(said(&[model.replace("\"size\": 5", &format!("\"size\": {}", u64::MAX))]).contains(" has 5 of 1844"));
    }

    #[test]
    fn hostile_manifests_and_blobs() {
        let fake = Fake::new();
        let at = |tag: &str| format!("manifests/registry.ollama.ai/library/m/{tag}");
        fake.file(&at("deep"), "[".repeat(1 << 20)).file(&at("text"), "\u{1b}[31m").fifo(&at("fifo"));
        fake.link(&at("out"), fake.outside()).link(&at("circle"), "circle");
        std::fs::File::create(fake.path(&at("huge"))).unwrap().set_len(1 << 30).unwrap();
        let link = layer(&fake, "model", "linked", "");
        let blob = fake.root.join("blobs").join(format!("sha256-{}", digits("linked")));
        std::fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink(fake.outside(), &blob).unwrap();
        manifest(&fake, "registry.ollama.ai/library/m/blob", &[link]);
        fake.file("blobs/sha256-0-partial", "").file("blobs/sha256-0-partial-3", "{}").file("manifests/stray", "");
        let lines = fake.lines(Tool::Ollama);
        let says = |tag: &str, reason: &str| {
            let start = format!("- {}: {reason}", at(tag));
            assert!(lines.iter().any(|line| line.starts_with(&start)), "{start}\n{lines:#?}");
        };
        says("deep", "its manifest: it is not as expected: ");
        says("text", "its manifest: it is not as expected: ");
        says("fifo", "its manifest: it is no regular file");
        says("out", "its manifest: a symlink leads out of the store");
        says("circle", "its manifest: its symlinks lead in a circle");
        says("huge", "its manifest: it has more than 16 MiB");
        says("blob", &format!("blob {}: a symlink leads out of the store", &digits("linked")[..12]));
        assert_eq!(lines.len(), 9, "{lines:#?}");
        assert_eq!(lines[0], "- blobs/sha256-0-partial: an unfinished download");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn no_manifest_is_too_odd(layers in "[\\[\\]{}\":,a-z0-9./ ]{0,60}", name in "\\PC{0,20}") {
            let fake = Fake::new();
            let name = serde_json::to_string(&name).unwrap();
            let named = layer(&fake, "model", "x", &format!(", \"name\": {name}"));
            manifest(&fake, "registry.ollama.ai/library/a/1", &[named]);
            manifest(&fake, "registry.ollama.ai/library/b/1", &[layers]);
            proptest::prop_assert_eq!(fake.lines(Tool::Ollama).len(), 2);
        }
    }
}
