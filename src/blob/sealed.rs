//! A private file that is ready to be published as a blob.

use std::path::Path;

use super::pending::{PrivateName, Provenance};
use super::{SourceFacts, UsedMode};
use crate::digest::Digest;
use crate::entry::{SourceStamp, Stamp};
use crate::error::Result;
use crate::fs::atomic::is_link_refusal;
use crate::fs::{Durability, Meta, Session, atomic};
use crate::hash::Hashes;
use crate::hash::groups::Groups;

/// Whether a sealed file has its blob's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Private,
    Published,
}

/// A private file that is what a blob has to be: complete, hashed and read-only. If it is dropped before it is
/// published, it leaves nothing behind, except a partial that another process can continue.
#[derive(Debug)]
pub(crate) struct Sealed<'r> {
    private: PrivateName<'r>,
    meta: Meta,
    hashes: Hashes,
    provenance: Provenance,
    /// `Full` if its bytes have reached the disk.
    synced: Durability,
    standing: Standing,
    /// Why its bytes are not shared with the source, if they should have been.
    unshared: Option<String>,
}

impl<'r> Sealed<'r> {
    pub(super) fn new(
        private: PrivateName<'r>,
        meta: Meta,
        hashes: Hashes,
        provenance: Provenance,
        synced: Durability,
    ) -> Self {
        Sealed { private, meta, hashes, provenance, synced, standing: Standing::Private, unshared: None }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.hashes.digest
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.meta.size_bytes
    }

    /// How it got its bytes.
    pub(crate) fn mode(&self) -> UsedMode {
        self.provenance.mode
    }

    /// Why its bytes are not shared with the source, if they should have been.
    pub(crate) fn unshared(&self) -> Option<&str> {
        self.unshared.as_deref()
    }

    /// Sets [`unshared`](Sealed::unshared).
    #[must_use]
    pub(crate) fn with_unshared(mut self, reason: String) -> Self {
        self.unshared = Some(reason);
        self
    }

    /// How many of its bytes an earlier process left, so that they were not copied again.
    pub(crate) fn resumed_bytes(&self) -> u64 {
        self.provenance.resumed_bytes
    }

    /// The source's stamp while it was read; `None` if it changed during the read, or there was no source.
    pub(crate) fn source_stamp(&self) -> Option<Stamp> {
        self.provenance.source.stamp
    }

    /// The source's stamp, if a later write to the source will show in it.
    pub(crate) fn lasting_stamp(&self) -> Option<SourceStamp> {
        self.provenance.source.lasting_stamp()
    }

    /// Its private name, relative to the root.
    pub(crate) fn name(&self) -> &Path {
        &self.private.name
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The hashes of the blob's groups; `None` if its first check has to compute them.
    pub(crate) fn groups(&self) -> Option<&Groups> {
        self.hashes.groups.as_ref()
    }

    /// Another private name for the same file, for a second place with these bytes. `None`: it cannot get another name.
    pub(crate) fn twin(&self, session: &Session<'r>) -> Result<Option<Self>> {
        let (root, name) = (session.root(), session.next_name());
        match root.link(&self.private.name, &name) {
            Ok(()) => {}
            Err(e) if is_link_refusal(&e) => return Ok(None),
            Err(e) => return Err(root.fail("link", &name, e)),
        }
        let provenance = Provenance { mode: UsedMode::Present, source: SourceFacts::default(), resumed_bytes: 0 };
        let private = PrivateName::of_session(root, name);
        Ok(Some(Sealed::new(private, self.meta, self.hashes.clone(), provenance, self.synced)))
    }

    /// Gives it the name `to`, besides or instead of its private name, unless something else is there. Returns whether
    /// it now has that name.
    pub(super) fn publish(&mut self, to: &Path) -> Result<bool> {
        // Also checked in a second round: nothing held the store lock between the rounds, so a sweep may have removed
        // the blob.
        if self.standing == Standing::Private || !self.is_at(to)? {
            let is_new = atomic::publish_new(self.private.root, &self.private.name, &self.meta, to)?;
            self.standing = if is_new { Standing::Published } else { Standing::Private };
        }
        Ok(self.standing == Standing::Published)
    }

    /// Whether its bytes have reached the disk.
    pub(super) fn is_synced(&self) -> bool {
        self.synced.is_full()
    }

    /// To call after the whole file system was synced.
    pub(crate) fn was_synced(&mut self) {
        self.synced = Durability::Full;
    }

    /// Makes its bytes durable, unless they already are.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let (root, name) = (self.private.root, &self.private.name);
        if !self.is_synced()
            && let Some(file) = root.open_file(name)?
        {
            atomic::sync(root, &file, name).inspect_err(|_| self.private.let_go())?;
            self.synced = Durability::Full;
        }
        Ok(())
    }

    /// To call once its bytes are recorded. A source whose inode was taken stays a read-only blob; a partial is no
    /// longer needed.
    pub(crate) fn keep(&mut self) {
        if self.standing == Standing::Published {
            self.private.keep();
        }
        self.private.let_go();
    }

    /// To call after a sync of its bytes failed: no process may rely on them, even if a later sync succeeds.
    pub(crate) fn distrust(&mut self) {
        self.private.let_go();
    }

    fn is_at(&self, name: &Path) -> Result<bool> {
        Ok(self.private.root.meta(name)?.is_some_and(|there| there.same_inode(&self.meta)))
    }
}
