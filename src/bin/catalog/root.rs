//! `catalog root`: which root is in use, and why.

use std::path::PathBuf;

use serde::Serialize;

use crate::app::App;
use crate::failure::Outcome;
use crate::json::Line;

/// Print the root in use, and on standard error the reason
///
/// The root need not exist. `--root` comes first, then CATALOG_ROOT, then the user's cache directory.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog root
  du -sh \"$(catalog root --quiet)\"
  catalog root --json | jq -r .from")]
pub(crate) struct Args {}

/// What decided on the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum From {
    /// `--root`.
    Option,
    /// `CATALOG_ROOT`.
    Environment,
    /// Neither: the user's cache directory.
    Default,
}

impl From {
    fn words(self) -> &'static str {
        match self {
            From::Option => "--root says so",
            From::Environment => "CATALOG_ROOT says so",
            From::Default => "the default: neither --root nor CATALOG_ROOT is set",
        }
    }
}

/// The JSON of `root`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Root {
    /// Where it is, absolute.
    root: String,
    /// What decided on it.
    from: From,
    /// There is a catalog.
    exists: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let (root, from) = app.root_and_why();
        let opened = app.open();
        let exists = opened.is_ok();
        let root = match opened {
            Ok(catalog) => catalog.root().to_path_buf(),
            // A missing root has no real path, so this prints where it would be.
            Err(_) => std::path::absolute(&root).unwrap_or(root),
        };
        self.print(app, root, from, exists);
        Ok(())
    }

    fn print(&self, app: &mut App, root: PathBuf, from: From, exists: bool) {
        if app.json() {
            app.out.json(&Line::Root(Root { root: root.to_string_lossy().into_owned(), from, exists }));
            return;
        }
        let path = app.out.shown_path(&root).into_owned();
        app.out.line(path);
        app.out.flush();
        let missing = if exists { "" } else { "; there is no catalog yet" };
        app.note(&format!("{}{missing}", from.words()));
    }
}
