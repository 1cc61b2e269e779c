//! One rule of the policy: `HOST[:PORT]`, `*.HOST`, either after `http://` or `https://`, an address, a net, or `hf`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::address::{canonical, canonical_net, is_loopback_net};

/// Why a host is contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// For what a reference names, and what its server says about it.
    Origin,
    /// For the bytes of a file, after a redirect from the origin.
    Content,
    /// For a temporary key, from a service of a cloud provider.
    Credentials,
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Purpose::Origin => "a model",
            Purpose::Content => "the content of a file",
            Purpose::Credentials => "credentials",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Name(String),
    /// Every name that ends in a dot followed by this one.
    Below(String),
    Net(IpNet),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    scheme: Option<&'static str>,
    place: Place,
    port: Option<u16>,
    /// `None`: for any purpose.
    purpose: Option<Purpose>,
}

/// The Hub, and where it keeps files.
const HF: [(&str, Option<Purpose>); 4] = [
    ("https://huggingface.co", None),
    ("https://hf.co", None),
    ("https://*.huggingface.co", Some(Purpose::Content)),
    ("https://*.hf.co", Some(Purpose::Content)),
];

const FORM: &str = "write HOST, HOST:PORT, *.HOST, http://HOST, an address, a net such as 10.0.0.0/8, or hf";

/// Parses a rule; `hf` stands for several.
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
        Some(_) => return Err("only http and https are supported"),
    };
    if rest.is_empty() {
        return Err("it names no host");
    }
    let rule = |place, port| Rule { scheme, place, port, purpose: None };
    if let Ok(net) = rest.parse::<IpNet>() {
        return Ok(rule(Place::Net(canonical_net(net).trunc()), None));
    }
    if let Ok(address) = rest.parse::<IpAddr>() {
        return Ok(rule(Place::Net(canonical(address).into()), None));
    }
    if rest.contains(['/', '?', '#', '@', '\\', '%']) || rest.contains(char::is_whitespace) {
        return Err("there is more in it than a host and a port");
    }
    // The colons of an IPv6 address are inside brackets here.
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
        return Err("* can stand only for the first labels of a host");
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

/// Whether a host has only characters that names consist of. A URL may contain others, which a refusal would print for
/// a shell.
pub(super) fn is_name(host: &str) -> bool {
    let name = plain(host);
    !name.is_empty()
        && name.split('.').all(|label| !label.is_empty())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// The host without a trailing dot, which means the same.
pub(super) fn plain(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether the name stands for this machine, by RFC 6761.
pub(super) fn is_localhost(name: &str) -> bool {
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

    /// Whether it names the host of a URL, under any scheme or port that the rule leaves open.
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

    /// Whether it names this address, which `host` resolves to. A rule without a port covers all ports: the rule of the
    /// host has one of its own.
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

/// In the form that [`parse`] reads.
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
mod tests;
