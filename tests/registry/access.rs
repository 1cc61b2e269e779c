//! Logins and tokens.

use std::path::Path;
use std::process::Command;

use catalog_core::{OciOptions, StageOptions};
use serde_json::json;

use crate::common::{Host, noise};
use crate::server::{Registry, skopeo};
use crate::wire::{Asked, Server, answer, send};
use crate::{catalog, reference};

/// A registry with these models. Others fill it: oras pushes to another registry, and skopeo copies from there.
pub(crate) fn filled(registry: Option<Registry>, names: &[&str]) -> Option<Registry> {
    let (open, registry) = (Registry::open()?, registry?);
    let host = Host::new();
    host.file("a.gguf", noise(9 << 20, 6));
    let fill = |name: &&str| open.push(name, host.dir.path(), &["a.gguf"]) && registry.copy(&open, name);
    names.iter().all(fill).then_some(registry)
}

// Red when a challenge is not answered, or is answered with another scope; when the anonymous token is used for a user;
// or when the policy is not applied to the token server.
#[test]
fn tokens() {
    let Some(registry) = filled(Registry::with_tokens(), &["public/a", "private/a"]) else { return };
    let stage = |rules: &[&str], options: OciOptions, name: &str| {
        let host = Host::new();
        let receipt =
            catalog(&host, rules, options).stage(&reference(&registry.reference(name)), &StageOptions::default());
        receipt.map(drop)
    };
    let nobody = OciOptions::default;
    let user = |password: &str| OciOptions::default().with_login(&registry.host(), "user", password);
    let ports = registry.ports();
    let rules: Vec<&str> = ports.iter().map(String::as_str).collect();
    stage(&rules, nobody(), "public/a").unwrap();
    stage(&rules, user("secret"), "private/a").unwrap();
    let error = stage(&rules, nobody(), "private/a").unwrap_err();
    assert!(error.is_denied(), "{error}");
    let error = stage(&rules, user("wrong"), "public/a").unwrap_err();
    assert!(error.is_denied() && !error.to_string().contains("wrong"), "{error}");
    let error = stage(&rules[..1], nobody(), "public/a").unwrap_err();
    assert!(error.is_refused(), "{error}");
}

// Red when a password is not sent, or is sent to a registry or repository that it is not for.
#[test]
fn passwords() {
    let Some(registry) = filled(Registry::with_password(), &["a"]) else { return };
    let stage = |place: &str| {
        let options = OciOptions::default().with_login(place, "user", "secret");
        let (host, rule) = (Host::new(), registry.host());
        let catalog = catalog(&host, &[&rule], options);
        catalog.stage(&reference(&registry.reference("a")), &StageOptions::default()).map(drop)
    };
    stage(&registry.host()).unwrap();
    stage(&format!("{}/a", registry.host())).unwrap();
    for place in ["127.0.0.1:1".to_owned(), format!("{}/b", registry.host())] {
        assert!(stage(&place).unwrap_err().is_denied());
    }
}

// Red when the login files of other tools are not read, or when a login is sent to another registry.
#[test]
fn where_skopeo_has_logged_in() {
    let Some(registry) = filled(Registry::with_tokens(), &["private/a"]) else { return };
    let host = Host::new();
    let file = host.path("auth.json");
    let login = ["login", "--tls-verify=false", "-u", "user", "-p", "secret", "--authfile", file.to_str().unwrap()];
    skopeo(&[&login[..], &[&registry.host()]].concat());
    let stage = |home: &Host| -> Command {
        let mut command = home.command();
        command.args(["stage", &registry.reference("private/a"), "--retries", "0"]);
        command.env("CATALOG_ALLOW_NET", registry.ports().join(","));
        command
    };
    let output = stage(&host).env("REGISTRY_AUTH_FILE", &file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let other = Host::new();
    let output = stage(&other).output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    // The credential helper is named, but not run.
    let docker = other.file("config.json", r#"{"auths": {}, "credsStore": "nonesuch"}"#);
    let output = stage(&other).env("DOCKER_CONFIG", docker.parent().unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("docker-credential-nonesuch"), "{output:?}");
}

// Red when the identity token that `docker login` stores instead of a password is not used, or is sent to another
// server.
#[test]
fn identity_tokens() {
    let Some(registry) = filled(Registry::with_tokens(), &["private/a"]) else { return };
    let host = Host::new();
    let with = |place: &str, token: &str| {
        let auth = json!({"auths": {place: {"auth": "dXNlcjo=", "identitytoken": token}}});
        host.file("auth.json", auth.to_string())
    };
    let stage = |reference: &str, rules: &str, file: &Path| {
        let own = Host::new();
        let mut command = own.command();
        command.args(["stage", reference, "--retries", "0"]).env("REGISTRY_AUTH_FILE", file);
        command.env("CATALOG_ALLOW_NET", rules).output().unwrap()
    };
    let (private, rules) = (registry.reference("private/a"), registry.ports().join(","));
    for (token, code) in [("identity", 0), ("secret", 8)] {
        let output = stage(&private, &rules, &with(&registry.host(), token));
        assert!(output.status.code() == Some(code) && !format!("{output:?}").contains("\"secret"), "{output:?}");
        let image = format!("docker://{}/private/a", registry.host());
        let mut others = Command::new("skopeo");
        others
            .args(["inspect", "--raw", "--tls-verify=false", &image])
            .env("REGISTRY_AUTH_FILE", host.path("auth.json"));
        let output = others.output().unwrap();
        assert_eq!(output.status.success(), code == 0, "{output:?}");
    }
    let elsewhere = Server::unvisited();
    let target = elsewhere.url("/token");
    let liar = Server::new(move |asked: &Asked<'_>, stream| {
        let challenge = "WWW-Authenticate: Bearer realm=\"/token\"\r\n";
        match asked.path() {
            "/token" => send(stream, &answer("307 Elsewhere", &format!("Location: {target}\r\n"), b"")),
            _ => send(stream, &answer("401 Unauthorized", challenge, b"")),
        }
    });
    let rules = format!("{},{}", liar.rule(), elsewhere.rule());
    let output = stage(&format!("oci://{}/a", liar.rule()), &rules, &with(&liar.rule(), "identity"));
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("307"), "{output:?}");
    assert_eq!((elsewhere.connections(), liar.heads().len()), (0, 2), "{:?}", liar.heads());
    // There is no password for a registry that asks for one.
    let basic = Server::new(|_: &Asked<'_>, stream| {
        send(stream, &answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"a\"\r\n", b""));
    });
    let output = stage(&format!("oci://{}/a", basic.rule()), &basic.rule(), &with(&basic.rule(), "identity"));
    assert_eq!((output.status.code(), basic.heads().len()), (Some(8), 1), "{output:?}");
}
