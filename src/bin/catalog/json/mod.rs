//! The lines that `--json` prints: each line is one of these types, and its key `type` says which.
//!
//! `docs/json.md` and `docs/json.schema.json` are made from these types, and a test compares them.

use catalog_core::adopt::{AdoptPlan, AdoptReceipt, Skipped};
use catalog_core::{
    EntryUsage, Export, ExportReceipt, ExportRemoval, ExportSync, Facts, FileHash, GcKept, GcStep, LeaseHolder,
    LogChain, LogEvent, PartialInfo, PushReceipt, Record, RemoveReceipt, RepairReport, ResolvedModel, SignatureReport,
    SignatureRule, StageReceipt, TreeHash, VerifyReport,
};
use serde::Serialize;

use crate::{
    adopt, attach, bom, config, detach, doctor, du, gc, history, lifecycle, login, logout, partials, pins, policy,
    progress_lines, report, root, sign,
};

/// One line.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Line<'a> {
    /// `stage`: what staging did.
    Staged(Staged<'a>),
    /// `adopt`: what adopting a model did.
    Adopted(&'a AdoptReceipt),
    /// `adopt --dry-run`: what adopting a model would do.
    AdoptPlan(&'a AdoptPlan),
    /// `adopt`: what was left out in another tool's store.
    Skipped(&'a Skipped),
    /// `adopt`: the sums, last.
    AdoptSummary(&'a adopt::Summary),
    /// `path` and `lease`: where a model is.
    Path(&'a ResolvedModel),
    /// `list`, `show`, `rename`, `tag` and `report`: everything that is known of a model.
    Model(Model<'a>),
    /// `leases`: a process that holds a model.
    Lease(&'a LeaseHolder),
    /// `root`: which root is in use.
    Root(root::Root),
    /// `retire` and `activate`: the state that a model has.
    Lifecycle(lifecycle::Changed<'a>),
    /// `remove`: what was removed, or would be.
    Removed(&'a RemoveReceipt),
    /// `verify`: what checking a model found.
    Verified(&'a VerifyReport),
    /// `sign`: the signature that was written.
    Signed(sign::Done),
    /// `verify-signature`: a signature that holds.
    SignatureVerified(&'a SignatureReport),
    /// `log`: something that happened to a model.
    LogEvent(&'a LogEvent),
    /// `log --verify`: whether a chain of the log is whole.
    LogChain(&'a LogChain),
    /// `log --sign`: the statement that was written.
    LogSigned(history::Signed),
    /// `bom -o`: the bill of materials that was written.
    BomWritten(bom::Written),
    /// `attach`: the document that was attached.
    Attached(attach::Of<'a>),
    /// `attach --list`: a document.
    Document(attach::Of<'a>),
    /// `detach`: the document that was taken away.
    Detached(detach::Detached<'a>),
    /// `policy`: who must have signed which models.
    SignatureRule(&'a SignatureRule),
    /// `policy remove`: the rule that was removed.
    SignatureRuleRemoved(policy::Removed),
    /// `repair`: what a repair did.
    Repaired(&'a RepairReport),
    /// `push`: what was sent.
    Pushed(&'a PushReceipt),
    /// `export`: what an export made.
    Exported(&'a ExportReceipt),
    /// `export --list`: an export, and whether it is still what was made.
    Export(&'a Export),
    /// `export --remove`: what was removed.
    ExportRemoved(&'a ExportRemoval),
    /// `export --sync`: what was done with an export.
    ExportSynced(&'a ExportSync),
    /// `pin` and `unpin`: the pins that a model has.
    Pins(pins::Pinned<'a>),
    /// `gc`: a step of a collection.
    GcStep(&'a GcStep),
    /// `gc`: a model that the policy would have taken, and that stays.
    GcKept(&'a GcKept),
    /// `gc`: the sums, last.
    GcSummary(&'a gc::Summary),
    /// `du`: what a model takes.
    Usage(&'a EntryUsage),
    /// `du`: the sums, last.
    UsageSummary(du::Summary),
    /// `report`: the state of the store, last.
    Report(&'a report::Summary<'a>),
    /// `report --html`: the page that was written.
    ReportWritten(report::Written),
    /// `partials`: what an interrupted copy or fetch has left.
    Partial(&'a PartialInfo),
    /// `partials --remove`: what was removed.
    PartialRemoved(partials::Removed<'a>),
    /// `config`: a setting.
    Setting(config::Setting),
    /// `login`: the login that was written.
    Login(login::Done<'a>),
    /// `logout`: the login that was taken away.
    Logout(logout::Done),
    /// `doctor`: a finding.
    Finding(&'a doctor::Line),
    /// `doctor`: the sums, last.
    DoctorSummary(&'a doctor::Summary),
    /// `hash`: the hash of a file.
    Hash(&'a FileHash),
    /// `hash`: the digest that a directory has once it is staged.
    TreeHash(&'a TreeHash),
    /// On standard error: a verb, or one of its arguments, that was not done.
    Error(ErrorLine<'a>),
    /// On standard error: something that is good to know and no error.
    Note(Note<'a>),
    /// On standard error, with `--progress json`: how far long work has come, once a second.
    Progress(progress_lines::Line<'a>),
}

/// A receipt, and its size under a second name.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Staged<'a> {
    #[serde(flatten)]
    receipt: &'a StageReceipt,
    /// The same as `size_bytes`; scripts of the first version read this name.
    size: u64,
}

/// A record, and what is found out for it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Model<'a> {
    #[serde(flatten)]
    record: &'a Record,
    /// The same as `size_bytes`; scripts of the first version read this name.
    size: u64,
    /// With `list --long` and `report`: bytes on disk that only this model needs, and that removing it would free.
    #[serde(skip_serializing_if = "Option::is_none")]
    exclusive_bytes: Option<u64>,
    /// With `list --long`: how many processes hold a lease on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    leases: Option<u64>,
    /// With `show` and `list --long`: what is known of the model by its own bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a Facts>,
}

impl<'a> Line<'a> {
    pub(crate) fn staged(receipt: &'a StageReceipt) -> Self {
        Line::Staged(Staged { receipt, size: receipt.size_bytes })
    }

    pub(crate) fn model(record: &'a Record) -> Self {
        Line::model_with(record, None, None, None)
    }

    pub(crate) fn model_with(
        record: &'a Record,
        exclusive_bytes: Option<u64>,
        leases: Option<u64>,
        facts: Option<&'a Facts>,
    ) -> Self {
        Line::Model(Model { record, size: record.size_bytes, exclusive_bytes, leases, facts })
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ErrorLine<'a> {
    /// The argument that it is about, as it was given; null if it is about none alone.
    pub(crate) id: Option<&'a str>,
    pub(crate) error: ErrorInfo<'a>,
}

/// What is wrong.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ErrorInfo<'a> {
    /// The word for the exit code: `failed`, `usage`, `not_found`, `corrupt`, `busy`, `refused`, `unreachable`,
    /// `denied`, `no_room` or `cancelled`.
    pub(crate) kind: &'static str,
    /// What was being done, to what, and why it failed, for a person.
    pub(crate) message: &'a str,
    /// What to do about it, for a person; null if nothing is known.
    pub(crate) hint: Option<&'a str>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Note<'a> {
    /// For a person.
    pub(crate) message: &'a str,
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod schema;
