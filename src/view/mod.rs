//! Views: the paths that engines open, made of names for blobs.

mod look;
mod remove;
mod show;

pub(crate) use look::{extras, fingerprint, fingerprint_of, is_hardlink_of};
pub(crate) use remove::{copies_of, remove_in_place};
pub(crate) use show::{Copies, Exhibit, Judged, Occupied, Shown, Tally, View, copy, show};
