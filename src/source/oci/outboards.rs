//! The BLAKE3 values of each MiB of a model's files, stored as a referrer of its manifest, by the OCI distribution
//! specification. If a registry keeps no list of referrers, it is under the tag that the specification defines for
//! that.

use serde_json::{Value, json};

use super::image::{Image, Version};
use super::upload::Upload;
use super::{OciSource, url_of};
use crate::digest::Digest;
use crate::error::Result;
use crate::net::Request;
use crate::oci;
use crate::read_at::InMemory;
use crate::source::outboards::{MAX_BYTES, MEDIA_TYPE, Outboards};
use crate::source::sink::Outgoing;
use crate::source::{Cx, RemoteFile};

/// A longer text is not a list of referrers.
const MAX_LIST_BYTES: u64 = 4 << 20;

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

    /// `None`: it does not exist.
    fn read(&self, image: &Image, cx: &Cx<'_>, url: &str, accept: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
        let get = || Ok::<Request<'_>, _>(cx.client.get(url).with_header("accept", accept).once());
        let response = self.ask(image, None, cx, &[200, 400, 404, 405], &get)?;
        if response.status() == 200 { response.bytes(limit_bytes).map(Some) } else { Ok(None) }
    }

    /// Uploads the document and its referrer for a manifest that need not exist yet.
    pub(super) fn attach_outboards(&self, image: &Image, manifest: &[u8], outboards: &[u8], cx: &Cx<'_>) -> Result<()> {
        let subject = Digest::sha256_of(manifest);
        for document in [outboards, b"{}"] {
            let digest = Digest::sha256_of(document);
            if !self.has_blob(image, &digest, document.len() as u64, cx)? {
                let content = InMemory { name: digest.to_string(), bytes: document };
                Upload::new(self, image.clone(), Outgoing::new(digest, &content), cx).run()?;
            }
        }
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::sha256_of(bytes), "size": bytes.len()});
        let referrer = json!({
            "schemaVersion": 2,
            "mediaType": oci::MANIFEST,
            "artifactType": MEDIA_TYPE,
            "config": descriptor(oci::EMPTY, b"{}"),
            "layers": [descriptor(MEDIA_TYPE, outboards)],
            "subject": descriptor(oci::MANIFEST, manifest),
        });
        let referrer = referrer.to_string().into_bytes();
        let at = |version| Image { version, ..image.clone() };
        let by_digest = at(Version::Digest(Digest::sha256_of(&referrer)));
        let response = self.put_manifest(&by_digest, &referrer, oci::MANIFEST, cx)?;
        if response.header("oci-subject").is_some() {
            return Ok(()); // the registry keeps the list
        }
        let tag = tag_of(&subject.to_string());
        let listed = self.read(image, cx, &url_of(image, cx, &["manifests", &tag])?, oci::INDEX, MAX_LIST_BYTES)?;
        let (digest, size_bytes) = (Digest::sha256_of(&referrer), referrer.len());
        let entry = json!({
            "mediaType": oci::MANIFEST, "artifactType": MEDIA_TYPE, "digest": digest, "size": size_bytes,
        });
        if let Some(list) = with_entry(listed.as_deref(), entry) {
            self.put_manifest(&at(Version::Tag(tag)), list.to_string().as_bytes(), oci::INDEX, cx)?;
        }
        Ok(())
    }
}

/// `sha256-…`: the tag for the list, on a registry that keeps no list of referrers.
fn tag_of(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

/// Our referrer in a list of referrers.
fn ours(list: &[u8]) -> Option<Digest> {
    let list: Value = serde_json::from_slice(list).ok()?;
    let is_ours = |entry: &&Value| entry.get("artifactType").and_then(Value::as_str) == Some(MEDIA_TYPE);
    list.get("manifests")?.as_array()?.iter().find(is_ours)?.get("digest")?.as_str()?.parse().ok()
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

/// The list with one more entry. `None`: it already has the entry. Replaces a text that is not a list.
fn with_entry(list: Option<&[u8]>, entry: Value) -> Option<Value> {
    let list = list.and_then(|list| serde_json::from_slice::<Value>(list).ok());
    let listed = list.and_then(|list| list.get("manifests")?.as_array().cloned());
    let mut entries = listed.unwrap_or_default();
    if entries.iter().any(|known| known.get("digest") == entry.get("digest")) {
        return None;
    }
    entries.push(entry);
    Some(json!({"schemaVersion": 2, "mediaType": oci::INDEX, "manifests": entries}))
}
