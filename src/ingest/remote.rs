//! Something remote: read range by range into a private file, and hashed as it arrives.

use super::partial::What;
use super::reader::Reader;
use super::target::Target;
use super::{ContentFile, Options, Ranges};
use crate::blob::{Sealed, SourceFacts, UsedMode};
use crate::error::Result;
use crate::fs::Session;
use crate::fs::sparse::Blocks;

/// Reads all of it, a chunk at a time; BLAKE3 is made of a chunk while the one before is in SHA-256. `None`: see
/// [`Target::seal`].
pub(super) fn ingest_ranges<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    ranges: &Ranges,
    options: Options<'_>,
) -> Result<Option<Sealed<'r>>> {
    let Ranges { reader, validator } = ranges;
    let (location, size_bytes) = (reader.name(), reader.size_bytes());
    let what = match (&file.expected, validator) {
        (Some(expected), _) => Some(What::digest(expected, location)),
        (None, Some(validator)) => Some(What::remote(location, size_bytes, validator)),
        // Nothing says later whether it is still the same.
        (None, None) => None,
    };
    let mut target = Target::copy(session, None, what, size_bytes, Blocks::Reserved, options)?;
    match target.fill(Reader::Remote(&**reader), size_bytes, options, &|| file.check_cancelled(options)) {
        Ok(hashes) => target.seal(file, hashes, SourceFacts::default(), UsedMode::Copy, options),
        Err(error) => target.give_up(error),
    }
}

#[cfg(test)]
pub(super) mod tests;
