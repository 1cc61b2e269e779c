//! Detects whether the files of a tree or a view have changed.

use super::{SourceStamp, Stamp};

/// The hash of the paths of all files, each with the text of its stamp. It is recorded on disk, so these texts must not
/// change.
pub(crate) fn fingerprint<'f>(files: impl IntoIterator<Item = (&'f str, String)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (path, stamp) in files {
        hasher.update(format!("{path}\0{stamp}\0").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

impl Stamp {
    pub(crate) fn text(&self) -> String {
        let Stamp { inode, size_bytes, mtime_ns } = self;
        format!("{inode} {size_bytes} {mtime_ns}")
    }
}

impl SourceStamp {
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.stamp.text(), self.changed_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when any part is formatted differently: every tree staged before, and every copied view, would be read again.
    #[test]
    fn a_fingerprint_is_what_earlier_versions_have_recorded() {
        let stamp = Stamp { inode: 1, size_bytes: 2, mtime_ns: -3 };
        let source = SourceStamp { stamp, changed_ns: 4 };
        let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
        assert_eq!(fingerprint([("a", stamp.text()), ("b/c", stamp.text())]), hash("a\x001 2 -3\0b/c\x001 2 -3\0"));
        assert_eq!(fingerprint([("a", source.text())]), hash("a\x001 2 -3 4\0"));
    }
}
