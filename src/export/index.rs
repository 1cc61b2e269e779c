//! `index.json` of an OCI image layout: the list of its manifests. Other members and other entries stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{Durability, Root, Temp};
use crate::oci;

/// More than an index of a hundred thousand names needs.
pub(super) const MAX_BYTES: u64 = 32 << 20;

pub(super) const NAME: &str = "index.json";

/// The annotation with the id of the catalog.
const ID: &str = "org.catalog-core.id";

/// The annotation of a referrer with the tag of the manifest that it belongs to.
const OF: &str = "org.catalog-core.of";

/// One manifest, with its referrers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
    /// The entries of its referrers, by digest. They have no tags.
    pub(super) referrers: BTreeMap<Digest, Value>,
}

/// How an entry stands in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Missing,
    There,
    /// The same id has another manifest under the tag, or other referrers.
    Older,
    /// The tag belongs to another manifest.
    Taken,
}

pub(super) fn read(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let index: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| format!("it is not an index: {e}"))?;
    match (index.get("schemaVersion").and_then(Value::as_u64), index.get("manifests")) {
        (Some(2), Some(Value::Array(_))) => Ok(index),
        _ => Err("it is not an index of version 2 with a list of manifests".into()),
    }
}

fn new() -> Map<String, Value> {
    let members = [("schemaVersion", json!(2)), ("mediaType", json!(oci::INDEX)), ("manifests", json!([]))];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

fn annotation<'v>(manifest: &'v Value, name: &str) -> Option<&'v str> {
    manifest.get("annotations")?.get(name)?.as_str()
}

impl Entry {
    /// The digests that it names, that of the model first.
    pub(super) fn target(&self) -> String {
        let digests = [&self.digest].into_iter().chain(self.referrers.keys());
        digests.map(Digest::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The reverse of `target`, for an entry that is to be compared or removed.
    pub(super) fn of_target(id: &str, tag: &str, size_bytes: u64, target: &str) -> Option<Self> {
        let mut digests = target.split(' ').map(|digest| digest.parse::<Digest>().ok());
        let digest = digests.next()??;
        let referrers = digests.map(|digest| Some((digest?, Value::Null))).collect::<Option<_>>()?;
        Some(Entry { id: id.to_owned(), tag: tag.to_owned(), digest, size_bytes, referrers })
    }

    fn is_mine(&self, manifest: &Value) -> bool {
        let has_tag = annotation(manifest, oci::REF_NAME) == Some(&self.tag);
        annotation(manifest, ID) == Some(&self.id) && (has_tag || self.is_referrer(manifest))
    }

    fn is_referrer(&self, manifest: &Value) -> bool {
        annotation(manifest, ID) == Some(&self.id) && annotation(manifest, OF) == Some(&self.tag)
    }

    pub(super) fn standing(&self, index: Option<&[u8]>) -> Result<Standing, String> {
        let Some(index) = index else { return Ok(Standing::Missing) };
        let index = read(index)?;
        let manifests = || index.get("manifests").and_then(Value::as_array).into_iter().flatten();
        let digest_of = |manifest: &Value| manifest.get("digest").and_then(Value::as_str).map(str::to_owned);
        let listed: BTreeSet<_> = manifests().filter(|manifest| self.is_referrer(manifest)).map(digest_of).collect();
        let mut named = manifests().filter(|manifest| annotation(manifest, oci::REF_NAME) == Some(&self.tag));
        let Some(first) = named.next() else { return Ok(Standing::Missing) };
        let has_digest = digest_of(first) == Some(self.digest.to_string());
        let has_referrers = listed == self.referrers.keys().map(|digest| Some(digest.to_string())).collect();
        Ok(match (self.is_mine(first), has_digest && has_referrers) {
            (true, true) => Standing::There,
            (true, false) => Standing::Older,
            _ => Standing::Taken,
        })
    }

    /// The index with this entry.
    pub(super) fn add(&self, index: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let mut index = index.map_or_else(|| Ok(new()), read)?;
        if let Some(Value::Array(all)) = index.get_mut("manifests") {
            all.retain(|manifest| !self.is_mine(manifest));
            all.push(json!({
                "mediaType": oci::MANIFEST,
                "artifactType": oci::MODEL,
                "digest": self.digest,
                "size": self.size_bytes,
                "annotations": { oci::REF_NAME: self.tag, ID: self.id },
            }));
            for mut referrer in self.referrers.values().cloned() {
                if let Some(Value::Object(annotations)) = referrer.get_mut("annotations") {
                    annotations.extend([(ID.to_owned(), json!(self.id)), (OF.to_owned(), json!(self.tag))]);
                }
                all.push(referrer);
            }
        }
        serde_json::to_vec(&index).map_err(|e| e.to_string())
    }

    /// Adds the entry to the index of a layout. `private` is a folder for the file that does not have its name yet.
    pub(super) fn write(&self, root: &Root, private: &Path, durability: Durability) -> Result<()> {
        let at = Path::new(NAME);
        let there = root.read(at, MAX_BYTES)?;
        let bytes = self.add(there.as_deref()).map_err(|reason| unusable(root, reason))?;
        replace(root, private, &bytes, durability)
    }

    /// Takes the entry out of the index of a layout. An index without entries goes too. Returns whether there was one.
    pub(super) fn erase(&self, root: &Root, private: &Path, durability: Durability) -> Result<bool> {
        let Some(there) = root.read(Path::new(NAME), MAX_BYTES)? else { return Ok(false) };
        match self.take(&there).map_err(|reason| unusable(root, reason))? {
            Some(left) => replace(root, private, &left, durability)?,
            None => drop(root.remove_file(Path::new(NAME))?),
        }
        Ok(true)
    }

    /// The index without this entry; `None` if nothing else is in it.
    pub(super) fn take(&self, index: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut index = read(index)?;
        let Some(Value::Array(all)) = index.get_mut("manifests") else { return Ok(None) };
        all.retain(|manifest| !self.is_mine(manifest));
        if all.is_empty() {
            return Ok(None);
        }
        serde_json::to_vec(&index).map(Some).map_err(|e| e.to_string())
    }
}

fn unusable(root: &Root, reason: String) -> Error {
    Error::ExportInTheWay { path: root.absolute(Path::new(NAME)), reason }
}

/// No tool reads a half index, and a killed process leaves nothing outside the private folder.
fn replace(root: &Root, private: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let mut temp = Temp::write(root, private, bytes, durability)?;
    temp.publish_over(Path::new(NAME))?;
    if durability.is_full() { root.sync_dir(Path::new("")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, tag: &str, content: &str) -> Entry {
        let (digest, referrers) = (Digest::sha256_of(content.as_bytes()), BTreeMap::new());
        Entry { id: id.into(), tag: tag.into(), digest, size_bytes: 7, referrers }
    }

    // Red when referrers are not compared, or are not told apart by id and tag: an entry would never get new ones, or
    // would take those of another model along.
    #[test]
    fn referrers_come_and_go_with_their_entry() {
        let with = |mut entry: Entry, documents: &[&str]| {
            for document in documents {
                let referrer = crate::referrer::of_document(b"m", document, "doc", b"text");
                entry.referrers.insert(Digest::sha256_of(&referrer), crate::referrer::descriptor(&referrer));
            }
            entry
        };
        let (none, one) = (entry("a", "t", "one"), with(entry("a", "t", "one"), &["d"]));
        let other = with(entry("b", "u", "one"), &["d", "e"]);
        let index = other.add(Some(&none.add(None).unwrap())).unwrap();
        assert_eq!(one.standing(Some(&index)).unwrap(), Standing::Older);
        let index = one.add(Some(&index)).unwrap();
        assert_eq!(
            (one.standing(Some(&index)), other.standing(Some(&index))),
            (Ok(Standing::There), Ok(Standing::There))
        );
        assert_eq!(none.standing(Some(&index)).unwrap(), Standing::Older);
        let read = Entry::of_target("a", "t", 7, &one.target()).unwrap();
        assert_eq!(read.standing(Some(&index)).unwrap(), Standing::There);
        let left = read.take(&index).unwrap().unwrap();
        assert_eq!(other.standing(Some(&left)).unwrap(), Standing::There);
        assert_eq!(other.take(&left).unwrap(), None);
        assert_eq!(Entry::of_target("a", "t", 7, "sha256:x"), None);
    }

    #[test]
    fn an_index_keeps_what_it_does_not_know() {
        let (one, two) = (entry("a", "a", "one"), entry("b", "b", "two"));
        let foreign = br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":1}],"more":[1]}"#;
        let both = two.add(Some(&one.add(Some(foreign)).unwrap())).unwrap();
        assert_eq!(one.standing(Some(&both)).unwrap(), Standing::There);
        let rest = one.take(&two.take(&both).unwrap().unwrap()).unwrap().unwrap();
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(value(&rest), value(foreign));
        assert_eq!(one.take(&one.add(None).unwrap()).unwrap(), None);
    }

    // Red when the id is not compared: an export would take the tag away from another model.
    #[test]
    fn a_tag_of_another_model_is_taken() {
        let index = entry("a", "t", "one").add(None).unwrap();
        assert_eq!(entry("b", "t", "two").standing(Some(&index)).unwrap(), Standing::Taken);
        assert_eq!(entry("a", "t", "two").standing(Some(&index)).unwrap(), Standing::Older);
        assert_eq!(entry("a", "u", "one").standing(Some(&index)).unwrap(), Standing::Missing);
        for damaged in ["", "[]", "{}", r#"{"schemaVersion":1,"manifests":[]}"#] {
            entry("a", "t", "one").standing(Some(damaged.as_bytes())).unwrap_err();
        }
    }
}
