//! Remembers the state of an upload, for a process that resumes it, in the lock file that its worker holds. One process
//! at a time sends a blob to a place, and the others wait.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::PushOptions;
use super::package::Part;
use crate::error::Result;
use crate::fs::lock::{Hold, Lock, Wait, poll};
use crate::layout;
use crate::source::UploadMemory;
use crate::store::Store;

/// More than any server needs to identify an upload.
const MAX_BYTES: u64 = 64 << 10;

/// Sending a smaller blob twice costs less than a lock file.
const LOCKED_FROM_BYTES: u64 = 16 << 20;

/// How often a waiting process checks for cancellation.
const TICK: Duration = Duration::from_millis(200);

#[derive(Serialize, Deserialize)]
struct Kept {
    upload: String,
}

/// The right to send a blob to a place, until it is dropped or the process ends, with the remembered state of the
/// upload.
pub(super) struct Memory<'s> {
    store: &'s Store,
    path: PathBuf,
    /// `None`: a dry run, a small blob, or a store that this user cannot write to. A blob that is sent twice is stored
    /// once.
    lock: Option<Lock>,
}

impl<'s> Memory<'s> {
    /// Waits for the right to send.
    pub(super) fn claim(store: &'s Store, place: &str, part: &Part, options: &PushOptions) -> Result<Self> {
        let path = layout::lock_fetch(&format!("push {} {place}", part.digest));
        if options.is_dry_run || part.size_bytes < LOCKED_FROM_BYTES {
            return Ok(Memory { store, path, lock: None });
        }
        loop {
            options.cancel.check(|| format!("waiting for another process that pushes to {place}"))?;
            match poll(&store.root, &path, Hold::Exclusive, Wait::UpTo(TICK)) {
                Ok(None) => {}
                Ok(lock) => return Ok(Memory { store, path, lock }),
                Err(error) if error.is_read_only() || error.is_permission_denied() => {
                    return Ok(Memory { store, path, lock: None });
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl UploadMemory for Memory<'_> {
    fn recall(&self) -> Option<String> {
        self.lock.as_ref()?;
        let text = self.store.root.read(&self.path, MAX_BYTES).ok()??;
        serde_json::from_slice::<Kept>(&text).ok().map(|kept| kept.upload)
    }

    /// Writes in place, because a lock file is never replaced. A text that is only half written is ignored.
    fn keep(&self, text: Option<&str>) {
        let Some(mut file) = self.lock.as_ref().map(Lock::file) else { return };
        let kept = text.map(|text| serde_json::to_vec(&Kept { upload: text.to_owned() }));
        let bytes = kept.and_then(std::result::Result::ok).unwrap_or_default();
        let kept = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(&bytes));
        if let Err(error) = kept {
            tracing::debug!(%error, "could not save the progress of the upload");
        }
    }
}
