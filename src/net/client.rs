//! Requests: each hop passes the first gate here, and the second one in `agent.rs`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use url::Url;

use super::agent::{self, Agents, MAX_HEADER_BYTES};
use super::answer::{Flow, Response};
use super::options::ClientOptions;
use super::pace::Bucket;
use super::policy::Policy;
use super::range::Validator;
use super::request::Request;
use super::retry::{self, random};
use super::rule::Purpose;
use super::{shown, shown_origin, shown_text};
use crate::cancel::Cancel;
use crate::error::{Error, NetError, Refused, Result};
use crate::observer::{Event, Observer};

const MAX_REDIRECTS: u32 = 5;

pub(super) const ENDED_EARLY: &str = "the connection ended early";

/// An HTTP client behind a [`Policy`]. Clones share connections and the rate limit.
///
/// It blocks, and starts threads only to resolve names. An async program should call it in its runtime's
/// `spawn_blocking`.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    cancel: Cancel,
    /// Number of requests made for one piece of work.
    requests: Arc<AtomicU64>,
}

struct Inner {
    policy: Arc<Policy>,
    options: ClientOptions,
    agents: Agents,
    bucket: Option<Arc<Bucket>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { policy, options, .. } = &*self.inner;
        f.debug_struct("Client").field("policy", policy).field("options", options).finish_non_exhaustive()
    }
}

/// The outcome of a failed attempt.
enum Failure {
    /// Another attempt would fail the same way.
    Final(Error),
    /// A later attempt may succeed, but not before the time that the server asks for.
    Passing { why: String, wish: Option<Duration> },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

impl Client {
    /// Creates a client that may do what `policy` allows; the default policy allows nothing. Opens no connection yet.
    ///
    /// The policy is narrowed by that of the machine: see [`Policy::narrow_by_machine`].
    pub fn new(policy: Policy, options: ClientOptions) -> Result<Self> {
        let policy = Arc::new(policy.narrow_by_machine()?);
        let agents = Agents::new(&policy, &options)?;
        let bucket = options.limit_bytes_per_s.map(|rate| Arc::new(Bucket::new(rate, Instant::now())));
        let cancel = options.cancel.clone();
        Ok(Client { inner: Arc::new(Inner { policy, options, agents, bucket }), cancel, requests: Arc::default() })
    }

    /// The same client for another piece of work, with its own [`Cancel`] and its own count of requests.
    #[must_use]
    pub fn with_cancel(&self, cancel: &Cancel) -> Self {
        Client { inner: Arc::clone(&self.inner), cancel: cancel.clone(), requests: Arc::default() }
    }

    /// The same client with other options, behind the same policy and rate limit.
    pub(crate) fn with_options(&self, options: ClientOptions) -> Result<Self> {
        let Inner { policy, bucket, .. } = &*self.inner;
        let (policy, bucket, agents) = (policy.clone(), bucket.clone(), Agents::new(policy, &options)?);
        Ok(Client { inner: Arc::new(Inner { policy, options, agents, bucket }), ..self.clone() })
    }

    /// Number of requests made so far, including redirects and retries. Clones share the count.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests only the headers of a URL.
    pub fn head(&self, url: &str) -> Request<'_> {
        Request::new(self, "HEAD", url)
    }

    /// Requests the content of a URL.
    pub fn get(&self, url: &str) -> Request<'_> {
        Request::new(self, "GET", url)
    }

    /// Requests a range of the content of a URL, if it still matches the validator.
    pub fn get_range(&self, url: &str, range: Range<u64>, validator: Option<&Validator>) -> Request<'_> {
        self.get(url).with_range(&range, validator)
    }

    /// A request with another method, such as `PUT`.
    pub fn request(&self, method: &'static str, url: &str) -> Request<'_> {
        Request::new(self, method, url)
    }

    /// The options of the client.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// Whether the policy allows requests to this URL.
    #[cfg(feature = "oci")]
    pub(crate) fn may_ask(&self, url: &Url) -> bool {
        self.inner.policy.check_url(url, Some(Purpose::Origin)).is_ok()
    }

    /// Checks whether the policy allows a file to be fetched. `has_digest`: its digest is known beforehand.
    pub(crate) fn check_file(&self, url: &str, size_bytes: u64, has_digest: bool) -> Result<()> {
        let refuse = |refused: Refused| Error::Net { url: shown_text(url), source: refused.into() };
        self.inner.policy.check_file(size_bytes, has_digest).map_err(refuse)
    }

    /// What cancels the work of this client.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(super) fn send(&self, request: &Request<'_>, observer: &dyn Observer) -> Result<Response> {
        let url =
            Url::parse(&request.url).map_err(|e| self.fail_text(&request.url, format!("it is not a URL: {e}")))?;
        let mut attempt = 1;
        loop {
            let (why, wish) = match self.follow(request, url.clone()) {
                Ok(response) => return Ok(response),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { why, .. }) if request.is_once => {
                    return Err(fail(&url, NetError::unreachable(why)));
                }
                Err(Failure::Passing { why, wish }) => (why, wish),
            };
            self.pause(&url, attempt, &why, wish, observer)?;
            attempt += 1;
        }
    }

    /// Waits before a retry after the `attempt`-th failure. Returns an error if there were enough attempts.
    pub(crate) fn pause(
        &self,
        url: &Url,
        attempt: u32,
        why: &str,
        wish: Option<Duration>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let url = shown(url);
        let Some(after) = self.options().retry().delay(attempt, wish, random()) else {
            let detail = match wish {
                Some(wish) if wish > retry::LONGEST_WISH => format!("{why}, try again in {} s", wish.as_secs()),
                _ => why.to_owned(),
            };
            return Err(Error::Net { url, source: NetError::Unreachable { attempts: attempt, detail } });
        };
        tracing::debug!(url, attempt, why, ?after, "retrying");
        observer.on(&Event::Retrying { what: &url, why, after });
        self.cancel.wait(after, || format!("fetching {url}"))
    }

    /// One attempt, with its redirects.
    fn follow(&self, request: &Request<'_>, first: Url) -> Result<Response, Failure> {
        let (mut url, mut purpose, mut is_origin) = (first, request.purpose, true);
        for _ in 0..=MAX_REDIRECTS {
            url.set_fragment(None);
            let mut response = self.once(request, &url, purpose, is_origin)?;
            let target = response.redirect(request.payload.is_some()).filter(|_| !request.stays);
            let Some(target) = target else { return Ok(response) };
            response.drain();
            let target = target.map_err(|source| fail(&url, source))?;
            if url.scheme() == "https" && target.scheme() == "http" {
                return Err(refuse(&url, Refused::Downgrade { origin: shown_origin(&target) }).into());
            }
            // Once a request has left its origin, it never gets its credentials back.
            is_origin &= url.origin() == target.origin();
            if purpose == Purpose::Origin && !is_origin {
                purpose = Purpose::Content;
            }
            url = target;
        }
        Err(refuse(&url, Refused::TooManyRedirects { limit: MAX_REDIRECTS }).into())
    }

    /// One request to one server.
    fn once(&self, request: &Request<'_>, url: &Url, purpose: Purpose, is_origin: bool) -> Result<Response, Failure> {
        let inner = &*self.inner;
        self.cancel.check(|| format!("fetching {}", shown(url)))?;
        inner.policy.check_url(url, Some(purpose)).map_err(|refused| refuse(url, refused))?;
        let mut builder = ureq::http::Request::builder().method(request.method).uri(url.as_str());
        let headers: Vec<_> = request.headers(is_origin).collect();
        let signature = match request.signature.filter(|_| is_origin) {
            Some(signature) => signature.sign(request.method, url, &headers)?,
            None => Vec::new(),
        };
        for (name, value) in headers.into_iter().chain(signature.iter().map(|(name, value)| (&**name, &**value))) {
            builder = builder.header(name, value);
        }
        if let Some(payload) = &request.payload {
            builder = builder.header("content-length", payload.size_bytes());
            if payload.asks_first() {
                builder = builder.header("expect", "100-continue");
            }
        }
        let message = builder.body(()).map_err(|e| fail(url, NetError::malformed(format!("the request: {e}"))))?;
        let agent = inner.agents.for_url(url);
        let message = match request.patience {
            Some(patience) => {
                let patience = Some(patience.max(inner.options.idle_timeout));
                agent.configure_request(message).timeout_recv_response(patience).timeout_per_read(patience).build()
            }
            None => message,
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = agent::ended_by(&self.cancel, || match &request.payload {
            Some(payload) => {
                let mut reader = payload.reader(&self.cancel, inner.bucket.clone());
                agent.run(message.map(|()| ureq::SendBody::from_reader(&mut reader)))
            }
            None => agent.run(message),
        });
        let answer = answer.map_err(|e| failure(url, e))?;
        let flow = Flow::new(url.clone(), &inner.options, self.cancel.clone(), inner.bucket.clone());
        let response = Response::new(answer, flow)?;
        if retry::is_passing(response.status()) {
            let wish = retry::wish(response.header("retry-after"), response.header("ratelimit"));
            let why = response.error_text();
            return Err(Failure::Passing { why, wish });
        }
        Ok(response)
    }

    fn fail_text(&self, url: &str, detail: String) -> Error {
        Error::Net { url: shown_text(url), source: NetError::Malformed { detail } }
    }
}

pub(super) fn fail(url: &Url, source: NetError) -> Error {
    Error::Net { url: shown(url), source }
}

fn refuse(url: &Url, refused: Refused) -> Error {
    fail(url, NetError::Refused(refused))
}

fn failure(url: &Url, error: ureq::Error) -> Failure {
    match read_failure(error) {
        Ok(NetError::Unreachable { detail, .. }) => Failure::Passing { why: detail, wish: None },
        Ok(source) => Failure::Final(fail(url, source)),
        Err(error) => Failure::Final(error),
    }
}

/// Converts an error of ureq. `Unreachable` may be temporary. An error of this crate came from a layer below ureq.
pub(super) fn read_failure(error: ureq::Error) -> Result<NetError, Error> {
    use std::io::ErrorKind;
    Ok(match error {
        ureq::Error::Other(other) => match other.downcast::<Refused>() {
            Ok(refused) => NetError::Refused(*refused),
            Err(other) => NetError::unreachable(other.to_string()),
        },
        ureq::Error::Io(e) => match e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(own) => return Err(own.clone()),
            // rustls reports certificate problems this way, and nothing else does.
            None if e.kind() == ErrorKind::InvalidData => NetError::Untrusted { detail: e.to_string() },
            None if e.kind() == ErrorKind::UnexpectedEof => NetError::unreachable(ENDED_EARLY),
            None => NetError::unreachable(e.to_string()),
        },
        ureq::Error::Rustls(e) => NetError::Untrusted { detail: e.to_string() },
        ureq::Error::Tls(e) => NetError::Untrusted { detail: e.to_owned() },
        // ureq also limits the number of headers, to about as many short ones as fit into the size limit. Which limit
        // is hit first depends on how they arrive.
        ureq::Error::Protocol(e) if e.to_string().contains("too many headers") => large_header(),
        ureq::Error::LargeResponseHeader(..) => large_header(),
        ureq::Error::Protocol(e) => NetError::malformed(e.to_string()),
        ureq::Error::Http(e) => NetError::malformed(e.to_string()),
        // The text of ureq's error includes the URL.
        ureq::Error::BadUri(_) => NetError::malformed("it is not the URL of a server"),
        ureq::Error::Timeout(phase) => NetError::unreachable(format!("it took too long ({phase})")),
        ureq::Error::HostNotFound => NetError::unreachable("the name of its host does not resolve"),
        other => NetError::unreachable(other.to_string()),
    })
}

fn large_header() -> NetError {
    NetError::TooLarge { what: "the header of the response", limit_bytes: MAX_HEADER_BYTES as u64 }
}
