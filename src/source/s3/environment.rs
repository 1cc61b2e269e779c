//! The environment as the AWS tools read it: an empty variable counts as unset.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The variables at one point in time. Omits values that are not UTF-8, which do not matter here.
#[derive(Clone, Default)]
pub(super) struct Environment(HashMap<String, String>);

/// Omits the values, because some are keys.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment(…)")
    }
}

impl Environment {
    pub(super) fn of_process() -> Self {
        let of = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok().filter(|value| !value.is_empty())?))
        };
        Environment(std::env::vars_os().filter_map(of).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn profile(&self) -> &str {
        self.get("AWS_PROFILE").unwrap_or("default")
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.get("HOME").map(Path::new)
    }

    /// Expands `~/` like the AWS tools, for values that no shell has expanded.
    pub(super) fn expand(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.home()) {
            (Some(below), Some(home)) => home.join(below),
            _ => PathBuf::from(path),
        }
    }
}

impl reqsign_core::Env for Environment {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    fn vars(&self) -> HashMap<String, String> {
        self.0.clone()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.home().map(Path::to_path_buf)
    }
}

#[cfg(test)]
impl FromIterator<(&'static str, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (&'static str, String)>>(variables: T) -> Self {
        Environment(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}
