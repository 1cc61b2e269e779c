//! The records of a journal, and journals that no process writes.

use super::super::journal::{Content, Fact, Identity, RECORD_BYTES, Summary, Writer};
use super::*;
use crate::hash::Midstate;

const IDENTITY: Identity = [9; 32];

fn facts() -> Vec<Fact> {
    vec![
        Fact::Head { size_bytes: 3 * MIB + 1, identity: IDENTITY },
        Fact::Writer(Writer([3; 32])),
        Fact::Name { part: 0, bytes: [b'a'; 32] },
        Fact::Group { number: 2, value: [5; 32] },
        Fact::Midstate(Midstate { state: [1, 2, 3, 4, 5, 6, 7, 0xffff_ffff], length_bytes: 16 * MIB }),
        Fact::Digest { size_bytes: 3 * MIB + 1, sha256: [8; 32] },
    ]
}

#[test]
fn a_record_says_again_what_was_written_and_nothing_else_does() {
    for (position, fact) in (0..).zip(facts()) {
        let record = fact.encode(&IDENTITY, position);
        assert_eq!(Fact::decode(&record, &IDENTITY, position), Some(fact.clone()));
        assert_eq!(Fact::decode(&record, &IDENTITY, position + 1), None, "it is of another place");
        assert_eq!(Fact::decode(&record, &[0; 32], position), None, "it is of another partial");
        for byte in 0..RECORD_BYTES {
            let mut torn = record;
            torn[byte] ^= 0x10;
            assert_eq!(Fact::decode(&torn, &IDENTITY, position), None, "byte {byte}");
        }
    }
}

/// Red when the limit is not checked: a journal as large as the disk would be read to its end.
#[test]
fn no_more_is_read_than_a_file_of_its_size_can_have() {
    let size_bytes = 3 * MIB;
    let repeat = Fact::Group { number: 1, value: [5; 32] };
    let head = Fact::Head { size_bytes, identity: IDENTITY };
    let writer = Fact::Writer(Writer([3; 32]));
    let records = [head, writer].into_iter().chain(std::iter::repeat(repeat));
    let text: Vec<u8> = (0..).zip(records.take(10_000)).flat_map(|(n, fact)| fact.encode(&IDENTITY, n)).collect();
    let content = Content::read(text.as_slice(), &IDENTITY, size_bytes).unwrap();
    assert!(content.records < 200, "{}", content.records);
    assert_eq!(content.values, [None, Some([5; 32]), None]);
    assert_eq!(Summary::read(text.as_slice()).unwrap().done_bytes, size_bytes);
}

/// Records that must not be believed.
#[test]
fn records_that_no_partial_of_this_size_has_end_the_journal() {
    let size_bytes = 3 * MIB;
    let writer = Writer([3; 32]);
    let head = [Fact::Head { size_bytes, identity: IDENTITY }, Fact::Writer(writer)];
    let good = Fact::Group { number: 1, value: [5; 32] };
    let read = |facts: &[Fact]| {
        let text: Vec<u8> = (0..).zip(facts).flat_map(|(n, fact)| fact.encode(&IDENTITY, n)).collect();
        Content::read(text.as_slice(), &IDENTITY, size_bytes)
    };
    for bad in [
        Fact::Group { number: 3, value: [5; 32] },
        Fact::Group { number: u64::MAX, value: [5; 32] },
        Fact::Head { size_bytes, identity: IDENTITY },
        Fact::Writer(writer),
    ] {
        let facts: Vec<Fact> = head.iter().cloned().chain([bad.clone(), good.clone()]).collect();
        let content = read(&facts).unwrap();
        assert!(content.records == 2 && content.values == [None; 3], "{bad:?}");
    }
    // Another size or partial, or no writer: nothing counts.
    let other = Fact::Head { size_bytes: size_bytes + 1, identity: IDENTITY };
    assert!(read(&[other, Fact::Writer(writer), good.clone()]).is_none());
    assert!(read(&[head[0].clone(), good.clone()]).is_none() && read(&[good]).is_none() && read(&[]).is_none());
    // A state at a length at which none is recorded.
    let midstate = |length_bytes| Fact::Midstate(Midstate { state: [1; 8], length_bytes });
    for length_bytes in [0, 64, 16 * MIB, u64::MAX] {
        let facts: Vec<Fact> = head.iter().cloned().chain([midstate(length_bytes)]).collect();
        assert!(read(&facts).unwrap().midstates.is_empty(), "{length_bytes}");
    }
}
