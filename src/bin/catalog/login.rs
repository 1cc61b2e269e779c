//! `catalog login`: a login for a registry.

use std::io::{self, IsTerminal as _, Read as _};

use catalog_core::{OciLogins, OciOptions, OciPlace};
use serde::Serialize;

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signal;
use crate::json::Line;
use crate::net::Net;

/// No password or token is that long.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// Log in to a registry, for this command and for other tools
///
/// It tries the login at the registry, then writes it where skopeo, podman and oras keep theirs: in the file that
/// REGISTRY_AUTH_FILE names, else in containers/auth.json below $XDG_RUNTIME_DIR if that folder exists, else below
/// $XDG_CONFIG_HOME, else below ~/.config. $XDG_RUNTIME_DIR is emptied at the end of a session. Only its owner can
/// read the file (0600). It holds the password itself, in base64. Its other contents stay.
///
/// It never runs a credential helper. If one is set for the registry, it writes the login anyway, and notes that
/// other tools will still ask the helper.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog login ghcr.io -u acme --password-stdin --allow-net ghcr.io < token
  printf %s \"$TOKEN\" | catalog login registry.example.org:5000/team -u robot --password-stdin
  REGISTRY_AUTH_FILE=/etc/models/auth.json catalog login docker.io -u acme --password-stdin --offline < token")]
pub(crate) struct Args {
    /// The registry, or a part of one: HOST, HOST:PORT, HOST/PATH
    #[arg(value_name = "HOST")]
    place: OciPlace,
    /// The user [default: the one that is logged in there now]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Read the password, or the token, from standard input; a line break at its end does not count
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    net: Net,
}

/// What was done.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Done<'a> {
    /// The registry, or the part of one.
    registry: String,
    /// The user.
    user: &'a str,
    /// The file that has the login.
    path: String,
    /// The registry has said that it takes the login.
    checked: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let (logins, place) = (OciLogins::from_env()?, &self.place);
        let known = OciOptions::from_env()?;
        let user = match (&self.user, known.user(place)) {
            (Some(user), _) => user.clone(),
            (None, Some(user)) => user.to_owned(),
            (None, None) => {
                return Err(Failure::usage(format!("nobody is logged in to {place}: name the user with -u")));
            }
        };
        // What stands before the first colon is the user.
        if user.is_empty() || user.contains(':') || user.contains(char::is_control) {
            return Err(Failure::usage(format!("could not use {user:?} as a user of a registry")));
        }
        let password = self.password(&user)?;
        let checked = if self.net.is_offline() {
            false
        } else {
            let client = self.net.client(app, &cancel_on_signal())?;
            let checked = OciLogins::check(place, &user, &password, &client)?;
            if !checked {
                app.note(&format!("{place} is open to everybody and did not check the login"));
            }
            checked
        };
        logins.add(place, &user, &password)?;
        if let Some(helper) = known.helper_of(place) {
            app.note(&format!(
                "docker-credential-{helper} is set for {place}: other tools will ask it and ignore this login"
            ));
        }
        let path = logins.path().display().to_string();
        let words = format!("logged in to {place} as {user}, in {path}");
        app.receipt(Line::Login(Done { registry: place.to_string(), user: &user, path, checked }), |_| {
            words.into_bytes()
        });
        Ok(())
    }

    fn password(&self, user: &str) -> Result<String, Failure> {
        let fail = |why: &str| {
            Failure::usage(format!(
                "could not read the password: {why}; give it on standard input, as in `printf %s \"$TOKEN\" | catalog login {} -u \
                 {user} --password-stdin`",
                self.place
            ))
        };
        if !self.password_stdin {
            return Err(fail("it is never asked for, and no argument"));
        }
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(fail("a terminal would show it"));
        }
        let mut password = String::new();
        let read = stdin.lock().take(MAX_PASSWORD_BYTES + 1).read_to_string(&mut password);
        read.map_err(|e| fail(&e.to_string()))?;
        let password = password.strip_suffix('\n').map_or(&*password, |line| line.strip_suffix('\r').unwrap_or(line));
        match password.len() as u64 {
            0 => Err(fail("it is empty")),
            1..=MAX_PASSWORD_BYTES => Ok(password.to_owned()),
            _ => Err(fail("it is larger than 64 KiB")),
        }
    }
}
