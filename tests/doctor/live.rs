//! A store that is examined while others work on it: doctor reports nothing that is true only for a moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use catalog_core::{FindingKind as K, GcPolicy};

use super::*;

// Red when `examine` returns after its first look: blobs without records, views without entries, unfinished shards.
#[test]
fn a_store_at_work_has_nothing_wrong() {
    let store = Store::new();
    let stop = AtomicBool::new(false);
    let (mut looks, mut work) = (0, 0_u32);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let catalog = FsCatalog::open(store.root()).unwrap().with_durability(Durability::Relaxed);
                    let mut rounds = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("worker {worker}");
                        let name = format!("work/{worker}/{}", rounds % 5);
                        store.host.file(&format!("{name}/a"), format!("{worker} {rounds}"));
                        store.host.file(&format!("{name}/b"), "shared");
                        catalog.stage(&reference(&store.host.path(&name)), &options(&id)).unwrap();
                        if rounds % 3 == 0 {
                            catalog.remove(&id).unwrap();
                        }
                        if worker == 0 {
                            drop(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
                        }
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            let mut found = store.doctor().examine().unwrap();
            // The previous content of an id stays until a collection; and halfway through a removal, no entry needs
            // what the second half is about to take.
            found.retain(|finding| !matches!(finding.kind, K::NoHardlinks | K::StrayView | K::UnreferencedBlob));
            if !found.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
            assert!(found.is_empty(), "{found:#?}");
            looks += 1;
        }
        stop.store(true, Ordering::Relaxed);
        work = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    });
    assert!(looks > 5 && work > 20, "{looks} looks, {work} rounds");
    drop(store.catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    store.finds(&[]);
}

// Red when `examine` waits for the store lock, or when it reports without the lock what only a commit can explain.
#[test]
fn while_a_commit_runs_nothing_is_called_debris_and_nothing_is_waited_for() {
    let store = Store::new();
    let temporary = store.root().join("index/.0123456789abcdef.tmp");
    fs::write(&temporary, "x").unwrap();
    let commit = fs::File::open(store.root().join("locks/store")).unwrap();
    fs2::FileExt::lock_shared(&commit).unwrap();
    let begun = Instant::now();
    store.finds(&[]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    fs2::FileExt::unlock(&commit).unwrap();
    store.finds(&[(K::UnfinishedFile, &temporary)]);
}
