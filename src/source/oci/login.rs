//! Tests logins at their registry, and writes them to the file that other tools use, too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::json;

use super::access::authorization;
use super::auth_file;
use super::image::{is_component, server_of};
use super::options::{self, DOCKER_HUB_KEY, Files, Login, Variable};
use super::{base_at, refusal};
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::net::{Client, Response, is_host};
use crate::source::Cx;

/// What a login is for: a registry (`host` or `host:port`), or a part of one, with a path after it.
///
/// ```
/// # use catalog_core::OciPlace;
/// assert!("ghcr.io".parse::<OciPlace>().is_ok() && "127.0.0.1:5000/acme/models".parse::<OciPlace>().is_ok());
/// assert!("https://ghcr.io".parse::<OciPlace>().is_err() && "user@ghcr.io".parse::<OciPlace>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciPlace {
    text: String,
}

/// The error for text that is not an [`OciPlace`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "could not read {text:?} as a registry: write host, host:port, or either with a path behind it, as in ghcr.io/acme"
)]
pub struct InvalidOciPlace {
    text: String,
}

impl FromStr for OciPlace {
    type Err = InvalidOciPlace;

    fn from_str(text: &str) -> Result<Self, InvalidOciPlace> {
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        let is_path = path.is_none_or(|path| path.split('/').all(is_component));
        match is_host(host) && is_path {
            true => Ok(OciPlace { text: text.to_owned() }),
            false => Err(InvalidOciPlace { text: excerpt(text) }),
        }
    }
}

impl fmt::Display for OciPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl OciPlace {
    fn host(&self) -> &str {
        self.text.split('/').next().unwrap_or_default()
    }

    /// Its key in the file. All tools know Docker's own name for its registry.
    fn key(&self) -> &str {
        if self.text == "docker.io" { DOCKER_HUB_KEY } else { &self.text }
    }
}

/// The file that logins are written to. It is the first file of the container tools that
/// [`OciOptions::from_env`](crate::OciOptions::from_env) reads, so that skopeo, podman and oras can read it, too
/// (containers-auth.json(5)).
///
/// Two processes that change it at the same time never corrupt it, but one may overwrite the other's change.
#[derive(Clone, Debug)]
pub struct OciLogins {
    path: PathBuf,
}

impl OciLogins {
    /// The file named by `REGISTRY_AUTH_FILE`; otherwise `containers/auth.json` in `$XDG_RUNTIME_DIR` if that folder
    /// exists, in `$XDG_CONFIG_HOME`, or in `~/.config`. Fails if the environment defines none of them.
    pub fn from_env() -> Result<Self> {
        from(&|name| std::env::var_os(name))
    }

    /// Uses the file at this path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        OciLogins { path: path.into() }
    }

    /// The path of the file, which may not exist yet.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks the registry whether it accepts this login. Returns `false` if it lets everyone in and did not check the
    /// login. If it rejects the login, the error satisfies [`is_denied`](Error::is_denied).
    ///
    /// The login is sent to the registry, or to the token server that it names, if the policy allows that.
    pub fn check(place: &OciPlace, user: &str, password: &str, client: &Client) -> Result<bool> {
        let cx = Cx::new(client, &());
        let login = Login::new(user, password);
        let base = base_at(server_of(place.host()), &cx)?;
        let url = format!("{base}v2/");
        let first = client.get(&url).send(&())?;
        let challenge = first.header("www-authenticate").map(str::to_owned);
        match (first.status(), challenge) {
            (200, _) => Ok(false),
            (401, Some(challenge)) => {
                let value = authorization(&challenge, None, None, &base, Some(&login), &cx, refusal(first))?;
                let answer = client.get(&url).with_header("authorization", value).send(&())?;
                if answer.status() == 200 { Ok(true) } else { Err(refusal(answer)) }
            }
            _ => Err(no_registry(first)),
        }
    }

    /// Writes a login. Keeps everything else in the file. Only the owner can read the file, and its folder if it is
    /// created.
    pub fn add(&self, place: &OciPlace, user: &str, password: &str) -> Result<()> {
        let login = Login::new(user, password);
        let value = json!({"auth": login.encoded()});
        auth_file::change(&self.path, &options::place_of(place.key()), place.key(), Some(&value)).map(drop)
    }

    /// Removes a login. Returns `false` if the file has none for exactly this place.
    pub fn remove(&self, place: &OciPlace) -> Result<bool> {
        auth_file::change(&self.path, &options::place_of(place.key()), place.key(), None::<&()>)
    }
}

impl super::OciOptions {
    /// The user of the login for exactly this place.
    #[must_use]
    pub fn user(&self, place: &OciPlace) -> Option<&str> {
        self.login_at(&place.text).map(|login| login.user.as_str())
    }

    /// The suffix of the program `docker-credential-…` that other tools ask for the logins of this registry.
    #[must_use]
    pub fn helper_of(&self, place: &OciPlace) -> Option<&str> {
        self.helper(place.host())
    }
}

/// A server without this endpoint is not a registry, whatever it responds.
fn no_registry(answer: Response) -> Error {
    match refusal(answer) {
        Error::Net { url, source: NetError::NotFound { .. } } => {
            Error::Net { url, source: NetError::malformed("it is not a registry") }
        }
        other => other,
    }
}

fn from(variable: Variable<'_>) -> Result<OciLogins> {
    let Files { runtime, config, named, .. } = Files::of(variable);
    // If the folder of a session does not exist, other programs must not create it.
    let runtime = runtime.filter(|path| path.ancestors().nth(2).is_some_and(Path::is_dir));
    let path = named.or(runtime).or(config).ok_or_else(|| Error::InvalidNetSetting {
        what: "the file of logins".into(),
        reason: "none of REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME and HOME says where it is".into(),
    })?;
    Ok(OciLogins { path })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    #[rstest]
    #[case("ghcr.io", true)]
    #[case("ghcr.io:443", true)]
    #[case("127.0.0.1:5000/acme/models", true)]
    #[case("[::1]:5000", true)]
    #[case("docker.io", true)]
    #[case("", false)]
    #[case("/acme", false)]
    #[case("https://ghcr.io", false)]
    #[case("oci://ghcr.io", false)]
    #[case("user@ghcr.io", false)]
    #[case("user:secret@ghcr.io", false)]
    #[case("GHCR.io", false)]
    #[case("0x7f.1", false)]
    #[case("ghcr.io/", false)]
    #[case("ghcr.io/Acme", false)]
    #[case("ghcr.io/acme:v1", false)]
    #[case("ghcr.io/../x", false)]
    #[case("ghcr.io?x", false)]
    #[case("ghcr.io#x", false)]
    #[case("ghcr.io acme", false)]
    fn what_a_login_is_for(#[case] text: &str, #[case] is_place: bool) {
        assert_eq!(text.parse::<OciPlace>().is_ok(), is_place, "{text}");
    }

    // Red when the file that is written is not the one that is read first.
    #[test]
    fn what_is_written_is_read_first() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name).into_os_string();
        fs::create_dir(dir.path().join("run")).unwrap();
        type Variables = &'static [(&'static str, &'static str)];
        for (variables, path) in [
            (&[("REGISTRY_AUTH_FILE", "x/auth"), ("XDG_RUNTIME_DIR", "run")] as Variables, "x/auth"),
            (&[("XDG_RUNTIME_DIR", "run"), ("HOME", "home")], "run/containers/auth.json"),
            (&[("XDG_RUNTIME_DIR", "gone"), ("HOME", "home")], "home/.config/containers/auth.json"),
            (&[("XDG_CONFIG_HOME", "conf"), ("HOME", "home")], "conf/containers/auth.json"),
        ] {
            let variable = |name: &str| -> Option<OsString> {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| at(value))
            };
            let logins = from(&variable).unwrap();
            assert_eq!(logins.path(), dir.path().join(path));
            for text in ["a.example", "a.example/deep", "docker.io"] {
                let place: OciPlace = text.parse().unwrap();
                logins.add(&place, "first", "old").unwrap();
                logins.add(&place, "user", "pass:word").unwrap();
                let options = options::from(&variable).unwrap();
                assert_eq!(options.user(&place), Some("user"), "{text}");
                assert_eq!(options.login_at(text).unwrap().password, "pass:word");
                assert!(logins.remove(&place).unwrap() && !logins.remove(&place).unwrap());
                assert_eq!(options::from(&variable).unwrap().user(&place), None);
            }
        }
        assert!(from(&|_| None).is_err());
    }
}
