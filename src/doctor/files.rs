//! The store's own folders: what is missing or strange, who owns it, and who may write to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::finding::{Finding, Fix};
use super::kind::FindingKind as K;
use super::look::{Known, Look};
use crate::digest::Digest;
use crate::error::Error;
use crate::export;
use crate::fs::{Kind, Meta};
use crate::layout::{self, Thing};

pub(super) const STRANGE: &str = "the catalog creates nothing with this name";

/// What the walk gathers about all files.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) wrong_modes: Vec<Finding>,
    /// The modes of regular files.
    modes: BTreeSet<u32>,
    /// By folder and owner: the number of files, and the first of them.
    others: BTreeMap<(PathBuf, u32), (u64, PathBuf)>,
    /// Blobs that are not yet compared with their outboards.
    blobs: Vec<(Digest, Meta)>,
    has_blobs: bool,
}

/// How many blobs are in memory before they are compared with their outboards, on all cores.
const BLOBS_AT_ONCE: usize = 4096;

impl Look<'_> {
    pub(super) fn look_at_folders(&mut self, known: &mut Known) {
        let mut missing: Vec<&Path> = Vec::new();
        for folder in layout::FOLDERS.map(Path::new) {
            let is_below = |above: &Path| folder.starts_with(above);
            if missing.iter().any(|above| is_below(above)) || known.broken.iter().any(|above| is_below(above)) {
                continue;
            }
            match self.root.meta(folder) {
                Ok(Some(meta)) if meta.kind == Kind::Dir => {}
                Ok(Some(_)) => {
                    self.find(K::FolderReplaced, folder, "it is not a folder");
                    known.broken.push(folder.to_path_buf());
                }
                Ok(None) if folder == Path::new(layout::INDEX) => {
                    self.find(K::IndexMissing, folder, "it is missing");
                    known.broken.push(folder.to_path_buf());
                }
                // A store of an earlier version has none until something is exported, or there are many events.
                Ok(None) if [layout::EXPORTS, layout::LOG].map(Path::new).contains(&folder) => {}
                Ok(None) => {
                    let finding = self.finding(K::FolderMissing, folder, "it is missing");
                    self.found.push(finding.fixed_by(Fix::MakeFolder(folder.to_path_buf())));
                    missing.push(folder);
                }
                Err(error) => self.find(K::NotExamined, folder, error.to_string()),
            }
        }
        let probe = layout::lock_probe();
        if missing.iter().all(|folder| !probe.starts_with(folder)) && matches!(self.root.meta(&probe), Ok(None)) {
            let finding = self.finding(K::ProbeMissing, &probe, "it is missing").fixed_by(Fix::MakeProbe);
            self.found.push(finding);
        }
        if !self.store.locks_work {
            self.find(
                K::LocksDoNothing,
                Path::new(layout::LOCKS),
                "a held lock does not stop another one from being taken",
            );
        }
    }

    pub(super) fn look_at_files(&mut self, known: &mut Known) {
        let mut tally = Tally::default();
        match self.root.meta(Path::new("")) {
            Ok(Some(root)) if root.mode & 0o002 != 0 => {
                self.find(K::RootWritable, Path::new(""), format!("its mode is {:04o}", root.mode));
            }
            _ => {}
        }
        for name in [layout::STORE_JSON, layout::CACHEDIR_TAG, layout::RESERVE].into_iter().chain(layout::FOLDERS) {
            if let Ok(Some(meta)) = self.root.meta(Path::new(name)) {
                self.check_entry(Path::new(name), &meta, &mut tally);
            }
        }
        for folder in layout::FOLDERS.map(Path::new) {
            if folder != Path::new(layout::VIEWS) {
                self.walk(folder, known, &mut tally);
            }
        }
        for folder in layout::fan_out_folders(layout::BLOBS).chain(layout::fan_out_folders(layout::OUTBOARDS)) {
            self.walk(&folder, known, &mut tally);
            if tally.blobs.len() >= BLOBS_AT_ONCE {
                self.look_at_blobs(std::mem::take(&mut tally.blobs), known);
            }
        }
        self.look_at_blobs(std::mem::take(&mut tally.blobs), known);
        self.walk_views(known, &mut tally);
        self.tell(tally, known);
    }

    /// Inspects the entries of a folder, without descending.
    fn walk(&mut self, folder: &Path, known: &Known, tally: &mut Tally) {
        // Findings in a partial lie one level deeper.
        let is_wanted = self.wants_in(folder) || (folder == Path::new(layout::PARTIALS) && self.wants_below(folder));
        if !is_wanted || known.broken.iter().any(|broken| folder.starts_with(broken)) {
            return;
        }
        // The walk of the parent folder has already reported a file in place of this folder.
        if self.root.meta(folder).is_ok_and(|meta| meta.is_none_or(|meta| meta.kind != Kind::Dir)) {
            return;
        }
        let entries = self.root.entries(folder);
        for (name, meta) in self.or_say(folder, known, entries).unwrap_or_default() {
            match layout::classify_in(folder, &name) {
                Thing::Folder => continue, // inspected before
                Thing::Blob(digest) => {
                    tally.has_blobs = true;
                    tally.blobs.push((digest, meta));
                }
                _ => {}
            }
            self.check_entry(&folder.join(name), &meta, tally);
        }
    }

    fn walk_views(&mut self, known: &Known, tally: &mut Tally) {
        let views = Path::new(layout::VIEWS);
        if !self.wants_below(views) || known.broken.iter().any(|broken| views.starts_with(broken)) {
            return;
        }
        let Some(homes) = self.or_say(views, known, self.root.each_entry(views)) else { return };
        for home in homes {
            let Some((name, meta)) = self.or_say(views, known, home) else { return };
            let home = views.join(name);
            if meta.kind != Kind::Dir {
                if !known.roots.needs_path(&home) {
                    self.find(K::StrangeFile, &home, STRANGE);
                }
                continue;
            }
            self.check_entry(&home, &meta, tally);
            if !self.wants_below(&home) {
                continue;
            }
            let shown = self.root.entries(&home);
            for (name, meta) in self.or_say(&home, known, shown).unwrap_or_default() {
                // A file here is a stray view, which a collection reports.
                if meta.kind == Kind::Dir {
                    self.check_entry(&home.join(name), &meta, tally);
                }
            }
        }
    }

    fn check_entry(&mut self, path: &Path, meta: &Meta, tally: &mut Tally) {
        let thing = layout::classify(path);
        let belongs = match thing {
            Thing::Strange => return self.find(K::StrangeFile, path, STRANGE),
            Thing::Session => return self.check_session(path, meta, tally),
            Thing::Partial(key) => return self.check_partial(path, &key, meta, tally),
            Thing::Folder
            | Thing::BlobFolder(_)
            | Thing::OutboardFolder(_)
            | Thing::ViewHome
            | Thing::ViewFolder(_) => Kind::Dir,
            Thing::CachedirTag
            | Thing::StoreJson
            | Thing::Reserve
            | Thing::Shard(_)
            | Thing::PreviousShard(_)
            | Thing::Blob(_)
            | Thing::Outboard(_)
            | Thing::OutboardGroups(_)
            | Thing::Facts(_)
            | Thing::ExportRecord(_)
            | Thing::LogSegment { .. }
            | Thing::Lock(_) => Kind::File,
            // In trash, in quarantine or being ingested: its mode does not matter.
            _ => return,
        };
        if meta.kind != belongs {
            return self.find_misfit(path, &thing);
        }
        self.count_owner(path, meta, tally);
        if meta.kind == Kind::File {
            tally.modes.insert(meta.mode);
        }
        self.check_mode(path, &thing, meta, tally);
        if let Thing::ExportRecord(key) = &thing
            && let Err(error) = export::check_record(self.store, key)
        {
            let reason =
                if let Error::CorruptIndex { reason, .. } = &error { reason.clone() } else { error.to_string() };
            self.find(K::ExportRecordDamaged, path, reason);
        }
    }

    /// Something else is where a folder or file of the store belongs.
    fn find_misfit(&mut self, path: &Path, thing: &Thing) {
        let (kind, what) = match thing {
            // Already reported: as a folder of the store, as a shard, or as `store.json`.
            Thing::Folder | Thing::Shard(_) | Thing::PreviousShard(_) | Thing::StoreJson | Thing::CachedirTag => return,
            Thing::Lock(_) => (K::LockFileReplaced, "it is not a regular file"),
            Thing::BlobFolder(_) | Thing::OutboardFolder(_) => (K::StrangeFile, "a folder should be there"),
            _ => (K::StrangeFile, "a regular file should be there"),
        };
        self.find(kind, path, what);
    }

    /// In a group's root, members own the files that they create.
    fn count_owner(&self, path: &Path, meta: &Meta, tally: &mut Tally) {
        let Ok(Some(root)) = self.root.meta(Path::new("")) else { return };
        if meta.owner != root.owner && root.mode & 0o020 == 0 {
            let top = path.components().next().map(|top| PathBuf::from(top.as_os_str())).unwrap_or_default();
            let (count, first) = tally.others.entry((top, meta.owner)).or_insert_with(|| (0, path.to_path_buf()));
            *count += 1;
            if path < first.as_path() {
                *first = path.to_path_buf();
            }
        }
    }

    fn tell(&mut self, tally: Tally, known: &mut Known) {
        // File systems in user space do not tell, but blobs and small files with equal modes do.
        let all_alike = tally.has_blobs && tally.modes.len() == 1;
        if self.is_first() {
            known.no_modes = match self.root.keeps_modes() {
                Some(keeps) => !keeps,
                None => all_alike && !tally.wrong_modes.is_empty(),
            };
            if known.no_modes {
                self.find(K::NoModes, Path::new(""), "every file has the same mode");
            }
            for ((top, owner), (count, example)) in tally.others {
                let what = format!("{count} of its files belong to the user {owner}, such as {}", example.display());
                self.find(K::OtherOwner, &top, what);
            }
        }
        self.found.extend(tally.wrong_modes);
        if known.no_modes {
            self.found.retain(|finding| finding.kind != K::WrongMode);
        }
    }
}
