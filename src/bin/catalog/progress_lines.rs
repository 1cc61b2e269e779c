//! `--progress json`: prints the progress of long work to standard error, one object a second, for a program that draws
//! its own bar.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use catalog_core::Event;
use serde::Serialize;

use crate::{json, stderr};

const INTERVAL: Duration = Duration::from_secs(1);

/// How far long work is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Line<'a> {
    /// What is worked on, or what another process works on while this one waits for it.
    what: &'a str,
    /// `working`, `syncing` (everything is read, and becomes durable), `waiting` (for another process) or `finished`.
    state: &'static str,
    /// Bytes that were read so far.
    bytes_done: u64,
    /// Bytes that there are to read, as far as is known.
    bytes_total: u64,
    /// How fast they were read since the work began; null in its first moments.
    bytes_per_s: Option<u64>,
}

/// Counts events, and prints a line when one is due.
pub(crate) struct ProgressLines {
    counted: Mutex<Counted>,
}

struct Counted {
    begun: Instant,
    printed: Option<Instant>,
    what: String,
    bytes_done: u64,
    bytes_total: u64,
    open: u64,
}

impl ProgressLines {
    pub(crate) fn new() -> Self {
        let counted = Counted {
            begun: Instant::now(),
            printed: None,
            what: String::new(),
            bytes_done: 0,
            bytes_total: 0,
            open: 0,
        };
        ProgressLines { counted: Mutex::new(counted) }
    }

    pub(crate) fn on(&self, event: &Event<'_>) {
        let Ok(mut counted) = self.counted.lock() else { return };
        match event {
            Event::Started { what, bytes_total, .. } => {
                if counted.bytes_done == 0 {
                    counted.begun = Instant::now();
                }
                counted.what = (*what).to_owned();
                counted.bytes_total = counted.bytes_total.saturating_add(*bytes_total);
                counted.open += 1;
                counted.print_if_due("working");
            }
            Event::Advanced { bytes, .. } => {
                counted.bytes_done = counted.bytes_done.saturating_add(*bytes);
                counted.print_if_due("working");
            }
            Event::Waiting { what, bytes_done, bytes_total, bytes_per_s, .. } => {
                let rate = Some(*bytes_per_s).filter(|rate| *rate > 0);
                if counted.is_due() {
                    print(what, "waiting", *bytes_done, *bytes_total, rate);
                }
            }
            Event::Syncing => counted.print_if_due("syncing"),
            Event::Finished => {
                counted.open = counted.open.saturating_sub(1);
                if counted.open == 0 && counted.printed.is_some() {
                    counted.print("finished");
                }
            }
            _ => {}
        }
    }
}

impl Counted {
    /// Whether a second has passed since the last line. If so, starts the next second.
    fn is_due(&mut self) -> bool {
        let is_due = self.printed.unwrap_or(self.begun).elapsed() >= INTERVAL;
        if is_due {
            self.printed = Some(Instant::now());
        }
        is_due
    }

    fn print_if_due(&mut self, state: &'static str) {
        if self.is_due() {
            self.print(state);
        }
    }

    fn print(&self, state: &'static str) {
        let elapsed = self.begun.elapsed().as_secs_f64();
        let rate = (elapsed >= 0.1).then(|| (self.bytes_done as f64 / elapsed) as u64);
        print(&self.what, state, self.bytes_done, self.bytes_total, rate);
    }
}

fn print(what: &str, state: &'static str, bytes_done: u64, bytes_total: u64, bytes_per_s: Option<u64>) {
    stderr::object(&json::Line::Progress(Line { what, state, bytes_done, bytes_total, bytes_per_s }));
}
