//! `catalog config`: the store's own limits.

use catalog_core::{Config, MinFree};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use crate::amount;
use crate::app::App;
use crate::args::Init;
use crate::failure::{Failure, Outcome};
use crate::human;

/// Show and set how much the store may hold
///
/// The limits are kept in the root and hold for everybody who uses it: `stage` evicts what is least recently used to
/// stay within them, and fails when that is not enough; `gc` goes by them unless it is told otherwise.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog config set max_bytes 200GB
  catalog config set min_free 10%
  catalog config get
  catalog config unset max_bytes

Keys:
  max_bytes  the most that the store may occupy on disk: 200GB, 200GiB, or plain bytes
  min_free   what has to stay free on its file system: 10%, 50GB, 50GiB, or plain bytes")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print a limit as `set` takes it, or all of them
    Get {
        /// Which limit [default: all]
        #[arg(value_enum)]
        key: Option<Key>,
    },
    /// Set a limit; the next `stage` or `gc` goes by it, nothing is evicted now
    Set {
        /// Which limit
        #[arg(value_enum)]
        key: Key,
        /// A size such as 200GB or 200GiB; for min_free also a percentage such as 10%
        value: String,
        #[command(flatten)]
        init: Init,
    },
    /// Take a limit away
    Unset {
        /// Which limit
        #[arg(value_enum)]
        key: Key,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Key {
    /// The most that the store may occupy on disk
    #[value(name = "max_bytes")]
    MaxBytes,
    /// What has to stay free on the file system
    #[value(name = "min_free")]
    MinFree,
}

#[derive(Serialize)]
struct Setting {
    key: &'static str,
    value: Value,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        match self.what {
            What::Get { key } => get(app, key),
            What::Set { key, value, init } => {
                let value = key.parse(&value)?;
                // A limit is wanted before the first model comes.
                set(app, &app.open_or_create(init)?, key, Some(value))
            }
            What::Unset { key } => set(app, &app.open_with_locks()?, key, None),
        }
    }
}

fn get(app: &mut App, key: Option<Key>) -> Outcome {
    let config = app.open()?.config()?;
    let keys = key.map_or_else(|| Key::value_variants().to_vec(), |key| vec![key]);
    for one in keys {
        let value = one.of(&config);
        if app.json() {
            app.out.json(&one.setting(value));
        } else if key.is_none() {
            app.out.line(format!("{:10} {}", format!("{}:", one.name()), words(value)));
        } else if let Some(value) = value {
            app.out.line(value.to_string());
        } else {
            app.note(&format!("{} is not set", one.name()));
        }
    }
    Ok(())
}

fn set(app: &mut App, catalog: &catalog_core::FsCatalog, key: Key, value: Option<MinFree>) -> Outcome {
    catalog.change_config(|config| match key {
        Key::MaxBytes => config.max_bytes = value.and_then(MinFree::as_bytes),
        Key::MinFree => config.min_free = value,
    })?;
    app.receipt(&key.setting(value), |_| format!("{} is {}", key.name(), words(value)).into_bytes());
    Ok(())
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Key::MaxBytes => "max_bytes",
            Key::MinFree => "min_free",
        }
    }

    /// Every limit is bytes, or for some a percentage.
    fn parse(self, value: &str) -> Result<MinFree, Failure> {
        let parsed = match self {
            Key::MaxBytes => amount::size(value).map(MinFree::bytes),
            Key::MinFree => amount::min_free(value),
        };
        parsed.map_err(|how| Failure::Usage(format!("could not read {value:?} as {}: {how}", self.name())))
    }

    fn of(self, config: &Config) -> Option<MinFree> {
        match self {
            Key::MaxBytes => config.max_bytes.map(MinFree::bytes),
            Key::MinFree => config.min_free,
        }
    }

    fn setting(self, value: Option<MinFree>) -> Setting {
        let value = value.map_or(Value::Null, |value| match value.as_bytes() {
            Some(bytes) => bytes.into(),
            None => value.to_string().into(),
        });
        Setting { key: self.name(), value }
    }
}

fn words(value: Option<MinFree>) -> String {
    let Some(value) = value else { return "not set".to_owned() };
    value.as_bytes().map_or_else(|| value.to_string(), human::exact_size)
}
