//! Signed URLs: a signature grants temporary access. It is not part of a model's name, and it is a secret.

use std::borrow::Cow;

/// Query parameters that sign a URL, and those that accompany them. A `*` stands for the rest of a name.
///
/// From the documentation of the stores: Amazon S3 and compatible ones ("Authenticating requests: using query
/// parameters", and the older "Query string authentication"), Google Cloud Storage ("Signed URLs"), Azure ("Create a
/// service SAS", "Create a user delegation SAS"), CloudFront ("Using signed URLs").
const SIGNATURES: [(&str, &[&str]); 4] = [
    ("x-amz-signature", &["x-amz-*"]),
    ("x-goog-signature", &["x-goog-*"]),
    (
        "signature",
        &["signature", "expires", "awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "key-pair-id", "policy"],
    ),
    (
        "sig",
        &[
            "sig", "sv", "sr", "ss", "srt", "sp", "st", "se", "spr", "sip", "sdd", "skoid", "sktid", "skt", "ske",
            "sks", "skv", "saoid", "suoid", "scid",
        ],
    ),
];

/// A URL without its signature. The rest of its query is unchanged.
pub(super) fn unsigned(url: &str) -> Cow<'_, str> {
    let (before, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let Some((place, query)) = before.split_once('?') else { return url.into() };
    let name = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let names: Vec<String> = query.split('&').map(name).collect();
    let signed_by: Vec<_> = SIGNATURES.iter().filter(|(sign, _)| names.iter().any(|name| name == sign)).collect();
    if signed_by.is_empty() {
        return url.into();
    }
    let is_of = |name: &str, part: &str| part.strip_suffix('*').map_or(name == part, |start| name.starts_with(start));
    let signs = |name: &str| signed_by.iter().any(|(_, parts)| parts.iter().any(|part| is_of(name, part)));
    let rest: Vec<&str> = query.split('&').zip(&names).filter(|(_, name)| !signs(name)).map(|(text, _)| text).collect();
    let question = if rest.is_empty() { "" } else { "?" };
    format!("{place}{question}{}{fragment}", rest.join("&")).into()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    // Red when a signature stays, or when a parameter that identifies the content is removed with it.
    #[rstest]
    #[case(
        "https://s3.example/b/a.gguf?X-Amz-Algorithm=AWS4&X-Amz-Credential=k%2F1&X-Amz-Signature=ab",
        "https://s3.example/b/a.gguf"
    )]
    #[case("https://s3.example/a?versionId=3&X-Amz-Signature=ab&part=1#f", "https://s3.example/a?versionId=3&part=1#f")]
    #[case("https://g.example/a?X-Goog-Date=1&x-goog-signature=ab", "https://g.example/a")]
    #[case("https://c.example/a?Expires=1&Signature=ab&Key-Pair-Id=K&x=y", "https://c.example/a?x=y")]
    #[case("https://z.example/a?sv=2022&sr=b&sig=ab%3D&se=2026", "https://z.example/a")]
    #[case("https://a.example/a?Expires=1&policy=x&sv=2", "https://a.example/a?Expires=1&policy=x&sv=2")]
    #[case("https://a.example/a?x=X-Amz-Signature=1", "https://a.example/a?x=X-Amz-Signature=1")]
    #[case("https://a.example/a", "https://a.example/a")]
    #[case("https://a.example/a?sig=1#?sig=2", "https://a.example/a#?sig=2")]
    #[case("https://a.example/a#?sig=2", "https://a.example/a#?sig=2")]
    fn a_url_without_its_signature(#[case] url: &str, #[case] unsigned: &str) {
        assert_eq!(super::unsigned(url), unsigned);
    }
}
