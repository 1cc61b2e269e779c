//! What is to be staged, and whether it has to be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FsCatalog;
use super::place::{self, Location};
use super::read::is_there;
use super::stage::{StageOptions, StageReceipt};
use super::tree::{self, SourceFile};
use crate::blob::{self, IngestMode, UsedMode};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LifecycleState, LinkMode, Record, Source, TrustState, check_id};
use crate::error::{Error, Result};
use crate::fs::lock::Wait;
use crate::fs::source::source_meta;
use crate::fs::{Durability, Kind, Root};
use crate::layout;
use crate::model_ref::{ModelRef, absolute};

/// An artifact that is to be brought in.
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) reference: String,
    /// What its view is called.
    pub(super) name: String,
    pub(super) kind: ArtifactKind,
    pub(super) files: Vec<SourceFile>,
    pub(super) mode: IngestMode,
    pub(super) expected: Option<Digest>,
    /// The artifact is below the root and its path, relative, stays.
    pub(super) adopt: Option<PathBuf>,
    pub(super) lifecycle: LifecycleState,
    pub(super) last_verified_ms: Option<u64>,
    pub(super) wait: Wait,
    pub(super) defer_outboard: bool,
    pub(super) source: PathBuf,
}

/// What comes of a look at a source.
pub(super) enum Planned {
    Bring(Box<Plan>),
    Here(Box<StageReceipt>),
}

impl FsCatalog {
    /// `earlier` are the ids that items before this one will have brought: what is here of them will not stay.
    pub(super) fn plan(
        &self,
        reference: &ModelRef,
        options: &StageOptions,
        earlier: &BTreeSet<String>,
    ) -> Result<Planned> {
        let id = match &options.id {
            Some(id) => id.clone(),
            None => reference.id()?,
        };
        check_id(&id)?;
        // Also when it is not asked for anything: a shard that cannot be read fails this item here and not all of them
        // in the end.
        let known = self.record(&id)?;
        let ModelRef::File { path } = reference else { return self.plan_remote(reference, known, &id, options) };
        let source = absolute(path)?;
        let reference = source.to_str().map_or_else(|| id.clone(), |path| format!("file:{path}"));
        let adopt = match place::locate(&self.root, &source)? {
            // Moving a view away would take it from the entry that it belongs to.
            Location::Adopted(view) if view.starts_with(layout::VIEWS) && options.mode == IngestMode::Move => {
                return Err(Error::ReservedPath { path: source });
            }
            Location::Adopted(relative) if !relative.starts_with(layout::VIEWS) => Some(relative),
            _ => None,
        };
        let plan = Plan {
            expected: options.digest,
            adopt,
            mode: options.mode,
            wait: options.wait,
            defer_outboard: options.defer_outboard,
            ..Plan::new(self.root(), id, reference, source, options.follow_links)?
        };
        Ok(match self.unchanged(&plan)? {
            // What an earlier item of the same call is about to stage under this id is not what is here now.
            Some(receipt) if !earlier.contains(&plan.id) => Planned::Here(Box::new(receipt)),
            _ => Planned::Bring(Box::new(plan)),
        })
    }

    /// What staging would come to when everything is as it was staged last: then no byte has to be read.
    pub(super) fn unchanged(&self, plan: &Plan) -> Result<Option<StageReceipt>> {
        if plan.adopt.is_some() || matches!(plan.mode, IngestMode::Link | IngestMode::Move) {
            return Ok(None);
        }
        let Some(record) = self.record(&plan.id)? else { return Ok(None) };
        let same_source = record.kind == plan.kind
            && record.source.as_ref().is_some_and(|source| source.reference == plan.reference && plan.fits(source));
        let same_name = record.entry.local_path.file_name() == Some(plan.name.as_ref());
        let as_expected = match plan.expected {
            None => true,
            Some(expected) => record.entry.digest == Some(expected) && record.trust == TrustState::Verified,
        };
        let same_facts = record.entry.lifecycle == plan.lifecycle && plan.last_verified_ms.is_none();
        let is_here = same_source && same_name && as_expected && same_facts && self.is_intact(&record)?;
        Ok(if is_here { receipt_of(record) } else { None })
    }

    /// A reference that no fetcher of this build can bring is fine when the catalog holds it already.
    fn plan_remote(
        &self,
        reference: &ModelRef,
        known: Option<Record>,
        id: &str,
        options: &StageOptions,
    ) -> Result<Planned> {
        let name = reference.id()?;
        let held = known.filter(|record| {
            let is_reference = id == name || record.source.as_ref().is_some_and(|source| source.reference == name);
            is_reference && options.digest.is_none_or(|expected| record.entry.digest == Some(expected))
        });
        let receipt = match held {
            // As `path` would answer. Its source is not here, so nothing could be made again.
            Some(record) if record.damaged_ms.is_none() && is_there(&record)? => receipt_of(record),
            _ => None,
        };
        match receipt {
            Some(receipt) => Ok(Planned::Here(Box::new(receipt))),
            None => Err(Error::NoFetcher { scheme: reference.scheme().to_owned(), reference: name }),
        }
    }

    /// Whether everything that a record promises is here and was not changed since it was checked: no bytes are read.
    pub(super) fn is_intact(&self, record: &Record) -> Result<bool> {
        let (Some(digest), Some(view), None) = (record.entry.digest, record.view, record.damaged_ms) else {
            return Ok(false);
        };
        let Ok(at) = record.entry.local_path.strip_prefix(self.root()) else { return Ok(false) };
        if !blob::is_good_by_stamp(&self.root, &digest, Durability::Relaxed)? {
            return Ok(false);
        }
        let files = match self.files_of(record.kind, digest, record.size_bytes) {
            Ok(files) => files,
            // Evicted just now.
            Err(_) if self.root.meta(&layout::blob(&digest))?.is_none() => return Ok(false),
            Err(error) => return Err(error),
        };
        if view != LinkMode::Hardlink {
            // Each blob too: another entry may show it.
            let blobs = files.iter().map(|file| blob::is_good_by_stamp(&self.root, &file.digest, Durability::Relaxed));
            return Ok(
                self.is_listed(record, &files, at)? && blobs.collect::<Result<Vec<_>>>()?.iter().all(|good| *good)
            );
        }
        for file in &files {
            let shown = file.below(at);
            let intact = blob::is_good_by_stamp(&self.root, &file.digest, Durability::Relaxed)?
                && crate::view::is_hardlink_of(&self.root, &file.digest, &shown)?;
            if !intact {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Plan {
    /// The plan to stage `source`, a regular file or a directory, as it is.
    pub(super) fn new(root: &Path, id: String, reference: String, source: PathBuf, follow_links: bool) -> Result<Self> {
        let meta = source_meta(&source)?;
        let (kind, files) = if meta.kind == Kind::Dir {
            (ArtifactKind::Tree, tree::walk(root, &source, follow_links)?)
        } else {
            let file = SourceFile { path: String::new(), source: source.clone(), stamp: meta.stamp() };
            (ArtifactKind::File, vec![file])
        };
        Ok(Plan {
            id,
            reference,
            name: view_name(&source),
            kind,
            files,
            mode: IngestMode::Auto,
            expected: None,
            adopt: None,
            lifecycle: LifecycleState::Active,
            last_verified_ms: None,
            wait: Wait::Forever,
            defer_outboard: false,
            source,
        })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.stamp.size_bytes).sum()
    }

    /// What staging will need room for, as far as can be told before it is read.
    pub(super) fn new_bytes(&self, root: &Root) -> u64 {
        let is_here = self
            .expected
            .is_some_and(|digest| blob::is_good_by_stamp(root, &digest, Durability::Relaxed).unwrap_or(false));
        if is_here || self.mode == IngestMode::Link { 0 } else { self.size_bytes() }
    }

    /// Whether the source is as it was when it was staged.
    fn fits(&self, source: &Source) -> bool {
        match (self.kind, self.files.as_slice()) {
            (ArtifactKind::File, [file]) => source.stamp == Some(file.stamp),
            (_, files) => {
                let stamps: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.stamp)).collect();
                source.listing.as_ref().is_some_and(|recorded| *recorded == crate::view::listing(&stamps))
            }
        }
    }
}

/// The file's own name, because engines look at it; what a path or a terminal cannot bear is replaced.
fn view_name(source: &Path) -> String {
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '_' } else { c }).collect();
    if name.is_empty() { "model".into() } else { name }
}

/// The receipt of what was staged before; `None` when the record is of something that was not.
fn receipt_of(record: Record) -> Option<StageReceipt> {
    Some(StageReceipt {
        id: record.entry.id,
        digest: record.entry.digest?,
        local_path: record.entry.local_path,
        kind: record.kind,
        size_bytes: record.size_bytes,
        files: record.files,
        mode: UsedMode::Unchanged,
        view: record.view?,
        deduplicated: true,
        stored_bytes: 0,
        resumed_bytes: 0,
        elapsed: Duration::ZERO,
    })
}
