//! One range of a file. A server may send another range, the whole file, another version, or something else entirely.
//! All of these are detected here, so that readers need not care.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use url::Url;

use super::mirrors::Asked;
use super::{Cx, Opened, RemoteFile};
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::net::{Body, Purpose, Request, Response, Validator, shown, shown_text};
use crate::observer::Observer;

/// Where the URL of one file redirects to. A hub that redirects each request is asked once where the file is, and again
/// when the other server no longer provides it.
#[derive(Default)]
pub(super) struct Place(Mutex<Option<String>>);

/// Omits the URL, which may be signed.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.known().map(|url| shown_text(&url))).finish()
    }
}

impl Place {
    fn known(&self) -> Option<String> {
        self.lock().clone()
    }

    fn set(&self, url: &str) {
        *self.lock() = Some(url.to_owned());
    }

    /// Forgets a URL that no longer works. If another reader has learned a new one since, keeps that.
    fn forget(&self, failed: &str) {
        self.lock().take_if(|url| url == failed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cx<'_> {
    /// Opens a range of a file by HTTP, for [`Source::open`](super::Source::open). `headers` are the source's own, such
    /// as its token, and are sent only to the server of the file's URL.
    pub fn open_range(&self, file: &RemoteFile, headers: &[(&str, String)], range: Range<u64>) -> Result<Opened> {
        self.open_range_or(file, headers, range, &Response::into_error)
    }

    /// The same, but `refusal` converts an unsuccessful response of the file's own server to an error.
    pub(super) fn open_range_or(
        &self,
        file: &RemoteFile,
        headers: &[(&str, String)],
        range: Range<u64>,
        refusal: &dyn Fn(Response) -> Error,
    ) -> Result<Opened> {
        let get = |url: &str| self.client.get_range(url, range.clone(), file.validator.as_ref());
        if let Some(url) = self.place.and_then(Place::known) {
            match ask(file, get(&url).with_purpose(Purpose::Content), &range, self, &Response::into_error) {
                Err(error) if is_expired(&error) => {
                    tracing::debug!(url = shown_text(&file.url), %error, "asking the file's own server for a new \
                                                                          location");
                    self.place.into_iter().for_each(|place| place.forget(&url));
                }
                other => return other,
            }
        }
        let opened = ask(file, get(&file.url).with_headers(headers), &range, self, refusal)?;
        if opened.is_part && is_elsewhere(&file.url, &opened.url) {
            self.place.into_iter().for_each(|place| place.set(&opened.url));
        }
        Ok(opened)
    }
}

/// Opens a range at a mirror, for a file whose digest is known. The mirror must send exactly that range.
pub(super) fn open_at_mirror(
    file: &RemoteFile,
    asked: &Asked<'_>,
    range: Range<u64>,
    observer: &dyn Observer,
) -> Result<Body> {
    // The mirror has a validator of its own.
    let file = RemoteFile { validator: None, ..file.clone() };
    let request = asked.client.get_range(asked.url.as_str(), range.clone(), None).with_headers(asked.headers);
    let opened = ask(&file, request, &range, &Cx::new(asked.client, observer), &Response::into_error)?;
    match opened.is_part || opened.size_bytes == Some(range.end - range.start) {
        true => Ok(opened.body),
        false => Err(Error::Net { url: shown(asked.url), source: NetError::NoRanges }),
    }
}

/// Whether another server sent it. The file's own server may do so only because of the headers sent with each request.
fn is_elsewhere(first: &str, last: &str) -> bool {
    match (Url::parse(first), Url::parse(last)) {
        (Ok(first), Ok(last)) => first.origin() != last.origin(),
        _ => false,
    }
}

/// A signed URL expires, and the server it leads to may go away; the original server knows a new URL.
fn is_expired(error: &Error) -> bool {
    matches!(
        error.net(),
        Some(
            NetError::Denied { .. }
                | NetError::NotFound { .. }
                | NetError::Unreachable { .. }
                | NetError::Status { status: 400, .. }
        )
    )
}

/// Requests a range with a request built by the source.
pub(super) fn ask(
    file: &RemoteFile,
    request: Request<'_>,
    range: &Range<u64>,
    cx: &Cx<'_>,
    refusal: &dyn Fn(Response) -> Error,
) -> Result<Opened> {
    let response = request.send(cx.observer)?;
    let fail = |source| Error::Net { url: shown(response.url()), source };
    let is_part = response.status() == 206;
    let (range, size_bytes) = match response.status() {
        206 => (range.clone(), check_part(file, range, &response).map_err(fail)?),
        200 => {
            let size_bytes = check_whole(file, &response).map_err(fail)?;
            (0..size_bytes.unwrap_or(u64::MAX), size_bytes)
        }
        416 => return Err(fail(outside(file, &response))),
        _ => return Err(refusal(response)),
    };
    let (validator, url) = (response.validator(), response.final_url().to_owned());
    Ok(Opened { body: response.into_body(), range, size_bytes, validator, is_part, url })
}

/// Checks a 206: it must have the requested range, of a file with the same size and version. Some servers ignore
/// `If-Range`.
fn check_part(file: &RemoteFile, asked: &Range<u64>, response: &Response) -> Result<Option<u64>, NetError> {
    let given = response.content_range().and_then(|given| Some((given.range?, given.size_bytes)));
    let Some((range, size_bytes)) = given else {
        let (text, kind) = (response.header("content-range"), response.header("content-type").unwrap_or_default());
        let detail = format!("it is a part without a range (Content-Range {text:?}, type {kind:?})");
        return Err(NetError::Malformed { detail });
    };
    same_size(file, size_bytes)?;
    let end = asked.end.min(size_bytes.or(file.size_bytes).unwrap_or(u64::MAX));
    if range != (asked.start..end) {
        let detail =
            format!("bytes {} to {end} were requested, but {} to {} came", asked.start, range.start, range.end);
        return Err(NetError::Malformed { detail });
    }
    if let Some(length) = response.content_length().filter(|length| *length != range.end - range.start) {
        return Err(NetError::malformed(format!("{length} bytes came as the range {} to {}", range.start, range.end)));
    }
    same_version(file, response)?;
    Ok(size_bytes)
}

/// Checks a 200, which is the whole file: either the version has changed, or the server does not support ranges.
fn check_whole(file: &RemoteFile, response: &Response) -> Result<Option<u64>, NetError> {
    let size_bytes = response.content_length();
    same_size(file, size_bytes)?;
    same_version(file, response)?;
    Ok(size_bytes)
}

/// The error for a range that begins after the end of the file.
fn outside(file: &RemoteFile, response: &Response) -> NetError {
    let size_bytes = response.content_range().and_then(|given| given.size_bytes);
    match same_size(file, size_bytes) {
        Err(changed) => changed,
        Ok(()) => NetError::malformed("the server says that it has no such range"),
    }
}

fn same_size(file: &RemoteFile, size_bytes: Option<u64>) -> Result<(), NetError> {
    match (file.size_bytes, size_bytes) {
        (Some(before), Some(now)) if before != now => {
            Err(NetError::changed(format!("it had {before} bytes and has {now}")))
        }
        _ => Ok(()),
    }
}

/// Checks that the validator is unchanged. A server that does not repeat it has confirmed it by sending a 206.
fn same_version(file: &RemoteFile, response: &Response) -> Result<(), NetError> {
    let (before, now) = match &file.validator {
        Some(Validator::Etag(before)) => (before, response.header("etag")),
        Some(Validator::LastModified(before)) => (before, response.header("last-modified")),
        None => return Ok(()),
    };
    match now {
        Some(now) if now != before => Err(NetError::changed(format!("it was {before} and is {}", excerpt(now)))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when any known URL is forgotten: the URL that another reader just received is lost, and requested again.
    #[test]
    fn a_url_that_is_known_since_stays() {
        let place = Place::default();
        place.set("https://a.example/?secret=1");
        let failed = place.known().unwrap();
        place.set("https://a.example/?secret=2");
        place.forget(&failed);
        assert_eq!(place.known().as_deref(), Some("https://a.example/?secret=2"));
        assert!(!format!("{place:?}").contains("secret"));
        place.forget("https://a.example/?secret=2");
        assert_eq!(place.known(), None);
    }
}
