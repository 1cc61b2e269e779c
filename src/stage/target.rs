//! Where a `local_path` lies: outside the root, or below it in an allowed place.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::Root;
use crate::hint::Hint;
use crate::layout::{self, Place};

/// What `put` does with a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Outside the root: ingest its bytes and make a view.
    Outside(PathBuf),
    /// Below the root and existing: its bytes become a blob, and it keeps its path. Relative.
    InPlace(PathBuf),
    /// Below the root and not existing yet: recorded as it is. Relative.
    Registered(PathBuf),
}

/// Determines where `path` lies. A relative path is resolved against the root.
pub(super) fn locate(root: &Root, path: &Path) -> Result<Target> {
    if path.as_os_str().is_empty() {
        let (path, hint) = (path.to_path_buf(), Hint::GiveOtherPath);
        return Err(Error::InvalidPath { path, reason: "it is empty", hint });
    }
    let escapes = || Error::PathEscapesRoot { path: path.to_path_buf(), root: root.path().to_path_buf() };
    let full = root.path().join(path);
    // It starts inside also when it starts with another name of the root.
    let full = root.below(&full).map_or(full, |below| root.path().join(below));
    let starts_inside = full.starts_with(root.path());
    if starts_inside && leaves(full.strip_prefix(root.path()).unwrap_or(&full)) {
        return Err(escapes());
    }
    let (real, is_there) = resolve(&full, starts_inside).map_err(|e| Error::io("resolve", path, e))?;
    let Ok(relative) = real.strip_prefix(root.path()) else {
        return if starts_inside { Err(escapes()) } else { Ok(Target::Outside(full)) };
    };
    if !starts_inside {
        // A symlink to a folder below the root led here. The rest of the path may lead out again.
        return locate(root, &real);
    }
    match layout::place(relative) {
        Place::Own => Err(Error::ReservedPath { path: path.to_path_buf() }),
        Place::Views | Place::Free if is_there => Ok(Target::InPlace(relative.to_path_buf())),
        Place::Views | Place::Free => Ok(Target::Registered(relative.to_path_buf())),
    }
}

/// Whether `..` ever leads above where the path starts.
fn leaves(relative: &Path) -> bool {
    let mut depth = 0_i64;
    relative.components().any(|part| {
        match part {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
        depth < 0
    })
}

/// Resolves the symlinks of the part that exists, and reports whether the whole path exists. Does not follow the last
/// component of a path from outside: a symlink from there to a view is a source like any other.
fn resolve(full: &Path, with_last: bool) -> io::Result<(PathBuf, bool)> {
    let mut missing: Vec<Component<'_>> = Vec::new();
    let mut existing = full;
    if !with_last && let (Some(parent), Some(name)) = (full.parent(), full.components().next_back()) {
        missing.push(name);
        existing = parent;
    }
    loop {
        match existing.canonicalize() {
            Ok(mut real) => {
                let is_there = if with_last { missing.is_empty() } else { full.symlink_metadata().is_ok() };
                for part in missing.iter().rev() {
                    match part {
                        // Below something that does not exist, only plain names make sense.
                        Component::Normal(name) => real.push(name),
                        Component::CurDir => {}
                        _ => return Err(io::ErrorKind::NotFound.into()),
                    }
                }
                return Ok((real, is_there));
            }
            // A dangling symlink "exists", and where it leads cannot be known.
            Err(e) if e.kind() == io::ErrorKind::NotFound && existing.symlink_metadata().is_err() => {
                let (Some(parent), Some(last)) = (existing.parent(), existing.components().next_back()) else {
                    return Err(e);
                };
                missing.push(last);
                existing = parent;
            }
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_path_has_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let inside = root.path().to_path_buf();
        std::fs::create_dir_all(inside.join("models/sub")).unwrap();
        std::fs::create_dir_all(inside.join("views/v")).unwrap();
        std::fs::write(inside.join("models/a.gguf"), "").unwrap();
        std::fs::write(outside.path().join("b.gguf"), "").unwrap();
        symlink(outside.path(), inside.join("out")).unwrap();
        symlink(outside.path().join("b.gguf"), inside.join("out.gguf")).unwrap();
        symlink(inside.join("models"), inside.join("in")).unwrap();
        symlink("nowhere", inside.join("dangling")).unwrap();
        symlink(&inside, outside.path().join("root")).unwrap();
        symlink(inside.join("models/a.gguf"), outside.path().join("link.gguf")).unwrap();

        let at = |path: &Path| locate(&root, path);
        let in_place = |path: &str| Target::InPlace(path.into());
        let registered = |path: &str| Target::Registered(path.into());
        assert_eq!(at("models/a.gguf".as_ref()).unwrap(), in_place("models/a.gguf"));
        assert_eq!(at("models/sub/../a.gguf".as_ref()).unwrap(), in_place("models/a.gguf"));
        assert_eq!(at("./models/./a.gguf".as_ref()).unwrap(), in_place("models/a.gguf"));
        assert_eq!(at("in/a.gguf".as_ref()).unwrap(), in_place("models/a.gguf"));
        assert_eq!(at(&inside.join("models")).unwrap(), in_place("models"));
        assert_eq!(at("views/v".as_ref()).unwrap(), in_place("views/v"));
        assert_eq!(at("new/b.gguf".as_ref()).unwrap(), registered("new/b.gguf"));
        assert_eq!(at(&outside.path().join("root/models/a.gguf")).unwrap(), in_place("models/a.gguf"));
        // The root's path as given may differ from its real path.
        assert!(matches!(at(&outside.path().join("root/out.gguf")), Err(Error::PathEscapesRoot { .. })));
        assert!(matches!(at(&outside.path().join("root/out/b.gguf")), Err(Error::PathEscapesRoot { .. })));
        symlink(outside.path().join("b.gguf"), inside.join("models/out.gguf")).unwrap();
        symlink(inside.join("models"), outside.path().join("models")).unwrap();
        assert_eq!(at(&outside.path().join("models/a.gguf")).unwrap(), in_place("models/a.gguf"));
        assert!(matches!(at(&outside.path().join("models/out.gguf")), Err(Error::PathEscapesRoot { .. })));
        let link = outside.path().join("link.gguf");
        assert_eq!(at(&link).unwrap(), Target::Outside(link));
        let absent = outside.path().join("absent");
        assert_eq!(at(&absent).unwrap(), Target::Outside(absent));

        for escaping in ["..", "../x", "models/../../x", "out/b.gguf", "out", "out.gguf", "out/new", "/../x"] {
            let path = inside.join(escaping.trim_start_matches('/'));
            assert!(matches!(at(&path), Err(Error::PathEscapesRoot { .. })), "{escaping}: {:?}", at(&path));
        }
        at("dangling".as_ref()).unwrap_err();
        at("".as_ref()).unwrap_err();
        for own in [".", "blobs/x", "store.json", "index", "views", "locks/store", "models/../trash/x"] {
            assert!(matches!(at(own.as_ref()), Err(Error::ReservedPath { .. })), "{own}: {:?}", at(own.as_ref()));
        }
    }
}
