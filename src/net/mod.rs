//! The network: one HTTP engine behind a policy that allows nothing by default. It knows nothing about the store.
//!
//! ```text
//! policy.rs     which servers may be spoken to: two gates
//! rule.rs       one rule of it
//! limits.rs     what it asks of a file
//! machine.rs    a file of the administrator's that can only narrow
//! address.rs    what an address is, if it is not of the public internet
//! proxy.rs      proxies, by the rules of curl
//! file.rs       a small file of settings
//! options.rs    how a client behaves
//! agent.rs      connections; the second gate
//! client.rs     requests; the first gate, redirects, and asking again
//! request.rs    what is asked for
//! payload.rs    what is sent with it
//! answer.rs     what a status means; the body
//! retry.rs      when to ask again
//! pace.rs       how fast bytes come
//! range.rs      parts of a file
//! ```

mod address;
mod agent;
mod answer;
mod client;
pub(crate) mod file;
mod limits;
mod machine;
mod options;
mod pace;
mod payload;
mod policy;
mod proxy;
mod range;
mod request;
mod retry;
mod rule;

pub use answer::{Body, Response};
pub use client::Client;
pub use options::ClientOptions;
pub use payload::Payload;
pub use policy::Policy;
pub use proxy::Proxies;
pub use range::{ContentRange, Validator};
pub use request::Request;
#[cfg(feature = "s3")]
pub(crate) use request::Sign;
#[cfg(feature = "s3")]
pub(crate) use retry::random;
pub use rule::Purpose;

use url::Url;

use crate::digest::Digest;

/// A URL for humans, without parts that may be secret: a user name, a password, a signed query.
pub(crate) fn shown(url: &Url) -> String {
    // The part after the scheme may be anything.
    if url.cannot_be_a_base() { shown_origin(url) } else { crate::excerpt::url(url.as_str()) }
}

/// The same for a text that may not be a URL.
pub(crate) fn shown_text(text: &str) -> String {
    Url::parse(text).map_or_else(|_| crate::excerpt::url(text), |url| shown(&url))
}

/// The full URL with a hash instead of its query, so that different URLs have different names.
pub(crate) fn name_of(url: &Url) -> String {
    let query = url.query().map_or_else(String::new, |query| {
        let digest = Digest::sha256_of(query.as_bytes());
        format!("?…{digest:.16x}")
    });
    format!("{}{}{query}", shown_origin(url), url.path())
}

/// Parses the configured URL of a server: a scheme, a host, and perhaps a path. The error says what is wrong with it.
#[cfg(any(feature = "hf", feature = "s3"))]
pub(crate) fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|e| format!("it is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("only https:// and http:// are supported".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("there is more in it than a host and a path".into());
    }
    Ok(url)
}

/// Whether a text is a host with an optional port, as URLs write it. `Url` omits the default port of a scheme.
pub(crate) fn is_host(text: &str) -> bool {
    ["https", "http"].iter().any(|scheme| {
        let url = format!("{scheme}://{text}/");
        Url::parse(&url).is_ok_and(|read| read.as_str() == url && read.path() == "/" && read.username().is_empty())
    })
}

/// Splits a list at commas or white space.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty())
}

/// Whether the URL's own host names this machine.
#[cfg(feature = "oci")]
pub(crate) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => rule::is_localhost(name),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Scheme, host and port, without the scheme's default port.
fn shown_origin(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when the whole URL is printed.
    #[test]
    fn what_is_secret_is_not_shown() {
        let url = Url::parse("https://user:secret@a.example:444/x?X-Amz-Signature=secret#f").unwrap();
        assert_eq!(shown(&url), "https://a.example:444/x?…");
        assert_eq!(shown(&Url::parse("data:secret").unwrap()), "data://");
    }
}
