//! Addresses that lead to this machine without saying so: the client connects to none.

use crate::server::Server;
use crate::{client, get, quick};
use catalog_core::{Client, Policy};

/// `{p}` is the port of a server on the address that each of these means, or could be taken to mean.
const SPELLINGS: [&str; 42] = [
    "http://127.0.0.1:{p}/",
    "http://localhost:{p}/",
    "http://LOCALHOST:{p}/",
    "http://localhost.:{p}/",
    "http://127.0.0.1.:{p}/",
    "http://0x7f.1:{p}/",
    "http://0x7f000001:{p}/",
    "http://0x7F.0x0.0x0.0x1:{p}/",
    "http://2130706433:{p}/",
    "http://127.1:{p}/",
    "http://127.0.1:{p}/",
    "http://0177.0.0.1:{p}/",
    "http://017700000001:{p}/",
    "http://127.0.0.2:{p}/",
    "http://127.255.255.254:{p}/",
    "http://0.0.0.0:{p}/",
    "http://0:{p}/",
    "http://[::]:{p}/",
    "http://[::1]:{p}/",
    "http://[0:0:0:0:0:0:0:1]:{p}/",
    "http://[::ffff:127.0.0.1]:{p}/",
    "http://[::ffff:7f00:1]:{p}/",
    "http://[::127.0.0.1]:{p}/",
    "http://[64:ff9b::127.0.0.1]:{p}/",
    "http://[2002:7f00:1::]:{p}/",
    "http://%31%32%37.0.0.1:{p}/",
    "http://１２７.0.0.1:{p}/",
    "http://①②⑦.⓪.⓪.①:{p}/",
    "http://127。0。0。1:{p}/",
    "http://lo\u{ad}calhost:{p}/",
    "http:\\\\127.0.0.1:{p}/",
    "http:127.0.0.1:{p}/",
    "http:///127.0.0.1:{p}/",
    "http://\t127.0.0.1:{p}/",
    "http://allowed.example@127.0.0.1:{p}/",
    "http://allowed.example:80@127.0.0.1:{p}/",
    "http://127.0.0.1:{p}\\@allowed.example/",
    "http://127.0.0.1:{p}#@allowed.example/",
    "http://127.0.0.1:{p}?@allowed.example/",
    "https://127.0.0.1:{p}/",
    "http://ip6-localhost:{p}/",
    "http://169.254.169.254:{p}/",
];

// Red when `Policy::check_url` ignores the rules: the first of them gets an answer.
#[test]
fn nothing_leads_here_unless_a_rule_names_it() {
    let server = Server::unvisited();
    let some = client("allowed.example http://allowed.example *.example 10.0.0.0/8");
    let none = Client::new(Policy::default(), quick()).unwrap();
    for client in [some, none] {
        for spelling in SPELLINGS {
            let url = spelling.replace("{p}", &server.port.to_string());
            let error = get(&client, &url).unwrap_err();
            assert!(error.is_refused(), "{url}: {error}");
        }
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_rule_that_names_the_address_allows_each_spelling() {
    let server = Server::unvisited();
    let client = client(&server.rule());
    for spelling in ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "127.0.0.1", "127。0。0。1"] {
        assert_eq!(get(&client, &format!("http://{spelling}:{}/", server.port)).unwrap(), 200, "{spelling}");
    }
    assert_eq!(server.connections(), 6);
    // The same address on another port is another server.
    let other = Server::unvisited();
    assert!(get(&client, &other.url("/")).unwrap_err().is_refused());
    assert_eq!(other.connections(), 0);
}

#[test]
fn other_schemes_are_never_spoken() {
    let client = client("127.0.0.1 allowed.example");
    for url in
        ["file:///etc/passwd", "ftp://allowed.example/", "gopher://127.0.0.1/", "data:text/plain,x", "ws://127.0.0.1/"]
    {
        assert!(get(&client, url).unwrap_err().is_refused(), "{url}");
    }
    for url in ["", "/etc/passwd", "http://", "http://[::1/", "http://a:99999/"] {
        let error = get(&client, url).unwrap_err();
        assert!(error.net().is_some() && !error.is_unreachable(), "{url}: {error}");
    }
}
