//! The index and `store.json`: damaged, lost, restored.

use catalog_core::FindingKind as K;
use common::shard_path;
use rstest::rstest;

use super::*;

fn prev_of(shard: &Path) -> PathBuf {
    PathBuf::from(format!("{}.prev", shard.display()))
}

/// Returns the quarantined file whose name starts with `name`.
fn kept(store: &Store, name: &str) -> Vec<u8> {
    let found: Vec<PathBuf> = common::files_below(&store.root().join("quarantine"));
    let file = found.iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
    fs::read(file.unwrap_or_else(|| panic!("{name} is not among {found:?}"))).unwrap()
}

/// A shard that was written twice, so that its previous generation has an entry.
fn rewritten(store: &Store) -> PathBuf {
    store.catalog.set_state("file", catalog_core::LifecycleState::Retired).unwrap();
    store.catalog.set_state("file", catalog_core::LifecycleState::Active).unwrap();
    shard_path(&store.root(), "file")
}

// Red when `restore_previous` does not move the present file to quarantine.
#[rstest]
#[case::cut("cut")]
#[case::flipped("flipped")]
#[case::empty("empty")]
fn a_damaged_shard_is_restored_and_kept(#[case] damage: &str) {
    let store = Store::new();
    let shard = rewritten(&store);
    let before = fs::read(prev_of(&shard)).unwrap();
    let mut damaged = fs::read(&shard).unwrap();
    match damage {
        "cut" => damaged.truncate(damaged.len() / 2),
        "flipped" => {
            let at = damaged.len() - 20;
            damaged[at] ^= 1;
        }
        _ => damaged.clear(),
    }
    fs::write(&shard, &damaged).unwrap();
    let found = store.finds(&[(K::ShardDamaged, &shard)]);
    assert!(found[0].advice.contains("with 1 entry from .prev"), "{found:#?}");
    let left = store.repairs_to(&[(K::ShardDamaged, &shard)], &[&shard, &prev_of(&shard)]);
    assert_eq!(left.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [K::QuarantineNotEmpty]);
    assert_eq!(fs::read(&shard).unwrap(), before);
    let name = shard.file_name().unwrap().to_str().unwrap();
    assert_eq!(kept(&store, name), damaged);
    assert_eq!(store.catalog.records().unwrap().len(), 4);
}

#[test]
fn a_lost_shard_is_restored() {
    let store = Store::new();
    let shard = rewritten(&store);
    fs::remove_file(&shard).unwrap();
    store.repairs(&[(K::ShardMissing, &shard)], &[&shard, &prev_of(&shard)]);
    assert!(store.catalog.record("file").unwrap().is_some());
}

// The previous generation is empty: the index has lost the entry, and the next examination reports its content.
#[test]
fn a_first_shard_that_is_lost_leaves_what_it_named_to_see() {
    let store = Store::new();
    let (shard, view, blob) = (shard_path(&store.root(), "small"), store.view("small"), store.blob("small"));
    fs::write(&shard, "{").unwrap();
    let found = store.finds(&[(K::ShardDamaged, &shard)]);
    assert!(found[0].advice.contains("generation 0 with no entries"), "{found:#?}");
    let left = store.repairs_to(&[(K::ShardDamaged, &shard)], &[&shard, &prev_of(&shard)]);
    let left: Vec<_> = left.iter().map(|finding| finding.kind).collect();
    assert_eq!(left, [K::StrayView, K::UnreferencedBlob, K::QuarantineNotEmpty]);
    assert!(view.exists() && blob.exists());
}

#[test]
fn without_a_generation_before_a_shard_is_left_to_the_operator() {
    let store = Store::new();
    let shard = rewritten(&store);
    fs::write(&shard, "{").unwrap();
    fs::write(prev_of(&shard), "{").unwrap();
    let found = store.finds(&[(K::ShardDamaged, &shard)]);
    assert!(!found[0].is_repairable() && found[0].advice.contains("backup"), "{found:#?}");
    fs::remove_file(&shard).unwrap();
    let found = store.finds(&[(K::ShardMissing, &shard)]);
    assert!(!found[0].is_repairable());
    assert!(matches!(store.doctor().repair(&found)[..], [RepairOutcome::NotOffered]));
}

// Red when every unreadable shard counts as damaged: the work of a newer version would be undone.
#[test]
fn a_shard_of_a_newer_version_is_never_restored() {
    let store = Store::new();
    let shard = rewritten(&store);
    let stale = {
        fs::write(&shard, "{").unwrap();
        store.examine()
    };
    fs::write(&shard, r#"{"format":2}"#).unwrap();
    let found = store.finds(&[(K::ShardNewer, &shard)]);
    assert!(!found[0].is_repairable());
    // Nor is it restored by a plan that was made before it was written.
    let outcomes = store.doctor().repair(&stale);
    assert!(matches!(outcomes[..], [RepairOutcome::Failed(_), ..]), "{outcomes:?}");
    assert_eq!(fs::read_to_string(&shard).unwrap(), r#"{"format":2}"#);
}

// Red when `restore_previous` does not check again what it is about to replace.
#[test]
fn what_can_be_read_again_is_not_replaced() {
    let store = Store::new();
    let shard = rewritten(&store);
    let good = fs::read(&shard).unwrap();
    fs::write(&shard, "{").unwrap();
    let found = store.examine();
    fs::write(&shard, &good).unwrap();
    assert!(matches!(store.doctor().repair(&found)[..], [RepairOutcome::Gone, ..]));
    assert_eq!(fs::read(&shard).unwrap(), good);
}

#[test]
fn a_generation_before_that_is_gone_or_damaged_is_made_again() {
    let store = Store::new();
    let shard = rewritten(&store);
    let prev = prev_of(&shard);
    fs::remove_file(&prev).unwrap();
    store.repairs(&[(K::PrevMissing, &prev)], &[&shard, &prev]);
    assert_eq!(common::inode_of(&shard), common::inode_of(&prev));
    fs::remove_file(&prev).unwrap();
    fs::write(&prev, "{").unwrap();
    store.repairs(&[(K::PrevDamaged, &prev)], &[&shard, &prev]);
    assert_eq!(common::inode_of(&shard), common::inode_of(&prev));
}

#[test]
fn an_index_that_is_gone_cannot_be_made_again() {
    let store = Store::new();
    let index = store.root().join("index");
    fs::rename(&index, store.host.path("away")).unwrap();
    let found = store.finds(&[(K::IndexMissing, &index)]);
    assert!(!found[0].is_repairable());
    fs::rename(store.host.path("away"), &index).unwrap();
    store.finds(&[]);
}

// Red when a store whose `store.json` is lost counts as no store, and when `store.json` is written again without being
// asked for.
#[rstest]
#[case::cut(Some("{\"form"))]
#[case::of_another_kind(Some("[]"))]
#[case::gone(None)]
fn the_description_of_a_store_is_written_anew(#[case] text: Option<&str>) {
    let store = Store::new();
    let path = store.root().join("store.json");
    fs::remove_file(&path).unwrap();
    let kind = match text {
        Some(text) => {
            fs::write(&path, text).unwrap();
            K::StoreJsonDamaged
        }
        None => K::StoreJsonMissing,
    };
    FsCatalog::open(store.root()).unwrap_err();
    let left = store.repairs_to(&[(kind, &path)], &[&path]);
    assert_eq!(left.len(), usize::from(text.is_some()), "{left:#?}");
    if let Some(text) = text {
        assert_eq!(kept(&store, "store.json."), text.as_bytes());
    }
    assert_eq!(FsCatalog::open(store.root()).unwrap().records().unwrap().len(), 4);
}

// Red when doctor offers to write `store.json` whatever the state of the index: only an index that reads as format 1
// says what the store is.
#[test]
fn a_description_is_not_written_over_an_index_that_cannot_be_read() {
    let store = Store::new();
    let (path, shard) = (store.root().join("store.json"), rewritten(&store));
    fs::write(&path, "{").unwrap();
    fs::write(&shard, r#"{"format":2}"#).unwrap();
    let found = store.finds(&[(K::StoreJsonDamaged, &path), (K::ShardNewer, &shard)]);
    assert!(found.iter().all(|finding| !finding.is_repairable()));
    // A shard that can be restored is restored first.
    fs::write(&shard, "{").unwrap();
    let found = store.finds(&[(K::StoreJsonDamaged, &path), (K::ShardDamaged, &shard)]);
    store.doctor().repair(&found);
    let found = store.examine();
    assert!(found.iter().any(|finding| finding.kind == K::StoreJsonDamaged && finding.is_repairable()), "{found:#?}");
}

#[test]
fn the_cache_tag_is_written_again() {
    let store = Store::new();
    let tag = store.root().join("CACHEDIR.TAG");
    let text = fs::read(&tag).unwrap();
    fs::remove_file(&tag).unwrap();
    store.repairs(&[(K::CachedirTagMissing, &tag)], &[&tag]);
    fs::write(&tag, "other").unwrap();
    store.repairs(&[(K::CachedirTagMissing, &tag)], &[&tag]);
    assert_eq!(fs::read(&tag).unwrap(), text);
}

#[test]
fn the_reserve_is_made_again() {
    let store = Store::new();
    let reserve = store.root().join("store.reserve");
    for size in [None, Some(17)] {
        fs::remove_file(&reserve).unwrap();
        if let Some(size) = size {
            fs::write(&reserve, vec![0; size]).unwrap();
        }
        store.repairs(&[(K::ReserveMissing, &reserve)], &[&reserve]);
    }
    fs::remove_file(&reserve).unwrap();
    fs::create_dir(&reserve).unwrap();
    let found = store.finds(&[(K::StrangeFile, &reserve)]);
    assert!(found.iter().all(|finding| !finding.is_repairable()), "{found:#?}");
}
