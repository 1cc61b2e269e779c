//! A file on a web server.
//!
//! A `HEAD` response may be wrong or refused, so only the first part of the file counts: its response has the size and
//! the validator.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Cx, Listing, Opened, RemoteFile, Source};
use crate::entry::ArtifactKind;
use crate::error::{Error, NetError, Result};
use crate::model_ref::ModelRef;
use crate::net::{Validator, shown};

/// Files on web servers: `https://host/path`, and `http://` if the policy allows it.
#[derive(Debug, Default)]
pub struct HttpSource(());

impl HttpSource {
    /// Creates one source for all web servers.
    #[must_use]
    pub fn new() -> Self {
        HttpSource::default()
    }
}

impl Source for HttpSource {
    /// Requests the first byte. Pins the file's validator if the server provides one, combined with the size if it is a
    /// date.
    fn resolve(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Listing> {
        let url = match reference {
            ModelRef::Url { url } if matches!(reference.scheme(), "http" | "https") => url,
            other => {
                return Err(Error::NoFetcher { scheme: other.scheme().to_owned(), reference: other.shown() });
            }
        };
        let mut response = cx.client.get_range(url, 0..1, None).send(cx.observer)?;
        let size_bytes = match response.status() {
            200 => response.content_length(),
            206 => {
                response.content_range().filter(|given| given.range == Some(0..1)).and_then(|given| given.size_bytes)
            }
            416 => response.content_range().and_then(|given| given.size_bytes).filter(|size| *size == 0),
            _ => return Err(response.into_error()),
        };
        let Some(size_bytes) = size_bytes else {
            return Err(Error::Net { url: shown(response.url()), source: NetError::NoSize });
        };
        if response.status() == 206 {
            response.drain();
        }
        let validator = response.validator();
        let pinned = validator.as_ref().map(|validator| match validator {
            Validator::Etag(tag) => tag.clone(),
            // Two versions may be from the same second, or the date may be that of another file put in its place.
            Validator::LastModified(date) => format!("{size_bytes} {date}"),
        });
        let name = name_of(url);
        let mut file = RemoteFile::new(name.clone(), url).with_size(size_bytes).with_validator(validator);
        // Without a validator, nothing shows whether two parts belong to the same version, so read it as one stream.
        file.has_ranges = response.status() != 200 && file.validator.is_some();
        Ok(Listing::new(name, ArtifactKind::File, vec![file]).with_pinned(pinned, false))
    }

    fn open(&self, file: &RemoteFile, range: Range<u64>, cx: &Cx<'_>) -> Result<Opened> {
        cx.open_range(file, &[], range)
    }
}

/// The last path component that can be a file name, otherwise the name of the host.
fn name_of(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "file".into() };
    let last = url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty()));
    let decoded = last.map(percent_decoded).filter(|name| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && !name.contains(['/', '\\'])
            && !name.contains(char::is_control)
    });
    decoded.unwrap_or_else(|| url.host_str().unwrap_or("file").to_owned())
}

/// Leaves the text unchanged if the decoded bytes are not UTF-8.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://a.example/models/a.gguf", "a.gguf")]
    #[case("https://a.example/models/a%20b.gguf?x=/y.gguf#z", "a b.gguf")]
    #[case("https://a.example/models/", "models")]
    #[case("https://a.example", "a.example")]
    #[case("https://a.example/%2e%2e%2fetc", "a.example")]
    #[case("https://a.example/a%00b", "a.example")]
    #[case("https://a.example/%ff", "%ff")]
    #[case("https://a.example/100%", "100%")]
    fn the_name_of_a_file(#[case] url: &str, #[case] name: &str) {
        assert_eq!(name_of(url), name);
    }
}
