//! What the header of a GGUF file says about the model: the few values that another tool's description needs.
//!
//! Source: the [GGUF specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Only the header is read,
//! at most 64 MiB of it, and no value is allocated before its length was checked.

use crate::error::Result;
use crate::read_at::ReadAt;

const MAX_HEADER_BYTES: u64 = 64 << 20;
/// Longer keys and values are passed over.
const MAX_TEXT_BYTES: u64 = 64 << 10;
const BUFFER_BYTES: usize = 64 << 10;
const MAX_DEPTH: u32 = 4;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) architecture: Option<String>,
    pub(super) file_type: Option<u32>,
    /// Such as `8B`.
    pub(super) size_label: Option<String>,
    /// Number of parts, if the model is split.
    pub(super) split_count: Option<u64>,
}

/// Reads the header. `None`: it is not a GGUF file, or its header is cut or damaged.
pub(super) fn read(file: &dyn ReadAt) -> Result<Option<Header>> {
    let mut reader = Reader { file, at: 0, buffer: Vec::new(), buffer_at: 0, is_big_endian: false, failed: None };
    let header = reader.header();
    match reader.failed {
        Some(error) => Err(crate::error::Error::of_reader(file.name(), error)),
        None => Ok(header),
    }
}

struct Reader<'f> {
    file: &'f dyn ReadAt,
    at: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    is_big_endian: bool,
    failed: Option<std::io::Error>,
}

impl Reader<'_> {
    fn header(&mut self) -> Option<Header> {
        if self.bytes::<4>()? != *b"GGUF" {
            return None;
        }
        let version = self.bytes::<4>()?;
        // Versions are small, so one that is large is written with its bytes the other way round.
        self.is_big_endian = u32::from_le_bytes(version) > 0xffff;
        let version = if self.is_big_endian { u32::from_be_bytes(version) } else { u32::from_le_bytes(version) };
        let is_first = match version {
            1 => true,
            2 | 3 => false,
            _ => return None,
        };
        let _tensors = self.length(is_first)?;
        let values = self.length(is_first)?;
        let mut header = Header::default();
        for _ in 0..values {
            let key = self.text(is_first)?.unwrap_or_default();
            let kind = self.u32()?;
            match (key.as_str(), kind) {
                ("general.architecture", 8) => header.architecture = self.text(is_first)?,
                ("general.size_label", 8) => header.size_label = self.text(is_first)?,
                ("general.file_type", 4) => header.file_type = Some(self.u32()?),
                ("split.count", 2) => header.split_count = Some(self.number(2)?),
                ("split.count", 4) => header.split_count = Some(self.number(4)?),
                _ => self.pass(kind, is_first, 0)?,
            }
        }
        Some(header)
    }

    /// Passes over a value of this type.
    fn pass(&mut self, kind: u32, is_first: bool, depth: u32) -> Option<()> {
        if let Some(size) = size_of(kind) {
            return self.skip(size);
        }
        match kind {
            8 => {
                let length = self.length(is_first)?;
                self.skip(length)
            }
            9 if depth < MAX_DEPTH => {
                let kind = self.u32()?;
                let count = self.length(is_first)?;
                if let Some(size) = size_of(kind) {
                    return self.skip(size.checked_mul(count)?);
                }
                for _ in 0..count {
                    self.pass(kind, is_first, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// `Some(None)`: it is too long, or not UTF-8.
    fn text(&mut self, is_first: bool) -> Option<Option<String>> {
        let length = self.length(is_first)?;
        if length > MAX_TEXT_BYTES {
            self.skip(length)?;
            return Some(None);
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.fill(&mut bytes)?;
        Some(String::from_utf8(bytes).ok())
    }

    fn length(&mut self, is_first: bool) -> Option<u64> {
        self.number(if is_first { 4 } else { 8 })
    }

    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.number(4)?).ok()
    }

    fn number(&mut self, size: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size)?;
        self.fill(part)?;
        if self.is_big_endian {
            part.reverse();
        }
        Some(u64::from_le_bytes(bytes))
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Some(bytes)
    }

    fn skip(&mut self, size: u64) -> Option<()> {
        self.at = self.at.checked_add(size).filter(|at| *at <= self.end())?;
        Some(())
    }

    fn end(&self) -> u64 {
        self.file.size_bytes().min(MAX_HEADER_BYTES)
    }

    fn fill(&mut self, mut to: &mut [u8]) -> Option<()> {
        while !to.is_empty() {
            let from = usize::try_from(self.at.checked_sub(self.buffer_at)?).ok()?;
            let there = self.buffer.get(from..).unwrap_or_default();
            if there.is_empty() {
                self.load()?;
                continue;
            }
            let count = there.len().min(to.len());
            let (now, later) = to.split_at_mut_checked(count)?;
            now.copy_from_slice(there.get(..count)?);
            to = later;
            self.at += count as u64;
        }
        Some(())
    }

    /// Reads the next part of the header into the buffer.
    fn load(&mut self) -> Option<()> {
        let left = self.end().checked_sub(self.at).filter(|left| *left > 0)?;
        let size = usize::try_from(left).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        self.buffer.resize(size, 0);
        self.buffer_at = self.at;
        match self.file.read_exact_at(self.at, &mut self.buffer) {
            Ok(()) => Some(()),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
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

/// The name of a file type, as llama.cpp and Ollama write it.
pub(super) fn file_type_name(file_type: Option<u32>) -> &'static str {
    match file_type {
        Some(0) => "F32",
        Some(1) => "F16",
        Some(2) => "Q4_0",
        Some(3) => "Q4_1",
        Some(7) => "Q8_0",
        Some(8) => "Q5_0",
        Some(9) => "Q5_1",
        Some(10) => "Q2_K",
        Some(11) => "Q3_K_S",
        Some(12) => "Q3_K_M",
        Some(13) => "Q3_K_L",
        Some(14) => "Q4_K_S",
        Some(15) => "Q4_K_M",
        Some(16) => "Q5_K_S",
        Some(17) => "Q5_K_M",
        Some(18) => "Q6_K",
        Some(19) => "IQ2_XXS",
        Some(20) => "IQ2_XS",
        Some(21) => "Q2_K_S",
        Some(22) => "IQ3_XS",
        Some(23) => "IQ3_XXS",
        Some(24) => "IQ1_S",
        Some(25) => "IQ4_NL",
        Some(26) => "IQ3_S",
        Some(27) => "IQ3_M",
        Some(28) => "IQ2_S",
        Some(29) => "IQ2_M",
        Some(30) => "IQ4_XS",
        Some(31) => "IQ1_M",
        Some(32) => "BF16",
        Some(36) => "TQ1_0",
        Some(37) => "TQ2_0",
        Some(38) => "MXFP4",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_at::InMemory;

    fn of(bytes: &[u8]) -> Option<Header> {
        read(&InMemory { name: "test".into(), bytes: bytes.to_vec() }).unwrap()
    }

    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    fn start(values: u64) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(values.to_le_bytes());
        bytes
    }

    #[test]
    fn a_real_file() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama-q8_0.gguf");
        let header = of(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!((header.architecture.as_deref(), file_type_name(header.file_type)), (Some("llama"), "Q8_0"));
    }

    #[test]
    fn values_after_lists_are_found() {
        let mut bytes = start(3);
        text(&mut bytes, "a.list");
        bytes.extend([9, 0, 0, 0, 8, 0, 0, 0]);
        bytes.extend(2_u64.to_le_bytes());
        text(&mut bytes, "one");
        text(&mut bytes, "two");
        text(&mut bytes, "a.numbers");
        bytes.extend([9, 0, 0, 0, 4, 0, 0, 0]);
        bytes.extend(20_000_u64.to_le_bytes());
        bytes.extend(vec![7; 80_000]);
        text(&mut bytes, "general.architecture");
        bytes.extend([8, 0, 0, 0]);
        text(&mut bytes, "llama");
        assert_eq!(of(&bytes).unwrap().architecture.as_deref(), Some("llama"));
    }

    // Red when a length is allocated, or a count is walked, before it is held against what is there.
    #[test]
    fn hostile_headers_end_at_once() {
        assert_eq!(of(b""), None);
        assert_eq!(of(b"GGUF"), None);
        assert_eq!(of(b"GGUF\x09\0\0\0"), None);
        assert_eq!(of(&start(u64::MAX)), None);
        for tail in [
            vec![0xff; 8], // a key of 2^64 bytes
            [&[1, 0, 0, 0, 0, 0, 0, 0, b'a'][..], &[9, 0, 0, 0, 4, 0, 0, 0], &[0xff; 8]].concat(), // a list that overflows
            [&[1, 0, 0, 0, 0, 0, 0, 0, b'a'][..], &[9, 0, 0, 0, 9, 0, 0, 0], &[0xff; 8]].concat(), // lists of lists
            [&[1, 0, 0, 0, 0, 0, 0, 0, b'a'][..], &[200, 0, 0, 0]].concat(),                       // no such type
        ] {
            let mut bytes = start(1);
            bytes.extend(tail);
            assert_eq!(of(&bytes), None);
        }
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama-q8_0.gguf");
        let good = std::fs::read(file).unwrap();
        for (number, at) in (0..4096).step_by(7).enumerate() {
            let mut bytes = good.clone();
            bytes[at] = [0xff, 0, 0x80][number % 3];
            of(&bytes);
            of(&good[..at]);
        }
    }
}
