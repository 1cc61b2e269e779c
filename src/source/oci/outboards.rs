//! The BLAKE3 values of each MiB of a model's files, stored as a referrer of its manifest.

use serde_json::Value;

use super::OciSource;
use super::image::{Image, Version};
use super::referrers::digest_of;
use crate::error::Result;
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
        let list = self.list(image, cx)?;
        let is_ours = |entry: &&Value| entry.get("artifactType").and_then(Value::as_str) == Some(MEDIA_TYPE);
        let referrer = list.iter().find(is_ours).and_then(digest_of);
        self.lists.keep(image, list);
        let described = referrer.map(|referrer| self.described(image, &referrer, cx)).transpose()?.flatten();
        let Some(described) = described.filter(|described| described.media_type == MEDIA_TYPE) else { return Ok(None) };
        let bytes = self.document(image, &described.document, MAX_BYTES, cx)?;
        Ok(bytes.and_then(|bytes| Outboards::decode(&bytes)))
    }
}
