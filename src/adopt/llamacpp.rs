//! llama.cpp: since 2026 the layout of the Hugging Face cache, before that flat files `<org>_<repo>_<file>.gguf`.

use super::folder::{Seen, ggufs};
use super::found::Found;
use super::hf::{self, Only};
use super::names;
use super::reader::{Entry, Reader};

pub(super) fn scan(reader: &mut Reader, only: &Only) {
    hf::scan(reader, only);
    if only.repo.is_none() {
        scan_flat(reader);
    }
}

fn scan_flat(reader: &mut Reader) {
    let root = reader.root();
    let (leftovers, files): (Vec<Entry>, Vec<Entry>) =
        reader.list(&root).into_iter().partition(|entry| names::is_leftover(&entry.name));
    for leftover in leftovers {
        reader.skip(leftover.path, "an unfinished download");
    }
    let files = files.into_iter().filter(|entry| names::is_gguf(&entry.name) && !entry.is_folder());
    let seen = files.map(|file| Seen::look(reader, file.name, file.path)).collect();
    let (models, skipped) = ggufs(seen);
    for (path, reason) in skipped {
        reader.skip(path, reason);
    }
    for model in models {
        let found = Found {
            tool: reader.tool(),
            id: format!("llamacpp:{}", model.path),
            also: Vec::new(),
            pinned: None,
            kind: model.kind,
            name: model.name(),
            files: model.files,
            is_whole: true,
        };
        reader.add(&model.at, found);
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::Tool;
    use super::super::fake::Fake;

    #[test]
    fn both_layouts_can_be_in_one_folder() {
        let fake = Fake::new();
        fake.file("org_repo_q4.gguf", "x")
            .file("org_repo_q4.gguf.json", "{}")
            .file("manifest=org=repo=latest.json", "{}");
        fake.file("org_repo_b-00001-of-00002.gguf", "x").file("org_repo_b-00002-of-00002.gguf", "x");
        fake.file("org_repo_q8.gguf.downloadInProgress", "x").file("org_repo_c-00002-of-00002.gguf", "x");
        let commit = "a".repeat(40);
        fake.file(&format!("models--org--repo/snapshots/{commit}/m.gguf"), "x")
            .file("models--org--repo/refs/main", &commit);
        assert_eq!(
            fake.lines(Tool::LlamaCpp),
            [
                format!("hf:org/repo@{commit}/m.gguf = hf:org/repo/m.gguf whole file m.gguf [:1]"),
                "llamacpp:org_repo_b whole tree org_repo_b [org_repo_b-00001-of-00002.gguf:1 org_repo_b-00002-of-00002.gguf:1]".into(),
                "llamacpp:org_repo_q4.gguf whole file org_repo_q4.gguf [:1]".into(),
                "- org_repo_c-00002-of-00002.gguf: 1 of 2 parts of a split GGUF".into(),
                "- org_repo_q8.gguf.downloadInProgress: an unfinished download".into(),
            ]
        );
        std::fs::remove_dir_all(fake.root.join("models--org--repo")).unwrap();
        assert_eq!(super::super::tool_of(&fake.root), Some(Tool::LlamaCpp));
    }
}
