//! A finding, and what became of it.

use std::path::{Path, PathBuf};

use super::kind::{FindingKind, Remedy, Severity};
use crate::digest::Digest;
use crate::error::Error;
use crate::fs::Root;

/// Something in a store that is not as it should be, or that is good to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// Where, absolute.
    pub path: PathBuf,
    /// Which entry, when it is one's.
    pub id: Option<String>,
    /// What is wrong, in one line.
    pub what: String,
    /// What puts it right.
    pub remedy: Remedy,
    /// What [`Doctor::repair`](super::Doctor::repair) would do, or what to do instead.
    pub advice: String,
    pub(super) fix: Option<Fix>,
}

/// What repairs a finding. All paths are relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fix {
    MakeFolder(PathBuf),
    MakeProbe,
    WriteTag,
    MakeReserve,
    WriteStoreJson,
    RestoreShard(u8),
    RenewPrevious(u8),
    /// With the digest of the bytes that the file should have, if it should have some.
    SetMode {
        path: PathBuf,
        mode: u32,
        digest: Option<Digest>,
    },
    CheckBlob(Digest),
    RebuildView(String),
}

impl Finding {
    pub(super) fn new(root: &Root, kind: FindingKind, path: &Path, what: impl Into<String>) -> Self {
        Finding {
            kind,
            // Joined to nothing, it would end in a slash.
            path: if path.as_os_str().is_empty() { root.path().to_path_buf() } else { root.absolute(path) },
            id: None,
            what: what.into(),
            remedy: kind.info().remedy,
            advice: kind.info().advice.to_owned(),
            fix: None,
        }
    }

    pub(super) fn of(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// One that `repair` repairs, as its kind says.
    pub(super) fn fixed_by(mut self, fix: Fix) -> Self {
        self.remedy = Remedy::Repair;
        self.fix = Some(fix);
        self
    }

    pub(super) fn advised(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// One that `repair` leaves alone, though it repairs most of its kind.
    pub(super) fn left_to_the_operator(mut self, advice: impl Into<String>) -> Self {
        self.remedy = Remedy::Operator;
        self.fix = None;
        self.advised(advice)
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// What it means.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.kind.meaning()
    }

    /// Whether [`Doctor::repair`](super::Doctor::repair) does something about it.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        self.fix.is_some()
    }

    /// Whether a person has to do something about it: it is neither a note nor what a collection takes.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.severity() != Severity::Note && self.remedy != Remedy::Collection
    }

    /// What tells it from others when it is looked for a second time.
    pub(super) fn key(&self) -> (FindingKind, PathBuf, Option<String>) {
        (self.kind, self.path.clone(), self.id.clone())
    }
}

/// What became of a finding.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// It was repaired; says what was done.
    Repaired(String),
    /// It is no longer so: somebody else was faster, or it went with another one.
    Gone,
    /// Nothing can be done automatically; the finding's advice says what to do.
    NotOffered,
    /// It could not be repaired.
    Failed(Error),
}
