//! The progress of long work: a bar with bytes, rate and time left on a terminal, and elsewhere a note while it waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use catalog_core::{Event, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use unicode_width::UnicodeWidthStr as _;

use crate::app::App;
use crate::human;
use crate::progress_lines::ProgressLines;
use crate::stderr;
use crate::table::cut_in_the_middle;
use crate::text::visible;

// Work that ends before a person could read a bar shows none.
const SOON: Duration = Duration::from_millis(300);
const LITTLE_BYTES: u64 = 64 << 20;

/// Without a bar, print a note after waiting this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is shown in a terminal that has at least so many columns, and how many columns stand before the name of the
/// file.
const WORKING: [(usize, &str, usize); 3] = [
    (110, "{bar:24} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left  {wide_msg}", 76),
    (70, "{bar:16} {decimal_bytes} of {decimal_total_bytes}, {eta} left  {wide_msg}", 54),
    (0, "{bar:6} {percent:>3}% {wide_msg}", 12),
];
const WAITING: &str = "{spinner} {wide_msg}";

/// A bar that stays hidden until the work has turned out to be long.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    wanted: bool,
    shown: AtomicBool,
    /// The message of the work, while the bar shows a wait.
    put_aside: Mutex<Option<String>>,
    waiting_since: OnceLock<Instant>,
    may_note: AtomicBool,
    wants_notes: bool,
    /// This work is a check before content is given out; nobody asked for it.
    is_check: bool,
    lines: Option<ProgressLines>,
}

impl Progress {
    pub(crate) fn new(app: &App) -> Self {
        // A bar that is never drawn needs no width, and costs no system call.
        let template = if app.wants_progress() { working().0 } else { WAITING };
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()).with_style(style(template));
        Progress {
            bar,
            begun: Instant::now(),
            wanted: app.wants_progress(),
            shown: AtomicBool::new(false),
            put_aside: Mutex::new(None),
            waiting_since: OnceLock::new(),
            may_note: AtomicBool::new(app.wants_notes()),
            wants_notes: app.wants_notes(),
            is_check: false,
            lines: app.wants_progress_lines().then(ProgressLines::new),
        }
    }

    /// For the check of a model before it is given out. Without a bar, a note says that a large model is being read.
    pub(crate) fn of_a_check(app: &App) -> Self {
        Progress { is_check: true, ..Progress::new(app) }
    }

    fn note_check(&self, what: &str, bytes_total: u64) {
        if self.is_check && bytes_total >= LITTLE_BYTES && self.may_note.swap(false, Ordering::Relaxed) {
            let size = human::size(bytes_total);
            stderr::note(&format!("{what} may have changed since its last check; reading {size} to check it now"));
        }
    }

    /// Takes the bar off the screen, so that what is printed next begins on a clean line.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints something while the bar is off the screen.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    fn show_if_long(&self) {
        let is_long = self.bar.length().unwrap_or(0) >= LITTLE_BYTES || self.begun.elapsed() >= SOON;
        if is_long && !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            // It panics when it cannot start a thread.
            if std::thread::Builder::new().spawn(|| {}).is_ok() {
                self.bar.enable_steady_tick(Duration::from_millis(100));
            }
        }
    }

    /// Notes once that another process is being waited for, so that a log shows why nothing happens.
    fn note_waiting(&self, what: &str) {
        let since = self.waiting_since.get_or_init(Instant::now);
        if since.elapsed() >= PATIENCE && self.may_note.swap(false, Ordering::Relaxed) {
            stderr::note(&format!("waiting for another process that stages {what}; --wait limits that"));
        }
    }

    fn show_waiting(&self, words: String) {
        if let Ok(mut put_aside) = self.put_aside.lock()
            && put_aside.is_none()
        {
            *put_aside = Some(self.bar.message());
            self.bar.set_style(style(WAITING));
        }
        self.bar.set_message(words);
    }

    /// Back from waiting to work.
    fn show_working(&self) {
        if let Ok(mut put_aside) = self.put_aside.try_lock()
            && let Some(message) = put_aside.take()
        {
            self.bar.set_style(style(working().0));
            self.bar.set_message(message);
            // The rate would count the time in which nothing was read.
            self.bar.reset_eta();
        }
    }
}

impl Observer for Progress {
    fn on(&self, event: &Event<'_>) {
        if let Some(text) = note_of(event).filter(|_| self.wants_notes) {
            self.suspend(|| stderr::note(&text));
        }
        if let Some(lines) = &self.lines {
            return lines.on(event);
        }
        if !self.wanted {
            match event {
                Event::Waiting { what, .. } => self.note_waiting(what),
                Event::Started { what, bytes_total, .. } => self.note_check(what, *bytes_total),
                _ => {}
            }
            return;
        }
        match event {
            Event::Started { what, bytes_total, .. } => {
                if self.bar.position() == 0 {
                    // The rate would count the time since the bar was made, in which nothing was read.
                    self.bar.reset_eta();
                }
                self.bar.inc_length(*bytes_total);
                self.bar.set_message(name(&visible(what)));
            }
            Event::Waiting { what, bytes_done, bytes_total, bytes_per_s, .. } => {
                self.show_waiting(waiting(&visible(what), *bytes_done, *bytes_total, *bytes_per_s));
            }
            Event::Advanced { bytes, .. } => {
                self.show_working();
                self.bar.inc(*bytes);
            }
            Event::Finished if self.is_check => self.clear(),
            Event::Syncing => {
                self.show_working();
                self.bar.set_message("syncing");
            }
            _ => {}
        }
        if !self.shown.load(Ordering::Relaxed) {
            self.show_if_long();
        }
    }
}

/// Events that are worth a note, with a bar or without.
fn note_of(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Resumed { what, bytes, .. } => {
            format!("{what}: {} are here from an earlier attempt", human::size(*bytes))
        }
        Event::Refetching { what, .. } => {
            format!("{what}: the fetched bytes do not have the expected digest; fetching them once more")
        }
        Event::Retrying { what, why, after, .. } => {
            format!("{what}: {why}; trying again in {:.1} s", after.as_secs_f64())
        }
        Event::NotAsked { what, why, .. } => {
            format!("{what} may mean something else by now: no server was asked ({why})")
        }
        Event::AskedElsewhere { what, why, .. } => format!("{what}: {why}; asking another server"),
        Event::UseNotNoted { what, .. } => format!(
            "this user cannot record here that {what} is in use, so `gc` may consider it unused: hold it with `catalog lease`, or \
             let this user write to the folder uses/ of the root"
        ),
        _ => return None,
    })
}

/// What is known of the other process's progress, possibly nothing yet.
fn waiting(what: &str, done: u64, total: u64, per_s: u64) -> String {
    let rate = if per_s == 0 { String::new() } else { format!(", {}/s", human::size(per_s)) };
    let progress = match total {
        0 => String::new(),
        total => format!("{} of {}{rate}; ", human::size(done), human::size(total)),
    };
    format!("{progress}waiting for another process that stages {what}")
}

/// The template for the terminal on standard error, and how many columns a name has in it at least.
fn working() -> (&'static str, usize) {
    let columns = terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| width.0.into());
    let fitting = WORKING.iter().find(|(least, ..)| columns >= *least);
    fitting.map_or(("{wide_msg}", columns), |(_, template, taken)| (template, columns.saturating_sub(*taken)))
}

/// The name of the work. If a path is too long, only its last part: cutting the line would lose the file's name.
fn name(what: &str) -> String {
    let (_, room) = working();
    let last = if what.width() > room { what.rsplit('/').find(|part| !part.is_empty()).unwrap_or(what) } else { what };
    cut_in_the_middle(last, room)
}

fn style(template: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a test builds this style")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_some() {
        for (_, template, _) in WORKING {
            ProgressStyle::with_template(template).unwrap();
        }
        ProgressStyle::with_template(WAITING).unwrap();
    }

    #[test]
    fn what_is_not_known_of_the_other_is_not_shown() {
        assert_eq!(waiting("a", 0, 0, 0), "waiting for another process that stages a");
        assert_eq!(waiting("a", 0, 2000, 0), "0 B of 2.0 kB; waiting for another process that stages a");
        let words = waiting("a", 1000, 2000, 500);
        assert_eq!(words, "1.0 kB of 2.0 kB, 500 B/s; waiting for another process that stages a");
    }
}
