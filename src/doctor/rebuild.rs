//! Rebuilds the view of an entry from its blobs.

use super::Doctor;
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Checker, Subject, Verdict};
use crate::entry::Record;
use crate::error::Result;
use crate::repair::{Again, show_again};
use crate::store::damaged;

impl Doctor {
    /// Rebuilds the view of an entry as its record says, from good blobs. Returns `None` if it is right by now, or the
    /// entry is gone.
    pub(super) fn rebuild_view(&self, id: &str) -> Result<Option<String>> {
        let store = &self.store;
        let Some(record) = store.record(id)? else { return Ok(None) };
        let (Some(digest), None) = (record.entry.digest, record.damaged_ms) else { return Ok(None) };
        let files = store.files_of(record.kind, digest, record.size_bytes)?;
        self.ensure_good_blobs(&record, &files)?;
        let shown = show_again(store, &record, &Again::ByDoctor)?;
        Ok(shown.changed.then(|| match (shown.occupied, shown.quarantined) {
            (Some(path), _) => {
                format!("it has a view of its own now; {} holds another file, and was left alone", path.display())
            }
            (None, 0) => "its view was made again".into(),
            (None, moved) => format!("its view was made again; {moved} files with other bytes are in quarantine"),
        }))
    }

    /// Checks in full those blobs that have changed since their last check.
    fn ensure_good_blobs(&self, record: &Record, files: &[TreeFile]) -> Result<()> {
        let store = &self.store;
        let mut doubtful = Vec::new();
        for file in files {
            if !blob::is_good_by_stamp(&store.root, &file.digest, store.durability(), &record.owners)? {
                doubtful.push(Subject::blob(&file.digest, Some(file.size_bytes)).owned_by(&record.owners));
            }
        }
        for (subject, verdict) in Checker::quiet(&store.root, store.durability()).all(&doubtful)? {
            match verdict {
                Verdict::Good => continue,
                Verdict::Missing => {}
                Verdict::Bad { file, .. } => drop(store.take_out_of_service(&subject.digest, &file)?),
            }
            return Err(damaged(record));
        }
        Ok(())
    }
}
