//! Requests to one bucket: their URLs, their signatures, and the meaning of unsuccessful responses.

use pollster::block_on;
use reqsign_aws_v4::RequestSigner;
use reqsign_core::{Context, SignRequest as _};
use url::Url;

use super::credentials::Credentials;
use super::options::S3Options;
use super::xml;
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::net::{Client, Request, Response, Sign, shown};

/// How much to read at most of the server's explanation of an error.
const MAX_REASON_BYTES: u64 = 64 << 10;

/// The SHA-256 of no bytes.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What requests to a bucket need.
#[derive(Clone, Copy)]
pub(super) struct Bucket<'a> {
    pub(super) options: &'a S3Options,
    pub(super) credentials: &'a Credentials,
    pub(super) client: &'a Client,
}

impl<'a> Bucket<'a> {
    pub(super) fn request(&'a self, method: &'static str, url: &Url) -> Request<'a> {
        self.signed(self.client.request(method, url.as_str()))
    }

    pub(super) fn signed(&'a self, request: Request<'a>) -> Request<'a> {
        request.with_signature(self)
    }

    /// Converts a response to an error, in the server's own words.
    pub(super) fn refusal(&self, response: Response) -> Error {
        let (status, url, request_id) = (response.status(), shown(response.url()), response.request_id());
        let region = response.header("x-amz-bucket-region").map(str::to_owned);
        let said = response.bytes(MAX_REASON_BYTES).ok().and_then(|bytes| xml::refusal(&bytes)).unwrap_or_default();
        let mut reason = said.text();
        let mut add = |text: String| reason = if reason.is_empty() { text } else { format!("{reason}; {text}") };
        let region = said.region.or(region).filter(|region| region != self.options.region());
        if let (Some(region), 301 | 307 | 400) = (region, status) {
            add(format!("the bucket is in the region {0}: set AWS_REGION={0}", excerpt(&region)));
        }
        if matches!(status, 401 | 403)
            && let Some(why) = self.why_unsigned()
        {
            add(format!("it was asked without credentials: {why}"));
        }
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        let source = match status {
            401 | 403 => NetError::Denied { status, reason, page: None, request_id },
            404 => NetError::NotFound { status, reason, request_id },
            412 => NetError::changed("another version of the object is there".to_owned()),
            _ => NetError::Status { status, reason, request_id },
        };
        Error::Net { url, source }
    }

    /// The result of the search is cached by now, so this sends no request.
    fn why_unsigned(&self) -> Option<String> {
        let found = self.credentials.get(&self.options.who, self.client).ok()?;
        found.credential.is_none().then(|| found.why_none.unwrap_or_else(|| "none were given".into()))
    }
}

impl Sign for Bucket<'_> {
    /// Returns no headers for an anonymous request.
    fn sign(&self, method: &'static str, url: &Url, headers: &[(&str, &str)]) -> Result<Vec<(String, String)>> {
        let found = self.credentials.get(&self.options.who, self.client)?;
        let Some(credential) = found.credential else { return Ok(Vec::new()) };
        let fail = |reason: String| Error::Net { url: shown(url), source: NetError::malformed(reason) };
        let own = |name: &str| headers.iter().any(|(known, _)| *known == name);
        let mut builder = http::Request::builder().method(method).uri(url.as_str());
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        // The sender of a request with a body has set it.
        if !own("x-amz-content-sha256") {
            builder = builder.header("x-amz-content-sha256", NOTHING);
        }
        let (mut parts, ()) = builder.body(()).map_err(|e| fail(format!("the request: {e}")))?.into_parts();
        let signer = RequestSigner::new("s3", self.options.region());
        block_on(signer.sign_request(&Context::new(), &mut parts, Some(&credential), None))
            .map_err(|e| fail(format!("it could not be signed: {e}")))?;
        let is_new = |name: &str| name != "host" && !own(name);
        let added = parts.headers.iter().filter(|(name, _)| is_new(name.as_str()));
        let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).map_err(|e| fail(e.to_string()));
        added.map(|(name, value)| Ok((name.as_str().to_owned(), text(value)?))).collect()
    }
}
