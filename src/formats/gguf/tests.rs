use super::*;
use crate::formats::made::Gguf as Writer;
use crate::read_at::InMemory;

fn read_bytes(bytes: &[u8]) -> Read {
    read(&InMemory { name: "test".into(), bytes: bytes.to_vec() }).unwrap()
}

fn header(bytes: &[u8]) -> Gguf {
    match read_bytes(bytes) {
        Read::Header(header) => *header,
        other => panic!("{other:?}"),
    }
}

fn fixture() -> Vec<u8> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama-q8_0.gguf");
    std::fs::read(file).unwrap()
}

#[test]
fn a_real_file() {
    let bytes = fixture();
    let header = header(&bytes);
    assert_eq!(header.text("general.architecture"), Some("llama"));
    assert_eq!(header.needed_bytes, bytes.len() as u64);
    assert!(header.parameters.is_some_and(|parameters| parameters > 0) && header.types.contains_key("Q8_0"));
    assert!(header.of_architecture("context_length").is_some());
}

// Red when a version's lengths, or a byte order, are read as those of another.
#[test]
fn all_versions_in_both_byte_orders() {
    for (version, is_big_endian) in [(1, false), (2, false), (3, false), (2, true), (3, true)] {
        let mut file = Writer::new(version, is_big_endian, 2, 5);
        file.text_value("general.architecture", "llama");
        file.number_value("llama.context_length", 4, 8192, 4);
        file.number_value("a.negative", 5, 0xffff_ffff, 4);
        file.text("tokenizer.ggml.tokens");
        file.number(9, 4);
        file.number(8, 4);
        file.length(100);
        (0..100).for_each(|number| file.text(&format!("token {number}")));
        file.text("general.languages");
        file.number(9, 4);
        file.number(8, 4);
        file.length(2);
        file.text("en");
        file.text("de");
        file.tensor("one", &[64, 2], 3, 0);
        file.tensor("two", &[32], 0, 96);
        let header = header(&file.bytes);
        let what = format!("version {version}, big endian {is_big_endian}");
        assert_eq!(header.of_architecture("context_length"), Some(8192), "{what}");
        assert_eq!(header.number("a.negative"), None);
        assert_eq!(header.list_length("tokenizer.ggml.tokens"), Some(100));
        assert_eq!(header.list("general.languages"), ["en", "de"]);
        assert_eq!((header.tensors, header.parameters), (2, Some(160)));
        assert_eq!(header.types["Q4_1"], (1, 128));
        // Data begins at the next multiple of 32, and the second tensor ends last: 96 + 32 * 4.
        let data_at = (file.bytes.len() as u64).next_multiple_of(32);
        assert_eq!(header.needed_bytes, data_at + 96 + 128, "{what}");
    }
}

// Red when a type that is not known is an error: each new quantization would turn models into broken ones.
#[test]
fn an_unknown_type_of_tensors_is_no_error() {
    let mut file = Writer::new(3, false, 2, 1);
    file.number_value("general.alignment", 4, 64, 4);
    file.tensor("new", &[256], 999, 0);
    file.tensor("old", &[256], 1, 128);
    let header = header(&file.bytes);
    assert_eq!(header.types["type 999"], (1, 256));
    assert_eq!(header.needed_bytes, (file.bytes.len() as u64).next_multiple_of(64) + 128 + 512);
}

// Red when a length is allocated, or a count is walked, before it is compared with what is there.
#[test]
fn hostile_headers_end_at_once() {
    assert_eq!(read_bytes(b""), Read::Foreign);
    assert_eq!(read_bytes(b"GGU"), Read::Foreign);
    assert!(matches!(read_bytes(b"GGUF"), Read::Damaged(_)));
    assert!(matches!(read_bytes(b"GGUF\x09\0\0\0"), Read::Damaged(_)));
    for (tensors, values) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)] {
        assert!(matches!(read_bytes(&Writer::new(3, false, tensors, values).bytes), Read::Damaged(_)));
    }
    let key = [1, 0, 0, 0, 0, 0, 0, 0, b'a'];
    for tail in [
        vec![0xff; 8],                                              // a key of 2^64 bytes
        [&key[..], &[9, 0, 0, 0, 4, 0, 0, 0], &[0xff; 8]].concat(), // a list that overflows
        [&key[..], &[9, 0, 0, 0, 9, 0, 0, 0], &[0xff; 8]].concat(), // lists of lists
        [&key[..], &[200, 0, 0, 0]].concat(),                       // no such type
        [&key[..], &[8, 0, 0, 0], &[0xff; 8]].concat(),             // a text of 2^64 bytes
    ] {
        let mut bytes = Writer::new(3, false, 0, 1).bytes;
        bytes.extend(tail);
        assert!(matches!(read_bytes(&bytes), Read::Damaged(_)), "{bytes:?}");
    }
    for (shape, kind, offset) in [(&[u64::MAX, 2][..], 0, 0), (&[u64::MAX], 12, u64::MAX), (&[1; 8], 0, u64::MAX)] {
        let mut file = Writer::new(3, false, 1, 0);
        file.tensor("large", shape, kind, offset);
        let _ = header(&file.bytes);
    }
    let mut file = Writer::new(3, false, 1, 0);
    file.tensor("flat", &[1; 9], 0, 0);
    assert!(matches!(read_bytes(&file.bytes), Read::Damaged(_)));
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_is_no_panic() {
    let good = fixture();
    for (number, at) in (0..4096).step_by(7).enumerate() {
        let mut bytes = good.clone();
        bytes[at] = [0xff, 0, 0x80][number % 3];
        read_bytes(&bytes);
        assert!(!matches!(read_bytes(&good[..at]), Read::Header(_)), "cut at {at}");
    }
}

// Red when what is kept has no limit: a header of 256 MiB would take a gigabyte.
#[test]
fn little_of_a_large_header_is_kept() {
    let values = 10_000;
    let mut file = Writer::new(3, false, 0, values + 2);
    file.text_value("general.architecture", "llama");
    for number in 0..values {
        file.text_value(&format!("key.{number}"), &"x".repeat(1000));
    }
    file.text_value("long", &"x".repeat(100_000));
    let header = header(&file.bytes);
    assert_eq!(header.text("general.architecture"), Some("llama"));
    assert!(header.values.len() < 1200, "{}", header.values.len());
}

// Red when the second value of a key counts.
#[test]
fn the_first_of_two_values_of_one_key_counts() {
    let mut file = Writer::new(3, false, 0, 2);
    file.text_value("general.name", "one");
    file.text_value("general.name", "two");
    assert_eq!(header(&file.bytes).text("general.name"), Some("one"));
}
