//! Compares blobs with their outboards.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::finding::{Finding, Fix};
use super::kind::FindingKind as K;
use super::look::{Known, Look};
use crate::blob::{NOBODY_ELSE, outboard};
use crate::digest::Digest;
use crate::fs::{Kind, Meta};
use crate::layout;
use crate::threads::ready_for_rayon;

impl Look<'_> {
    /// Inspects those of the blobs that entries need, or all of them if that is unknown.
    pub(super) fn look_at_blobs(&mut self, blobs: Vec<(Digest, Meta)>, known: &Known) {
        let is_due = |digest: &Digest| {
            (!known.is_whole || known.needs.has(digest))
                && !known.bad.contains(digest)
                && (self.wants_path(&layout::blob(digest)) || self.wants_path(&layout::outboard(digest)))
        };
        let due: Vec<(Digest, Meta)> = blobs.into_iter().filter(|(digest, _)| is_due(digest)).collect();
        ready_for_rayon();
        let found: Vec<Finding> =
            due.into_par_iter().filter_map(|(digest, meta)| self.look_at_blob(&digest, &meta, known)).collect();
        self.found.extend(found);
    }

    /// The users whom a record that needs the blob names.
    fn owners_of(&self, digest: &Digest, known: &Known) -> BTreeSet<u32> {
        let record = known.needs.id_of_one(digest).and_then(|id| self.store.record(id).ok().flatten());
        record.map(|record| record.owners).unwrap_or_default()
    }

    fn look_at_blob(&self, digest: &Digest, meta: &Meta, known: &Known) -> Option<Finding> {
        if meta.kind != Kind::File {
            return None;
        }
        let path = layout::outboard(digest);
        let fixed = |finding: Finding| Some(finding.fixed_by(Fix::CheckBlob(*digest)));
        let Some(outboard) = outboard::read(self.root, digest) else {
            return match self.root.meta(&path) {
                Ok(None) => fixed(self.finding(K::OutboardMissing, &path, "it is missing")),
                _ => fixed(self.finding(K::OutboardDamaged, &path, "it cannot be read")),
            };
        };
        let is_believed = outboard.speaks_for(self.root, meta, NOBODY_ELSE)
            || outboard.speaks_for(self.root, meta, &self.owners_of(digest, known));
        if !is_believed {
            let what = "it, or the record of its last full check, belongs to a user whom the catalog does not know";
            return fixed(self.finding(K::UntrustedBlob, &layout::blob(digest), what));
        }
        if !outboard.has_stamp_of(meta) {
            let what = "its inode, size or modification time has changed since its last full check";
            return fixed(self.finding(K::BlobChanged, &layout::blob(digest), what));
        }
        if !outboard.has_groups() {
            let what = "it has a stamp but no groups; the next full check adds them";
            return fixed(self.finding(K::OutboardMissing, &path, what));
        }
        if outboard.groups(self.root, digest).is_none_or(|groups| groups.size_bytes() != meta.size_bytes) {
            return fixed(self.finding(K::OutboardDamaged, &path, "its groups do not merge to its root"));
        }
        None
    }
}
