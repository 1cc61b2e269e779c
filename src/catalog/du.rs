//! `du`: what the store holds, and what that costs on disk.

use std::collections::BTreeMap;
use std::path::Path;

use super::FsCatalog;
use crate::blob;
use crate::digest::Digest;
use crate::entry::LinkMode;
use crate::error::Result;
use crate::layout;

/// What the store holds. All in bytes; "on disk" counts the blocks of each inode once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskUsage {
    /// Sum of all entries' sizes, as engines see them.
    pub logical_bytes: u64,
    /// Blobs, views that are copies, trash, quarantine and what is being brought in, on disk.
    pub physical_bytes: u64,
    /// What the entries would take more if each had its own copy.
    pub saved_bytes: u64,
    /// Views that are copies because the file system gave no link.
    pub copied_view_bytes: u64,
    /// In `trash/`, on disk.
    pub trash_bytes: u64,
    /// In `quarantine/`, on disk.
    pub quarantine_bytes: u64,
    /// Being brought in, or left by a process that died, on disk.
    pub ingest_bytes: u64,
    /// Blobs that no entry references, on disk.
    pub unreferenced_bytes: u64,
    /// How many blobs there are.
    pub blobs: u64,
    /// Every entry, the largest first.
    pub entries: Vec<EntryUsage>,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryUsage {
    /// Which.
    pub id: String,
    /// Bytes of its files, as an engine sees them.
    pub size_bytes: u64,
    /// Bytes on disk of blobs that no other entry references: what removing it would free.
    pub exclusive_bytes: u64,
}

impl FsCatalog {
    /// Measures the store. Reads only; looks at every entry and every blob.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let metas = blob::all_with_meta(&self.root)?;
        let mut needed_by: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut usage = DiskUsage { blobs: metas.len() as u64, ..DiskUsage::default() };
        let mut entries = Vec::new();
        let mut unique_bytes = 0;
        self.for_each_record(&mut |record, blobs| {
            for digest in &blobs {
                *needed_by.entry(*digest).or_default() += 1;
            }
            usage.logical_bytes += record.size_bytes;
            if record.view == Some(LinkMode::Copy) {
                usage.copied_view_bytes += record.size_bytes;
            }
            entries.push((record.entry.id.clone(), record.size_bytes, blobs));
            Ok(())
        })?;
        let mut blob_bytes = 0;
        for (digest, meta) in &metas {
            blob_bytes += meta.allocated_bytes;
            match needed_by.get(digest) {
                Some(_) => unique_bytes += meta.size_bytes,
                None => usage.unreferenced_bytes += meta.allocated_bytes,
            }
        }
        usage.saved_bytes = usage.logical_bytes.saturating_sub(unique_bytes);
        usage.trash_bytes = self.disk_bytes_below(Path::new(layout::TRASH))?;
        usage.quarantine_bytes = self.disk_bytes_below(Path::new(layout::QUARANTINE))?;
        usage.ingest_bytes = self.disk_bytes_below(Path::new(layout::INGEST))?;
        usage.physical_bytes =
            blob_bytes + usage.copied_view_bytes + usage.trash_bytes + usage.quarantine_bytes + usage.ingest_bytes;
        let on_disk = |digest: &Digest| metas.get(digest).map_or(0, |meta| meta.allocated_bytes);
        let is_alone = |digest: &&Digest| needed_by.get(digest) == Some(&1);
        usage.entries = entries
            .into_iter()
            .map(|(id, size_bytes, blobs)| {
                let exclusive_bytes = blobs.iter().filter(is_alone).map(on_disk).sum();
                EntryUsage { id, size_bytes, exclusive_bytes }
            })
            .collect();
        usage.entries.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.id.cmp(&b.id)));
        Ok(usage)
    }
}
