//! The exit codes of the command, in words: the help and the manual pages are made from this one table.

use crate::failure::Exit;

/// Each exit code, and what it means.
pub(crate) const ALL: [(Exit, &str); 11] = [
    (Exit::Done, "done"),
    (Exit::Failed, "failed: the error line says why"),
    (Exit::Usage, "usage, also a malformed id, digest or reference"),
    (Exit::NotFound, "not found: no such entry, file or catalog"),
    (Exit::Corrupt, "content is not what it should be: another digest, a damaged file of the store"),
    (Exit::Busy, "busy: timed out waiting for a lock, try again"),
    (Exit::Refused, "refused: the network policy does not allow it; the error ends with the option that would"),
    (Exit::Unreachable, "unreachable: no server gave a whole answer, try again later"),
    (Exit::Denied, "access denied: the server wants a token, or to be asked for access first"),
    (Exit::NoRoom, "no room: the disk, the quota or the catalog's own limit is full"),
    (Exit::Cancelled, "ended by Ctrl-C or SIGTERM; a large copy resumes when it is staged again"),
];

/// The rule for a verb with several arguments.
pub(crate) const OF_SEVERAL: &str =
    "With several arguments each is done, and the code is that of the first that failed.";

/// The table as the help prints it.
pub(crate) fn table() -> String {
    ALL.iter().map(|(exit, meaning)| format!("  {}  {meaning}\n", *exit as u8)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // Red when an exit code is missing: the match below then does not compile, which leads to the table.
    #[test]
    fn the_table_has_every_exit_code_in_order() {
        let place = |exit| match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Corrupt => 4,
            Exit::Busy => 5,
            Exit::Refused => 6,
            Exit::Unreachable => 7,
            Exit::Denied => 8,
            Exit::NoRoom => 9,
            Exit::Cancelled => 10,
        };
        assert_eq!(ALL.iter().map(|(exit, _)| place(*exit)).collect::<Vec<_>>(), (0..ALL.len()).collect::<Vec<_>>());
        assert!(ALL.is_sorted_by_key(|(exit, _)| *exit as u8));
        let words: BTreeSet<_> = ALL.iter().map(|(exit, _)| exit.word()).collect();
        assert_eq!(words.len(), ALL.len());
        assert!(words.iter().all(|word| word.chars().all(|c| c == '_' || c.is_ascii_lowercase())), "{words:?}");
    }
}
