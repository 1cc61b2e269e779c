//! Mirrors: servers that have the same files as another server, under the same paths. Only files with a known digest
//! are fetched from them, because the digest makes all servers equally trustworthy.
//!
//! If a mirror provides nothing usable, the next one is asked, and finally the server itself. A mirror that lacks a
//! file, or has a different one in its place, is asked again for the next file. A mirror that does not respond is not
//! asked for a while by any reader, so that many files do not wait for it many times.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use crate::cancel::Cancel;
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::net::{Client, ClientOptions, is_host, shown};
use crate::observer::{Event, Observer};

/// How long connecting to a mirror may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a mirror may send nothing, and the window over which its minimum rate is measured.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a mirror that does not respond is not asked again.
const LEFT_FOR: Duration = Duration::from_secs(60);

/// The same for a mirror that the policy does not allow, because a policy does not change.
const REFUSED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The mirrors of all servers that have some.
#[derive(Clone, Default)]
pub(super) struct Mirrors {
    /// A client with short timeouts: everything that it requests is available elsewhere.
    client: Option<Client>,
    /// By host and port, as URLs write them.
    by_server: BTreeMap<String, Arc<[Mirror]>>,
}

impl fmt::Debug for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_server.iter().map(|(server, mirrors)| (server, mirrors.len()))).finish()
    }
}

struct Mirror {
    base: Url,
    left_until: Mutex<Option<Instant>>,
}

impl Mirror {
    fn is_left(&self, now: Instant) -> bool {
        self.left_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }

    /// Returns `false` if the mirror was already left.
    fn leave(&self, now: Instant, time: Duration) -> bool {
        let before = self.left_until.lock().unwrap_or_else(PoisonError::into_inner).replace(now + time);
        before.is_none_or(|until| until <= now)
    }

    fn url_of(&self, origin: &Url, registry: Option<&str>) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), origin.path()));
        if let Some(registry) = registry {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        url
    }
}

impl Mirrors {
    /// Adds the mirrors of a host, which is written as in references. `client` is the one for the host itself.
    pub(super) fn add<S: AsRef<str>>(
        &mut self,
        client: &Client,
        host: &str,
        urls: impl IntoIterator<Item = S>,
    ) -> Result<()> {
        let mirrors: Vec<Mirror> = read(host, urls)?;
        if self.client.is_none() {
            let own = client.options();
            let mut options = ClientOptions { retries: 0, ..own.clone() };
            options.min_rate_window = own.min_rate_window.min(PATIENCE);
            options.connect_timeout = own.connect_timeout.min(CONNECT_TIMEOUT);
            options.idle_timeout = own.idle_timeout.min(PATIENCE);
            self.client = Some(client.with_options(options)?);
        }
        self.by_server.insert(server_of(host).to_owned(), mirrors.into());
        Ok(())
    }

    /// Returns the mirrors that may have the content of a URL, or `None` if there are none. `registry` is set for a URL
    /// of a registry with this name.
    ///
    /// A URL with a query has no mirrors: the query may be all that grants access, and may be a secret between server
    /// and user.
    pub(super) fn of(&self, url: &Url, registry: Option<&str>, cancel: &Cancel) -> Option<Chosen> {
        let server = url.as_str().split('/').nth(2)?;
        let mirrors = self.by_server.get(server).filter(|_| url.query().is_none())?;
        let origin = || url.origin().ascii_serialization();
        let headers = registry.map(|_| ("x-dragonfly-registry", origin())).into_iter().collect();
        let urls = mirrors.iter().map(|mirror| mirror.url_of(url, registry)).collect();
        let none = || mirrors.iter().map(|_| AtomicBool::default()).collect();
        let (client, mirrors) = (self.client.as_ref()?.with_cancel(cancel), mirrors.clone());
        Some(Chosen { client, left: none(), asked: none(), mirrors, urls, headers })
    }
}

/// The mirrors of one file.
pub(super) struct Chosen {
    client: Client,
    mirrors: Arc<[Mirror]>,
    /// The URL of the file at each mirror.
    urls: Vec<Url>,
    headers: Vec<(&'static str, String)>,
    /// Which mirrors are no use for this file.
    left: Vec<AtomicBool>,
    /// Which mirrors have provided something of it.
    asked: Vec<AtomicBool>,
}

/// A mirror that is being asked.
pub(super) struct Asked<'a> {
    pub(super) client: &'a Client,
    pub(super) url: &'a Url,
    pub(super) headers: &'a [(&'static str, String)],
    /// Its index.
    pub(super) number: usize,
}

impl Chosen {
    /// Returns the first usable result of a mirror, or `None` if there is none. Fails only if the work was cancelled.
    pub(super) fn ask<T>(
        &self,
        observer: &dyn Observer,
        mut act: impl FnMut(Asked<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let now = Instant::now();
        for (number, (url, mirror)) in self.urls.iter().zip(&*self.mirrors).enumerate() {
            let is_left = self.left.get(number).is_none_or(|left| left.load(Ordering::Relaxed));
            if is_left || mirror.is_left(now) {
                continue;
            }
            match act(Asked { client: &self.client, url, headers: &self.headers, number }) {
                Ok(done) => {
                    set(self.asked.get(number));
                    return Ok(Some(done));
                }
                Err(error) => self.leave(number, error, observer)?,
            }
        }
        Ok(None)
    }

    /// Stops asking a mirror because of this error.
    pub(super) fn leave(&self, number: usize, error: Error, observer: &dyn Observer) -> Result<()> {
        if error.is_cancelled() {
            return Err(error);
        }
        let (Some(url), Some(mirror)) = (self.urls.get(number), self.mirrors.get(number)) else { return Ok(()) };
        set(self.left.get(number));
        let time = match error.net() {
            Some(NetError::Refused(_)) => Some(REFUSED_FOR),
            Some(NetError::Unreachable { .. } | NetError::Untrusted { .. }) => Some(LEFT_FOR),
            _ => None,
        };
        tracing::info!(mirror = shown(url), %error, ?time, "a mirror failed; asking the next server");
        if time.is_some_and(|time| mirror.leave(Instant::now(), time)) {
            let why = error.net().map_or_else(|| error.to_string(), ToString::to_string);
            observer.on(&Event::AskedElsewhere { what: &shown(&mirror.base), why: &why });
        }
        Ok(())
    }

    /// Stops asking, for this file, the mirrors that provided bytes: a part of them was wrong.
    pub(super) fn leave_asked(&self) {
        let asked = self.left.iter().zip(&self.asked).filter(|(_, asked)| asked.load(Ordering::Relaxed));
        asked.for_each(|(left, _)| set(Some(left)));
    }

    /// Stops asking all mirrors for this file: the whole was wrong, and another mirror may have it from the same
    /// origin.
    pub(super) fn leave_all(&self) {
        self.left.iter().for_each(|left| set(Some(left)));
    }
}

fn set(flag: Option<&AtomicBool>) {
    flag.into_iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
}

/// The server that handles a host.
fn server_of(host: &str) -> &str {
    #[cfg(feature = "oci")]
    let host = super::oci::server_of(host);
    host
}

/// Parses the mirrors of a host.
fn read<S: AsRef<str>>(host: &str, urls: impl IntoIterator<Item = S>) -> Result<Vec<Mirror>> {
    let fail = |reason: &str| Error::InvalidNetSetting {
        what: format!("the mirrors of {}", excerpt(host)),
        reason: reason.to_owned(),
    };
    if !is_host(host) {
        return Err(fail(
            "that is not a host: write it as in references, such as docker.io or registry.example.org:5000",
        ));
    }
    let mirror = |url: S| {
        let base = Url::parse(url.as_ref()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.filter(|url| url.query().is_none() && url.fragment().is_none());
        let base = base.filter(|url| url.username().is_empty() && url.password().is_none());
        let base =
            base.ok_or_else(|| fail("one is not the URL of a server: write http:// or https://, a host, and a path"))?;
        Ok(Mirror { base, left_until: Mutex::default() })
    };
    let mirrors: Vec<_> = urls.into_iter().map(mirror).collect::<Result<_>>()?;
    if mirrors.is_empty() { Err(fail("there are none")) } else { Ok(mirrors) }
}

/// Checks whether these can be the mirrors of a host.
pub(super) fn check<S: AsRef<str>>(host: &str, urls: impl IntoIterator<Item = S>) -> Result<()> {
    read(host, urls).map(drop)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::net::Policy;

    fn mirrors(host: &str, url: &str) -> Mirrors {
        let mut mirrors = Mirrors::default();
        mirrors.add(&Client::new(Policy::default(), ClientOptions::default()).unwrap(), host, [url]).unwrap();
        mirrors
    }

    #[rstest]
    #[case("a.example", "http://127.0.0.1:65001", "https://a.example/v2/b", "http://127.0.0.1:65001/v2/b")]
    #[case("a.example", "https://m.example/x/y/", "https://a.example/b%20c", "https://m.example/x/y/b%20c")]
    #[case("a.example:5000", "https://m.example", "http://a.example:5000/b", "https://m.example/b")]
    fn the_same_path_elsewhere(#[case] host: &str, #[case] base: &str, #[case] url: &str, #[case] expected: &str) {
        let chosen = mirrors(host, base).of(&Url::parse(url).unwrap(), None, &Cancel::default()).unwrap();
        assert_eq!(chosen.urls[0].as_str(), expected);
        assert!(chosen.headers.is_empty());
    }

    // Red when the registry is named by its server: a mirror that stores blobs by registry knows it by its other name.
    #[cfg(feature = "oci")]
    #[test]
    fn a_registry_is_named() {
        let url = Url::parse("https://registry-1.docker.io/v2/a/blobs/b").unwrap();
        let chosen =
            mirrors("docker.io", "http://127.0.0.1:1").of(&url, Some("docker.io"), &Cancel::default()).unwrap();
        assert_eq!(chosen.urls[0].as_str(), "http://127.0.0.1:1/v2/a/blobs/b?ns=docker.io");
        assert_eq!(chosen.headers, [("x-dragonfly-registry", "https://registry-1.docker.io".to_owned())]);
    }

    // Red when a query is sent along: it may be what signs the URL.
    #[rstest]
    #[case("https://a.example/b?X-Signature=secret")]
    #[case("https://b.example/b")]
    #[case("https://a.example:444/b")]
    fn what_has_no_mirror(#[case] url: &str) {
        let mirrors = mirrors("a.example", "https://m.example");
        assert!(mirrors.of(&Url::parse(url).unwrap(), None, &Cancel::default()).is_none());
    }

    #[rstest]
    #[case("a.example/b", "https://m.example")]
    #[case("https://a.example", "https://m.example")]
    #[case("u@a.example", "https://m.example")]
    #[case("", "https://m.example")]
    #[case("a.example", "m.example")]
    #[case("a.example", "ftp://m.example")]
    #[case("a.example", "https://user:secret@m.example")]
    #[case("a.example", "https://m.example/?secret")]
    #[case("a.example", "https://m.example/#x")]
    fn what_is_no_mirror(#[case] host: &str, #[case] url: &str) {
        let error = check(host, [url]).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    // Red when a problem with one file counts against the mirror, or when the next file still asks a mirror that is
    // gone.
    #[test]
    fn why_a_mirror_is_left() {
        let mirrors = mirrors("a.example", "https://m.example");
        let asks = |chosen: &Chosen, source: NetError| {
            let mut asked = 0;
            let answer = chosen.ask(&(), |_| {
                asked += 1;
                Err::<(), _>(Error::Net { url: String::new(), source: source.clone() })
            });
            assert!(answer.unwrap().is_none());
            asked
        };
        let file = || mirrors.of(&Url::parse("https://a.example/b").unwrap(), None, &Cancel::default()).unwrap();
        let chosen = file();
        for (asked, source) in [(1, NetError::malformed("x")), (0, NetError::malformed("x"))] {
            assert_eq!(asks(&chosen, source), asked);
        }
        assert_eq!(asks(&file(), NetError::unreachable("x")), 1);
        assert_eq!(asks(&file(), NetError::unreachable("x")), 0);
        let mirror = &mirrors.by_server["a.example"][0];
        let now = Instant::now();
        assert!(mirror.is_left(now + Duration::from_secs(59)) && !mirror.is_left(now + Duration::from_secs(61)));
    }
}
