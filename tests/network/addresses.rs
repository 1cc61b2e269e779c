//! Names that resolve to addresses that no rule names. A separate mount namespace with its own `/etc/hosts` provides
//! the names.

use std::fs;
use std::process::Command;

use crate::common::{self, Host, child_test, has_tool, is_child, is_root, skip};
use crate::server::Server;
use crate::{client, get, quick};
use catalog_core::{Client, NetError, Policy, Refused};

const HOSTS: &str = "127.0.0.1 localhost here.example\n10.0.0.1 two.example\n1.1.1.1 two.example\n\
    169.254.169.254 metadata.example\n::ffff:127.0.0.1 mapped.example\n64:ff9b::7f00:1 nat64.example\n";

/// Runs a test of this file in a process that can resolve those names. `false` if that is not possible here.
fn with_names(test: &str) -> bool {
    if !is_root() || !has_tool("unshare") {
        skip("this needs root and unshare");
        return false;
    }
    let host = Host::new();
    let hosts = host.path("hosts");
    fs::write(&hosts, HOSTS).unwrap();
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let before = ["unshare", "-m", "sh", "-c", script, hosts.to_str().unwrap()];
    let may = Command::new("unshare").args(["-m", "true"]).output().unwrap().status.success();
    if !may {
        skip("this needs mount namespaces");
        return false;
    }
    let output = common::run(child_test(&before, test));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{test} did not run");
    true
}

// Red when the resolver returns addresses without `Policy::check_address`: the client connects to here.example.
#[test]
fn a_name_that_is_allowed_leads_nowhere_else() {
    const TEST: &str = "addresses::a_name_that_is_allowed_leads_nowhere_else";
    if !is_child(TEST) {
        with_names(TEST);
        return;
    }
    let server = Server::unvisited();
    let port = server.port;
    let client = client(&format!("http://*.example:{port} *.example:{port}"));
    for (name, address) in [
        ("here.example", "127.0.0.1"),
        // One address that is not public is enough, because the system chooses among them.
        ("two.example", "10.0.0.1"),
        ("metadata.example", "169.254.169.254"),
        ("nat64.example", "64:ff9b::7f00:1"),
    ] {
        let error = get(&client, &format!("http://{name}:{port}/")).unwrap_err();
        let Some(NetError::Refused(Refused::Address { rule, .. })) = error.net() else { panic!("{name}: {error}") };
        assert_eq!(rule, address, "{error}");
    }
    assert!(get(&client, &format!("http://mapped.example:{port}/")).is_err());
    assert_eq!(server.connections(), 0);
    // With another rule for the address, both gates are open.
    let both = crate::client(&format!("http://here.example:{port} 127.0.0.1"));
    assert_eq!(get(&both, &format!("http://here.example:{port}/")).unwrap(), 200);
}

// Red when the policy ignores the rules, or when a name is looked up before the policy is checked.
#[test]
fn without_a_rule_no_socket_is_opened() {
    const TEST: &str = "addresses::without_a_rule_no_socket_is_opened";
    if is_child(TEST) {
        let client = Client::new(Policy::default(), quick()).unwrap();
        for url in ["https://huggingface.co/", "http://127.0.0.1:1/", "http://localhost:1/"] {
            assert!(get(&client, url).unwrap_err().is_refused());
        }
        return;
    }
    if !has_tool("strace") {
        skip("this needs strace");
        return;
    }
    let output = common::run(child_test(&["strace", "-f", "-e", "trace=socket,connect,sendto,sendmmsg"], TEST));
    let trace = String::from_utf8_lossy(&output.stderr);
    assert!(trace.contains("exited with 0"), "{trace}");
    for call in ["socket(", "connect(", "sendto("] {
        assert!(!trace.contains(call), "{trace}");
    }
}
