//! Which Hub to contact, and with which token: set by the program, or by the environment like that of the Hub's own
//! tools.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Error, Result};
use crate::net::endpoint;
use crate::net::file;

const HUGGING_FACE: &str = "https://huggingface.co";

/// A longer text is not a token.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Which Hub to contact, and with which token. The default is <https://huggingface.co> without a token.
///
/// ```
/// # use catalog_core::HfOptions;
/// let options = HfOptions::default().with_endpoint("https://hub.example.org")?.with_token("hf_secret")?;
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok::<(), catalog_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HfOptions {
    endpoint: Url,
    token: Option<Token>,
    is_offline: bool,
}

impl Default for HfOptions {
    fn default() -> Self {
        let endpoint = Url::parse(HUGGING_FACE).expect("it is a URL");
        HfOptions { endpoint, token: None, is_offline: false }
    }
}

impl HfOptions {
    /// Reads the environment: `HF_ENDPOINT`, `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`,
    /// `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`.
    pub fn from_env() -> Result<Self> {
        read(&Environment(&|name| std::env::var_os(name)))
    }

    /// Contacts another Hub or a mirror. The URL may have a path.
    pub fn with_endpoint(self, url: &str) -> Result<Self> {
        self.endpoint_of(url, "the endpoint of the Hub")
    }

    /// Sets the token. Only the Hub receives it, not the servers that it redirects to.
    pub fn with_token(mut self, token: &str) -> Result<Self> {
        self.token = Token::read(token, "the token")?;
        Ok(self)
    }

    /// Contacts no server.
    #[must_use]
    pub fn with_offline(mut self, is_offline: bool) -> Self {
        self.is_offline = is_offline;
        self
    }

    /// Whether no server may be contacted.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.is_offline
    }

    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// A URL of the Hub, below its endpoint. Special characters are escaped.
    pub(super) fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(parts);
        url
    }

    /// The path of such a URL below that of the endpoint.
    pub(super) fn below_endpoint<'a>(&self, url: &'a Url) -> &'a str {
        url.path().strip_prefix(self.endpoint.path()).unwrap_or(url.path()).trim_start_matches('/')
    }

    /// The token, only for URLs of the Hub itself.
    pub(super) fn headers(&self, url: &Url) -> Vec<(&'static str, String)> {
        let token = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin());
        token.map(|token| ("authorization", format!("Bearer {}", token.0))).into_iter().collect()
    }

    fn endpoint_of(mut self, text: &str, what: &str) -> Result<Self> {
        let url = endpoint(text).map_err(|reason| Error::InvalidNetSetting { what: what.into(), reason })?;
        self.endpoint = url;
        Ok(self)
    }
}

/// A secret token. It is never printed.
#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// `None`: the text is empty. A line break is rejected, because it could begin another header.
    fn read(text: &str, what: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable(what, "a token is one word of ASCII, without blanks and line breaks"));
        }
        Ok(Some(Token(text.to_owned())))
    }

    /// `None`: the file does not exist.
    fn read_file(path: &Path) -> Result<Option<Self>> {
        let what = path.display().to_string();
        match file::read_text(path, MAX_TOKEN_BYTES) {
            Ok(text) => Token::read(&text, &what),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unusable(&what, &e.to_string())),
        }
    }
}

fn unusable(what: &str, reason: &str) -> Error {
    Error::InvalidNetSetting { what: what.into(), reason: reason.into() }
}

struct Environment<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    fn text(&self, name: &str) -> Result<Option<String>> {
        match (self.0)(name).filter(|value| !value.is_empty()).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(unusable(name, "it is not UTF-8")),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from((self.0)(name).filter(|value| !value.is_empty())?);
        // Expand `~` like the Hub's tools, for values that no shell has expanded.
        match (path.strip_prefix("~"), self.home()) {
            (Ok(below), Some(home)) => Some(home.join(below)),
            _ => Some(path),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        (self.0)("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
    }

    fn is_true(&self, name: &str) -> bool {
        let value = (self.0)(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
        ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
    }

    fn token_file(&self) -> Option<PathBuf> {
        self.path("HF_TOKEN_PATH").or_else(|| {
            let cache = || self.path("XDG_CACHE_HOME").or_else(|| Some(self.home()?.join(".cache")));
            let home = self.path("HF_HOME").or_else(|| Some(cache()?.join("huggingface")))?;
            Some(home.join("token"))
        })
    }

    fn token(&self) -> Result<Option<Token>> {
        if self.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            let token = self.text(name)?.map(|text| Token::read(&text, name)).transpose()?;
            if let Some(Some(token)) = token {
                return Ok(Some(token));
            }
        }
        self.token_file().map_or(Ok(None), |path| Token::read_file(&path))
    }
}

fn read(environment: &Environment<'_>) -> Result<HfOptions> {
    let is_offline = environment.is_true("HF_HUB_OFFLINE") || environment.is_true("TRANSFORMERS_OFFLINE");
    let options = HfOptions { token: environment.token()?, is_offline, ..HfOptions::default() };
    match environment.text("HF_ENDPOINT")? {
        Some(url) => options.endpoint_of(&url, "HF_ENDPOINT"),
        None => Ok(options),
    }
}

#[cfg(test)]
mod tests;
