//! OCI registries: `oci://host[:port]/name[:tag|@sha256:…]`.
//!
//! A model in a registry is a manifest that names each of its files by digest. One request describes it completely.
//!
//! ```text
//! image.rs      what a reference names
//! api.rs        where things are at a registry, and what its answers mean
//! access.rs     tokens, and what registries ask for before they give anything
//! names.rs      what a repository of a model is called
//! options.rs    who asks, and where users of other tools have said so
//! referrers.rs  documents beside a manifest
//! outboards.rs  what each MiB of a model's files is, beside its manifest
//! push.rs       the same registries as somewhere that models can be pushed to
//! upload.rs     one blob on its way, which another process can go on with
//! login.rs      logins that are tried, and written where those tools read them too
//! auth_file.rs  the file that has them, and what else is in it
//! ```

mod access;
mod api;
mod auth_file;
mod image;
mod login;
mod names;
mod options;
mod outboards;
mod push;
mod referrers;
mod upload;

pub(crate) use image::server_of;
pub use login::{InvalidOciPlace, OciLogins, OciPlace};
pub use options::OciOptions;

/// The paths of a manifest's files, if the whole manifest is valid.
#[cfg(feature = "testing")]
pub(crate) fn files_of_manifest(bytes: &[u8]) -> Option<(crate::entry::ArtifactKind, Vec<String>)> {
    match manifest::read(bytes, &Selection::new(&[], &[])).ok()? {
        manifest::Content::Files(kind, files) => Some((kind, files.into_iter().map(|file| file.path).collect())),
        manifest::Content::Manifest(_) => None,
    }
}

/// Whether the text is a reference to a registry. If so, it must stand for the same after it is formatted.
#[cfg(feature = "testing")]
pub(crate) fn is_image(text: &str) -> bool {
    Image::parse(text).is_ok_and(|image| {
        let digest = Digest::sha256_of(b"").to_string();
        let named = Image::parse(&image.at(&digest)).expect("a reference that was written out is one");
        assert_eq!((&named.host, &named.name), (&image.host, &image.name), "{text:?} means something else");
        true
    })
}

/// Whether a repository can be named after an id. If so, the name must be valid.
#[cfg(feature = "testing")]
pub(crate) fn has_name(id: &str) -> bool {
    names::of_id(id).is_some_and(|name| {
        let image = Image::parse(&format!("oci://a.example/{name}"));
        assert!(image.is_ok(), "{id:?} has the name {name:?}, which is none");
        true
    })
}

use std::cell::RefCell;
use std::ops::Range;

use url::Url;

use super::lazy::Lazy;
use super::manifest;
use super::outboards::Found;
use super::selection::Selection;
use super::{Cx, Listing, Opened, RemoteFile, Sink, Source};
use crate::digest::Digest;
use crate::error::{Error, NetError, Result};
use crate::fetch::RemoteDocument;
use crate::model_ref::ModelRef;
use crate::net::{Response, shown_text};
use crate::observer::Event;
use access::{Access, For};
use api::{base_at, base_of, image_of, image_of_blob, named_by, no_login, refusal, url_of};
use image::{Image, Version};
use referrers::Lists;

/// OCI registries. Tokens that a registry has issued are reused.
#[derive(Debug)]
pub struct OciSource {
    options: Lazy<OciOptions>,
    access: Access,
    found: Found,
    lists: Lists,
}

impl OciSource {
    /// Creates the source with these logins.
    #[must_use]
    pub fn new(options: OciOptions) -> Self {
        OciSource::with(move || Ok(options))
    }

    /// Like `new`, but reads the logins when a registry first asks for one.
    #[must_use]
    pub fn with(read: impl FnOnce() -> Result<OciOptions> + Send + 'static) -> Self {
        OciSource {
            options: Lazy::new(read),
            access: Access::default(),
            found: Found::default(),
            lists: Lists::default(),
        }
    }

    /// Runs `act` at a registry, and once more with authorization if the registry asks for it. `act` receives the
    /// headers to send, and a function that converts an unsuccessful response to an error.
    fn with_access<T>(
        &self,
        image: &Image,
        cx: &Cx<'_>,
        act: impl FnMut(&[(&'static str, String)], &dyn Fn(Response) -> Error) -> Result<T>,
    ) -> Result<T> {
        self.with_access_from(image, None, cx, act)
    }

    /// The same, with access to another repository, `from`, that a blob is mounted from.
    fn with_access_from<T>(
        &self,
        image: &Image,
        from: Option<&Image>,
        cx: &Cx<'_>,
        mut act: impl FnMut(&[(&'static str, String)], &dyn Fn(Response) -> Error) -> Result<T>,
    ) -> Result<T> {
        let base = base_of(image, cx)?;
        let asked = For::image(image).with_from(from);
        let challenge = RefCell::new(None);
        let refuse = |response: Response| {
            if response.status() == 401 && response.url().origin() == base.origin() {
                *challenge.borrow_mut() = response.header("www-authenticate").map(str::to_owned);
            }
            refusal(response)
        };
        let denied = match act(&self.access.headers(&asked), &refuse) {
            Err(error) => error,
            done => return done,
        };
        let Some(challenge) = challenge.take() else { return Err(denied) };
        let options = self.options.get()?;
        let name_helper = |error| match (options.login(&image.host, &image.name), options.helper(&image.host)) {
            (None, Some(helper)) => no_login(error, helper),
            _ => error,
        };
        self.access.grant(&challenge, &asked, &base, options, cx, denied).map_err(name_helper)?;
        act(&self.access.headers(&asked), &refuse).map_err(name_helper)
    }

    /// Fetches a manifest. By digest, it may come from any server. For a tag the registry's answer counts, and a
    /// mirror's only if the registry does not respond.
    fn manifest(&self, image: &Image, cx: &Cx<'_>) -> Result<Manifest> {
        let is_tag = matches!(image.version, Version::Tag(_));
        if let Some(manifest) = if is_tag { None } else { manifest_at_mirror(image, cx)? } {
            return Ok(manifest);
        }
        let url = url_of(image, cx, &["manifests", &image.version.text()])?;
        let answer = self.with_access(image, cx, |headers, refuse| {
            let request = cx.client.get(&url).with_header("accept", manifest::MEDIA_TYPES).with_headers(headers);
            request.read_or(manifest::MAX_BYTES, cx.observer, refuse)
        });
        match answer {
            Err(error) if is_tag && error.is_unreachable() => {
                let Some(manifest) = manifest_at_mirror(image, cx)? else { return Err(error) };
                tracing::warn!(url, %error, by = manifest.named_by, "a mirror resolved the tag");
                let why = format!("{error}; {} resolved the tag", manifest.named_by);
                cx.observer.on(&Event::AskedElsewhere { what: &shown_text(&url), why: &why });
                Ok(manifest)
            }
            answer => Manifest::read(image, &url, image.host.clone(), answer?),
        }
    }
}

struct Manifest {
    digest: Digest,
    bytes: Vec<u8>,
    /// The host that vouches for the digest.
    named_by: String,
}

impl Manifest {
    fn read(image: &Image, url: &str, host: String, (response, bytes): (Response, Vec<u8>)) -> Result<Self> {
        let digest = Digest::sha256_of(&bytes);
        let expected = match &image.version {
            Version::Digest(digest) => Some(*digest),
            Version::Tag(_) => named_by(&response),
        };
        match expected.filter(|expected| *expected != digest) {
            Some(expected) => Err(Error::DigestMismatch { path: shown_text(url).into(), expected, actual: digest }),
            None => Ok(Manifest { digest, bytes, named_by: host }),
        }
    }
}

/// Fetches the manifest from the first mirror that has it.
fn manifest_at_mirror(image: &Image, cx: &Cx<'_>) -> Result<Option<Manifest>> {
    let url = url_of(image, cx, &["manifests", &image.version.text()])?;
    let url = Url::parse(&url).map_err(|_| Error::Net { url, source: NetError::malformed("it is not a URL") })?;
    let Some(mirrors) = cx.mirrors.and_then(|mirrors| mirrors.of(&url, Some(&image.host), cx.cancel())) else {
        return Ok(None);
    };
    mirrors.ask(cx.observer, |asked| {
        let request = asked.client.get(asked.url.as_str()).with_header("accept", manifest::MEDIA_TYPES);
        let answer = request.with_headers(asked.headers).read_or(manifest::MAX_BYTES, cx.observer, &refusal)?;
        let host = match image.version {
            Version::Digest(_) => image.host.clone(),
            Version::Tag(_) => asked.url.host_str().unwrap_or_default().to_owned(),
        };
        Manifest::read(image, asked.url.as_str(), host, answer)
    })
}

impl Source for OciSource {
    fn resolve(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Listing> {
        let image = image_of(reference)?;
        let selection = Selection::new(cx.include, cx.exclude);
        let fail = |detail: String| Error::Net { url: reference.shown(), source: NetError::NoModel { detail } };
        let named = self.manifest(&image, cx)?;
        let next = |digest: &Digest| {
            let image = Image { version: Version::Digest(*digest), ..image.clone() };
            self.manifest(&image, cx).map(|manifest| manifest.bytes)
        };
        let url = |digest: &Digest| url_of(&image, cx, &["blobs", &digest.to_string()]);
        let first = (named.digest, named.bytes.as_slice());
        let (kind, name, mut files) = manifest::model(first, image.label(), &selection, &fail, next, url)?;
        files.iter_mut().for_each(|file| file.registry = Some(image.host.clone()));
        let is_fixed = matches!(image.version, Version::Digest(_));
        let listing = Listing::new(name, kind, files).with_named_by(Some(named.named_by));
        Ok(listing.with_pinned(named.digest.to_string(), is_fixed))
    }

    /// The digest, if the reference has one.
    fn fixed(&self, reference: &ModelRef) -> Option<String> {
        match image_of(reference).ok()?.version {
            Version::Digest(digest) => Some(digest.to_string()),
            Version::Tag(_) => None,
        }
    }

    fn pin(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Option<String>> {
        let image = image_of(reference)?;
        let Version::Tag(tag) = &image.version else { return Ok(self.fixed(reference)) };
        let url = url_of(&image, cx, &["manifests", tag])?;
        self.with_access(&image, cx, |headers, refuse| {
            let request = cx.client.head(&url).with_header("accept", manifest::MEDIA_TYPES).with_headers(headers);
            let response = request.send(cx.observer)?;
            match response.status() {
                200 => Ok(named_by(&response).map(|digest| digest.to_string())),
                _ => Err(refuse(response)),
            }
        })
    }

    fn at(&self, reference: &ModelRef, pinned: &str) -> ModelRef {
        match image_of(reference) {
            Ok(image) => ModelRef::Url { url: image.at(pinned) },
            Err(_) => reference.clone(),
        }
    }

    fn open(&self, file: &RemoteFile, range: Range<u64>, cx: &Cx<'_>) -> Result<Opened> {
        let image = image_of_blob(&file.url)?;
        self.with_access(&image, cx, |headers, refuse| cx.open_range_or(file, headers, range.clone(), refuse))
    }

    fn group_values(&self, file: &RemoteFile, cx: &Cx<'_>) -> Option<Vec<[u8; 32]>> {
        self.values_of(file, &image_of_blob(&file.url).ok()?, cx)
    }

    fn documents(&self, reference: &ModelRef, cx: &Cx<'_>, take: &mut dyn FnMut(RemoteDocument)) -> Result<()> {
        let image = image_of(reference)?;
        match image.version {
            Version::Digest(_) => self.attached(&image, cx, take),
            Version::Tag(_) => Ok(()),
        }
    }

    fn sink(&self) -> Option<&dyn Sink> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Client, ClientOptions, Policy};

    // Red when a login is sent to a token server over a connection that others can read.
    #[test]
    fn tokens_of_https_come_by_https() {
        let policy = Policy::default().allow_list("a.example http://a.example").unwrap();
        let client = Client::new(policy, ClientOptions::default()).unwrap();
        let cx = Cx::new(&client, &());
        let options = OciOptions::default().with_login("a.example", "user", "secret");
        let (asked, base) =
            (For::image(&Image::parse("oci://a.example/b").unwrap()), Url::parse("https://a.example/").unwrap());
        let challenge = "Bearer realm=\"http://a.example/token\",service=\"a\"";
        let denied = Error::Net { url: String::new(), source: NetError::NoSize };
        let error = Access::default().grant(challenge, &asked, &base, &options, &cx, denied).unwrap_err();
        assert!(matches!(error.net(), Some(NetError::Refused(crate::error::Refused::Downgrade { .. }))), "{error}");
    }
}
