//! Responses of a server.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::agent;
use super::client::{ENDED_EARLY, fail, read_failure};
use super::options::ClientOptions;
use super::pace::{Bucket, Minimum};
use super::range::{ContentRange, Validator};
use super::{shown, shown_origin};
use crate::cancel::Cancel;
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;

/// How much to read at most of an error's text, or of a body that is not needed.
const MAX_REASON_BYTES: u64 = 4 << 10;

/// A response whose body is still to be read.
pub struct Response {
    parts: ureq::http::response::Parts,
    body: Body,
}

/// Omits the values of headers: one may be a cookie or a signed location.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.parts.headers.keys().map(|name| name.as_str()).collect();
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("headers", &names)
            .field("body", &self.body)
            .finish()
    }
}

impl Response {
    pub(super) fn new(answer: ureq::http::Response<ureq::Body>, flow: Flow) -> Result<Self> {
        let (parts, body) = answer.into_parts();
        let response = Response { parts, body: Body { reader: Box::new(body.into_reader()), flow } };
        match response.encoding() {
            // No encoding was requested, so it is unclear what the decoded bytes should be. An error response is an
            // error anyway.
            Some(coding) if matches!(response.status(), 200 | 206) => {
                let detail = format!("its bytes are encoded as {:?}, which was not requested", excerpt(coding));
                Err(fail(response.url(), NetError::Malformed { detail }))
            }
            _ => Ok(response),
        }
    }

    fn encoding(&self) -> Option<&str> {
        self.header("content-encoding").filter(|coding| !matches!(*coding, "" | "identity"))
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    /// Returns a header if it exists and is text. `name` must be in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// `Content-Length` as a number.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The value that identifies this version of the file.
    #[must_use]
    pub fn validator(&self) -> Option<Validator> {
        Validator::of(self.header("etag"), self.header("last-modified"))
    }

    /// `Content-Range`, if it exists and is valid.
    #[must_use]
    pub fn content_range(&self) -> Option<ContentRange> {
        ContentRange::parse(self.header("content-range")?)
    }

    /// The URL that gave this response, after redirects.
    #[must_use]
    pub fn final_url(&self) -> &str {
        self.url().as_str()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.body.flow.url
    }

    /// The target of a redirect; `None` if this is not one. `has_payload`: the request has a body, which only some
    /// redirects forward.
    pub(super) fn redirect(&self, has_payload: bool) -> Option<Result<Url, NetError>> {
        if !matches!((self.status(), has_payload), (301..=303, false) | (307 | 308, _)) {
            return None;
        }
        // Without a location, it is an ordinary response.
        let location = self.parts.headers.get("location")?;
        let text = location.to_str().map_err(|_| NetError::malformed("its redirect target is not text"));
        Some(text.and_then(|text| {
            self.url().join(text).map_err(|e| NetError::malformed(format!("its redirect target is not a URL: {e}")))
        }))
    }

    /// Returns this response if it is a success, and otherwise its error.
    pub fn ok(self) -> Result<Self> {
        if self.is_success() { Ok(self) } else { Err(self.into_error()) }
    }

    pub(super) fn is_success(&self) -> bool {
        self.parts.status.is_success()
    }

    /// Converts an unsuccessful response to an error.
    #[must_use]
    pub fn into_error(mut self) -> Error {
        let status = self.status();
        let reason = self.reason();
        let request_id = self.request_id();
        let source = match status {
            401 | 403 => NetError::Denied { status, reason, page: None, request_id },
            404 | 410 => NetError::NotFound { status, reason, request_id },
            _ => NetError::Status { status, reason, request_id },
        };
        fail(self.url(), source)
    }

    /// Status and reason, for an error that may be temporary.
    pub(super) fn error_text(mut self) -> String {
        let reason = self.reason().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("the server says {}{reason}", self.status())
    }

    /// The id by which the server's operators can find this request.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        ["x-request-id", "x-amz-request-id", "x-amz-cf-id"].iter().find_map(|name| self.header(name)).map(excerpt)
    }

    /// The server's own explanation: the Hub's header, or the body if it is plain text.
    fn reason(&mut self) -> Option<String> {
        if let Some(message) = self.header("x-error-message") {
            return Some(excerpt(message));
        }
        let is_plain = self.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
        if !is_plain || self.encoding().is_some() {
            return None;
        }
        let mut text = Vec::new();
        // If the body breaks off, use what has arrived.
        let _ = (&mut self.body).take(MAX_REASON_BYTES).read_to_end(&mut text);
        let line = String::from_utf8_lossy(&text);
        let line: String = line.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        (!line.trim().is_empty()).then(|| excerpt(line.trim()))
    }

    /// Reads the rest of the body if it is short, because a connection is reused only if its response was read to the
    /// end.
    pub(crate) fn drain(&mut self) {
        let _ = io::copy(&mut (&mut self.body).take(MAX_REASON_BYTES), &mut io::sink());
    }

    /// Returns the body.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Reads the whole body. Fails if it has more than `limit_bytes`.
    pub fn bytes(mut self, limit_bytes: u64) -> Result<Vec<u8>> {
        self.read_body(limit_bytes)
    }

    pub(super) fn read_body(&mut self, limit_bytes: u64) -> Result<Vec<u8>> {
        let url = self.url().clone();
        let mut bytes = Vec::new();
        (&mut self.body)
            .take(limit_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| Error::of_reader(shown(&url), e))?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= limit_bytes => Ok(bytes),
            _ => Err(fail(&url, NetError::TooLarge { what: "the response", limit_bytes })),
        }
    }
}

/// How the bytes of one response flow.
pub(super) struct Flow {
    url: Url,
    cancel: Cancel,
    bucket: Option<Arc<Bucket>>,
    minimum: Option<Minimum>,
    /// The end of the last read. What the caller does between two reads does not count against the server.
    last: Instant,
}

impl Flow {
    pub(super) fn new(url: Url, options: &ClientOptions, cancel: Cancel, bucket: Option<Arc<Bucket>>) -> Self {
        let last = Instant::now();
        let rate = options.min_bytes_per_s;
        let minimum = (rate > 0).then(|| Minimum::new(rate, options.min_rate_window, last));
        Flow { url, cancel, bucket, minimum, last }
    }

    fn pardon(&mut self, time: Duration) {
        if let Some(minimum) = &mut self.minimum {
            minimum.pardon(time);
        }
    }

    /// Waits as long as the rate limit requires.
    fn wait(&mut self, time: Duration) -> io::Result<()> {
        self.pardon(time);
        self.cancel.wait(time, || format!("fetching {}", shown(&self.url))).map_err(io::Error::other)
    }

    fn check_cancelled(&self) -> io::Result<()> {
        self.cancel.check(|| format!("fetching {}", shown(&self.url))).map_err(io::Error::other)
    }
}

/// The body of a response. Its I/O errors contain an [`Error`](enum@Error), for which
/// [`is_unreachable`](Error::is_unreachable) holds if it may be temporary.
pub struct Body {
    reader: Box<dyn Read + Send>,
    flow: Flow,
}

impl Body {
    /// The error for a body that ends before all expected bytes have arrived.
    pub(crate) fn ended_early(&self) -> Error {
        fail(&self.flow.url, NetError::unreachable(ENDED_EARLY))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body of {}", shown_origin(&self.flow.url))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Body { reader, flow } = self;
        flow.check_cancelled()?;
        let at_once = flow.bucket.as_ref().map_or(usize::MAX, |bucket| bucket.at_once()).min(buffer.len());
        let began = Instant::now();
        flow.pardon(began.saturating_duration_since(flow.last));
        let read = agent::ended_by(&flow.cancel, || reader.read(buffer.get_mut(..at_once).unwrap_or_default()));
        let read = read.map_err(|e| match read_failure(e.into()) {
            Ok(source) => io::Error::other(fail(&flow.url, source)),
            Err(own) => io::Error::other(own),
        })?;
        let now = Instant::now();
        flow.last = now;
        if flow.minimum.as_mut().is_some_and(|minimum| minimum.is_too_slow(read, now)) && read > 0 {
            let source = NetError::unreachable("the server sends too slowly");
            return Err(io::Error::other(fail(&flow.url, source)));
        }
        if let Some(bucket) = flow.bucket.clone() {
            flow.wait(bucket.take(read, now))?;
            flow.last = Instant::now();
        }
        Ok(read)
    }
}
