//! Uploads one object to a bucket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::bucket::Bucket;
use super::parts;
use crate::digest::Digest;
use crate::error::{Error, NetError, Result};
use crate::net::{Payload, Response, shown};
use crate::source::Cx;
use crate::source::sink::Outgoing;

/// A larger object is sent in parts, which can be retried separately.
pub(super) const WHOLE_BYTES: u64 = 64 << 20;

/// What is known about an existing object.
pub(super) struct Head {
    pub(super) size_bytes: Option<u64>,
    pub(super) etag: Option<String>,
    /// As the server writes it: of the whole object, or with a suffix `-N`, of the sums of N parts.
    pub(super) sum: Option<String>,
}

impl Head {
    /// Whether it is this blob, as far as the headers tell.
    pub(super) fn is(&self, digest: &Digest, size_bytes: u64) -> bool {
        let is_sum = self.sum.as_ref().is_none_or(|sum| sum.contains('-') || *sum == in_base64(digest));
        self.size_bytes == Some(size_bytes) && is_sum
    }
}

/// The condition for writing an object.
#[derive(Clone, Debug)]
pub(super) enum If {
    /// Nothing is there.
    Absent,
    /// This version is there.
    Tag(String),
}

impl If {
    pub(super) fn header(&self) -> (&'static str, String) {
        match self {
            If::Absent => ("if-none-match", "*".to_owned()),
            If::Tag(tag) => ("if-match", tag.clone()),
        }
    }
}

/// A SHA-256 as S3 writes it.
pub(super) fn in_base64(digest: &Digest) -> String {
    STANDARD.encode(digest)
}

/// Inspects an object. `None`: nothing is there.
pub(super) fn head(bucket: &Bucket<'_>, url: &Url, cx: &Cx<'_>) -> Result<Option<Head>> {
    let response = bucket.request("HEAD", url).with_header("x-amz-checksum-mode", "ENABLED").send(cx.observer)?;
    let text = |name: &str| response.header(name).map(str::to_owned);
    match response.status() {
        200 => Ok(Some(Head {
            size_bytes: response.content_length(),
            etag: text("etag"),
            sum: text("x-amz-checksum-sha256"),
        })),
        404 => Ok(None),
        _ => Err(bucket.refusal(response)),
    }
}

/// Uploads an object. Its SHA-256 is signed, and the server must confirm it. Returns `false` if the object at the URL
/// was not as `condition` requires; nothing is changed then.
pub(super) fn put(
    bucket: &Bucket<'_>,
    url: &Url,
    payload: Payload<'_>,
    digest: &Digest,
    kind: &str,
    condition: &If,
    cx: &Cx<'_>,
) -> Result<bool> {
    let (name, value) = condition.header();
    let request = bucket.request("PUT", url).with_header("content-type", kind).with_header(name, value);
    let request = request.with_header("x-amz-content-sha256", digest.to_hex());
    let request = request.with_header("x-amz-checksum-sha256", in_base64(digest)).with_payload(payload);
    let response = request.with_patience(parts::PATIENCE).send(cx.observer)?;
    match response.status() {
        200 | 201 | 204 => {
            check_sum(&response, digest)?;
            Ok(true)
        }
        409 | 412 => Ok(false),
        // The object that was to be replaced is gone.
        404 if matches!(condition, If::Tag(_)) => Ok(false),
        _ => Err(bucket.refusal(response)),
    }
}

/// If a server reports what it has stored, that must be what was sent.
pub(super) fn check_sum(response: &Response, digest: &Digest) -> Result<()> {
    match response.header("x-amz-checksum-sha256") {
        Some(sum) if sum != in_base64(digest) => {
            let source = NetError::malformed(format!("it says that it has stored a SHA-256 other than {digest}"));
            Err(Error::Net { url: shown(response.url()), source })
        }
        _ => Ok(()),
    }
}

/// Uploads a blob. Returns how many bytes were sent; `None` if it was already there.
pub(super) fn blob(bucket: &Bucket<'_>, url: &Url, blob: &Outgoing<'_>, cx: &Cx<'_>) -> Result<Option<u64>> {
    let size_bytes = blob.content.size_bytes();
    // A small blob is sent without asking first. Others may push the same blob, and the existing object may be a
    // different one, such as what an old tool left incomplete.
    let mut known = (size_bytes <= WHOLE_BYTES).then_some(If::Absent);
    for _ in 0..TIMES {
        let condition = match known.take() {
            Some(condition) => Some(condition),
            None => missing(bucket, url, &blob.digest, size_bytes, cx)?,
        };
        let Some(condition) = condition else { return Ok(None) };
        let sent_bytes = if size_bytes > WHOLE_BYTES {
            parts::send(bucket, url, blob, &condition, cx)?
        } else {
            let payload = Payload::Part { of: blob.content, range: 0..size_bytes };
            let is_put = put(bucket, url, payload, &blob.digest, "application/octet-stream", &condition, cx)?;
            is_put.then_some(size_bytes)
        };
        if sent_bytes.is_some() {
            return Ok(sent_bytes);
        }
    }
    let source = NetError::changed(format!("it was a different one each of {TIMES} times"));
    Err(Error::Net { url: shown(url), source })
}

/// What is there instead of a blob. `None`: the blob is there.
fn missing(bucket: &Bucket<'_>, url: &Url, digest: &Digest, size_bytes: u64, cx: &Cx<'_>) -> Result<Option<If>> {
    match head(bucket, url, cx)? {
        Some(head) if head.is(digest, size_bytes) => Ok(None),
        Some(Head { etag: Some(etag), .. }) => Ok(Some(If::Tag(etag))),
        Some(_) => {
            let source =
                NetError::malformed("another object is there, and it has no tag to recognize it by".to_owned());
            Err(Error::Net { url: shown(url), source })
        }
        None => Ok(Some(If::Absent)),
    }
}

/// How often it may have changed since it was inspected.
const TIMES: u32 = 4;
