//! Gives the files of an export their names: content first, pointers last, each recorded before its name appears.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::in_use::InUse;
use super::job::{Job, made};
use super::look::{Look, Looker, in_the_way};
use super::make::{Maker, Private};
use super::plan::{Content, Item};
use super::receipt::ExportWay;
use super::record::{ExportRecord, Made};
use super::{remove, target};
use crate::error::Result;
use crate::fs::{Root, link, lock_of_tool};

/// How often names are made again that somebody removes meanwhile.
const TIMES: usize = 3;

/// An export while it is made.
pub(super) struct Publisher<'p> {
    job: &'p Job<'p>,
    root: &'p Root,
    /// The folder of the files that do not have their names yet.
    private: &'p Path,
    looker: Looker<'p>,
    records: &'p mut Vec<ExportRecord>,
    maker: Maker<'p>,
    /// The folders that the export makes and that the owner of the target has not got yet.
    to_give: BTreeSet<PathBuf>,
    /// The folders with new names.
    touched: BTreeSet<PathBuf>,
}

impl<'p> Publisher<'p> {
    pub(super) fn new(
        job: &'p Job<'p>,
        root: &'p Root,
        private: &'p Path,
        looker: Looker<'p>,
        records: &'p mut Vec<ExportRecord>,
    ) -> Self {
        let folders = records.first().into_iter().flat_map(|record| &record.folders);
        Publisher {
            job,
            root,
            private,
            looker,
            to_give: folders.map(PathBuf::from).collect(),
            records,
            maker: Maker {
                root,
                artifacts: job.artifacts,
                linking: job.plan.linking,
                private,
                made: Default::default(),
                reason: None,
            },
            touched: BTreeSet::new(),
        }
    }

    /// Why no cheaper way was possible.
    pub(super) fn reason(self) -> Option<String> {
        self.maker.reason
    }

    /// Makes every name that is to be made. `leftovers` are the private folders of killed exports.
    pub(super) fn make<'l>(&mut self, leftovers: impl Iterator<Item = &'l str>, looks: &[Look]) -> Result<()> {
        for leftover in leftovers {
            self.root.remove_all(Path::new(leftover))?;
        }
        self.root.make_private_dir(self.private)?;
        let items = &self.job.plan.items;
        let mut files: Vec<Option<Private>> = Vec::new();
        for (number, (item, look)) in items.iter().zip(looks).enumerate() {
            let is_made = matches!(look, Look::Make | Look::Replace(_));
            let file = if is_made { self.maker.make(number, item)? } else { None };
            self.note(number, file.as_ref());
            files.push(file);
        }
        // Each file is recorded before it gets its name, so that it can be told from a file of the tool.
        self.job.write(self.records)?;
        for (number, ((item, look), file)) in items.iter().zip(looks).zip(&files).enumerate() {
            if let Some(size_bytes) = self.publish(item, look, file.as_ref())? {
                // The tool has made the file first.
                for there in self.records.iter_mut().filter_map(|record| record.files.get_mut(number)) {
                    *there = made(item, ExportWay::Kept, size_bytes);
                }
            }
        }
        self.look_again()?;
        if self.job.store.durability().is_full() {
            for folder in &self.touched {
                self.root.sync_dir(folder)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, number: usize, file: Option<&Private>) {
        let Some(file) = file else { return };
        for made in self.records.iter_mut().filter_map(|record| record.files.get_mut(number)) {
            (made.way, made.size_bytes, made.stamp) = (file.way, file.meta.size_bytes, Some(file.meta.stamp()));
        }
    }

    /// Gives an item its name. Returns the size of what is there if that is the tool's own and stays.
    fn publish(&mut self, item: &Item, look: &Look, file: Option<&Private>) -> Result<Option<u64>> {
        if matches!(look, Look::Own(_) | Look::Keep(..)) {
            return Ok(None);
        }
        let at = Path::new(&item.at);
        if let Content::Entry(entry) = &item.content {
            entry.write(self.root, self.private, self.job.store.durability())?;
            return Ok(None);
        }
        let Some(file) = file else { return Ok(None) };
        self.make_folder_of(at)?;
        let lock_wait = self.job.store.settings.lock_wait;
        let lock = item.lock.as_ref().map(|lock| lock_of_tool(self.root, Path::new(lock), lock_wait));
        let _locked = lock.transpose()?;
        let mut look = look.clone();
        for _ in 0..TIMES {
            match look {
                Look::Make => match self.root.rename_new(&file.path, at) {
                    Ok(()) => return Ok(None),
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(self.root.fail("rename into place", at, e)),
                },
                Look::Replace(there) => {
                    if link::replace(self.root, &file.path, at, &there)? {
                        return Ok(None);
                    }
                }
                Look::Keep(size_bytes, _) => return Ok(Some(size_bytes)),
                Look::Own(_) => return Ok(None),
            }
            // Somebody has changed it since it was looked at.
            look = self.looker.look(item)?;
        }
        Err(in_the_way(self.root, at, "it changes again and again; export again when the tool is idle"))
    }

    fn make_folder_of(&mut self, at: &Path) -> Result<()> {
        let parent = at.parent().unwrap_or(Path::new(""));
        self.touched.extend(self.root.make_dirs(parent)?);
        self.touched.insert(parent.to_path_buf());
        for folder in parent.ancestors() {
            if self.to_give.remove(folder) {
                target::give_folder(self.root, folder);
            }
        }
        Ok(())
    }

    /// A tool that cleans up may have removed a file that nothing referred to yet.
    fn look_again(&mut self) -> Result<()> {
        let mut number = self.job.plan.items.len();
        for _ in 0..TIMES {
            let mut missing = Vec::new();
            for (place, item) in self.job.plan.items.iter().enumerate() {
                if !matches!(item.content, Content::Entry(_)) && self.root.meta(Path::new(&item.at))?.is_none() {
                    missing.push((place, item));
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            for (place, item) in missing {
                self.maker.made.clear();
                number += 1;
                let Some(file) = self.maker.make(number, item)? else { continue };
                self.note(place, Some(&file));
                self.job.write(self.records)?;
                let at = Path::new(&item.at);
                self.make_folder_of(at)?;
                match self.root.rename_new(&file.path, at) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(self.root.fail("rename into place", at, e));
                    }
                    _ => {}
                }
            }
        }
        let reason = "files vanish while they are exported; export again when the tool is idle";
        Err(in_the_way(self.root, Path::new(""), reason))
    }

    /// Removes the names that only the earlier content of the id had, the private folder, and folders that are empty by
    /// now.
    pub(super) fn sweep(&mut self, stale: &[Made], others: &[Arc<ExportRecord>]) -> Result<()> {
        let needed = remove::names(others);
        let is_stale = |made: &&Made| !needed.contains(made.path.as_str());
        let (contents, pointers): (Vec<&Made>, Vec<&Made>) =
            stale.iter().rev().filter(is_stale).partition(|made| remove::is_content(made));
        for made in pointers {
            remove::take(self.root, made)?;
        }
        if let (Some(record), false) = (self.records.first(), contents.is_empty()) {
            let in_use = InUse::of(self.root, record)?;
            for made in contents.into_iter().filter(|made| !in_use.has(&made.path)) {
                remove::take(self.root, made)?;
            }
        }
        self.root.remove_all(self.private)?;
        let needed = self.job.plan.folders();
        let folders = self.records.first().into_iter().flat_map(|record| &record.folders);
        let unneeded: Vec<&String> = folders.filter(|folder| !needed.contains(Path::new(folder))).collect();
        remove::take_empty_folders(self.root, unneeded.into_iter())
    }
}
