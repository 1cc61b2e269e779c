//! The order of an export: lease and check the model, look at every name there, record what will be made, make private
//! files, record them, give them their names, look again, and record that it is done.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::artifact::Artifact;
use super::in_use::InUse;
use super::look::{Look, Looker, in_the_way};
use super::make::{Maker, Private};
use super::options::ExportOptions;
use super::plan::{Content, Item, Plan};
use super::receipt::{ExportReceipt, ExportWay};
use super::record::{self, ExportRecord, Made};
use super::{remove, target};
use crate::error::Result;
use crate::fs::{Root, link, lock_of_tool, now_ms};
use crate::store::Store;
use crate::sum::SumBytes as _;

/// How often names are made again that somebody removes meanwhile.
const TIMES: usize = 3;

/// One export. An archive has several artifacts, each with a record that names the same file.
pub(super) struct Job<'j> {
    pub(super) store: &'j Store,
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
        let mut known = record::read_all(self.store)?;
        known.retain(|known| known.to == to);
        let keys: BTreeSet<String> = records.iter().map(ExportRecord::key).collect();
        let previous: Vec<&ExportRecord> = known.iter().filter(|known| keys.contains(&known.key())).collect();
        let is_as_before = |record: &ExportRecord| {
            previous.iter().any(|old| old.is_done && old.key() == record.key() && old.digest == record.digest)
        };
        let is_current = records.iter().all(is_as_before);

        let found = target::find(&folder)?;
        let looker =
            Looker { root: found.as_ref(), artifacts: self.artifacts, plan: self.plan, records: &known, is_current };
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
            let leftovers: Vec<String> = previous.iter().filter_map(|record| record.private.clone()).collect();
            self.write(&records)?;
            let made = self.make(&folder, &leftovers, &looks, &mut records, &looker, &known, &stale);
            if let Err(error) = made {
                // What was there before stays recorded, and a later sync completes it.
                if previous.is_empty() {
                    self.undo(&records, &known);
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
                record
            })
            .collect()
    }

    fn write(&self, records: &[ExportRecord]) -> Result<()> {
        records.iter().try_for_each(|record| record.write(self.store))
    }

    /// The names of an earlier content that the new one does not have.
    fn stale(&self, previous: &[&ExportRecord]) -> Vec<Made> {
        let is_planned = |made: &Made| self.plan.items.iter().any(|item| item.at == made.path);
        let old = previous.iter().flat_map(|record| &record.files);
        old.filter(|made| !is_planned(made) && made.way != ExportWay::Kept).cloned().collect()
    }

    /// The folders that this export and its earlier ones have made, parents first.
    fn folders(&self, root: Option<&Root>, previous: &[&ExportRecord]) -> Result<Vec<String>> {
        let mut folders: Vec<String> = previous.iter().flat_map(|record| record.folders.clone()).collect();
        for item in &self.plan.items {
            match root {
                Some(root) => target::missing_folders(root, Path::new(&item.at), &mut folders)?,
                None => {
                    let mut above: Vec<&Path> = Path::new(&item.at).ancestors().skip(1).collect();
                    above.reverse();
                    let above = above.into_iter().map(|folder| folder.to_string_lossy().into_owned());
                    let new: Vec<String> =
                        above.filter(|folder| !folder.is_empty() && !folders.contains(folder)).collect();
                    folders.extend(new);
                }
            }
        }
        folders.sort();
        folders.dedup();
        Ok(folders)
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

    #[allow(clippy::too_many_arguments)]
    fn make(
        &self,
        folder: &Path,
        leftovers: &[String],
        looks: &[Look],
        records: &mut [ExportRecord],
        looker: &Looker<'_>,
        known: &[ExportRecord],
        stale: &[Made],
    ) -> Result<()> {
        let root = target::make(folder)?;
        for leftover in leftovers {
            root.remove_all(Path::new(leftover))?;
        }
        let private = records.first().and_then(|record| record.private.clone()).unwrap_or_default();
        let private = Path::new(&private);
        root.make_private_dir(private)?;
        let mut maker = Maker {
            root: &root,
            artifacts: self.artifacts,
            linking: self.plan.linking,
            private,
            made: Default::default(),
            reason: None,
        };
        let mut files: Vec<Option<Private>> = Vec::new();
        for (number, (item, look)) in self.plan.items.iter().zip(looks).enumerate() {
            let is_made = matches!(look, Look::Make | Look::Replace(_));
            files.push(if is_made { maker.make(number, item)? } else { None });
        }
        for (number, file) in files.iter().enumerate() {
            let Some(file) = file else { continue };
            for record in records.iter_mut() {
                if let Some(made) = record.files.get_mut(number) {
                    (made.way, made.size_bytes, made.stamp) = (file.way, file.meta.size_bytes, Some(file.meta.stamp()));
                }
            }
        }
        // Each file is recorded before it gets its name, so that it can be told from a file of the tool.
        self.write(records)?;

        let looker = Looker { root: Some(&root), ..*looker };
        let mut touched = BTreeSet::new();
        for (number, (item, look)) in self.plan.items.iter().zip(looks).enumerate() {
            let file = files.get(number).and_then(Option::as_ref);
            let kept = self.publish(&root, item, look, file, &looker, records, &mut touched)?;
            if let Some(size_bytes) = kept {
                keep(records, number, item, size_bytes);
            }
        }
        self.look_again(&root, &mut maker, records, &mut touched)?;
        if self.store.durability().is_full() {
            for folder in &touched {
                root.sync_dir(folder)?;
            }
        }
        let mut others: Vec<&ExportRecord> = known.iter().collect();
        let keys: Vec<String> = records.iter().map(ExportRecord::key).collect();
        others.retain(|other| !keys.contains(&other.key()));
        let is_stale = |made: &&Made| !others.iter().any(|other| other.files.iter().any(|file| file.path == made.path));
        let (contents, pointers): (Vec<&Made>, Vec<&Made>) =
            stale.iter().rev().filter(is_stale).partition(|made| remove::is_content(made));
        for made in pointers {
            remove::take(&root, made)?;
        }
        if let (Some(record), false) = (records.first(), contents.is_empty()) {
            let in_use = InUse::of(&root, record)?;
            for made in contents.into_iter().filter(|made| !in_use.has(&made.path)) {
                remove::take(&root, made)?;
            }
        }
        root.remove_all(private)?;
        if let Some(record) = records.first() {
            remove::take_empty_folders(&root, record.folders.iter().filter(|folder| !self.needs(folder)))?;
        }
        let reason = maker.reason;
        self.reason.set(reason);
        Ok(())
    }

    fn needs(&self, folder: &str) -> bool {
        self.plan.items.iter().any(|item| Path::new(&item.at).starts_with(folder))
    }

    /// Gives an item its name. Returns the size of what is there if that is the tool's own and stays.
    #[allow(clippy::too_many_arguments)]
    fn publish(
        &self,
        root: &Root,
        item: &Item,
        look: &Look,
        file: Option<&Private>,
        looker: &Looker<'_>,
        records: &[ExportRecord],
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<Option<u64>> {
        if matches!(look, Look::Own(_) | Look::Keep(..)) {
            return Ok(None);
        }
        let at = Path::new(&item.at);
        if let Content::Entry(entry) = &item.content {
            let private = records.first().and_then(|record| record.private.as_deref()).unwrap_or_default();
            entry.write(root, Path::new(private), self.store.durability())?;
            return Ok(None);
        }
        let Some(file) = file else { return Ok(None) };
        let parent = at.parent().unwrap_or(Path::new(""));
        for folder in root.make_dirs(parent)? {
            touched.insert(folder);
        }
        for folder in records.first().into_iter().flat_map(|record| &record.folders).map(Path::new) {
            if at.starts_with(folder) {
                target::give_folder(root, folder);
            }
        }
        touched.insert(parent.to_path_buf());
        let _locked = item
            .lock
            .as_ref()
            .map(|lock| lock_of_tool(root, Path::new(lock), self.store.settings.lock_wait))
            .transpose()?;
        let mut look = look.clone();
        for _ in 0..TIMES {
            match look {
                Look::Make => match root.rename_new(&file.path, at) {
                    Ok(()) => return Ok(None),
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(root.fail("rename into place", at, e)),
                },
                Look::Replace(there) => {
                    if link::replace(root, &file.path, at, &there)? {
                        return Ok(None);
                    }
                }
                Look::Keep(size_bytes, _) => return Ok(Some(size_bytes)),
                Look::Own(_) => return Ok(None),
            }
            // Somebody has changed it since it was looked at.
            look = looker.look(item)?;
        }
        Err(in_the_way(root, at, "it changes again and again; export again when the tool is idle"))
    }

    /// A tool that cleans up may have removed a file that nothing referred to yet.
    fn look_again(
        &self,
        root: &Root,
        maker: &mut Maker<'_>,
        records: &mut [ExportRecord],
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        let mut number = self.plan.items.len();
        for _ in 0..TIMES {
            let mut missing = Vec::new();
            for (place, item) in self.plan.items.iter().enumerate() {
                if !matches!(item.content, Content::Entry(_)) && root.meta(Path::new(&item.at))?.is_none() {
                    missing.push((place, item));
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            for (place, item) in missing {
                maker.made.clear();
                number += 1;
                let Some(file) = maker.make(number, item)? else { continue };
                for record in records.iter_mut() {
                    if let Some(made) = record.files.get_mut(place) {
                        (made.way, made.size_bytes, made.stamp) =
                            (file.way, file.meta.size_bytes, Some(file.meta.stamp()));
                    }
                }
                self.write(records)?;
                let at = Path::new(&item.at);
                let parent = at.parent().unwrap_or(Path::new(""));
                root.make_dirs(parent)?;
                touched.insert(parent.to_path_buf());
                match root.rename_new(&file.path, at) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(root.fail("rename into place", at, e));
                    }
                    _ => {}
                }
            }
        }
        Err(in_the_way(root, Path::new(""), "files vanish while they are exported; export again when the tool is idle"))
    }

    /// Removes what a failed export has made. If that fails, the record stays, and a removal can be repeated.
    fn undo(&self, records: &[ExportRecord], known: &[ExportRecord]) {
        for record in records {
            let others: Vec<&ExportRecord> = known.iter().filter(|other| other.key() != record.key()).collect();
            let undone = remove::clear(record, &others, &mut Default::default());
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

fn made(item: &Item, way: ExportWay, size_bytes: u64) -> Made {
    let target = match &item.content {
        Content::Pointer(to) => Some(to.clone()),
        Content::Entry(entry) => Some(entry.digest.to_string()),
        _ => None,
    };
    let (is_head, is_optional) = (item.role.is_head(), item.role.is_optional());
    Made { path: item.at.clone(), way, size_bytes, stamp: None, target, is_head, is_optional }
}

/// The tool has made the file first.
fn keep(records: &mut [ExportRecord], number: usize, item: &Item, size_bytes: u64) {
    for record in records {
        if let Some(there) = record.files.get_mut(number) {
            *there = made(item, ExportWay::Kept, size_bytes);
        }
    }
}
