//! Private folders: sessions, each with a process that works in it, and partials, which outlive their process.

use std::path::Path;
use std::time::Duration;

use super::files::{STRANGE, Tally};
use super::kind::FindingKind as K;
use super::look::Look;
use crate::fs::{Kind, Meta, Session};
use crate::ingest;
use crate::layout::{self, Thing};

/// A partial is reported only if it was not resumed for a day.
const YOUNG: Duration = Duration::from_secs(24 * 3600);

impl Look<'_> {
    pub(super) fn check_session(&mut self, path: &Path, meta: &Meta, tally: &mut Tally) {
        if meta.kind != Kind::Dir {
            return self.find(K::StrangeFile, path, "only running operations have anything here, each a folder");
        }
        // The session of a dead process is a separate finding.
        if meta.mode & 0o777 != 0o700 && matches!(Session::claim_dead(self.root, path), Ok(None)) {
            tally.wrong_modes.push(self.wrong_mode(path, meta, 0o700, None));
        }
    }

    pub(super) fn check_partial(&mut self, path: &Path, key: &str, meta: &Meta, tally: &mut Tally) {
        if meta.kind != Kind::Dir {
            return self.find(
                K::StrangeFile,
                path,
                "only unfinished fetches and copies have anything here, each a folder",
            );
        }
        if meta.mode & 0o777 != 0o700 {
            tally.wrong_modes.push(self.wrong_mode(path, meta, 0o700, None));
        }
        // Another user's partial cannot be read, and is left alone.
        let entries = self.root.entries(path).unwrap_or_default();
        for (name, _) in &entries {
            if layout::classify_in(path, name) == Thing::Strange {
                self.find(K::StrangeFile, &path.join(name), STRANGE);
            }
        }
        let files = || entries.iter().map(|(_, meta)| meta);
        let age = files().chain([meta]).map(Meta::age).min().unwrap_or_default();
        if age >= YOUNG {
            let partial = ingest::partial(self.root, key, meta.mtime_ns);
            let of = if partial.name.is_empty() { String::new() } else { format!(" of {}", partial.name) };
            let hours = age.as_secs() / 3600;
            let what = format!(
                "{} of {} bytes{of}; nothing has been added for {hours} hours; {} bytes on disk",
                partial.done_bytes, partial.size_bytes, partial.disk_bytes
            );
            self.find(K::StalePartial, path, what);
        }
    }
}
