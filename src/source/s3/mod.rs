//! S3 buckets: `s3://bucket/key`, or `s3://bucket/prefix/` for all below it.
//!
//! ```text
//! place.rs        what a reference names
//! model.rs        a model that was pushed to a bucket
//! push.rs         buckets as somewhere that models can be pushed to
//! upload.rs       one object on its way; parts.rs: a large one
//! layout.rs       what a bucket has below the prefix of models: an image layout
//! bucket.rs       requests to a bucket, signed each time that they are made
//! list.rs         the objects below a prefix
//! xml.rs          what S3 says in XML
//! options.rs      where buckets are, and who asks
//! environment.rs  the environment; profile.rs: a profile of the AWS tools
//! credentials.rs  keys, and where they are found
//! ```

mod bucket;
mod credentials;
mod environment;
mod layout;
mod list;
mod model;
mod options;
mod parts;
mod place;
mod profile;
mod push;
mod upload;
mod xml;

pub use options::S3Options;

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::lazy::Lazy;
use super::outboards::Found;
use super::selection::Selection;
use super::{Cx, Expected, Listing, Opened, RemoteFile, Sink, Source, ranged};
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::model_ref::ModelRef;
use crate::net::{Response, Validator, shown};
use bucket::Bucket;
use credentials::Credentials;
use layout::Layout;
use place::{Name, Place};

/// The paths in one page of a list, below this prefix, if the whole page is valid. Also builds the text of an error.
#[cfg(feature = "testing")]
pub(crate) fn files_of_page(bytes: &[u8], prefix: &str) -> Option<Vec<String>> {
    let _ = xml::refusal(bytes).map(|refusal| refusal.text());
    let objects = xml::page(bytes).ok()?.contents;
    let files = list::files(&objects, prefix, &Selection::new(&[], &[])).ok()?;
    Some(files.into_iter().map(|(path, _)| path.to_owned()).collect())
}

/// Whether the text is a reference to an object, to everything below a prefix, or to a model. If so, its URL must lead
/// to its bucket.
#[cfg(feature = "testing")]
pub(crate) fn is_place(text: &str) -> bool {
    let url = |place: &Place| S3Options::default().with_path_style(true).url(&place.bucket, &place.key);
    Place::parse(text).is_ok_and(|place| {
        let url = url(&place).expect("what is named has a URL");
        assert_eq!(url.path().split('/').nth(1), Some(place.bucket.as_str()), "{text:?} leads to another bucket");
        if place.name.is_some() {
            let layout = Layout::of(place);
            let named = Place::parse(&layout.reference("a")).expect("a reference that was written out is one");
            assert_eq!(Layout::of(named).place(), layout.place(), "{text:?} means something else");
        }
        true
    })
}

/// S3 buckets. Credentials are searched for when a bucket is first contacted.
#[derive(Debug)]
pub struct S3Source {
    options: Lazy<S3Options>,
    credentials: Credentials,
    found: Found,
}

impl S3Source {
    /// Creates the source with these options.
    #[must_use]
    pub fn new(options: S3Options) -> Self {
        S3Source::with(move || Ok(options))
    }

    /// Like `new`, but reads the options when a bucket is first contacted.
    #[must_use]
    pub fn with(read: impl FnOnce() -> Result<S3Options> + Send + 'static) -> Self {
        S3Source { options: Lazy::new(read), credentials: Credentials::default(), found: Found::default() }
    }

    fn bucket<'a>(&'a self, cx: &Cx<'a>) -> Result<Bucket<'a>> {
        Ok(Bucket { options: self.options.get()?, credentials: &self.credentials, client: cx.client })
    }

    /// Inspects one object. A `HEAD` response cannot say why access was refused, so a failure is followed by a `GET`.
    fn object(&self, place: &Place, cx: &Cx<'_>) -> Result<Object> {
        let bucket = self.bucket(cx)?;
        let mut url = bucket.options.url(&place.bucket, &place.key)?;
        if let Some(version) = &place.version {
            url.query_pairs_mut().append_pair("versionId", version);
        }
        let response = bucket.request("HEAD", &url).with_header("x-amz-checksum-mode", "ENABLED").send(cx.observer)?;
        if response.status() != 200 {
            let asked = bucket.signed(cx.client.get_range(url.as_str(), 0..1, None)).send(cx.observer)?;
            // If it succeeds now, the first response is the error.
            let refused = if matches!(asked.status(), 200 | 206) { response } else { asked };
            return Err(bucket.refusal(refused));
        }
        let version = response.header("x-amz-version-id").filter(|version| *version != "null").map(str::to_owned);
        let Some(size_bytes) = response.content_length() else {
            return Err(Error::Net { url: shown(&url), source: NetError::NoSize });
        };
        let (validator, expected) = (response.validator(), expected(&response));
        Ok(Object { url: url.into(), size_bytes, validator, expected, version })
    }

    fn tree(&self, place: &Place, cx: &Cx<'_>) -> Result<Listing> {
        let bucket = self.bucket(cx)?;
        let url = bucket.options.url(&place.bucket, "")?;
        let fail = |source| Error::Net { url: shown(&url), source };
        let objects = list::objects(&bucket, &url, &place.key, cx)?;
        let selection = Selection::new(cx.include, cx.exclude);
        let files =
            list::files(&objects, &place.key, &selection).map_err(|detail| fail(NetError::Malformed { detail }))?;
        if files.is_empty() {
            return Err(fail(match objects.is_empty() {
                true => {
                    let reason = Some(format!("no key begins with {:?}", excerpt(&place.key)));
                    NetError::NotFound { status: 200, reason, request_id: None }
                }
                false => NetError::NoModel { detail: "none of its files is selected".into() },
            }));
        }
        let pinned = list::fingerprint(&files);
        let file = |(path, object): (&str, &xml::Object)| {
            if object.may_have_sha256() {
                let place = Place { key: object.key.clone(), ..place.clone() };
                return Ok(self.object(&place, cx)?.into_file(path));
            }
            let url = bucket.options.url(&place.bucket, &object.key)?;
            let validator = object.tag().and_then(|tag| Validator::of(Some(&tag), None));
            Ok(RemoteFile::new(path, url).with_size(object.size).with_validator(validator))
        };
        let files = files.into_iter().map(file).collect::<Result<Vec<_>>>()?;
        let named_by = if files.iter().all(|file| file.expected != Expected::Nothing) { host(&url) } else { None };
        let listing = Listing::new(place.label(), ArtifactKind::Tree, files).with_named_by(named_by);
        Ok(listing.with_pinned(pinned, false))
    }
}

/// What the headers of an object report.
struct Object {
    url: String,
    size_bytes: u64,
    validator: Option<Validator>,
    expected: Expected,
    /// The version, if the bucket has versions.
    version: Option<String>,
}

impl Object {
    fn into_file(self, path: &str) -> RemoteFile {
        let mut file = RemoteFile::new(path, self.url).with_size(self.size_bytes).with_expected(self.expected);
        // Without a tag, nothing shows whether two parts belong to the same version, so read it as one stream.
        file.has_ranges = self.validator.is_some();
        file.with_validator(self.validator)
    }
}

/// The SHA-256 of the whole object, if the server has it. One computed from the sums of its parts says nothing about
/// the object.
fn expected(response: &Response) -> Expected {
    let is_whole = response.header("x-amz-checksum-type").is_none_or(|kind| kind == "FULL_OBJECT");
    let sum = response.header("x-amz-checksum-sha256").filter(|_| is_whole);
    let bytes = sum.and_then(|sum| STANDARD.decode(sum).ok()).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(Expected::Nothing, |bytes| Expected::Sha256(Digest::from_sha256(bytes)))
}

fn host(url: &url::Url) -> Option<String> {
    url.host_str().map(str::to_owned)
}

fn place_of(reference: &ModelRef) -> Result<Place> {
    let ModelRef::Url { url } = reference else {
        return Err(Error::NoFetcher { scheme: reference.scheme().to_owned(), reference: reference.shown() });
    };
    Place::parse(url).map_err(|reason| Error::InvalidRef { input: excerpt(&reference.shown()), reason: reason.into() })
}

impl Source for S3Source {
    /// Pins an object to its version or its tag, a tree to the tags of all its files, and a model to the digest of its
    /// manifest.
    fn resolve(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Listing> {
        let place = place_of(reference)?;
        if place.name.is_some() {
            return self.model(&Layout::of(place), cx);
        }
        if place.is_tree() {
            return self.tree(&place, cx);
        }
        let object = self.object(&place, cx)?;
        let pinned = object.version.clone().or_else(|| object.validator.as_ref().map(|tag| tag.as_str().to_owned()));
        let is_named = object.expected != Expected::Nothing;
        let file = object.into_file(place.label());
        let url = self.options.get()?.url(&place.bucket, "")?;
        let listing = Listing::new(place.label(), ArtifactKind::File, vec![file]);
        let listing = listing.with_named_by(if is_named { host(&url) } else { None });
        Ok(listing.with_pinned(pinned, place.version.is_some()))
    }

    /// The version of an object, or the digest of a model.
    fn fixed(&self, reference: &ModelRef) -> Option<String> {
        let place = place_of(reference).ok()?;
        match place.name {
            Some(Name::Digest(digest)) => Some(digest.to_string()),
            Some(Name::Tag(_)) => None,
            None => place.version,
        }
    }

    /// What the index has under the name of a model.
    fn pin(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Option<String>> {
        let place = place_of(reference)?;
        match place.name {
            Some(_) => self.digest_of(&Layout::of(place), cx).map(|digest| Some(digest.to_string())),
            None => Ok(None),
        }
    }

    fn at(&self, reference: &ModelRef, pinned: &str) -> ModelRef {
        match place_of(reference) {
            Ok(place) if place.name.is_some() && pinned.parse::<Digest>().is_ok() => {
                ModelRef::Url { url: Layout::of(place).reference(pinned) }
            }
            _ => reference.clone(),
        }
    }

    fn group_values(&self, file: &RemoteFile, cx: &Cx<'_>) -> Option<Vec<[u8; 32]>> {
        self.values_of(file, cx)
    }

    fn sink(&self) -> Option<&dyn Sink> {
        Some(self)
    }

    /// S3 ignores `If-Range`.
    fn open(&self, file: &RemoteFile, range: Range<u64>, cx: &Cx<'_>) -> Result<Opened> {
        let bucket = self.bucket(cx)?;
        let mut request = bucket.signed(cx.client.get_range(&file.url, range.clone(), None));
        if let Some(Validator::Etag(tag)) = &file.validator {
            request = request.with_header("if-match", tag);
        }
        ranged::ask(file, request, &range, cx, &|response| bucket.refusal(response))
    }
}
