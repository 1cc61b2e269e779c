//! Where an upload stood, for the process that takes it up: in the lock file that its worker holds. One works on a blob of a place,
//! and the others wait.

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

/// More than any server needs for the name of an upload.
const MAX_BYTES: u64 = 64 << 10;

/// To send a smaller one twice costs less than a lock file.
const LOCKED_FROM_BYTES: u64 = 16 << 20;

/// How often whoever waits looks whether it was cancelled.
const TICK: Duration = Duration::from_millis(200);

#[derive(Serialize, Deserialize)]
struct Kept {
    upload: String,
}

/// The right to send a blob to a place, until it is dropped or its process ends; and what is remembered of it.
pub(super) struct Memory<'s> {
    store: &'s Store,
    path: PathBuf,
    /// `None`: it is small, or nobody can lock or keep anything here. What is sent twice is stored once.
    lock: Option<Lock>,
}

impl<'s> Memory<'s> {
    /// Waits for the right.
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

    /// In place, because a lock file is never replaced. What is half written when the process ends is not read as anything.
    fn keep(&self, text: Option<&str>) {
        let Some(mut file) = self.lock.as_ref().map(Lock::file) else { return };
        let kept = text.map(|text| serde_json::to_vec(&Kept { upload: text.to_owned() }));
        let bytes = kept.and_then(std::result::Result::ok).unwrap_or_default();
        let kept = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(&bytes));
        if let Err(error) = kept {
            tracing::debug!(%error, "where the upload stands is not kept");
        }
    }
}
