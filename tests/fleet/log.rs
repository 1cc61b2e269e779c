//! The log that each process writes before and after every operation, so that its work can be judged afterwards.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One line of a log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at_ns: u64,
    pub(crate) what: What,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// An operation on these ids begins; each id comes with its intended content, if that is known.
    Begin { verb: String, targets: Vec<(String, Option<String>)> },
    /// The collection in progress may evict these.
    Planned { ids: Vec<String> },
    /// The operation returned, with an outcome for each of its ids.
    End { outcomes: Vec<Outcome> },
    /// Something that must never happen.
    Violation { text: String },
}

/// How an operation ended for one id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The id has this content now.
    Put(String),
    /// The id had content, and has none now.
    Removed,
    /// It returned, and neither gave nor took content.
    Done,
    /// There is no such entry.
    Absent,
    /// Timed out waiting for a lock.
    Busy,
    /// Any other error, or a wrong result.
    Failed(String),
}

pub(crate) struct Log(File);

impl Log {
    /// Continues the log of a killed process with the same name.
    pub(crate) fn open(path: &Path) -> Self {
        let mut log = Log(File::options().create(true).append(true).open(path).unwrap());
        // If the previous process was cut off in the middle of a line, that line stays separate.
        log.0.write_all(b"\n").unwrap();
        log
    }

    pub(crate) fn write(&mut self, what: What) {
        let mut line = serde_json::to_vec(&Line { at_ns: now_ns(), what }).unwrap();
        line.push(b'\n');
        self.0.write_all(&line).unwrap();
    }
}

/// All lines except those that were cut off.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}
