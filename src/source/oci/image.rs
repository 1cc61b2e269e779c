//! What a reference names: a registry, a repository in it, and a version of that.

use crate::digest::Digest;

/// The registry that `docker.io` stands for, and the name of its server.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// As users write it, with the port.
    pub(super) host: String,
    /// `org/repository`, with any number of components.
    pub(super) name: String,
    pub(super) version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// It may later stand for another version.
    Tag(String),
    Digest(Digest),
}

impl Image {
    /// Parses `oci://host[:port]/name[:tag][@sha256:…]`. If there are both a tag and a digest, the digest counts. The
    /// error says what is wrong with the text.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let rest = url.strip_prefix("oci://").ok_or("it does not begin with oci://")?;
        let (host, path) = rest.split_once('/').ok_or("it names no repository")?;
        if host.contains('@') {
            return Err("it has a user name in it");
        }
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => {
                (path, Some(digest.parse().map_err(|_| "what follows the @ is not a sha256 digest")?))
            }
            None => (path, None),
        };
        let (name, tag) = match path.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (path, None),
        };
        let tag = tag.map(Image::tag).transpose()?;
        if !name.split('/').all(is_component) {
            return Err("its name cannot be that of a repository: lower-case letters, digits, and . _ - between them");
        }
        let version = match digest {
            Some(digest) => Version::Digest(digest),
            None => Version::Tag(tag.unwrap_or_else(|| "latest".to_owned())),
        };
        let is_official = host == DOCKER_HUB.0 && !name.contains('/');
        let name = if is_official { format!("library/{name}") } else { name.to_owned() };
        Ok(Image { host: host.to_owned(), name, version })
    }

    /// A tag without a repository.
    pub(super) fn tag(text: &str) -> Result<String, &'static str> {
        if is_tag(text) { Ok(text.to_owned()) } else { Err("its tag cannot be one in a registry") }
    }

    /// The image of a blob, from the URL of the blob.
    pub(super) fn of_blob(server: &str, name: &str, digest: &str) -> Option<Self> {
        let host = if server == DOCKER_HUB.1 { DOCKER_HUB.0 } else { server };
        let version = Version::Digest(digest.parse().ok()?);
        name.split('/').all(is_component).then(|| Image { host: host.to_owned(), name: name.to_owned(), version })
    }

    /// The server of its registry.
    pub(super) fn server(&self) -> &str {
        server_of(&self.host)
    }

    /// The name of the model.
    pub(super) fn label(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// A reference that is fixed to this version.
    pub(super) fn at(&self, digest: &str) -> String {
        format!("oci://{}/{}@{digest}", self.host, self.name)
    }
}

impl Version {
    /// As the API writes it.
    pub(super) fn text(&self) -> String {
        match self {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        }
    }
}

/// The server of a registry.
pub(crate) fn server_of(host: &str) -> &str {
    if host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { host }
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`, from the OCI distribution specification.
fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(is_word) && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, from the same.
pub(super) fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_between = |between: &str| matches!(between, "." | "_" | "__") || between.chars().all(|c| c == '-');
    let mut between = text.split(is_word).filter(|between| !between.is_empty());
    text.starts_with(is_word) && text.ends_with(is_word) && between.all(is_between)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DIGEST: &str = "sha256:1ef0bef1eb6c8ec311d53e18138501725116d829ab11914a811d72812a5253cd";

    #[rstest]
    #[case("oci://a.example/tiny", "a.example", "tiny", "latest")]
    #[case("oci://127.0.0.1:5000/acme/models/tiny:q4_0", "127.0.0.1:5000", "acme/models/tiny", "q4_0")]
    #[case("oci://docker.io/tiny", "registry-1.docker.io", "library/tiny", "latest")]
    #[case("oci://docker.io/ai/tiny__a.b--c:V1", "registry-1.docker.io", "ai/tiny__a.b--c", "V1")]
    fn what_is_named(#[case] url: &str, #[case] server: &str, #[case] name: &str, #[case] tag: &str) {
        let image = Image::parse(url).unwrap();
        assert_eq!((image.server(), image.name.as_str()), (server, name));
        assert_eq!(image.version, Version::Tag(tag.into()));
    }

    // Red when the tag wins over the digest.
    #[test]
    fn a_digest_is_what_is_meant() {
        let image = Image::parse(&format!("oci://a.example/b/tiny:v1@{DIGEST}")).unwrap();
        assert_eq!(image.version.text(), DIGEST);
        assert_eq!(Image::parse(&image.at(DIGEST)), Ok(image.clone()));
        assert_eq!(image.label(), "tiny");
    }

    #[rstest]
    #[case("oci://a.example")]
    #[case("oci://a.example/")]
    #[case("oci://u@a.example/tiny")]
    #[case("oci://a.example/Tiny")]
    #[case("oci://a.example/tiny:")]
    #[case("oci://a.example/tiny:-v")]
    #[case("oci://a.example/tiny@sha256:12")]
    #[case("oci://a.example/../tiny")]
    #[case("oci://a.example/a//b")]
    #[case("oci://a.example/a___b")]
    #[case("oci://a.example/a?b")]
    #[case("oci://a.example/a#b")]
    #[case("oci://a.example/a_-b")]
    fn what_names_nothing(#[case] url: &str) {
        assert!(Image::parse(url).is_err(), "{:?}", Image::parse(url));
    }
}
