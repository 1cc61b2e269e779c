//! Servers that redirect to places where no client should go.

use crate::server::{Server, redirect};
use crate::{client, get};
use catalog_core::{NetError, Refused};

/// `{p}` is the port of a server that is not allowed, `{own}` the port of the one that is.
const TARGETS: [&str; 24] = [
    "http://127.0.0.1:{p}/",
    "http://localhost:{p}/",
    "http://localhost:{own}/",
    "http://0x7f.1:{p}/",
    "http://2130706433:{p}/",
    "http://[::1]:{p}/",
    "http://[::ffff:127.0.0.1]:{p}/",
    "//127.0.0.1:{p}/",
    "//localhost:{p}/",
    "\\\\127.0.0.1:{p}/",
    "http:\\\\127.0.0.1:{p}/",
    "http://127.0.0.1:{own}@127.0.0.1:{p}/",
    "http://user@127.0.0.1:{own}/",
    "http://127.0.0.1:{p}\\@127.0.0.1:{own}/",
    "http://127.0.0.1:{p}#@127.0.0.1:{own}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.google.internal/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{p}/_x",
    "data:text/plain,x",
    "javascript:alert(1)",
    "ftp://127.0.0.1:{p}/",
    "https://127.0.0.1:{p}/",
    "http://$(reboot).example/",
];

// Red when `Policy::check_url` ignores the rules, or when `Client::once` does not call it.
#[test]
fn every_hop_goes_through_the_policy() {
    let other = Server::unvisited();
    let port = other.port.to_string();
    let server = Server::new(move |asked, stream| {
        let number: usize = asked.path().trim_start_matches('/').parse().unwrap();
        let own = asked.header("host").unwrap().rsplit(':').next().unwrap();
        let target = TARGETS[number].replace("{p}", &port).replace("{own}", own);
        crate::server::send(stream, &redirect(&target));
    });
    let client = client(&server.rule());
    for (number, target) in TARGETS.iter().enumerate() {
        let error = get(&client, &server.url(&format!("/{number}"))).unwrap_err();
        assert!(error.is_refused(), "{target}: {error}");
    }
    assert_eq!((server.connections(), other.connections()), (TARGETS.len(), 0));
}

#[test]
fn a_loop_ends() {
    let server = Server::new(|_, stream| crate::server::send(stream, &redirect("/again")));
    let error = get(&client(&server.rule()), &server.url("/")).unwrap_err();
    assert!(matches!(error.net(), Some(NetError::Refused(Refused::TooManyRedirects { .. }))), "{error}");
    assert_eq!(server.connections(), 6);
}

#[test]
fn a_redirect_without_sense_is_an_error_or_an_answer() {
    let answers: [(&[u8], bool); 3] = [
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", true),
        (b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n", false),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n", false),
    ];
    for (bytes, is_answer) in answers {
        let server = Server::new(move |_, stream| crate::server::send(stream, bytes));
        let outcome = get(&client(&server.rule()), &server.url("/"));
        assert_eq!(outcome.is_ok(), is_answer, "{outcome:?}");
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn a_relative_redirect_is_followed() {
    let server = Server::new(|asked, stream| match asked.path() {
        "/a/b" => crate::server::send(stream, &redirect("../c?d#e")),
        "/c?d" => crate::server::send(stream, &crate::server::answer("200 OK", "", b"here")),
        other => panic!("{other}"),
    });
    let response = client(&server.rule()).get(&server.url("/a/b")).send(&()).unwrap();
    assert_eq!(response.final_url(), server.url("/c?d"));
    assert_eq!(response.bytes(10).unwrap(), b"here");
}
