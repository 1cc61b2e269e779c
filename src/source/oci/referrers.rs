//! Documents beside a manifest: its referrers, by the OCI distribution specification. If a registry keeps no list of
//! referrers, the list is under the tag that the specification defines for that.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::image::{Image, Version};
use super::upload::Upload;
use super::{OciSource, url_of};
use crate::digest::Digest;
use crate::error::Result;
use crate::net::Request;
use crate::read_at::InMemory;
use crate::source::Cx;
use crate::source::sink::Outgoing;
use crate::{oci, referrer};

/// A longer text is not a list of referrers.
pub(super) const MAX_LIST_BYTES: u64 = 4 << 20;

impl OciSource {
    /// The manifests that are listed as referrers of a manifest, which need not exist.
    pub(super) fn referrers(&self, image: &Image, subject: &Digest, cx: &Cx<'_>) -> Result<BTreeSet<Digest>> {
        let subject = subject.to_string();
        for url in [url_of(image, cx, &["referrers", &subject])?, url_of(image, cx, &["manifests", &tag_of(&subject)])?]
        {
            if let Some(list) = self.read(image, cx, &url, oci::INDEX, MAX_LIST_BYTES)? {
                return Ok(entries(&list).iter().filter_map(digest_of).collect());
            }
        }
        Ok(BTreeSet::new())
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
    pub(super) fn read(
        &self,
        image: &Image,
        cx: &Cx<'_>,
        url: &str,
        accept: &str,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>> {
        let get = || Ok::<Request<'_>, _>(cx.client.get(url).with_header("accept", accept).once());
        let response = self.ask(image, None, cx, &[200, 400, 404, 405], &get)?;
        if response.status() == 200 { response.bytes(limit_bytes).map(Some) } else { Ok(None) }
    }
}

/// `sha256-…`: the tag for the list, on a registry that keeps no list of referrers.
pub(super) fn tag_of(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

/// The entries of a list. A text that is not a list has none.
pub(super) fn entries(list: &[u8]) -> Vec<Value> {
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
