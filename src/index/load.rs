//! Reads shards, and caches the parsed ones.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rayon::prelude::*;
use serde_json::value::RawValue;

use super::format::{self, Members, ShardText, Unusable};
use super::log::Logged;
use super::record::StoredRecord;
use super::records::{Place, Records, Rows};
use super::restore::Generation;
use crate::entry::{CatalogEntry, Record, Stamp, check_id};
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

#[derive(Debug)]
struct Cached {
    /// `None`: there was no file.
    stamp: Option<Stamp>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Whole(Arc<Records>),
    /// Only so many records were looked up, which is cheaper than parsing the shard.
    Single(u32),
}

impl Content {
    fn whole(&self) -> Option<&Arc<Records>> {
        match self {
            Content::Whole(records) => Some(records),
            Content::Single(_) => None,
        }
    }
}

/// From this many single lookups on, a shard is parsed as a whole: more will probably follow. A command that is given one
/// id makes fewer.
const WHOLE_FROM: u32 = 4;

impl Index {
    pub(crate) fn new(root: Arc<Root>, locks_work: bool) -> Self {
        Index { root, locks_work, shards: (0..SHARDS).map(|_| RwLock::new(None)).collect() }
    }

    /// An index that acts as if locks did not work.
    #[cfg(test)]
    pub(super) fn without_locks(root: Arc<Root>) -> Self {
        Index::new(root, false)
    }

    /// Whether anything of this shard is kept in memory.
    #[cfg(test)]
    pub(crate) fn keeps(&self, number: u8) -> bool {
        self.slot(number).read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The record of this id.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Record>> {
        self.get_as(id, |place| place.record(), |record| record)
    }

    /// The entry of this id.
    pub(crate) fn entry(&self, id: &str) -> Result<Option<CatalogEntry>> {
        self.get_as(id, |place| place.entry(), |record| record.entry)
    }

    /// The text of the record of this id, with what a later version has written into it.
    pub(crate) fn text_of(&self, id: &str) -> Result<Option<Box<RawValue>>> {
        Ok(load_text(&self.root, layout::shard_number(id))?.value.entries.get(id).map(ToOwned::to_owned))
    }

    /// What is known of this id, from the cached shard or from a record that was just read.
    fn get_as<T>(
        &self,
        id: &str,
        cached: impl Fn(Place<'_>) -> T,
        read: impl FnOnce(Record) -> T,
    ) -> Result<Option<T>> {
        let hash = layout::id_hash(id);
        let number = layout::shard_of_hash(hash);
        let stamp = self.stamp(number)?;
        let known = self.cached(number, stamp, |content| match content {
            Content::Whole(records) => Ok(records.find(id, hash).map(&cached)),
            Content::Single(lookups) => Err(*lookups),
        })?;
        let before = match known {
            Some(Ok(found)) => return Ok(found),
            Some(Err(before)) if before >= WHOLE_FROM => return Ok(self.shard(number)?.find(id, hash).map(cached)),
            Some(Err(before)) => before,
            None => 0,
        };
        let read_began = SystemTime::now();
        let loaded = load(&self.root, number, || None, &|text| parse_one(&self.root, number, id, &text))?;
        self.keep(number, loaded.stamp, loaded.is_racy(read_began), Content::Single(before + 1));
        Ok(loaded.value.map(read))
    }

    /// Every shard. An error if any of them cannot be read: its content is then unknown, which is not the same as
    /// empty. All of them stay in memory.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Records>>> {
        ready_for_rayon();
        (0..=u8::MAX).into_par_iter().map(|number| self.shard(number)).collect()
    }

    /// Passes every record to `take`, shard by shard, and sorted by id in each. What is not cached is not kept in memory.
    /// Fails at the first shard that cannot be read: its content is then unknown, which is not the same as empty.
    pub(crate) fn each(&self, take: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
        self.each_shard_until(&mut |_, records| records?.into_iter().try_for_each(&mut *take))
    }

    /// The same with the shards that can be read, for work that is done per entry and not all or nothing.
    pub(crate) fn each_readable(&self, take: &mut dyn FnMut(Record)) {
        self.each_shard(&mut |_, records| records.unwrap_or_default().into_iter().for_each(&mut *take));
    }

    /// Passes the number and the records of every shard to `take`.
    pub(crate) fn each_shard(&self, take: &mut dyn FnMut(u8, Result<Vec<Record>>)) {
        let all = self.each_shard_until(&mut |number, records| {
            take(number, records);
            Ok(())
        });
        debug_assert!(all.is_ok(), "only `take` can fail");
    }

    /// Reads a few shards at a time, on all cores.
    fn each_shard_until(&self, take: &mut dyn FnMut(u8, Result<Vec<Record>>) -> Result<()>) -> Result<()> {
        ready_for_rayon();
        let at_once = rayon::current_num_threads().saturating_mul(2);
        let numbers: Vec<u8> = (0..=u8::MAX).collect();
        for numbers in numbers.chunks(at_once) {
            let read: Vec<_> = numbers.par_iter().map(|number| (*number, self.records(*number))).collect();
            read.into_iter().try_for_each(|(number, records)| take(number, records))?;
        }
        Ok(())
    }

    /// The records of one shard.
    fn records(&self, number: u8) -> Result<Vec<Record>> {
        let stamp = self.stamp(number)?;
        let all = |records: &Arc<Records>| records.all().map(|place| place.record()).collect();
        match self.cached(number, stamp, |content| content.whole().map(all))?.flatten() {
            Some(records) => Ok(records),
            None => {
                let parse = |text: Vec<u8>| parse_each(&self.root, number, &text);
                Ok(load(&self.root, number, Vec::new, &parse)?.value)
            }
        }
    }

    fn shard(&self, number: u8) -> Result<Arc<Records>> {
        let stamp = self.stamp(number)?;
        if let Some(records) = self.cached(number, stamp, |content| content.whole().cloned())?.flatten() {
            return Ok(records);
        }
        let read_began = SystemTime::now();
        let loaded = load_records(&self.root, number)?;
        let is_racy = loaded.is_racy(read_began);
        let records = Arc::new(loaded.value);
        self.keep(number, loaded.stamp, is_racy, Content::Whole(records.clone()));
        Ok(records)
    }

    fn slot(&self, number: u8) -> &RwLock<Option<Cached>> {
        self.shards.get(usize::from(number)).expect("there are 256 shards and a number below 256")
    }

    /// The current stamp of the shard.
    fn stamp(&self, number: u8) -> Result<Option<Stamp>> {
        let name = layout::shard_text(number);
        Ok(self.root.peek(layout::as_path(&name))?.map(|meta| meta.stamp()))
    }

    /// What `take` makes of the cached content, if the shard has not changed since.
    fn cached<T>(&self, number: u8, stamp: Option<Stamp>, take: impl FnOnce(&Content) -> T) -> Result<Option<T>> {
        let slot = self.slot(number).read().unwrap_or_else(PoisonError::into_inner);
        let Some(cached) = slot.as_ref().filter(|cached| cached.stamp == stamp) else { return Ok(None) };
        // A shard that did not exist may have been written and lost since: then there is a `.prev`.
        let is_current = stamp.is_some() || self.root.peek(&layout::shard_prev(number))?.is_none();
        Ok(is_current.then(|| take(&cached.content)))
    }

    /// Caches a shard, unless it is so young that a change in the same tick of the clock would not show.
    fn keep(&self, number: u8, stamp: Option<Stamp>, is_racy: bool, content: Content) {
        let cached = (!is_racy).then_some(Cached { stamp, content });
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
type Parse<'p, T> = &'p dyn Fn(Vec<u8>) -> std::result::Result<T, Unusable>;

/// All records of a shard's text.
pub(super) fn parse_records(root: &Arc<Root>, number: u8, text: Vec<u8>) -> std::result::Result<Records, Unusable> {
    let text = String::from_utf8(text).map_err(|e| format::not_text(e.utf8_error()))?;
    let members = Members::parse(&text)?;
    let mut rows = Rows::default();
    let found = members.entries(&mut |id, entry| {
        let (hash, stored) = check(number, &id, entry)?;
        let row = rows.row(&id, &stored, entry, &text);
        Ok((hash, row.ok_or_else(|| Unusable::Damaged("it is too large".into()))?))
    })?;
    Ok(rows.finish(root.clone(), text, found))
}

/// The records of a shard's text, to be passed on.
fn parse_each(root: &Root, number: u8, text: &[u8]) -> std::result::Result<Vec<Record>, Unusable> {
    Members::parse(format::text_of(text)?)?.entries(&mut |id, entry| {
        let (_, stored) = check(number, &id, entry)?;
        Ok(stored.into_record(id.into_owned(), root))
    })
}

/// Checks all records of a shard's text.
pub(super) fn check_records(number: u8, text: &[u8]) -> std::result::Result<Generation, Unusable> {
    let members = Members::parse(format::text_of(text)?)?;
    let checked = members.entries(&mut |id, entry| check(number, &id, entry).map(drop))?;
    Ok(Generation { generation: members.generation, entries: checked.len() })
}

/// One record of a shard's text.
fn parse_one(root: &Root, number: u8, id: &str, text: &[u8]) -> std::result::Result<Option<Record>, Unusable> {
    let read = |entry: &str| Ok(check(number, id, entry)?.1.into_record(id.to_owned(), root));
    Members::parse(format::text_of(text)?)?.entry(id, &read)
}

/// Reads an entry of a shard. Returns it with the hash of its id.
fn check(number: u8, id: &str, entry: &str) -> std::result::Result<(u64, StoredRecord), Unusable> {
    let hash = layout::id_hash(id);
    if check_id(id).is_err() || layout::shard_of_hash(hash) != number {
        let reason = format!("it has the id {:?}, which does not belong there", excerpt(id));
        return Err(Unusable::Damaged(reason));
    }
    let stored = StoredRecord::parse(entry).map_err(|reason| Unusable::Damaged(unreadable(id, &reason)))?;
    Ok((hash, stored))
}

/// The message about an entry that cannot be read.
pub(super) fn unreadable(id: &str, reason: &str) -> String {
    format!("the entry {:?} cannot be read: {}", excerpt(id), excerpt(reason))
}

/// Reads all records of a shard.
pub(super) fn load_records(root: &Arc<Root>, number: u8) -> Result<Loaded<Records>> {
    load(root, number, || Records::empty(root.clone()), &|text| parse_records(root, number, text))
}

/// Reads a shard's text in order to change it.
pub(super) fn load_text(root: &Root, number: u8) -> Result<Loaded<ShardText>> {
    load(root, number, ShardText::default, &ShardText::parse)
}

/// Reads the newest events of a shard, and none of its records.
pub(super) fn load_logged(root: &Root, number: u8) -> Result<Logged> {
    let parse = |text: Vec<u8>| Ok(Members::parse(format::text_of(&text)?)?.logged());
    Ok(load(root, number, Logged::default, &parse)?.value)
}

/// Reads a shard. A shard that was never written is `empty`; one that is lost is an error.
fn load<T>(root: &Root, number: u8, empty: impl Fn() -> T, parse: Parse<'_, T>) -> Result<Loaded<T>> {
    let path = layout::shard(number);
    let corrupt = |reason: String| Error::CorruptIndex { path: root.absolute(&path), reason };
    loop {
        if let Some(loaded) = load_file(root, &path, parse)? {
            return Ok(loaded);
        }
        // Every write, including the first, leaves a `.prev` next to the shard.
        match root.meta(&layout::shard_prev(number))? {
            None if root.meta(Path::new(layout::INDEX))?.is_some_and(|meta| meta.kind == Kind::Dir) => {
                return Ok(Loaded { value: empty(), stamp: None, meta: None });
            }
            None => return Err(corrupt("the folder of the index is missing".into())),
            // Or it was written for the first time between the two looks.
            Some(_) if root.meta(&path)?.is_some() => {}
            Some(_) => return Err(corrupt("it is missing, though there was one before".into())),
        }
    }
}

/// Reads a shard or its previous generation; `None` if there is no such file.
pub(super) fn load_file<T>(root: &Root, path: &Path, parse: Parse<'_, T>) -> Result<Option<Loaded<T>>> {
    let Some(file) = root.open_file(path)? else { return Ok(None) };
    let meta = crate::fs::meta_of(&file).map_err(|e| root.fail("look at", path, e))?;
    let bytes = root.read_whole(&file, path, MAX_SHARD_BYTES)?;
    let value = parse(bytes).map_err(|unusable| match unusable {
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
        shard.entries.insert("m", RawValue::from_string(record.into()).unwrap());
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
        // The first reads cache only the stamp, the last one the whole shard.
        let first = (0..=WHOLE_FROM).map(|_| read(&index).unwrap()).last().unwrap();
        write(&root, &RECORD.replace(r#""created_ms":1"#, r#""created_ms":2"#), modified);
        [first.created_ms, read(&index).unwrap().created_ms]
    }

    // Red when a shard is cached although it is too young, and when none is cached.
    #[test]
    fn a_shard_is_read_once_unless_it_is_too_young_for_its_stamp() {
        let get = |index: &Index| index.get("m").unwrap();
        let all = |index: &Index| {
            let found = |records: &Arc<Records>| Some(records.find("m", layout::id_hash("m"))?.record());
            index.all().unwrap().iter().find_map(found)
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
            shard.entries.insert(id, RawValue::from_string(text.into()).unwrap());
            let text = shard.render();
            // Both ways report the same.
            let one = parse_one(&root, number, id, &text).unwrap_err();
            assert_eq!(parse_records(&root, number, text.clone()).unwrap_err(), one);
            assert_eq!(parse_each(&root, number, &text).unwrap_err(), one);
            assert_eq!(check_records(number, &text).unwrap_err(), one);
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
        assert!(load_records(&root, number).unwrap().value.all().len() == 0, "it was never written");
        std::fs::write(root.absolute(&layout::shard_prev(number)), "").unwrap();
        assert!(matches!(load_records(&root, number), Err(Error::CorruptIndex { .. })));
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        assert!(matches!(load_records(&root, number), Err(Error::CorruptIndex { .. })));
        std::fs::write(dir.path().join("index"), "").unwrap();
        load_records(&root, number).map(drop).unwrap_err();
    }
}
