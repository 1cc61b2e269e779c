//! Which blobs the records need, and by which record.

use crate::counts::{Counting, Counts};
use crate::digest::Digest;

/// Gathers them, record by record.
pub(super) struct GatheredNeeds {
    /// Each blob with the number of the first record that needs it.
    blobs: Counting<Digest>,
    ids: Vec<Box<str>>,
}

/// Blobs that records need, each with the id of one such record. There may be a million.
#[derive(Default)]
pub(super) struct Needs {
    blobs: Counts<Digest>,
    ids: Vec<Box<str>>,
}

impl Default for GatheredNeeds {
    fn default() -> Self {
        GatheredNeeds { blobs: Counting::smallest(), ids: Vec::new() }
    }
}

impl GatheredNeeds {
    pub(super) fn add(&mut self, id: &str, blobs: &[Digest]) {
        if !blobs.is_empty() {
            let number = u32::try_from(self.ids.len()).expect("their ids would fill 200 GB of memory");
            self.ids.push(id.into());
            blobs.iter().for_each(|digest| self.blobs.add(*digest, number));
        }
    }

    pub(super) fn counted(self) -> Needs {
        Needs { blobs: self.blobs.counted(), ids: self.ids }
    }
}

impl Needs {
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.blobs.knows(digest)
    }

    pub(super) fn id_of_one(&self, digest: &Digest) -> Option<&str> {
        self.ids.get(self.blobs.get(digest)? as usize).map(|id| &**id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_known_by_the_first_record_that_needs_it() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::sha256_of(bytes));
        let mut gathered = GatheredNeeds::default();
        for (id, blobs) in [("nothing", vec![]), ("first", vec![b, a, b]), ("second", vec![b])] {
            gathered.add(id, &blobs);
        }
        let needs = gathered.counted();
        assert_eq!([a, b, c].map(|digest| needs.id_of_one(&digest)), [Some("first"), Some("first"), None]);
        assert_eq!([a, b, c].map(|digest| needs.has(&digest)), [true, true, false]);
    }
}
