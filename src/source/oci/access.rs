//! Access to repositories: what a registry asks for, and the tokens that it has given.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use url::Url;

use super::image::Image;
use super::options::{Login, OciOptions};
use crate::error::{Error, NetError, Refused, Result};
use crate::net::{shown, shown_text};
use crate::source::Cx;

/// More than this is no token.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// What is sent as `Authorization`, by what it is for.
#[derive(Default)]
pub(super) struct Access(Mutex<BTreeMap<For, String>>);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct For {
    host: String,
    name: String,
    /// Another repository of the registry, from which something is taken over: one token has to be for both.
    from: Option<String>,
}

impl For {
    pub(super) fn image(image: &Image) -> Self {
        For { host: image.host.clone(), name: image.name.clone(), from: None }
    }

    pub(super) fn with_from(self, from: Option<&Image>) -> Self {
        For { from: from.map(|image| image.name.clone()), ..self }
    }
}

/// Without the tokens.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(…)")
    }
}

/// A registry names its token by one of the two.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Access {
    pub(super) fn headers(&self, asked: &For) -> Vec<(&'static str, String)> {
        let granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        granted.get(asked).map(|value| ("authorization", value.clone())).into_iter().collect()
    }

    /// Gets what the challenge of a 401 asks for. `base` is the registry. `denied` is the error if there is nothing to give.
    pub(super) fn grant(
        &self,
        challenge: &str,
        asked: &For,
        base: &Url,
        options: &OciOptions,
        cx: &Cx<'_>,
        denied: Error,
    ) -> Result<()> {
        let login = options.login(&asked.host, &asked.name);
        let [own, from] =
            [Some(&asked.name), asked.from.as_ref()].map(|name| name.map(|name| format!("repository:{name}:pull")));
        let value = authorization(challenge, own, from, base, login, cx, denied)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(asked.clone(), value);
        Ok(())
    }
}

/// The value of `Authorization` that a challenge asks for. `scope` is what a token has to be for, if the challenge does not say;
/// and `more`, whatever it says.
pub(super) fn authorization(
    challenge: &str,
    scope: Option<String>,
    more: Option<String>,
    base: &Url,
    login: Option<&Login>,
    cx: &Cx<'_>,
    denied: Error,
) -> Result<String> {
    let malformed = |detail: String| Error::Net { url: shown(base), source: NetError::Malformed { detail } };
    let challenges = http_auth::parse_challenges(challenge)
        .map_err(|e| malformed(format!("what it asks for makes no sense: {e}")))?;
    let named = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
    let value = if let Some(bearer) = named("bearer") {
        let parameter = |name: &str| {
            let found = bearer.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = parameter("realm").ok_or_else(|| malformed("it does not say where tokens are".into()))?;
        let mut url =
            base.join(&realm).map_err(|e| malformed(format!("it says that tokens are at what is no URL: {e}")))?;
        if base.scheme() == "https" && url.scheme() != "https" {
            let origin = url.origin().ascii_serialization();
            return Err(Error::Net { url: shown(&url), source: Refused::Downgrade { origin }.into() });
        }
        let scope = parameter("scope").or(scope);
        let parameters = [("service", parameter("service")), ("scope", scope), ("scope", more)];
        for (name, value) in parameters {
            value.into_iter().for_each(|value| _ = url.query_pairs_mut().append_pair(name, &value));
        }
        format!("Bearer {}", token(&url, login.map(Login::basic), cx)?)
    } else if named("basic").is_some() {
        match login {
            Some(login) => login.basic(),
            None => return Err(denied),
        }
    } else {
        return Err(malformed("it asks for neither a token nor a password".into()));
    };
    // A line break in it could begin a header of its own.
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(malformed("its token is none".into()));
    }
    Ok(value)
}

fn token(url: &Url, basic: Option<String>, cx: &Cx<'_>) -> Result<String> {
    let mut request = cx.client.get(url.as_str());
    if let Some(basic) = basic {
        request = request.with_header("authorization", basic);
    }
    let (_, bytes) = request.read_or(MAX_TOKEN_BYTES, cx.observer, &super::refusal)?;
    let token = serde_json::from_slice(&bytes).ok().and_then(|Token { token, access_token }| token.or(access_token));
    token.filter(|token| !token.is_empty()).ok_or_else(|| {
        let source = NetError::malformed("there is no token in it");
        Error::Net { url: shown_text(url.as_str()), source }
    })
}
