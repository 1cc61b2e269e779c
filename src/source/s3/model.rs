//! A model that was pushed to a bucket: the index says which manifest its name means, the manifest says which files it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use url::Url;

use super::layout::{self, Layout};
use super::place::Name;
use super::{S3Source, host};
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::{Error, NetError, Result};
use crate::net::{shown, shown_text};
use crate::source::manifest::{self, Content};
use crate::source::outboards::{MAX_BYTES, Outboards};
use crate::source::selection::Selection;
use crate::source::{Cx, Expected, Listing, RemoteFile};

/// Of a tree of a hundred thousand files, this is enough.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Those of models that are fetched just now are kept.
const MOST_KEPT: usize = 16;

/// What each MiB of files is, by where that was asked for.
#[derive(Debug, Default)]
pub(super) struct Found(Mutex<BTreeMap<String, Arc<OnceLock<Option<Outboards>>>>>);

impl S3Source {
    /// The manifest that a name means now, or a digest always.
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
            return Err(none("nothing was pushed to below this prefix: there is no index.json".into()));
        };
        let found = layout::find(&index, name).map_err(|detail| fail(NetError::Malformed { detail }))?;
        found.ok_or_else(|| none(format!("there is no model {name:?}, but {}", layout::some_names(&index).join(", "))))
    }

    pub(super) fn model(&self, layout: &Layout, cx: &Cx<'_>) -> Result<Listing> {
        let bucket = self.bucket(cx)?;
        let pinned = self.digest_of(layout, cx)?;
        let selection = Selection::new(cx.include, cx.exclude);
        let read = |digest: &Digest| {
            let bytes = self.manifest(layout, digest, cx)?;
            let fail = |detail| Error::Net {
                url: layout.reference(&digest.to_string()),
                source: NetError::NoModel { detail },
            };
            manifest::read(&bytes, &selection).map_err(fail)
        };
        let (kind, files, named_in) = match read(&pinned)? {
            Content::Files(kind, files) => (kind, files, pinned),
            Content::Manifest(digest) => match read(&digest)? {
                Content::Files(kind, files) => (kind, files, digest),
                Content::Manifest(_) => {
                    let source = NetError::NoModel { detail: "it is a list of lists".into() };
                    return Err(Error::Net { url: layout.reference(&pinned.to_string()), source });
                }
            },
        };
        let name = match (kind, files.as_slice()) {
            (ArtifactKind::File, [file]) => file.path.rsplit('/').next().unwrap_or(&file.path).to_owned(),
            _ => layout.label().to_owned(),
        };
        let file = |file: manifest::LayerFile| {
            let url = bucket.options.url(&layout.bucket, &layout.blob(&file.digest))?;
            let remote = RemoteFile::new(file.path, url).with_size(file.size_bytes).with_manifest(named_in);
            Ok(remote.with_expected(Expected::Sha256(file.digest)))
        };
        let files = files.into_iter().map(file).collect::<Result<_>>()?;
        let is_fixed = matches!(layout.name, Some(Name::Digest(_)));
        let named_by = host(&bucket.options.url(&layout.bucket, "")?);
        Ok(Listing::new(name, kind, files).with_named_by(named_by).with_pinned(pinned.to_string(), is_fixed))
    }

    fn manifest(&self, layout: &Layout, digest: &Digest, cx: &Cx<'_>) -> Result<Vec<u8>> {
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.blob(digest))?;
        let request = bucket.request("GET", &url);
        let (_, bytes) = request.read_or(MAX_MANIFEST_BYTES, cx.observer, &|response| bucket.refusal(response))?;
        match Digest::sha256_of(&bytes) {
            actual if actual == *digest => Ok(bytes),
            actual => Err(Error::DigestMismatch { path: shown_text(url.as_str()).into(), expected: *digest, actual }),
        }
    }

    /// The values of a file, from what is beside its manifest. Nobody is asked twice, and who does not answer is no hindrance.
    pub(super) fn values_of(&self, file: &RemoteFile, cx: &Cx<'_>) -> Option<Vec<[u8; 32]>> {
        let (Expected::Sha256(digest), Some(manifest)) = (file.expected, file.manifest) else { return None };
        let (before, _) = file.url.rsplit_once("blobs/sha256/")?;
        let url = Url::parse(&format!("{before}{}", layout::outboards(&manifest))).ok()?;
        let found = {
            let mut kept = self.found.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= MOST_KEPT && !kept.contains_key(url.as_str()) {
                kept.clear();
            }
            Arc::clone(kept.entry(url.to_string()).or_default())
        };
        let found = found.get_or_init(|| {
            let bucket = self.bucket(cx).ok()?;
            let request = bucket.request("GET", &url).once();
            let read = request.read_or(MAX_BYTES, cx.observer, &|response| bucket.refusal(response));
            let read = read.inspect_err(|error| tracing::debug!(%error, "what its parts are is not known beforehand"));
            Outboards::decode(&read.ok()?.1)
        });
        found.as_ref()?.of(&digest, file.size_bytes?).map(<[_]>::to_vec)
    }
}
