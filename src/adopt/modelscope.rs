//! ModelScope: plain files in one of four layouts.
//!
//! ```text
//! models/<owner>--<name>/snapshots/<revision>/<path>     since modelscope-hub 0.5
//! models/<owner>/<name>/<path>                           before, if MODELSCOPE_CACHE was set
//! hub/models/<owner>/<name>/<path>                       before, otherwise
//! <owner>/<name>/<path>, hub/<owner>/<name>/<path>       long before
//! ```
//!
//! `.msc` and `.mdl` are Python pickles, which run what they contain. Nothing here opens them.

use std::path::Path;

use super::folder::{Seen, ggufs, incomplete};
use super::found::Found;
use super::names;
use super::reader::{Entry, Reader};
use crate::entry::ArtifactKind;

/// Folders that are no owners.
const NO_OWNERS: [&str; 7] = ["hub", "models", "datasets", "studios", "mcps", "skills", "agent"];

pub(super) fn scan(reader: &mut Reader) {
    let root = reader.root();
    for entry in folders(reader, &root.join("models")) {
        match entry.name.split_once("--") {
            Some((owner, name)) => scan_snapshots(reader, &entry.path, owner, name),
            None => scan_owner(reader, &entry, true),
        }
    }
    for entry in folders(reader, &root.join("hub").join("models")) {
        scan_owner(reader, &entry, true);
    }
    for above in [root.clone(), root.join("hub")] {
        for entry in folders(reader, &above).iter().filter(|entry| !NO_OWNERS.contains(&entry.name.as_str())) {
            scan_owner(reader, entry, false);
        }
    }
}

/// Beside a folder, ModelScope has symlinks to it under other spellings of its name: each model is scanned once.
fn folders(reader: &mut Reader, dir: &Path) -> Vec<Entry> {
    let entries = reader.list(dir).into_iter();
    entries.filter(|entry| entry.is_folder() && !entry.name.starts_with('.')).collect()
}

fn scan_snapshots(reader: &mut Reader, dir: &Path, owner: &str, name: &str) {
    let revisions = folders(reader, &dir.join("snapshots"));
    for revision in &revisions {
        let id = format!("modelscope:{owner}/{name}");
        let also = (revision.name == "master" || revisions.len() == 1).then(|| id.clone());
        scan_model(reader, &revision.path, &format!("{id}@{}", revision.name), also.as_deref(), name, true);
    }
}

/// `is_model`: the folder is where models are, so that one without a model is reported.
fn scan_owner(reader: &mut Reader, owner: &Entry, is_model: bool) {
    for entry in folders(reader, &owner.path) {
        // Python cannot import a module with a dot in its name.
        let name = entry.name.replace("___", ".");
        scan_model(reader, &entry.path, &format!("modelscope:{}/{name}", owner.name), None, &name, is_model);
    }
}

/// Whether it is no part of the model.
fn is_own(name: &str) -> bool {
    matches!(name, ".msc" | ".mdl" | ".mv" | ".lock" | ".cache" | ".git") || name == "._____temp"
}

fn scan_model(reader: &mut Reader, dir: &Path, id: &str, also: Option<&str>, name: &str, is_model: bool) {
    let files = match reader.walk(dir, is_own) {
        Ok(files) => files,
        Err(problem) => return reader.skip(dir, problem),
    };
    let (leftovers, files): (Vec<Entry>, Vec<Entry>) =
        files.into_iter().partition(|file| names::is_leftover(names::file_name(&file.name)));
    for leftover in leftovers {
        reader.skip(leftover.path, "an unfinished download");
    }
    if !reader.list(&dir.join("._____temp")).is_empty() {
        reader.skip(dir.join("._____temp"), "an unfinished download");
    }
    let seen: Vec<Seen> = files.into_iter().map(|file| Seen::look(reader, file.name, file.path)).collect();
    let found = Found {
        tool: reader.tool(),
        id: id.to_owned(),
        also: also.into_iter().map(str::to_owned).collect(),
        pinned: None,
        kind: ArtifactKind::Tree,
        name: name.to_owned(),
        files: Vec::new(),
        is_whole: false,
    };
    let Some(reason) = incomplete(reader, &seen) else {
        let files = seen.into_iter().filter_map(|seen| seen.file.ok()).collect();
        return reader.add(dir, Found { files, ..found });
    };
    let (models, skipped) = ggufs(seen);
    if models.is_empty() && skipped.is_empty() {
        if is_model {
            reader.skip(dir, reason);
        }
        return;
    }
    for (path, reason) in skipped {
        reader.skip(path, reason);
    }
    for model in models {
        let also = found.also.iter().map(|id| format!("{id}/{}", model.path)).collect();
        let (id, name) = (format!("{id}/{}", model.path), model.name());
        let (kind, files) = (model.kind, model.files);
        reader.add(&model.at, Found { id, also, name, kind, files, is_whole: true, ..found.clone() });
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::Tool;
    use super::super::fake::{Fake, POINTER};

    fn add(fake: &Fake, dir: &str) {
        fake.file(&format!("{dir}/config.json"), "{}").file(&format!("{dir}/model.safetensors"), "x");
    }

    #[test]
    fn all_layouts_are_found() {
        let fake = Fake::new();
        add(&fake, "models/org--two/snapshots/master");
        add(&fake, "models/org--two/snapshots/v1");
        add(&fake, "models/org--one/snapshots/v2");
        add(&fake, "hub/models/Qwen/Qwen3___5-0___8B");
        fake.link("hub/models/Qwen/Qwen3.5-0.8B", "Qwen3___5-0___8B");
        add(&fake, "models/org/env");
        add(&fake, "hub/old/flat");
        fake.file("models/org--q/snapshots/master/q4.gguf", "x").file(".lock/file_x.lock", "");
        // Python pickles, which nothing opens: opening a FIFO would wait.
        fake.fifo("hub/models/Qwen/Qwen3___5-0___8B/.msc").fifo("hub/models/Qwen/Qwen3___5-0___8B/.mdl");
        fake.file("hub/models/Qwen/Qwen3___5-0___8B/.mv", "Revision:master").file("hub/ast/index/x.json", "{}");
        let files = "[config.json:2 model.safetensors:1]";
        assert_eq!(
            fake.lines(Tool::ModelScope),
            [
                format!("modelscope:Qwen/Qwen3.5-0.8B tree Qwen3.5-0.8B {files}"),
                format!("modelscope:old/flat tree flat {files}"),
                format!("modelscope:org/env tree env {files}"),
                format!("modelscope:org/one@v2 = modelscope:org/one tree one {files}"),
                "modelscope:org/q@master/q4.gguf = modelscope:org/q/q4.gguf whole file q4.gguf [:1]".into(),
                format!("modelscope:org/two@master = modelscope:org/two tree two {files}"),
                format!("modelscope:org/two@v1 tree two {files}"),
            ]
        );
        assert_eq!(super::super::tool_of(&fake.root), Some(Tool::ModelScope));
    }

    #[test]
    fn what_is_no_model_is_skipped() {
        let fake = Fake::new();
        add(&fake, "models/a--b/snapshots/master");
        fake.file("models/a--b/snapshots/master/tokenizer.json", POINTER);
        fake.file("models/a--c/snapshots/master/x.gguf.incomplete", "x");
        fake.file("hub/models/a/d/._____temp/model.safetensors", "x").file("hub/models/a/d/config.json", "{}");
        let out = fake.outside();
        fake.link("hub/models/a/e/m.gguf", out);
        assert_eq!(
            fake.lines(Tool::ModelScope),
            [
                "- hub/models/a/d: no model file in it",
                "- hub/models/a/d/._____temp: an unfinished download",
                "- hub/models/a/e/m.gguf: a symlink leads out of the cache",
                "- models/a--b/snapshots/master: tokenizer.json: a Git LFS pointer, not the file itself",
                "- models/a--c/snapshots/master: no model file in it",
                "- models/a--c/snapshots/master/x.gguf.incomplete: an unfinished download",
            ]
        );
    }

    // Red when two models get one id: the second would replace the first.
    #[test]
    fn an_id_is_given_once() {
        let fake = Fake::new();
        add(&fake, "models/org--two/snapshots/master");
        add(&fake, "models/org/two");
        add(&fake, "hub/models/org/two");
        let lines = fake.lines(Tool::ModelScope);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("modelscope:org/two tree"), "{lines:?}");
        assert!(lines[1].starts_with("modelscope:org/two@master tree"), "{lines:?}");
        assert!(lines[2].ends_with(": another model is modelscope:org/two"), "{lines:?}");
    }
}
