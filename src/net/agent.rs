//! Connections: where they may lead, through which proxy, whom they trust, and how long they wait.
//!
//! Only this file names `ureq::unversioned`, which may change in any minor release, so `Cargo.toml` pins ureq to one.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector, SocksConnector,
    TcpConnector, Transport, time,
};
use ureq::{Agent, Proxy, ProxyProtocol};
use url::{Host, Url};

use super::file;
use super::options::ClientOptions;
use super::policy::Policy;
use super::proxy::Proxies;
use crate::cancel::{Cancel, LOOK_EVERY};
use crate::error::{Error, Refused, Result};

/// The port that curl uses for a proxy that names none, unless it is an https proxy.
const PROXY_PORT: u16 = 1080;

/// Thirty times the size of all existing authorities.
const MAX_CA_BYTES: u64 = 8 << 20;

/// The largest header that a response may have.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;

/// The most addresses that ureq accepts.
const MAX_ADDRESSES: usize = 16;

thread_local! {
    /// What cancels the work of this thread. Connections are pooled, so a later read on one may belong to other work.
    static CANCEL: RefCell<Cancel> = RefCell::default();
}

/// Runs some network work, whose reads end once `cancel` is used.
pub(super) fn ended_by<T>(cancel: &Cancel, work: impl FnOnce() -> T) -> T {
    let before = CANCEL.replace(cancel.clone());
    let outcome = work();
    CANCEL.set(before);
    outcome
}

/// One agent for each way out of this machine.
pub(super) struct Agents {
    proxies: Proxies,
    direct: Agent,
    http: Option<Agent>,
    https: Option<Agent>,
}

impl Agents {
    pub(super) fn new(policy: &Arc<Policy>, options: &ClientOptions) -> Result<Self> {
        let tls = tls(options)?;
        let agent = |proxy: Option<Proxy>| {
            let guard = Guard { policy: Arc::clone(policy), proxy: proxy.as_ref().map(|proxy| proxy.uri().clone()) };
            Agent::with_parts(config(options, tls.clone(), proxy), connector(), guard)
        };
        let by = |name: &str, text: &Option<String>| {
            let proxy = text.as_ref().map(|text| read_proxy(text).ok_or_else(|| not_a_proxy(name)));
            Ok::<_, Error>(proxy.transpose()?.map(|proxy| agent(Some(proxy))))
        };
        let proxies = options.proxies.clone();
        let (http, https) = (by("http", &proxies.http)?, by("https", &proxies.https)?);
        Ok(Agents { direct: agent(None), http, https, proxies })
    }

    pub(super) fn for_url(&self, url: &Url) -> &Agent {
        let by_proxy = if url.scheme() == "http" { &self.http } else { &self.https };
        match (self.proxies.for_url(url), by_proxy) {
            (Some(_), Some(agent)) => agent,
            _ => &self.direct,
        }
    }
}

/// The text of the proxy may contain a password, so the error does not repeat it.
fn not_a_proxy(name: &str) -> Error {
    let reason = "it is not the URL of an http, https or socks proxy".into();
    Error::InvalidNetSetting { what: format!("the proxy for {name}"), reason }
}

/// Reads a proxy as curl does, but resolves names here for `socks4` and `socks5`, so that the policy sees the address.
fn read_proxy(text: &str) -> Option<Proxy> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).ok()?;
    let protocol = ProxyProtocol::try_from(url.scheme()).ok()?;
    let plain = Proxy::new(&text).ok()?;
    let mut proxy = Proxy::builder(protocol).host(url.host_str()?);
    // `Url` omits the default port of a scheme.
    let is_default = protocol == ProxyProtocol::Https;
    match plain.uri().port_u16() {
        Some(port) => proxy = proxy.port(port),
        None if is_default => {}
        None => proxy = proxy.port(PROXY_PORT),
    }
    if let Some(user) = plain.username().filter(|user| !user.is_empty()) {
        proxy = proxy.username(user).password(plain.password().unwrap_or_default());
    }
    let is_local = matches!(protocol, ProxyProtocol::Socks4 | ProxyProtocol::Socks5);
    proxy.resolve_target(is_local).build().ok()
}

fn config(options: &ClientOptions, tls: TlsConfig, proxy: Option<Proxy>) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        // Redirects must pass the policy, so each one becomes a request of our own.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Always set: ureq's default reads the environment by itself.
        .proxy(proxy)
        .tls_config(tls)
        .user_agent(concat!("catalog-core/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .max_response_header_size(MAX_HEADER_BYTES)
        .max_idle_connections(128)
        .max_idle_connections_per_host(32)
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_send_request(Some(options.idle_timeout))
        .timeout_recv_response(Some(options.idle_timeout))
        .timeout_per_read(Some(options.idle_timeout))
        .timeout_per_write(Some(options.idle_timeout))
        .build()
}

/// Whom to trust: the system's authorities as its verifier finds them (it honours `SSL_CERT_FILE`), or only those of a
/// file.
fn tls(options: &ClientOptions) -> Result<TlsConfig> {
    let Some(path) = &options.ca_file else {
        return Ok(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    };
    let fail = |reason: String| Error::InvalidNetSetting { what: path.display().to_string(), reason };
    let pem = file::read(path, MAX_CA_BYTES).map_err(|e| fail(e.to_string()))?;
    let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
    let items = items.map_err(|e| fail(format!("it is not PEM: {e}")))?;
    let of = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    let certificates: Vec<_> = items.into_iter().filter_map(of).collect();
    if certificates.is_empty() {
        return Err(fail("there is no certificate in it".into()));
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build())
}

/// The second gate: ureq connects only to the addresses returned here, even for a URL that contains an address.
struct Guard {
    policy: Arc<Policy>,
    /// Allowed because it is configured.
    proxy: Option<Uri>,
}

/// Omits the proxy, which may contain a password.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        if self.proxy.as_ref() == Some(uri) {
            look_up(uri, timeout)?.into_iter().take(MAX_ADDRESSES).for_each(|address| addresses.push(address));
            return Ok(addresses);
        }
        let refuse = |refused: Refused| ureq::Error::Other(Box::new(refused));
        // Two parsers have read this URL by now. The second one's result passes the first gate again.
        let url = Url::parse(&uri.to_string()).map_err(|_| ureq::Error::BadUri(String::new()))?;
        self.policy.check_url(&url, None).map_err(refuse)?;
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(address) => address.to_string(),
            None => return Err(ureq::Error::HostNotFound),
        };
        for address in look_up(uri, timeout)?.into_iter().take(MAX_ADDRESSES) {
            self.policy.check_address(&host, address).map_err(refuse)?;
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Returns the addresses of a host, at least one. Names are resolved on a separate thread, which can be abandoned if it
/// takes too long.
fn look_up(uri: &Uri, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
    let place = uri.scheme().zip(uri.authority()).and_then(|(s, a)| DefaultResolver::host_and_port(s, a));
    let place = place.ok_or_else(|| ureq::Error::BadUri(String::new()))?;
    if let Ok(address) = place.parse() {
        return Ok(vec![address]);
    }
    let (sender, receiver) = mpsc::channel();
    let name = place.clone();
    let ask = move || {
        let _ = sender.send(name.to_socket_addrs()); // the receiver may be gone
    };
    let found = match thread::Builder::new().spawn(ask) {
        Ok(_) => receiver.recv_timeout(*timeout.after).map_err(|_| ureq::Error::Timeout(timeout.reason))?,
        Err(error) => {
            tracing::debug!(%error, "could not start a thread for the name lookup; only the system's own timeout \
                                     applies");
            place.to_socket_addrs()
        }
    };
    let addresses: Vec<_> = found?.collect();
    if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
}

/// ureq's own chain, with sockets whose reads end when the work is cancelled.
fn connector() -> impl Connector {
    ().chain(SocksConnector::default())
        .chain(ConnectProxyConnector::default())
        .chain(TcpConnector::default())
        .chain(Cancellable)
        .chain(RustlsConnector::default())
}

#[derive(Debug)]
struct Cancellable;

impl<In: Transport> Connector<In> for Cancellable {
    type Out = Cancelled<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, socket: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(socket.map(Cancelled))
    }
}

struct Cancelled<T>(T);

impl<T: Transport> fmt::Debug for Cancelled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Transport> Transport for Cancelled<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    /// Waits in short steps, and checks for cancellation between them.
    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let whole = timeout.for_read();
        let began = Instant::now();
        loop {
            if CANCEL.with_borrow(Cancel::is_cancelled) {
                return Err(io::Error::other(Error::Cancelled { what: "reading from a server".into() }).into());
            }
            let left = whole.after.saturating_sub(began.elapsed());
            let after = time::Duration::Exact(left.min(LOOK_EVERY));
            let step = NextTimeout { after, reason: whole.reason, ..NextTimeout::default() };
            match self.0.await_input(step) {
                Err(ureq::Error::Timeout(_)) if left > LOOK_EVERY => {}
                Err(ureq::Error::Timeout(_)) => return Err(ureq::Error::Timeout(whole.reason)),
                other => return other,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // Red when a proxy without a port gets the default port of its scheme.
    #[rstest]
    #[case("a.example", "a.example:1080")]
    #[case("http://a.example", "a.example:1080")]
    #[case("http://a.example:80", "a.example:80")]
    #[case("a.example:8080", "a.example:8080")]
    #[case("https://a.example", "a.example:443")]
    #[case("https://a.example:443/", "a.example:443")]
    #[case("socks5h://a.example", "a.example:1080")]
    #[case("socks5://[::1]:9", "[::1]:9")]
    fn where_a_proxy_is(#[case] text: &str, #[case] place: &str) {
        assert_eq!(read_proxy(text).unwrap().uri().authority().unwrap().as_str(), place);
    }

    // Red when `Debug` is derived.
    #[test]
    fn the_guard_does_not_say_who_the_proxy_knows() {
        let proxy = read_proxy("http://user:secret@a.example").map(|proxy| proxy.uri().clone());
        assert!(proxy.as_ref().unwrap().to_string().contains("secret"));
        let guard = Guard { policy: Arc::default(), proxy };
        assert!(!format!("{guard:?}").contains("secret"));
    }
}
