//! Credentials: searched for when a bucket is first contacted, and again when they expire.
//!
//! reqsign knows where to look; this module gives it files, variables and HTTP responses, but no way to run a program.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pollster::block_on;
use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider, EnvCredentialProvider,
    IMDSv2CredentialProvider, ProfileCredentialProvider,
};
use reqsign_core::{Context, FileRead, HttpSend, ProvideCredentialDyn, SigningCredential as _};

use super::environment::Environment;
use super::options::Who;
use super::profile::Profile;
use crate::error::{Error, NetError, Result};
use crate::net::{Client, Payload, Purpose, file};

/// A longer text is not a token or a file of keys.
const MAX_BYTES: u64 = 1 << 20;

type Provider = Box<dyn ProvideCredentialDyn<Credential = Credential>>;

/// The result of the last search.
#[derive(Default)]
pub(super) struct Credentials(Mutex<Option<Found>>);

/// Omits the keys.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[derive(Clone)]
pub(super) struct Found {
    /// `None`: anonymous access.
    pub(super) credential: Option<Credential>,
    /// Why there is none, for an error that may follow.
    pub(super) why_none: Option<String>,
}

impl Credentials {
    /// Returns valid credentials. One caller searches for them, and the others wait for the result.
    pub(super) fn get(&self, who: &Who, client: &Client) -> Result<Found> {
        let environment = match who {
            Who::Anybody => return Ok(Found { credential: None, why_none: None }),
            Who::Given(credential) => return Ok(Found { credential: Some(credential.clone()), why_none: None }),
            Who::Found(environment) => environment,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |found: &Found| found.credential.as_ref().is_none_or(Credential::is_valid);
        if let Some(found) = known.as_ref().filter(|found| holds(found)) {
            return Ok(found.clone());
        }
        let found = find(environment, client)?;
        *known = Some(found.clone());
        Ok(found)
    }
}

/// Asks all providers, in the order of the AWS tools. An error of one is not skipped, because it was configured to be
/// asked.
fn find(environment: &Environment, client: &Client) -> Result<Found> {
    let http = Http { client: client.clone(), failed: Arc::default() };
    let context = Context::new().with_env(environment.clone()).with_file_read(Files).with_http_send(http.clone());
    let providers: [(&str, Provider); 4] = [
        ("the environment", Box::new(EnvCredentialProvider::new())),
        ("the profile", Box::new(ProfileCredentialProvider::new())),
        ("the web identity", Box::new(AssumeRoleWithWebIdentityCredentialProvider::new())),
        ("the container", Box::new(ECSCredentialProvider::new())),
    ];
    let found = |credential| Ok(Found { credential: Some(credential), why_none: None });
    for (what, provider) in &providers {
        if let Some(credential) = ask(&**provider, &context).map_err(|error| http.error(what, &error))? {
            return found(credential);
        }
    }
    let machine = match ask(&IMDSv2CredentialProvider::new(), &context) {
        Ok(Some(credential)) => return found(credential),
        Ok(None) => "this machine's are switched off".to_owned(),
        Err(error) => match http.error("this machine", &error) {
            // Most machines have none, and nothing says that this one does.
            error if environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_none() && error.is_refused() => {
                format!("this machine was not asked for them ({})", detail(&error))
            }
            error if error.is_not_found() => "this machine has no role".to_owned(),
            error => return Err(error),
        },
    };
    let profile = environment.profile();
    let other_way = Profile::read(environment).ok().and_then(|profile| profile.other_way);
    let of_profile = match other_way {
        Some(way) => format!("the profile {profile:?} gets them by {way}, which is not supported here"),
        None => format!("there are none in the environment and in the profile {profile:?}"),
    };
    Ok(Found { credential: None, why_none: Some(format!("{of_profile}, and {machine}")) })
}

fn detail(error: &Error) -> String {
    error.net().map_or_else(|| error.to_string(), NetError::to_string)
}

fn ask(
    provider: &dyn ProvideCredentialDyn<Credential = Credential>,
    context: &Context,
) -> reqsign_core::Result<Option<Credential>> {
    let credential = block_on(provider.provide_credential_dyn(context))?;
    Ok(credential.filter(|credential| !credential.access_key_id.is_empty() && !credential.secret_access_key.is_empty()))
}

/// Reads small configuration files.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        Ok(file::read(path.as_ref(), MAX_BYTES)?)
    }
}

/// Sends requests through the client, and so through its policy.
#[derive(Clone, Debug)]
struct Http {
    client: Client,
    /// Why the last request failed, if it did.
    failed: Arc<Mutex<Option<Error>>>,
}

impl Http {
    /// The error of the search for credentials: that of the server, if one was asked.
    fn error(&self, what: &str, error: &reqsign_core::Error) -> Error {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.unwrap_or_else(|| Error::InvalidNetSetting {
            what: format!("the credentials of {what}"),
            reason: error.to_string(),
        })
    }

    fn fail(&self, error: Error) -> reqsign_core::Error {
        let text = error.to_string();
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        reqsign_core::Error::unexpected(text)
    }

    fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let mut request = match parts.method.as_str() {
            "GET" => self.client.get(&url),
            // The content length must be sent even if the body is empty.
            "PUT" => self.client.request("PUT", &url).with_payload(Payload::Bytes(body.to_vec())),
            _ => self.client.request("POST", &url).with_payload(Payload::Bytes(body.to_vec())),
        };
        for (name, value) in &parts.headers {
            match value.to_str() {
                Ok(value) if name != http::header::CONTENT_LENGTH => {
                    request = request.with_header(name.as_str(), value)
                }
                _ => {}
            }
        }
        let response = request.with_purpose(Purpose::Credentials).send(&())?.ok()?;
        let status = response.status();
        let answer = http::Response::builder().status(status).body(Bytes::from(response.bytes(MAX_BYTES)?));
        answer.map_err(|_| Error::InvalidNetSetting {
            what: "the credentials".into(),
            reason: format!("the server says {status}"),
        })
    }
}

impl HttpSend for Http {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        self.send(request).map_err(|error| self.fail(error))
    }
}
