//! A finding, and what happened to it.

use std::path::{Path, PathBuf};

use super::kind::{FindingKind, Remedy, Severity};
use crate::digest::Digest;
use crate::error::Error;
use crate::fs::Root;

/// Something in a store that is wrong or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The kind of the finding.
    pub kind: FindingKind,
    /// The absolute path that it concerns.
    pub path: PathBuf,
    /// The id of the entry that it concerns, if any.
    pub id: Option<String>,
    /// What is wrong, in one line.
    pub what: String,
    /// What fixes it.
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
    /// With the digest of the bytes that the file must have, if it has to match one.
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
            // `absolute` of an empty path would end in a slash.
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

    /// Marks it as one that `repair` repairs, as its kind says.
    pub(super) fn fixed_by(mut self, fix: Fix) -> Self {
        self.remedy = Remedy::Repair;
        self.fix = Some(fix);
        self
    }

    pub(super) fn advised(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// Marks it as one that `repair` leaves alone, although it repairs most findings of this kind.
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

    /// Whether [`Doctor::repair`](super::Doctor::repair) can fix it.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        self.fix.is_some()
    }

    /// Whether a person has to act on it: it is not a note, and no collection takes care of it.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.severity() != Severity::Note && self.remedy != Remedy::Collection
    }

    /// Identifies the finding in the second look.
    pub(super) fn key(&self) -> (FindingKind, PathBuf, Option<String>) {
        (self.kind, self.path.clone(), self.id.clone())
    }
}

/// What happened to a finding.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// It was repaired. The text says what was done.
    Repaired(String),
    /// It no longer holds: another process was faster, or another repair fixed it, too.
    Gone,
    /// It cannot be fixed automatically. The finding's advice says what to do.
    NotOffered,
    /// The repair failed.
    Failed(Error),
}
