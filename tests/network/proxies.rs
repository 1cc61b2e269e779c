//! Proxies: both they and the policy see the target.

use std::time::Duration;

use catalog_core::{Client, ClientOptions};

use crate::server::{Asked, Server, answer, redirect, send};
use crate::{get, policy, quick};

fn with_proxy(proxy: &str, no_proxy: &str, rules: &str) -> Client {
    let mut options: ClientOptions = quick();
    options.connect_timeout = Duration::from_secs(2);
    options.retries = 0;
    options.proxies.http = Some(proxy.to_owned());
    options.proxies.https = Some(proxy.to_owned());
    options.proxies.no_proxy = no_proxy.to_owned();
    Client::new(policy(rules), options).unwrap()
}

/// A proxy that plays all servers behind it: it answers the request after `CONNECT` itself.
fn proxy() -> Server {
    Server::new(|asked: &Asked<'_>, stream| {
        assert!(asked.head.starts_with("CONNECT "), "{}", asked.head);
        send(stream, b"HTTP/1.1 200 OK\r\n\r\n");
        if asked.head.starts_with("CONNECT sends.example") {
            send(stream, &redirect("http://169.254.169.254/latest/"));
        } else {
            send(stream, &answer("200 OK", "", b"behind"));
        }
    })
}

// Red when a target is only checked when it is resolved (without the check in `Client::once`): the proxy is asked for
// it.
#[test]
fn the_target_is_checked_in_front_of_a_proxy_too() {
    let proxy = proxy();
    let client = with_proxy(&proxy.url("/"), "", "http://a.example http://sends.example");
    for url in ["http://169.254.169.254/", "http://127.0.0.1/", "http://2852039166/", "http://b.example/"] {
        assert!(get(&client, url).unwrap_err().is_refused(), "{url}");
    }
    assert_eq!(proxy.connections(), 0);
    // No rule names the proxy's own address: configuring it allows it.
    assert_eq!(get(&client, "http://a.example/").unwrap(), 200);
    assert!(get(&client, "http://sends.example/").unwrap_err().is_refused());
    assert_eq!(proxy.connections(), 2);
    assert!(proxy.heads()[0].starts_with("CONNECT a.example:80 "), "{:?}", proxy.heads());
}

#[test]
fn no_proxy_goes_by_it() {
    let (proxy, server) = (proxy(), Server::unvisited());
    let client = with_proxy(&proxy.rule(), "127.0.0.0/8", &server.rule());
    assert_eq!(get(&client, &server.url("/")).unwrap(), 200);
    assert_eq!((proxy.connections(), server.connections()), (0, 1));
}

// Red when `agent::connector` has no `SocksConnector`: it connects directly.
#[test]
fn a_socks_proxy_is_not_passed_by() {
    let (proxy, server) = (Server::unvisited(), Server::unvisited());
    for scheme in ["socks5h", "socks5", "socks4"] {
        let client = with_proxy(&format!("{scheme}://127.0.0.1:{}", proxy.port), "", &server.rule());
        // The proxy is a web server, and does not understand.
        assert!(get(&client, &server.url("/")).is_err(), "{scheme}");
    }
    assert_eq!(server.connections(), 0);
    assert!(proxy.connections() >= 3, "{}", proxy.connections());
}

#[test]
fn what_is_no_proxy_is_an_error_before_anything_is_sent() {
    for text in ["ftp://127.0.0.1:1", "http://", "http://user:secret@:1"] {
        let mut options = quick();
        options.proxies.https = Some(text.to_owned());
        let error = Client::new(policy("a.example"), options).unwrap_err().to_string();
        assert!(error.contains("the proxy for https") && !error.contains("secret"), "{error}");
    }
}
