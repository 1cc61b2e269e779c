//! Access to repositories: what a registry asks for, and the tokens that it has issued.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::image::Image;
use super::options::{Login, OciOptions};
use crate::error::{Error, NetError, Refused, Result};
use crate::net::{Payload, Request, shown};
use crate::source::Cx;

/// A longer text is not a token.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// Values of the `Authorization` header, by what they are for.
#[derive(Default)]
pub(super) struct Access(Mutex<BTreeMap<For, String>>);

/// What access is needed for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct For {
    host: String,
    name: String,
    /// Another repository of the registry to mount a blob from: one token must cover both.
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

/// Omits the tokens.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(…)")
    }
}

/// A registry uses one of these two names for its token.
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

    /// Obtains what the challenge of a 401 asks for. `base` is the registry. `denied` is returned if there is nothing
    /// to offer.
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

/// Returns the value of `Authorization` that a challenge asks for. A token is requested for `scope` if the challenge
/// names none, and always for `more`.
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
        .map_err(|e| malformed(format!("its request for a login makes no sense: {e}")))?;
    let named = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
    let value = if let Some(bearer) = named("bearer") {
        let parameter = |name: &str| {
            let found = bearer.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = parameter("realm").ok_or_else(|| malformed("it does not say where to get a token".into()))?;
        let url = base
            .join(&realm)
            .map_err(|e| malformed(format!("the place that it names for tokens is not a URL: {e}")))?;
        if base.scheme() == "https" && url.scheme() != "https" {
            let origin = url.origin().ascii_serialization();
            return Err(Error::Net { url: shown(&url), source: Refused::Downgrade { origin }.into() });
        }
        let scope = parameter("scope").or(scope);
        let wanted = Wanted { url, service: parameter("service"), scopes: [scope, more] };
        let token = match login.and_then(|login| login.identity_token.as_ref()) {
            Some(identity_token) => wanted.exchange(identity_token, cx)?,
            None => wanted.ask(login.map(Login::basic), cx)?,
        };
        format!("Bearer {token}")
    } else if named("basic").is_some() {
        match login.filter(|login| !login.password.is_empty()) {
            Some(login) => login.basic(),
            None => return Err(denied),
        }
    } else {
        return Err(malformed("it asks for neither a token nor a password".into()));
    };
    // A line break could begin another header.
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(malformed("its token has characters that no token can have".into()));
    }
    Ok(value)
}

/// A token to request, and where to request it.
struct Wanted {
    url: Url,
    service: Option<String>,
    scopes: [Option<String>; 2],
}

impl Wanted {
    /// Requests it by a query, with the login if there is one.
    fn ask(mut self, basic: Option<String>, cx: &Cx<'_>) -> Result<String> {
        let [scope, more] = &self.scopes;
        for (name, value) in [("service", &self.service), ("scope", scope), ("scope", more)] {
            value.iter().for_each(|value| _ = self.url.query_pairs_mut().append_pair(name, value));
        }
        let mut request = cx.client.get(self.url.as_str());
        if let Some(basic) = basic {
            request = request.with_header("authorization", basic);
        }
        token(request, cx)
    }

    /// Requests it with a refresh token, by OAuth2. The refresh token is in the body, so the request follows no
    /// redirect.
    fn exchange(self, identity_token: &str, cx: &Cx<'_>) -> Result<String> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "catalog");
        self.service.iter().for_each(|service| _ = form.append_pair("service", service));
        let scopes: Vec<&str> = self.scopes.iter().flatten().map(String::as_str).collect();
        form.append_pair("scope", &scopes.join(" ")).append_pair("refresh_token", identity_token);
        let request = cx.client.request("POST", self.url.as_str()).staying();
        let request = request.with_header("content-type", "application/x-www-form-urlencoded");
        token(request.with_payload(Payload::Bytes(form.finish().into_bytes())), cx)
    }
}

fn token(request: Request<'_>, cx: &Cx<'_>) -> Result<String> {
    let (response, bytes) = request.read_or(MAX_TOKEN_BYTES, cx.observer, &super::refusal)?;
    let token = serde_json::from_slice(&bytes).ok().and_then(|Token { token, access_token }| token.or(access_token));
    token.filter(|token| !token.is_empty()).ok_or_else(|| {
        let source = NetError::malformed("there is no token in it");
        Error::Net { url: shown(response.url()), source }
    })
}
