//! The facts of all entries. There may be a million, so they are small: the ids are one text, and what few entries have is
//! elsewhere.

use std::num::NonZero;

use super::plan::millis;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record, TOUCH_INTERVAL};

#[derive(Debug, Default)]
pub(crate) struct Entries {
    rows: Vec<Row>,
    /// One after the other.
    ids: String,
    rare: Vec<Rare>,
}

/// The facts of one entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryFacts<'a> {
    pub(crate) id: &'a str,
    row: &'a Row,
    rare: Option<&'a Rare>,
}

#[derive(Debug)]
struct Row {
    /// Where its id begins. It ends where the next one begins.
    id_start: usize,
    size_bytes: u64,
    /// The last time at which it may have been used, and the last that is recorded.
    used_ms: u64,
    idle_since_ms: u64,
    digest: Option<Digest>,
    kind: ArtifactKind,
    is_pushed: bool,
    /// The number of its rare facts, from 1.
    rare: Option<NonZero<u32>>,
}

/// What few entries have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    /// The blobs that it needs besides the one that its digest names.
    pub(super) more_blobs: Vec<Digest>,
    /// Bytes on disk of its view if that is a copy.
    pub(super) view_bytes: u64,
    pub(super) retired_ms: Option<u64>,
    /// The name of a pin that currently holds.
    pub(super) pin: Option<String>,
}

impl Entries {
    /// Adds the facts of a record, of which these are the uncommon ones. `is_pushed`: a registry or a bucket is known to
    /// have it as well.
    pub(super) fn add(&mut self, record: &Record, last_used_ms: Option<u64>, is_pushed: bool, rare: Rare) {
        let id_start = self.ids.len();
        self.ids.push_str(&record.entry.id);
        let mut number = None;
        if rare != Rare::default() {
            self.rare.push(rare);
            let count = u32::try_from(self.rare.len()).expect("they would fill 300 GB of memory");
            number = NonZero::new(count);
        }
        let touched_ms = last_used_ms.map_or(0, |ms| ms.saturating_add(millis(TOUCH_INTERVAL)));
        self.rows.push(Row {
            id_start,
            size_bytes: record.size_bytes,
            used_ms: record.updated_ms.max(touched_ms),
            idle_since_ms: record.updated_ms.max(last_used_ms.unwrap_or(0)),
            digest: record.entry.digest,
            kind: record.kind,
            is_pushed,
            rare: number,
        });
    }

    /// Gives back what no further entry will need.
    pub(super) fn shrink_to_fit(&mut self) {
        self.rows.shrink_to_fit();
        self.ids.shrink_to_fit();
        self.rare.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// In the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = EntryFacts<'_>> {
        (0..self.rows.len()).filter_map(|place| self.get(place))
    }

    pub(super) fn get(&self, place: usize) -> Option<EntryFacts<'_>> {
        let row = self.rows.get(place)?;
        let id_end = self.rows.get(place + 1).map_or(self.ids.len(), |next| next.id_start);
        let rare = row.rare.and_then(|number| self.rare.get(number.get() as usize - 1));
        Some(EntryFacts { id: self.ids.get(row.id_start..id_end)?, row, rare })
    }

    /// Those of which this is true were used now.
    pub(super) fn use_those(&mut self, now_ms: u64, are: impl Fn(EntryFacts<'_>) -> bool) {
        for place in 0..self.rows.len() {
            if self.get(place).is_some_and(&are)
                && let Some(row) = self.rows.get_mut(place)
            {
                (row.used_ms, row.idle_since_ms) = (now_ms, now_ms);
            }
        }
    }
}

impl<'a> EntryFacts<'a> {
    pub(super) fn digest(self) -> Option<&'a Digest> {
        self.row.digest.as_ref()
    }

    pub(super) fn size_bytes(self) -> u64 {
        self.row.size_bytes
    }

    pub(super) fn is_pushed(self) -> bool {
        self.row.is_pushed
    }

    /// The blob of its content: the file, or the manifest of a tree.
    fn own_blob(self) -> Option<&'a Digest> {
        self.digest().filter(|_| self.row.kind != ArtifactKind::Registered)
    }

    /// All blobs that it needs, including the manifest of a tree.
    pub(crate) fn blobs(self) -> impl Iterator<Item = &'a Digest> {
        self.own_blob().into_iter().chain(self.rare.into_iter().flat_map(|rare| &rare.more_blobs))
    }

    /// The blob of its manifest, if it is a tree.
    pub(super) fn manifest(self) -> Option<&'a Digest> {
        self.own_blob().filter(|_| self.row.kind == ArtifactKind::Tree)
    }

    pub(super) fn view_bytes(self) -> u64 {
        self.rare.map_or(0, |rare| rare.view_bytes)
    }

    pub(super) fn retired_ms(self) -> Option<u64> {
        self.rare?.retired_ms
    }

    pub(super) fn pin(self) -> Option<&'a str> {
        self.rare?.pin.as_deref()
    }

    /// The last time at which it may have been used. A time in the future, from a wrong clock, counts as now.
    pub(super) fn used_ms(self, now_ms: u64) -> u64 {
        self.row.used_ms.min(now_ms)
    }

    /// For "idle since", where the recorded hour is exact enough.
    pub(super) fn idle_since_ms(self, now_ms: u64) -> u64 {
        self.row.idle_since_ms.min(now_ms)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::super::gather::gather;
    use super::*;
    use crate::fs::Durability;
    use crate::model_ref::ModelRef;
    use crate::{FsCatalog, StageOptions};

    // A plan has one for each entry.
    #[test]
    fn the_facts_of_an_entry_are_small() {
        assert!(size_of::<Row>() <= 72, "{}", size_of::<Row>());
    }

    #[test]
    fn each_entry_has_its_own_facts() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        let ids = ["a", "the second", "c", "d/e"];
        for id in ids {
            let path = dir.path().join("file");
            std::fs::write(&path, id).unwrap();
            let options = StageOptions { id: Some(id.into()), ..StageOptions::default() };
            catalog.stage(&ModelRef::File { path }, &options).unwrap();
        }
        for id in ["the second", "d/e"] {
            catalog.pin(id, &format!("for {id}"), None).unwrap();
        }
        let mut entries = gather(catalog.store()).unwrap().entries;
        assert_eq!(entries.len(), ids.len());
        for entry in entries.iter() {
            assert!(ids.contains(&entry.id), "{}", entry.id);
            assert_eq!(entry.size_bytes(), entry.id.len() as u64);
            assert!(entry.blobs().eq([&Digest::sha256_of(entry.id.as_bytes())]));
            let pin = ["the second", "d/e"].contains(&entry.id).then(|| format!("for {}", entry.id));
            assert_eq!(entry.pin(), pin.as_deref());
        }
        entries.use_those(u64::MAX, |entry| entry.id == "c");
        for entry in entries.iter() {
            let times = [entry.used_ms(u64::MAX), entry.idle_since_ms(u64::MAX)];
            assert_eq!(times.map(|ms| ms == u64::MAX), [entry.id == "c"; 2]);
        }
    }
}
