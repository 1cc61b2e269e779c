//! A record as JSON: flat, with the entry's own fields first.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::Record;

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = &self.entry;
        let mut object = serializer.serialize_struct("Record", 18)?;
        object.serialize_field("id", &entry.id)?;
        object.serialize_field("digest", &entry.digest)?;
        object.serialize_field("local_path", &entry.local_path.to_string_lossy())?;
        object.serialize_field("size", &self.size_bytes)?;
        object.serialize_field("lifecycle", &entry.lifecycle)?;
        object.serialize_field("trust", &self.trust)?;
        object.serialize_field("last_verified_ms", &entry.last_verified_ms)?;
        object.serialize_field("last_used_ms", &self.last_used_ms)?;
        object.serialize_field("damaged", &self.damaged_ms.is_some())?;
        object.serialize_field("kind", &self.kind)?;
        object.serialize_field("files", &self.files)?;
        object.serialize_field("view", &self.view)?;
        object.serialize_field("source", &self.source)?;
        object.serialize_field("needs", &self.needs)?;
        object.serialize_field("created_ms", &self.created_ms)?;
        object.serialize_field("updated_ms", &self.updated_ms)?;
        object.serialize_field("pins", &self.pins)?;
        object.serialize_field("pushed", &self.pushed)?;
        object.end()
    }
}
