//! Where credentials are found. Requests for credentials go through the policy.

use std::process::Command;

use crate::common::Host;
use crate::seaweed::{KEY, SECRET, Seaweed};
use crate::wire::{Asked, Server, answer, send};

fn keys() -> String {
    format!(
        r#"{{"Code": "Success", "AccessKeyId": "{KEY}", "SecretAccessKey": "{SECRET}", "Token": "",
            "Expiration": "2099-01-01T00:00:00Z"}}"#
    )
}

/// A machine's metadata, as served by IMDSv2 and by a container's agent: without the token from the first answer,
/// nothing.
fn metadata() -> Server {
    Server::new(|asked: &Asked<'_>, stream| {
        let is_known = asked.header("x-aws-ec2-metadata-token") == Some("imds-token");
        let bytes = match (asked.head.split(' ').next().unwrap(), asked.path()) {
            ("PUT", "/latest/api/token") => answer("200 OK", "", b"imds-token"),
            ("GET", "/latest/meta-data/iam/security-credentials/") if is_known => answer("200 OK", "", b"role"),
            ("GET", "/latest/meta-data/iam/security-credentials/role") if is_known => {
                answer("200 OK", "", keys().as_bytes())
            }
            ("GET", "/container") if asked.header("authorization") == Some("container-token") => {
                answer("200 OK", "", keys().as_bytes())
            }
            _ => answer("401 Unauthorized", "", b""),
        };
        send(stream, &bytes);
    })
}

/// Stages an object; the command has no credentials except those that `set` gives it.
fn stage(weed: &Seaweed, rules: &[&str], set: impl Fn(&Host, &mut Command)) -> (Option<i32>, String) {
    let host = Host::new();
    let mut command = host.command();
    command.args(["stage", "s3://bucket/a", "--retries", "0"]).env("CATALOG_ALLOW_NET", rules.join(","));
    command.env("AWS_ENDPOINT_URL", weed.endpoint());
    set(&host, &mut command);
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(SECRET) && !text.contains("imds-token") && !text.contains("container-token"), "{text}");
    (output.status.code(), text)
}

// Red when a credential service is asked without a rule, or by something other than our client; when a configured
// service that may not be asked is skipped silently; or when the error does not say that the machine's own service was
// not asked.
#[test]
fn services_of_credentials_need_a_rule() {
    let Some(weed) = Seaweed::single() else { return };
    weed.put("bucket", "a", b"a", "");
    let (own, server) = (weed.host(), metadata());
    let (endpoint, container) = (server.url(""), server.url("/container"));
    let of_machine = |_: &Host, command: &mut Command| {
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint);
    };
    let of_container = |_: &Host, command: &mut Command| {
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container);
        command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token");
    };
    for set in [&of_machine as &dyn Fn(&Host, &mut Command), &of_container] {
        let before = server.connections();
        let (code, text) = stage(&weed, &[&own], set);
        assert_eq!(code, Some(6), "{text}");
        assert!(text.contains(&server.rule()) && text.contains("credentials"), "{text}");
        assert_eq!(server.connections(), before);
        let (code, text) = stage(&weed, &[&own, &server.rule()], set);
        assert_eq!(code, Some(0), "{text}");
        assert!(server.connections() > before);
    }
    let (code, text) = stage(&weed, &[&own, &server.rule()], |_, command| {
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container).env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "no");
    });
    assert_eq!(code, Some(8), "{text}");
    // Nobody has configured a service.
    let (code, text) = stage(&weed, &[&own], |_, _| {});
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("http://169.254.169.254") && text.contains("without credentials"), "{text}");
}

// Red when a profile file is not read, when a program is run for its keys, or when a profile overrides the environment.
#[test]
fn profiles() {
    let Some(weed) = Seaweed::single() else { return };
    weed.put("bucket", "a", b"a", "");
    let rule = weed.host();
    let with = |file: &str, text: &str, more: &[(&str, &str)]| {
        let (file, text) = (file.to_owned(), text.to_owned());
        stage(&weed, &[&rule], move |host, command| {
            host.file(&format!("home/.aws/{file}"), &text);
            command.env("AWS_EC2_METADATA_DISABLED", "true").envs(more.iter().copied());
        })
    };
    let keys = format!("aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    assert_eq!(with("credentials", &format!("[default]\n{keys}"), &[]).0, Some(0));
    assert_eq!(with("credentials", &format!("[lab]\n{keys}"), &[("AWS_PROFILE", "lab")]).0, Some(0));
    assert_eq!(with("config", &format!("[profile lab]\n{keys}"), &[("AWS_PROFILE", "lab")]).0, Some(0));
    let wrong = "[default]\naws_access_key_id = AKWRONG\naws_secret_access_key = x\n";
    let environment = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    assert_eq!(with("credentials", wrong, &environment).0, Some(0));
    assert_eq!(with("credentials", wrong, &[]).0, Some(8));
    let host = Host::new();
    let mark = host.path("was-run");
    let program = format!("[default]\ncredential_process = touch {}\n", mark.display());
    let (code, text) = with("config", &program, &[]);
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("credential_process") && !mark.exists(), "{text}");
    let (code, text) = with("config", "[default\n", &[]);
    assert!(code != Some(0) && text.contains(".aws/config"), "{text}");
}
