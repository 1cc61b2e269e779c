//! Registries as a place that models can be pushed to.
//!
//! Source: the [OCI distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push).

use std::collections::BTreeSet;

use url::Url;

use super::image::{Image, Version};
use super::upload::Upload;
use super::{OciSource, base_of, image_of, manifest, named_by, names, url_of};
use crate::digest::Digest;
use crate::error::{Error, NetError, Refused, Result};
use crate::excerpt::excerpt;
use crate::model_ref::ModelRef;
use crate::net::{Payload, Request, Response, shown, shown_text};
use crate::source::Cx;
use crate::source::outboards::MEDIA_TYPE;
use crate::source::sink::{Outgoing, Sink};
use crate::{oci, referrer};

impl Sink for OciSource {
    /// A repository.
    fn place(&self, target: &ModelRef) -> Result<String> {
        let image = image_of(target)?;
        Ok(format!("oci://{}/{}", image.host, image.name))
    }

    fn reference(&self, target: &ModelRef, manifest: &Digest) -> Result<String> {
        Ok(image_of(target)?.at(&manifest.to_string()))
    }

    /// A separate repository, below a target that ends in `/`.
    fn below(&self, target: &ModelRef, id: &str) -> Result<ModelRef> {
        let fail = |reason: &str| Error::InvalidRef { input: excerpt(&target.shown()), reason: reason.into() };
        let ModelRef::Url { url } = target else { return Err(fail("it is not a registry")) };
        let place = url.strip_suffix('/').ok_or_else(|| fail("for several models, it must end in /"))?;
        let name =
            names::of_id(id).ok_or_else(|| fail("an id has no characters that the name of a repository can have"))?;
        Ok(ModelRef::Url { url: format!("{place}/{name}") })
    }

    fn check(&self, target: &ModelRef, manifest: &Digest, tags: &[String]) -> Result<()> {
        versions(target, manifest, tags).map(drop)
    }

    /// A registry accepts a manifest only after all of its blobs.
    fn holds(&self, target: &ModelRef, manifest: &Digest, cx: &Cx<'_>) -> Result<bool> {
        let image = Image { version: Version::Digest(*manifest), ..image_of(target)? };
        Ok(self.tagged(&image, cx)?.is_some())
    }

    fn has(&self, target: &ModelRef, blob: &Digest, size_bytes: u64, cx: &Cx<'_>) -> Result<bool> {
        self.has_blob(&image_of(target)?, blob, size_bytes, cx)
    }

    fn put(&self, target: &ModelRef, blob: Outgoing<'_>, cx: &Cx<'_>) -> Result<Option<u64>> {
        Upload::new(self, image_of(target)?, blob, cx).run()
    }

    fn attach(&self, target: &ModelRef, manifest: &[u8], outboards: &[u8], cx: &Cx<'_>) -> Result<()> {
        let referrer = referrer::of_type(manifest, MEDIA_TYPE, outboards);
        OciSource::refer(self, &image_of(target)?, &Digest::sha256_of(manifest), &referrer, outboards, cx)
    }

    fn referrers(&self, target: &ModelRef, manifest: &Digest, cx: &Cx<'_>) -> Result<Option<BTreeSet<Digest>>> {
        OciSource::referrers(self, &image_of(target)?, manifest, cx).map(Some)
    }

    fn refer(&self, target: &ModelRef, manifest: &Digest, referrer: &[u8], document: &[u8], cx: &Cx<'_>) -> Result<()> {
        OciSource::refer(self, &image_of(target)?, manifest, referrer, document, cx)
    }

    fn publish(&self, target: &ModelRef, manifest: &[u8], _: &str, tags: &[String], cx: &Cx<'_>) -> Result<()> {
        let (image, digest) = (image_of(target)?, Digest::sha256_of(manifest));
        for version in versions(target, &digest, tags)? {
            let image = Image { version, ..image.clone() };
            if self.tagged(&image, cx)? != Some(digest) {
                self.put_manifest(&image, manifest, oci::MANIFEST, cx)?;
            }
        }
        Ok(())
    }
}

/// The versions that a manifest is published under: the one that the target names, and the tags.
fn versions(target: &ModelRef, digest: &Digest, tags: &[String]) -> Result<Vec<Version>> {
    let own = match image_of(target)?.version {
        Version::Digest(named) if named != *digest => {
            let reason = format!("it names a version other than {digest}, which is being pushed");
            return Err(Error::InvalidRef { input: excerpt(&target.shown()), reason });
        }
        // The manifest has its digest anyway.
        Version::Digest(_) if !tags.is_empty() => None,
        version => Some(version),
    };
    let no_tag = |tag: &str, reason: &str| Error::InvalidRef { input: excerpt(tag), reason: reason.into() };
    let tags = tags.iter().map(|tag| Image::tag(tag).map(Version::Tag).map_err(|reason| no_tag(tag, reason)));
    own.map(Ok).into_iter().chain(tags).collect()
}

impl OciSource {
    /// What a version stands for now; `None` if it does not exist.
    fn tagged(&self, image: &Image, cx: &Cx<'_>) -> Result<Option<Digest>> {
        let url = url_of(image, cx, &["manifests", &image.version.text()])?;
        let response = self.ask(image, None, cx, &[200, 404], &|| {
            Ok(cx.client.head(&url).with_header("accept", manifest::MEDIA_TYPES))
        })?;
        match (response.status(), &image.version) {
            (404, _) => Ok(None),
            // Some registries report no digest in such a response.
            (_, Version::Digest(digest)) => Ok(Some(*digest)),
            (_, Version::Tag(_)) => Ok(named_by(&response)),
        }
    }

    pub(super) fn has_blob(&self, image: &Image, blob: &Digest, size_bytes: u64, cx: &Cx<'_>) -> Result<bool> {
        let url = url_of(image, cx, &["blobs", &blob.to_string()])?;
        let response = self.ask(image, None, cx, &[200, 404], &|| Ok(cx.client.head(&url)))?;
        let is_of_its_size = response.content_length().is_none_or(|length| length == size_bytes);
        Ok(response.status() == 200 && is_of_its_size)
    }

    pub(super) fn put_manifest(&self, image: &Image, bytes: &[u8], media_type: &str, cx: &Cx<'_>) -> Result<Response> {
        let url = url_of(image, cx, &["manifests", &image.version.text()])?;
        let response = self.ask(image, None, cx, &[201], &|| {
            let request = cx.client.request("PUT", &url).with_header("content-type", media_type);
            Ok(request.with_payload(Payload::Bytes(bytes.to_vec())))
        })?;
        check_named(&response, &Digest::sha256_of(bytes))?;
        Ok(response)
    }

    /// Sends a request to a registry, with authorization if it asks for it. A response with a status other than
    /// `statuses` is an error.
    pub(super) fn ask<'c>(
        &self,
        image: &Image,
        from: Option<&Image>,
        cx: &Cx<'c>,
        statuses: &[u16],
        request: &dyn Fn() -> Result<Request<'c>>,
    ) -> Result<Response> {
        let base = base_of(image, cx)?;
        self.with_access_from(image, from, cx, |headers, refuse| {
            let request = request()?;
            // The registry may place an upload on another server.
            let is_its_own = Url::parse(request.url()).is_ok_and(|url| url.origin() == base.origin());
            let response = request.with_headers(if is_its_own { headers } else { &[] }).send(cx.observer)?;
            if statuses.contains(&response.status()) { Ok(response) } else { Err(refuse(response)) }
        })
    }
}

/// If a registry reports what it has stored, that must be what was sent.
pub(super) fn check_named(response: &Response, expected: &Digest) -> Result<()> {
    match named_by(response).filter(|actual| actual != expected) {
        Some(actual) => {
            let source = NetError::malformed(format!("it says that it has stored {actual} instead of {expected}"));
            Err(Error::Net { url: shown(response.url()), source })
        }
        None => Ok(()),
    }
}

/// The location that a response names. It must not be http if the response came by https.
pub(super) fn location_of(response: &Response) -> Result<String> {
    let fail = |source| Error::Net { url: shown(response.url()), source };
    let text =
        response.header("location").ok_or_else(|| fail(NetError::malformed("it does not say where to upload")))?;
    let url = response.url().join(text).map_err(|e| {
        let detail = format!("the place that it names for the upload is not a URL ({}): {e}", shown_text(text));
        fail(NetError::Malformed { detail })
    })?;
    if response.url().scheme() == "https" && url.scheme() != "https" {
        let origin = url.origin().ascii_serialization();
        return Err(fail(Refused::Downgrade { origin }.into()));
    }
    Ok(url.into())
}
