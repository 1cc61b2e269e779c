//! What a reference names: `s3://bucket/key`; `s3://bucket/prefix/` for everything below the prefix;
//! `s3://bucket/prefix#name` for a model that was pushed there.
//!
//! The key is percent-decoded once: `%20` is a space, as in every other URL, and `%25` is a percent sign.

use percent_encoding::percent_decode_str;

use crate::digest::Digest;

/// Precedes the version of an object.
const VERSION: &str = "?versionId=";

/// The longest possible key, in bytes.
const MAX_KEY_BYTES: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    /// The key of the object, or the common prefix of all objects. A prefix ends with a slash, or is empty.
    pub(super) key: String,
    /// The requested version of the object.
    pub(super) version: Option<String>,
    /// A model that was pushed below the key.
    pub(super) name: Option<Name>,
}

/// How a pushed model is identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Tag(String),
    /// The digest of its manifest.
    Digest(Digest),
}

impl Name {
    /// Parses the text after the `#`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(digest) => Some(Name::Digest(digest)),
            Err(_) => is_name(text).then(|| Name::Tag(text.to_owned())),
        }
    }
}

impl Place {
    /// Parses the URL of a reference. The error says why it names nothing.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let rest = url.strip_prefix("s3://").ok_or("it does not begin with s3://")?;
        let (rest, name) = match rest.split_once('#') {
            Some((rest, name)) => {
                (rest, Some(Name::parse(name).ok_or("what follows the `#` is not the name of a model")?))
            }
            None => (rest, None),
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket(bucket) {
            return Err(
                "that is not the name of a bucket; write s3://bucket/key, or s3://bucket/prefix/ for all below it",
            );
        }
        let (key, version) = match key.split_once(VERSION) {
            Some((_, version)) if !is_version(version) => return Err("that is not the id of a version"),
            Some((key, version)) => (key, Some(version.to_owned())),
            None if key.contains('?') => return Err("it has a `?` in it; write %3F for one that is part of a key"),
            None => (key, None),
        };
        let key = percent_decode_str(key).decode_utf8().map_err(|_| "its key is not UTF-8")?.into_owned();
        if !is_key(&key) {
            return Err("its key has a `.` or `..` between slashes, or a control character, or is too long");
        }
        let place = Place { bucket: bucket.to_owned(), key, version, name };
        match &place.version {
            Some(_) if place.is_tree() || place.name.is_some() => Err("only an object has versions"),
            _ => Ok(place),
        }
    }

    /// Whether it stands for everything below the key.
    pub(super) fn is_tree(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// The last component of the key, or the bucket.
    pub(super) fn label(&self) -> &str {
        self.key.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&self.bucket)
    }
}

/// Whether image layouts allow the name: words separated by one of `-._:@+` or by `--`, in components separated by
/// slashes. A text that looks like a digest is not a name.
pub(super) fn is_name(text: &str) -> bool {
    let is_between = |c: char| matches!(c, '-' | '.' | '_' | ':' | '@' | '+');
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_part = |part: &str| part.replace("--", "-").split(is_between).all(is_word);
    text.len() <= 255 && !text.starts_with("sha256:") && text.split('/').all(is_part)
}

/// The name of a model with this id, if the user has not given one: the id itself if it is a valid name, otherwise what
/// is left of it. `None`: nothing is left.
pub(super) fn name_of(id: &str) -> Option<String> {
    if is_name(id) {
        return Some(id.to_owned());
    }
    // One `.` or `-` for everything between two words.
    let part = |text: &str| {
        let mut part = String::new();
        let mut between = "";
        for c in text.chars() {
            match c {
                c if c.is_ascii_alphanumeric() => {
                    part.push_str(if part.is_empty() { "" } else { between });
                    part.push(c);
                    between = "";
                }
                '.' => between = ".",
                _ if between.is_empty() => between = "-",
                _ => {}
            }
        }
        part
    };
    let text = id.split_once(":/").map_or(id, |(_, rest)| rest);
    let name = text.split('/').map(part).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    is_name(&name).then_some(name)
}

/// A bucket becomes the first label of a host or the first component of a path, and must be valid as both.
fn is_bucket(text: &str) -> bool {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=255).contains(&text.len())
        && text.bytes().all(is_of_names)
        && text.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

fn is_version(text: &str) -> bool {
    let is_of_ids = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(is_of_ids)
}

/// Whether a URL can name it: components with only dots would be resolved away before the request is sent.
pub(super) fn is_key(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES
        && !key.chars().any(char::is_control)
        && !key.split('/').any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("s3://b/k", "b", "k", None, "k")]
    #[case("s3://b/a/b%20c%2Bd%25.gguf", "b", "a/b c+d%.gguf", None, "b c+d%.gguf")]
    #[case("s3://b/a/b/", "b", "a/b/", None, "b")]
    #[case("s3://b/", "b", "", None, "b")]
    #[case("s3://b", "b", "", None, "b")]
    #[case("s3://a.b-c/k?versionId=3_a", "a.b-c", "k", Some("3_a"), "k")]
    #[case("s3://b/a//b", "b", "a//b", None, "b")]
    #[case("s3://b/a%23b%3F", "b", "a#b?", None, "a#b?")]
    fn what_a_reference_names(
        #[case] url: &str,
        #[case] bucket: &str,
        #[case] key: &str,
        #[case] version: Option<&str>,
        #[case] label: &str,
    ) {
        let place = Place::parse(url).unwrap();
        let version = version.map(str::to_owned);
        assert_eq!(place, Place { bucket: bucket.into(), key: key.into(), version, name: None });
        assert_eq!((place.label(), place.is_tree()), (label, key.is_empty() || key.ends_with('/')));
    }

    // Each is red when its check is removed.
    #[rstest]
    #[case("s3://", "name of a bucket")]
    #[case("s3://a@b/k", "name of a bucket")]
    #[case("s3://a:80/k", "name of a bucket")]
    #[case("s3://a..b/k", "name of a bucket")]
    #[case("s3://-a/k", "name of a bucket")]
    #[case("s3://a%2fb/k", "name of a bucket")]
    #[case("s3://b/../k", "its key has")]
    #[case("s3://b/%2e%2e/k", "its key has")]
    #[case("s3://b/a%00", "its key has")]
    #[case("s3://b/%ff", "not UTF-8")]
    #[case("s3://b/k?x=1", "a `?`")]
    #[case("s3://b/k?versionId=", "id of a version")]
    #[case("s3://b/k?versionId=a&x=b", "id of a version")]
    #[case("s3://b/k/?versionId=a", "only an object")]
    #[case("s3://b/k#", "name of a model")]
    #[case("s3://b/k#a b", "name of a model")]
    #[case("s3://b/k#a/", "name of a model")]
    #[case("s3://b/k#sha256:12", "name of a model")]
    #[case("s3://b/k?versionId=a#x", "only an object")]
    fn what_names_nothing(#[case] url: &str, #[case] problem: &str) {
        let error = Place::parse(url).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }

    #[test]
    fn what_was_pushed() {
        let name = |text: &str| Place::parse(text).unwrap().name.unwrap();
        assert_eq!(name("s3://b/p#llama3"), Name::Tag("llama3".into()));
        let digest = Digest::sha256_of(b"");
        assert_eq!(name(&format!("s3://b#{digest}")), Name::Digest(digest));
    }

    #[rstest]
    #[case("llama3:8b", Some("llama3:8b"))]
    #[case("hf:Org/Repo-GGUF@3f2a", Some("hf:Org/Repo-GGUF@3f2a"))]
    #[case("hf:org/repo/sub/A__b.gguf", Some("hf-org/repo/sub/A-b.gguf"))]
    #[case("file:/Models/My model (1).gguf", Some("Models/My-model-1.gguf"))]
    #[case("s3://bucket/a/#b", Some("bucket/a/b"))]
    #[case("..", None)]
    #[case("日本", None)]
    fn what_a_model_is_called(#[case] id: &str, #[case] name: Option<&str>) {
        assert_eq!(name_of(id).as_deref(), name);
        assert!(name.is_none_or(is_name));
    }
}
