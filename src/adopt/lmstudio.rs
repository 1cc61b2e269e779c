//! LM Studio: `<publisher>/<repository>/<file>`.

use std::path::Path;

use super::folder::{Seen, ggufs, incomplete};
use super::found::Found;
use super::names;
use super::reader::{Entry, Problem, Reader};
use crate::entry::ArtifactKind;

pub(super) fn scan(reader: &mut Reader) {
    let root = reader.root();
    for publisher in visible_folders(reader, &root) {
        for repo in visible_folders(reader, &publisher.path) {
            scan_repo(reader, &repo.path, &format!("lmstudio:{}/{}", publisher.name, repo.name), &repo.name);
        }
    }
}

/// The folders in a folder. A file beside them is not where LM Studio looks for models. A symlink is not followed, so that
/// each model is found once.
fn visible_folders(reader: &mut Reader, dir: &Path) -> Vec<Entry> {
    let (folders, others): (Vec<Entry>, Vec<Entry>) = reader.list(dir).into_iter().partition(Entry::is_folder);
    for other in others {
        if names::is_leftover(&other.name) {
            reader.skip(other.path, "an unfinished download");
        } else if names::is_weights(&other.name) {
            reader.skip(other.path, "not in a folder <publisher>/<repository>");
        } else if let Err(problem @ Problem::LeadsOut(_)) = reader.real(&other.path) {
            reader.skip(other.path, problem);
        }
    }
    folders.into_iter().filter(|folder| !folder.name.starts_with('.')).collect()
}

fn scan_repo(reader: &mut Reader, dir: &Path, id: &str, name: &str) {
    let files = match reader.walk(dir, |name| name.starts_with('.')) {
        Ok(files) => files,
        Err(problem) => return reader.skip(dir, problem),
    };
    let (leftovers, files): (Vec<Entry>, Vec<Entry>) =
        files.into_iter().partition(|file| names::is_leftover(names::file_name(&file.name)));
    for leftover in leftovers {
        reader.skip(leftover.path, "an unfinished download");
    }
    let seen = files.into_iter().map(|file| Seen::look(reader, file.name, file.path));
    let (own, others): (Vec<Seen>, Vec<Seen>) = seen.partition(|seen| names::is_gguf(&seen.path));
    let found = Found {
        tool: reader.tool(),
        id: id.to_owned(),
        also: Vec::new(),
        pinned: None,
        kind: ArtifactKind::Tree,
        name: name.to_owned(),
        files: Vec::new(),
        is_whole: false,
    };
    if others.iter().any(|seen| names::is_weights(&seen.path)) {
        match incomplete(reader, &others) {
            None => {
                let files = others.into_iter().filter_map(|seen| seen.file.ok()).collect();
                reader.add(dir, Found { files, ..found.clone() });
            }
            Some(reason) => reader.skip(dir, reason),
        }
    }
    let (models, skipped) = ggufs(own);
    for (path, reason) in skipped {
        reader.skip(path, reason);
    }
    for model in models {
        let (id, name) = (format!("{id}/{}", model.path), model.name());
        reader
            .add(&model.at, Found { id, name, kind: model.kind, files: model.files, is_whole: true, ..found.clone() });
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::Tool;
    use super::super::fake::{Fake, POINTER};

    #[test]
    fn each_gguf_is_a_model_and_a_folder_of_safetensors_is_one() {
        let fake = Fake::new();
        for name in ["m-Q4.gguf", "mmproj-m.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "README.md"] {
            fake.file(&format!("pub/repo/{name}"), "x");
        }
        fake.file("pub/mlx/config.json", "{}").file("pub/mlx/model.safetensors", "x").file("pub/mlx/.DS_Store", "x");
        assert_eq!(
            fake.lines(Tool::LmStudio),
            [
                "lmstudio:pub/mlx tree mlx [config.json:2 model.safetensors:1]",
                "lmstudio:pub/repo/big whole tree big [big-00001-of-00002.gguf:1 big-00002-of-00002.gguf:1]",
                "lmstudio:pub/repo/m-Q4.gguf whole file m-Q4.gguf [:1]",
                "lmstudio:pub/repo/mmproj-m.gguf whole file mmproj-m.gguf [:1]",
            ]
        );
        assert_eq!(fake.claims(Tool::LmStudio)[4], " none hardlink");
        assert_eq!(super::super::tool_of(&fake.root), Some(Tool::LmStudio));
    }

    #[test]
    fn what_is_no_model_is_skipped() {
        let fake = Fake::new();
        fake.file("loose.gguf", "x").file("pub/loose.gguf", "x").file("pub/repo/m.gguf.part", "x");
        fake.file("pub/repo/pointer.gguf", POINTER).link("pub/repo/out.gguf", fake.outside());
        fake.file("pub/mlx/config.json", "{}").file("pub/mlx/model-00001-of-00002.safetensors", "x");
        fake.file("pub/mlx/pointer.safetensors", POINTER)
            .link("pub/circle", "..")
            .link("pub/disk", "/")
            .fifo("pub/repo/fifo.gguf");
        assert_eq!(
            fake.lines(Tool::LmStudio),
            [
                "- loose.gguf: not in a folder <publisher>/<repository>",
                "- pub/disk: a symlink leads out of the store",
                "- pub/loose.gguf: not in a folder <publisher>/<repository>",
                "- pub/mlx: pointer.safetensors: a Git LFS pointer, not the file itself",
                "- pub/repo/fifo.gguf: it is no regular file",
                "- pub/repo/m.gguf.part: an unfinished download",
                "- pub/repo/out.gguf: a symlink leads out of the store",
                "- pub/repo/pointer.gguf: a Git LFS pointer, not the file itself",
            ]
        );
    }
}
