//! "How it looks" in docs/fleet.md, run as it is written: the first block on one host, the second on another.

use std::fs;
use std::path::Path;
use std::process::Command;

use catalog_core::StageOptions;

use crate::common::{Host, commands_of, fixture};
use crate::server::Registry;

/// Red when a command prints something other than docs/fleet.md says.
#[test]
fn it_prints_what_the_page_says() {
    let Some(registry) = Registry::with_password() else { return };
    let hosts = [Host::new(), Host::new()];
    hosts[0].catalog().stage(&fixture().into(), &StageOptions::default().with_id("tiny".to_owned())).unwrap();
    let commands = commands_of("docs/fleet.md", "How it looks");
    assert!(commands.len() >= 6, "{commands:?}");
    let mut host = &hosts[0];
    for (command, expected) in commands {
        if command.starts_with("catalog stage") {
            host = &hosts[1]; // as if somebody had logged in there as well
            drop(host.catalog());
        }
        let home = hosts[0].path("home");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("password"), "secret\n").unwrap();
        let binary = host.command().get_program().to_owned();
        let path = format!("{}:/usr/bin:/bin", Path::new(&binary).parent().unwrap().display());
        let here = command.replace("registry.example.org", &registry.host()).replace("-u fleet", "-u user");
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("{here} 2>&1")]).current_dir(&home);
        shell.env_clear().env("PATH", &path).env("HOME", &home).env("CATALOG_ROOT", host.root());
        let output = shell.env("CATALOG_ALLOW_NET", registry.host()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap().replace(&registry.host(), "registry.example.org");
        let printed = printed.replace(&*home.display().to_string(), "/home/you").replace("as user,", "as fleet,");
        let printed = printed.replace(&*host.root().display().to_string(), "/srv/models");
        // A command that takes a second or more also prints its time.
        let untimed = |line: &str| match line.rsplit_once(", ") {
            Some((words, time)) if time.strip_suffix(" s").is_some_and(|time| time.parse::<f64>().is_ok()) => {
                words.to_owned()
            }
            _ => line.to_owned(),
        };
        assert_eq!(printed.lines().map(untimed).collect::<Vec<_>>(), expected, "$ {command}");
    }
}
