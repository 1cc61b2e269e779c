//! Where buckets are according to a profile of the AWS tools. `credentials.rs` reads its keys when they are needed.

use std::io;
use std::path::PathBuf;

use ini::{Ini, Properties};

use super::environment::Environment;
use crate::error::{Error, Result};
use crate::net::file;

/// A larger file is not a configuration file.
const MAX_BYTES: u64 = 1 << 20;

/// The section that `AWS_PROFILE` names in `AWS_CONFIG_FILE`, or in `~/.aws/config`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    /// How the profile gets its keys, if that way is not supported.
    pub(super) other_way: Option<&'static str>,
}

/// Unsupported ways to get keys: by a program, by another role, by a login in a browser.
const OTHER_WAYS: [&str; 4] = ["credential_process", "role_arn", "sso_session", "sso_start_url"];

impl Profile {
    pub(super) fn read(environment: &Environment) -> Result<Self> {
        let Some(path) = path(environment) else { return Ok(Profile::default()) };
        let fail = |reason: String| Error::InvalidNetSetting { what: path.display().to_string(), reason };
        let text = match file::read_text(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Profile::default()),
            Err(e) => return Err(fail(e.to_string())),
        };
        // Report the position of an error and not the text there, which may be a key.
        let ini =
            Ini::load_from_str_noescape(&text).map_err(|e| fail(format!("it makes no sense at line {}", e.line)))?;
        Ok(of(&ini, environment.profile()))
    }
}

fn path(environment: &Environment) -> Option<PathBuf> {
    match environment.get("AWS_CONFIG_FILE") {
        Some(path) => Some(environment.expand(path)),
        None => Some(environment.home()?.join(".aws/config")),
    }
}

fn of(ini: &Ini, name: &str) -> Profile {
    let section = |kind: &str, name: &str| ini.section(Some(format!("{kind} {name}")));
    let own = section("profile", name).or_else(|| ini.section(Some(name)).filter(|_| name == "default"));
    let Some(own) = own else { return Profile::default() };
    let value = |name: &str| own.get(name).filter(|value| !value.is_empty());
    let of_service = value("services").and_then(|name| section("services", name)).and_then(s3_endpoint);
    Profile {
        region: value("region").map(str::to_owned),
        endpoint: of_service.or_else(|| value("endpoint_url")).map(str::to_owned),
        other_way: OTHER_WAYS.into_iter().find(|way| value(way).is_some()),
    }
}

/// Finds an indented value below `s3 =`. The parser ignores indentation; a value belongs to the last name without one.
fn s3_endpoint(services: &Properties) -> Option<&str> {
    let mut service = "";
    for (name, value) in services.iter() {
        if value.is_empty() {
            service = name;
        } else if service == "s3" && name == "endpoint_url" {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
[default]
region = eu-north-1
[profile lab]
region=lab-1
endpoint_url = http://127.0.0.1:9
services = lab-services
credential_process = /bin/false
[services lab-services]
dynamodb =
  endpoint_url = http://127.0.0.1:1
s3 =
  endpoint_url = http://127.0.0.1:2
[lab]
region = no
";

    // Red when a profile is searched for under its bare name, or when the endpoint of another service is used.
    #[test]
    fn what_a_profile_says() {
        let ini = Ini::load_from_str_noescape(CONFIG).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let lab = Profile {
            region: text("lab-1"),
            endpoint: text("http://127.0.0.1:2"),
            other_way: Some("credential_process"),
        };
        assert_eq!(of(&ini, "lab"), lab);
        assert_eq!(of(&ini, "default"), Profile { region: text("eu-north-1"), ..Profile::default() });
        assert_eq!(of(&ini, "none"), Profile::default());
    }
}
