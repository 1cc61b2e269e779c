//! Manifests that name blobs by their digests, as Ollama and Docker Model Runner have them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::found::{Claim, FoundFile, Sharing};
use super::reader::{Problem, Reader};
use crate::digest::Digest;

#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Option<Layer>,
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Ollama: the name of the tensor or file.
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The path of a layer's file in the model, which the caller sets.
pub(super) fn blob(reader: &Reader, at: &Path, layer: &Layer, path: String) -> Result<FoundFile, String> {
    let blob = || format!("blob {:.12x}", layer.digest);
    let real = reader.model_file(at, &path).map_err(|problem| match problem {
        Problem::Missing => format!("{} is not there", blob()),
        problem => format!("{}: {problem}", blob()),
    })?;
    if real.size_bytes != layer.size {
        return Err(format!("{} has {} of {} bytes", blob(), real.size_bytes, layer.size));
    }
    Ok(FoundFile {
        path,
        source: real.source,
        size_bytes: real.size_bytes,
        claim: Some(Claim::Sha256(layer.digest)),
        sharing: Sharing::Hardlink,
        lock: None,
    })
}

/// Gives names to files, each only once: `license.txt`, then `license-2.txt`.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    pub(super) fn give(&mut self, stem: &str, ending: &str) -> String {
        let numbers = (2..).map(|number| format!("{stem}-{number}{ending}"));
        let name = std::iter::once(format!("{stem}{ending}")).chain(numbers).find(|name| !self.0.contains(name));
        let name = name.unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}
