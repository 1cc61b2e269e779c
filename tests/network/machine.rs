//! The administrator's file: it can only forbid, and it applies to every program on the machine.

use std::fs;

use crate::common::{self, Host, child_test, is_child};
use crate::server::Server;
use crate::{get, policy, quick};
use catalog_core::{Client, NetError, Refused};

// Red when `Client::new` does not narrow the given policy.
#[test]
fn a_client_is_narrowed_by_the_file_of_the_machine() {
    const TEST: &str = "machine::a_client_is_narrowed_by_the_file_of_the_machine";
    // Tells the child that it cannot even get a client.
    const UNREADABLE: &str = "CATALOG_TEST_UNREADABLE";
    if is_child(TEST) {
        let server = Server::unvisited();
        let client = Client::new(policy(&server.rule()), quick());
        if std::env::var(UNREADABLE).is_ok() {
            let error = client.unwrap_err();
            assert!(error.to_string().contains("net.toml"), "{error}");
        } else {
            let error = get(&client.unwrap(), &server.url("/")).unwrap_err();
            assert!(matches!(error.net(), Some(NetError::Refused(Refused::Machine { .. }))), "{error}");
        }
        assert_eq!(server.connections(), 0);
        return;
    }
    let host = Host::new();
    let file = host.path("net.toml");
    // A file that forbids it, one that allows something else, one that makes no sense, none.
    for (text, is_readable) in [
        (Some("deny = [\"127.0.0.0/8\"]"), true),
        (Some("allow = [\"hf\"]"), true),
        (Some("deny: all"), false),
        (None, false),
    ] {
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let mut command = child_test(&[], TEST);
        command.env("CATALOG_NET_POLICY", &file);
        if !is_readable {
            command.env(UNREADABLE, "1");
        }
        common::run(command);
    }
}
