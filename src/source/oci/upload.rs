//! Uploads one blob to a registry. Remembers the state after each part, so that another process can resume the upload.
//!
//! An interrupted upload is gone, or it ends after some part: only the registry knows. It is asked, and what it reports
//! after a part is compared with what was sent, because some registries accept parts that do not fit.

use std::ops::Range;
use std::time::Duration;

use url::Url;

use super::image::Image;
use super::push::{check_named, location_of};
use super::{OciSource, image_of, url_of};
use crate::error::{Error, NetError, Result};
use crate::net::{Payload, Response, shown, shown_text};
use crate::source::Cx;
use crate::source::sink::Outgoing;

/// Size of a part: the most that is sent again after an interruption. A smaller blob is sent in one piece.
const PART_BYTES: u64 = 64 << 20;

/// After this many bytes, earlier failures no longer count.
const PROGRESS_BYTES: u64 = PART_BYTES / 2;

/// The largest minimum part size that a registry may ask for.
const MOST_PART_BYTES: u64 = 1 << 30;

/// The registry may hash the whole blob before it responds: this is enough for 360 GB at 100 MB/s.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(super) struct Upload<'u> {
    source: &'u OciSource,
    image: Image,
    blob: Outgoing<'u>,
    cx: &'u Cx<'u>,
    size_bytes: u64,
    sent_bytes: u64,
}

/// The state of an upload.
struct At {
    url: String,
    offset: u64,
    part_bytes: u64,
}

impl<'u> Upload<'u> {
    pub(super) fn new(source: &'u OciSource, image: Image, blob: Outgoing<'u>, cx: &'u Cx<'u>) -> Self {
        let size_bytes = blob.content.size_bytes();
        Upload { source, image, blob, cx, size_bytes, sent_bytes: 0 }
    }

    /// Returns how many bytes were sent; `None` if the registry already has the blob in another repository.
    pub(super) fn run(mut self) -> Result<Option<u64>> {
        // If a remembered upload cannot be resumed, for example because a policy rule is gone, begin a new one.
        let recalled = self.blob.memory.recall();
        let mut known = recalled.and_then(|url| self.status(&url, PART_BYTES).ok().flatten());
        // The bytes sent by another process may be damaged, so start over once.
        let (mut failures, mut may_begin_anew) = (0, true);
        loop {
            let mut at = match known.take() {
                Some(at) => at,
                None => match self.begin()? {
                    Some(at) => at,
                    None => return Ok(None),
                },
            };
            let before = at.offset;
            let Err(error) = self.go_on(&mut at) else { break };
            let why = match error.net() {
                Some(NetError::Unreachable { detail, .. }) => Some(detail.clone()),
                // It may be complete, and only the last response was lost. Otherwise the registry does not know the
                // upload, or has other bytes.
                Some(NetError::NotFound { .. } | NetError::Status { status: 400 | 409 | 416, .. }) => None,
                _ => return Err(error),
            };
            if let Some(why) = &why {
                failures = if at.offset >= before + PROGRESS_BYTES { 1 } else { failures + 1 };
                let url = Url::parse(&at.url).map_err(|_| error.clone())?;
                self.cx.client.pause(&url, failures, why, None, self.cx.observer)?;
            }
            if self.source.has_blob(&self.image, &self.blob.digest, self.size_bytes, self.cx)? {
                break;
            }
            match why {
                Some(_) => known = self.status(&at.url, at.part_bytes)?,
                None if may_begin_anew => may_begin_anew = false,
                None => return Err(error),
            }
        }
        self.blob.memory.keep(None);
        Ok(Some(self.sent_bytes))
    }

    /// Begins an upload. `None`: nothing has to be sent, because the registry mounted the blob from another repository.
    fn begin(&self) -> Result<Option<At>> {
        let uploads = url_of(&self.image, self.cx, &["blobs", "uploads", ""])?;
        let elsewhere = self.blob.elsewhere.iter().filter_map(|reference| image_of(reference).ok());
        let from = elsewhere.into_iter().find(|from| from.host == self.image.host && from.name != self.image.name);
        let answer = match &from {
            Some(from) => {
                let query = [("mount", self.blob.digest.to_string()), ("from", from.name.clone())];
                let url = with_query(&uploads, &query)?;
                // A user without read access to that repository can still send the blob.
                self.post(&url, Some(from), &[201, 202]).map_or_else(|_| self.post(&uploads, None, &[202]), Ok)?
            }
            None => self.post(&uploads, None, &[202])?,
        };
        if answer.status() == 201 {
            check_named(&answer, &self.blob.digest)?;
            return Ok(None);
        }
        let least_bytes = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let part_bytes = PART_BYTES.max(least_bytes).min(MOST_PART_BYTES);
        Ok(Some(At { url: location_of(&answer)?, offset: 0, part_bytes }))
    }

    fn post(&self, url: &str, from: Option<&Image>, statuses: &[u16]) -> Result<Response> {
        self.source.ask(&self.image, from, self.cx, statuses, &|| {
            Ok(self.cx.client.request("POST", url).with_payload(Payload::Bytes(Vec::new())))
        })
    }

    /// The state of an upload as the registry reports it. `None`: the upload does not exist or cannot be resumed.
    fn status(&self, url: &str, part_bytes: u64) -> Result<Option<At>> {
        let statuses = [204, 400, 404, 405];
        let answer = self.source.ask(&self.image, None, self.cx, &statuses, &|| Ok(self.cx.client.get(url)))?;
        let offset = taken(&answer).filter(|offset| answer.status() == 204 && *offset <= self.size_bytes);
        let url = location_of(&answer).unwrap_or_else(|_| url.to_owned());
        Ok(offset.map(|offset| At { url, offset, part_bytes }))
    }

    fn go_on(&mut self, at: &mut At) -> Result<()> {
        let is_in_one_piece = at.offset == 0 && self.size_bytes <= at.part_bytes;
        while !is_in_one_piece && at.offset < self.size_bytes {
            let end = self.size_bytes.min(at.offset + at.part_bytes);
            let range = format!("{}-{}", at.offset, end - 1);
            let answer = self.send("PATCH", &at.url, at.offset..end, Some(range), &[202])?;
            self.sent_bytes += end - at.offset;
            at.url = location_of(&answer)?;
            at.offset = taken(&answer).unwrap_or(end);
            self.blob.memory.keep(Some(&at.url));
            if at.offset != end {
                let detail = format!("bytes up to {end} were sent, but it has them up to {}", at.offset);
                return Err(Error::Net { url: shown(answer.url()), source: NetError::unreachable(detail) });
            }
        }
        let rest = if is_in_one_piece { 0..self.size_bytes } else { 0..0 };
        let url = with_query(&at.url, &[("digest", self.blob.digest.to_string())])?;
        let answer = self.send("PUT", &url, rest.clone(), None, &[201])?;
        self.sent_bytes += rest.end;
        check_named(&answer, &self.blob.digest)
    }

    fn send(
        &self,
        method: &'static str,
        url: &str,
        range: Range<u64>,
        content_range: Option<String>,
        statuses: &[u16],
    ) -> Result<Response> {
        self.source.ask(&self.image, None, self.cx, statuses, &|| {
            let request = self.cx.client.request(method, url).with_header("content-type", "application/octet-stream");
            let request = content_range
                .iter()
                .fold(request, |request, range| request.with_header("content-range", range.as_str()));
            let payload = Payload::Part { of: self.blob.content, range: range.clone() };
            Ok(request.with_payload(payload).with_patience(PATIENCE).once())
        })
    }
}

/// How much the registry has of an upload. Some report `0-0` when they have nothing; at worst one byte is sent again.
fn taken(answer: &Response) -> Option<u64> {
    let last: u64 = answer.header("range")?.strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

fn with_query(url: &str, pairs: &[(&str, String)]) -> Result<String> {
    let mut url = Url::parse(url).map_err(|e| Error::Net {
        url: shown_text(url),
        source: NetError::malformed(format!("it is not a URL: {e}")),
    })?;
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url.into())
}
