//! What servers say, from an arbitrary one.

use crate::layout;
use crate::net::{ContentRange, Policy};
use crate::source::hf;

/// What a server says, by the first byte: `R` a `Content-Range`, `L` a `Link`, `T` a page of a repository's tree, `J` the journal
/// of a partial; and `P`, what an operator says, a rule of the policy. What is accepted makes sense.
pub fn fuzz_network(bytes: &[u8]) -> bool {
    let Some((kind, rest)) = bytes.split_first() else { return false };
    let text = String::from_utf8_lossy(rest);
    match kind {
        b'R' => ContentRange::parse(&text).is_some_and(|given| {
            if let Some(range) = &given.range {
                assert!(range.start < range.end, "{given:?} has nothing in it");
                assert!(given.size_bytes.is_none_or(|size| range.end <= size), "{given:?} leads out of the file");
            }
            true
        }),
        b'L' => hf::next_page(&text).is_some_and(|target| {
            assert!(text.contains(&format!("<{target}>")), "{target:?} is not what was sent");
            true
        }),
        b'T' => hf::paths_of_page(rest).is_some_and(|paths| {
            for path in &paths {
                assert!(layout::is_plain_path(path), "{path:?} leads out of the repository");
                assert!(!path.contains(char::is_control), "{path:?} was let through");
            }
            let mut apart = paths.clone();
            apart.sort_unstable();
            apart.dedup();
            assert_eq!(apart.len(), paths.len(), "one path twice");
            true
        }),
        b'J' => crate::ingest::is_journal(rest),
        b'P' => Policy::default().allow(&text).is_ok_and(|policy| {
            assert!(!policy.is_empty(), "{text:?} was read as nothing");
            true
        }),
        _ => false,
    }
}
