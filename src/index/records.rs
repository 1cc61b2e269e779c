//! The records of one shard, in as few places in memory as a look-up can do with.
//!
//! A look-up that finds nothing in the processor's caches takes longer for each place that it looks at than for all
//! that it computes. So the shard's text stays as it was read, and beside it there is a small row for each entry. What
//! has no place in a row is parsed from the text when somebody asks for it.

use std::path::PathBuf;
use std::sync::Arc;

use super::record::StoredRecord;
use crate::digest::Digest;
use crate::entry::{CatalogEntry, LifecycleState, Record};
use crate::fs::Root;

/// The records of one shard.
#[derive(Debug)]
pub(crate) struct Records {
    root: Arc<Root>,
    /// The shard's text.
    text: String,
    /// The id and then the path of each entry, below the root.
    names: String,
    /// Sorted by id.
    rows: Vec<Row>,
    /// The rows by the hashes of their ids. A row is in the first free place at or after the one that its hash says.
    /// There are at least twice as many places as rows, and a power of two.
    places: Vec<Slot>,
}

/// One more than the number of a row, or 0, and a part of the hash of its id.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u32,
    hash: u32,
}

/// What is looked at most of an entry, in one line of the processor's cache, and where the rest is.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Row {
    /// Where its id begins in the names; the path follows.
    name_from: u32,
    id_bytes: u32,
    path_bytes: u32,
    /// Where its record is in the text.
    text_from: u32,
    text_bytes: u32,
    lifecycle: LifecycleState,
    digest: Option<Digest>,
    was_verified: bool,
    /// 0 if it was never verified.
    last_verified_ms: u64,
}

/// Gathers the rows of a shard.
#[derive(Default)]
pub(super) struct Rows {
    names: String,
}

impl Rows {
    /// The row of an entry. `text` is the text of its record, which is a part of the shard's text `whole`.
    pub(super) fn row(&mut self, id: &str, stored: &StoredRecord, text: &str, whole: &str) -> Option<Row> {
        let name_from = self.names.len();
        self.names.push_str(id);
        self.names.push_str(&stored.path);
        let text_from = (text.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let [name_from, id_bytes, path_bytes, text_from, text_bytes] =
            [name_from, id.len(), stored.path.len(), text_from, text.len()].map(u32::try_from);
        Some(Row {
            name_from: name_from.ok()?,
            id_bytes: id_bytes.ok()?,
            path_bytes: path_bytes.ok()?,
            text_from: text_from.ok()?,
            text_bytes: text_bytes.ok()?,
            lifecycle: stored.lifecycle,
            digest: stored.digest,
            was_verified: stored.last_verified_ms.is_some(),
            last_verified_ms: stored.last_verified_ms.unwrap_or(0),
        })
    }

    /// The records of a shard with this text: their rows, sorted by id, each with the hash of its id.
    pub(super) fn finish(self, root: Arc<Root>, text: String, hashed: Vec<(u64, Row)>) -> Records {
        let mut places = match hashed.len() {
            0 => Vec::new(),
            rows => vec![Slot::default(); (rows * 2).next_power_of_two()],
        };
        for ((hash, _), number) in hashed.iter().zip(1..) {
            let (first, hash) = (first_place(*hash), part_of(*hash));
            let mut free = order(first, places.len()).skip_while(|place| is_taken(&places, *place));
            if let Some(place) = free.next().and_then(|place| places.get_mut(place)) {
                *place = Slot { number, hash };
            }
        }
        let rows = hashed.into_iter().map(|(_, row)| row).collect();
        Records { root, text, names: self.names, rows, places }
    }
}

fn is_taken(places: &[Slot], place: usize) -> bool {
    places.get(place).is_some_and(|slot| slot.number != 0)
}

/// The first byte of a hash is the same in the whole shard. The next ones say where a row belongs.
fn first_place(hash: u64) -> usize {
    (hash >> 24) as u32 as usize
}

/// The last bytes of a hash tell rows in neighbouring places apart.
fn part_of(hash: u64) -> u32 {
    hash as u32
}

fn order(first: usize, places: usize) -> impl Iterator<Item = usize> {
    (0..places).map(move |step| first.wrapping_add(step) & (places - 1))
}

impl Records {
    /// A shard that was never written.
    pub(super) fn empty(root: Arc<Root>) -> Self {
        Rows::default().finish(root, String::new(), Vec::new())
    }

    /// The place of an id with this hash.
    pub(crate) fn find(&self, id: &str, hash: u64) -> Option<Place<'_>> {
        let wanted = part_of(hash);
        for place in order(first_place(hash), self.places.len()) {
            let slot = self.places.get(place)?;
            let row = self.rows.get((slot.number as usize).checked_sub(1)?)?;
            if slot.hash == wanted && self.id(row) == id {
                return Some(Place { records: self, row });
            }
        }
        None
    }

    /// All entries, sorted by id.
    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = Place<'_>> + DoubleEndedIterator {
        self.rows.iter().map(|row| Place { records: self, row })
    }

    fn id(&self, row: &Row) -> &str {
        part(&self.names, row.name_from, row.id_bytes)
    }
}

fn part(text: &str, from: u32, bytes: u32) -> &str {
    let from = from as usize;
    text.get(from..from + bytes as usize).unwrap_or_default()
}

/// One entry of a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'r> {
    records: &'r Records,
    row: &'r Row,
}

impl<'r> Place<'r> {
    pub(crate) fn id(&self) -> &'r str {
        self.records.id(self.row)
    }

    fn path(&self) -> PathBuf {
        let from = self.row.name_from.saturating_add(self.row.id_bytes);
        self.records.root.absolute_text(part(&self.records.names, from, self.row.path_bytes))
    }

    /// The five fields of the contract.
    pub(crate) fn entry(&self) -> CatalogEntry {
        CatalogEntry {
            id: self.id().to_owned(),
            local_path: self.path(),
            lifecycle: self.row.lifecycle,
            digest: self.row.digest,
            last_verified_ms: self.row.was_verified.then_some(self.row.last_verified_ms),
        }
    }

    /// All that is known of it.
    pub(crate) fn record(&self) -> Record {
        let text = part(&self.records.text, self.row.text_from, self.row.text_bytes);
        let stored = StoredRecord::parse(text).expect("its row was made from the same text");
        stored.into_record(self.id().to_owned(), &self.records.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::testing;
    use crate::layout;

    #[test]
    fn a_row_fits_in_a_line_of_the_cache() {
        assert_eq!(size_of::<Row>(), 64);
    }

    // Red when the first record with the hash is returned without comparing its id, and when a row that found its place
    // taken is not looked for in the next one.
    #[test]
    fn a_record_is_found_by_its_id_also_among_others_of_its_hash() {
        let (_dir, root) = testing::root();
        let ids: Vec<String> = (0..100).map(|number| format!("{number:02}")).collect();
        let text = testing::record("path").render(None).unwrap().get().to_owned();
        let of = |hash: fn(&str) -> u64| {
            let mut rows = Rows::default();
            let stored = StoredRecord::parse(&text).unwrap();
            let all = ids.iter().map(|id| (hash(id), rows.row(id, &stored, &text, &text).unwrap())).collect();
            rows.finish(root.clone(), text.clone(), all)
        };
        let found = |records: &Records, id: &str, hash| records.find(id, hash).map(|place| place.record().entry.id);
        let records = of(layout::id_hash);
        for id in &ids {
            assert_eq!(found(&records, id, layout::id_hash(id)).as_ref(), Some(id));
        }
        assert_eq!(found(&records, "100", layout::id_hash("100")), None);
        let records = of(|_| 7);
        for id in &ids {
            assert_eq!(found(&records, id, 7).as_ref(), Some(id));
        }
        assert_eq!(found(&records, "42", 8), None);
        assert_eq!(found(&records, "100", 7), None);
        assert_eq!(found(&Records::empty(root.clone()), "42", 7), None);
    }
}
