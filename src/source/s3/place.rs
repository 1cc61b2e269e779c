//! What a reference names: `s3://bucket/key`, and `s3://bucket/prefix/` for all below it.
//!
//! The key is percent-decoded, once: `%20` is a blank, as in every other URL, and `%25` is a percent sign.

use percent_encoding::percent_decode_str;

/// Before the version of an object.
const VERSION: &str = "?versionId=";

/// The longest key that there is, in bytes.
const MAX_KEY_BYTES: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    /// That of the object, or what the keys of all objects begin with: then it ends with a slash, or is empty.
    pub(super) key: String,
    /// Of the object.
    pub(super) version: Option<String>,
}

impl Place {
    /// Reads the URL of a reference. The error says why it names nothing.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let rest = url.strip_prefix("s3://").ok_or("it does not begin with s3://")?;
        if rest.contains('#') {
            return Err("it has a `#` in it; write %23 for one that is part of a key");
        }
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
        let place = Place { bucket: bucket.to_owned(), key, version };
        match &place.version {
            Some(_) if place.is_tree() => Err("only an object has versions"),
            _ => Ok(place),
        }
    }

    /// Whether it is all that is below the key.
    pub(super) fn is_tree(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// The last part of the key, or the bucket.
    pub(super) fn label(&self) -> &str {
        self.key.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&self.bucket)
    }
}

/// It is the first label of a host, or the first part of a path, and can be no other thing there.
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

/// Whether a URL can name it: one with dots between its slashes would be another one by the time that it is sent.
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
        assert_eq!(place, Place { bucket: bucket.into(), key: key.into(), version });
        assert_eq!((place.label(), place.is_tree()), (label, key.is_empty() || key.ends_with('/')));
    }

    // Each is red when its check is taken out.
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
    #[case("s3://b/k#x", "a `#`")]
    fn what_names_nothing(#[case] url: &str, #[case] problem: &str) {
        let error = Place::parse(url).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}
