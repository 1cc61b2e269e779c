//! Logins for registries: given by the program, or read from the files in which other tools store them.
//!
//! The files are those of containers-auth.json(5) and Docker's `config.json`. A credential helper that they name is
//! never run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::net::file;

/// A larger file is not one of these.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The key of `docker.io` in Docker's own file.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Logins for registries. The default has none.
///
/// ```
/// # use catalog_core::OciOptions;
/// let options = OciOptions::default().with_login("registry.example.org", "user", "secret");
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct OciOptions {
    /// By what they are for: a registry, or a part of one.
    logins: BTreeMap<String, Login>,
    /// The helper for each registry whose login only a helper has.
    helpers: BTreeMap<String, String>,
    /// The helper for all other registries.
    store: Option<String>,
}

/// A user and a password, or a token in their place.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    /// Empty if there is none.
    pub(super) password: String,
    /// An OAuth2 refresh token, for which a registry issues access tokens, instead of a password.
    pub(super) identity_token: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Login {
    pub(super) fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Login { user: user.into(), password: password.into(), identity_token: None }
    }

    /// The value of the `Authorization` header.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", self.encoded())
    }

    /// As the files encode it.
    pub(super) fn encoded(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.user, self.password))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl OciOptions {
    /// Reads the environment: the file named by `REGISTRY_AUTH_FILE`; otherwise all existing files among
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `containers/auth.json` in `$XDG_CONFIG_HOME` or `~/.config`, and
    /// `config.json` in `$DOCKER_CONFIG` or `~/.docker`. If two have a login for the same registry, the first one
    /// counts.
    pub fn from_env() -> Result<Self> {
        from(&|name| std::env::var_os(name))
    }

    /// Sets the login for a registry (`host` or `host:port`), or for a part of one, with a path after it.
    #[must_use]
    pub fn with_login(mut self, place: &str, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.logins.insert(place.to_owned(), Login::new(user, password));
        self
    }

    /// The login for exactly this place.
    pub(super) fn login_at(&self, place: &str) -> Option<&Login> {
        self.logins.get(place)
    }

    /// The login for a repository: that of the longest prefix of `host/name` that has one.
    pub(super) fn login(&self, host: &str, name: &str) -> Option<&Login> {
        let place = format!("{host}/{name}");
        let mut parts = Some(place.as_str());
        while let Some(part) = parts {
            if let Some(login) = self.logins.get(part) {
                return Some(login);
            }
            parts = part.rsplit_once('/').map(|(part, _)| part);
        }
        None
    }

    /// The helper that has the login for a registry.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        self.helpers.get(host).or(self.store.as_ref()).map(String::as_str)
    }

    /// Adds the logins of a file, except for places that already have one.
    fn read(&mut self, path: &Path) -> Result<()> {
        let fail = |reason: String| Error::InvalidNetSetting { what: path.display().to_string(), reason };
        let text = match file::read_text(path, MAX_BYTES) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(fail(e.to_string())),
        };
        // Report the position of an error and not the text there, which may be a password.
        let AuthFile { auths, cred_helpers, creds_store } =
            serde_json::from_str(&text).map_err(|e| fail(format!("it makes no sense at line {}", e.line())))?;
        for (key, auth) in auths {
            if let Some(login) =
                read_login(auth).ok_or_else(|| fail(format!("the login for {key:?} makes no sense")))?
            {
                self.logins.entry(place_of(&key)).or_insert(login);
            }
        }
        for (key, helper) in cred_helpers {
            self.helpers.entry(place_of(&key)).or_insert(helper);
        }
        self.store = self.store.take().or(creds_store.filter(|store| !store.is_empty()));
        Ok(())
    }
}

/// `Some(None)`: the entry has no login, for example because a helper has it.
fn read_login(auth: Auth) -> Option<Option<Login>> {
    let identity_token = auth.identitytoken.clone().filter(|token| !token.is_empty());
    let login = read_password(auth)?;
    Some(match identity_token {
        Some(_) => Some(Login { identity_token, ..login.unwrap_or_else(|| Login::new("", "")) }),
        None => login,
    })
}

fn read_password(auth: Auth) -> Option<Option<Login>> {
    if let (Some(user), Some(password)) = (auth.username, auth.password) {
        return Some(Some(Login::new(user, password)));
    }
    let Some(encoded) = auth.auth.filter(|encoded| !encoded.is_empty()) else { return Some(None) };
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    // Docker's file may end with a NUL.
    Some(Some(Login::new(user, password.trim_end_matches('\0'))))
}

/// Older versions use a URL as the key.
pub(super) fn place_of(key: &str) -> String {
    if key == DOCKER_HUB_KEY {
        return "docker.io".into();
    }
    let place = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let place = place.strip_suffix("/v1/").or_else(|| place.strip_suffix("/v2/")).unwrap_or(place);
    place.trim_end_matches('/').to_owned()
}

pub(super) type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The files with logins, in order: those of the container tools, then Docker's.
pub(super) struct Files {
    pub(super) runtime: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    pub(super) docker: Option<PathBuf>,
    /// The explicitly named file; if it is set, the others do not count.
    pub(super) named: Option<PathBuf>,
}

impl Files {
    pub(super) fn of(variable: Variable<'_>) -> Self {
        let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = |below: &str| Some(folder("HOME")?.join(below));
        let containers = |folder: PathBuf| folder.join("containers/auth.json");
        Files {
            runtime: folder("XDG_RUNTIME_DIR").map(containers),
            config: folder("XDG_CONFIG_HOME").or_else(|| home(".config")).map(containers),
            docker: folder("DOCKER_CONFIG").or_else(|| home(".docker")).map(|folder| folder.join("config.json")),
            named: folder("REGISTRY_AUTH_FILE"),
        }
    }
}

pub(super) fn from(variable: Variable<'_>) -> Result<OciOptions> {
    let mut options = OciOptions::default();
    let Files { runtime, config, docker, named } = Files::of(variable);
    let files = if named.is_some() { [named, None, None] } else { [runtime, config, docker] };
    files.iter().flatten().try_for_each(|path| options.read(path))?;
    Ok(options)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn login(user: &str) -> Login {
        Login::new(user, "secret")
    }

    fn auth(user: &str) -> String {
        STANDARD.encode(format!("{user}:secret"))
    }

    // Red when a later file wins, when `REGISTRY_AUTH_FILE` is only one of several, or when a shorter place wins.
    #[test]
    fn where_users_have_logged_in() {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("run/containers/auth.json", format!(r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}}}"#, auth("first")));
        let docker = format!(
            r#"{{"auths": {{"a.example": {{"auth": "{}"}}, "a.example/deep/er": {{"auth": "{}"}}, "b.example": {{}},
                "https://index.docker.io/v1/": {{"auth": "{}"}}, "https://c.example/v2/": {{"username": "c", "password": "secret"}}}},
                "credHelpers": {{"b.example": "pass"}}, "credsStore": "desktop"}}"#,
            auth("second"),
            auth("deep"),
            auth("hub")
        );
        write("home/.docker/config.json", docker);
        let environment = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some(dir.path().join("run").into_os_string()),
            "HOME" => Some(dir.path().join("home").into_os_string()),
            _ => None,
        };
        let options = from(&environment).unwrap();
        for (host, name, user) in [
            ("a.example", "x/y", "first"),
            ("a.example", "deep/er/x", "deep"),
            ("a.example", "deep/erx", "first"),
            ("docker.io", "library/x", "hub"),
            ("c.example", "x", "c"),
        ] {
            assert_eq!(options.login(host, name), Some(&login(user)), "{host}/{name}");
        }
        assert_eq!(options.login("b.example", "x"), None);
        assert_eq!((options.helper("b.example"), options.helper("d.example")), (Some("pass"), Some("desktop")));
        let one = from(&|name| match name {
            "REGISTRY_AUTH_FILE" => Some(dir.path().join("run/containers/auth.json").into_os_string()),
            other => environment(other),
        });
        assert_eq!(one.unwrap().login("docker.io", "library/x"), None);
    }

    // Red when an error repeats the text of the file.
    #[test]
    fn a_file_that_makes_no_sense_is_an_error_without_its_secrets() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("auth.json");
        for text in [
            r#"{"auths": {"a.example": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"a.example": {"auth": "se cret"}}}"#,
            r#"{"auths": "secret"}"#,
            r#"secret"#,
        ] {
            fs::write(&path, text).unwrap();
            let error =
                from(&|name| (name == "REGISTRY_AUTH_FILE").then(|| path.clone().into_os_string())).unwrap_err();
            assert!(error.to_string().contains("auth.json") && !error.to_string().contains("cret\""), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let there_is_none = from(&|name| (name == "HOME").then(|| dir.path().join("none").into_os_string())).unwrap();
        assert!(there_is_none.logins.is_empty());
    }
}
