//! The files of a commit: checks whether what the Hub lists can be files of a model.

use serde::Deserialize;

use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::HubProblem;
use crate::excerpt::excerpt;
use crate::source::selection::Selection;
use crate::source::{Expected, paths};

/// One item that the Hub lists.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// A requested file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TreeFile {
    /// Path in the repository.
    pub(super) path: String,
    /// Path below the folder that the reference names. A single file has its file name.
    pub(super) name: String,
    pub(super) size_bytes: u64,
    pub(super) expected: Expected,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Hub(HubProblem),
    Malformed(String),
}

/// Returns the file at `path`, the files below it, or all files; of these, those that are selected.
pub(super) fn select(
    entries: Vec<Entry>,
    path: Option<&str>,
    selection: &Selection,
) -> Result<(ArtifactKind, Vec<TreeFile>), Trouble> {
    let mut kind = ArtifactKind::Tree;
    let mut named = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
        let name = match path {
            None => entry.path.clone(),
            Some(path) if entry.path == path => {
                kind = ArtifactKind::File;
                path.rsplit('/').next().unwrap_or(path).to_owned()
            }
            Some(path) => match entry.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')) {
                Some(below) => below.to_owned(),
                None => continue,
            },
        };
        named.push((name, entry));
    }
    match path {
        Some(path) if named.is_empty() => return Err(Trouble::Hub(HubProblem::NoFile { path: excerpt(path) })),
        _ => {}
    }
    // Also compare unselected files: if a path is both a file and a folder, a reference to it is ambiguous.
    paths::check_apart(named.iter().map(|(_, entry)| entry.path.as_str())).map_err(Trouble::Malformed)?;
    named.retain(|(_, entry)| selection.takes(&entry.path));
    if named.is_empty() {
        return Err(Trouble::Hub(HubProblem::NothingSelected));
    }
    let files = named.into_iter().map(|(name, entry)| read(name, entry)).collect::<Result<_, _>>()?;
    Ok((kind, files))
}

fn read(name: String, entry: Entry) -> Result<TreeFile, Trouble> {
    let fail = |problem: &str| Trouble::Malformed(format!("the file {:?} {problem}", excerpt(&entry.path)));
    paths::check(&entry.path).map_err(Trouble::Malformed)?;
    let expected = match &entry.lfs {
        Some(lfs) if lfs.size != entry.size => return Err(fail("has two sizes")),
        Some(lfs) => Digest::from_sha256_hex(&lfs.oid).map(Expected::Sha256),
        None => git_hash(&entry.oid).map(Expected::GitBlobSha1),
    };
    let expected = expected.ok_or_else(|| fail("has no hash"))?;
    Ok(TreeFile { path: entry.path, name, size_bytes: entry.size, expected })
}

fn git_hash(digits: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn all() -> Selection {
        Selection::new(&[], &[])
    }

    fn git(path: &str) -> Value {
        json!({"type": "file", "oid": "0".repeat(40), "size": 3, "path": path})
    }

    fn chosen(
        entries: &[Value],
        path: Option<&str>,
        selection: &Selection,
    ) -> Result<(ArtifactKind, Vec<TreeFile>), Trouble> {
        let entries = entries.iter().map(|entry| serde_json::from_value(entry.clone()).unwrap()).collect();
        select(entries, path, selection)
    }

    fn names(path: Option<&str>) -> (ArtifactKind, Vec<String>) {
        let folder = json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": "a"});
        let tree = [folder, git("a/b/c"), git("a/d"), git("ab"), git("e")];
        let (kind, files) = chosen(&tree, path, &all()).unwrap();
        (kind, files.into_iter().map(|file| file.name).collect())
    }

    // Red when a folder's name also matches as a prefix of other names.
    #[test]
    fn a_file_a_folder_or_all() {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(None), (ArtifactKind::Tree, owned(&["a/b/c", "a/d", "ab", "e"])));
        assert_eq!(names(Some("a")), (ArtifactKind::Tree, owned(&["b/c", "d"])));
        assert_eq!(names(Some("a/b")), (ArtifactKind::Tree, owned(&["c"])));
        assert_eq!(names(Some("a/d")), (ArtifactKind::File, owned(&["d"])));
        let missing = chosen(&[git("ab")], Some("a"), &all());
        assert_eq!(missing, Err(Trouble::Hub(HubProblem::NoFile { path: "a".into() })));
    }

    #[test]
    fn patterns_are_about_the_path_in_the_repository() {
        let selection = Selection::new(&["a/*.gguf".into()], &["*/old*".into()]);
        let tree = [git("a/b.gguf"), git("a/old.gguf"), git("b.gguf"), git("a/c.json")];
        let (_, files) = chosen(&tree, Some("a"), &selection).unwrap();
        assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["b.gguf"]);
        let none = Selection::new(&["*.onnx".into()], &[]);
        assert_eq!(chosen(&tree, None, &none), Err(Trouble::Hub(HubProblem::NothingSelected)));
        assert_eq!(chosen(&[], None, &all()), Err(Trouble::Hub(HubProblem::NothingSelected)));
    }

    #[test]
    fn a_file_in_lfs_has_its_sha256() {
        let lfs = json!({"type": "file", "oid": "0".repeat(40), "size": 3, "path": "a", "lfs": {"oid": "1".repeat(64), "size": 3}});
        let (_, files) = chosen(&[lfs], None, &all()).unwrap();
        assert_eq!(files[0].expected, Expected::Sha256(Digest::from_sha256([0x11; 32])));
    }

    // Red when the names below the reference are compared, because one file has none there: a single file would have
    // two contents. With patterns, red when only the selected files are compared: the file in the folder would be the
    // one that the reference names.
    #[rstest]
    #[case::both(&[])]
    #[case::the_other(&["a/b"])]
    #[case::the_one(&["a"])]
    fn a_file_that_is_a_folder_is_neither(#[case] include: &[&str]) {
        let include: Vec<String> = include.iter().map(|text| (*text).to_owned()).collect();
        let tree = [git("a"), git("a/b")];
        match chosen(&tree, Some("a"), &Selection::new(&include, &[])) {
            Err(Trouble::Malformed(detail)) => assert!(detail.contains("a file and a folder"), "{detail}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(chosen(&[git("a"), git("a")], Some("a"), &all()), Err(Trouble::Malformed(_))));
    }

    // Each is red when its check is removed from `read` or `check_apart`.
    #[rstest]
    #[case::up(git("../a"), "not a plain path")]
    #[case::up_inside(git("a/../../b"), "not a plain path")]
    #[case::absolute(git("/etc/passwd"), "not a plain path")]
    #[case::dot(git("./a"), "not a plain path")]
    #[case::empty(git(""), "not a plain path")]
    #[case::empty_part(git("a//b"), "not a plain path")]
    #[case::folder(git("a/"), "not a plain path")]
    #[case::nul(git("a\0b"), "not a plain path")]
    #[case::line(git("a\nb"), "not a plain path")]
    #[case::same(git("other"), "the same path")]
    #[case::below_a_file(git("other/a"), "a file and a folder")]
    #[case::no_hash(json!({"type": "file", "size": 3, "path": "a"}), "has no hash")]
    #[case::short_hash(json!({"type": "file", "oid": "00", "size": 3, "path": "a"}), "has no hash")]
    #[case::lfs_hash(json!({"type": "file", "oid": "00", "size": 3, "path": "a", "lfs": {"oid": "00", "size": 3}}), "has no hash")]
    #[case::sizes(json!({"type": "file", "oid": "00", "size": 3, "path": "a", "lfs": {"oid": "00", "size": 4}}), "two sizes")]
    fn what_cannot_be_a_file(#[case] entry: Value, #[case] problem: &str) {
        match chosen(&[git("other"), entry], None, &all()) {
            Err(Trouble::Malformed(detail)) => {
                assert!(detail.contains(problem) && !detail.contains(char::is_control), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }
}
