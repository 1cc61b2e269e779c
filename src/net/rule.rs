//! One rule of the policy: `HOST[:PORT]`, `*.HOST`, either with `http://` or `https://` before it, an address, a net, or `hf`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::address::{canonical, is_loopback_net};

/// What a host is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// What a reference names, and what its server says of it.
    Origin,
    /// The bytes of a file, where the origin has sent us for them.
    Content,
    /// A token, where the origin has sent us for it.
    Token,
    /// The credentials of a cloud.
    Credentials,
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Purpose::Origin => "a model",
            Purpose::Content => "the content of a file",
            Purpose::Token => "a token",
            Purpose::Credentials => "credentials",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Name(String),
    /// Every name that ends in a dot and this.
    Below(String),
    Net(IpNet),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    scheme: Option<&'static str>,
    place: Place,
    port: Option<u16>,
    /// `None`: for all.
    purpose: Option<Purpose>,
}

/// The Hub, and where it keeps files.
const HF: [(&str, Option<Purpose>); 5] = [
    ("https://huggingface.co", None),
    ("https://hf.co", None),
    ("https://*.huggingface.co", Some(Purpose::Content)),
    ("https://*.hf.co", Some(Purpose::Content)),
    ("https://*.xethub.hf.co", Some(Purpose::Content)),
];

const FORM: &str = "write HOST, HOST:PORT, *.HOST, http://HOST, an address, a net such as 10.0.0.0/8, or hf";

/// Reads a rule; `hf` is several.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let text = text.trim();
    if text == "hf" {
        let rule = |(text, purpose)| parse_one(text).map(|rule| Rule { purpose, ..rule });
        return HF.into_iter().map(rule).collect::<Result<_, _>>().map_err(str::to_owned);
    }
    parse_one(text).map(|rule| vec![rule]).map_err(|problem| format!("{problem}; {FORM}"))
}

fn parse_one(text: &str) -> Result<Rule, &'static str> {
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some("http"), rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Some("https"), rest),
        Some(_) => return Err("only http and https are spoken"),
    };
    if rest.is_empty() {
        return Err("it names no host");
    }
    let rule = |place, port| Rule { scheme, place, port, purpose: None };
    if let Ok(net) = rest.parse::<IpNet>() {
        return Ok(rule(Place::Net(net.trunc()), None));
    }
    if let Ok(address) = rest.parse::<IpAddr>() {
        return Ok(rule(Place::Net(canonical(address).into()), None));
    }
    if rest.contains(['/', '?', '#', '@', '\\', '%']) || rest.contains(char::is_whitespace) {
        return Err("there is more in it than a host and a port");
    }
    // The colons of an IPv6 address are in brackets here.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => match digits.parse::<u16>() {
            Ok(port @ 1..) if digits.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
            _ => return Err("the port is not a number from 1 to 65535"),
        },
        _ => (rest, None),
    };
    let (name, is_below) = match host.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (host, false),
    };
    if name.contains('*') {
        return Err("* stands for the first labels of a host alone");
    }
    match Host::parse(name).map_err(|_| "that is not the name of a host")? {
        Host::Ipv4(v4) if !is_below => Ok(rule(Place::Net(IpAddr::V4(v4).into()), port)),
        Host::Ipv6(v6) if !is_below => Ok(rule(Place::Net(canonical(IpAddr::V6(v6)).into()), port)),
        Host::Domain(name) if is_name(&name) => {
            let name = plain(&name).to_owned();
            Ok(rule(if is_below { Place::Below(name) } else { Place::Name(name) }, port))
        }
        _ => Err("that is not the name of a host"),
    }
}

/// Whether a host is of what names are made of. A URL may have more in it, which a refusal would print for a shell.
pub(super) fn is_name(host: &str) -> bool {
    let name = plain(host);
    !name.is_empty()
        && name.split('.').all(|label| !label.is_empty())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// The host without the dot of the root, which means the same.
pub(super) fn plain(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// A name that is this machine's own, by RFC 6761.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

pub(super) fn default_port(scheme: &str) -> u16 {
    if scheme == "http" { 80 } else { 443 }
}

impl Rule {
    /// Whether it names the host of a URL, with its scheme and port.
    pub(super) fn names(&self, url: &Url, purpose: Option<Purpose>) -> bool {
        let scheme = url.scheme();
        let is_scheme = self.scheme.map_or_else(|| scheme == "https" || self.is_loopback(), |own| own == scheme);
        let port = url.port_or_known_default();
        let is_port = port == Some(self.port.unwrap_or_else(|| default_port(scheme)));
        let is_purpose = self.purpose.is_none() || purpose.is_none() || self.purpose == purpose;
        is_scheme && is_port && is_purpose && self.has(url)
    }

    /// Whether the host of a URL is in it, whatever the scheme and, if it names none, the port.
    pub(super) fn touches(&self, url: &Url) -> bool {
        let is_scheme = self.scheme.is_none_or(|own| own == url.scheme());
        let is_port = self.port.is_none() || self.port == url.port_or_known_default();
        is_scheme && is_port && self.has(url)
    }

    fn has(&self, url: &Url) -> bool {
        match (url.host(), &self.place) {
            (Some(Host::Domain(host)), Place::Name(name)) => plain(host) == name,
            (Some(Host::Domain(host)), Place::Below(name)) => {
                plain(host).strip_suffix(name.as_str()).is_some_and(|first| first.len() > 1 && first.ends_with('.'))
            }
            (Some(Host::Ipv4(address)), Place::Net(net)) => net.contains(&IpAddr::V4(address)),
            (Some(Host::Ipv6(address)), Place::Net(net)) => net.contains(&canonical(IpAddr::V6(address))),
            _ => false,
        }
    }

    /// Whether it names this address, which `host` leads to. A rule without a port is for all: the rule of the host has
    /// its own.
    pub(super) fn covers(&self, host: &str, address: SocketAddr) -> bool {
        let is_port = self.port.is_none_or(|port| port == address.port());
        let ip = canonical(address.ip());
        let is_place = match &self.place {
            Place::Net(net) => net.contains(&ip),
            Place::Name(name) => is_localhost(name) && plain(host) == name && ip.is_loopback(),
            Place::Below(_) => false,
        };
        is_port && is_place
    }

    fn is_loopback(&self) -> bool {
        match &self.place {
            Place::Name(name) => is_localhost(name),
            Place::Below(_) => false,
            Place::Net(net) => is_loopback_net(net),
        }
    }
}

/// As [`parse`] reads it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{scheme}://")?;
        }
        match &self.place {
            Place::Name(name) => f.write_str(name)?,
            Place::Below(name) => write!(f, "*.{name}")?,
            Place::Net(net) if net.prefix_len() == net.max_prefix_len() => match (net.addr(), self.port) {
                (IpAddr::V6(address), Some(_)) => write!(f, "[{address}]")?,
                (address, _) => write!(f, "{address}")?,
            },
            Place::Net(net) => write!(f, "{net}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The rule that would name the host of a URL.
pub(super) fn rule_for(url: &Url) -> String {
    let port = url.port();
    let place = match url.host() {
        Some(Host::Domain(name)) => Place::Name(plain(name).to_owned()),
        Some(Host::Ipv4(address)) => Place::Net(IpAddr::V4(address).into()),
        Some(Host::Ipv6(address)) => Place::Net(canonical(IpAddr::V6(address)).into()),
        None => return String::new(),
    };
    let mut rule = Rule { scheme: None, place, port, purpose: None };
    if url.scheme() == "http" && !rule.is_loopback() {
        rule.scheme = Some("http");
    }
    rule.to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        parse(text).unwrap()
    }

    fn names(rule: &str, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        rules(rule).iter().any(|rule| rule.names(&url, Some(Purpose::Origin)))
    }

    #[rstest]
    #[case("models.example.org", "https://models.example.org/a")]
    #[case("models.example.org", "https://MODELS.example.org:443/a")]
    #[case("models.example.org.", "https://models.example.org/a")]
    #[case("models.example.org", "https://models.example.org./a")]
    #[case("Models.Example.org:8443", "https://models.example.org:8443/")]
    #[case("*.example.org", "https://a.example.org/")]
    #[case("*.example.org", "https://a.b.example.org/")]
    #[case("*.example.org:8443", "https://a.example.org:8443/")]
    #[case("http://models.example.org", "http://models.example.org/")]
    #[case("https://models.example.org", "https://models.example.org/")]
    #[case("bücher.example", "https://xn--bcher-kva.example/")]
    #[case("127.0.0.1:8080", "http://127.0.0.1:8080/")]
    #[case("127.0.0.1:8080", "https://127.0.0.1:8080/")]
    #[case("127.0.0.1:8080", "http://2130706433:8080/")]
    #[case("127.0.0.0/8", "http://127.1.2.3/")]
    #[case("[::1]:8080", "http://[::1]:8080/")]
    #[case("::1", "http://[::1]/")]
    #[case("localhost:8080", "http://localhost:8080/")]
    #[case("10.0.0.5", "https://10.0.0.5/")]
    #[case("10.0.0.0/8", "https://[::ffff:10.0.0.5]/")]
    #[case("http://10.0.0.5:81", "http://10.0.0.5:81/")]
    #[case("hf", "https://huggingface.co/api")]
    fn named(#[case] rule: &str, #[case] url: &str) {
        assert!(names(rule, url));
    }

    #[rstest]
    #[case("models.example.org", "http://models.example.org/")]
    #[case("models.example.org", "https://models.example.org:8443/")]
    #[case("models.example.org", "https://a.models.example.org/")]
    #[case("models.example.org:8443", "https://models.example.org/")]
    #[case("*.example.org", "https://example.org/")]
    #[case("*.example.org", "https://evilexample.org/")]
    #[case("http://models.example.org", "https://models.example.org/")]
    #[case("127.0.0.1:8080", "http://127.0.0.1:8081/")]
    #[case("127.0.0.1:8080", "http://localhost:8080/")]
    #[case("localhost:8080", "http://127.0.0.1:8080/")]
    #[case("10.0.0.5", "http://10.0.0.5/")]
    #[case("0.0.0.0/0", "http://127.0.0.1/")]
    #[case("hf", "http://huggingface.co/")]
    #[case("hf", "https://huggingface.co.evil.example/")]
    // The Hub's stores are for what the Hub sends us for.
    #[case("hf", "https://cas-bridge.xethub.hf.co/")]
    fn not_named(#[case] rule: &str, #[case] url: &str) {
        assert!(!names(rule, url));
    }

    #[test]
    fn the_hubs_stores_are_for_content() {
        for url in ["https://cas-bridge.xethub.hf.co/x", "https://cdn-lfs-us-1.hf.co/x", "https://huggingface.co/x"] {
            let url = Url::parse(url).unwrap();
            assert!(rules("hf").iter().any(|rule| rule.names(&url, Some(Purpose::Content))), "{url}");
        }
    }

    #[rstest]
    #[case("10.0.0.0/8", "a.example", "10.1.2.3:443", true)]
    #[case("10.0.0.5", "a.example", "10.0.0.5:9000", true)]
    #[case("10.0.0.5:443", "a.example", "10.0.0.5:9000", false)]
    #[case("10.0.0.5", "a.example", "[::ffff:10.0.0.5]:443", true)]
    #[case("10.0.0.5", "a.example", "10.0.0.6:443", false)]
    #[case("a.example", "a.example", "10.0.0.5:443", false)]
    #[case("*.example", "a.example", "127.0.0.1:443", false)]
    #[case("localhost", "localhost", "127.0.0.1:80", true)]
    #[case("localhost", "localhost.", "[::1]:80", true)]
    #[case("localhost", "localhost", "10.0.0.5:80", false)]
    #[case("localhost", "a.example", "127.0.0.1:80", false)]
    #[case("localhost:81", "localhost", "127.0.0.1:80", false)]
    fn covered(#[case] rule: &str, #[case] host: &str, #[case] address: SocketAddr, #[case] is: bool) {
        assert_eq!(rules(rule).iter().any(|rule| rule.covers(host, address)), is);
    }

    #[rstest]
    #[case("", "it names no host")]
    #[case("https://", "it names no host")]
    #[case("ftp://a.example", "only http and https are spoken")]
    #[case("a.example/models", "more in it than a host and a port")]
    #[case("user@a.example", "more in it than a host and a port")]
    #[case("a example", "more in it than a host and a port")]
    #[case("10.0.0.0/33", "more in it than a host and a port")]
    #[case("a.example:", "the port is not a number")]
    #[case("a.example:0", "the port is not a number")]
    #[case("a.example:+80", "the port is not a number")]
    #[case("a.example:65536", "the port is not a number")]
    #[case("*", "* stands for")]
    #[case("a.*.example", "* stands for")]
    #[case("*.10.0.0.1", "not the name of a host")]
    #[case("a..example", "not the name of a host")]
    #[case("$(reboot)", "not the name of a host")]
    #[case("[::1", "not the name of a host")]
    fn rejected(#[case] text: &str, #[case] problem: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(problem) && error.ends_with(FORM), "{error}");
    }

    #[rstest]
    #[case("https://a.example/x?y", "a.example")]
    #[case("https://a.example:8443/", "a.example:8443")]
    #[case("http://a.example/", "http://a.example")]
    #[case("http://127.0.0.1:81/", "127.0.0.1:81")]
    #[case("http://[::1]:81/", "[::1]:81")]
    #[case("https://[fd00::1]/", "fd00::1")]
    #[case("http://[fd00::1]:81/", "http://[fd00::1]:81")]
    #[case("http://localhost/", "localhost")]
    fn a_suggested_rule_names_the_url(#[case] url: &str, #[case] rule: &str) {
        assert_eq!(rule_for(&Url::parse(url).unwrap()), rule);
        assert!(names(rule, url));
    }
}
