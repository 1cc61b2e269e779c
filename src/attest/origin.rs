//! Where a model came from, as others write it: package URLs and plain URLs, without secrets.

use std::fmt::Write as _;

use crate::entry::Provenance;
use crate::model_ref::{ModelRef, is_commit};

const HUB: &str = "huggingface.co";

/// What the source of a record says of a model's name and place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) group: Option<String>,
    pub(super) name: Option<String>,
    pub(super) purl: Option<String>,
    pub(super) url: Option<String>,
}

impl Origin {
    pub(super) fn of(source: &Provenance) -> Self {
        match ModelRef::parse(&source.reference) {
            Ok(ModelRef::Hf { org, repo, path }) => {
                let name = repo.split('@').next().unwrap_or_default();
                let commit = source.pinned.as_deref().filter(|pinned| is_commit(pinned));
                let hub = source.named_by.as_deref().filter(|by| is_host(by) && *by != HUB);
                let purl = commit.map(|commit| {
                    let other = hub.map(|host| format!("?repository_url={}", escaped(host, ""))).unwrap_or_default();
                    let path = path.map(|path| format!("#{}", escaped(&path, "/"))).unwrap_or_default();
                    format!("pkg:huggingface/{}/{}@{commit}{other}{path}", escaped(&org, ""), escaped(name, ""))
                });
                let url = hub.is_none().then(|| format!("https://{HUB}/{org}/{name}"));
                Origin { group: Some(org), name: Some(name.to_owned()), purl, url }
            }
            Ok(ModelRef::Url { url }) => {
                let url = public(&url);
                let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                Origin {
                    name: Some(last.to_owned()).filter(|name| !name.is_empty()),
                    url: Some(url),
                    ..Origin::default()
                }
            }
            // A path of this machine tells nothing elsewhere.
            Ok(ModelRef::File { .. }) | Err(_) => Origin::default(),
        }
    }
}

/// Whether it is a server, and not a tool whose cache named the digests.
fn is_host(named_by: &str) -> bool {
    named_by.contains('.') || named_by.contains(':') || named_by == "localhost"
}

/// A URL without user name, password, query and fragment, with every character escaped that no URL may have.
pub(super) fn public(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let place = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{}{}", escaped(host, ":[]%"), escaped(path, "/%:@!$&'()*+,;="))
}

/// Percent-encodes every byte but letters, digits, `-._~` and these.
fn escaped(text: &str, also: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let is_kept = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.as_bytes().contains(&byte);
        // A percent sign stays only where it escapes something.
        let hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        if is_kept && (byte != b'%' || hex(at + 1) && hex(at + 2)) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn origin(reference: &str, pinned: &str, named_by: Option<&str>) -> Origin {
        let pinned = Some(pinned.to_owned()).filter(|pinned| !pinned.is_empty());
        Origin::of(&Provenance { pinned, named_by: named_by.map(str::to_owned), ..Provenance::new(reference) })
    }

    #[rstest]
    #[case("hf:org/name", COMMIT, None, Some("pkg:huggingface/org/name@C"), Some("https://huggingface.co/org/name"))]
    #[case(
        "hf:org/name@main",
        COMMIT,
        Some("huggingface.co"),
        Some("pkg:huggingface/org/name@C"),
        Some("https://huggingface.co/org/name")
    )]
    #[case(
        "hf:org/name/a b.gguf",
        COMMIT,
        Some("hf"),
        Some("pkg:huggingface/org/name@C#a%20b.gguf"),
        Some("https://huggingface.co/org/name")
    )]
    #[case(
        "hf:org/name",
        COMMIT,
        Some("hub.example:1"),
        Some("pkg:huggingface/org/name@C?repository_url=hub.example%3A1"),
        None
    )]
    // A branch may be elsewhere tomorrow.
    #[case("hf:org/name@main", "main", None, None, Some("https://huggingface.co/org/name"))]
    #[case("hf:org/name@main", "", None, None, Some("https://huggingface.co/org/name"))]
    #[case("https://user:secret@a.example/m?secret#x", COMMIT, None, None, Some("https://a.example/m"))]
    #[case("s3://bucket/p#m", "v", None, None, Some("s3://bucket/p"))]
    #[case("file:/home/user/m.gguf", COMMIT, None, None, None)]
    fn package_urls_and_urls(
        #[case] reference: &str,
        #[case] pinned: &str,
        #[case] named_by: Option<&str>,
        #[case] purl: Option<&str>,
        #[case] url: Option<&str>,
    ) {
        let found = origin(reference, pinned, named_by);
        assert_eq!(found.purl, purl.map(|purl| purl.replace("@C", &format!("@{COMMIT}"))));
        assert_eq!(found.url.as_deref(), url);
    }

    // Red when a secret, or a character that no URL has, gets through.
    #[rstest]
    #[case("https://user:p@ss@a.example:444/x@y?secret#secret", "https://a.example:444/x@y")]
    #[case("https://a.example/é b/100%/%2f", "https://a.example/%C3%A9%20b/100%25/%2f")]
    #[case("https://[::1]:5/{x}|\\^`<>\"", "https://[::1]:5/%7Bx%7D%7C%5C%5E%60%3C%3E%22")]
    fn a_url_for_anybody(#[case] url: &str, #[case] shown: &str) {
        assert_eq!(public(url), shown);
    }
}
