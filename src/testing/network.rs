//! Parses arbitrary responses of servers.

use std::collections::BTreeSet;

use crate::entry::ArtifactKind;
use crate::layout;
use crate::net::{ContentRange, Policy};
#[cfg(feature = "hf")]
use crate::source::hf;
#[cfg(feature = "oci")]
use crate::source::oci;
#[cfg(any(feature = "oci", feature = "s3"))]
use crate::source::outboards::Outboards;
#[cfg(feature = "s3")]
use crate::source::s3;

/// The first byte selects the parser. Responses of servers: `R` a `Content-Range`, `L` a `Link`, `T` a page of a
/// repository's tree, `F` the path of a reference, a line break, and such a page, `M` the manifest of a registry, `B` a
/// prefix, a line break, and a page of a bucket's list, `D` the values of each MiB of files. A local file: `J` the
/// journal of a partial. Text of users: `P` a rule of the policy, `O` a reference to a registry, `I` the id of a model
/// that is pushed to one, `S` a reference to a bucket. Checks that whatever is accepted is valid.
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
        #[cfg(feature = "hf")]
        b'L' => hf::next_page(&text).is_some_and(|target| {
            assert!(text.contains(&format!("<{target}>")), "{target:?} is not what was sent");
            true
        }),
        #[cfg(feature = "hf")]
        b'T' => is_tree(rest, None),
        #[cfg(feature = "hf")]
        b'F' => {
            let (path, page) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
            std::str::from_utf8(path).is_ok_and(|path| is_tree(page, Some(path)))
        }
        #[cfg(feature = "oci")]
        b'M' => oci::files_of_manifest(rest).is_some_and(|(kind, files)| is_apart(kind, &files)),
        #[cfg(feature = "oci")]
        b'O' => oci::is_image(&text),
        #[cfg(feature = "oci")]
        b'I' => oci::has_name(&text),
        #[cfg(any(feature = "oci", feature = "s3"))]
        b'D' => Outboards::decode(rest).is_some_and(|outboards| {
            let again = outboards.encode().map(|bytes| Outboards::decode(&bytes));
            assert_eq!(again, Some(Some(outboards)), "it is another one when it is written out");
            true
        }),
        #[cfg(feature = "s3")]
        b'B' => {
            let (prefix, page) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
            let files = std::str::from_utf8(prefix).ok().and_then(|prefix| s3::files_of_page(page, prefix));
            files.is_some_and(|files| is_apart(ArtifactKind::Tree, &files))
        }
        #[cfg(feature = "s3")]
        b'S' => s3::is_place(&text),
        #[cfg(feature = "hf")]
        b'J' => crate::ingest::is_journal(rest),
        b'P' => Policy::default().allow(&text).is_ok_and(|policy| {
            assert!(!policy.is_empty(), "{text:?} was read as nothing");
            true
        }),
        _ => false,
    }
}

#[cfg(feature = "hf")]
fn is_tree(page: &[u8], path: Option<&str>) -> bool {
    hf::files_of_page(page, path).is_some_and(|(kind, files)| {
        let (paths, names): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        is_apart(kind, &paths) && is_apart(kind, &names)
    })
}

fn is_apart(kind: ArtifactKind, paths: &[String]) -> bool {
    for path in paths {
        assert!(layout::is_plain_path(path), "{path:?} leads out of the repository");
        assert!(!path.contains(char::is_control), "{path:?} was let through");
    }
    let apart: BTreeSet<&String> = paths.iter().collect();
    assert_eq!(apart.len(), paths.len(), "one path twice");
    assert!(kind == ArtifactKind::Tree || paths.len() == 1, "one file that is {}", paths.len());
    true
}
