//! Documents beside a manifest: its referrers, by the OCI distribution specification. If a registry keeps no list of
//! referrers, the list is under the tag that the specification defines for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::image::{Image, Version};
use super::upload::Upload;
use super::{OciSource, url_of};
use crate::digest::Digest;
use crate::entry::DocumentKind;
use crate::error::Result;
use crate::fetch::RemoteDocument;
use crate::net::Request;
use crate::read_at::InMemory;
use crate::referrer::Described;
use crate::source::Cx;
use crate::source::sink::Outgoing;
use crate::{oci, referrer};

/// A longer text is not a list of referrers.
const MAX_LIST_BYTES: u64 = 4 << 20;

/// No model needs more, and a registry may list any number.
const MOST_DOCUMENTS: usize = 100;

const MOST_LISTS: usize = 16;

/// Lists of referrers that were requested for the outboards of a model and that its documents are found in next. Each
/// is used once, so that it is not out of date.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<BTreeMap<String, Vec<Value>>>);

impl Lists {
    pub(super) fn keep(&self, image: &Image, list: Vec<Value>) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= MOST_LISTS {
            lists.clear();
        }
        lists.insert(image.at(&image.version.text()), list);
    }

    fn take(&self, image: &Image) -> Option<Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&image.at(&image.version.text()))
    }
}

impl OciSource {
    /// The manifests that are listed as referrers of a manifest, which need not exist.
    pub(super) fn referrers(&self, image: &Image, subject: &Digest, cx: &Cx<'_>) -> Result<BTreeSet<Digest>> {
        let image = Image { version: Version::Digest(*subject), ..image.clone() };
        Ok(self.list(&image, cx)?.iter().filter_map(digest_of).collect())
    }

    /// Requests the list of referrers of a manifest.
    pub(super) fn list(&self, image: &Image, cx: &Cx<'_>) -> Result<Vec<Value>> {
        let subject = image.version.text();
        for url in [url_of(image, cx, &["referrers", &subject])?, url_of(image, cx, &["manifests", &tag_of(&subject)])?]
        {
            let list = self.read(image, cx, &url, oci::INDEX, MAX_LIST_BYTES)?;
            if let Some(list) = list.as_deref().map(entries).filter(|list| !list.is_empty()) {
                return Ok(list);
            }
        }
        Ok(Vec::new())
    }

    /// Fetches the documents that a catalog has attached to a manifest.
    pub(super) fn attached(&self, image: &Image, cx: &Cx<'_>, take: &mut dyn FnMut(RemoteDocument)) -> Result<()> {
        let list = self.lists.take(image).map_or_else(|| self.list(image, cx), Ok)?;
        let is_document =
            |entry: &&Value| entry.get("annotations").is_some_and(|all| all.get(referrer::KIND).is_some());
        for referrer in list.iter().filter(is_document).filter_map(digest_of).take(MOST_DOCUMENTS) {
            let Some(described) = self.described(image, &referrer, cx)? else { continue };
            let (Some(name), Some(kind)) = (described.name, described.kind) else { continue };
            let Some(bytes) = self.document(image, &described.document, referrer::MAX_BYTES, cx)? else { continue };
            take(RemoteDocument::new(kind.parse().unwrap_or(DocumentKind::Doc), name, bytes));
        }
        Ok(())
    }

    /// Reads a referrer of this manifest. `None`: it is not there, or has other bytes, or belongs to another manifest.
    pub(super) fn described(&self, image: &Image, referrer: &Digest, cx: &Cx<'_>) -> Result<Option<Described>> {
        let url = url_of(image, cx, &["manifests", &referrer.to_string()])?;
        let text = self.read(image, cx, &url, oci::MANIFEST, MAX_LIST_BYTES)?;
        let text = text.filter(|text| Digest::sha256_of(text) == *referrer);
        Ok(text.and_then(|text| referrer::read(&text, &image.version.text())))
    }

    /// Reads a document. `None`: it is not there, or has other bytes.
    pub(super) fn document(
        &self,
        image: &Image,
        document: &Digest,
        limit_bytes: u64,
        cx: &Cx<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let url = url_of(image, cx, &["blobs", &document.to_string()])?;
        let bytes = self.read(image, cx, &url, "*/*", limit_bytes)?;
        Ok(bytes.filter(|bytes| Digest::sha256_of(bytes) == *document))
    }

    /// Uploads a document and its referrer for a manifest that need not exist yet.
    pub(super) fn refer(
        &self,
        image: &Image,
        subject: &Digest,
        referrer: &[u8],
        document: &[u8],
        cx: &Cx<'_>,
    ) -> Result<()> {
        for content in [document, referrer::CONFIG] {
            let digest = Digest::sha256_of(content);
            if !self.has_blob(image, &digest, content.len() as u64, cx)? {
                let content = InMemory { name: digest.to_string(), bytes: content };
                Upload::new(self, image.clone(), Outgoing::new(digest, &content), cx).run()?;
            }
        }
        let at = |version| Image { version, ..image.clone() };
        let by_digest = at(Version::Digest(Digest::sha256_of(referrer)));
        let response = self.put_manifest(&by_digest, referrer, oci::MANIFEST, cx)?;
        if response.header("oci-subject").is_some() {
            return Ok(()); // the registry keeps the list
        }
        let tag = tag_of(&subject.to_string());
        let listed = self.read(image, cx, &url_of(image, cx, &["manifests", &tag])?, oci::INDEX, MAX_LIST_BYTES)?;
        if let Some(list) = with_entry(listed.as_deref(), referrer::descriptor(referrer)) {
            self.put_manifest(&at(Version::Tag(tag)), list.to_string().as_bytes(), oci::INDEX, cx)?;
        }
        Ok(())
    }

    /// `None`: it does not exist.
    fn read(&self, image: &Image, cx: &Cx<'_>, url: &str, accept: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
        let get = || Ok::<Request<'_>, _>(cx.client.get(url).with_header("accept", accept).once());
        let response = self.ask(image, None, cx, &[200, 400, 404, 405], &get)?;
        if response.status() == 200 { response.bytes(limit_bytes).map(Some) } else { Ok(None) }
    }
}

/// `sha256-…`: the tag for the list, on a registry that keeps no list of referrers.
fn tag_of(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

/// The entries of a list. A text that is not a list has none.
fn entries(list: &[u8]) -> Vec<Value> {
    let list = serde_json::from_slice::<Value>(list).ok();
    list.and_then(|list| list.get("manifests")?.as_array().cloned()).unwrap_or_default()
}

pub(super) fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

/// The list with one more entry. `None`: it already has the entry. Replaces a text that is not a list.
fn with_entry(list: Option<&[u8]>, entry: Value) -> Option<Value> {
    let mut entries = list.map(entries).unwrap_or_default();
    if entries.iter().any(|known| known.get("digest") == entry.get("digest")) {
        return None;
    }
    entries.push(entry);
    Some(json!({"schemaVersion": 2, "mediaType": oci::INDEX, "manifests": entries}))
}
