//! The store of Ollama: `blobs/sha256-HEX`, and `manifests/HOST/NAMESPACE/MODEL/TAG`, which names them.
//!
//! A model with a template, parameters and licenses is a tree of a GGUF file and of files with these names; that is also
//! what adopting a model of Ollama gives:
//!
//! ```text
//! NAME.gguf  projector.gguf  adapter.gguf  template.txt  system.txt  params.json  messages.json  license.txt
//! ollama.json      the configuration, which is made from the GGUF header if there is none
//! ```

use serde_json::{Value, json};

use super::artifact::Artifact;
use super::names::OllamaName;
use super::options::ExportOptions;
use super::plan::{Content, Linking, Plan, Role};
use crate::blob::manifest::TreeFile;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::formats::{file_type_name, gguf};
use crate::read_at::ReadAt as _;

const CONFIG: &str = "ollama.json";
const MAX_CONFIG_BYTES: u64 = 4 << 20;

pub(super) fn plan(artifact: &Artifact<'_>, options: &ExportOptions) -> Result<Plan> {
    let cannot = |reason: &str| artifact.cannot(options.layout, reason);
    let name = OllamaName::of(artifact.record(), options)?;
    let manifest = name.manifest();
    let mut layers: Vec<(&TreeFile, &'static str)> = Vec::new();
    let mut model = None;
    for file in &artifact.files {
        let path = if file.path.is_empty() { artifact.name.as_str() } else { file.path.as_str() };
        let Some(kind) = kind(path) else { continue };
        if kind == "model" && model.replace(file).is_some() {
            return Err(cannot("it has several GGUF files, and a model of Ollama is one"));
        }
        layers.push((file, kind));
    }
    let model = model.or_else(|| (artifact.is_file() && layers.is_empty()).then(|| artifact.files.first()).flatten());
    let model = model.ok_or_else(|| cannot("it has no GGUF file"))?;
    if layers.is_empty() {
        layers.push((model, "model"));
    }
    let file = artifact.reader(&model.digest)?;
    let header = match gguf::read(&file).map_err(|e| Error::of_reader(file.name(), e))? {
        gguf::Read::Header(header) => header,
        gguf::Read::Foreign => return Err(cannot("it is not a GGUF file")),
        gguf::Read::Damaged(reason) => {
            return Err(artifact.cannot(options.layout, format!("its file is damaged: {reason}")));
        }
    };
    if header.number("split.count").is_some_and(|parts| parts > 1) {
        return Err(cannot("it is a part of a split model, and Ollama needs all in one file"));
    }

    let config = artifact.files.iter().find(|file| file.path == CONFIG);
    let config = config.map(|file| Ok::<_, Error>((file, artifact.small(file, MAX_CONFIG_BYTES)?))).transpose()?;
    if let Some((_, config)) = &config {
        sort_as(&mut layers, config);
    } else {
        layers.sort_by_key(|(_, kind)| ORDER.iter().position(|of| of == kind));
    }
    let mut plan = Plan::new(name.short(), manifest.clone(), Linking::SameOwner);
    for (file, _) in &layers {
        plan.blob(blob(&file.digest), file.digest, file.size_bytes, Role::Part);
    }
    let (config, size_bytes) = match config {
        Some((file, _)) => {
            plan.blob(blob(&file.digest), file.digest, file.size_bytes, Role::Part);
            (file.digest, file.size_bytes)
        }
        None => {
            let architecture = header.text("general.architecture");
            let architecture = architecture.ok_or_else(|| cannot("its header names no architecture"))?;
            let digests: Vec<String> = layers.iter().map(|(file, _)| file.digest.to_string()).collect();
            let bytes = json!({
                "model_format": "gguf",
                "model_family": architecture,
                "model_families": [architecture],
                "model_type": header.text("general.size_label").unwrap_or("unknown"),
                "file_type": header.number("general.file_type").and_then(file_type_name).unwrap_or("unknown"),
                "architecture": "amd64",
                "os": "linux",
                "rootfs": { "type": "layers", "diff_ids": digests },
            })
            .to_string()
            .into_bytes();
            let (digest, size_bytes) = (Digest::sha256_of(&bytes), bytes.len() as u64);
            plan.push(blob(&digest), Content::Bytes(bytes), Role::Part);
            (digest, size_bytes)
        }
    };
    let layer = |(file, kind): &(&TreeFile, &str)| {
        let kind = format!("application/vnd.ollama.image.{kind}");
        json!({ "mediaType": kind, "digest": file.digest, "size": file.size_bytes })
    };
    let text = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config,
            "size": size_bytes,
        },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    // A server that starts now removes blobs that no manifest names: the manifest comes last, and the blobs are looked
    // at once more.
    plan.push(manifest, Content::Bytes(text.to_string().into_bytes()), Role::Head);
    Ok(plan)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256-{}", digest.to_hex())
}

const ORDER: [&str; 9] =
    ["model", "projector", "adapter", "template", "prompt", "system", "params", "messages", "license"];

/// The kind of layer that a file is; `None` if Ollama has none for it.
fn kind(path: &str) -> Option<&'static str> {
    let (stem, ending) = path.rsplit_once('.')?;
    match (stem, ending) {
        (stem, "gguf") if stem.starts_with("projector") || stem.contains("mmproj") => Some("projector"),
        (stem, "gguf") if stem.starts_with("adapter") => Some("adapter"),
        (_, "gguf") => Some("model"),
        ("params", "json") => Some("params"),
        ("messages", "json") => Some("messages"),
        (stem, "txt") if stem == "license" || stem.starts_with("license-") => Some("license"),
        ("template", "txt") => Some("template"),
        ("system", "txt") => Some("system"),
        ("prompt", "txt") => Some("prompt"),
        _ => None,
    }
}

/// Sorts the layers as the configuration lists them, so that the manifest is the one that Ollama had.
fn sort_as(layers: &mut [(&TreeFile, &'static str)], config: &[u8]) {
    let config: Value = serde_json::from_slice(config).unwrap_or_default();
    let listed = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
    let listed: Vec<&str> = listed.into_iter().flatten().filter_map(Value::as_str).collect();
    let place = |file: &TreeFile| listed.iter().position(|one| *one == file.digest.to_string());
    layers.sort_by_key(|(file, kind)| (place(file).unwrap_or(usize::MAX), ORDER.iter().position(|of| of == kind)));
}
