//! The header of a safetensors file: what its tensors are, and what they take.
//!
//! Source: the [format](https://github.com/huggingface/safetensors#format). The crate `safetensors` parses it and checks
//! shapes and offsets. It refuses data types that it does not know; then only the name of the format is told.

use std::collections::BTreeMap;
use std::io;

use safetensors::tensor::Metadata;

use crate::read_at::ReadAt;

/// Enough for two hundred thousand tensors. The format allows 100 MB, which would take a gigabyte to parse.
const MAX_HEADER_BYTES: u64 = 32 << 20;

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SafeTensors {
    pub(super) names: Vec<String>,
    /// Sum over all tensors; `None` if it is too large to be true.
    pub(super) parameters: Option<u64>,
    /// The number of tensors and of values of each type.
    pub(super) types: BTreeMap<String, (u64, u64)>,
    /// The bytes that the file has with all its tensors.
    pub(super) needed_bytes: u64,
    /// The part of them that is data.
    pub(super) data_bytes: u64,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It does not begin as a safetensors file.
    Foreign,
    /// It ends within its header.
    Cut,
    /// Its header is too large, or has something that is not known.
    Unknown(String),
    Header(SafeTensors),
}

/// Reads the header of a file.
pub(super) fn read(file: &dyn ReadAt) -> io::Result<Read> {
    let mut start = [0; 9];
    if file.size_bytes() < start.len() as u64 {
        return Ok(Read::Foreign);
    }
    file.read_exact_at(0, &mut start)?;
    let [length @ .., brace] = start;
    let length = u64::from_le_bytes(length);
    if brace != b'{' {
        return Ok(Read::Foreign);
    }
    if length > MAX_HEADER_BYTES {
        return Ok(Read::Unknown(format!("its header has {length} bytes")));
    }
    let Some(data_at) = length.checked_add(8).filter(|end| *end <= file.size_bytes()) else { return Ok(Read::Cut) };
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(8, &mut text)?;
    Ok(match serde_json::from_slice::<Metadata>(&text) {
        Ok(metadata) => Read::Header(header(&metadata, data_at)),
        Err(error) => Read::Unknown(error.to_string()),
    })
}

fn header(metadata: &Metadata, data_at: u64) -> SafeTensors {
    let data_bytes = metadata.data_len() as u64;
    let needed_bytes = data_at.saturating_add(data_bytes);
    let mut header = SafeTensors { parameters: Some(0), needed_bytes, data_bytes, ..SafeTensors::default() };
    for (name, info) in metadata.tensors() {
        let count = info.shape.iter().try_fold(1_u64, |count, size| count.checked_mul(*size as u64));
        let of_type = header.types.entry(info.dtype.to_string()).or_default();
        of_type.0 += 1;
        of_type.1 = of_type.1.saturating_add(count.unwrap_or(u64::MAX));
        header.parameters = header.parameters.and_then(|sum| sum.checked_add(count?));
        header.names.push(name);
    }
    header.names.sort_unstable();
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_at::InMemory;

    fn file(header: &str, data_bytes: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data_bytes]);
        bytes
    }

    fn of(bytes: Vec<u8>) -> Read {
        read(&InMemory { name: "test".into(), bytes }).unwrap()
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;

    #[test]
    fn a_header_tells_what_the_file_needs() {
        let Read::Header(header) = of(file(TWO, 16)) else { panic!() };
        assert_eq!((header.names, header.parameters), (vec!["a".to_owned(), "b".to_owned()], Some(7)));
        assert_eq!((header.types["F16"], header.types["F32"]), ((1, 6), (1, 1)));
        assert_eq!((header.data_bytes, header.needed_bytes), (16, TWO.len() as u64 + 24));
    }

    // Red when a length is trusted before it is compared with what is there.
    #[test]
    fn hostile_headers_are_no_error() {
        assert_eq!(of(Vec::new()), Read::Foreign);
        assert_eq!(of(vec![0xff; 100]), Read::Foreign);
        assert_eq!(of([&1_000_u64.to_le_bytes()[..], b"{}"].concat()), Read::Cut);
        assert!(matches!(of([&u64::MAX.to_le_bytes()[..], b"{}"].concat()), Read::Unknown(_)));
        for odd in [
            "{",
            "{]",
            &TWO.replace("F16", "Q9"),
            &TWO.replace("[4,16]", "[4,17]"),
            &TWO.replace("[4,16]", "[0,12]"),
            &TWO.replace("[2,3]", "[18446744073709551615,18446744073709551615]"),
            &TWO.replace("[2,3]", "[-1]"),
        ] {
            assert!(matches!(of(file(odd, 16)), Read::Unknown(_)), "{odd}");
        }
        assert!(matches!(of(file("{}", 0)), Read::Header(header) if header.names.is_empty()));
    }
}
