//! The progress bar of long work: bytes, rate and time left, on a terminal only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use catalog_core::{Event, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::app::App;
use crate::text::visible;

// Work that is over sooner than somebody can read a bar shows none.
const SOON: Duration = Duration::from_millis(300);
const LITTLE_BYTES: u64 = 64 << 20;

const TEMPLATE: &str =
    "{bar:24} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left  {wide_msg}";

/// A bar that stays hidden until the work has turned out to be long.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    wanted: bool,
    shown: AtomicBool,
}

impl Progress {
    pub(crate) fn new(app: &App) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).expect("a test builds this style");
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()).with_style(style);
        Progress { bar, begun: Instant::now(), wanted: app.wants_progress(), shown: AtomicBool::new(false) }
    }

    /// Takes the bar off the screen, so that what is printed next begins on a clean line.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show_if_long(&self) {
        let is_long = self.bar.length().unwrap_or(0) >= LITTLE_BYTES || self.begun.elapsed() >= SOON;
        if is_long && !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }
}

impl Observer for Progress {
    fn on(&self, event: &Event<'_>) {
        if !self.wanted {
            return;
        }
        match event {
            Event::Started { what, bytes_total } => {
                if self.bar.position() == 0 {
                    // The rate would count the time since the bar was made, in which nothing was read.
                    self.bar.reset_eta();
                }
                self.bar.inc_length(*bytes_total);
                self.bar.set_message(visible(what).into_owned());
            }
            Event::Advanced { bytes } => self.bar.inc(*bytes),
            Event::Syncing => self.bar.set_message("syncing"),
            _ => {}
        }
        if !self.shown.load(Ordering::Relaxed) {
            self.show_if_long();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }
}
