//! The store of RamaLama. An export has the type `huggingface`: RamaLama never writes into finished files of that type.
//!
//! ```text
//! store/huggingface/ORG/NAME/
//!   blobs/sha256-HEX
//!   snapshots/sha256-HEX/FILE      a second name of the blob
//!   refs/TAG.json                  the snapshot, and its files
//! ```

use serde_json::json;

use super::artifact::Artifact;
use super::names::{invalid, is_word, repo};
use super::options::ExportOptions;
use super::plan::{Content, Linking, Plan, Role};
use crate::error::Result;

pub(super) fn plan(artifact: &Artifact<'_>, options: &ExportOptions, to: &std::path::Path) -> Result<Plan> {
    let repo = repo(artifact.record(), options)?;
    let no_repo = || artifact.cannot(options.layout, "its repository is not known; name it, as ORG/NAME");
    let repo = repo.ok_or_else(no_repo)?;
    let tag = options.revision.as_deref().unwrap_or("latest");
    if !is_word(tag) {
        return Err(invalid(tag, "a tag is one word of letters, digits, `.`, `_` and `-`"));
    }
    let folder = format!("store/huggingface/{}/{}", repo.org, repo.name);
    // With a colon in it, RamaLama does not find the snapshot.
    let version = format!("sha256-{}", artifact.digest.to_hex());
    let snapshot = format!("{folder}/snapshots/{version}");
    let mut plan = Plan::new(format!("huggingface://{}:{tag}", repo.id()), snapshot.clone(), Linking::Yes);
    plan.revision = options.revision.clone();
    let (mut names, mut listed) = (Vec::new(), Vec::new());
    for file in &artifact.files {
        let name = if file.path.is_empty() { &artifact.name } else { &file.path };
        let hash = format!("sha256-{}", file.digest.to_hex());
        let blob = format!("{folder}/blobs/{hash}");
        plan.blob(blob.clone(), file.digest, file.size_bytes, Role::Part);
        names.push((format!("{snapshot}/{name}"), blob));
        listed.push(json!({ "hash": hash, "name": name, "type": kind(name) }));
    }
    for (at, of) in names {
        plan.push(at, Content::Twin { of }, Role::Part);
    }
    let reference = format!("{folder}/refs/{tag}.json");
    let path = to.join(&reference);
    let list = json!({ "files": listed, "hash": version, "path": path.to_string_lossy(), "version": "v1.0.1" });
    let bytes = serde_json::to_vec_pretty(&list).map_err(|e| artifact.cannot(options.layout, e.to_string()))?;
    plan.push(reference, Content::Bytes(bytes), Role::Head);
    Ok(plan)
}

fn kind(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    match name.rsplit('.').next() {
        Some("gguf") if name.contains("mmproj") => "mmproj",
        Some("gguf") => "gguf",
        Some("safetensors") => "safetensor",
        _ => "other",
    }
}
