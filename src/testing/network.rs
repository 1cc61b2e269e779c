//! What servers say, from an arbitrary one.

use crate::entry::ArtifactKind;
use crate::layout;
use crate::net::{ContentRange, Policy};
use crate::source::hf;

/// What a server says, by the first byte: `R` a `Content-Range`, `L` a `Link`, `T` a page of a repository's tree, `F` the path
/// of a reference and after a line break such a page, `J` the journal of a partial; and `P`, what an operator says, a rule of the policy. What is accepted makes sense.
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
        b'T' => is_tree(rest, None),
        b'F' => {
            let (path, page) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
            std::str::from_utf8(path).is_ok_and(|path| is_tree(page, Some(path)))
        }
        b'J' => crate::ingest::is_journal(rest),
        b'P' => Policy::default().allow(&text).is_ok_and(|policy| {
            assert!(!policy.is_empty(), "{text:?} was read as nothing");
            true
        }),
        _ => false,
    }
}

fn is_tree(page: &[u8], path: Option<&str>) -> bool {
    hf::files_of_page(page, path).is_some_and(|(kind, files)| {
        for (path, name) in &files {
            for text in [path, name] {
                assert!(layout::is_plain_path(text), "{text:?} leads out of the repository");
                assert!(!text.contains(char::is_control), "{text:?} was let through");
            }
        }
        for part in [|file: &(String, String)| file.0.clone(), |file: &(String, String)| file.1.clone()] {
            let mut apart: Vec<String> = files.iter().map(part).collect();
            apart.sort_unstable();
            apart.dedup();
            assert_eq!(apart.len(), files.len(), "one path twice");
        }
        assert!(kind == ArtifactKind::Tree || files.len() == 1, "one file that is {}", files.len());
        true
    })
}
