//! `file:` references, and absolute paths.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// Parses the text after `file:`.
pub(super) fn read(rest: &str) -> Result<PathBuf, &'static str> {
    let path = match rest.strip_prefix("//") {
        Some(after) => {
            let host = after.split('/').next().unwrap_or_default();
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return Err("`file://` is followed by a host, but only files of this machine can be read; write \
                     file:/absolute/path, or the path alone");
            }
            after.strip_prefix(host).unwrap_or(after)
        }
        None => rest,
    };
    if path.is_empty() {
        return Err("there is no path after `file:`; write file:/absolute/path, or the path alone");
    }
    Ok(path.into())
}

/// Makes a path absolute: relative to the current directory, without `.` and `..`. The file need not exist.
///
/// A symlink before a `..` is followed, because the system would open the parent of its target. Other symlinks are
/// kept.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let fail = |error| Error::io("resolve", path, error);
    let start = if path.is_absolute() { PathBuf::new() } else { std::env::current_dir().map_err(fail)? };
    let mut resolved = PathBuf::new();
    for component in start.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                resolved = follow(resolved).map_err(fail)?;
                resolved.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => resolved.push(component),
        }
    }
    Ok(resolved)
}

/// Follows the symlinks in `prefix`. Leaves a path that does not exist unchanged. A dangling symlink is an error,
/// because its parent is unknown.
fn follow(prefix: PathBuf) -> io::Result<PathBuf> {
    match prefix.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_symlink() => Ok(prefix),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{ModelRef, reason_of};
    use super::*;

    #[rstest]
    #[case("file:/models/a", "/models/a", "file:/models/a")]
    #[case("file:///models/a", "/models/a", "file:/models/a")]
    #[case("file://localhost/models/a", "/models/a", "file:/models/a")]
    #[case("FILE://LocalHost/models/a", "/models/a", "file:/models/a")]
    #[case("file:////models/a", "//models/a", "file:////models/a")]
    #[case("file:models/a", "models/a", "models/a")]
    #[case("file:hf:a/b", "hf:a/b", "file:hf:a/b")]
    #[case("file:file:a", "file:a", "file:file:a")]
    #[case("file:ftp://host/x", "ftp://host/x", "file:ftp://host/x")]
    #[case("file:/a%20b?c#d", "/a%20b?c#d", "file:/a%20b?c#d")]
    #[case("file:..", "..", "..")]
    fn read_and_shown(#[case] text: &str, #[case] path: &str, #[case] shown: &str) {
        let parsed = ModelRef::parse(text).unwrap();
        let ModelRef::File { path: found } = &parsed else { panic!("{parsed:?}") };
        assert_eq!(found.as_os_str(), path); // comparing as `Path` would ignore doubled slashes
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(ModelRef::parse(shown).unwrap(), parsed);
    }

    #[rstest]
    #[case::nothing("file:", "no path after `file:`; write")]
    #[case::nothing_after_slashes("file://", "no path after `file:`; write")]
    #[case::host_only("file://localhost", "no path after `file:`; write")]
    #[case::other_host("file://server/share/a", "`file://` is followed by a host")]
    #[case::relative_with_slashes("file://models/a", "write file:/absolute/path, or the path alone")]
    #[case::local_host_with_port("file://localhost:80/a", "`file://` is followed by a host")]
    fn rejected_with_the_form(#[case] text: &str, #[case] reason: &str) {
        assert!(reason_of(text).contains(reason), "{}", reason_of(text));
    }

    #[rstest]
    #[case("/no/such/file", "/no/such/file")]
    #[case("//no/./such//file/.", "/no/such/file")]
    #[case("/no/such/../file", "/no/file")]
    #[case("/no/such/../../file", "/file")]
    #[case("/../../file", "/file")]
    #[case("/", "/")]
    fn resolved_without_the_disk(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(absolute(Path::new(path)).unwrap().as_os_str(), expected);
    }

    #[test]
    fn relative_paths_start_in_the_current_directory() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("./a/../b")).unwrap(), here.join("b"));
        assert_eq!(absolute(Path::new("../b")).unwrap(), here.parent().unwrap().join("b"));
    }

    #[cfg(unix)]
    #[test]
    fn a_symlink_before_a_parent_step_is_followed_and_others_are_kept() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("real/deep")).unwrap();
        symlink("real/deep", top.join("link")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();

        assert_eq!(absolute(&top.join("link/a")).unwrap(), top.join("link/a"));
        assert_eq!(absolute(&top.join("link/../a")).unwrap(), top.join("real/a"));
        assert_eq!(absolute(&top.join("link/../../a")).unwrap(), top.join("a"));
        assert_eq!(absolute(&top.join("link/missing/../a")).unwrap(), top.join("link/a"));
        assert_eq!(absolute(&top.join("real/../link")).unwrap(), top.join("link"));
        assert_eq!(absolute(&top.join("dangling")).unwrap(), top.join("dangling"));
        assert!(matches!(absolute(&top.join("dangling/../a")), Err(Error::Io { action: "resolve", .. })));
    }
}
