//! What each process writes down of its work, before and after every operation, so that it can be judged afterwards.

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
    /// An operation on these ids begins; with each the content that it is to have, where that is known.
    Begin { verb: String, targets: Vec<(String, Option<String>)> },
    /// The collection that has begun may evict these.
    Planned { ids: Vec<String> },
    /// The operation has answered, for each of its ids.
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
    /// It answered, and gave or took no content.
    Done,
    /// There is no such entry.
    Absent,
    /// Timed out waiting for a lock.
    Busy,
    /// Any other error, or an answer that was not the right one.
    Failed(String),
}

pub(crate) struct Log(File);

impl Log {
    /// Goes on where a process of the same name was killed.
    pub(crate) fn open(path: &Path) -> Self {
        let mut log = Log(File::options().create(true).append(true).open(path).unwrap());
        // A line that was cut off by the end of the process before stays a line of its own.
        log.0.write_all(b"\n").unwrap();
        log
    }

    pub(crate) fn write(&mut self, what: What) {
        let mut line = serde_json::to_vec(&Line { at_ns: now_ns(), what }).unwrap();
        line.push(b'\n');
        self.0.write_all(&line).unwrap();
    }
}

/// All lines but those that were cut off.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}
