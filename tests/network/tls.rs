//! TLS: which authorities are trusted, and that nothing continues without TLS.

use std::fs;
use std::process::Command;

use catalog_core::{Client, NetError, Refused};

use crate::common::{Host, has_tool, run, skip};
use crate::nginx::Nginx;
use crate::{get, policy, quick};

/// nginx with a self-signed certificate for 127.0.0.1.
fn started() -> Option<Nginx> {
    if !has_tool("openssl") {
        skip("this needs openssl");
        return None;
    }
    let host = Host::new();
    let (key, certificate) = (host.path("key.pem"), host.path("cert.pem"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(&key);
    run({
        command.arg("-out").arg(&certificate);
        command
    });
    host.file("files/a", "x");
    let lines = format!(
        "ssl_certificate {}; ssl_certificate_key {}; location /down {{ return 302 http://127.0.0.1:1/; }}",
        certificate.display(),
        key.display()
    );
    Nginx::start(host, " ssl", &lines)
}

// Red when certificates are not checked, or when a certificate error counts as temporary.
#[test]
fn an_authority_has_to_be_known() {
    let Some(nginx) = started() else { return };
    let url = format!("https://127.0.0.1:{}/a", nginx.port);
    let rules = format!("127.0.0.1:{} 127.0.0.1:1", nginx.port);
    let error = get(&Client::new(policy(&rules), quick()).unwrap(), &url).unwrap_err();
    assert!(matches!(error.net(), Some(NetError::Untrusted { .. })), "{error}");

    let mut options = quick();
    options.ca_file = Some(nginx.host.path("cert.pem"));
    let client = Client::new(policy(&rules), options.clone()).unwrap();
    assert_eq!(get(&client, &url).unwrap(), 200);
    // Red when `follow` lets https redirect to http.
    let error = get(&client, &format!("https://127.0.0.1:{}/down", nginx.port)).unwrap_err();
    assert!(matches!(error.net(), Some(NetError::Refused(Refused::Downgrade { .. }))), "{error}");

    for (name, text, problem) in [
        ("none.pem", None, "No such file"),
        ("empty.pem", Some(""), "no certificate in it"),
        ("broken.pem", Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "it is not PEM"),
    ] {
        let path = nginx.host.path(name);
        text.into_iter().for_each(|text| fs::write(&path, text).unwrap());
        options.ca_file = Some(path);
        let error = Client::new(policy(&rules), options.clone()).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(name), "{error}");
    }
}

// Red when the command ignores the variable.
#[test]
fn the_command_is_told_of_an_authority() {
    let Some(nginx) = started() else { return };
    let staged = |variable: &str, file: &str| {
        let place = format!("127.0.0.1:{}", nginx.port);
        let mut command = nginx.host.command();
        command.args(["stage", &format!("https://{place}/a"), "--allow-net", &place, "--retries", "0"]);
        let output = command.env(variable, nginx.host.path(file)).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = staged("IGNORED", "cert.pem");
    assert!(code == Some(1) && said.contains("could not be trusted"), "{code:?} {said}");
    let (code, said) = staged("CATALOG_CA_FILE", "none.pem");
    assert!(code != Some(0) && said.contains("none.pem"), "{code:?} {said}");
    assert_eq!(staged("CATALOG_CA_FILE", "cert.pem").0, Some(0));
}

#[test]
fn plain_text_where_tls_is_expected_is_an_error() {
    let server = crate::server::Server::unvisited();
    let mut options = quick();
    (options.retries, options.connect_timeout) = (0, std::time::Duration::from_secs(1));
    let client = Client::new(policy(&server.rule()), options).unwrap();
    assert!(get(&client, &format!("https://127.0.0.1:{}/", server.port)).is_err());
    assert!(server.heads().is_empty());
}
