//! The store's own folders: what is missing, what is strange, whose it is, and who may write it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Plan};
use super::kind::FindingKind as K;
use super::look::{Known, Look};
use crate::fs::{Kind, Meta, Root, Session};
use crate::layout;

/// What a name in a folder of the store stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Folder,
    /// A folder of `ingest/`.
    Session,
    /// A small file of the store.
    Small,
    Lock,
    Blob,
    /// In trash, in quarantine or on its way: its mode does not matter.
    Any,
    Strange,
}

/// What is asked of a mode.
struct Right {
    mode: u32,
    /// Bits that have to be there.
    needed: u32,
    /// Bits that may be there as well.
    allowed: u32,
}

/// What the walk gathers of all files.
#[derive(Default)]
struct Tally {
    wrong_modes: Vec<Finding>,
    /// Of regular files.
    modes: BTreeSet<u32>,
    /// By folder and owner: how many, and one of them.
    others: BTreeMap<(PathBuf, u32), (u64, PathBuf)>,
}

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
                    self.find(K::IndexMissing, folder, "it is not there");
                    known.broken.push(folder.to_path_buf());
                }
                Ok(None) => {
                    let finding = self.finding(K::FolderMissing, folder, "it is not there");
                    self.found.push(finding.mended_by(Plan::MakeFolder(folder.to_path_buf())));
                    missing.push(folder);
                }
                Err(error) => self.find(K::NotExamined, folder, error.to_string()),
            }
        }
        let probe = layout::lock_probe();
        if missing.iter().all(|folder| !probe.starts_with(folder)) && matches!(self.root.meta(&probe), Ok(None)) {
            let finding = self.finding(K::ProbeMissing, &probe, "it is not there").mended_by(Plan::MakeProbe);
            self.found.push(finding);
        }
        if !self.store.locks_work {
            self.find(
                K::LocksDoNothing,
                Path::new("locks"),
                "a lock that is held does not keep another from being taken",
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
        for name in [layout::STORE_JSON, layout::CACHEDIR_TAG, layout::RESERVE] {
            if let Ok(Some(meta)) = self.root.meta(Path::new(name)) {
                self.check_entry(Path::new(name), &meta, Is::Small, &mut tally);
            }
        }
        for folder in layout::FOLDERS.map(Path::new) {
            if let Ok(Some(meta)) = self.root.meta(folder) {
                self.check_entry(folder, &meta, Is::Folder, &mut tally);
            }
            self.walk(folder, known, &mut tally);
        }
        for folder in layout::fan_out_folders("blobs").chain(layout::fan_out_folders("outboards")) {
            self.walk(&folder, known, &mut tally);
        }
        self.walk_views(known, &mut tally);
        self.tell(tally, known);
    }

    /// Looks at what is in a folder, but not below.
    fn walk(&mut self, folder: &Path, known: &mut Known, tally: &mut Tally) {
        if !self.wants_in(folder) || known.broken.iter().any(|broken| folder.starts_with(broken)) {
            return;
        }
        let blobs_of = folder.starts_with("blobs").then(|| folder.file_name().and_then(OsStr::to_str)).flatten();
        if let Some(first) = blobs_of.filter(|first| layout::is_hex(first, 2)) {
            known.blobs.retain(|digest, _| !digest.to_hex().starts_with(first));
        }
        // A file in the place of a folder was found by the walk of the folder that it is in.
        if self.root.meta(folder).is_ok_and(|meta| meta.is_none_or(|meta| meta.kind != Kind::Dir)) {
            return;
        }
        let entries = self.root.entries(folder);
        for (name, meta) in self.or_say(folder, known, entries).unwrap_or_default() {
            let path = folder.join(&name);
            let is = what_is(folder, &name);
            if is == Is::Blob
                && let Some(digest) = name.to_str().and_then(layout::parse_blob)
            {
                known.blobs.insert(digest, meta);
            }
            self.check_entry(&path, &meta, is, tally);
        }
    }

    fn walk_views(&mut self, known: &Known, tally: &mut Tally) {
        let views = Path::new(layout::VIEWS);
        if !self.wants_below(views) || known.broken.iter().any(|broken| views.starts_with(broken)) {
            return;
        }
        let homes = self.root.entries(views);
        for (name, meta) in self.or_say(views, known, homes).unwrap_or_default() {
            let home = views.join(name);
            let is = if known.roots.claims(&home) { Is::Any } else { Is::Strange };
            self.check_entry(&home, &meta, if meta.kind == Kind::Dir { Is::Folder } else { is }, tally);
            if meta.kind != Kind::Dir || !self.wants_below(&home) {
                continue;
            }
            let shown = self.root.entries(&home);
            for (name, meta) in self.or_say(&home, known, shown).unwrap_or_default() {
                // What is no folder here is a stray view to a collection.
                let is = if meta.kind == Kind::Dir { Is::Folder } else { Is::Any };
                self.check_entry(&home.join(name), &meta, is, tally);
            }
        }
    }

    fn check_entry(&mut self, path: &Path, meta: &Meta, is: Is, tally: &mut Tally) {
        let is_right_kind = match is {
            Is::Folder => meta.kind == Kind::Dir,
            Is::Session => return self.check_session(path, meta, tally),
            Is::Small | Is::Lock | Is::Blob => meta.kind == Kind::File,
            Is::Any => return,
            Is::Strange => false,
        };
        if !is_right_kind {
            let (kind, what) = match is {
                // Said already: as a folder of the store, as a shard, as `store.json`.
                Is::Folder if path.components().count() < 3 => return,
                Is::Small if !path.starts_with("outboards") && path != Path::new(layout::RESERVE) => return,
                Is::Lock => (K::LockFileReplaced, "it is not a regular file"),
                Is::Folder => (K::StrangeFile, "a folder belongs there"),
                Is::Small | Is::Blob => (K::StrangeFile, "a regular file belongs there"),
                _ => (K::StrangeFile, "the catalog makes nothing of this name"),
            };
            return self.find(kind, path, what);
        }
        self.count_owner(path, meta, tally);
        if meta.kind == Kind::File {
            tally.modes.insert(meta.mode);
        }
        let right = right(self.root, is);
        if meta.mode & right.needed != right.needed || meta.mode & !right.allowed & 0o777 != 0 {
            self.wrong_mode(path, meta, right.mode, tally);
        }
    }

    fn check_session(&mut self, path: &Path, meta: &Meta, tally: &mut Tally) {
        if meta.kind != Kind::Dir {
            return self.find(K::StrangeFile, path, "only operations that run have something here, each a folder");
        }
        // One of a dead process is a finding of its own.
        if meta.mode & 0o777 != 0o700 && matches!(Session::claim_dead(self.root, path), Ok(None)) {
            self.wrong_mode(path, meta, 0o700, tally);
        }
    }

    fn wrong_mode(&self, path: &Path, meta: &Meta, right: u32, tally: &mut Tally) {
        let what = format!("its mode is {:04o} and not {right:04o}", meta.mode);
        let finding = self.finding(K::WrongMode, path, what);
        tally.wrong_modes.push(finding.mended_by(Plan::SetMode(path.to_path_buf(), right)));
    }

    /// In the root of a group, members' files are their own.
    fn count_owner(&self, path: &Path, meta: &Meta, tally: &mut Tally) {
        let Ok(Some(root)) = self.root.meta(Path::new("")) else { return };
        if meta.owner != root.owner && root.mode & 0o020 == 0 {
            let top = path.components().next().map(|top| PathBuf::from(top.as_os_str())).unwrap_or_default();
            tally.others.entry((top, meta.owner)).or_insert((0, path.to_path_buf())).0 += 1;
        }
    }

    fn tell(&mut self, tally: Tally, known: &mut Known) {
        // In user space it cannot be asked for; blobs and small files that are all alike say so.
        let all_alike = !known.blobs.is_empty() && tally.modes.len() == 1;
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

fn right(root: &Root, is: Is) -> Right {
    match is {
        Is::Blob => Right { mode: 0o444, needed: 0o444, allowed: 0o444 },
        // Who takes reading away from others has a reason; writing is for the owner, and the group when it has the root.
        Is::Folder => Right { mode: root.dir_mode(), needed: 0o700, allowed: 0o555 | root.dir_mode() },
        _ => Right { mode: root.file_mode(), needed: 0o600, allowed: 0o555 | root.file_mode() },
    }
}

fn what_is(folder: &Path, name: &OsStr) -> Is {
    let Some(text) = name.to_str() else { return Is::Strange };
    let parts: Vec<&str> = folder.iter().filter_map(OsStr::to_str).collect();
    let is = |right: bool, is: Is| if right { is } else { Is::Strange };
    let hex = layout::is_hex;
    match parts.as_slice() {
        ["index"] if layout::is_temporary(name) => Is::Any,
        ["index"] => {
            let shard = text.strip_suffix(".prev").unwrap_or(text).strip_suffix(".json");
            is(shard.is_some_and(|number| hex(number, 2)), Is::Small)
        }
        ["blobs" | "outboards"] => is(text == "sha256", Is::Folder),
        ["blobs" | "outboards", "sha256"] => is(hex(text, 2), Is::Folder),
        ["blobs", "sha256", first] => is(hex(text, 64) && text.starts_with(first), Is::Blob),
        ["outboards", "sha256", _] if layout::is_temporary(name) => Is::Any,
        ["outboards", "sha256", first] => {
            let digits = text.strip_suffix(".json").or_else(|| text.strip_suffix(".groups"));
            is(digits.is_some_and(|digits| hex(digits, 64) && digits.starts_with(first)), Is::Small)
        }
        ["ingest"] => Is::Session,
        ["trash"] => is(layout::parse_trash(text).is_some(), Is::Any),
        ["quarantine"] => is(layout::is_quarantine(name), Is::Any),
        ["locks"] if matches!(text, "index" | "fetch") => Is::Folder,
        ["locks"] => is(matches!(text, "probe" | "gate" | "store"), Is::Lock),
        ["locks", "index"] => is(hex(text, 2), Is::Lock),
        ["locks", "fetch"] => is(hex(text, 32), Is::Lock),
        _ => Is::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    // Every name that the store makes is known here: else each store would be full of strange files.
    #[test]
    fn no_name_of_the_store_is_strange() {
        let digest = Digest::sha256_of(b"");
        let names = [
            layout::shard(0x3f),
            layout::shard_prev(0),
            layout::shard_claim(7, 12),
            layout::blob(&digest),
            layout::outboard(&digest),
            layout::outboard_groups(&digest),
            layout::trash(&digest, 12),
            layout::quarantine(&digest, "0123456789abcdef"),
            layout::quarantine_other("3f.json", "0123456789abcdef"),
            layout::quarantine_other(layout::STORE_JSON, "0123456789abcdef"),
            layout::lock_probe(),
            layout::lock_gate(),
            layout::lock_store(),
            layout::lock_shard(0xff),
            layout::lock_fetch("hf:a/b"),
        ];
        for name in names.iter().chain(&layout::FOLDERS.map(PathBuf::from)) {
            if let (Some(folder), Some(last)) = (name.parent(), name.file_name()) {
                assert_ne!(what_is(folder, last), Is::Strange, "{}", name.display());
            }
        }
        for strange in
            ["index/3F.json", "index/3f", "blobs/x", "blobs/sha256/abc", "locks/x", "locks/index/1", "trash/x"]
        {
            let strange = Path::new(strange);
            assert_eq!(what_is(strange.parent().unwrap(), strange.file_name().unwrap()), Is::Strange);
        }
        let misplaced = layout::blob(&digest).with_file_name("0".repeat(64));
        assert_eq!(what_is(misplaced.parent().unwrap(), misplaced.file_name().unwrap()), Is::Strange);
    }
}
