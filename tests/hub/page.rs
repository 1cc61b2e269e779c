//! "From the Hub" in docs/network.md, run as it is written, against the Hub of these tests.

use std::path::Path;
use std::process::Command;

use crate::common::{Host, commands_of};
use crate::server::{Hub, host as host_of};

/// Red when a command prints something other than docs/network.md says.
#[test]
fn it_prints_what_the_page_says() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    drop(host.catalog());
    let binary = host.command().get_program().to_owned();
    let path = format!("{}:/usr/bin:/bin", Path::new(&binary).parent().unwrap().display());
    let servers = format!("hf,{},{}", host_of(&hub.hub), host_of(&hub.cdn));
    let commands = commands_of("docs/network.md", "From the Hub");
    assert!(commands.len() >= 5, "{commands:?}");
    for (command, expected) in commands {
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("{} 2>&1", command.replace("allow_net hf", &format!("allow_net {servers}")))]);
        shell.env_clear().env("PATH", &path).env("HOME", host.path("home")).env("CATALOG_ROOT", host.root());
        let output = shell.env("HF_ENDPOINT", &hub.hub).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap().replace(&servers, "hf");
        let printed = printed.replace(&hub.hub, "https://huggingface.co").replace(host_of(&hub.hub), "huggingface.co");
        let printed = printed.replace(&*host.root().display().to_string(), "/srv/models");
        // The files of this Hub are noise.
        let printed: Vec<&str> = printed.lines().filter(|line| !line.contains(" is incomplete: ")).collect();
        assert_eq!(printed, expected, "$ {command}");
    }
}
