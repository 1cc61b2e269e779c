//! Syncs written data in the background while more is being written. The kernel starts writing on its own once a tenth
//! of the memory is dirty; a program that syncs only at the end waits for all of it then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::error::Result;
use crate::threads;

/// Counts the bytes written.
#[derive(Debug)]
pub(crate) struct Writeback {
    every_bytes: u64,
    written: AtomicU64,
    wake: Option<Sender<()>>,
}

impl Writeback {
    pub(crate) fn wrote(&self, bytes: u64) {
        let Some(wake) = &self.wake else { return };
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / self.every_bytes != (before + bytes) / self.every_bytes {
            let _ = wake.send(()); // the sync has failed, which is reported at the end
        }
    }
}

/// Does `work`, and calls `sync` on another thread each time `every_bytes` more have been written. After the first
/// error it does not call `sync` again, and returns that error: the written data cannot be relied on, and a later sync
/// would not say so. If `every_bytes` is `None` or no thread can be started, it never calls `sync`. So the caller must
/// sync at the end in any case.
pub(crate) fn sync_meanwhile<T>(
    every_bytes: Option<u64>,
    sync: impl Fn() -> Result<()> + Send,
    work: impl FnOnce(&Writeback) -> T,
) -> (T, Result<()>) {
    let idle = Writeback { every_bytes: 1, written: AtomicU64::new(0), wake: None };
    let Some(every_bytes) = every_bytes else { return (work(&idle), Ok(())) };
    thread::scope(|scope| {
        let (wake, woken) = mpsc::channel();
        let syncing = threads::spawn(scope, move || {
            while woken.recv().is_ok() {
                while woken.try_recv().is_ok() {} // one sync for all requests so far
                sync()?;
            }
            Ok(())
        });
        let Ok(syncing) = syncing else { return (work(&idle), Ok(())) };
        let writeback = Writeback { every_bytes, wake: Some(wake), ..idle };
        let done = work(&writeback);
        drop(writeback);
        (done, syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::error::Error;

    #[test]
    fn it_syncs_meanwhile_and_tells_of_the_first_error() {
        let calls = AtomicUsize::new(0);
        let count = || {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let write = |writeback: &Writeback| (0..10).for_each(|_| writeback.wrote(6));
        let (_, synced) = sync_meanwhile(Some(20), count, write);
        synced.unwrap();
        assert!((1..=3).contains(&calls.swap(0, Ordering::Relaxed)));
        sync_meanwhile(Some(100), count, write).1.unwrap();
        sync_meanwhile(None, count, write).1.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 0);

        // Red when the error is only logged: data that could not be written would be acknowledged.
        let fail = || {
            calls.fetch_add(1, Ordering::Relaxed);
            Err(Error::io("write", "a file", std::io::ErrorKind::Other))
        };
        sync_meanwhile(Some(1), fail, write).1.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 1, "it is never tried again");
    }
}
