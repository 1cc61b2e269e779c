//! The URLs of a registry, and what its responses mean.
//!
//! Source: the [OCI distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md).

use serde::Deserialize;
use url::Url;

use super::image::Image;
use crate::digest::Digest;
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::model_ref::ModelRef;
use crate::net::{Response, is_local, shown, shown_text};
use crate::source::Cx;

/// How much to read at most of a registry's explanation of an error.
const MAX_REASON_BYTES: u64 = 64 << 10;

/// The digest of the manifest, if the registry reports it.
pub(super) fn named_by(response: &Response) -> Option<Digest> {
    response.header("docker-content-digest")?.parse().ok()
}

pub(super) fn image_of(reference: &ModelRef) -> Result<Image> {
    let ModelRef::Url { url } = reference else {
        return Err(Error::NoFetcher { scheme: reference.scheme().to_owned(), reference: reference.shown() });
    };
    Image::parse(url).map_err(|reason| Error::InvalidRef { input: excerpt(&reference.shown()), reason: reason.into() })
}

/// The registry and the repository of a URL built by `resolve`.
pub(super) fn image_of_blob(text: &str) -> Result<Image> {
    let fail = || Error::Net { url: shown_text(text), source: NetError::malformed("it is not a blob of a registry") };
    let url = Url::parse(text).map_err(|_| fail())?;
    let host = url.as_str().split('/').nth(2).ok_or_else(fail)?;
    let path = url.path().strip_prefix("/v2/").and_then(|path| path.rsplit_once("/blobs/"));
    let (name, digest) = path.ok_or_else(fail)?;
    Image::of_blob(host, name, digest).ok_or_else(fail)
}

/// The base URL of a registry. It is http on this machine, like in other tools, and where the policy allows only http.
pub(super) fn base_of(image: &Image, cx: &Cx<'_>) -> Result<Url> {
    base_at(image.server(), cx)
}

pub(super) fn base_at(server: &str, cx: &Cx<'_>) -> Result<Url> {
    let parse = |scheme: &str| {
        Url::parse(&format!("{scheme}://{server}/")).map_err(|e| Error::Net {
            url: shown_text(server),
            source: NetError::malformed(format!("it is not a host: {e}")),
        })
    };
    let (https, http) = (parse("https")?, parse("http")?);
    let is_plain = cx.client.may_ask(&http) && (is_local(&http) || !cx.client.may_ask(&https));
    Ok(if is_plain { http } else { https })
}

/// A URL of the registry's API.
pub(super) fn url_of(image: &Image, cx: &Cx<'_>, parts: &[&str]) -> Result<String> {
    let mut url = base_of(image, cx)?;
    let names = image.name.split('/').chain(parts.iter().copied());
    url.path_segments_mut().expect("an http URL has a path").pop_if_empty().push("v2").extend(names);
    Ok(url.into())
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Converts a response to an error, in the registry's own words.
pub(super) fn refusal(response: Response) -> Error {
    let (status, url, request_id) = (response.status(), shown(response.url()), response.request_id());
    let said = response.bytes(MAX_REASON_BYTES).ok().and_then(|bytes| serde_json::from_slice::<Errors>(&bytes).ok());
    let reason = said.and_then(|said| said.errors.into_iter().next()).map(|Reason { code, message }| {
        let text = if message.is_empty() { code } else { message };
        excerpt(&text.chars().filter(|c| !c.is_control()).collect::<String>())
    });
    let source = match status {
        401 | 403 => NetError::Denied { status, reason, page: None, request_id },
        404 => NetError::NotFound { status, reason, request_id },
        _ => NetError::Status { status, reason, request_id },
    };
    Error::Net { url, source }
}

/// Explains in the error that only a helper program has the login.
pub(super) fn no_login(denied: Error, helper: &str) -> Error {
    match denied {
        Error::Net { url, source: NetError::Denied { status, page, request_id, .. } } => {
            let reason =
                format!("the login is with the helper docker-credential-{}, which is never run", excerpt(helper));
            Error::Net { url, source: NetError::Denied { status, reason: Some(reason), page, request_id } }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::net::{Client, ClientOptions, Policy};

    fn client(rules: &[&str]) -> Client {
        let policy = rules.iter().fold(Policy::default(), |policy, rule| policy.allow(rule).unwrap());
        Client::new(policy, ClientOptions::default()).unwrap()
    }

    fn image(text: &str) -> Image {
        Image::parse(text).unwrap()
    }

    // Red when http is used although https is allowed, except on this machine.
    #[rstest]
    #[case(&["a.example"], "oci://a.example/b", "https://a.example/")]
    #[case(&["http://a.example:5000"], "oci://a.example:5000/b", "http://a.example:5000/")]
    #[case(&["http://a.example", "a.example"], "oci://a.example/b", "https://a.example/")]
    #[case(&[], "oci://a.example/b", "https://a.example/")]
    #[case(&["127.0.0.1:5000"], "oci://127.0.0.1:5000/b", "http://127.0.0.1:5000/")]
    #[case(&["https://127.0.0.1:5000"], "oci://127.0.0.1:5000/b", "https://127.0.0.1:5000/")]
    fn where_a_registry_is(#[case] rules: &[&str], #[case] reference: &str, #[case] base: &str) {
        let client = client(rules);
        assert_eq!(base_of(&image(reference), &Cx::new(&client, &())).unwrap().as_str(), base);
    }

    // Red when the URL of a blob does not lead back to its image.
    #[test]
    fn a_blob_is_of_its_image() {
        let client = client(&[]);
        let cx = Cx::new(&client, &());
        for reference in ["oci://a.example:444/b/c", "oci://docker.io/b"] {
            let image = image(reference);
            let digest = Digest::sha256_of(b"").to_string();
            let of_blob = image_of_blob(&url_of(&image, &cx, &["blobs", &digest]).unwrap()).unwrap();
            assert_eq!((of_blob.host, of_blob.name), (image.host, image.name));
        }
    }
}
