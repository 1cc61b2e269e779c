//! `du`: what the store holds, and what that costs on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::own_names::GatheredNames;
use super::unnamed_views::unnamed_views;
use crate::blob;
use crate::digest::Digest;
use crate::entry::LinkMode;
use crate::error::Result;
use crate::fs::Session;
use crate::fs::{Kind, Meta, Root};
use crate::ingest;
use crate::json::all_lossy;
use crate::layout::{self, Thing};
use crate::store::{GatheredRoots, Store};
use crate::sum::SumBytes;

/// What the store holds. All values are in bytes; "on disk" counts the blocks of each inode once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskUsage {
    /// Sum of all entries' sizes, as engines see them.
    pub logical_bytes: u64,
    /// Bytes on disk of blobs, views that are copies, trash, quarantine and unfinished ingestions.
    pub physical_bytes: u64,
    /// The part of them that files outside the store share through hardlinks or reflinks. Removing it frees nothing.
    pub shared_bytes: u64,
    /// Bytes saved compared with a separate copy for each entry.
    pub saved_bytes: u64,
    /// Views that are copies because the file system did not allow links.
    pub copied_view_bytes: u64,
    /// In `trash/`, on disk.
    pub trash_bytes: u64,
    /// In `quarantine/`, on disk.
    pub quarantine_bytes: u64,
    /// Being ingested, or left behind by a dead process, on disk.
    pub ingest_bytes: u64,
    /// Partials of interrupted copies, on disk. The next stage of the same source resumes them.
    pub partial_bytes: u64,
    /// Lock files of references, on disk. `gc` removes those that no process holds.
    pub lock_bytes: u64,
    /// Blobs that no entry references, on disk.
    pub unreferenced_bytes: u64,
    /// Copies that exports have made in other tools' folders. They are outside the store, and not part of
    /// `physical_bytes`.
    pub export_bytes: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// Folders of another user that could not be read. Their bytes are not counted.
    #[serde(serialize_with = "all_lossy")]
    pub unreadable: Vec<PathBuf>,
    /// All entries, largest first.
    pub entries: Vec<EntryUsage>,
}

/// What an entry holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct EntryUsage {
    /// The entry's id.
    pub id: String,
    /// Bytes of its files, as an engine sees them.
    pub size_bytes: u64,
    /// Bytes on disk of blobs that neither another entry nor a file outside the store shares: what removing the entry
    /// would free.
    pub exclusive_bytes: u64,
    /// Its part of the bytes on disk: a blob that several entries need counts in equal parts for each of them, rounded
    /// down. Together with `unreferenced_bytes` the parts of all entries are what all blobs occupy.
    pub proportional_bytes: u64,
}

/// Measures the store: inspects every entry and every blob.
pub(crate) fn disk_usage(store: &Store) -> Result<DiskUsage> {
    let mut needed_by: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut usage = DiskUsage::default();
    let (mut names, mut roots) = (GatheredNames::default(), GatheredRoots::default());
    let mut entries = Vec::new();
    // Blobs of contents, without the documents next to them: a record has no size for those.
    let mut shown: BTreeSet<Digest> = BTreeSet::new();
    let mut unique_bytes = 0_u64;
    store.for_each_record(&mut |record, needed| {
        names.add(record, &needed);
        let at = store.relative(&record.entry.local_path);
        roots.add(Some(at).filter(|at| at.starts_with(layout::VIEWS)), &[]);
        for digest in &needed.blobs {
            *needed_by.entry(*digest).or_default() += 1;
            if !record.needs.contains(digest) || record.entry.digest == Some(*digest) {
                shown.insert(*digest);
            }
        }
        usage.logical_bytes = usage.logical_bytes.saturating_add(record.size_bytes);
        if record.view == Some(LinkMode::Copy) {
            usage.copied_view_bytes = usage.copied_view_bytes.saturating_add(record.size_bytes);
        }
        entries.push((record.entry.id.clone(), record.size_bytes, needed.blobs));
        Ok(())
    })?;
    let metas = blob::all_with_meta(&store.root)?;
    let facts = names.counted().facts_of(store, &unnamed_views(store, &roots.counted())?, &metas)?;
    usage.blobs = metas.len() as u64;
    let mut blob_bytes = 0_u64;
    for (digest, meta) in &metas {
        blob_bytes = blob_bytes.saturating_add(meta.allocated_bytes);
        let shared_bytes = facts.get(digest).map_or(0, |blob| blob.shared_bytes);
        usage.shared_bytes = usage.shared_bytes.saturating_add(shared_bytes);
        match needed_by.get(digest) {
            Some(_) if shown.contains(digest) => unique_bytes = unique_bytes.saturating_add(meta.size_bytes),
            Some(_) => {}
            None => usage.unreferenced_bytes = usage.unreferenced_bytes.saturating_add(meta.allocated_bytes),
        }
    }
    usage.saved_bytes = usage.logical_bytes.saturating_sub(unique_bytes);
    let mut measure = |folder: &Path| -> Result<u64> {
        let measured = disk_bytes_below(&store.root, folder)?;
        usage.unreadable.extend(measured.unreadable.iter().map(|path| store.root.absolute(path)));
        Ok(measured.bytes)
    };
    let trash_bytes = measure(Path::new(layout::TRASH))?;
    let quarantine_bytes = measure(Path::new(layout::QUARANTINE))?;
    let ingest_bytes = measure(Path::new(layout::INGEST))?;
    (usage.trash_bytes, usage.quarantine_bytes, usage.ingest_bytes) = (trash_bytes, quarantine_bytes, ingest_bytes);
    // Other lock files are never removed.
    usage.lock_bytes = measure(&layout::locks_fetch())?;
    usage.partial_bytes = ingest::bytes_of_partials(&store.root)?;
    let views_bytes = usage.copied_view_bytes;
    let partial_bytes = usage.partial_bytes;
    usage.physical_bytes =
        [blob_bytes, views_bytes, trash_bytes, quarantine_bytes, ingest_bytes, partial_bytes].iter().sum_bytes();
    let freed = |digest: &Digest| facts.get(digest).map_or(0, |blob| blob.bytes);
    let is_alone = |digest: &&Digest| needed_by.get(digest) == Some(&1);
    let part = |digest: &Digest| {
        let users = needed_by.get(digest).map_or(1, |users| *users as u64);
        metas.get(digest).map_or(0, |meta| meta.allocated_bytes / users.max(1))
    };
    usage.entries = entries
        .into_iter()
        .map(|(id, size_bytes, blobs)| {
            let exclusive_bytes = blobs.iter().filter(is_alone).map(freed).sum_bytes();
            let proportional_bytes = blobs.iter().map(part).sum_bytes();
            EntryUsage { id, size_bytes, exclusive_bytes, proportional_bytes }
        })
        .collect();
    usage.entries.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.id.cmp(&b.id)));
    Ok(usage)
}

/// A number of bytes, and the folders that could not be read: another user's folder is unknown, and does not fail the
/// sum.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) bytes: u64,
    /// Relative to the root.
    pub(crate) unreadable: Vec<PathBuf>,
}

/// Bytes on disk of all files at or below a path.
pub(crate) fn disk_bytes_below(root: &Root, path: &Path) -> Result<Measured> {
    let mut measured = Measured::default();
    sum_below(root, path, &|file| file.allocated_bytes, &mut measured).map(|()| measured)
}

/// Bytes on disk that are freed when everything at or below a path is removed. A file with another name frees nothing.
pub(super) fn bytes_freed_below(root: &Root, path: &Path) -> Result<Measured> {
    let mut measured = Measured::default();
    let freed = |file: &Meta| if file.links == 1 { file.allocated_bytes } else { 0 };
    sum_below(root, path, &freed, &mut measured).map(|()| measured)
}

fn sum_below(root: &Root, path: &Path, bytes_of: &dyn Fn(&Meta) -> u64, sum: &mut Measured) -> Result<()> {
    match root.meta(path)? {
        Some(meta) if meta.kind == Kind::Dir => match root.names(path) {
            Ok(names) => names.iter().try_for_each(|name| sum_below(root, &path.join(name), bytes_of, sum)),
            Err(error) if error.is_permission_denied() => {
                sum.unreadable.push(path.to_path_buf());
                Ok(())
            }
            Err(error) => Err(error),
        },
        Some(meta) => {
            sum.bytes = sum.bytes.saturating_add(bytes_of(&meta));
            Ok(())
        }
        None => Ok(()),
    }
}

/// The most that the quota may count: blobs, trash, quarantine, views that are copies, and leftovers of dead processes,
/// including what files outside the store share. Reads no manifest, and treats an unreadable shard as one without
/// copies.
pub(super) fn used_bytes_at_most(store: &Store) -> Result<u64> {
    let root = &store.root;
    let blobs: u64 = blob::all_with_meta(root)?.values().map(|meta| meta.allocated_bytes).sum_bytes();
    let mut copies = 0_u64;
    store.index.each_readable(&mut |record| {
        if record.view == Some(LinkMode::Copy) {
            copies = copies.saturating_add(record.size_bytes);
        }
    });
    let mut used = [blobs, copies, ingest::bytes_of_partials(root)?].iter().sum_bytes();
    for folder in [layout::TRASH, layout::QUARANTINE] {
        used = used.saturating_add(disk_bytes_below(root, Path::new(folder))?.bytes);
    }
    let ingest = Path::new(layout::INGEST);
    for name in root.names(ingest)? {
        let folder = ingest.join(&name);
        if layout::classify(&folder) == Thing::Session && matches!(Session::claim_dead(root, &folder), Ok(Some(_))) {
            used = used.saturating_add(disk_bytes_below(root, &folder)?.bytes);
        }
    }
    Ok(used)
}
