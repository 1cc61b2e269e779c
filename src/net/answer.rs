//! What a server answers.

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

/// The most that is read of the text of an error, and of what nobody needs.
const MAX_REASON_BYTES: u64 = 4 << 10;

/// An answer, with its body still to be read.
pub struct Response {
    parts: ureq::http::response::Parts,
    body: Body,
}

/// Without the values of its headers: a cookie or a signed location may be among them.
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
            // It was not asked for, and what it would be when it is decoded, nobody has said. An error is one all the same.
            Some(coding) if matches!(response.status(), 200 | 206) => {
                let detail = format!("its bytes are encoded as {:?}, which was not asked for", excerpt(coding));
                Err(fail(response.url(), NetError::Malformed { detail }))
            }
            _ => Ok(response),
        }
    }

    fn encoding(&self) -> Option<&str> {
        self.header("content-encoding").filter(|coding| !matches!(*coding, "" | "identity"))
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    /// A header, if it is there and is text. The name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// `Content-Length`, as a number.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// By what another version is told.
    #[must_use]
    pub fn validator(&self) -> Option<Validator> {
        Validator::of(self.header("etag"), self.header("last-modified"))
    }

    /// `Content-Range`, if it is there and makes sense.
    #[must_use]
    pub fn content_range(&self) -> Option<ContentRange> {
        ContentRange::parse(self.header("content-range")?)
    }

    /// The URL that has given this answer, after its redirects.
    #[must_use]
    pub fn final_url(&self) -> &str {
        self.url().as_str()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.body.flow.url
    }

    /// Where it sends the request on to. `None`: it does not. `has_payload`: there is something to send, which only some of them
    /// send on.
    pub(super) fn redirect(&self, has_payload: bool) -> Option<Result<Url, NetError>> {
        if !matches!((self.status(), has_payload), (301..=303, false) | (307 | 308, _)) {
            return None;
        }
        // Without a location it is an answer like any other.
        let location = self.parts.headers.get("location")?;
        let text = location.to_str().map_err(|_| NetError::malformed("it redirects to what is no text"));
        Some(text.and_then(|text| {
            self.url().join(text).map_err(|e| NetError::malformed(format!("it redirects to what is no URL: {e}")))
        }))
    }

    /// This answer, if it is a success; else the error that it is.
    pub fn ok(self) -> Result<Self> {
        if self.is_success() { Ok(self) } else { Err(self.into_error()) }
    }

    pub(super) fn is_success(&self) -> bool {
        self.parts.status.is_success()
    }

    /// The error that an answer is which is no success.
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

    /// Status and reason, for an error that may pass.
    pub(super) fn error_text(mut self) -> String {
        let reason = self.reason().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("the server says {}{reason}", self.status())
    }

    /// What the server's operators can find this request by.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        ["x-request-id", "x-amz-request-id", "x-amz-cf-id"].iter().find_map(|name| self.header(name)).map(excerpt)
    }

    /// The server's own words: the Hub's header, or the body where it is plain text.
    fn reason(&mut self) -> Option<String> {
        if let Some(message) = self.header("x-error-message") {
            return Some(excerpt(message));
        }
        let is_plain = self.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
        if !is_plain || self.encoding().is_some() {
            return None;
        }
        let mut text = Vec::new();
        // A body that breaks off has said what it has said.
        let _ = (&mut self.body).take(MAX_REASON_BYTES).read_to_end(&mut text);
        let line = String::from_utf8_lossy(&text);
        let line: String = line.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        (!line.trim().is_empty()).then(|| excerpt(line.trim()))
    }

    /// Reads what nobody needs, if it is short: a connection is used again only if its answer was read to the end.
    pub(crate) fn drain(&mut self) {
        let _ = io::copy(&mut (&mut self.body).take(MAX_REASON_BYTES), &mut io::sink());
    }

    /// Its body.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }

    /// All of its body, if it has no more than so many bytes.
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
            _ => Err(fail(&url, NetError::TooLarge { what: "the answer", limit_bytes })),
        }
    }
}

/// How the bytes of one answer flow.
pub(super) struct Flow {
    url: Url,
    cancel: Cancel,
    bucket: Option<Arc<Bucket>>,
    minimum: Option<Minimum>,
    /// When the last read was done: what the caller does between two is its own time.
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

    /// Waits as long as the limit of the rate asks for.
    fn wait(&mut self, time: Duration) -> io::Result<()> {
        self.pardon(time);
        self.cancel.wait(time, || format!("fetching {}", shown(&self.url))).map_err(io::Error::other)
    }

    fn check_cancelled(&self) -> io::Result<()> {
        self.cancel.check(|| format!("fetching {}", shown(&self.url))).map_err(io::Error::other)
    }
}

/// The body of an answer. Its errors have an [`Error`](enum@Error) in them: [`is_unreachable`](Error::is_unreachable) holds
/// of one that may pass.
pub struct Body {
    reader: Box<dyn Read + Send>,
    flow: Flow,
}

impl Body {
    /// The error of a body that ends before all is there that was to come.
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
