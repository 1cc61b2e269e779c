//! Buckets as a place that models can be pushed to: an image layout below the prefix.

use std::time::Duration;

use super::layout::{self, INDEX, Layout};
use super::place::{self, Name};
use super::upload::{self, If};
use super::{S3Source, place_of};
use crate::digest::Digest;
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::model_ref::ModelRef;
use crate::net::{Payload, random, shown};
use crate::oci;
use crate::read_at::InMemory;
use crate::source::Cx;
use crate::source::outboards::MEDIA_TYPE;
use crate::source::sink::{Outgoing, Sink};

/// How often to read the index again if others have changed it meanwhile. In each round, one of all writers succeeds.
const TIMES: u32 = 64;

impl Sink for S3Source {
    /// A bucket, with the prefix.
    fn place(&self, target: &ModelRef) -> Result<String> {
        Ok(layout_of(target)?.place())
    }

    fn reference(&self, target: &ModelRef, manifest: &Digest) -> Result<String> {
        Ok(layout_of(target)?.reference(&manifest.to_string()))
    }

    /// A separate name in the same index.
    fn below(&self, target: &ModelRef, id: &str) -> Result<ModelRef> {
        let layout = layout_of(target)?;
        if layout.name.is_some() {
            return Err(invalid(target, "it names one model; push several to s3://bucket/prefix"));
        }
        Ok(ModelRef::Url { url: layout.reference(&own_name(target, id)?) })
    }

    fn check(&self, target: &ModelRef, manifest: &Digest, tags: &[String]) -> Result<()> {
        let named = match layout_of(target)?.name {
            Some(Name::Digest(digest)) => Some(digest),
            _ => None,
        };
        if named.is_some_and(|named| named != *manifest) {
            return Err(invalid(target, &format!("it names a version other than {manifest}, which is being pushed")));
        }
        match tags.iter().find(|tag| !place::is_name(tag) || tag.contains('/')) {
            Some(tag) => {
                let reason = "it is not a tag: write letters and digits, with one of -._:@+ between them".into();
                Err(Error::InvalidRef { input: excerpt(tag), reason })
            }
            None => Ok(()),
        }
    }

    fn holds(&self, target: &ModelRef, manifest: &Digest, cx: &Cx<'_>) -> Result<bool> {
        let layout = layout_of(target)?;
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.blob(manifest))?;
        Ok(upload::head(&bucket, &url, cx)?.is_some_and(|head| {
            let size_bytes = head.size_bytes.unwrap_or(0);
            head.is(manifest, size_bytes)
        }))
    }

    fn has(&self, target: &ModelRef, blob: &Digest, size_bytes: u64, cx: &Cx<'_>) -> Result<bool> {
        let layout = layout_of(target)?;
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.blob(blob))?;
        Ok(upload::head(&bucket, &url, cx)?.is_some_and(|head| head.is(blob, size_bytes)))
    }

    fn put(&self, target: &ModelRef, blob: Outgoing<'_>, cx: &Cx<'_>) -> Result<Option<u64>> {
        let layout = layout_of(target)?;
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.blob(&blob.digest))?;
        upload::blob(&bucket, &url, &blob, cx)
    }

    fn attach(&self, target: &ModelRef, manifest: &[u8], outboards: &[u8], cx: &Cx<'_>) -> Result<()> {
        let layout = layout_of(target)?;
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.outboards(&Digest::sha256_of(manifest)))?;
        let (digest, payload) = (Digest::sha256_of(outboards), Payload::Bytes(outboards.to_vec()));
        // Another push of the same model has stored the same document.
        upload::put(&bucket, &url, payload, &digest, MEDIA_TYPE, &If::Absent, cx).map(drop)
    }

    /// Publishes under the target's name, or the id, and under `NAME:TAG` for each tag: other models have the same
    /// tags.
    fn publish(&self, target: &ModelRef, manifest: &[u8], id: &str, tags: &[String], cx: &Cx<'_>) -> Result<()> {
        let layout = layout_of(target)?;
        let own = match &layout.name {
            Some(Name::Tag(name)) => name.clone(),
            _ => own_name(target, id)?,
        };
        let mut names: Vec<String> = tags.iter().map(|tag| format!("{own}:{tag}")).collect();
        if !matches!(layout.name, Some(Name::Digest(_))) {
            names.push(own);
        }
        let digest = Digest::sha256_of(manifest);
        if !self.holds(target, &digest, cx)? {
            let content = InMemory { name: digest.to_string(), bytes: manifest };
            self.put(target, Outgoing::new(digest, &content), cx)?;
        }
        self.name(&layout, &digest, manifest.len() as u64, &names, cx)
    }
}

impl S3Source {
    /// Gives a manifest its names in the index. Others may change the index at the same time: only the version that was
    /// read is replaced.
    fn name(&self, layout: &Layout, digest: &Digest, size_bytes: u64, names: &[String], cx: &Cx<'_>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.key(INDEX))?;
        let fail = |detail: String| Error::Net { url: shown(&url), source: NetError::Malformed { detail } };
        for attempt in 0..TIMES {
            let before = self.index(layout, cx)?;
            let (bytes, condition) = match &before {
                Some((bytes, tag)) => (Some(bytes.as_slice()), If::Tag(tag.clone())),
                None => (None, If::Absent),
            };
            let Some(after) = layout::with_names(bytes, digest, size_bytes, names).map_err(fail)? else {
                return Ok(());
            };
            if before.is_none() {
                let mark = bucket.options.url(&layout.bucket, &layout.key(oci::LAYOUT.0))?;
                let (payload, digest) =
                    (Payload::Bytes(oci::LAYOUT.1.into()), Digest::sha256_of(oci::LAYOUT.1.as_bytes()));
                upload::put(&bucket, &mark, payload, &digest, "application/json", &If::Absent, cx)?;
            }
            let sum = Digest::sha256_of(&after);
            if upload::put(&bucket, &url, Payload::Bytes(after), &sum, oci::INDEX, &condition, cx)? {
                return Ok(());
            }
            // Wait a random time, so that writers that lost do not return together.
            let most = Duration::from_millis(50).saturating_mul(1 << attempt.min(5));
            cx.cancel().wait(most.mul_f64(random()), || format!("changing {}", shown(&url)))?;
        }
        Err(Error::Net {
            url: shown(&url),
            source: NetError::unreachable(format!("others have changed it {TIMES} times")),
        })
    }

    /// The index, and its tag. `None`: there is none.
    pub(super) fn index(&self, layout: &Layout, cx: &Cx<'_>) -> Result<Option<(Vec<u8>, String)>> {
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&layout.bucket, &layout.key(INDEX))?;
        let asked = bucket
            .request("GET", &url)
            .read_or(layout::MAX_INDEX_BYTES, cx.observer, &|response| bucket.refusal(response));
        let (response, bytes) = match asked {
            Err(Error::Net { source: NetError::NotFound { reason, .. }, .. })
                if reason.as_ref().is_none_or(|reason| reason.contains("NoSuchKey")) =>
            {
                return Ok(None);
            }
            other => other?,
        };
        let tag = response.header("etag").map(str::to_owned);
        let tag = tag.ok_or_else(|| Error::Net { url: shown(&url), source: NetError::malformed("it has no tag") })?;
        Ok(Some((bytes, tag)))
    }
}

fn own_name(target: &ModelRef, id: &str) -> Result<String> {
    place::name_of(id)
        .ok_or_else(|| invalid(target, "an id has no characters that a name can have; write a name after a `#`"))
}

fn invalid(target: &ModelRef, reason: &str) -> Error {
    Error::InvalidRef { input: excerpt(&target.shown()), reason: reason.into() }
}

pub(super) fn layout_of(target: &ModelRef) -> Result<Layout> {
    let place = place_of(target)?;
    match place.version {
        Some(_) => Err(invalid(target, "models cannot be pushed to a version of an object")),
        None => Ok(Layout::of(place)),
    }
}
