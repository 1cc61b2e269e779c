//! Fills a partial as one of many streams: reads back what is there, and copies what is missing.
//!
//! The SHA-256 states of many streams advance together and are not recorded, so a stream hashes everything that is
//! there again. It copies none of it.

use std::io::{Read as _, Seek as _, SeekFrom};

use blake3::hazmat::ChainingValue;

use super::journal::Fact;
use super::{DATA, Partial, group_range, is_new};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::source::Foreign;
use crate::fs::sparse;
use crate::hash::Buffer;
use crate::hash::groups::{GROUP_BYTES, GroupHasher, Groups};

/// How far a stream has come in a partial.
#[derive(Default)]
pub(in crate::ingest) struct Position {
    at_bytes: u64,
    groups: GroupHasher,
    /// How many groups were compared or recorded.
    checked: usize,
}

impl Position {
    /// Reads the next bytes into the buffer, from the partial or from the source. The buffer is empty at the end.
    pub(in crate::ingest) fn advance(
        &mut self,
        partial: &mut Partial<'_>,
        source: &Foreign,
        buffer: &mut Buffer<'_>,
    ) -> Result<()> {
        let group = (self.at_bytes / GROUP_BYTES as u64) as usize;
        let left = group_range(group, partial.size_bytes).end - self.at_bytes;
        let is_held = partial.is_clone || partial.values.get(group).is_some_and(Option::is_some);
        let (mut file, name) =
            if is_held { (&partial.data, partial.name()) } else { (source.file(), Default::default()) };
        let fail = |e| if is_held { partial.root.fail("read", &name, e) } else { source.fail("read", e) };
        file.seek(SeekFrom::Start(self.at_bytes)).map_err(fail)?;
        buffer.refill(&mut file.take(left)).map_err(fail)?;
        let read_bytes = buffer.bytes().len() as u64;
        if read_bytes == 0 && left > 0 {
            return Err(source.changed(format!("it ended {} bytes early", partial.size_bytes - self.at_bytes)));
        }
        if !is_held {
            let written = sparse::write_at(&partial.data, self.at_bytes, buffer.bytes(), source.blocks());
            written.map_err(|e| partial.fail("write", e))?;
        }
        self.at_bytes += read_bytes;
        self.groups.update(buffer.bytes());
        note(partial, &mut self.checked, self.groups.values())
    }

    /// Finishes after the last byte was read.
    pub(in crate::ingest) fn finish(
        mut self,
        partial: &mut Partial<'_>,
        source: &Foreign,
        digest: Digest,
    ) -> Result<Groups> {
        if !partial.is_clone {
            source.check_ended()?;
        }
        let groups = self.groups.finish();
        note(partial, &mut self.checked, groups.values())?;
        partial.note_whole(digest);
        Ok(groups)
    }
}

/// Records the groups that are complete by now, and compares those that were already there.
fn note(partial: &mut Partial<'_>, checked: &mut usize, full: &[ChainingValue]) -> Result<()> {
    for (number, value) in full.iter().enumerate().skip(*checked) {
        let Some(slot) = partial.values.get_mut(number) else { continue };
        if is_new(slot, *value, || partial.root.absolute(&partial.folder.path().join(DATA)))? {
            partial.journal.append(&[Fact::Group { number: number as u64, value: *value }]);
        }
    }
    *checked = full.len();
    Ok(())
}
