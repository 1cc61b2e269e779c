//! Compares each record with its blobs and its view.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::finding::{Finding, Fix};
use super::kind::FindingKind as K;
use super::look::{Known, Look};
use crate::blob;
use crate::blob::manifest::TreeFile;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::{Error, Result};
use crate::facts;
use crate::formats::Completeness;
use crate::fs::{Durability, Kind};
use crate::layout;
use crate::store::shown_files;
use crate::view;
use crate::words::counted;

/// How often a record is inspected again if it changes meanwhile.
const ATTEMPTS: usize = 8;

/// The results of inspecting a record.
#[derive(Default)]
struct Seen {
    found: Vec<Finding>,
    blobs: Vec<Digest>,
    bad: Vec<Digest>,
    /// Whether its manifest cannot be read.
    is_lost: bool,
    copied_bytes: Option<u64>,
}

impl Look<'_> {
    pub(super) fn look_at_records(&mut self, records: &[Record], known: &mut Known) {
        let records: Vec<&Record> = records.iter().filter(|record| self.wants_id(&record.entry.id)).collect();
        let seen: Vec<(&Record, Seen)> =
            records.into_par_iter().map(|record| (record, self.look_at_record(record, known))).collect();
        for (record, seen) in seen {
            known.is_whole &= !seen.is_lost;
            known.bad.extend(seen.bad);
            if self.is_first() {
                let at = self.store.relative(&record.entry.local_path);
                known.gathered_roots.add(Some(at).filter(|at| at.starts_with(layout::VIEWS)), &[]);
                known.gathered_needs.add(&record.entry.id, &seen.blobs);
                if let Some(bytes) = seen.copied_bytes {
                    known.copied = (known.copied.0 + 1, known.copied.1.saturating_add(bytes));
                }
            }
            self.found.extend(seen.found);
        }
    }

    /// What separate files cost.
    pub(super) fn tell_copied(&mut self, known: &Known) {
        if let (entries @ 1.., bytes) = known.copied
            && self.is_first()
        {
            let entries = counted(entries, "entry", "entries");
            let bytes = counted(bytes, "byte", "bytes");
            let what = format!("views that are separate files: {entries}, {bytes}");
            self.find(K::NoHardlinks, Path::new(layout::VIEWS), what);
        }
    }

    /// A record is written after what it names exists, and removed before that goes. So if something is missing while
    /// the record stays the same, it is really missing.
    fn look_at_record(&self, record: &Record, known: &Known) -> Seen {
        let mut record = record.clone();
        let mut seen = Seen::default();
        for _ in 0..ATTEMPTS {
            let id = record.entry.id.clone();
            seen = self.check_record(&record).unwrap_or_else(|error| {
                let at = self.store.relative(&record.entry.local_path);
                let found = self.not_examined(at, known, &error).map(|finding| finding.of(&id));
                Seen { found: found.into_iter().collect(), ..Seen::default() }
            });
            if seen.found.is_empty() {
                break; // every look at a record may bring its shard into memory, to stay there
            }
            match self.store.record(&id) {
                Ok(Some(now)) if now == record => break,
                Ok(Some(now)) => record = now,
                Ok(None) => return Seen::default(),
                Err(_) => break, // its shard is a separate finding
            }
        }
        seen
    }

    fn check_record(&self, record: &Record) -> Result<Seen> {
        let mut seen = Seen::default();
        let id = record.entry.id.as_str();
        for needed in &record.needs {
            seen.blobs.push(*needed);
            let path = layout::blob(needed);
            if self.root.meta(&path)?.is_none_or(|blob| blob.kind != Kind::File) {
                seen.found.push(self.finding(K::NeededBlobMissing, &path, self.missing(needed)?).of(id));
            }
        }
        let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.entry.digest, record.kind) else {
            return Ok(seen);
        };
        seen.blobs.push(digest);
        let manifest = layout::blob(&digest);
        let at = self.store.relative(&record.entry.local_path);
        if record.damaged_ms.is_some() {
            let what = match self.quarantined(&digest)? {
                Some(kept) => format!("it is marked damaged; {} is what is left", kept.display()),
                None => "it is marked damaged".to_owned(),
            };
            seen.found.push(self.finding(K::EntryDamaged, at, what).of(id));
        }
        let files = match self.store.files_of(record.kind, digest, record.size_bytes) {
            Ok(files) => files,
            Err(Error::CorruptBlob { reason, .. }) => {
                seen.is_lost = true;
                let is_there = self.root.meta(&manifest)?.is_some();
                let finding = if is_there {
                    seen.bad.push(digest);
                    self.finding(K::ManifestDamaged, &manifest, reason).fixed_by(Fix::CheckBlob(digest))
                } else {
                    self.finding(K::ManifestMissing, &manifest, self.missing(&digest)?)
                };
                // A marked entry is already known to be damaged.
                seen.found.extend((record.damaged_ms.is_none() || is_there).then(|| finding.of(id)));
                return Ok(seen);
            }
            Err(error) => return Err(error),
        };
        let distinct: BTreeSet<Digest> = files.iter().map(|file| file.digest).collect();
        let mut missing = BTreeSet::new();
        for digest in &distinct {
            seen.blobs.push(*digest);
            let path = layout::blob(digest);
            let size = files.iter().find(|file| file.digest == *digest).map_or(0, |file| file.size_bytes);
            match self.root.meta(&path)? {
                Some(blob) if blob.kind == Kind::File && blob.size_bytes == size => {}
                Some(blob) if blob.kind == Kind::File => {
                    seen.bad.push(*digest);
                    let what = format!("it has {} bytes, but the record says {size}", blob.size_bytes);
                    let finding = self.finding(K::BlobSize, &path, what).of(id);
                    seen.found.push(
                        match blob::is_good_by_stamp(self.root, digest, Durability::Relaxed, &record.owners)? {
                            false => finding.fixed_by(Fix::CheckBlob(*digest)),
                            true => finding.left_to_the_operator(
                                "the blob has not changed since its last full check, so the record is wrong: stage \
                                 the model again",
                            ),
                        },
                    );
                }
                _ => {
                    missing.insert(*digest);
                    if record.damaged_ms.is_none() {
                        seen.found.push(self.finding(K::BlobMissing, &path, self.missing(digest)?).of(id));
                    }
                }
            }
        }
        if record.damaged_ms.is_none() {
            self.check_view(record, &files, at, &missing, &mut seen)?;
            seen.found.extend(missing.is_empty().then(|| self.incomplete(record, at)).flatten());
        }
        Ok(seen)
    }

    /// A blob that cannot be read is another finding.
    fn incomplete(&self, record: &Record, at: &Path) -> Option<Finding> {
        let facts = facts::facts_without_trace(self.store, record).ok()?;
        let is_incomplete = facts.completeness == Completeness::Incomplete;
        is_incomplete.then(|| self.finding(K::ModelIncomplete, at, facts.missing.join("; ")).of(&record.entry.id))
    }

    fn missing(&self, digest: &Digest) -> Result<String> {
        let in_trash = blob::trash(self.root)?.contains_key(digest);
        Ok(match self.quarantined(digest)? {
            Some(kept) => format!("it is missing; {} is in quarantine", kept.display()),
            None if in_trash => {
                "it is missing; it is in trash/, and staging the model again takes it from there".to_owned()
            }
            None => "it is missing".to_owned(),
        })
    }

    fn quarantined(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        let newest = self.store.quarantined(digest)?.into_iter().next();
        Ok(newest.map(|path| self.root.absolute(&path)))
    }

    fn check_view(
        &self,
        record: &Record,
        files: &[TreeFile],
        at: &Path,
        missing: &BTreeSet<Digest>,
        seen: &mut Seen,
    ) -> Result<()> {
        let id = record.entry.id.as_str();
        let is_linked = record.view.is_none_or(LinkMode::is_the_blob);
        let mut own_bytes = 0_u64;
        let (mut is_own, mut is_whole) = (false, true);
        for (file, path) in shown_files(record, files, at) {
            let rebuilt = |finding: Finding| match missing.contains(&file.digest) {
                false => finding.of(id).fixed_by(Fix::RebuildView(id.to_owned())),
                true => finding.of(id).left_to_the_operator("its blob is missing: see that finding"),
            };
            match self.root.meta(&path)? {
                None => {
                    is_whole = false;
                    if !missing.contains(&file.digest) {
                        seen.found.push(rebuilt(self.finding(K::ViewMissing, &path, "it is missing")));
                    }
                }
                Some(_) if view::shows_blob(self.root, &file.digest, &path)? => {}
                Some(shown) if shown.kind != Kind::File => {
                    is_whole = false;
                    let what = "it is not a regular file";
                    seen.found.push(rebuilt(self.finding(K::ViewReplaced, &path, what)));
                }
                // Without the blob, nothing tells whether this is the same file.
                Some(_) if is_linked && missing.contains(&file.digest) => {}
                Some(shown) if is_linked => {
                    let what = match shown.size_bytes == file.size_bytes {
                        true => "it is not a hardlink of its blob, though the record says so".to_owned(),
                        false => format!("it is another file, of {} bytes", shown.size_bytes),
                    };
                    seen.found.push(rebuilt(self.finding(K::ViewReplaced, &path, what)));
                }
                Some(shown) => {
                    is_own = true;
                    own_bytes = own_bytes.saturating_add(shown.size_bytes);
                    if shown.mode != 0o444 && self.root.keeps_modes() != Some(false) {
                        seen.found.push(self.wrong_mode(&path, &shown, 0o444, Some(file.digest)).of(id));
                    }
                }
            }
        }
        if is_own {
            seen.copied_bytes = Some(own_bytes);
            if is_whole && !self.store.is_listed(record, files, at)? {
                let what = "its files have changed since they were made or last checked";
                let finding = self.finding(K::ViewChanged, at, what).of(id);
                seen.found.push(finding.fixed_by(Fix::RebuildView(id.to_owned())));
            }
        }
        if at.starts_with(layout::VIEWS) {
            self.look_for_extra(record, files, at, seen)?;
        }
        Ok(())
    }

    /// Reports names in the view that are no file of the artifact. A user's own folder, shown in place, may hold
    /// anything.
    fn look_for_extra(&self, record: &Record, files: &[TreeFile], at: &Path, seen: &mut Seen) -> Result<()> {
        let paths: BTreeSet<PathBuf> = files.iter().map(|file| file.below(at)).collect();
        let mut folders = vec![at.to_path_buf()];
        while let Some(folder) = folders.pop().filter(|_| record.kind == ArtifactKind::Tree) {
            if !self.root.meta(&folder)?.is_some_and(|meta| meta.kind == Kind::Dir) {
                continue;
            }
            for (name, meta) in self.root.entries(&folder)? {
                let path = folder.join(name);
                let leads_to_one =
                    paths.range(path.clone()..).next().is_some_and(|next| next != &path && next.starts_with(&path));
                if meta.kind == Kind::Dir && leads_to_one {
                    folders.push(path);
                } else if !paths.contains(&path) && !leads_to_one {
                    seen.found
                        .push(self.finding(K::ViewExtra, &path, "the tree has no such file").of(&record.entry.id));
                }
            }
        }
        let home = layout::view_home(&record.entry.id);
        let Some(home) = at.parent().filter(|folder| folder.parent() == Some(&home)) else { return Ok(()) };
        for (name, meta) in self.root.entries(home)? {
            let path = home.join(name);
            // An earlier name of the same content under this id.
            let was_shown = meta.kind == if record.kind == ArtifactKind::Tree { Kind::Dir } else { Kind::File }
                && (meta.kind == Kind::Dir || (meta.mode == 0o444 && meta.size_bytes == record.size_bytes));
            if path != at && !was_shown && !view::is_symlink_to_some_blob(self.root, &path)? {
                let what = "nothing with this name was staged";
                seen.found.push(self.finding(K::ViewExtra, &path, what).of(&record.entry.id));
            }
        }
        Ok(())
    }
}
