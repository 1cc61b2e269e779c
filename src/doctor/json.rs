//! A finding as JSON: its fields, and what its kind means.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::Finding;

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Finding", 8)?;
        object.serialize_field("kind", &self.kind)?;
        object.serialize_field("severity", &self.severity())?;
        object.serialize_field("path", &self.path.to_string_lossy())?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("what", &self.what)?;
        object.serialize_field("meaning", self.meaning())?;
        object.serialize_field("remedy", &self.remedy)?;
        object.serialize_field("advice", &self.advice)?;
        object.end()
    }
}
