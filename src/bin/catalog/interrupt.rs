//! Signals. The first Ctrl-C or SIGTERM ends long work cleanly, a second one kills. A file that grows beyond the
//! limit of the process (`ulimit -f`) is an error like any other.

use catalog_core::Cancel;

/// Returns what a signal cancels. Only verbs that check it call this; in all others, a signal kills the process at
/// once, which leaves nothing behind except what the next collection takes.
#[cfg(unix)]
pub(crate) fn cancel_on_signal() -> Cancel {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    let cancel = Cancel::new();
    // If this fails, a signal kills the process as usual.
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) {
        let told = cancel.clone();
        let wait = move || {
            for signal in signals.forever() {
                if told.is_cancelled() {
                    let _ = emulate_default_handler(signal);
                }
                told.cancel();
                crate::stderr::note("stopping; what is done so far is kept. A second signal stops at once");
            }
        };
        // If no thread can be started, nothing waits for signals, and dropping `signals` removes the handlers.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
    }
    cancel
}

/// By default, a write beyond the limit kills the process. If the signal is handled, the write returns an error
/// instead.
#[cfg(unix)]
pub(crate) fn survive_file_size_limit() {
    let told = std::sync::Arc::default();
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, told);
}

#[cfg(not(unix))]
pub(crate) fn survive_file_size_limit() {}

#[cfg(not(unix))]
pub(crate) fn cancel_on_signal() -> Cancel {
    Cancel::new()
}
