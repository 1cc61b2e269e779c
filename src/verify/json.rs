//! A report as JSON: one list of all damage.

use std::ops::Range;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{BadFile, VerifyReport};
use crate::digest::Digest;

/// A damaged part of a file.
#[derive(Serialize)]
struct BadRange<'a> {
    /// The path of the damaged file, if the entry is a tree.
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    /// The damaged blob, if it is a needed document: the range is then not one of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'a Digest>,
    #[serde(flatten)]
    range: &'a Range<u64>,
}

fn ranges(bad: &BadFile) -> impl Iterator<Item = BadRange<'_>> {
    let needs = bad.is_needed.then_some(&bad.digest);
    bad.ranges.iter().map(move |range| BadRange { path: &bad.path, needs, range })
}

impl Serialize for VerifyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("VerifyReport", 9)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("digest", &self.digest)?;
        object.serialize_field("outcome", self.outcome.as_str())?;
        object.serialize_field("reason", self.outcome.reason())?;
        object.serialize_field("bad_ranges", &self.bad.iter().flat_map(ranges).collect::<Vec<_>>())?;
        object.serialize_field("quarantined", &self.bad.iter().any(|bad| bad.quarantined))?;
        object.serialize_field("files", &self.files)?;
        object.serialize_field("bytes_read", &self.bytes_read)?;
        object.serialize_field("elapsed_ms", &self.elapsed.as_millis())?;
        object.end()
    }
}
