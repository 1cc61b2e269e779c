//! Ingests a remote file: reads it range by range into a private file, and hashes it as it arrives.

use super::partial::What;
use super::reader::Reader;
use super::target::{FETCH_PARTIAL_FROM_BYTES, NO_PARTIAL, Target};
use super::{ContentFile, Options, Ranges};
use crate::blob::{Sealed, SourceFacts, UsedMode};
use crate::error::Result;
use crate::fs::Session;
use crate::fs::sparse::Blocks;

/// Reads the whole file, and once more if it has the wrong digest, because a proxy or the server may have sent a wrong
/// part. `None`: see [`Target::seal`].
pub(super) fn ingest_ranges<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    ranges: &Ranges,
    options: Options<'_>,
) -> Result<Option<Sealed<'r>>> {
    let reader = &ranges.reader;
    let size_bytes = reader.size_bytes();
    let what = What::of_ranges(file.expected.as_ref(), ranges);
    let partial_from_bytes = match options.partial_from_bytes {
        NO_PARTIAL => NO_PARTIAL,
        bytes => bytes.min(FETCH_PARTIAL_FROM_BYTES),
    };
    let options = Options { partial_from_bytes, ..options };
    let mut target = Target::copy(session, None, what, size_bytes, Blocks::Reserved, options)?;
    let fill = |target: &mut Target<'r>, options| {
        target.fill(Reader::Remote(&**reader), size_bytes, options, &|| file.check_cancelled(options))
    };
    let filled = fill(&mut target, options).and_then(|hashes| {
        if file.check(hashes.digest).is_ok() || !target.doubt()? {
            return Ok(hashes);
        }
        tracing::info!(path = %reader.name(), "fetching the whole file again: its digest is wrong");
        reader.starts_over();
        // Progress never goes back, and these bytes have been counted already.
        fill(&mut target, Options { advanced: &|_| {}, ..options })
    });
    match filled {
        Ok(hashes) => target.seal(file, hashes, SourceFacts::default(), UsedMode::Fetch, options),
        Err(error) => target.give_up(error),
    }
}

#[cfg(test)]
pub(super) mod tests;
