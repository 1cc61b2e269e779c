//! Standard output. A closed pipe is no error, but a full disk is.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::path::Path;

use crate::json::Line;
use crate::text::visible;

/// Buffered lines to standard output.
///
/// A failed write never stops the work: what was asked for is done, whether or not it can be printed. The first
/// failure is kept for [`finish`](Output::finish), and nothing is written after it.
pub(crate) struct Output<W: Write = StdoutLock<'static>> {
    writer: BufWriter<W>,
    is_terminal: bool,
    failed: Option<io::Error>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Output::new(io::stdout().lock(), io::stdout().is_terminal())
    }
}

impl<W: Write> Output<W> {
    fn new(writer: W, is_terminal: bool) -> Self {
        Output { writer: BufWriter::new(writer), is_terminal, failed: None }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The text as it should be printed: exact for a program, [`visible`] for a person at a terminal.
    pub(crate) fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_terminal { visible(text) } else { text.into() }
    }

    /// The path as it should be printed, like [`shown`](Output::shown).
    pub(crate) fn shown_path<'a>(&self, path: &'a Path) -> Cow<'a, [u8]> {
        if self.is_terminal {
            visible(&path.to_string_lossy()).into_owned().into_bytes().into()
        } else {
            path.as_os_str().as_encoded_bytes().into()
        }
    }

    /// Writes these very bytes and a line break.
    pub(crate) fn line(&mut self, line: impl AsRef<[u8]>) {
        self.attempt(|writer| {
            writer.write_all(line.as_ref())?;
            writer.write_all(b"\n")
        });
    }

    /// Writes one object on one line.
    pub(crate) fn json(&mut self, line: &Line<'_>) {
        self.attempt(|writer| {
            serde_json::to_writer(&mut *writer, line)?;
            writer.write_all(b"\n")
        });
    }

    /// Writes bytes that have line breaks of their own.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.attempt(|writer| writer.write_all(bytes));
    }

    pub(crate) fn flush(&mut self) {
        self.attempt(Write::flush);
    }

    /// Writes the rest. Fails if something could not be written; a reader that has left does not count.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush();
        // The buffer still holds what could not be written, and would try again on drop.
        let _ = self.writer.into_parts();
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&mut BufWriter<W>) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.writer).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written_to(kind: io::ErrorKind) -> io::Result<()> {
        let mut out = Output::new(Failing(kind), false);
        out.line("a line");
        out.flush();
        out.json(&Line::Note(crate::json::Note { message: "another" }));
        out.finish()
    }

    #[test]
    fn a_reader_who_left_is_no_error() {
        written_to(io::ErrorKind::BrokenPipe).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        assert_eq!(written_to(io::ErrorKind::StorageFull).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
