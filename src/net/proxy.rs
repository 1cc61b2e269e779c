//! Proxies by the rules of curl, so that a setup for curl works here, too.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use super::listed;
use super::rule::plain;

/// Which proxy to use for which URL. The default uses none.
///
/// Setting a proxy here also allows its address. If a proxy resolves the target's name, the policy sees only the name
/// and no address.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// The proxy for `http:`, as a URL or `HOST:PORT`.
    pub http: Option<String>,
    /// The proxy for `https:`.
    pub https: Option<String>,
    /// Hosts, domains, addresses and nets to contact directly, separated by commas or white space; `*` for all.
    pub no_proxy: String,
}

/// Omits the proxies themselves, which may contain passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_set = |proxy: &Option<String>| proxy.as_ref().map(|_| "…");
        let mut proxies = f.debug_struct("Proxies");
        proxies.field("http", &is_set(&self.http)).field("https", &is_set(&self.https));
        proxies.field("no_proxy", &self.no_proxy).finish()
    }
}

impl Proxies {
    /// Reads the environment: `http_proxy` only in lower case, because the client of a CGI script can set `HTTP_PROXY`;
    /// `https_proxy`, `all_proxy` and `no_proxy` in both cases.
    #[must_use]
    pub fn from_env() -> Self {
        Proxies::of(|name| std::env::var(name).ok())
    }

    fn of(get: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| get(name).filter(|value| !value.is_empty()));
        let all = first(&["all_proxy", "ALL_PROXY"]);
        Proxies {
            http: first(&["http_proxy"]).or_else(|| all.clone()),
            https: first(&["https_proxy", "HTTPS_PROXY"]).or(all),
            no_proxy: first(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
        }
    }

    /// The proxy for a URL.
    pub(super) fn for_url(&self, url: &Url) -> Option<&str> {
        let proxy = if url.scheme() == "http" { &self.http } else { &self.https };
        proxy.as_deref().filter(|_| !self.is_direct(url))
    }

    fn is_direct(&self, url: &Url) -> bool {
        let host = url.host();
        listed(&self.no_proxy).any(|entry| match (entry, &host) {
            ("*", _) => true,
            (entry, Some(Host::Domain(name))) => is_below(plain(name), entry),
            (entry, Some(Host::Ipv4(address))) => has_address(entry, IpAddr::V4(*address)),
            (entry, Some(Host::Ipv6(address))) => has_address(entry, IpAddr::V6(*address)),
            (_, None) => false,
        })
    }
}

/// Whether a name is that of an entry, or a host below it.
fn is_below(name: &str, entry: &str) -> bool {
    let entry = plain(entry.strip_prefix('.').unwrap_or(entry)).to_ascii_lowercase();
    match name.strip_suffix(entry.as_str()) {
        Some(first) => !entry.is_empty() && (first.is_empty() || first.ends_with('.')),
        None => false,
    }
}

fn has_address(entry: &str, address: IpAddr) -> bool {
    let entry = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    match (entry.parse::<IpAddr>(), entry.parse::<IpNet>()) {
        (Ok(own), _) => own == address,
        (_, Ok(net)) => net.contains(&address),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(set: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned()))
    }

    #[rstest]
    #[case(&[("http_proxy", "p")], Some("p"), None)]
    #[case(&[("HTTP_PROXY", "p")], None, None)]
    #[case(&[("https_proxy", "p"), ("HTTPS_PROXY", "q")], None, Some("p"))]
    #[case(&[("HTTPS_PROXY", "q")], None, Some("q"))]
    #[case(&[("ALL_PROXY", "q")], Some("q"), Some("q"))]
    #[case(&[("all_proxy", "q"), ("https_proxy", "p")], Some("q"), Some("p"))]
    #[case(&[("https_proxy", "")], None, None)]
    // Red when the first variable that is set is used although it is empty.
    #[case(&[("https_proxy", ""), ("HTTPS_PROXY", "q")], None, Some("q"))]
    fn the_environment(#[case] set: &[(&str, &str)], #[case] http: Option<&str>, #[case] https: Option<&str>) {
        let proxies = of(set);
        assert_eq!((proxies.http.as_deref(), proxies.https.as_deref()), (http, https));
    }

    #[rstest]
    #[case("a.example", "https://a.example/", true)]
    #[case("a.example", "https://b.a.example/", true)]
    #[case(".a.example", "https://a.example/", true)]
    #[case("A.example", "https://a.example./", true)]
    #[case("a.example", "https://ba.example/", false)]
    #[case("x, a.example b", "https://a.example/", true)]
    #[case("*", "https://a.example/", true)]
    #[case(".", "https://a.example/", false)]
    #[case("127.0.0.1", "https://127.0.0.1:81/", true)]
    #[case("127.0.0.0/8", "https://127.0.0.1/", true)]
    #[case("[::1]", "https://[::1]/", true)]
    #[case("::1", "https://[::1]/", true)]
    #[case("0.0.1", "https://127.0.0.1/", false)]
    #[case("", "https://a.example/", false)]
    fn direct(#[case] no_proxy: &str, #[case] url: &str, #[case] is_direct: bool) {
        let proxies = of(&[("https_proxy", "p"), ("no_proxy", no_proxy)]);
        assert_eq!(proxies.for_url(&Url::parse(url).unwrap()).is_none(), is_direct);
    }
}
