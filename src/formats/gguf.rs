//! The header of a GGUF file: its values, and what its tensors take.
//!
//! Source: the [GGUF specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 1 to 3 in both
//! byte orders. Only the header is read, at most 256 MiB of it, in pieces; nothing is allocated before its length was
//! checked, and at most 1 MiB of text is kept. New types of tensors appear every few months, so an unknown one is no
//! error.

use std::collections::BTreeMap;
use std::io;

use super::ggml::TensorType;
use super::header_reader::HeaderReader;
use crate::read_at::ReadAt;

const MAX_HEADER_BYTES: u64 = 256 << 20;
/// Longer keys and texts are passed over.
const MAX_TEXT_BYTES: u64 = 64 << 10;
/// Beyond this, values are passed over.
const MAX_KEPT_BYTES: usize = 1 << 20;
/// A list with more texts is only counted.
const MAX_LIST_TEXTS: u64 = 64;
const MAX_DEPTH: u32 = 4;
const MAX_DIMENSIONS: u32 = 8;
/// More types than there are.
const MAX_TYPES: usize = 64;
/// Used where the header names none.
const ALIGNMENT_BYTES: u64 = 32;

/// A header.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gguf {
    values: BTreeMap<String, Value>,
    pub(super) tensors: u64,
    /// Sum over all tensors; `None` if it is too large to be true.
    pub(super) parameters: Option<u64>,
    /// The number of tensors and of values of each type.
    pub(super) types: BTreeMap<String, (u64, u64)>,
    /// The bytes that the file must have for its tensors; a lower bound if a type is unknown.
    pub(super) needed_bytes: u64,
}

/// A value of a header.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(u64),
    Bool(bool),
    Text(String),
    /// The length, and the first texts, if it is a list of texts.
    List(u64, Vec<String>),
    /// Something else, or a text that is too long.
    Other,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Read {
    /// It does not begin as a GGUF file.
    Foreign,
    /// It is one, and its header cannot be read to its end, for this reason.
    Damaged(&'static str),
    Header(Box<Gguf>),
}

impl Gguf {
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A value whose key begins with the architecture.
    pub(super) fn of_architecture(&self, key: &str) -> Option<u64> {
        self.number(&format!("{}.{key}", self.text("general.architecture")?))
    }

    pub(super) fn list_length(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::List(length, _) => Some(*length),
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> &[String] {
        match self.values.get(key) {
            Some(Value::List(_, texts)) => texts,
            _ => &[],
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

/// Reads the header of a file.
pub(crate) fn read(file: &dyn ReadAt) -> io::Result<Read> {
    let mut reader = HeaderReader::new(file, MAX_HEADER_BYTES);
    let is_gguf = reader.bytes::<4>().is_some_and(|magic| magic == *b"GGUF");
    let read = match is_gguf {
        false => Read::Foreign,
        true => Parser { reader: &mut reader, is_first: false, kept_bytes: 0 }.header(),
    };
    reader.finish().map(|()| read)
}

struct Parser<'p, 'f> {
    reader: &'p mut HeaderReader<'f>,
    /// Whether it is version 1, whose lengths have 4 bytes.
    is_first: bool,
    kept_bytes: usize,
}

impl Parser<'_, '_> {
    fn header(&mut self) -> Read {
        let Some(version) = self.reader.bytes::<4>() else { return Read::Damaged("it ends within its header") };
        // Versions are small, so one that is large is written with its bytes the other way round.
        self.reader.is_big_endian = u32::from_le_bytes(version) > 0xffff;
        let version = if self.reader.is_big_endian { u32::from_be_bytes(version) } else { u32::from_le_bytes(version) };
        self.is_first = version == 1;
        if !(1..=3).contains(&version) {
            return Read::Damaged("its version is none of 1 to 3");
        }
        match self.body() {
            Some(header) => Read::Header(Box::new(header)),
            None if self.reader.is_at_end() => Read::Damaged("it ends within its header"),
            None => Read::Damaged("its header makes no sense"),
        }
    }

    fn body(&mut self) -> Option<Gguf> {
        let mut header = Gguf { tensors: self.length()?, parameters: Some(0), ..Gguf::default() };
        let values = self.length()?;
        for _ in 0..values {
            let key = self.text()?;
            let kind = self.reader.u32()?;
            let value = self.value(kind, 0)?;
            // The first of two values of one key counts.
            if let Some(key) = key.filter(|key| !header.values.contains_key(key) && self.keep(key.len())) {
                header.values.insert(key, value);
            }
        }
        let mut data_bytes: u64 = 0;
        for _ in 0..header.tensors {
            self.skip_text()?;
            let dimensions = self.reader.u32().filter(|dimensions| *dimensions <= MAX_DIMENSIONS)?;
            let mut count = Some(1_u64);
            for _ in 0..dimensions {
                let size = self.length()?;
                count = count.and_then(|count| count.checked_mul(size));
            }
            let (kind, offset) = (self.reader.u32()?, self.reader.number(8)?);
            let known = TensorType::of(kind);
            let name = match known {
                Some(known) => known.name.to_owned(),
                None if header.types.len() < MAX_TYPES => format!("type {kind}"),
                None => "others".to_owned(),
            };
            let of_type = header.types.entry(name).or_default();
            of_type.0 += 1;
            of_type.1 = of_type.1.saturating_add(count.unwrap_or(u64::MAX));
            header.parameters = header.parameters.and_then(|sum| sum.checked_add(count?));
            let bytes = known.and_then(|known| known.bytes(count?));
            data_bytes = data_bytes.max(offset.saturating_add(bytes.unwrap_or(0)));
        }
        let alignment = header.number("general.alignment").filter(|bytes| bytes.is_power_of_two());
        let data_at = self.reader.at().checked_next_multiple_of(alignment.unwrap_or(ALIGNMENT_BYTES))?;
        // A file without tensors ends with its header.
        header.needed_bytes = if header.tensors == 0 { self.reader.at() } else { data_at.saturating_add(data_bytes) };
        Some(header)
    }

    fn value(&mut self, kind: u32, depth: u32) -> Option<Value> {
        let reader = &mut *self.reader;
        Some(match kind {
            0 => Value::Number(reader.number(1)?),
            2 => Value::Number(reader.number(2)?),
            4 => Value::Number(reader.number(4)?),
            10 => Value::Number(reader.number(8)?),
            1 => signed(u8::try_from(reader.number(1)?).ok()?.cast_signed()),
            3 => signed(u16::try_from(reader.number(2)?).ok()?.cast_signed()),
            5 => signed(u32::try_from(reader.number(4)?).ok()?.cast_signed()),
            11 => signed(reader.number(8)?.cast_signed()),
            7 => Value::Bool(reader.number(1)? != 0),
            6 => reader.skip(4).map(|()| Value::Other)?,
            12 => reader.skip(8).map(|()| Value::Other)?,
            8 => match self.text()? {
                Some(text) if self.keep(text.len()) => Value::Text(text),
                _ => Value::Other,
            },
            9 if depth < MAX_DEPTH => self.list(depth)?,
            _ => return None,
        })
    }

    fn list(&mut self, depth: u32) -> Option<Value> {
        let kind = self.reader.u32()?;
        let length = self.length()?;
        let mut texts = Vec::new();
        match (size_of(kind), kind) {
            (Some(size), _) => self.reader.skip(size.checked_mul(length)?)?,
            (None, 8) if length <= MAX_LIST_TEXTS => {
                for _ in 0..length {
                    texts.extend(self.text()?.filter(|text| self.keep(text.len())));
                }
            }
            (None, 8) => {
                for _ in 0..length {
                    self.skip_text()?;
                }
            }
            (None, _) => {
                for _ in 0..length {
                    self.value(kind, depth + 1)?;
                }
            }
        }
        Some(Value::List(length, texts))
    }

    /// `Some(None)`: it is too long, or not UTF-8.
    fn text(&mut self) -> Option<Option<String>> {
        let length = self.length()?;
        if length > MAX_TEXT_BYTES {
            self.reader.skip(length)?;
            return Some(None);
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.reader.fill(&mut bytes)?;
        Some(String::from_utf8(bytes).ok())
    }

    fn skip_text(&mut self) -> Option<()> {
        let length = self.length()?;
        self.reader.skip(length)
    }

    fn length(&mut self) -> Option<u64> {
        self.reader.number(if self.is_first { 4 } else { 8 })
    }

    /// Whether there is room for so much more text.
    fn keep(&mut self, bytes: usize) -> bool {
        // An entry takes more than its text.
        self.kept_bytes = self.kept_bytes.saturating_add(bytes).saturating_add(64);
        self.kept_bytes <= MAX_KEPT_BYTES
    }
}

fn signed(number: impl Into<i64>) -> Value {
    u64::try_from(number.into()).map_or(Value::Other, Value::Number)
}

/// The size of a value of this type; `None` for texts, lists and unknown types.
fn size_of(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
