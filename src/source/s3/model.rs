//! A model that was pushed to a bucket: the index maps its name to a manifest, and the manifest lists its files.

use url::Url;

use super::layout::{self, Layout};
use super::place::Name;
use super::{S3Source, host};
use crate::digest::Digest;
use crate::error::{Error, NetError, Result};
use crate::net::{shown, shown_text};
use crate::source::manifest;
use crate::source::outboards::{MAX_BYTES, Outboards};
use crate::source::selection::Selection;
use crate::source::{Cx, Expected, Listing, RemoteFile};

impl S3Source {
    /// The manifest that a name stands for now, or that a digest always stands for.
    pub(super) fn digest_of(&self, layout: &Layout, cx: &Cx<'_>) -> Result<Digest> {
        let name = match &layout.name {
            Some(Name::Digest(digest)) => return Ok(*digest),
            Some(Name::Tag(name)) => name.as_str(),
            None => "",
        };
        let url = self.options.get()?.url(&layout.bucket, &layout.key(layout::INDEX))?;
        let fail = |source| Error::Net { url: shown(&url), source };
        let none = |reason: String| fail(NetError::NotFound { status: 404, reason: Some(reason), request_id: None });
        let Some((index, _)) = self.index(layout, cx)? else {
            return Err(none("nothing was pushed below this prefix: there is no index.json".into()));
        };
        let found = layout::find(&index, name).map_err(|detail| fail(NetError::Malformed { detail }))?;
        found.ok_or_else(|| none(format!("there is no model {name:?}, but {}", layout::some_names(&index).join(", "))))
    }

    pub(super) fn model(&self, layout: &Layout, cx: &Cx<'_>) -> Result<Listing> {
        let bucket = self.bucket(cx)?;
        let pinned = self.digest_of(layout, cx)?;
        let selection = Selection::new(cx.include, cx.exclude);
        let fail = |detail| {
            let url = layout.reference(&pinned.to_string());
            Error::Net { url, source: NetError::NoModel { detail } }
        };
        let url = |digest: &Digest| Ok(bucket.options.url(&layout.bucket, &layout.blob(digest))?.into());
        let next = |digest: &Digest| self.manifest(layout, digest, cx);
        let first = next(&pinned)?;
        let (kind, name, files) = manifest::model((pinned, &first), layout.label(), &selection, &fail, next, url)?;
        let is_fixed = matches!(layout.name, Some(Name::Digest(_)));
        let named_by = host(&bucket.options.url(&layout.bucket, "")?);
        Ok(Listing::new(name, kind, files).with_named_by(named_by).with_pinned(pinned.to_string(), is_fixed))
    }

    fn manifest(&self, layout: &Layout, digest: &Digest, cx: &Cx<'_>) -> Result<Vec<u8>> {
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.blob(digest))?;
        let request = bucket.request("GET", &url);
        let (_, bytes) = request.read_or(manifest::MAX_BYTES, cx.observer, &|response| bucket.refusal(response))?;
        match Digest::sha256_of(&bytes) {
            actual if actual == *digest => Ok(bytes),
            actual => Err(Error::DigestMismatch { path: shown_text(url.as_str()).into(), expected: *digest, actual }),
        }
    }

    /// The values of a file, from the document next to its manifest.
    pub(super) fn values_of(&self, file: &RemoteFile, cx: &Cx<'_>) -> Option<Vec<[u8; 32]>> {
        let (Expected::Sha256(digest), manifest) = (file.expected, file.manifest?) else { return None };
        let (before, _) = file.url.rsplit_once("blobs/sha256/")?;
        let url = Url::parse(&format!("{before}{}", layout::outboards(&manifest))).ok()?;
        self.found.values(url.to_string(), (&digest, file.size_bytes?), || {
            let bucket = self.bucket(cx)?;
            let request = bucket.request("GET", &url).once();
            let (_, bytes) = request.read_or(MAX_BYTES, cx.observer, &|response| bucket.refusal(response))?;
            Ok(Outboards::decode(&bytes))
        })
    }
}
