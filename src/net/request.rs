//! What is asked for.

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

/// Headers that go along when the request is sent on to another server. Every other one may be a credential.
const TRAVELLING: [&str; 7] =
    ["accept", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// A request that [`send`](Request::send) makes.
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
    /// How long the answer may take; as long as the server may say nothing, if it is not set.
    pub(super) patience: Option<Duration>,
    pub(super) is_once: bool,
    pub(super) signature: Option<&'a dyn Sign>,
}

/// Signs a request each time that it is made: a signature holds for some minutes, and asking again may take longer.
pub(crate) trait Sign: Sync {
    /// The headers to add. `headers` are those that it has.
    fn sign(&self, method: &'static str, url: &Url, headers: &[(&str, &str)]) -> Result<Vec<(String, String)>>;
}

/// Without the values of its headers, which may be credentials.
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

    /// Adds a header. What is not about the range, the validator or the type of the answer may be a credential: it goes to the
    /// server of the URL, and not to another one that the request is sent on to.
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Adds several.
    pub(crate) fn with_headers(self, headers: &[(&str, String)]) -> Self {
        headers.iter().fold(self, |request, (name, value)| request.with_header(name, value.as_str()))
    }

    /// Says what it is for. It is [`Purpose::Origin`] by itself; where the server sends it on to, [`Purpose::Content`].
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Goes to the server of the URL alone: where it is sent on to is an answer like any other.
    #[cfg(feature = "oci")]
    pub(crate) fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    /// Sends this with it.
    pub fn with_payload(mut self, payload: Payload<'a>) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Waits so long for the answer. By itself it waits as long as a server may say nothing; one that hashes what it was sent
    /// says nothing for longer.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Is made one time: what may pass is an error at once, for which [`is_unreachable`](Error::is_unreachable) holds. For what
    /// does something else the second time.
    pub fn once(mut self) -> Self {
        self.is_once = true;
        self
    }

    /// Has it signed for the server of the URL, and for no other one.
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

    /// The headers for a server; `is_origin`: it is the one that was asked first.
    pub(super) fn headers(&self, is_origin: bool) -> impl Iterator<Item = (&str, &str)> {
        let all = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(move |(name, _)| is_origin || TRAVELLING.contains(name))
    }

    /// Makes the request, follows where it is sent on to, and makes it again as long as that may help. An answer of any
    /// status that does not pass is given back: see [`Response::ok`].
    pub fn send(&self, observer: &dyn Observer) -> Result<Response> {
        self.client.send(self, observer)
    }

    /// Does the same and reads the body of a success, if it has no more than so many bytes. What breaks off is asked for again.
    /// The answer that is given back is without its body.
    pub fn read(&self, limit_bytes: u64, observer: &dyn Observer) -> Result<(Response, Vec<u8>)> {
        self.read_or(limit_bytes, observer, &Response::into_error)
    }

    /// The same; `refusal` tells what an answer means that is no success.
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
