//! The order of an export: lease and check the model, look at every name there, record what will be made, make private
//! files, record them, give them their names, look again, and record that it is done.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::artifact::Artifact;
use super::look::{Look, Looker};
use super::options::ExportOptions;
use super::plan::{Content, Item, Plan};
use super::publish::Publisher;
use super::receipt::{ExportReceipt, ExportWay};
use super::record::{ExportRecord, Made, exported_documents};
use super::records::Records;
use super::{remove, target};
use crate::error::Result;
use crate::fs::{Root, now_ms};
use crate::store::Store;
use crate::sum::SumBytes as _;

/// One export. An archive has several artifacts, each with a record that names the same file.
pub(super) struct Job<'j> {
    pub(super) store: &'j Store,
    pub(super) known: &'j Records,
    pub(super) artifacts: &'j [Artifact<'j>],
    pub(super) plan: &'j Plan,
    pub(super) names: Vec<String>,
    pub(super) options: &'j ExportOptions,
    pub(super) to: &'j Path,
    pub(super) began: Instant,
    /// Why no cheaper way was possible.
    pub(super) reason: Cell<Option<String>>,
}

impl Job<'_> {
    pub(super) fn run(&self) -> Result<Vec<ExportReceipt>> {
        let Some(first) = self.artifacts.first() else { return Ok(Vec::new()) };
        self.plan.check(first.id(), self.options.layout)?;
        let to = self.to.to_string_lossy().into_owned();
        let mut records = self.records(&to);
        let folder = records.first().map_or(self.to, ExportRecord::folder).to_path_buf();
        let _one_at_a_time = target::lock_place(self.store, &to)?;
        let mut known = self.known.readable(self.store)?;
        known.retain(|known| known.to == to);
        let keys: BTreeSet<String> = records.iter().map(ExportRecord::key).collect();
        let (previous, others): (Vec<Arc<ExportRecord>>, Vec<Arc<ExportRecord>>) =
            known.iter().cloned().partition(|known| keys.contains(&known.key()));
        let is_as_before = |record: &ExportRecord| {
            let is_same = |old: &ExportRecord| (old.digest, &old.documents) == (record.digest, &record.documents);
            previous.iter().any(|old| old.is_done && old.key() == record.key() && is_same(old))
        };
        let is_current = records.iter().all(is_as_before);

        let found = target::find(&folder)?;
        let mut made: BTreeMap<&str, Vec<&Made>> = BTreeMap::new();
        for file in known.iter().flat_map(|record| &record.files) {
            made.entry(&file.path).or_default().push(file);
        }
        let looker =
            Looker { root: found.as_ref(), artifacts: self.artifacts, plan: self.plan, made: &made, is_current };
        let looks = self.plan.items.iter().map(|item| looker.look(item)).collect::<Result<Vec<Look>>>()?;
        let is_whole = looks.iter().all(|look| matches!(look, Look::Own(_) | Look::Keep(..)));
        if !(is_current && is_whole) {
            let stale = self.stale(&previous);
            let (folders, private) = (self.folders(found.as_ref(), &previous)?, target::private_name());
            for record in &mut records {
                record.folders.clone_from(&folders);
                record.files = self.intended(&looks);
                record.files.extend(stale.iter().cloned());
                record.private = Some(private.clone());
            }
            self.write(&records)?;
            let leftovers = previous.iter().filter_map(|record| record.private.as_deref());
            let done = target::make(&folder).and_then(|root| {
                let looker = Looker { root: Some(&root), ..looker };
                let mut publisher = Publisher::new(self, &root, Path::new(&private), looker, &mut records);
                publisher.make(leftovers, &looks)?;
                publisher.sweep(&stale, &others)?;
                self.reason.set(publisher.reason());
                Ok(())
            });
            if let Err(error) = done {
                // What was there before stays recorded, and a later sync completes it.
                if previous.is_empty() {
                    self.undo(&records, &others);
                }
                return Err(error);
            }
        } else {
            for record in &mut records {
                record.files = self.intended(&looks);
                record.folders = previous.first().map(|old| old.folders.clone()).unwrap_or_default();
            }
        }
        for record in &mut records {
            record.is_done = true;
            record.private = None;
            record.exported_ms = now_ms();
            record.files.truncate(self.plan.items.len());
        }
        self.write(&records)?;
        Ok(self.receipts(&folder, &records, &looks))
    }

    fn records(&self, to: &str) -> Vec<ExportRecord> {
        let named = self.artifacts.iter().zip(&self.names);
        named
            .map(|(artifact, name)| {
                let (layout, to) = (self.options.layout, to.to_owned());
                let mut record = ExportRecord::new(artifact.id(), artifact.digest, layout, to, name.clone());
                record.repo.clone_from(&self.options.repo);
                record.revision.clone_from(&self.options.revision);
                record.documents = exported_documents(layout, artifact.record());
                record
            })
            .collect()
    }

    pub(super) fn write(&self, records: &[ExportRecord]) -> Result<()> {
        records.iter().try_for_each(|record| record.write(self.store))
    }

    /// The names of an earlier content that the new one does not have.
    fn stale(&self, previous: &[Arc<ExportRecord>]) -> Vec<Made> {
        let old = previous.iter().flat_map(|record| &record.files);
        old.filter(|made| self.plan.item(&made.path).is_none() && made.way != ExportWay::Kept).cloned().collect()
    }

    /// The folders that this export and its earlier ones have made, parents first.
    fn folders(&self, root: Option<&Root>, previous: &[Arc<ExportRecord>]) -> Result<Vec<String>> {
        let mut folders: BTreeSet<String> = previous.iter().flat_map(|record| record.folders.clone()).collect();
        for folder in self.plan.folders() {
            let is_there = root.map(|root| root.meta(folder)).transpose()?.flatten().is_some();
            if !is_there {
                folders.insert(folder.to_string_lossy().into_owned());
            }
        }
        Ok(folders.into_iter().collect())
    }

    fn intended(&self, looks: &[Look]) -> Vec<Made> {
        let items = self.plan.items.iter().zip(looks);
        items
            .map(|(item, look)| match look {
                Look::Own(made) => made.clone(),
                Look::Keep(size_bytes, _) => made(item, ExportWay::Kept, *size_bytes),
                Look::Make | Look::Replace(_) => {
                    let (way, size_bytes) = match &item.content {
                        Content::Blob { size_bytes, .. } => (ExportWay::Hardlink, *size_bytes),
                        Content::Twin { .. } => (ExportWay::Hardlink, 0),
                        Content::Bytes(bytes) => (ExportWay::Written, bytes.len() as u64),
                        Content::Pointer(_) => (ExportWay::Pointer, 0),
                        Content::Entry(_) => (ExportWay::Entry, 0),
                        #[cfg(feature = "tar")]
                        Content::Archive(archive) => (ExportWay::Copy, archive.size_bytes()),
                    };
                    made(item, way, size_bytes)
                }
            })
            .collect()
    }

    /// Removes what a failed export has made. If that fails, the record stays, and a removal can be repeated.
    fn undo(&self, records: &[ExportRecord], others: &[Arc<ExportRecord>]) {
        for record in records {
            let undone = remove::clear(record, others, &mut Default::default());
            if let Err(error) = undone.and_then(|()| record.forget(self.store)) {
                tracing::warn!(id = record.id, to = record.to, %error, "could not undo the export");
            }
        }
    }

    fn receipts(&self, folder: &Path, records: &[ExportRecord], looks: &[Look]) -> Vec<ExportReceipt> {
        let is_content =
            |item: &Item| !matches!(item.content, Content::Bytes(_) | Content::Pointer(_) | Content::Entry(_));
        let is_new = |look: &Look| matches!(look, Look::Make | Look::Replace(_));
        let notes: Vec<String> =
            looks.iter().filter_map(|look| if let Look::Keep(_, note) = look { note.clone() } else { None }).collect();
        let receipt = |(number, (record, artifact)): (usize, (&ExportRecord, &Artifact<'_>))| {
            let items = || self.plan.items.iter().zip(looks).zip(&record.files);
            let content = || items().filter(|((item, _), _)| is_content(item));
            let way = content().map(|(_, made)| made.way).max().unwrap_or(ExportWay::Kept);
            let copies = content().filter(|((_, look), made)| is_new(look) && made.way == ExportWay::Copy);
            ExportReceipt {
                id: record.id.clone(),
                digest: record.digest,
                layout: record.layout,
                to: record.to.clone().into(),
                name: record.name.clone(),
                path: folder.join(&self.plan.path),
                size_bytes: artifact.record().size_bytes,
                // The others are in the archive of the first.
                copied_bytes: if number == 0 { copies.map(|(_, made)| made.size_bytes).sum_bytes() } else { 0 },
                kept_files: content().filter(|(_, made)| made.way == ExportWay::Kept).count() as u64,
                way,
                reason: self.reason.take().inspect(|reason| self.reason.set(Some(reason.clone()))),
                notes: notes.clone(),
                elapsed: self.began.elapsed(),
            }
        };
        records.iter().zip(self.artifacts).enumerate().map(receipt).collect()
    }
}

/// The record of an item's name.
pub(super) fn made(item: &Item, way: ExportWay, size_bytes: u64) -> Made {
    let target = match &item.content {
        Content::Pointer(to) => Some(to.clone()),
        Content::Entry(entry) => Some(entry.target()),
        _ => None,
    };
    let (is_head, is_optional) = (item.role.is_head(), item.role.is_optional());
    Made { path: item.at.clone(), way, size_bytes, stamp: None, target, is_head, is_optional }
}
