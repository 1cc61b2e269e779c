//! The library's own messages (`tracing`) on standard error, for debugging.

use std::env;
use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::stderr;

/// The variable that selects messages if there is no `-v`.
const VARIABLE: &str = "RUST_LOG";

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for a person
    Text,
    /// One object a line
    Json,
}

/// Starts writing the messages that `-v` (info), `-vv` (debug) or RUST_LOG ask for.
pub(crate) fn start(verbosity: u8, format: LogFormat) {
    let wanted = match verbosity {
        0 => {
            match env::var(VARIABLE).ok().filter(|wanted| !wanted.is_empty()).map(|wanted| wanted.parse::<Targets>()) {
                None => return,
                Some(Ok(targets)) => targets,
                Some(Err(error)) => {
                    return stderr::note(&format!("could not read {VARIABLE}: {error}; no messages are shown"));
                }
            }
        }
        1 => Targets::new().with_default(LevelFilter::INFO),
        2 => Targets::new().with_default(LevelFilter::DEBUG),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let has_colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let layer = fmt::layer().with_writer(io::stderr).with_ansi(has_colours);
    let layer = match format {
        LogFormat::Text => layer.with_target(false).boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // This cannot fail: it is called once, so there is no other subscriber.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer.with_filter(wanted)));
}
