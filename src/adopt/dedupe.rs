//! Replaces a tool's own file by a hardlink to the blob with the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{FoundFile, Sharing};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::SourceStamp;
use crate::error::{Error, Result};
use crate::fs::lock::{Lock, Wait};
use crate::fs::source::Foreign;
use crate::fs::{Meta, Root, Session, link, lock_of_tool, meta_of_path, shared_bytes};
use crate::ingest::{Candidates, Links};
use crate::layout;
use crate::store::Store;
use crate::sum::SumBytes as _;

/// How long to wait for the tool to finish with the file.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };

/// What replacing the files of a model did.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// Bytes that came free.
    pub(super) freed_bytes: u64,
    /// The files that stay, each with the reason.
    pub(super) kept: Vec<String>,
}

/// Finds out what would come free, model by model.
pub(super) struct Forecast<'s> {
    store: &'s Store,
    /// The files that would become blobs by then.
    planned: BTreeMap<Digest, Meta>,
}

impl<'s> Forecast<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Forecast { store, planned: BTreeMap::new() }
    }

    /// The bytes that would come free if these files were replaced by the blobs with these digests.
    pub(super) fn freed_bytes<'f>(&mut self, files: impl Iterator<Item = (&'f FoundFile, Digest)>) -> u64 {
        files.map(|(file, digest)| self.winnable(file, digest).map_or(0, |file| file.allocated_bytes)).sum_bytes()
    }

    fn winnable(&mut self, file: &FoundFile, digest: Digest) -> Option<Meta> {
        if let Some(blob) = self.store.root.meta(&layout::blob(&digest)).ok()? {
            return winnable(file, &blob);
        }
        if let Some(planned) = self.planned.get(&digest) {
            return winnable(file, planned);
        }
        let device = self.store.root.meta(Path::new("")).ok()??.device;
        self.planned.insert(digest, Meta { device, ..meta_of_path(&file.source).ok()? });
        None
    }
}

/// The file, if replacing it by the blob would free its bytes: it is another inode, no other name keeps it, and it does
/// not share its blocks.
fn winnable(file: &FoundFile, blob: &Meta) -> Option<Meta> {
    let source = meta_of_path(&file.source).ok()?;
    let is_copy = source.device == blob.device && !source.same_inode(blob) && source.links == 1;
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
    let Ok(Some(blob)) = store.root.meta(&layout::blob(digest)) else { return };
    let Some(seen) = winnable(file, &blob) else { return };
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
    match Foreign::open_real(&file.source)?.check_nobody_writes() {
        Err(Error::SourceInUse { reason, .. }) => return Ok(Some(reason)),
        other => other?,
    }
    let session = Session::begin(&store.root)?;
    if store.root.copies_up() || !session.can_hardlink() {
        return Ok(Some("the catalog's file system makes no hardlinks".into()));
    }
    let _lock = match lock_of(file)? {
        Err(reason) => return Ok(Some(reason)),
        Ok(lock) => lock,
    };
    // The last look, under the lock: it is still what was read. Its times say so, unless bringing the file in has
    // changed those itself.
    if read.is_none_or(|read| seen.source_stamp() != *read) && !is_blob(store, file, digest) {
        return Ok(Some("it has changed since it was read".into()));
    }
    // The link gets its name in the store, and both names are exchanged. So nothing but the two inodes ever has a name
    // in the tool's folder, and what a killed process leaves is swept with its session.
    let private = session.next_name();
    let missing = |e| store.root.fail("link the blob to", &private, e);
    store.root.link(&layout::blob(digest), &private).map_err(missing)?;
    let top = Root::open(Path::new("/"))?;
    let (ours, theirs) = (store.root.absolute(&private), &file.source);
    let is_replaced = link::replace(&top, below_top(&ours), below_top(theirs), seen)?;
    Ok((!is_replaced).then(|| "it has changed since it was read".into()))
}

/// Takes the tool's lock of the file, if it has one; or returns the reason why it cannot.
fn lock_of(file: &FoundFile) -> Result<std::result::Result<Option<Lock>, String>> {
    let Some(lock) = &file.lock else { return Ok(Ok(None)) };
    let repository = lock.parent().and_then(Path::file_name);
    if !file.source.components().any(|part| Some(part.as_os_str()) == repository) {
        return Ok(Err("it is in the folder that all repositories of the cache share".into()));
    }
    // The cache, in which a tool keeps its locks in `.locks/<repository>/`.
    let Some(cache) = lock.ancestors().nth(3) else { return Ok(Ok(None)) };
    let name = lock.strip_prefix(cache).unwrap_or(lock);
    match lock_of_tool(&Root::open(cache)?, name, Wait::UpTo(PATIENCE)) {
        Err(error) if error.is_busy() => Ok(Err("its tool is working on it".into())),
        locked => Ok(Ok(Some(locked?))),
    }
}

/// An absolute path, relative to the top of all file systems.
fn below_top(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn is_blob(store: &Store, file: &FoundFile, digest: &Digest) -> bool {
    let found = Candidates::of(&store.root, [*digest]).find(&file.source, Links::Refused, &Cancel::new(), &|_| {});
    found.is_some_and(|found| found.digest == *digest)
}
