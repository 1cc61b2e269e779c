use super::*;
use crate::index::testing::{record, root};

/// Puts "m", and calls `between` when the new shard is written but not yet in place. Returns how often the edit was
/// called.
fn put(index: &Index, between: &mut dyn FnMut()) -> Result<usize> {
    let mut asked = 0;
    let mut flush = |_: &[&Temp<'_>]| {
        between();
        Ok(())
    };
    index.update(&["m"], Durability::Relaxed, Wait::Never, &mut flush, &mut |id, _| {
        asked += 1;
        Ok(Change::Put(Box::new(record(id))))
    })?;
    Ok(asked)
}

// Red when a lock whose file is gone counts as held as long as the shard is the old one: a writer that recreates the
// file has the lock too, and reads the same shard a moment before it is replaced.
#[test]
fn a_writer_whose_lock_file_is_gone_begins_again() {
    let (dir, root) = root();
    let index = Index::new(root, true);
    let lock_file = dir.path().join(layout::lock_shard(layout::shard_number("m")));
    assert_eq!(put(&index, &mut || {}).unwrap(), 1);
    assert_eq!(put(&index, &mut || std::fs::remove_file(&lock_file).unwrap()).unwrap(), 2);
    assert!(lock_file.exists());
}

// Red when a missing new shard always counts as put in place by another writer, which is true only where locks do not
// work: a change that was never recorded would be acknowledged.
#[test]
fn a_new_shard_that_is_gone_is_an_error() {
    let (dir, root) = root();
    let index = Index::new(root, true);
    let take_all = || {
        for entry in std::fs::read_dir(dir.path().join(layout::INDEX)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                std::fs::remove_file(path).unwrap();
            }
        }
    };
    put(&index, &mut || {}).unwrap();
    put(&index, &mut || take_all()).unwrap_err();
    put(&index, &mut || {}).unwrap();
}

// Red when it is an error: where locks do not work, another writer may replace the shard during the call.
#[test]
fn of_a_shard_that_is_not_there_nothing_is_kept() {
    let (dir, root) = root();
    keep_previous(&root, 7, Durability::Relaxed).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join(layout::INDEX)).unwrap().count(), 0);
}

// Red when a shard is written that is larger than readers accept: all of its entries would be lost.
#[test]
fn a_shard_that_nobody_would_read_again_is_not_written() {
    let (_dir, root) = root();
    let index = Index::new(root, true);
    let ids: Vec<String> = (0..).map(|n| format!("id{n}")).filter(|id| layout::shard_number(id) == 7).take(6).collect();
    let long = "x".repeat(MAX_SHARD_BYTES as usize / 5);
    let put = |id: &str| {
        let mut edit = |_: &str, _| Ok(Change::Put(Box::new(record(&long))));
        index.update(&[id], Durability::Relaxed, Wait::Never, &mut |_| Ok(()), &mut edit)
    };
    for id in &ids[..4] {
        put(id).unwrap();
    }
    let error = put(&ids[4]).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::FileTooLarge), "{error}");
    assert!(index.get(&ids[3]).unwrap().is_some() && index.get(&ids[4]).unwrap().is_none());
}
