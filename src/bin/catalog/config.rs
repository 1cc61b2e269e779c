//! `catalog config`: the store's own limits, and what it may be fetched from.

use catalog_core::{Config, MinFree, Policy, Sources};
use clap::Subcommand;
use serde::Serialize;
use serde_json::Value as Json;

use crate::amount;
use crate::app::App;
use crate::args::Init;
use crate::config_key::{KEYS, Key, KeyParser};
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;

/// Show and set the limits of the store, and what it may be fetched from
///
/// The root keeps the limits, and they hold for everybody who uses it: `stage` evicts the least recently used models
/// to stay within them, and fails if that is not enough; `gc` follows them unless its options say otherwise. A root
/// that is sealed, and then baked into an image or mounted read-only, gives out files whose size is right without
/// reading them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog config set max_bytes 200GB
  catalog config set min_free 10%
  catalog config get
  catalog config unset max_bytes
  catalog config set mirror.docker.io http://127.0.0.1:4001,https://mirror.example.org/docker

Keys:
  max_bytes  the most that the store may occupy on disk: 200GB, 200GiB, or plain bytes
  min_free   what has to stay free on its file system: 10%, 50GB, 50GiB, or plain bytes
  sealed     true before the root is baked into an image or mounted read-only
  allow_net  servers that all who use the root may fetch from, with commas between them: hf,models.example.org
  mirror.HOST  servers that have what HOST has under the same paths, with commas between them. They are asked first, in
             this order, for what has a SHA-256 that was named beforehand. A rule has to allow each, as every server")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print a limit as `set` takes it, or all of them
    Get {
        /// Which limit [default: all]
        #[arg(value_parser = KeyParser)]
        key: Option<Key>,
    },
    /// Set a limit; the next `stage` or `gc` follows it, and nothing is evicted now
    Set {
        /// Which limit
        #[arg(value_parser = KeyParser)]
        key: Key,
        /// A size such as 200GB or 200GiB; for min_free also a percentage such as 10%; rules or URLs with commas
        /// between them
        value: String,
        #[command(flatten)]
        init: Init,
    },
    /// Take a limit away
    Unset {
        /// Which limit
        #[arg(value_parser = KeyParser)]
        key: Key,
    },
}

/// What a key is set to.
enum Value {
    Amount(MinFree),
    Flag(bool),
    List(Vec<String>),
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Setting {
    /// `max_bytes`, `min_free`, `sealed`, `allow_net` or `mirror.HOST`.
    key: String,
    /// A number of bytes, a percentage such as `10%`, true, or a list; null if it is not set.
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
    let all = || {
        let mirrors = config.mirrors.keys().cloned().map(Key::Mirror);
        KEYS.into_iter().map(|(key, ..)| key).chain(mirrors).collect()
    };
    for one in key.clone().map_or_else(all, |key| vec![key]) {
        let value = one.of(&config);
        if app.json() {
            app.out.json(&Line::Setting(one.setting(value.as_ref())));
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
    catalog.change_config(|config| match &key {
        Key::MaxBytes => config.max_bytes = amount.and_then(MinFree::as_bytes),
        Key::MinFree => config.min_free = amount,
        Key::Sealed => config.sealed = matches!(value, Some(Value::Flag(true))),
        Key::AllowNet => {
            config.allow_net = if let Some(Value::List(rules)) = &value { rules.clone() } else { Vec::new() };
        }
        Key::Mirror(host) => match &value {
            Some(Value::List(urls)) => _ = config.mirrors.insert(host.clone(), urls.clone()),
            _ => _ = config.mirrors.remove(host),
        },
    })?;
    let value = value.as_ref();
    app.receipt(Line::Setting(key.setting(value)), |_| format!("{} is {}", key.name(), words(value)).into_bytes());
    Ok(())
}

impl Key {
    fn parse(&self, value: &str) -> Result<Value, Failure> {
        let parsed = match self {
            Key::MaxBytes => amount::size(value).map(MinFree::bytes).map(Value::Amount),
            Key::MinFree => amount::min_free(value).map(Value::Amount),
            Key::Sealed => value.parse().map(Value::Flag).map_err(|_| "write true or false"),
            Key::AllowNet => return rules(value),
            Key::Mirror(host) => return mirrors(host, value),
        };
        parsed.map_err(|how| Failure::usage(format!("could not read {value:?} as {}: {how}", self.name())))
    }

    fn of(&self, config: &Config) -> Option<Value> {
        match self {
            Key::MaxBytes => config.max_bytes.map(MinFree::bytes).map(Value::Amount),
            Key::MinFree => config.min_free.map(Value::Amount),
            Key::Sealed => config.sealed.then_some(Value::Flag(true)),
            Key::AllowNet if config.allow_net.is_empty() => None,
            Key::AllowNet => Some(Value::List(config.allow_net.clone())),
            Key::Mirror(host) => config.mirrors.get(host).cloned().map(Value::List),
        }
    }

    fn setting(&self, value: Option<&Value>) -> Setting {
        let value = value.map_or(Json::Null, |value| match value {
            Value::Flag(flag) => (*flag).into(),
            Value::Amount(amount) => amount.as_bytes().map_or_else(|| amount.to_string().into(), Json::from),
            Value::List(list) => list.clone().into(),
        });
        Setting { key: self.name(), value }
    }
}

fn rules(value: &str) -> Result<Value, Failure> {
    if Policy::default().allow_list(value)?.is_empty() {
        return Err(Failure::usage("could not set allow_net to nothing: `config unset allow_net` does that"));
    }
    Ok(Value::List(listed(value)))
}

fn mirrors(host: &str, value: &str) -> Result<Value, Failure> {
    let urls = listed(value);
    Sources::check_mirrors(host, &urls).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Value::List(urls))
}

fn listed(value: &str) -> Vec<String> {
    let parts = value.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

impl Value {
    /// As `set` takes it.
    fn text(&self) -> String {
        match self {
            Value::Amount(amount) => amount.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::List(list) => list.join(","),
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
