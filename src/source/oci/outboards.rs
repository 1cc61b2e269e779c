//! The BLAKE3 values of each MiB of a model's files, stored as a referrer of its manifest.

use serde_json::Value;

use super::image::{Image, Version};
use super::referrers::{MAX_LIST_BYTES, digest_of, entries, tag_of};
use super::{OciSource, url_of};
use crate::digest::Digest;
use crate::error::Result;
use crate::oci;
use crate::source::outboards::{MAX_BYTES, MEDIA_TYPE, Outboards};
use crate::source::{Cx, RemoteFile};

impl OciSource {
    /// The values of a file, from the document next to its manifest.
    pub(super) fn values_of(&self, file: &RemoteFile, blob: &Image, cx: &Cx<'_>) -> Option<Vec<[u8; 32]>> {
        let (Version::Digest(digest), manifest) = (&blob.version, file.manifest?) else { return None };
        let image = Image { version: Version::Digest(manifest), ..blob.clone() };
        self.found.values(image.at(&manifest.to_string()), (digest, file.size_bytes?), || self.find(&image, cx))
    }

    /// Requests the list of referrers, our referrer in it, and the document that it names.
    fn find(&self, image: &Image, cx: &Cx<'_>) -> Result<Option<Outboards>> {
        let version = image.version.text();
        let query = format!("{}?artifactType={MEDIA_TYPE}", url_of(image, cx, &["referrers", &version])?);
        let lists = [query, url_of(image, cx, &["manifests", &tag_of(&version)])?];
        for url in lists {
            let Some(list) = self.read(image, cx, &url, oci::INDEX, MAX_LIST_BYTES)? else { continue };
            let Some(referrer) = ours(&list) else { continue };
            let url = url_of(image, cx, &["manifests", &referrer.to_string()])?;
            let text = self.read(image, cx, &url, oci::MANIFEST, MAX_LIST_BYTES)?;
            let text = text.filter(|text| Digest::sha256_of(text) == referrer);
            let Some(document) = text.and_then(|text| document_of(&text, &version)) else { continue };
            let url = url_of(image, cx, &["blobs", &document.to_string()])?;
            let bytes = self.read(image, cx, &url, "*/*", MAX_BYTES)?;
            return Ok(bytes.filter(|bytes| Digest::sha256_of(bytes) == document).and_then(|b| Outboards::decode(&b)));
        }
        Ok(None)
    }
}

/// Our referrer in a list of referrers.
fn ours(list: &[u8]) -> Option<Digest> {
    let is_ours = |entry: &&Value| entry.get("artifactType").and_then(Value::as_str) == Some(MEDIA_TYPE);
    entries(list).iter().find(is_ours).and_then(digest_of)
}

/// The document that a referrer of this manifest names.
fn document_of(referrer: &[u8], subject: &str) -> Option<Digest> {
    let referrer: Value = serde_json::from_slice(referrer).ok()?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_of_it = text(referrer.get("subject")?, "digest").as_deref() == Some(subject);
    let layer = referrer.get("layers")?.as_array()?.first()?;
    let is_document = text(layer, "mediaType").as_deref() == Some(MEDIA_TYPE);
    text(layer, "digest").filter(|_| is_of_it && is_document)?.parse().ok()
}
