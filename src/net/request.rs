//! What to request.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use url::Url;

use super::answer::Response;
use super::client::Client;
use super::payload::Payload;
use super::range::{Validator, range_header};
use super::rule::Purpose;
use crate::error::{Error, NetError, Result};
use crate::observer::Observer;

/// Headers that are kept when a redirect leads to another server. Any other header may be a credential.
const TRAVELLING: [&str; 7] =
    ["accept", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// A request to be sent with [`send`](Request::send).
#[derive(Clone)]
#[must_use = "nothing is asked for until it is sent"]
pub struct Request<'a> {
    client: &'a Client,
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) purpose: Purpose,
    headers: Vec<(String, String)>,
    pub(super) payload: Option<Payload<'a>>,
    pub(super) stays: bool,
    /// How long the response may take. `None`: as long as the server may send nothing.
    pub(super) patience: Option<Duration>,
    pub(super) is_once: bool,
    pub(super) signature: Option<&'a dyn Sign>,
}

/// Signs a request each time it is sent: a signature is valid for minutes, and retries may take longer.
pub(crate) trait Sign: Sync {
    /// Returns the headers to add. `headers` are those that the request already has.
    fn sign(&self, method: &'static str, url: &Url, headers: &[(&str, &str)]) -> Result<Vec<(String, String)>>;
}

/// Omits the values of headers, which may be credentials.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request").field("method", &self.method).field("headers", &names).finish_non_exhaustive()
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(client: &'a Client, method: &'static str, url: &str) -> Self {
        let (url, purpose) = (url.to_owned(), Purpose::Origin);
        Request {
            client,
            method,
            url,
            purpose,
            headers: Vec::new(),
            payload: None,
            stays: false,
            patience: None,
            is_once: false,
            signature: None,
        }
    }

    #[cfg(feature = "oci")]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Adds a header. Unless it concerns the range, the validator or the type of the response, it may be a credential,
    /// and is sent only to the server of the URL, not to one that a redirect leads to.
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Adds several headers.
    pub(crate) fn with_headers(self, headers: &[(&str, String)]) -> Self {
        headers.iter().fold(self, |request, (name, value)| request.with_header(name, value.as_str()))
    }

    /// Sets the purpose. The default is [`Purpose::Origin`], and [`Purpose::Content`] after a redirect.
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Contacts only the server of the URL: a redirect is an ordinary response.
    #[cfg(feature = "oci")]
    pub(crate) fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    /// Sets the body to send.
    pub fn with_payload(mut self, payload: Payload<'a>) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Sets how long to wait for the response. The default is as long as a server may send nothing; a server that
    /// hashes what it received is silent for longer.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Makes only one attempt. A temporary failure is then an error at once, for which
    /// [`is_unreachable`](Error::is_unreachable) holds. For requests whose repetition would have another effect.
    pub fn once(mut self) -> Self {
        self.is_once = true;
        self
    }

    /// Signs the request for the server of the URL, and for no other one.
    #[cfg(feature = "s3")]
    pub(crate) fn with_signature(mut self, signature: &'a dyn Sign) -> Self {
        self.signature = Some(signature);
        self
    }

    pub(super) fn with_range(self, range: &Range<u64>, validator: Option<&Validator>) -> Self {
        let request = self.with_header("range", range_header(range));
        match validator {
            Some(validator) => request.with_header("if-range", validator.as_str()),
            None => request,
        }
    }

    /// The headers for a server. `is_origin`: it is the first server that was asked.
    pub(super) fn headers(&self, is_origin: bool) -> impl Iterator<Item = (&str, &str)> {
        let all = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(move |(name, _)| is_origin || TRAVELLING.contains(name))
    }

    /// Sends the request, follows redirects, and retries as long as that may help. Returns a response with any status
    /// that is not temporary: see [`Response::ok`].
    pub fn send(&self, observer: &dyn Observer) -> Result<Response> {
        self.client.send(self, observer)
    }

    /// Also reads the body of a success, if it has at most `limit_bytes`. Retries if it breaks off. The returned
    /// response has no body.
    pub fn read(&self, limit_bytes: u64, observer: &dyn Observer) -> Result<(Response, Vec<u8>)> {
        self.read_or(limit_bytes, observer, &Response::into_error)
    }

    /// The same, but `refusal` converts an unsuccessful response to an error.
    pub(crate) fn read_or(
        &self,
        limit_bytes: u64,
        observer: &dyn Observer,
        refusal: &dyn Fn(Response) -> Error,
    ) -> Result<(Response, Vec<u8>)> {
        let mut attempt = 1;
        loop {
            let mut response = self.send(observer)?;
            if !response.is_success() {
                return Err(refusal(response));
            }
            let error = match response.read_body(limit_bytes) {
                Ok(bytes) => return Ok((response, bytes)),
                Err(error) => error,
            };
            let Some(NetError::Unreachable { detail, .. }) = error.net() else { return Err(error) };
            self.client.pause(response.url(), attempt, detail, None, observer)?;
            attempt += 1;
        }
    }
}
