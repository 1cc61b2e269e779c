//! A private file that waits to be published as a blob.

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

/// A private file that is what a blob is: complete, hashed, read-only. Dropped before it is published, it leaves nothing
/// behind, but for what is kept so that another process can take it up.
#[derive(Debug)]
pub(crate) struct Sealed<'r> {
    private: PrivateName<'r>,
    meta: Meta,
    hashes: Hashes,
    provenance: Provenance,
    /// `Full`: its bytes have reached the disk.
    synced: Durability,
    standing: Standing,
}

impl<'r> Sealed<'r> {
    pub(super) fn new(
        private: PrivateName<'r>,
        meta: Meta,
        hashes: Hashes,
        provenance: Provenance,
        synced: Durability,
    ) -> Self {
        Sealed { private, meta, hashes, provenance, synced, standing: Standing::Private }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.hashes.digest
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.meta.size_bytes
    }

    /// How its bytes came into it.
    pub(crate) fn mode(&self) -> UsedMode {
        self.provenance.mode
    }

    /// How many of its bytes an earlier process had left. They were not copied again.
    pub(crate) fn resumed_bytes(&self) -> u64 {
        self.provenance.resumed_bytes
    }

    /// The source's stamp while it was read; `None` when it changed meanwhile, or there was no source.
    pub(crate) fn source_stamp(&self) -> Option<Stamp> {
        self.provenance.source.stamp
    }

    /// The source's stamp, if a later write to the source will show in it.
    pub(crate) fn lasting_stamp(&self) -> Option<SourceStamp> {
        self.provenance.source.lasting_stamp()
    }

    /// Its private name.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &Path {
        &self.private.name
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What the blob will be checked against; `None` when that is made by its first check.
    pub(crate) fn groups(&self) -> Option<&Groups> {
        self.hashes.groups.as_ref()
    }

    /// The same file once more, under another private name: for a second place that has these bytes. `None`: it can get no
    /// further name.
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

    /// Gives it the name `to` as well, or instead, unless there is something else already. Returns whether it has it.
    pub(super) fn publish(&mut self, to: &Path) -> Result<bool> {
        // In a second round as well: between the two nothing held the store, and a removal may have taken the blob.
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

    /// The whole file system was synced.
    pub(crate) fn was_synced(&mut self) {
        self.synced = Durability::Full;
    }

    /// Makes its bytes durable, when they are not.
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

    /// Its bytes are recorded now. A source that was taken as it is stays a blob, and read-only; a partial is no longer
    /// needed.
    pub(crate) fn keep(&mut self) {
        if self.standing == Standing::Published {
            self.private.keep();
        }
        self.private.let_go();
    }

    /// A sync that was to make its bytes durable has failed. No process may rely on them, though a later sync may
    /// succeed.
    pub(crate) fn distrust(&mut self) {
        self.private.let_go();
    }

    fn is_at(&self, name: &Path) -> Result<bool> {
        Ok(self.private.root.meta(name)?.is_some_and(|there| there.same_inode(&self.meta)))
    }
}
