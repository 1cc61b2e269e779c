//! Views: the paths that engines open, made of links to blobs or copies of them.

mod copies;
mod look;
mod remove;
mod show;

pub(crate) use copies::{Copies, copy};
pub(crate) use look::{
    each_shows_blob, extras, fingerprint_if, fingerprint_of, is_symlink_to, is_symlink_to_some_blob, opened, shows_blob,
};
pub(crate) use remove::{copies_of, remove_in_place};
pub(crate) use show::{Exhibit, Judged, Occupied, Shown, Tally, View, show};
