//! `catalog logout`: takes a login away.

use catalog_core::{OciLogins, OciOptions, OciPlace};
use serde::Serialize;

use crate::app::App;
use crate::failure::Outcome;
use crate::json::Line;

/// Take the login for a registry away
///
/// Removes it from the file that `catalog login` writes. It is no error if there was none.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog logout ghcr.io
  catalog logout registry.example.org:5000/team")]
pub(crate) struct Args {
    /// The registry, or the part of one, as it was logged in to
    #[arg(value_name = "HOST")]
    place: OciPlace,
}

/// What was done.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Done {
    /// The registry, or the part of one.
    registry: String,
    /// The file that had the login.
    path: String,
    /// There was a login.
    removed: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let (logins, place) = (OciLogins::from_env()?, self.place);
        let removed = logins.remove(&place)?;
        if let Some(user) = OciOptions::from_env()?.user(&place) {
            app.note(&format!(
                "another file still has the login of {user} for {place}, such as that of `docker login`"
            ));
        }
        let path = logins.path().display().to_string();
        let words = match removed {
            true => format!("logged out of {place}, in {path}"),
            false => format!("{path} had no login for {place}"),
        };
        app.receipt(Line::Logout(Done { registry: place.to_string(), path, removed }), |_| words.into_bytes());
        Ok(())
    }
}
