//! Coordinates writers of one shard without file locks: the first to name the next generation writes it.
//!
//! This is used only where locks do not work. A writer first renames its new text to the name of the generation it is
//! about to write; only one writer can. It then checks that the shard is still at the previous generation and renames
//! the text over it. A writer that finds the name taken waits and retries; once the name is old enough for its owner to
//! be dead, it completes that owner's write. A writer that stalls for longer than that between two system calls can
//! still undo a change.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::format::ShardText;
use super::load::load_text;
use super::update::keep_previous;
use crate::error::Result;
use crate::fs::{Durability, Root, Temp};
use crate::layout::{self, MAX_SHARD_BYTES};

/// A writer that has claimed a generation this long ago and not published it is dead: publishing takes two system
/// calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives the new text the name of its generation. `false`: another writer has the name, and may have finished by now.
pub(super) fn claim(
    root: &Root,
    number: u8,
    generation: u64,
    new: &mut Temp<'_>,
    durability: Durability,
) -> Result<bool> {
    let name = layout::shard_claim(number, generation);
    if new.rename_new(&name)? {
        return Ok(true);
    }
    match root.meta(&name)?.map(|meta| meta.age()) {
        Some(age) if age > PATIENCE => finish(root, number, generation, &name, durability)?,
        Some(_) => thread::sleep(Duration::from_millis(1)),
        None => {} // its owner has just finished
    }
    Ok(false)
}

/// Whether the shard is still at the generation before this one. Its stamp is not enough: inode numbers are reused, and
/// many generations fit into one tick of the clock.
pub(super) fn precedes(root: &Root, number: u8, generation: u64) -> Result<bool> {
    Ok(load_text(root, number)?.value.generation.checked_add(1) == Some(generation))
}

fn finish(root: &Root, number: u8, generation: u64, claimed: &Path, durability: Durability) -> Result<()> {
    let Some(text) = root.read(claimed, MAX_SHARD_BYTES)? else { return Ok(()) }; // its owner has just finished
    let is_whole = ShardText::parse(text).is_ok_and(|shard| shard.generation == generation);
    if !is_whole {
        // A power cut can leave such a text with `Relaxed`.
        return root.remove_file(claimed).map(drop);
    }
    if !precedes(root, number, generation)? {
        return root.remove_file(claimed).map(drop); // it came too late
    }
    if generation > 1 {
        keep_previous(root, number, durability)?;
    }
    match root.rename_over(claimed, &layout::shard(number)) {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::{Change, Index};
    use super::*;
    use crate::fs::lock::Wait;
    use crate::index::testing::{record, root};

    fn put(index: &Index, id: &str) -> Result<()> {
        index.update(&[id], Durability::Relaxed, Wait::Forever, &mut |_| Ok(()), &mut |id, _| {
            Ok(Change::Put(Box::new(record(id))))
        })
    }

    fn make_old(path: &Path) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * PATIENCE).unwrap();
    }

    /// Ids of one shard.
    fn ids() -> Vec<String> {
        (0..).map(|n| format!("id{n}")).filter(|id| layout::shard_number(id) == 7).take(64).collect()
    }

    // Red when `replace` neither claims nor compares: if two writers have read the same generation, one change is lost.
    #[test]
    fn without_locks_no_change_of_another_writer_is_lost() {
        let (_dir, root) = root();
        let ids = ids();
        std::thread::scope(|scope| {
            for some in ids.chunks(8) {
                // `without_locks` simulates locks that exclude nobody.
                let root = root.clone();
                scope.spawn(move || {
                    let index = Index::without_locks(root);
                    for id in some {
                        put(&index, id).unwrap();
                    }
                });
            }
        });
        let index = Index::new(root, true);
        for id in &ids {
            assert!(index.get(id).unwrap().is_some(), "{id} is lost");
        }
    }

    #[test]
    fn what_a_dead_writer_has_claimed_is_finished_or_removed() {
        let ((dir, root), (other, other_root)) = (root(), root());
        let ids = ids();
        let index = Index::without_locks(root.clone());
        put(&index, &ids[0]).unwrap();
        // A complete claim of generation 2, made elsewhere.
        let other_index = Index::new(other_root, true);
        put(&other_index, &ids[0]).unwrap();
        put(&other_index, &ids[1]).unwrap();
        let claimed = dir.path().join(layout::shard_claim(7, 2));
        std::fs::copy(other.path().join(layout::shard(7)), &claimed).unwrap();
        make_old(&claimed);
        // Red when `finish` does not keep the previous generation, which is all that is left if the new one is damaged.
        let mut new = Temp::write(&root, Path::new(layout::INDEX), b"{}", Durability::Relaxed).unwrap();
        assert!(!claim(&root, 7, 2, &mut new, Durability::Relaxed).unwrap());
        let generation =
            |path: &Path| ShardText::parse(root.read(path, MAX_SHARD_BYTES).unwrap().unwrap()).unwrap().generation;
        assert_eq!((generation(&layout::shard(7)), generation(&layout::shard_prev(7))), (2, 1));
        put(&index, &ids[2]).unwrap();
        for id in &ids[..3] {
            assert!(index.get(id).unwrap().is_some(), "{id}");
        }
        // Red when a young claim is finished or removed: its owner is about to rename it.
        let claimed = dir.path().join(layout::shard_claim(7, 4));
        std::fs::write(&claimed, "{").unwrap();
        assert!(!claim(&root, 7, 4, &mut new, Durability::Relaxed).unwrap());
        assert!(claimed.exists());
        // A torn claim.
        let claimed = dir.path().join(layout::shard_claim(7, 4));
        std::fs::write(&claimed, "{").unwrap();
        make_old(&claimed);
        put(&index, &ids[3]).unwrap();
        assert!(index.get(&ids[3]).unwrap().is_some() && !claimed.exists());
    }
}
