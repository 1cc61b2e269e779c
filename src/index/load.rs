//! Reads shards, and caches the parsed ones.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rayon::prelude::*;
use serde_json::value::RawValue;

use super::format::{Members, ShardText, Unusable};
use super::log::Logged;
use super::record::StoredRecord;
use super::records::Records;
use crate::entry::{Record, Stamp, check_id};
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::fs::{Kind, Root};
use crate::layout::{self, FORMAT, MAX_SHARD_BYTES, SHARDS};
use crate::threads::ready_for_rayon;

/// The index of one root. One `stat` shows whether a cached shard has changed.
#[derive(Debug)]
pub(crate) struct Index {
    pub(super) root: Arc<Root>,
    pub(super) locks_work: bool,
    shards: Vec<RwLock<Option<Cached>>>,
}

#[derive(Clone, Debug)]
struct Cached {
    /// `None`: there was no file.
    stamp: Option<Stamp>,
    /// `None`: only one record was looked up, which is cheaper than parsing the shard. A second lookup parses it all, because
    /// more will probably follow.
    records: Option<Arc<Records>>,
}

impl Index {
    pub(crate) fn new(root: Arc<Root>, locks_work: bool) -> Self {
        Index { root, locks_work, shards: (0..SHARDS).map(|_| RwLock::new(None)).collect() }
    }

    /// An index that acts as if locks did not work.
    #[cfg(test)]
    pub(super) fn without_locks(root: Arc<Root>) -> Self {
        Index::new(root, false)
    }

    /// The record of this id.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Record>> {
        self.get_as(id, Record::clone)
    }

    /// The text of the record of this id, with what a later version has written into it.
    pub(crate) fn text_of(&self, id: &str) -> Result<Option<Box<RawValue>>> {
        Ok(load_text(&self.root, layout::shard_number(id))?.value.entries.remove(id))
    }

    /// Applies `take` to the record of this id.
    pub(crate) fn get_as<T>(&self, id: &str, take: impl FnOnce(&Record) -> T) -> Result<Option<T>> {
        let hash = layout::id_hash(id);
        let number = layout::shard_of_hash(hash);
        let stamp = self.stamp(number)?;
        match self.cached(number, stamp)? {
            Some(Cached { records: Some(records), .. }) => Ok(records.get(id, hash).map(take)),
            Some(Cached { records: None, .. }) => Ok(self.shard(number)?.get(id, hash).map(take)),
            None => {
                let read_began = SystemTime::now();
                let loaded = load(&self.root, number, &|text| parse_one(&self.root, number, id, text))?;
                self.keep(number, loaded.stamp, loaded.is_racy(read_began), None);
                Ok(loaded.value.as_ref().map(take))
            }
        }
    }

    /// Every shard. An error if any of them cannot be read: its content is then unknown, which is not the same as
    /// empty.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Records>>> {
        ready_for_rayon();
        (0..=u8::MAX).into_par_iter().map(|number| self.shard(number)).collect()
    }

    /// The shards that can be read, for work that is done per entry and not all or nothing.
    pub(crate) fn readable(&self) -> Vec<Arc<Records>> {
        ready_for_rayon();
        (0..=u8::MAX).into_par_iter().filter_map(|number| self.shard(number).ok()).collect()
    }

    pub(super) fn shard(&self, number: u8) -> Result<Arc<Records>> {
        let stamp = self.stamp(number)?;
        if let Some(Cached { records: Some(records), .. }) = self.cached(number, stamp)? {
            return Ok(records);
        }
        let read_began = SystemTime::now();
        let loaded = load_records(&self.root, number)?;
        let is_racy = loaded.is_racy(read_began);
        let records = Arc::new(loaded.value);
        self.keep(number, loaded.stamp, is_racy, Some(records.clone()));
        Ok(records)
    }

    fn slot(&self, number: u8) -> &RwLock<Option<Cached>> {
        self.shards.get(usize::from(number)).expect("there are 256 shards and a number below 256")
    }

    /// The current stamp of the shard.
    fn stamp(&self, number: u8) -> Result<Option<Stamp>> {
        Ok(self.root.peek(&layout::shard(number))?.map(|meta| meta.stamp()))
    }

    /// The cached content, if the shard has not changed since.
    fn cached(&self, number: u8, stamp: Option<Stamp>) -> Result<Option<Cached>> {
        let slot = self.slot(number).read().unwrap_or_else(PoisonError::into_inner);
        let Some(cached) = slot.as_ref().filter(|cached| cached.stamp == stamp) else { return Ok(None) };
        // A shard that did not exist may have been written and lost since: then there is a `.prev`.
        let is_current = stamp.is_some() || self.root.peek(&layout::shard_prev(number))?.is_none();
        Ok(is_current.then(|| cached.clone()))
    }

    /// Caches a shard, unless it is so young that a change in the same tick of the clock would not show.
    fn keep(&self, number: u8, stamp: Option<Stamp>, is_racy: bool, records: Option<Arc<Records>>) {
        let cached = (!is_racy).then_some(Cached { stamp, records });
        *self.slot(number).write().unwrap_or_else(PoisonError::into_inner) = cached;
    }
}

/// The content read from a shard, and the stamp of the file that it came from.
pub(super) struct Loaded<T> {
    pub(super) value: T,
    pub(super) stamp: Option<Stamp>,
    meta: Option<crate::fs::Meta>,
}

impl<T> Loaded<T> {
    fn is_racy(&self, read_began: SystemTime) -> bool {
        self.meta.is_some_and(|meta| meta.is_racy(read_began))
    }
}

/// A parser of a shard's text.
type Parse<'p, T> = &'p dyn Fn(&[u8]) -> std::result::Result<T, Unusable>;

/// All records of a shard's text.
pub(super) fn parse_records(root: &Root, number: u8, text: &[u8]) -> std::result::Result<Records, Unusable> {
    let members = Members::parse(text)?;
    let records: std::result::Result<_, Unusable> = match members.entries::<StoredRecord>() {
        Ok(entries) => entries.into_iter().map(|(id, stored)| record(root, number, id, stored.checked())).collect(),
        // Parse one by one to find out which entry is unreadable, and why.
        Err(_) => {
            let entries = members.entries::<&RawValue>()?.into_iter();
            entries.map(|(id, text)| record(root, number, id, StoredRecord::parse(text))).collect()
        }
    };
    Ok(Records::new(members.generation, records?))
}

/// One record of a shard's text.
fn parse_one(root: &Root, number: u8, id: &str, text: &[u8]) -> std::result::Result<Option<Record>, Unusable> {
    let found = Members::parse(text)?.entries::<&RawValue>()?.remove_entry(id);
    let record = found.map(|(id, text)| record(root, number, id, StoredRecord::parse(text))).transpose()?;
    Ok(record.map(|(_, record)| record))
}

/// An entry of a shard, with the hash of its id.
fn record(
    root: &Root,
    number: u8,
    id: String,
    stored: std::result::Result<StoredRecord, String>,
) -> std::result::Result<(u64, Record), Unusable> {
    let hash = layout::id_hash(&id);
    if check_id(&id).is_err() || layout::shard_of_hash(hash) != number {
        let reason = format!("it has the id {:?}, which does not belong there", excerpt(&id));
        return Err(Unusable::Damaged(reason));
    }
    let stored = stored.map_err(|reason| Unusable::Damaged(unreadable(&id, &reason)))?;
    Ok((hash, stored.into_record(id, root)))
}

/// The message about an entry that cannot be read.
pub(super) fn unreadable(id: &str, reason: &str) -> String {
    format!("the entry {:?} cannot be read: {}", excerpt(id), excerpt(reason))
}

/// Reads all records of a shard.
pub(super) fn load_records(root: &Root, number: u8) -> Result<Loaded<Records>> {
    load(root, number, &|text| parse_records(root, number, text))
}

/// Reads a shard's text in order to change it.
pub(super) fn load_text(root: &Root, number: u8) -> Result<Loaded<ShardText>> {
    load(root, number, &ShardText::parse)
}

/// Reads the newest events of a shard, and none of its records.
pub(super) fn load_logged(root: &Root, number: u8) -> Result<Logged> {
    Ok(load(root, number, &|text| Ok(Members::parse(text)?.logged()))?.value)
}

/// Reads a shard. A shard that was never written is empty; one that is lost is an error.
fn load<T: Default>(root: &Root, number: u8, parse: Parse<'_, T>) -> Result<Loaded<T>> {
    let path = layout::shard(number);
    let corrupt = |reason: String| Error::CorruptIndex { path: root.absolute(&path), reason };
    if let Some(loaded) = load_file(root, &path, parse)? {
        return Ok(loaded);
    }
    // Every write, including the first, leaves a `.prev` next to the shard.
    match root.meta(&layout::shard_prev(number))? {
        None if root.meta(Path::new(layout::INDEX))?.is_some_and(|meta| meta.kind == Kind::Dir) => {
            Ok(Loaded { value: T::default(), stamp: None, meta: None })
        }
        None => Err(corrupt("the folder of the index is missing".into())),
        // Or it was written for the first time between the two looks.
        Some(_) if root.meta(&path)?.is_some() => load(root, number, parse),
        Some(_) => Err(corrupt("it is missing, though there was one before".into())),
    }
}

/// Reads a shard or its previous generation; `None` if there is no such file.
pub(super) fn load_file<T>(root: &Root, path: &Path, parse: Parse<'_, T>) -> Result<Option<Loaded<T>>> {
    let Some(file) = root.open_file(path)? else { return Ok(None) };
    let meta = crate::fs::meta_of(&file).map_err(|e| root.fail("look at", path, e))?;
    let bytes = root.read_whole(&file, path, MAX_SHARD_BYTES)?;
    let value = parse(&bytes).map_err(|unusable| match unusable {
        Unusable::Damaged(reason) => Error::CorruptIndex { path: root.absolute(path), reason },
        Unusable::Newer(found) => Error::UnsupportedFormat {
            path: root.absolute(path),
            found: format!("index format {found}"),
            supported: format!("format {FORMAT}"),
        },
    })?;
    Ok(Some(Loaded { value, stamp: Some(meta.stamp()), meta: Some(meta) }))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::index::testing::root;

    const RECORD: &str = r#"{"path":"views/m/a/m","kind":"registered","digest":null,"size_bytes":0,"files":0,
        "lifecycle":"active","trust":"unverified","created_ms":1,"updated_ms":1}"#;

    /// Writes the shard of "m" in place, so that only its time can tell the new text from the old.
    fn write(root: &Root, record: &str, modified: SystemTime) {
        let mut shard = ShardText::default();
        shard.entries.insert("m".into(), RawValue::from_string(record.into()).unwrap());
        let path = root.absolute(&layout::shard(layout::shard_number("m")));
        std::fs::write(&path, shard.render()).unwrap();
        std::fs::write(root.absolute(&layout::shard_prev(layout::shard_number("m"))), "").unwrap();
        std::fs::File::open(&path).unwrap().set_modified(modified).unwrap();
    }

    /// What a handle returns before and after the text changed under the same stamp: the record's creation times.
    fn read_twice(modified: SystemTime, read: impl Fn(&Index) -> Option<Record>) -> [u64; 2] {
        let (_dir, root) = root();
        let index = Index::new(root.clone(), true);
        write(&root, RECORD, modified);
        // The first read caches only the stamp, the second the whole shard.
        let first = read(&index).and(read(&index)).unwrap();
        write(&root, &RECORD.replace(r#""created_ms":1"#, r#""created_ms":2"#), modified);
        [first.created_ms, read(&index).unwrap().created_ms]
    }

    // Red when a shard is cached although it is too young, and when none is cached.
    #[test]
    fn a_shard_is_read_once_unless_it_is_too_young_for_its_stamp() {
        let get = |index: &Index| index.get("m").unwrap();
        let all = |index: &Index| {
            index.all().unwrap().iter().find_map(|records| records.get("m", layout::id_hash("m")).cloned())
        };
        // As if written after the look by any clock: it stays young however long the test takes.
        let young = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(read_twice(young, get), [1, 2]);
        assert_eq!(read_twice(young, all), [1, 2]);
        let old = SystemTime::now() - Duration::from_secs(60);
        assert_eq!(read_twice(old, get), [1, 1]);
        assert_eq!(read_twice(old, all), [1, 1]);
    }

    #[test]
    fn an_id_of_another_shard_and_one_that_is_none_are_damage_that_is_named() {
        let (_dir, root) = root();
        let number = layout::shard_number("m");
        let reason = |id: &str, text: &str| {
            let mut shard = ShardText::default();
            shard.entries.insert(id.into(), RawValue::from_string(text.into()).unwrap());
            let text = shard.render();
            // Both ways report the same.
            let one = parse_one(&root, number, id, &text).unwrap_err();
            assert_eq!(parse_records(&root, number, &text).unwrap_err(), one);
            match one {
                Unusable::Damaged(reason) => reason,
                other => panic!("{id:?} gave {other:?}"),
            }
        };
        assert!(reason("of another shard", RECORD).contains("does not belong there"));
        // An id with a control character, in its own shard.
        let illegal = (0..).map(|n| format!("\n{n}")).find(|id| layout::shard_number(id) == number).unwrap();
        assert!(reason(&illegal, RECORD).contains("does not belong there"));
        let unreadable = reason("m", &RECORD.replace("registered", "unheard of"));
        assert!(unreadable.contains(r#"the entry "m" cannot be read: "#) && unreadable.contains("unheard of"));
    }

    // Red when an index whose folder is gone counts as empty: `gc` would remove everything.
    #[test]
    fn without_its_folder_or_after_a_loss_an_index_is_not_empty() {
        let (dir, root) = root();
        let number = layout::shard_number("m");
        assert!(load_records(&root, number).unwrap().value.all().is_empty(), "it was never written");
        std::fs::write(root.absolute(&layout::shard_prev(number)), "").unwrap();
        assert!(matches!(load_records(&root, number), Err(Error::CorruptIndex { .. })));
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        assert!(matches!(load_records(&root, number), Err(Error::CorruptIndex { .. })));
        std::fs::write(dir.path().join("index"), "").unwrap();
        load_records(&root, number).map(drop).unwrap_err();
    }
}
