//! Layouts that are plain files in folders: LM Studio, ModelScope, and a folder of the user's own.

use super::artifact::Artifact;
use super::names::{invalid, is_word, repo};
use super::options::{ExportLayout, ExportOptions};
use super::plan::{Linking, Plan, Role};
use crate::documents;
use crate::error::Result;
use crate::layout;

/// `ORG/NAME/FILE`.
pub(super) fn lmstudio(artifact: &Artifact<'_>, options: &ExportOptions) -> Result<Plan> {
    of_repo(artifact, options, |org, name, _| format!("{org}/{name}"))
}

/// `models/ORG--NAME/snapshots/VERSION/FILE`.
pub(super) fn modelscope(artifact: &Artifact<'_>, options: &ExportOptions) -> Result<Plan> {
    of_repo(artifact, options, |org, name, version| format!("models/{org}--{name}/snapshots/{version}"))
}

fn of_repo(
    artifact: &Artifact<'_>,
    options: &ExportOptions,
    folder: impl FnOnce(&str, &str, &str) -> String,
) -> Result<Plan> {
    let repo = repo(artifact.record(), options)?;
    let no_repo = || artifact.cannot(options.layout, "its repository is not known; name it, as ORG/NAME");
    let repo = repo.ok_or_else(no_repo)?;
    let version = options.revision.as_deref().unwrap_or("master");
    if !is_word(version) {
        return Err(invalid(version, "a version is one word of letters, digits, `.`, `_` and `-`"));
    }
    let folder = folder(&repo.org, &repo.name, version);
    let mut plan = Plan::new(repo.id(), folder.clone(), Linking::Yes);
    plan.revision = options.revision.clone();
    for file in &artifact.files {
        // LM Studio looks for files just below the two folders.
        let path = match options.layout {
            ExportLayout::LmStudio if file.path.is_empty() => artifact.name.clone(),
            ExportLayout::LmStudio => file.path.clone(),
            _ => repo.path_of(&file.path, &artifact.name),
        };
        plan.blob(format!("{folder}/{path}"), file.digest, file.size_bytes, Role::Head);
    }
    Ok(plan)
}

/// One file, or a folder with the files; beside it `NAME.documents` with the documents of the model. Anybody may write there, so nothing is a hardlink.
pub(super) fn dir(artifact: &Artifact<'_>, options: &ExportOptions) -> Result<Plan> {
    let name = options.repo.as_deref().unwrap_or(&artifact.name);
    if !layout::is_plain_path(name) || name.contains('/') || name.chars().any(char::is_control) {
        return Err(invalid(name, "the name in a plain folder is one file name"));
    }
    let mut plan = Plan::new(name, name, Linking::No("anybody may write into a plain folder"));
    for file in &artifact.files {
        let at = if file.path.is_empty() { name.to_owned() } else { format!("{name}/{}", file.path) };
        plan.blob(at, file.digest, file.size_bytes, Role::Head);
    }
    for document in documents::read(artifact.store, artifact.record()) {
        let document = document?;
        // Beside the model and not in it: an engine that is given the folder sees the files of the model alone.
        let at = format!("{name}.documents/{}", document.name);
        plan.blob(at, document.digest, document.bytes.len() as u64, Role::Part);
    }
    Ok(plan)
}
