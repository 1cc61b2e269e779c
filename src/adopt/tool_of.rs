//! Which tool's store lies at a path.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::found::Tool;
use super::hf::{self, Only};
use super::{docker, names, ramalama};

/// The most names of a folder that are looked at.
const ENOUGH: usize = 10_000;

/// Returns the tool whose store lies at a path, as far as its layout tells; `None` if it is no store of a known tool. The
/// path can also be one repository or one snapshot in a Hugging Face cache.
///
/// [`scan`](super::scan()) takes the same path, unless it is an archive.
#[must_use]
pub fn tool_of(dir: &Path) -> Option<Tool> {
    let dir = dir.canonicalize().ok()?;
    if dir.is_file() && dir.extension() == Some(OsStr::new("tar")) {
        return Some(Tool::Oci); // the scan says what to do with an archive
    }
    if !dir.is_dir() {
        return None;
    }
    let is_folder = |below: &str| dir.join(below).is_dir();
    let is_file = |below: &str| dir.join(below).is_file();
    if is_file("oci-layout") {
        return Some(Tool::Oci);
    }
    if hf_cache(&dir).1 != Only::default() || has(&dir, &|name, path| name.starts_with(hf::MODELS) && path.is_dir()) {
        return Some(Tool::Hf);
    }
    if is_file(docker::MODELS) && (is_file("layout.json") || is_folder("manifests")) {
        return Some(Tool::Docker);
    }
    if is_folder("manifests") && is_folder("blobs") {
        return Some(Tool::Ollama);
    }
    let store = ramalama::store(&dir);
    if ramalama::TRANSPORTS.iter().any(|transport| has_refs(&store.join(transport), 3)) {
        return Some(Tool::RamaLama);
    }
    if is_modelscope(&dir) {
        return Some(Tool::ModelScope);
    }
    if is_lmstudio(&dir) {
        return Some(Tool::LmStudio);
    }
    // Beside each file, llama.cpp keeps what the server said about it.
    let is_noted = |name: &str, _: &Path| {
        names::is_gguf(name) && (is_file(&format!("{name}.json")) || is_file(&format!("{name}.etag")))
    };
    if has(&dir, &is_noted) || has(&dir, &|name, _| name.starts_with("manifest=") && name.ends_with(".json")) {
        return Some(Tool::LlamaCpp);
    }
    None
}

/// For a repository's folder in a Hugging Face cache, or a snapshot in it: the cache, and the part of it that is meant.
/// For any other directory, the directory itself.
pub(super) fn hf_cache(dir: &Path) -> (PathBuf, Only) {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name_of = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    let repo_name = |path: &Path| name_of(path).filter(|name| name.starts_with(hf::MODELS));
    let mut above = dir.ancestors().skip(1);
    let (Some(first), second, third) = (above.next(), above.next(), above.next()) else {
        return (dir, Only::default());
    };
    if let Some(repo) = repo_name(&dir).filter(|_| dir.join(hf::SNAPSHOTS).is_dir()) {
        return (first.to_path_buf(), Only { repo: Some(repo), commit: None });
    }
    if let (Some(repo_dir), Some(cache)) = (second, third)
        && let (Some(repo), true) = (repo_name(repo_dir), name_of(first).as_deref() == Some(hf::SNAPSHOTS))
    {
        return (cache.to_path_buf(), Only { repo: Some(repo), commit: name_of(&dir) });
    }
    (dir, Only::default())
}

/// Jan has the same folders, with its own note in each.
fn is_lmstudio(dir: &Path) -> bool {
    let is_repo =
        |_: &str, repo: &Path| has(repo, &|name, _| names::is_weights(name)) && !repo.join("model.yml").exists();
    has(dir, &|_, publisher| has(publisher, &is_repo))
}

fn is_modelscope(dir: &Path) -> bool {
    let models = dir.join("models");
    let has_snapshots = |name: &str, path: &Path| name.contains("--") && path.join("snapshots").is_dir();
    let is_old = |name: &str, path: &Path| path.join(".msc").exists() || path.join(".mdl").exists() || name == ".msc";
    let has_old = |dir: &Path| has(dir, &|_, owner| has(owner, &is_old));
    has(&models, &has_snapshots)
        || [models, dir.join("hub/models"), dir.to_path_buf(), dir.join("hub")].iter().any(|dir| has_old(dir))
}

/// Whether there is a folder `refs` in a folder, not deeper than this.
fn has_refs(dir: &Path, depth: usize) -> bool {
    has(dir, &|name, path| (name == "refs" && path.is_dir()) || (depth > 0 && has_refs(path, depth - 1)))
}

/// Whether there is such a name in a folder. A folder that cannot be read has none.
fn has(dir: &Path, is_such: &dyn Fn(&str, &Path) -> bool) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().take(ENOUGH).filter_map(Result::ok);
    // Symlinks are not followed, so that no circle is walked.
    entries.filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_symlink())).any(|entry| {
        let path = entry.path();
        path.file_name().and_then(OsStr::to_str).is_some_and(|name| is_such(name, &path))
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use rstest::rstest;

    use super::super::fake::Fake;
    use super::*;

    // The scanners' own tests have the stores that are known.
    #[rstest]
    #[case::nothing(&[])]
    #[case::a_model(&["config.json", "model.safetensors"])]
    #[case::flat(&["a.gguf", "b.gguf"])]
    #[case::jan(&["org/name/model.gguf", "org/name/model.yml"])]
    #[case::a_repository_of_git(&["manifests/a", "src/models.json"])]
    #[case::whisper(&["tiny.pt"])]
    fn other_folders_are_no_store(#[case] files: &[&str]) {
        let fake = Fake::new();
        for file in files {
            fake.file(file, "x");
        }
        assert_eq!(tool_of(&fake.root), None);
        assert_eq!(tool_of(&fake.root.join("absent")), None);
    }

    #[test]
    fn an_oci_layout_says_so_itself() {
        let fake = Fake::new();
        fake.file("oci-layout", "{}").file("blobs/x", "").file("manifests/x", "");
        assert_eq!(tool_of(&fake.root), Some(Tool::Oci));
    }

    // Red when symlinks are followed.
    #[test]
    fn circles_and_deep_folders_have_an_end() {
        let fake = Fake::new();
        fake.link("store/file/a", "..")
            .link("models/a", "..")
            .link("hub/models/x", "../..")
            .link("a/b", "..")
            .file("x.gguf", "x");
        fake.file(&format!("store/file/{}x", "d/".repeat(200)), "x");
        assert_eq!(tool_of(&fake.root), None);
    }
}
