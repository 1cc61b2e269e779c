//! The cache of huggingface_hub, and of llama.cpp in the same layout.
//!
//! ```text
//! models--<org>--<name>/refs/<ref>                  a commit
//! models--<org>--<name>/snapshots/<commit>/<path>   a symlink to ../../blobs/<etag>, or the file itself
//! models--<org>--<name>/blobs/<etag>                the file, or a symlink to ../../blobs/<2 hex>/<xet hash>
//! models--<org>--<name>/trees/<commit>.json         all files of the commit, since huggingface_hub 2
//! .locks/models--<org>--<name>/<etag>.lock          held while the blob is downloaded
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::folder::{Seen, ggufs, incomplete, unusable};
use super::found::{Claim, Found, FoundFile, Tool};
use super::names;
use super::reader::{Entry, Problem, Reader};
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::Error;
use crate::model_ref::ModelRef;

pub(super) const MODELS: &str = "models--";
pub(super) const SNAPSHOTS: &str = "snapshots";

/// Longer than any commit.
const MAX_REF_BYTES: u64 = 1024;

/// Which part of a cache to scan.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Only {
    /// The name of one repository's folder.
    pub(super) repo: Option<String>,
    pub(super) commit: Option<String>,
}

struct Repo {
    tool: Tool,
    /// `hf:org/name`
    id: String,
    name: String,
    dir: PathBuf,
    /// The folder with its blobs, without symlinks.
    blobs: Option<PathBuf>,
    /// The folder with the locks of its blobs.
    locks: PathBuf,
    /// The name and the commit of each ref.
    refs: Vec<(String, String)>,
}

pub(super) fn scan(reader: &mut Reader, only: &Only) {
    let root = reader.root();
    for entry in reader.list(&root) {
        let is_wanted = only.repo.as_ref().is_none_or(|repo| *repo == entry.name);
        if let Some(name) = entry.name.strip_prefix(MODELS).filter(|_| is_wanted && entry.may_be_folder()) {
            match repo(reader, &root, &entry, name) {
                Ok(repo) => repo.scan(reader, only),
                Err(reason) => reader.skip(&entry.path, reason),
            }
        }
    }
    for folder in reader.list(&root.join("blobs")).into_iter().filter(Entry::is_folder) {
        skip_leftovers(reader, &folder.path);
    }
}

fn repo(reader: &Reader, root: &Path, folder: &Entry, name: &str) -> Result<Repo, String> {
    reader.real(&folder.path).map_err(|problem| problem.to_string())?;
    let (org, name) = name.split_once("--").ok_or("the repository has no organisation")?;
    let id = reference(&format!("hf:{org}/{name}"))?;
    Ok(Repo {
        tool: reader.tool(),
        id,
        name: name.to_owned(),
        blobs: reader.real(&folder.path.join("blobs")).ok(),
        locks: root.join(".locks").join(&folder.name),
        refs: refs(reader, &folder.path.join("refs")),
        dir: folder.path.clone(),
    })
}

/// The text, if it is a reference.
fn reference(text: &str) -> Result<String, String> {
    match ModelRef::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(Error::InvalidRef { reason, .. }) => {
            Err(format!("no reference: {}", reason.split(';').next().unwrap_or_default()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A ref that cannot be read is left out: its commit can still be adopted.
fn refs(reader: &Reader, dir: &Path) -> Vec<(String, String)> {
    let files = reader.walk(dir, |_| false).unwrap_or_default();
    let read = |file: Entry| {
        let bytes = reader.read(&file.path, MAX_REF_BYTES).ok()?;
        Some((file.name, String::from_utf8(bytes).ok()?.trim().to_owned()))
    };
    files.into_iter().filter_map(read).collect()
}

fn skip_leftovers(reader: &mut Reader, dir: &Path) {
    for blob in reader.list(dir) {
        if names::is_leftover(&blob.name) {
            reader.skip(blob.path, "an unfinished download");
        }
    }
}

impl Repo {
    fn scan(&self, reader: &mut Reader, only: &Only) {
        skip_leftovers(reader, &self.dir.join("blobs"));
        for snapshot in reader.list(&self.dir.join(SNAPSHOTS)) {
            let is_wanted = only.commit.as_ref().is_none_or(|commit| *commit == snapshot.name);
            if is_wanted && snapshot.may_be_folder() {
                match reference(&format!("{}@{}", self.id, snapshot.name)) {
                    Ok(id) => self.scan_snapshot(reader, &snapshot, &id),
                    Err(reason) => reader.skip(snapshot.path, reason),
                }
            }
        }
    }

    fn scan_snapshot(&self, reader: &mut Reader, snapshot: &Entry, id: &str) {
        let files = match reader.walk(&snapshot.path, |_| false) {
            Ok(files) => files,
            Err(problem) => return reader.skip(&snapshot.path, problem),
        };
        // A repository may well have a file that another tool would call unfinished.
        let is_unfinished =
            |file: &Entry| file.name.ends_with(".incomplete") || file.name.ends_with(".downloadInProgress");
        let (leftovers, files): (Vec<Entry>, Vec<Entry>) = files.into_iter().partition(is_unfinished);
        for leftover in leftovers {
            reader.skip(leftover.path, "an unfinished download");
        }
        let mut seen: Vec<Seen> = files.into_iter().map(|file| self.look(reader, file)).collect();
        let listed = self.listed(reader, &snapshot.name, &mut seen);
        let reason = match &listed {
            Some(Ok(())) => unusable(&seen),
            _ => incomplete(reader, &seen),
        };
        let Some(reason) = reason else {
            let files = seen.into_iter().filter_map(|seen| seen.file.ok()).collect();
            let found = self.found(id, &snapshot.name, "", ArtifactKind::Tree, self.name.clone(), files);
            return reader.add(&snapshot.path, Found { is_whole: listed == Some(Ok(())), ..found });
        };
        let reason = match (unusable(&seen), listed) {
            (None, Some(Err(list))) => list,
            _ => reason,
        };
        let is_other = |seen: &Seen| names::is_weights(&seen.path) && !names::is_gguf(&seen.path);
        let has_others = seen.iter().any(is_other);
        let (models, skipped) = ggufs(seen);
        if has_others || models.is_empty() && skipped.is_empty() {
            reader.skip(&snapshot.path, reason);
        }
        for model in models {
            match reference(&format!("{id}/{}", model.path)) {
                Ok(id) => {
                    let path = format!("/{}", model.path);
                    let found = self.found(&id, &snapshot.name, &path, model.kind, model.name(), model.files);
                    reader.add(&model.at, found);
                }
                Err(reason) => reader.skip(model.at, reason),
            }
        }
        for (path, reason) in skipped {
            reader.skip(path, reason);
        }
    }

    /// A model of this repository: all of a snapshot, or a path in it with a `/` in front.
    fn found(
        &self,
        id: &str,
        commit: &str,
        path: &str,
        kind: ArtifactKind,
        name: String,
        files: Vec<FoundFile>,
    ) -> Found {
        let refs = self.refs.iter().filter(|(_, at)| at == commit);
        let also = refs.filter_map(|(name, _)| match name.as_str() {
            "main" => Some(format!("{}{path}", self.id)),
            name => reference(&format!("{}@{name}{path}", self.id)).ok().filter(|_| !name.contains('/')),
        });
        let (tool, id, also, pinned) = (self.tool, id.to_owned(), also.collect(), Some(commit.to_owned()));
        Found { tool, id, also, pinned, kind, name, files, is_whole: true }
    }

    fn look(&self, reader: &Reader, entry: Entry) -> Seen {
        let etag = if entry.is_symlink() { self.etag(&entry.path) } else { None };
        let claim = etag.as_deref().and_then(claim);
        let file = Seen::found(reader, &entry.name, &entry.path, claim);
        let lock = etag.map(|etag| self.locks.join(format!("{etag}.lock")));
        Seen { path: entry.name, at: entry.path, file: file.map(|file| FoundFile { lock, ..file }) }
    }

    /// The name of the repository's blob that a symlink leads to. The blob itself may be a symlink to one that
    /// repositories share, whose name is no digest of its bytes.
    fn etag(&self, link: &Path) -> Option<String> {
        let target = link.parent()?.join(link.read_link().ok()?);
        let folder = target.parent()?.canonicalize().ok()?;
        let name = target.file_name()?.to_str()?;
        (Some(&folder) == self.blobs.as_ref()).then(|| name.to_owned())
    }

    /// Compares with the list of the commit, if there is one. A file of another size becomes one that cannot be used.
    fn listed(&self, reader: &Reader, commit: &str, seen: &mut [Seen]) -> Option<Result<(), String>> {
        let list = self.dir.join("trees").join(format!("{commit}.json"));
        let List { format_version: 1, files } = reader.json(&list).ok()? else { return None };
        let mut there = 0;
        for one in seen {
            let Some(listed) = files.get(&one.path) else { continue };
            let size_bytes = listed.lfs_size.unwrap_or(listed.size);
            match &one.file {
                Ok(file) if file.size_bytes == size_bytes => there += 1,
                Ok(file) => {
                    let text = format!("{} bytes of it are there, its list has {size_bytes}", file.size_bytes);
                    one.file = Err(Problem::Other(text));
                }
                Err(_) => {}
            }
        }
        match files.len() {
            all if all == there => Some(Ok(())),
            all => Some(Err(format!("{there} of {all} files of its list are there"))),
        }
    }
}

#[derive(Deserialize)]
struct List {
    format_version: u64,
    files: BTreeMap<String, Listed>,
}

#[derive(Deserialize)]
struct Listed {
    size: u64,
    lfs_size: Option<u64>,
}

/// What the name of a blob says: files that git would keep in LFS are named by their SHA-256, others by their hash in
/// git.
fn claim(etag: &str) -> Option<Claim> {
    if let Some(digest) = Digest::from_sha256_hex(etag) {
        return Some(Claim::Sha256(digest));
    }
    let is_lower = etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; 20];
    (is_lower && hex::decode_to_slice(etag, &mut bytes).is_ok()).then_some(Claim::GitBlobSha1(bytes))
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
