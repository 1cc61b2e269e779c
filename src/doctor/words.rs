//! The enums of doctor as text: `Display`, `FromStr`, and one word in JSON.

use serde::{Serialize, Serializer};

use super::kind::{FindingKind, Remedy, Severity};
use crate::words::words;

words!(Severity, "severity", [Note, Warning, Error]);
words!(Remedy, "remedy", [Repair, Collection, Operator, Nothing]);
words!(FindingKind, "kind of finding");

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Remedy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for FindingKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
