//! The files in the packages: those that Cargo.toml names exist, and systemd accepts the units.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;

const UNITS: [&str; 4] = ["catalog-gc.service", "catalog-gc.timer", "catalog-verify.service", "catalog-verify.timer"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

/// Runs a copy of the repository's script, so that it does not write into the target folder of the repository.
fn build_in(host: &Host) {
    for folder in ["packaging", "packaging/systemd"] {
        fs::create_dir_all(host.path(folder)).unwrap();
    }
    fs::copy(repository().join("packaging/build"), host.path("packaging/build")).unwrap();
    let mut build = Command::new(host.path("packaging/build"));
    build.env("CATALOG_BINARY", assert_cmd::cargo::cargo_bin!("catalog"));
    run(build);
}

/// The source of each asset that Cargo.toml names.
fn assets() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, packages) = manifest.split_once("[package.metadata.deb]").unwrap();
    let (packages, _) = packages.split_once("[lints").unwrap();
    let lines = packages.lines().map(str::trim);
    let sources = lines.filter_map(|line| line.strip_prefix("{ source = \"").or_else(|| line.strip_prefix("[\"")));
    sources.map(|source| source.split('"').next().unwrap().to_owned()).collect()
}

// Red when Cargo.toml and the script use different names for a file.
#[test]
fn what_the_packages_have_is_there() {
    let host = Host::new();
    build_in(&host);
    let assets = assets();
    assert!(assets.len() > 15, "{assets:?}");
    for asset in &assets {
        let root = if asset.starts_with("target/package/") { host.dir.path() } else { repository() };
        let (folder, name) = asset.rsplit_once('/').unwrap_or(("", asset));
        let (start, end) = name.split_once('*').unwrap_or((name, ""));
        let is_it = |found: &str| {
            if name.contains('*') { found.starts_with(start) && found.ends_with(end) } else { found == name }
        };
        let names =
            || fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The command itself is built only for the package.
        assert!(asset == "target/dist/catalog" || names().any(|found| is_it(&found)), "{asset} is not there");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = fs::read_to_string(host.path(&format!("target/package/completions/catalog.{shell}"))).unwrap();
        assert!(script.contains(&format!("COMPLETE={shell} catalog -- ")), "{shell}: {script}");
    }
    let page = Command::new("zcat").arg(host.path("target/package/man/catalog-gc.1.gz")).output().unwrap();
    assert!(String::from_utf8(page.stdout).unwrap().contains(".SH SYNOPSIS"));
}

/// The values of a setting in a unit.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

// Red when a unit has a setting that systemd does not know.
#[test]
fn systemd_understands_the_units() {
    if !has_tool("systemd-analyze") {
        return skip("systemd-analyze is not there");
    }
    let host = Host::new();
    for unit in UNITS {
        // This checks the unit, not whether the command and its pages are installed on this host.
        let text = read(&format!("packaging/systemd/{unit}")).replace("/usr/bin/catalog", "/bin/true");
        let text = text.lines().filter(|line| !line.starts_with("Documentation=")).collect::<Vec<_>>().join("\n");
        fs::write(host.path(unit), text).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    let output = verify.arg("verify").args(UNITS.map(|unit| host.path(unit))).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    // systemd-analyze also reads the units of the host.
    let ours: Vec<_> = told.lines().filter(|line| line.contains("catalog-")).collect();
    assert!(output.status.success() && ours.is_empty(), "{told}");
}

/// Runs the command of each unit in a shell, with the options of `/etc/default/catalog`.
// Red when a verb or an option has another name.
#[test]
fn the_units_run_the_command() {
    let host = Host::new();
    let model = host.file("model.gguf", "GGUF");
    stage(&host.catalog(), &model, "model").unwrap();
    let defaults = read("packaging/default");
    for (unit, expected) in [("catalog-gc", "freed 0 B"), ("catalog-verify", "1 intact")] {
        let service = read(&format!("packaging/systemd/{unit}.service"));
        let command = settings(&service, "ExecStart")[0].strip_prefix("/usr/bin/catalog ").unwrap();
        let variable = command.split_once('$').unwrap().1;
        let options = settings(&defaults, variable)[0].trim_matches('"');
        let words = command.split_once('$').unwrap().0.split_whitespace().chain(options.split_whitespace());
        let output = host.command().args(words).output().unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success() && printed.contains(expected), "{command}: {printed}");
        assert_eq!(settings(&defaults, "CATALOG_ROOT"), ["/var/lib/models"]);
        assert!(settings(&service, "Environment").contains(&"CATALOG_ROOT=/var/lib/models"));
    }
}
