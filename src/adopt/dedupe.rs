//! Replaces a tool's own file by a hardlink to the blob with the same bytes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FoundFile, Sharing};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::SourceStamp;
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Wait, lock};
use crate::fs::source::Foreign;
use crate::fs::{Meta, Root, atomic, current_user, link, meta_of_path, shared_bytes, writers};
use crate::ingest::{Candidates, Links};
use crate::layout;
use crate::store::Store;

/// How long to wait for the tool to finish with the file.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };

/// The name of a temporary link is a random one between these. Other tools take it for an unfinished download.
const TEMP: &str = ".catalog-";
const INCOMPLETE: &str = ".incomplete";

/// A temporary link lives for microseconds. One as old as this was left by a process that was killed.
const LEFT_AFTER: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(3600) };

/// What replacing the files of a model did.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// Bytes that came free.
    pub(super) freed_bytes: u64,
    /// The files that stay, each with the reason.
    pub(super) kept: Vec<String>,
}

/// The bytes that would come free if these files were replaced by their blobs.
pub(super) fn winnable_bytes<'f>(store: &Store, files: impl Iterator<Item = (&'f FoundFile, Digest)>) -> u64 {
    files.map(|(file, digest)| winnable(store, file, &digest).map_or(0, |source| source.size_bytes)).sum()
}

/// The file, if replacing it would free its bytes: it is another inode than the blob, no other name keeps it, and it
/// does not share its blocks.
fn winnable(store: &Store, file: &FoundFile, digest: &Digest) -> Option<Meta> {
    let blob = store.root.meta(&layout::blob(digest)).ok()??;
    let source = meta_of_path(&file.source).ok()?;
    let is_copy = source.device == blob.device && !source.same_inode(&blob) && source.links == 1;
    let opened = Foreign::open_real(&file.source).ok()?;
    let shares = shared_bytes(opened.file()).is_ok_and(|shared| shared >= source.size_bytes);
    (is_copy && !shares && file.sharing == Sharing::Hardlink).then_some(source)
}

/// Replaces the file by a hardlink to the blob with this digest, if that frees anything and the tool allows it. `read`
/// is its stamp from when its bytes were read; without it, they are compared with the blob first.
pub(super) fn replace(
    store: &Store,
    file: &FoundFile,
    read: Option<&SourceStamp>,
    digest: &Digest,
    replaced: &mut Replaced,
) {
    let Some(seen) = winnable(store, file, digest) else { return };
    match try_replace(store, file, &seen, read, digest) {
        Ok(None) => replaced.freed_bytes = replaced.freed_bytes.saturating_add(seen.allocated_bytes),
        Ok(Some(reason)) => replaced.kept.push(format!("{}: {reason}", file.source.display())),
        Err(error) => replaced.kept.push(error.to_string()),
    }
}

/// Returns the reason if it does not replace it.
fn try_replace(
    store: &Store,
    file: &FoundFile,
    seen: &Meta,
    read: Option<&SourceStamp>,
    digest: &Digest,
) -> Result<Option<String>> {
    if seen.owner != current_user() {
        return Ok(Some("it belongs to another user".into()));
    }
    if let Some(reason) = writers::find_writer(seen) {
        return Ok(Some(reason));
    }
    let (folder, name) = folder_of(file);
    let there = Root::open(&folder)?;
    let lock_name = file.lock.as_deref().and_then(|lock| lock.strip_prefix(&folder).ok());
    let _lock = match lock_name {
        Some(lock_name) if there.meta(lock_name.parent().unwrap_or(Path::new("")))?.is_some() => {
            let wait = Wait::UpTo(PATIENCE);
            match lock(&there, lock_name.to_path_buf(), "the lock of its tool", Hold::Exclusive, wait) {
                Err(error) if error.is_busy() => return Ok(Some("its tool is working on it".into())),
                other => Some(other?),
            }
        }
        _ => None,
    };
    // The last look, under the lock: it is still what was read.
    // A link that staging made of it changes its time, so another stamp does not yet mean other bytes.
    let is_read = read.is_some_and(|read| seen.source_stamp() == *read);
    if !is_read && !is_blob(store, file, digest) {
        return Ok(Some("it has changed since it was read".into()));
    }
    let missing = || Error::Io {
        action: "open",
        path: store.root.absolute(&layout::blob(digest)),
        source: std::sync::Arc::new(std::io::ErrorKind::NotFound.into()),
    };
    let blob = store.root.open_file(&layout::blob(digest))?.ok_or_else(missing)?;
    let temp = PathBuf::from(format!("{TEMP}{}{INCOMPLETE}", atomic::random_name()));
    remove_left(&there)?;
    there.link_file(&blob, &temp).map_err(|e| there.fail("link the blob to", &temp, e))?;
    let exchanged = link::replace(&there, &temp, &name, seen);
    if !matches!(exchanged, Ok(true)) {
        let _ = there.remove_file(&temp); // it is only a name of the blob
    }
    Ok((!exchanged?).then(|| "it has changed since it was read".into()))
}

/// Removes the temporary links of processes that were killed: each is a second name of a blob, or of what it has
/// replaced.
fn remove_left(there: &Root) -> Result<()> {
    let top = Path::new("");
    for name in there.names(top)? {
        let is_temp = name.to_str().is_some_and(|name| name.starts_with(TEMP) && name.ends_with(INCOMPLETE));
        let name = Path::new(&name);
        if is_temp && there.meta(name)?.is_some_and(|meta| meta.changed_age() > LEFT_AFTER) {
            there.remove_file(name)?;
        }
    }
    Ok(())
}

/// The folder below which the file is replaced, and the file's path there. A tool that locks its files ignores unknown
/// names at the top of its store; others ignore names that begin with a dot or end in `.incomplete`.
fn folder_of(file: &FoundFile) -> (PathBuf, PathBuf) {
    let top = file.lock.as_deref().and_then(|lock| lock.ancestors().nth(3));
    let folder = top.or_else(|| file.source.parent()).unwrap_or(Path::new("/"));
    let name = file.source.strip_prefix(folder).unwrap_or(&file.source);
    (folder.to_path_buf(), name.to_path_buf())
}

fn is_blob(store: &Store, file: &FoundFile, digest: &Digest) -> bool {
    let found = Candidates::of(&store.root, [*digest]).find(&file.source, Links::Refused, &Cancel::new(), &|_| {});
    found.is_some_and(|found| found.digest == *digest)
}
