//! Reads another tool's store, and nothing outside it.

use std::fmt;
use std::fs::{self, FileType};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::found::{Found, Scan, Skipped, Tool};
use super::names;
use crate::blob::manifest::MAX_FILES;
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::fs::is_symlink_loop;
use crate::fs::source::Foreign;

/// More than any manifest or list has. A larger one is not read.
pub(super) const MAX_JSON_BYTES: u64 = 16 << 20;

/// A Git LFS pointer is shorter.
const MAX_POINTER_BYTES: u64 = 200;
const POINTER: &[u8] = b"version https://git-lfs";

/// A store that is being scanned, and what was found in it so far.
#[derive(Debug)]
pub(super) struct Reader {
    tool: Tool,
    /// Absolute, without symlinks.
    root: PathBuf,
    scan: Scan,
}

/// A name in a folder.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The name; from [`Reader::walk`], the path below the folder, with `/` between the parts.
    pub(super) name: String,
    pub(super) path: PathBuf,
    kind: FileType,
}

/// A regular file inside the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Real {
    /// Absolute, without symlinks.
    pub(super) source: PathBuf,
    pub(super) size_bytes: u64,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nothing is there, or a symlink that leads nowhere.
    Missing,
    /// What it leads out of: a cache or a store.
    LeadsOut(&'static str),
    /// Anything else, to be read after the name of the file and a colon.
    Other(String),
}

impl Entry {
    /// Whether it may be a folder: a symlink can lead to one.
    pub(super) fn may_be_folder(&self) -> bool {
        self.kind.is_dir() || self.kind.is_symlink()
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind.is_dir()
    }

    pub(super) fn is_symlink(&self) -> bool {
        self.kind.is_symlink()
    }
}

impl Problem {
    fn other(text: impl Into<String>) -> Self {
        Problem::Other(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing => f.write_str("it is not there"),
            Problem::LeadsOut(place) => write!(f, "a symlink leads out of the {place}"),
            Problem::Other(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Problem::Missing,
            _ if is_symlink_loop(&error) => Problem::other("its symlinks lead in a circle"),
            _ => Problem::Other(format!("it cannot be read: {error}")),
        }
    }
}

impl Reader {
    /// Fails unless `dir` is a directory.
    pub(super) fn open(tool: Tool, dir: &Path) -> Result<Self> {
        let root = dir.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::SourceMissing { path: dir.to_path_buf() },
            _ => Error::io("read", dir, error),
        })?;
        if !root.is_dir() {
            return Err(Error::io("read", dir, io::Error::from(io::ErrorKind::NotADirectory)));
        }
        Ok(Reader { tool, root, scan: Scan::default() })
    }

    pub(super) fn tool(&self) -> Tool {
        self.tool
    }

    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(super) fn skip(&mut self, path: impl Into<PathBuf>, reason: impl fmt::Display) {
        self.scan.skipped.push(Skipped { tool: self.tool, path: path.into(), reason: reason.to_string() });
    }

    /// Adds a model, or the reason why no store can have it.
    pub(super) fn add(&mut self, at: &Path, mut found: Found) {
        match found.check() {
            Ok(()) => self.scan.models.push(found),
            Err(reason) => self.skip(at, reason),
        }
    }

    /// Lists a folder, sorted by name. Nothing is there if the folder is missing. A folder that cannot be read and a
    /// name that is not UTF-8 are skipped with the reason.
    pub(super) fn list(&mut self, dir: &Path) -> Vec<Entry> {
        let listed = self.entries(dir);
        let mut entries = Vec::new();
        match listed {
            Err(Problem::Missing) => {}
            Err(problem) => self.skip(dir, problem),
            Ok(listed) => {
                for (path, kind) in listed {
                    match path.file_name().and_then(|name| name.to_str()) {
                        Some(name) => entries.push(Entry { name: name.to_owned(), kind, path }),
                        None => self.skip(path, "its name is not UTF-8"),
                    }
                }
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Lists everything below a folder that is no folder, sorted by path. Follows no symlink to a folder, so that it
    /// comes to an end. Looks into no folder and returns no file whose name `leaves_out` returns true for.
    pub(super) fn walk(&self, dir: &Path, leaves_out: fn(&str) -> bool) -> Result<Vec<Entry>, Problem> {
        let mut files = Vec::new();
        let mut folders = vec![(String::new(), dir.to_path_buf())];
        while let Some((prefix, folder)) = folders.pop() {
            for (path, kind) in self.entries(&folder)? {
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                    return Err(Problem::other("a name in it is not UTF-8"));
                };
                if leaves_out(name) {
                    continue;
                }
                let name = format!("{prefix}{name}");
                if kind.is_dir() {
                    folders.push((format!("{name}/"), path));
                } else {
                    files.push(Entry { name, kind, path });
                }
                if files.len() + folders.len() > MAX_FILES {
                    return Err(Problem::other("it has more than 100,000 files"));
                }
            }
        }
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn entries(&self, dir: &Path) -> Result<Vec<(PathBuf, FileType)>, Problem> {
        self.real(dir)?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) => entries.push((entry.path(), kind)),
                // It vanished while it was looked at.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(entries)
    }

    /// Resolves all symlinks. Fails if they lead out of the store.
    pub(super) fn real(&self, path: &Path) -> Result<PathBuf, Problem> {
        let real = path.canonicalize()?;
        if real.starts_with(&self.root) {
            return Ok(real);
        }
        let is_cache = matches!(self.tool, Tool::Hf | Tool::LlamaCpp | Tool::ModelScope);
        Err(Problem::LeadsOut(if is_cache { "cache" } else { "store" }))
    }

    /// Finds the regular file at a path, without opening it.
    pub(super) fn file(&self, path: &Path) -> Result<Real, Problem> {
        let source = self.real(path)?;
        let meta = fs::symlink_metadata(&source)?;
        if meta.is_dir() {
            return Err(Problem::other("it is a folder"));
        }
        if !meta.is_file() {
            return Err(Problem::other("it is no regular file"));
        }
        Ok(Real { source, size_bytes: meta.len() })
    }

    /// Like [`file`](Reader::file), for a file of a model: it must have its own bytes.
    pub(super) fn model_file(&self, path: &Path, name: &str) -> Result<Real, Problem> {
        let real = self.file(path)?;
        if real.size_bytes == 0 && names::is_weights(name) {
            return Err(Problem::other("an empty file"));
        }
        if (1..MAX_POINTER_BYTES).contains(&real.size_bytes)
            && self.read_at_most(&real, MAX_POINTER_BYTES)?.starts_with(POINTER)
        {
            return Err(Problem::other("a Git LFS pointer, not the file itself"));
        }
        Ok(real)
    }

    /// Reads a file unless it is larger than the limit, in bytes.
    pub(super) fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Problem> {
        let bytes = self.read_at_most(&self.file(path)?, limit_bytes + 1)?;
        if bytes.len() as u64 > limit_bytes {
            return Err(Problem::Other(format!("it has more than {} MiB", limit_bytes >> 20)));
        }
        Ok(bytes)
    }

    /// Reads a file of at most [`MAX_JSON_BYTES`].
    pub(super) fn json<T: DeserializeOwned>(&self, path: &Path) -> Result<T, Problem> {
        parse(&self.read(path, MAX_JSON_BYTES)?)
    }

    fn read_at_most(&self, real: &Real, limit_bytes: u64) -> Result<Vec<u8>, Problem> {
        let file = Foreign::open(&real.source).map_err(|error| match error {
            Error::SourceMissing { .. } => Problem::Missing,
            Error::Io { source, .. } => Problem::Other(format!("it cannot be read: {source}")),
            other => Problem::Other(other.to_string()),
        })?;
        let mut bytes = Vec::new();
        file.file().take(limit_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn into_scan(self) -> Scan {
        let Reader { tool, mut scan, .. } = self;
        scan.finish(tool);
        scan
    }
}

/// Parses JSON. serde_json refuses what is nested more than 128 deep.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(json)
        .map_err(|error| Problem::Other(format!("it is not as expected: {}", shown(&error.to_string()))))
}

/// Untrusted text for a reason: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    if text.chars().any(char::is_control) { excerpt(&text.escape_debug().to_string()) } else { excerpt(text) }
}
