//! Several users on one root: members of a group who write to it, and others who only read.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

mod cut;
mod locks;
mod repair;
mod trust;
mod uses;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Host, as_nobody, run, set_mode};

/// Users that need no account. The root is Ann's.
const ANN: u32 = 61_001;
const BOB: u32 = 61_002;
const CAROL: u32 = 61_003;
const READER: u32 = 61_004;
const OTHER_READER: u32 = 61_005;
const TEAM: u32 = 61_100;

/// A root in a folder that all users can reach.
struct Place {
    host: Host,
}

impl Place {
    /// The root belongs to Ann and the team, and has this mode. `None`, after printing the reason, if the test cannot
    /// become another user.
    fn new(mode: u32) -> Option<Self> {
        as_nobody()?;
        let host = Host::new();
        set_mode(host.dir.path(), 0o755);
        fs::create_dir(host.root()).unwrap();
        let place = Place { host };
        place.give_root(mode);
        Some(place)
    }

    fn give_root(&self, mode: u32) {
        chown(self.host.root(), Some(ANN), Some(TEAM)).unwrap();
        set_mode(&self.host.root(), mode);
    }

    /// A program that runs as a user. Everybody but the readers is in the team.
    fn command_as(&self, user: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let group = if [READER, OTHER_READER].contains(&user) { user } else { TEAM };
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
        command.arg(program).current_dir(self.host.dir.path());
        command.env("CATALOG_ROOT", self.host.root()).env("HOME", "/").env_remove("XDG_CACHE_HOME").env("LC_ALL", "C");
        command
    }

    fn catalog_as(&self, user: u32, args: &[&str]) -> Output {
        let mut command = self.command_as(user, self.host.command().get_program());
        command.args(args).output().unwrap()
    }

    /// Runs a verb that must succeed.
    #[track_caller]
    fn does(&self, user: u32, args: &[&str]) -> String {
        let mut command = self.command_as(user, self.host.command().get_program());
        command.args(args);
        String::from_utf8(run(command).stdout).unwrap()
    }

    /// A source that everybody can read.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.host.file(name, content);
        set_mode(&path, 0o644);
        path.to_str().unwrap().to_owned()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_lock_file(path: &Path) -> bool {
    path.file_name().unwrap() != "probe"
}
