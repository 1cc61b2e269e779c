//! `catalog config`: the store's own limits, and what it may be fetched from.

use catalog_core::{Config, MinFree, Policy};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value as Json;

use crate::amount;
use crate::app::App;
use crate::args::Init;
use crate::failure::{Failure, Outcome};
use crate::human;

/// Show and set the limits of the store, and what it may be fetched from
///
/// The limits are kept in the root and hold for everybody who uses it: `stage` evicts what is least recently used to
/// stay within them, and fails when that is not enough; `gc` goes by them unless it is told otherwise. A root that is
/// sealed, and then baked into an image or mounted read-only, gives out what has its size without reading it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog config set max_bytes 200GB
  catalog config set min_free 10%
  catalog config get
  catalog config unset max_bytes

Keys:
  max_bytes  the most that the store may occupy on disk: 200GB, 200GiB, or plain bytes
  min_free   what has to stay free on its file system: 10%, 50GB, 50GiB, or plain bytes
  sealed     true before the root is baked into an image or mounted read-only
  allow_net  servers that all who use the root may fetch from, with commas between them: hf,models.example.org")]
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
    /// Whether the root will be read-only
    #[value(name = "sealed")]
    Sealed,
    /// Which servers may be spoken to
    #[value(name = "allow_net")]
    AllowNet,
}

/// What a key is set to.
enum Value {
    Amount(MinFree),
    Flag(bool),
    Rules(Vec<String>),
}

#[derive(Serialize)]
struct Setting {
    key: &'static str,
    value: Json,
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
            app.out.json(&one.setting(value.as_ref()));
        } else if key.is_none() {
            app.out.line(format!("{:10} {}", format!("{}:", one.name()), words(value.as_ref())));
        } else if let Some(value) = value {
            app.out.line(value.text());
        } else {
            app.note(&format!("{} is not set", one.name()));
        }
    }
    Ok(())
}

fn set(app: &mut App, catalog: &catalog_core::FsCatalog, key: Key, value: Option<Value>) -> Outcome {
    let amount = if let Some(Value::Amount(amount)) = &value { Some(*amount) } else { None };
    catalog.change_config(|config| match key {
        Key::MaxBytes => config.max_bytes = amount.and_then(MinFree::as_bytes),
        Key::MinFree => config.min_free = amount,
        Key::Sealed => config.sealed = matches!(value, Some(Value::Flag(true))),
        Key::AllowNet => {
            config.allow_net = if let Some(Value::Rules(rules)) = &value { rules.clone() } else { Vec::new() };
        }
    })?;
    let value = value.as_ref();
    app.receipt(&key.setting(value), |_| format!("{} is {}", key.name(), words(value)).into_bytes());
    Ok(())
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Key::MaxBytes => "max_bytes",
            Key::MinFree => "min_free",
            Key::Sealed => "sealed",
            Key::AllowNet => "allow_net",
        }
    }

    fn parse(self, value: &str) -> Result<Value, Failure> {
        let parsed = match self {
            Key::MaxBytes => amount::size(value).map(MinFree::bytes).map(Value::Amount),
            Key::MinFree => amount::min_free(value).map(Value::Amount),
            Key::Sealed => value.parse().map(Value::Flag).map_err(|_| "write true or false"),
            Key::AllowNet => return rules(value),
        };
        parsed.map_err(|how| Failure::Usage(format!("could not read {value:?} as {}: {how}", self.name())))
    }

    fn of(self, config: &Config) -> Option<Value> {
        match self {
            Key::MaxBytes => config.max_bytes.map(MinFree::bytes).map(Value::Amount),
            Key::MinFree => config.min_free.map(Value::Amount),
            Key::Sealed => config.sealed.then_some(Value::Flag(true)),
            Key::AllowNet if config.allow_net.is_empty() => None,
            Key::AllowNet => Some(Value::Rules(config.allow_net.clone())),
        }
    }

    fn setting(self, value: Option<&Value>) -> Setting {
        let value = value.map_or(Json::Null, |value| match value {
            Value::Flag(flag) => (*flag).into(),
            Value::Amount(amount) => amount.as_bytes().map_or_else(|| amount.to_string().into(), Json::from),
            Value::Rules(rules) => rules.clone().into(),
        });
        Setting { key: self.name(), value }
    }
}

fn rules(value: &str) -> Result<Value, Failure> {
    if Policy::default().allow_list(value)?.is_empty() {
        return Err(Failure::Usage("could not set allow_net to nothing: `config unset allow_net` does that".into()));
    }
    let rules = value.split(|c: char| c == ',' || c.is_whitespace()).filter(|rule| !rule.is_empty());
    Ok(Value::Rules(rules.map(str::to_owned).collect()))
}

impl Value {
    /// As `set` takes it.
    fn text(&self) -> String {
        match self {
            Value::Amount(amount) => amount.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Rules(rules) => rules.join(","),
        }
    }
}

fn words(value: Option<&Value>) -> String {
    match value {
        None => "not set".to_owned(),
        Some(Value::Amount(amount)) => amount.as_bytes().map_or_else(|| amount.to_string(), human::exact_size),
        Some(value) => value.text(),
    }
}
