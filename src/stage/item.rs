//! Decides what to stage, and whether it needs staging at all.
//!
//! An item is a list of named contents, each with an origin: a local file, ranges of something remote, bytes in memory.
//! Only [`Item::local`] and [`unchanged`] know that an origin may be a path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::remote::{self, Fetched, From, Question};
#[cfg(feature = "attest")]
use super::signed::Asked;
use super::target::{self, Target};
use super::walk::{self, SourceFile};
use super::{StageOptions, StageReceipt};
use crate::blob::{IngestMode, UsedMode};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LifecycleState, Provenance, Record, SourceStamp, TrustState, check_id, fingerprint};
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::fs::lock::Wait;
use crate::fs::source::source_meta;
use crate::hint::Hint;
use crate::ingest::{self, ContentFile, Links, Origin};
use crate::layout;
use crate::model_ref::{ModelRef, absolute};
use crate::store::Store;
use crate::sum::SumBytes;

/// An artifact to ingest.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) reference: String,
    /// The name of its view.
    pub(super) name: String,
    pub(super) kind: ArtifactKind,
    /// Sorted by path; for a file, the file itself with an empty path. A stream has none.
    pub(super) contents: Vec<Content>,
    pub(super) mode: IngestMode,
    pub(super) expected: Option<Digest>,
    /// The path of an artifact that already lies below the root, relative to it. The artifact keeps this path.
    pub(super) in_place: Option<PathBuf>,
    pub(super) lifecycle: LifecycleState,
    pub(super) last_verified_ms: Option<u64>,
    pub(super) wait: Wait,
    pub(super) defer_outboard: bool,
    pub(super) require_complete: bool,
    #[cfg(feature = "attest")]
    pub(super) asked: Asked,
    /// Names the item in messages: the local path, if it has one.
    pub(super) source: PathBuf,
    /// The party that named the digests of all its files.
    pub(super) named_by: Option<String>,
    /// Whether it was found in another tool's store.
    pub(super) is_adopted: bool,
    /// Set if the item is fetched, or is a version of something that could be.
    pub(super) fetched: Option<Fetched>,
}

/// One file of an artifact.
pub(super) struct Content {
    pub(super) file: ContentFile,
    /// The stamp of a local file when it was inspected.
    pub(super) stamp: Option<SourceStamp>,
    /// Its hash as a blob of a git repository, if that is all that its origin names it by.
    pub(super) git_sha1: Option<[u8; 20]>,
}

/// The outcome of inspecting a source.
pub(super) enum Decision {
    Ingest(Box<Item>),
    /// Source and entry are unchanged since the last staging.
    Unchanged(Box<StageReceipt>),
    /// The source must be asked first.
    Ask(Box<Question>),
}

/// `earlier` holds the ids that earlier items of the call replace, so what the store has under them now does not count.
pub(super) fn decide(
    store: &Store,
    from: &From<'_>,
    reference: &ModelRef,
    options: &StageOptions,
    earlier: &BTreeSet<String>,
) -> Result<Decision> {
    let id = match &options.id {
        Some(id) => id.clone(),
        None => reference.id()?,
    };
    check_id(&id)?;
    // Read the record even if it is not needed: an unreadable shard then fails this item here, and not the whole call
    // at the end.
    let known = store.record(&id)?;
    let ModelRef::File { path } = reference else {
        return remote::decide(store, from, reference, known.filter(|_| !earlier.contains(&id)), id, options);
    };
    let source = absolute(path)?;
    let reference = source.to_str().map_or_else(|| id.clone(), |path| format!("file:{path}"));
    let in_place = match target::locate(&store.root, &source)? {
        // Moving a view away would take it from its entry.
        Target::InPlace(view) if view.starts_with(layout::VIEWS) && options.mode == IngestMode::Move => {
            return Err(Error::ReservedPath { path: source });
        }
        Target::InPlace(relative) if !relative.starts_with(layout::VIEWS) => Some(relative),
        _ => None,
    };
    let mut item = Item {
        expected: options.digest,
        in_place,
        wait: options.wait,
        defer_outboard: options.defer_outboard,
        require_complete: options.require_complete,
        #[cfg(feature = "attest")]
        asked: Asked::of(options),
        ..Item::local(store.path(), id, reference, source, options.mode, options.follow_links)?
    };
    if let Some(name) = &options.name {
        check_name(name)?;
        item.name.clone_from(name);
    }
    let receipt = match known {
        // An earlier item of the same call replaces what this id has now.
        Some(_) if !earlier.contains(&item.id) => unchanged(store, &item)?,
        _ => None,
    };
    Ok(match receipt {
        Some(receipt) => Decision::Unchanged(Box::new(receipt)),
        None => Decision::Ingest(Box::new(item)),
    })
}

/// Returns the receipt of the last staging if neither the source nor the entry has changed since, so no byte has to be
/// read. Also removes the partials that a killed process left of it.
pub(super) fn unchanged(store: &Store, item: &Item) -> Result<Option<StageReceipt>> {
    let receipt = find_unchanged(store, item)?;
    if receipt.is_some() {
        remove_left(store, &item.contents);
    }
    Ok(receipt)
}

/// [`unchanged`], without a write.
pub(super) fn find_unchanged(store: &Store, item: &Item) -> Result<Option<StageReceipt>> {
    if item.in_place.is_some() || matches!(item.mode, IngestMode::Link | IngestMode::Move) {
        return Ok(None);
    }
    let Some(record) = store.record(&item.id)? else { return Ok(None) };
    let same_source = record.kind == item.kind
        && record.source.as_ref().is_some_and(|source| source.reference == item.reference && item.fits(source));
    let is_here = same_source && has_facts(store, &record, item) && store.is_intact(&record)?;
    Ok(if is_here { receipt_of(record) } else { None })
}

/// Removes the partials of contents that are all in the store by now; a killed process left them.
pub(super) fn remove_left(store: &Store, contents: &[Content]) {
    let folders = contents.iter().flat_map(|content| ingest::partials_of(&content.file));
    folders.for_each(|folder| ingest::remove_left(&store.root, &folder));
}

/// Whether the record already has what staging the item would write: its name, its trust, its active lifecycle, and the
/// signatures that the rules ask for.
pub(super) fn has_facts(store: &Store, record: &Record, item: &Item) -> bool {
    let same_name = record.entry.local_path.file_name() == Some(item.name.as_ref());
    let as_expected = match item.expected {
        None => true,
        Some(expected) => record.entry.digest == Some(expected) && record.trust == TrustState::Verified,
    };
    #[cfg(feature = "attest")]
    if item.asked.is_required() {
        return false; // it is held against the signature anew
    }
    let is_signed = store.ensure_signed(record).is_ok();
    same_name && as_expected && is_signed && record.entry.lifecycle == item.lifecycle && item.last_verified_ms.is_none()
}

impl Item {
    /// Creates an active artifact with these contents and no expected digest.
    pub(super) fn new(
        id: String,
        reference: String,
        kind: ArtifactKind,
        source: PathBuf,
        contents: Vec<Content>,
    ) -> Self {
        Item {
            id,
            reference,
            name: view_name(&source),
            kind,
            contents,
            mode: IngestMode::Auto,
            expected: None,
            in_place: None,
            lifecycle: LifecycleState::Active,
            last_verified_ms: None,
            wait: Wait::Forever,
            defer_outboard: false,
            require_complete: false,
            #[cfg(feature = "attest")]
            asked: Asked::default(),
            source,
            named_by: None,
            is_adopted: false,
            fetched: None,
        }
    }

    /// Creates the item that stages `source`, a regular file or a directory, as it is now.
    pub(super) fn local(
        root: &Path,
        id: String,
        reference: String,
        source: PathBuf,
        mode: IngestMode,
        follow_links: bool,
    ) -> Result<Self> {
        let meta = source_meta(&source)?;
        let (kind, files) = if meta.kind == Kind::Dir {
            (ArtifactKind::Tree, walk::walk(Some(root), &source, follow_links)?)
        } else {
            let file = SourceFile { path: String::new(), source: source.clone(), stamp: meta.source_stamp() };
            (ArtifactKind::File, vec![file])
        };
        let content = |SourceFile { path, source, stamp }| {
            let origin = Origin::Local { path: source, mode, links: Links::Followed };
            let file = ContentFile { path, size_bytes: stamp.stamp.size_bytes, expected: None, origin, present: None };
            Content { file, stamp: Some(stamp), git_sha1: None }
        };
        let contents = files.into_iter().map(content).collect();
        Ok(Item { mode, ..Item::new(id, reference, kind, source, contents) })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.contents.iter().map(|content| content.file.size_bytes).sum_bytes()
    }

    /// The digest that one of the contents must have. The digest expected of a tree is that of its manifest.
    pub(super) fn expected_of(&self, content: &Content) -> Option<Digest> {
        content.file.expected.or(self.expected.filter(|_| self.kind == ArtifactKind::File))
    }

    /// Whether the source is unchanged since it was staged.
    fn fits(&self, source: &Provenance) -> bool {
        let stamps: Option<Vec<(&str, SourceStamp)>> =
            self.contents.iter().map(|content| Some((content.file.path.as_str(), content.stamp?))).collect();
        match (self.kind, stamps.as_deref()) {
            (_, None) => false,
            (ArtifactKind::File, Some([(_, now)])) => {
                (source.stamp, source.changed_ns) == (Some(now.stamp), Some(now.changed_ns))
            }
            (_, Some(stamps)) => {
                let now = || fingerprint(stamps.iter().map(|(path, stamp)| (*path, stamp.text())));
                source.fingerprint.as_ref().is_some_and(|recorded| *recorded == now())
            }
        }
    }
}

/// Checks that a view can have this name: one plain path component.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_plain = layout::is_plain_path(name) && !name.contains('/') && !name.chars().any(char::is_control);
    match is_plain {
        true => Ok(()),
        false => Err(Error::InvalidPath {
            path: name.into(),
            reason: "it cannot be the name of a view",
            hint: Hint::GiveName,
        }),
    }
}

/// Keeps the file's own name, because engines look at it, but replaces characters that break paths or terminals.
pub(super) fn view_name(source: &Path) -> String {
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '_' } else { c }).collect();
    if name.is_empty() { "model".into() } else { name }
}

/// Returns the receipt of an earlier staging; `None` if the record is not of a staged artifact.
pub(super) fn receipt_of(record: Record) -> Option<StageReceipt> {
    Some(StageReceipt {
        id: record.entry.id,
        digest: record.entry.digest?,
        local_path: record.entry.local_path,
        kind: record.kind,
        size_bytes: record.size_bytes,
        files: record.files,
        mode: UsedMode::Unchanged,
        view: record.view?,
        replaced: None,
        deduplicated: true,
        stored_bytes: 0,
        copied_bytes: 0,
        resumed_bytes: 0,
        fetched_bytes: 0,
        pinned: record.source.and_then(|source| source.pinned),
        view_copied_bytes: 0,
        unshared: None,
        completeness: None,
        missing: Vec::new(),
        unmoved: Vec::new(),
        elapsed: Duration::ZERO,
    })
}
