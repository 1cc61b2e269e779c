//! Replaces a tool's own file by a hardlink to the blob with the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{Found, FoundFile, Sharing};
use crate::blob::UsedMode;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::SourceStamp;
use crate::error::Error;
use crate::fs::lock::{Lock, Wait};
use crate::fs::source::{Foreign, source_meta};
use crate::fs::{Meta, Root, Session, link, lock_of_tool, meta_of_path, shared_bytes};
use crate::ingest::{Candidates, Links};
use crate::layout;
use crate::stage::StageReceipt;
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
    if !is_copy || file.sharing != Sharing::Hardlink {
        return None;
    }
    let opened = Foreign::open_real(&file.source).ok()?;
    let shares = shared_bytes(opened.file()).is_ok_and(|shared| shared >= source.size_bytes);
    (!shares).then_some(source)
}

/// Replaces files of models that were staged.
pub(super) struct Dedupe<'s> {
    store: &'s Store,
    /// A private folder for the links, or why there is none.
    session: Result<Session<'s>, String>,
    /// The stamp of each file of each model before anything was read.
    stamps: Vec<Vec<Option<SourceStamp>>>,
}

impl<'s> Dedupe<'s> {
    /// Looks at all files, before any of them is read.
    pub(super) fn look(store: &'s Store, models: &[Found]) -> Self {
        let session = match Session::begin(&store.root) {
            Ok(session) if !store.root.copies_up() && session.can_hardlink() => Ok(session),
            Ok(_) => Err("the catalog's file system makes no hardlinks".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let stamp = |file: &FoundFile| source_meta(&file.source).ok().map(|meta| meta.source_stamp());
        let stamps = models.iter().map(|model| model.files.iter().map(stamp).collect()).collect();
        Dedupe { store, session, stamps }
    }

    /// Replaces the files of a model by hardlinks to their blobs, where that frees anything and the tool allows it.
    pub(super) fn model(&self, number: usize, model: &Found, staged: &StageReceipt) -> Replaced {
        let mut replaced = Replaced::default();
        let stored = match self.store.files_of(staged.kind, staged.digest, staged.size_bytes) {
            Ok(stored) => stored,
            Err(error) => {
                replaced.kept.push(error.to_string());
                return replaced;
            }
        };
        let stamps = self.stamps.get(number).into_iter().flatten();
        for ((file, stamp), stored) in model.files.iter().zip(stamps).zip(&stored) {
            let Ok(Some(blob)) = self.store.root.meta(&layout::blob(&stored.digest)) else { continue };
            let Some(seen) = winnable(file, &blob) else { continue };
            // A model that was recorded before was not read now.
            let read = stamp.filter(|_| staged.mode != UsedMode::Unchanged);
            match self.replace(file, &seen, read, &stored.digest) {
                Ok(None) => replaced.freed_bytes = replaced.freed_bytes.saturating_add(seen.allocated_bytes),
                Ok(Some(reason)) => replaced.kept.push(format!("{}: {reason}", file.source.display())),
                Err(error) => replaced.kept.push(error.to_string()),
            }
        }
        replaced
    }

    /// Replaces the file by a hardlink to the blob with this digest. `read` is its stamp from when its bytes were read.
    /// Returns the reason if it does not replace it.
    fn replace(
        &self,
        file: &FoundFile,
        seen: &Meta,
        read: Option<SourceStamp>,
        digest: &Digest,
    ) -> Result<Option<String>, Error> {
        let session = match &self.session {
            Ok(session) => session,
            Err(reason) => return Ok(Some(reason.clone())),
        };
        match Foreign::open_real(&file.source)?.check_nobody_writes() {
            Err(Error::SourceInUse { reason, .. }) => return Ok(Some(reason)),
            other => other?,
        }
        let _lock = match lock_of(file)? {
            Err(reason) => return Ok(Some(reason)),
            Ok(lock) => lock,
        };
        // The last look, under the lock: it is still what was read. Its times say so, unless bringing the file in has
        // changed those itself.
        if read != Some(seen.source_stamp()) && !self.is_blob(file, digest) {
            return Ok(Some("it has changed since it was read".into()));
        }
        // The link gets its name in the store, and both names are exchanged. So nothing but the two inodes ever has a
        // name in the tool's folder, and what a killed process leaves is swept with its session.
        let (root, private) = (&self.store.root, session.next_name());
        root.link(&layout::blob(digest), &private).map_err(|e| root.fail("link the blob to", &private, e))?;
        let top = Root::open(Path::new("/"))?;
        let ours = root.absolute(&private);
        let is_replaced = link::replace(&top, below_top(&ours), below_top(&file.source), seen)?;
        Ok((!is_replaced).then(|| "it has changed since it was read".into()))
    }

    fn is_blob(&self, file: &FoundFile, digest: &Digest) -> bool {
        let candidates = Candidates::of(&self.store.root, [*digest]);
        let found = candidates.find(&file.source, Links::Refused, &Cancel::new(), &|_| {});
        found.is_some_and(|found| found.digest == *digest)
    }
}

/// Takes the tool's lock of the file, if it has one; or returns the reason why it cannot.
fn lock_of(file: &FoundFile) -> Result<Result<Option<Lock>, String>, Error> {
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
