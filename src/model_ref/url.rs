//! `http://`, `https://`, `s3://` and `oci://` URLs.

use std::net::Ipv6Addr;

/// Parses the text after `scheme:` and returns the whole URL.
///
/// Rejects only what no server could be asked for. The server judges everything after the host.
pub(super) fn read(scheme: &str, rest: &str) -> Result<String, String> {
    let form = format!("write {scheme}://host/path");
    let Some(after) = rest.strip_prefix("//") else {
        return Err(format!("there is no `//` after `{scheme}:`; {form}, or ./{scheme}:… for a file of this name"));
    };
    if after.contains(char::is_whitespace) {
        return Err(format!("it has a blank in it; {form}, with %20 for a blank"));
    }
    if after.contains('\\') {
        return Err(format!("it has a backslash in it; {form}, with / for a separator and %5C for a backslash"));
    }
    check_authority(after.split(['/', '?', '#']).next().unwrap_or_default())
        .map_err(|problem| format!("{problem}; {form} or {scheme}://host:port/path"))?;
    Ok(format!("{scheme}://{after}"))
}

/// Checks `[user@]host[:port]`.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let port = if let Some(bracketed) = place.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or("the `[` of the host is not closed")?;
        address.parse::<Ipv6Addr>().map_err(|_| "the host in brackets is not an IPv6 address")?;
        port
    } else {
        let host = place.split(':').next().unwrap_or_default();
        if host.is_empty() {
            return Err("it has no host");
        }
        if host.contains(['[', ']']) || host.chars().all(|c| c == '.') {
            return Err("the host is not a name");
        }
        place.strip_prefix(host).unwrap_or_default()
    };
    if port.is_empty() {
        return Ok(());
    }
    let digits = port.strip_prefix(':').filter(|digits| digits.chars().all(|c| c.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse::<u16>().ok()) {
        Some(1..) => Ok(()),
        Some(0) | None => Err("the port is not a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{ModelRef, reason_of};

    #[rstest]
    #[case("https://host/a.gguf?x=1#y")]
    #[case("http://host")]
    #[case("http://host?q")]
    #[case("http://user:secret@host:8080/a@b")]
    #[case("http://127.0.0.1:1/")]
    #[case("http://[::1]/a")]
    #[case("http://[fe80::1]:65535")]
    #[case("http://bücher.example/%2e%2e/../a:b")]
    #[case("s3://bucket/key/of+a+thing")]
    #[case("oci://localhost:5000/team/model:v1@sha256:00")]
    fn kept_as_written(#[case] text: &str) {
        let parsed = ModelRef::parse(text).unwrap();
        assert_eq!(parsed, ModelRef::Url { url: text.into() });
        assert_eq!(parsed.to_string(), text);
        assert_eq!(parsed.hf_revision(), None);
    }

    #[rstest]
    #[case("HTTPS://Host/X", "https", "https://Host/X")]
    #[case("S3://Bucket/X", "s3", "s3://Bucket/X")]
    #[case("oCi://host/x", "oci", "oci://host/x")]
    #[case("Http://host/x", "http", "http://host/x")]
    fn only_the_scheme_loses_its_case(#[case] text: &str, #[case] scheme: &str, #[case] url: &str) {
        let parsed = ModelRef::parse(text).unwrap();
        assert_eq!((parsed.scheme(), parsed.to_string().as_str()), (scheme, url));
    }

    #[rstest]
    #[case::no_slashes("https:foo", "no `//` after `https:`; write https://host/path")]
    #[case::one_slash("http:/foo", "no `//` after `http:`; write http://host/path")]
    #[case::nothing("s3:", "no `//` after `s3:`; write s3://host/path")]
    #[case::nothing_after("https://", "no host; write")]
    #[case::path_only("http:///x", "no host; write")]
    #[case::key_only("s3:///k", "no host; write")]
    #[case::query_only("http://?q", "no host; write")]
    #[case::fragment_only("http://#f", "no host; write")]
    #[case::user_only("http://user@/x", "no host; write")]
    #[case::port_only("http://:80/", "no host; write")]
    #[case::user_and_port("http://user@:80", "no host; write")]
    #[case::dots("http://../x", "host is not a name; write")]
    #[case::stray_bracket("http://a]/x", "host is not a name; write")]
    #[case::open_bracket("http://[::1/x", "not closed; write")]
    #[case::empty_brackets("http://[]/x", "not an IPv6 address; write")]
    #[case::name_in_brackets("http://[host]/x", "not an IPv6 address; write")]
    #[case::empty_port("http://host:/x", "port is not a number from 1 to 65535; write")]
    #[case::zero("http://host:0/x", "port is not a number from 1 to 65535; write")]
    #[case::port_too_big("http://host:65536", "port is not a number from 1 to 65535; write")]
    #[case::signed_port("http://host:+80", "port is not a number from 1 to 65535; write")]
    #[case::word_port("oci://model:latest", "port is not a number from 1 to 65535; write")]
    #[case::two_ports("http://host:80:81", "port is not a number from 1 to 65535; write")]
    #[case::after_brackets("http://[::1]80/x", "port is not a number from 1 to 65535; write")]
    #[case::blank("https://host/a b", "blank in it; write")]
    #[case::blank_host("https:// /a", "blank in it; write")]
    #[case::wide_blank("https://host/\u{3000}", "blank in it; write")]
    #[case::backslash(r"https://host\@other/x", "backslash in it; write")]
    fn rejected_with_the_form(#[case] text: &str, #[case] reason: &str) {
        assert!(reason_of(text).contains(reason), "{}", reason_of(text));
    }
}
