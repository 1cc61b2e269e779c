//! References to models: Hugging Face repositories, local files, URLs.

mod convert;
mod hf;
mod path;
mod signed;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::excerpt::{self, excerpt};
use crate::hint::Hint;

pub(crate) use hf::is_commit;
pub(crate) use path::absolute;

/// Where a model comes from, as a user writes it.
///
/// | text | reference |
/// | --- | --- |
/// | `hf:org/repo`, `hf:org/repo@revision`, `hf:org/repo/path`, `hf:org/repo@revision/path` | [`Hf`](ModelRef::Hf) |
/// | `http://…`, `https://…`, `s3://…`, `oci://…` | [`Url`](ModelRef::Url) |
/// | `file:/abs`, `file:///abs`, `file://localhost/abs`, `file:rel`, any other text without a foreign `scheme://` | [`File`](ModelRef::File) |
///
/// Schemes may be written in any case. Nothing is percent-decoded: `%2e%2e` is a name of six characters, here and
/// everywhere else, so that no two parts of a program can interpret a reference differently.
///
/// `Display` returns a string that parses to the same value, for every value that [`parse`](ModelRef::parse) returns.
///
/// ```
/// use catalog_core::ModelRef;
///
/// let model = ModelRef::parse("hf:org/repo@v1.0/q4.gguf")?;
/// assert_eq!(model.hf_revision(), Some("v1.0"));
/// assert_eq!(ModelRef::parse("./q4.gguf")?, ModelRef::File { path: "./q4.gguf".into() });
/// assert!(ModelRef::parse("ftp://host/q4.gguf").unwrap_err().is_invalid_input());
/// # Ok::<(), catalog_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelRef {
    /// A Hugging Face repository, or one path in it.
    Hf {
        /// The organisation or user.
        org: String,
        /// The repository, with the revision if one was given: `repo` or `repo@revision`.
        repo: String,
        /// A file or folder in the repository. `None`: the whole repository.
        path: Option<String>,
    },
    /// A file or directory on this machine.
    File {
        /// The path as it was written: a relative path stays relative.
        path: PathBuf,
    },
    /// Something on a server.
    Url {
        /// The URL as it was written, except for its lower-case scheme.
        url: String,
    },
}

impl ModelRef {
    /// Parses a reference. Looks only at the text, never at the disk or the network.
    pub fn parse(text: &str) -> Result<Self> {
        read(text).map_err(|reason| Error::InvalidRef { input: excerpt(&excerpt::reference(text)), reason })
    }

    /// The revision of a Hugging Face reference: the part of `repo` after the `@`.
    #[must_use]
    pub fn hf_revision(&self) -> Option<&str> {
        match self {
            ModelRef::Hf { repo, .. } => repo.split_once('@').map(|(_, revision)| revision),
            ModelRef::File { .. } | ModelRef::Url { .. } => None,
        }
    }

    /// `hf`, `file`, or the part of a URL before `://`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        match self {
            ModelRef::Hf { .. } => "hf",
            ModelRef::File { .. } => "file",
            ModelRef::Url { url } => url.split_once(':').map_or("", |(scheme, _)| scheme),
        }
    }

    /// The default id of the model: `file:/abs/path` for a local file, and otherwise the text of `Display` without the
    /// signature of a URL (S3, Google Cloud Storage, Azure, CloudFront), which differs each time and grants access.
    ///
    /// The path is made absolute, and `.` and `..` are resolved, so that a file named from two directories has one id.
    /// Symlinks are kept, because a link such as `models/current` is a name of its own. The file need not exist.
    ///
    /// Fails with [`Error::InvalidPath`] for a path that is not UTF-8. Does not check whether the text is short enough
    /// for an id; the catalog does.
    pub fn id(&self) -> Result<String> {
        let path = match self {
            ModelRef::File { path } => absolute(path)?,
            ModelRef::Url { url } => return Ok(signed::unsigned(url).into_owned()),
            other => return Ok(other.to_string()),
        };
        match path.to_str() {
            Some(text) => Ok(format!("file:{text}")),
            None => Err(Error::InvalidPath { path, reason: "it is not UTF-8 and cannot be an id", hint: Hint::GiveId }),
        }
    }
}

impl ModelRef {
    /// For errors and events: the text of `Display` without the user name, the password and the query of a URL, which
    /// may be secret.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            ModelRef::Url { url } => excerpt::url(url),
            other => other.to_string(),
        }
    }
}

/// Omits what may be secret.
impl fmt::Debug for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelRef::Hf { org, repo, path } => {
                f.debug_struct("Hf").field("org", org).field("repo", repo).field("path", path).finish()
            }
            ModelRef::File { path } => f.debug_struct("File").field("path", path).finish(),
            ModelRef::Url { .. } => f.debug_struct("Url").field("url", &self.shown()).finish(),
        }
    }
}

impl FromStr for ModelRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ModelRef::parse(text)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelRef::Hf { org, repo, path: None } => write!(f, "hf:{org}/{repo}"),
            ModelRef::Hf { org, repo, path: Some(path) } => write!(f, "hf:{org}/{repo}/{path}"),
            ModelRef::Url { url } => f.write_str(url),
            ModelRef::File { path } => {
                let text = path.to_string_lossy();
                let prefix = if text.starts_with("//") {
                    "file://" // after `file:` alone, the first name would be read as a host
                } else if path.is_absolute() || split_scheme(&text).is_some() {
                    "file:"
                } else {
                    ""
                };
                write!(f, "{prefix}{text}")
            }
        }
    }
}

fn read(text: &str) -> Result<ModelRef, String> {
    if text.is_empty() {
        return Err("it is empty; write a path, hf:org/repo or a URL".into());
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character; write it on one line, without tabs and NUL".into());
    }
    let Some((scheme, rest)) = split_scheme(text) else { return Ok(ModelRef::File { path: text.into() }) };
    match scheme.to_ascii_lowercase().as_str() {
        "hf" => hf::read(rest),
        "file" => Ok(ModelRef::File { path: path::read(rest)? }),
        scheme @ ("http" | "https" | "s3" | "oci") => Ok(ModelRef::Url { url: url::read(scheme, rest)? }),
        scheme if rest.starts_with("//") => Err(format!(
            "`{}://` is not supported; write http://, https://, s3://, oci:// or hf:, or download the file and write its path",
            excerpt(scheme)
        )),
        _ => Ok(ModelRef::File { path: text.into() }),
    }
}

/// Splits `scheme:rest`. A single letter is not a scheme: `C:\models` is a path.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
    let is_scheme =
        scheme.len() >= 2 && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(legal);
    is_scheme.then_some((scheme, rest))
}

/// The reason why `text` is rejected, for tables of rejected texts.
#[cfg(test)]
fn reason_of(text: &str) -> String {
    match ModelRef::parse(text) {
        Err(Error::InvalidRef { reason, .. }) => reason,
        other => panic!("{text:?} gives {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("", "it is empty; write")]
    #[case::nul("a\0b", "control character; write")]
    #[case::newline("hf:org/repo\n", "control character; write")]
    #[case::delete("a\u{7f}", "control character; write")]
    #[case::c1("https://host/\u{85}", "control character; write")]
    #[case::ftp("ftp://host/x", "`ftp://` is not supported; write")]
    #[case::foreign_in_any_case("GS://bucket/x", "`gs://` is not supported; write")]
    #[case::odd_scheme("git+ssh://host/x", "`git+ssh://` is not supported; write")]
    fn rejected_whatever_the_form(#[case] text: &str, #[case] reason: &str) {
        assert!(reason_of(text).contains(reason), "{}", reason_of(text));
    }

    #[test]
    fn an_error_quotes_no_more_than_fits_a_line() {
        let error = ModelRef::parse(&format!("{}://x", "a".repeat(100_000))).unwrap_err();
        assert!(error.is_invalid_input());
        assert!(error.to_string().len() < 600);
    }

    #[rstest]
    #[case::relative("models/a.gguf", "models/a.gguf")]
    #[case::dotted("./a.gguf", "./a.gguf")]
    #[case::absolute("/models/a.gguf", "file:/models/a.gguf")]
    #[case::two_slashes("//models/a.gguf", "file:////models/a.gguf")]
    #[case::org_and_repo("org/repo", "org/repo")]
    #[case::drive(r"C:\models\a.gguf", r"C:\models\a.gguf")]
    #[case::drive_with_slashes("c://x", "c://x")]
    #[case::unc(r"\\server\share", r"\\server\share")]
    #[case::a_scheme_further_in("./ftp://host", "./ftp://host")]
    #[case::a_colon_alone("model:q4", "file:model:q4")]
    #[case::no_scheme_at_all("1a://x", "1a://x")]
    #[case::blanks(" hf:a/b", " hf:a/b")]
    #[case::percent("%2e%2e/a", "%2e%2e/a")]
    fn any_other_text_is_a_path_as_written(#[case] text: &str, #[case] shown: &str) {
        let parsed = ModelRef::parse(text).unwrap();
        assert_eq!(parsed, ModelRef::File { path: text.into() });
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(ModelRef::parse(shown).unwrap(), parsed);
        assert_eq!((parsed.scheme(), parsed.hf_revision()), ("file", None));
    }

    #[test]
    fn the_id_is_the_display_but_absolute_for_files() {
        let here = std::env::current_dir().unwrap();
        let id = |text: &str| ModelRef::parse(text).unwrap().id().unwrap();
        assert_eq!(id("HF:org/repo@v1/a"), "hf:org/repo@v1/a");
        assert_eq!(id("HTTPS://Host/A"), "https://Host/A");
        assert_eq!(id("file:///no/such/./a"), "file:/no/such/a");
        assert_eq!(id("//no//such/a/"), "file:/no/such/a");
        assert_eq!(id("hf-models/a"), format!("file:{}/hf-models/a", here.display()));
        assert_eq!(id("file:hf:a"), format!("file:{}/hf:a", here.display()));
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf_8_has_no_id() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::ffi::OsStr::from_bytes(b"/models/\xff.gguf").into();
        let error = ModelRef::File { path }.id().unwrap_err();
        assert!(matches!(error, Error::InvalidPath { .. }) && error.hint() == Some(Hint::GiveId), "{error}");
    }
}
