//! The journal of a partial: describes what is in `data`, in append-only records of 64 bytes.
//!
//! ```text
//!  0   kind, one ASCII letter
//!  1   seven zeros
//!  8   a number, little-endian
//! 16   32 bytes
//! 48   the first 16 bytes of BLAKE3(the partial's identity, the record's number in the file, what is before)
//!
//! kind             number                    32 bytes
//! H  first         size of the whole file    identity: BLAKE3 of what it is
//! B  second        1, the format             whose pages the bytes are in: see `Writer`
//! N                which part of the name    32 bytes of it, what it is for people
//! G                which group of 1 MiB      its BLAKE3 chaining value
//! S                length of a beginning     SHA-256 state after that, eight little-endian words
//! D                size of the whole file    SHA-256 of all of it
//! ```
//!
//! A record is appended after the bytes that it describes. The journal is never synced: the next process decides what
//! each record is worth after a kill or a power cut. A journal ends at the first record whose checksum is wrong, for
//! example a torn one. The checksum of a record is also wrong at another position or in another partial.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::ChainingValue;

use crate::digest::Digest;
use crate::fs::{Meta, atomic, birth_ns, boot_id, meta_of, mount_id};
use crate::hash::Midstate;
use crate::hash::groups;

pub(super) const RECORD_BYTES: usize = 64;
const CHECK_BYTES: usize = 16;

/// Another number means that the rest has another meaning.
const FORMAT: u64 = 1;

/// How often a SHA-256 state is recorded.
pub(super) const MIDSTATE_EVERY_BYTES: u64 = 16 << 20;

/// Longer names are truncated: they are only for humans.
const MAX_NAME_BYTES: usize = 4096;

/// BLAKE3 of the text that says which bytes a partial is for.
pub(super) type Identity = [u8; 32];

/// Identifies the page cache that holds unsynced bytes: one boot of one machine, one mount, one file. It is the BLAKE3
/// of the boot id and of the device, inode, birth time and mount of `data`.
///
/// A copy of a root, or a snapshot of its file system, may contain the journal without the bytes. It is on another
/// device, has another inode, or was created later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writer(pub(super) [u8; 32]);

impl Writer {
    /// `None`: this system does not tell whether the machine has rebooted.
    pub(super) fn of(data: &File) -> io::Result<Option<Self>> {
        let Some(boot) = boot_id() else { return Ok(None) };
        let Meta { device, inode, .. } = meta_of(data)?;
        let file = format!("{device} {inode} {:?} {:?}", birth_ns(data), mount_id(data));
        Ok(Some(Writer(*blake3::Hasher::new().update(&boot).update(file.as_bytes()).finalize().as_bytes())))
    }

    /// A value that no process has.
    const UNKNOWN: Writer = Writer([0; 32]);
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Head { size_bytes: u64, identity: Identity },
    Writer(Writer),
    Name { part: u64, bytes: [u8; 32] },
    Group { number: u64, value: ChainingValue },
    Midstate(Midstate),
    Digest { size_bytes: u64, sha256: [u8; 32] },
}

impl Fact {
    pub(super) fn encode(&self, identity: &Identity, position: u64) -> [u8; RECORD_BYTES] {
        let (kind, number, payload) = match self {
            Fact::Head { size_bytes, identity } => (b'H', *size_bytes, *identity),
            Fact::Writer(Writer(writer)) => (b'B', FORMAT, *writer),
            Fact::Name { part, bytes } => (b'N', *part, *bytes),
            Fact::Group { number, value } => (b'G', *number, *value),
            Fact::Midstate(Midstate { state, length_bytes }) => {
                (b'S', *length_bytes, joined(&[state.map(u32::to_le_bytes).as_flattened()]))
            }
            Fact::Digest { size_bytes, sha256 } => (b'D', *size_bytes, *sha256),
        };
        let said: [u8; RECORD_BYTES - CHECK_BYTES] =
            joined(&[&[kind, 0, 0, 0, 0, 0, 0, 0], &number.to_le_bytes(), &payload]);
        joined(&[&said, &check(identity, position, &said)])
    }

    /// `None`: the record is torn, belongs to another partial or position, or is unknown to this version.
    pub(super) fn decode(record: &[u8; RECORD_BYTES], identity: &Identity, position: u64) -> Option<Self> {
        let (said, checked) = record.split_first_chunk::<{ RECORD_BYTES - CHECK_BYTES }>()?;
        if check(identity, position, said) != *checked {
            return None;
        }
        let (kind, rest) = said.split_first_chunk::<8>()?;
        let (number, payload) = rest.split_first_chunk::<8>()?;
        let (number, payload) = (u64::from_le_bytes(*number), <[u8; 32]>::try_from(payload).ok()?);
        Some(match kind {
            b"H\0\0\0\0\0\0\0" => Fact::Head { size_bytes: number, identity: payload },
            b"B\0\0\0\0\0\0\0" if number == FORMAT => Fact::Writer(Writer(payload)),
            b"N\0\0\0\0\0\0\0" => Fact::Name { part: number, bytes: payload },
            b"G\0\0\0\0\0\0\0" => Fact::Group { number, value: payload },
            b"S\0\0\0\0\0\0\0" => {
                let mut state = [0; 8];
                for (word, bytes) in state.iter_mut().zip(payload.as_chunks().0) {
                    *word = u32::from_le_bytes(*bytes);
                }
                Fact::Midstate(Midstate { state, length_bytes: number })
            }
            b"D\0\0\0\0\0\0\0" => Fact::Digest { size_bytes: number, sha256: payload },
            _ => return None,
        })
    }
}

fn check(identity: &Identity, position: u64, said: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(identity).update(&position.to_le_bytes()).update(said);
    let mut check = [0; CHECK_BYTES];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// Concatenates the parts, whose lengths add up to `N`.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut whole = [0; N];
    for (to, byte) in whole.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *byte;
    }
    whole
}

/// The content of a journal.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) writer: Writer,
    /// The value of each group that is in `data`.
    pub(super) values: Vec<Option<ChainingValue>>,
    /// Sorted by length.
    pub(super) midstates: Vec<Midstate>,
    pub(super) digest: Option<Digest>,
    /// The number of valid records.
    pub(super) records: u64,
}

impl Content {
    /// A journal of nothing.
    pub(super) fn empty(size_bytes: u64) -> Self {
        let groups = usize::try_from(groups::count(size_bytes)).unwrap_or(0);
        let values = vec![None; groups];
        Content { writer: Writer::UNKNOWN, values, midstates: Vec::new(), digest: None, records: 0 }
    }

    pub(super) fn read(file: impl Read, identity: &Identity, size_bytes: u64) -> Option<Self> {
        let mut records = Records::new(file, size_bytes);
        let head = records.next(identity)?;
        if head != (Fact::Head { size_bytes, identity: *identity }) {
            return None;
        }
        let Some(Fact::Writer(writer)) = records.next(identity) else { return None };
        let mut content = Content { writer, records: records.read, ..Content::empty(size_bytes) };
        while let Some(fact) = records.next(identity) {
            if !content.learn(fact, size_bytes) {
                break;
            }
            content.records = records.read;
        }
        Some(content)
    }

    /// Returns `false` if no partial of this size can have such a record.
    fn learn(&mut self, fact: Fact, size_bytes: u64) -> bool {
        match fact {
            Fact::Name { .. } => true,
            Fact::Group { number, value } => {
                let slot = usize::try_from(number).ok().and_then(|number| self.values.get_mut(number));
                slot.map(|slot| *slot = Some(value)).is_some()
            }
            Fact::Midstate(midstate) => {
                let last = self.midstates.last().map_or(0, |last| last.length_bytes);
                let length_bytes = midstate.length_bytes;
                let is_next = length_bytes > last && length_bytes <= size_bytes;
                if is_next && length_bytes.is_multiple_of(MIDSTATE_EVERY_BYTES) {
                    self.midstates.push(midstate);
                }
                true
            }
            Fact::Digest { size_bytes: of, sha256 } => {
                self.digest = Some(Digest::from_sha256(sha256));
                of == size_bytes
            }
            Fact::Head { .. } | Fact::Writer(_) => false,
        }
    }
}

/// What a journal reveals without its identity being known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) name: String,
    pub(super) size_bytes: u64,
    pub(super) done_bytes: u64,
}

impl Summary {
    pub(super) fn read(mut file: impl Read) -> Option<Self> {
        let mut first = [0; RECORD_BYTES];
        file.read_exact(&mut first).ok()?;
        // The record is checked with the identity that it names.
        let identity: Identity = *first.get(16..)?.first_chunk()?;
        let Fact::Head { size_bytes, .. } = Fact::decode(&first, &identity, 0)? else { return None };
        let mut records = Records { read: 1, ..Records::new(file, size_bytes) };
        let (mut groups, mut name) = (0_u64, Vec::new());
        while let Some(fact) = records.next(&identity) {
            match fact {
                Fact::Group { .. } => groups += 1,
                Fact::Name { bytes, .. } if name.len() < MAX_NAME_BYTES => name.extend(bytes),
                _ => {}
            }
        }
        let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
        let done_bytes = groups.saturating_mul(groups::GROUP_BYTES as u64).min(size_bytes);
        Some(Summary { name, size_bytes, done_bytes })
    }
}

/// The valid records of a journal, but no more than the journal of a file of this size can have.
struct Records<R> {
    file: BufReader<R>,
    read: u64,
    limit: u64,
}

impl<R: Read> Records<R> {
    fn new(file: R, size_bytes: u64) -> Self {
        let name = (MAX_NAME_BYTES / 32) as u64;
        let limit = 3 + name + groups::count(size_bytes) + size_bytes / MIDSTATE_EVERY_BYTES;
        Records { file: BufReader::with_capacity(64 << 10, file), read: 0, limit }
    }

    /// `None`: the next record has a wrong checksum, cannot be read, or does not exist.
    fn next(&mut self, identity: &Identity) -> Option<Fact> {
        if self.read >= self.limit {
            return None;
        }
        let mut record = [0; RECORD_BYTES];
        self.file.read_exact(&mut record).ok()?;
        let fact = Fact::decode(&record, identity, self.read)?;
        self.read += 1;
        Some(fact)
    }
}

/// A journal being written. It is only advice: if writing fails, the copy continues, and a later process has to repeat
/// more.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    identity: Identity,
    /// The number of records that describe the partial itself.
    beginning: u64,
    /// Number of the next record. `None` after a failed write: nothing behind a torn record is ever read.
    next: Mutex<Option<u64>>,
}

impl Journal {
    /// Begins a journal in an empty file.
    pub(super) fn begin(
        file: File,
        identity: Identity,
        size_bytes: u64,
        writer: Option<Writer>,
        name: &str,
    ) -> io::Result<Self> {
        let beginning = beginning(identity, size_bytes, writer, name);
        let journal = Journal { file, identity, beginning: beginning.len() as u64, next: Mutex::new(Some(0)) };
        journal.write(&beginning)?;
        Ok(journal)
    }

    /// Continues a journal after its valid records.
    pub(super) fn resume(file: File, identity: Identity, name: &str, records: u64) -> io::Result<Self> {
        // Records behind an invalid one would count again once it is overwritten.
        file.set_len(records * RECORD_BYTES as u64)?;
        let beginning = beginning(identity, 0, None, name).len() as u64;
        Ok(Journal { file, identity, beginning, next: Mutex::new(Some(records)) })
    }

    /// Withdraws all records of what is there.
    pub(super) fn forget(&self) -> io::Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = None;
        self.file.set_len(self.beginning * RECORD_BYTES as u64)?;
        *next = Some(self.beginning);
        Ok(())
    }

    /// Appends records in one write.
    pub(super) fn append(&self, facts: &[Fact]) {
        if let Err(error) = self.write(facts) {
            tracing::debug!(%error, "could not record the progress of a copy; no more will be recorded");
        }
    }

    fn write(&self, facts: &[Fact]) -> io::Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(position) = next.filter(|_| !facts.is_empty()) else { return Ok(()) };
        *next = None;
        atomic::write_at(&self.file, position * RECORD_BYTES as u64, &encode(facts, &self.identity, position))?;
        *next = Some(position + facts.len() as u64);
        Ok(())
    }
}

/// The records that a journal begins with.
fn beginning(identity: Identity, size_bytes: u64, writer: Option<Writer>, name: &str) -> Vec<Fact> {
    let cut = name.as_bytes().get(..MAX_NAME_BYTES).unwrap_or(name.as_bytes());
    let parts = (0..).zip(cut.chunks(32)).map(|(part, bytes)| Fact::Name { part, bytes: joined(&[bytes]) });
    let head = [Fact::Head { size_bytes, identity }, Fact::Writer(writer.unwrap_or(Writer::UNKNOWN))];
    head.into_iter().chain(parts).collect()
}

fn encode(facts: &[Fact], identity: &Identity, position: u64) -> Vec<u8> {
    (position..).zip(facts).flat_map(|(position, fact)| fact.encode(identity, position)).collect()
}

/// Encodes a new journal that describes what is now known of the partial.
pub(super) fn compact(
    identity: Identity,
    size_bytes: u64,
    writer: Option<Writer>,
    name: &str,
    content: &Content,
) -> (Vec<u8>, u64) {
    let mut facts = beginning(identity, size_bytes, writer, name);
    let groups =
        (0..).zip(&content.values).filter_map(|(number, value)| Some(Fact::Group { number, value: (*value)? }));
    facts.extend(groups);
    facts.extend(content.midstates.iter().copied().map(Fact::Midstate));
    facts.extend(content.digest.map(|digest| Fact::Digest { size_bytes, sha256: digest.to_sha256() }));
    (encode(&facts, &identity, 0), facts.len() as u64)
}
