//! The number of files that this process can still open.

use super::sys;

/// Left for files that others open at the same time: folders, lock files, other threads of the program.
const OTHERS: usize = 32;

/// Roughly how many files this process can still open, at least one. A caller that holds many open at once should take
/// only a part of them.
pub(crate) fn spare_descriptors() -> usize {
    let Some(limit) = sys::descriptor_limit() else { return usize::MAX };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit.saturating_sub(sys::open_descriptors().unwrap_or(0)).saturating_sub(OTHERS).max(1)
}

/// Raises this process's limit of open files from the soft limit to the hard limit.
///
/// The soft limit is low (1,024 or 256) for the sake of programs that use `select`. A program may call this when it
/// starts, as the command does. The library itself works within the limit it finds, in more rounds.
pub fn raise_descriptor_limit() {
    sys::raise_descriptor_limit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_one_and_less_than_the_limit() {
        let spare = spare_descriptors();
        assert!(spare >= 1);
        assert!(sys::descriptor_limit().is_none_or(|limit| (spare as u64) < limit));
    }
}
