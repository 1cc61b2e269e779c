//! What is exported: a leased model, whose bytes were checked.

use std::fs::File;
use std::io;

use super::options::ExportLayout;
use crate::blob::manifest::TreeFile;
use crate::blob::{Checker, Subject, Verdict};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::layout;
use crate::lease::{Lease, lease};
use crate::store::{Check, Store, damaged};

/// A model that stays as it is while it is exported.
pub(super) struct Artifact<'s> {
    pub(super) store: &'s Store,
    pub(super) lease: Lease,
    pub(super) digest: Digest,
    /// Its files. If the model is one file, its path is empty.
    pub(super) files: Vec<TreeFile>,
    /// The name of its view.
    pub(super) name: String,
}

impl<'s> Artifact<'s> {
    /// Leases a model and checks its bytes, as far as the handle's [`Check`] asks for it.
    pub(super) fn open(store: &'s Store, id: &str) -> Result<Self> {
        let lease = lease(store, id)?;
        let record = lease.record();
        let digest = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered);
        let not_staged = || Error::NotStaged { id: id.to_owned(), path: record.entry.local_path.clone() };
        let digest = digest.ok_or_else(not_staged)?;
        let files = store.files_of(record.kind, digest, record.size_bytes)?;
        // The lease has checked the view, which can be a copy. The blobs are what is exported.
        check(store, record, &files)?;
        let name = record.entry.local_path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| "model".to_owned());
        Ok(Artifact { store, digest, files, name, lease })
    }

    pub(super) fn record(&self) -> &Record {
        self.lease.record()
    }

    pub(super) fn id(&self) -> &str {
        &self.record().entry.id
    }

    pub(super) fn is_file(&self) -> bool {
        self.record().kind == ArtifactKind::File
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<File> {
        let name = layout::blob(digest);
        let missing = || self.store.root.fail("open", &name, io::ErrorKind::NotFound.into());
        self.store.root.open_file(&name)?.ok_or_else(missing)
    }

    pub(super) fn reader(&self, digest: &Digest) -> Result<Foreign> {
        Foreign::open(self.store.root.absolute(&layout::blob(digest)))
    }

    /// The bytes of a file of at most this size.
    pub(super) fn small(&self, file: &TreeFile, max_bytes: u64) -> Result<Vec<u8>> {
        let name = layout::blob(&file.digest);
        let missing = || self.store.root.fail("open", &name, io::ErrorKind::NotFound.into());
        self.store.root.read(&name, max_bytes)?.ok_or_else(missing)
    }

    /// The layout cannot show this model.
    pub(super) fn cannot(&self, layout: ExportLayout, reason: impl Into<String>) -> Error {
        Error::NotExportable { id: self.id().to_owned(), layout: layout.as_str(), reason: reason.into() }
    }
}

fn check(store: &Store, record: &Record, files: &[TreeFile]) -> Result<()> {
    let blobs = files.iter().map(|file| &file.digest);
    if store.settings.check == Check::Never || store.is_sealed()? || store.are_good_by_stamp(blobs, &record.owners)? {
        return Ok(());
    }
    let subject = |file: &TreeFile| Subject::blob(&file.digest, Some(file.size_bytes)).owned_by(&record.owners);
    let subjects: Vec<Subject> = files.iter().map(subject).collect();
    let checked = Checker::quiet(&store.root, store.durability()).all(&subjects)?;
    match checked.iter().all(|(_, verdict)| matches!(verdict, Verdict::Good)) {
        true => Ok(()),
        false => Err(damaged(record)),
    }
}
