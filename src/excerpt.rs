//! Excerpts of untrusted text, for messages.

/// A URL without its secrets: user name, password and query are left out. The text may be malformed.
pub(crate) fn url(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (place, more) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let slashes = if scheme.is_empty() { "" } else { "://" };
    let query = if more.starts_with('?') { "?…" } else { "" };
    // For a bucket, the fragment is the name of a model, which tells it from the others there.
    let name = more.find('#').filter(|_| scheme == "s3").and_then(|at| more.get(at..)).unwrap_or_default();
    excerpt(&format!("{scheme}{slashes}{host}{path}{query}{name}"))
}

/// A reference; if it is a URL, as by [`url()`].
pub(crate) fn reference(text: &str) -> String {
    if text.contains("://") { url(text) } else { text.to_owned() }
}

/// Truncates untrusted text to a length that fits an error line.
pub(crate) fn excerpt(text: &str) -> String {
    const LIMIT_CHARS: usize = 120;
    if text.chars().nth(LIMIT_CHARS).is_none() {
        return text.to_owned();
    }
    text.chars().take(LIMIT_CHARS).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    // Red when a query gets through in text that is no URL which `net::shown` could parse.
    #[rstest]
    #[case("https://a.example/x?secret", "https://a.example/x?…")]
    #[case("https://user:secret@a.example:444/x@y#secret", "https://a.example:444/x@y")]
    #[case("https://a:b:c/x?secret#d", "https://a:b:c/x?…")]
    #[case("s3://bucket", "s3://bucket")]
    #[case("s3://bucket/p#llama3:8b", "s3://bucket/p#llama3:8b")]
    #[case("s3://bucket/k?versionId=secret#n", "s3://bucket/k?…#n")]
    #[case("/a?secret", "/a?…")]
    fn a_url_without_what_is_secret(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(super::url(text), shown);
    }
}
