//! `stage_from`: stages what a reader returns, such as standard input.
//!
//! A stream is not a source that can be inspected. So this compares nothing with the store beforehand, waits for no
//! other process, and resumes nothing that was interrupted. The rest is as for any source: a private file, and the same
//! commit.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::artifact::{self, Artifact};
use super::item::{Item, check_name, view_name};
use super::{StageOptions, StageReceipt};
use crate::blob::manifest::TreeFile;
use crate::entry::{ArtifactKind, check_id};
use crate::error::Result;
use crate::fs::Session;
use crate::gc::{Room, Wanted, remove_dead_sessions};
use crate::ingest::{self, ToEnd};
use crate::layout;
use crate::observer::{Event, Observer};
use crate::store::Store;

/// Each step makes room for as much as has been written so far, within these limits.
const LEAST_STEP_BYTES: u64 = 64 << 20;
const MOST_STEP_BYTES: u64 = 1 << 30;

/// No file system allows longer names.
const LONGEST_NAME_BYTES: usize = 255;

/// Stages what `reader` returns until its end, under this id.
pub(crate) fn stage_from(
    store: &Store,
    reader: &mut dyn Read,
    id: &str,
    options: &StageOptions,
) -> Result<StageReceipt> {
    let start = Instant::now();
    check_id(id)?;
    let name = match &options.name {
        Some(name) => check_name(name).map(|()| name.clone())?,
        None => name_of(id),
    };
    store.record(id)?; // finds an unreadable shard before the stream is consumed
    let observer: Arc<dyn Observer> = options.observer.clone().unwrap_or_else(|| Arc::new(()));
    observer.on(&Event::Started { what: id, bytes_total: 0 });
    let staged = ingest_and_commit(store, reader, id, name, options, &*observer);
    observer.on(&Event::Finished);
    let receipt = StageReceipt { elapsed: start.elapsed(), ..staged? };
    tracing::debug!(id, digest = %receipt.digest, bytes = receipt.size_bytes, "staged from a stream");
    Ok(receipt)
}

fn ingest_and_commit(
    store: &Store,
    reader: &mut dyn Read,
    id: &str,
    name: String,
    options: &StageOptions,
    observer: &dyn Observer,
) -> Result<StageReceipt> {
    let session = Session::begin(&store.root)?;
    remove_dead_sessions(store);
    let cancel = options.cancel.clone().unwrap_or_default();
    let ingest_options = ingest::Options {
        durability: store.durability(),
        with_groups: !options.defer_outboard,
        partial_from_bytes: ingest::PARTIAL_FROM_BYTES,
        cancel: &cancel,
        advanced: &|bytes| observer.on(&Event::Advanced { bytes }),
    };
    let mut room = Growing { store, can_hardlink: session.can_hardlink(), has_room_for_bytes: 0 };
    let stream = ToEnd {
        reader,
        label: Path::new(id),
        expected: options.digest,
        make_room: &mut |written_bytes, total_bytes| room.grow_to(written_bytes, total_bytes),
    };
    let sealed = ingest::ingest_to_end(&session, stream, ingest_options)?;
    observer.on(&Event::Syncing);
    let (digest, size_bytes) = (sealed.digest(), sealed.size_bytes());
    let item = Item {
        name,
        expected: options.digest,
        require_complete: options.require_complete,
        #[cfg(feature = "attest")]
        asked: super::signed::Asked::of(options),
        ..Item::new(id.to_owned(), String::new(), ArtifactKind::File, PathBuf::from(id), Vec::new())
    };
    let tree = vec![TreeFile { path: String::new(), digest, size_bytes }];
    let artifact = Artifact { item, digest, tree, mode: sealed.mode(), incoming: vec![sealed] };
    let (_, staged) =
        artifact::commit(store, &session, vec![(0, artifact)], false).pop().expect("there is one artifact");
    staged
}

/// Room for content that grows.
struct Growing<'s> {
    store: &'s Store,
    can_hardlink: bool,
    has_room_for_bytes: u64,
}

impl Growing<'_> {
    /// Makes room for a whole step, so that not each part needs a measurement. If that does not fit, makes room for
    /// this part only.
    fn grow_to(&mut self, written_bytes: u64, total_bytes: u64) -> Result<()> {
        if total_bytes <= self.has_room_for_bytes {
            return Ok(());
        }
        let step_bytes = written_bytes.clamp(LEAST_STEP_BYTES, MOST_STEP_BYTES);
        let ample_bytes = total_bytes.saturating_add(step_bytes);
        self.has_room_for_bytes = match self.make(written_bytes, ample_bytes) {
            Err(error) if error.is_no_space() => self.make(written_bytes, total_bytes).map(|()| total_bytes)?,
            made => made.map(|()| ample_bytes)?,
        };
        Ok(())
    }

    /// The quota does not count `ingest/`, so all of the stream is still to be added to it; on the disk, what is
    /// written takes its room already. A view that cannot be a hardlink takes as much again.
    fn make(&self, written_bytes: u64, total_bytes: u64) -> Result<()> {
        let view_bytes = if self.can_hardlink { 0 } else { total_bytes };
        let mut wanted = Wanted::default();
        wanted.add(total_bytes, total_bytes.saturating_sub(written_bytes));
        wanted.add(view_bytes, view_bytes);
        let room = Room::measure(self.store)?;
        if room.fits(&wanted)? { Ok(()) } else { room.make(&wanted) }
    }
}

/// The name of the view: the last part of the id, if that is a valid file name.
fn name_of(id: &str) -> String {
    let name = view_name(Path::new(id));
    if name.len() <= LONGEST_NAME_BYTES && check_name(&name).is_ok() {
        return name;
    }
    let home = layout::view_home(id);
    home.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
