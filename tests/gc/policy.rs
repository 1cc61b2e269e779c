//! Which entries each part of a policy takes.

use catalog_core::{CatalogStore as _, GcAction, GcReason, LifecycleState, MinFree};
use rstest::rstest;
use std::fs;

use super::*;
use crate::common::{debris, mount};

#[test]
fn debris_goes_first_then_what_nothing_references_then_expired_retirees_then_the_least_recently_used() {
    let host = Host::new();
    let catalog = catalog(&host);
    let root = catalog.root().to_path_buf();
    for (id, days) in [("old", 9), ("older", 10), ("retired", 1), ("new", 0)] {
        add(&host, &catalog, id);
        set_staged(&root, id, ago(DAY * days));
    }
    catalog.set_state("retired", LifecycleState::Retired).unwrap();
    set(&root, "retired", "retired_ms", ago(DAY * 8));
    let orphan = add(&host, &catalog, "orphan");
    edit_shard(&root, "orphan", |entries| drop(entries.remove("orphan")));
    fs::create_dir(root.join("ingest/0123456789abcdef")).unwrap();
    fs::write(root.join("ingest/0123456789abcdef/0"), content("ingest")).unwrap();
    fs::write(root.join("index/.0123456789abcdef.tmp"), "half a shar").unwrap();
    // Red when any similar name is taken for an unfinished file of the store: this one is a user's own.
    fs::write(root.join(".download.tmp"), "mine").unwrap();

    let policy = room_for(1).with_retired_after(Some(DAY * 7));
    let plan = catalog.plan_gc(&policy).unwrap();
    let word = |action: &GcAction| match action {
        GcAction::RemoveLeftover { path } => path.display().to_string(),
        GcAction::RemoveView { path } => path.parent().unwrap().display().to_string(),
        GcAction::RemoveBlob { digest } => digest.to_string(),
        GcAction::EvictEntry { id, .. } => id.clone(),
        other => panic!("{other:?}"),
    };
    let steps: Vec<(String, GcReason)> =
        plan.steps.iter().map(|step| (word(&step.action), step.reason.clone())).collect();
    let view = fs::read_dir(root.join("views")).unwrap().map(|slug| slug.unwrap().file_name().into_string().unwrap());
    let view = view.into_iter().find(|slug| slug.starts_with("orphan-")).unwrap();
    assert_eq!(
        steps,
        [
            ("ingest/0123456789abcdef".into(), GcReason::DeadOwner),
            ("index/.0123456789abcdef.tmp".into(), GcReason::DeadOwner),
            (format!("views/{view}"), GcReason::Unreferenced),
            (orphan.to_string(), GcReason::Unreferenced),
            ("retired".into(), GcReason::RetiredTooLong),
            ("older".into(), GcReason::RoomNeeded),
            ("old".into(), GcReason::RoomNeeded),
        ]
    );
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.entries, report.leftovers, report.blobs, report.skipped), (3, 3, 4, 0));
    assert_eq!(ids(&catalog), ["new"]);
    assert_eq!(debris(&catalog), [".download.tmp"]);
}

#[test]
fn for_room_the_least_recently_used_go_and_no_more_of_them_than_needed() {
    let host = Host::new();
    let catalog = catalog(&host);
    let root = catalog.root().to_path_buf();
    for id in ["a", "b", "c", "d", "e"] {
        add(&host, &catalog, id);
        set_staged(&root, id, ago(DAY * 100));
    }
    set(&root, "a", "last_used_ms", ago(DAY));
    set(&root, "b", "last_used_ms", ago(DAY * 3));
    set(&root, "c", "last_used_ms", ago(DAY * 2));
    // Used most recently, but retired.
    catalog.set_state("e", LifecycleState::Retired).unwrap();
    for (room, gone) in
        [(5, &[][..]), (4, &["e"]), (3, &["e", "d"]), (1, &["e", "d", "b", "c"]), (0, &["e", "d", "b", "c", "a"])]
    {
        let plan = catalog.plan_gc(&room_for(room)).unwrap();
        assert_eq!((evicted(&plan).as_slice(), plan.shortfall_bytes), (gone, 0), "{room}");
        assert_eq!(plan.freed_bytes, (gone.len() * SIZE) as u64);
    }
    // One byte too many costs a whole entry.
    let tight = now().with_max_bytes(Some(5 * SIZE as u64 - 1));
    assert_eq!(evicted(&catalog.plan_gc(&tight).unwrap()), ["e"]);
}

#[test]
fn min_free_is_counted_on_the_roots_file_system() {
    let Some(disk) = mount::tmpfs("size=16m") else { return };
    let host = Host::new();
    let catalog = FsCatalog::new(disk.path().join("root")).unwrap().with_durability(Durability::Relaxed);
    for (id, days) in [("a", 3), ("b", 2), ("c", 1)] {
        add(&host, &catalog, id);
        set_staged(catalog.root(), id, ago(DAY * days));
    }
    let plan_for = |min_free| catalog.plan_gc(&now().with_min_free(Some(min_free))).unwrap();
    let free = fs2::available_space(disk.path()).unwrap();
    let blob = SIZE as u64;
    assert_eq!(evicted(&plan_for(MinFree::bytes(free))), Vec::<&str>::new());
    assert_eq!(evicted(&plan_for(MinFree::bytes(free + 1))), ["a"]);
    assert_eq!(evicted(&plan_for(MinFree::bytes(free + blob))), ["a"]);
    let two = plan_for(MinFree::bytes(free + blob + 1));
    assert_eq!(evicted(&two), ["a", "b"]);
    let all = plan_for(MinFree::percent(100).unwrap());
    assert_eq!(evicted(&all), ["a", "b", "c"]);
    assert_eq!(all.shortfall_bytes, fs2::total_space(disk.path()).unwrap() - free - 3 * blob);

    drop(catalog.execute_gc(&two).unwrap());
    assert!(fs2::available_space(disk.path()).unwrap() >= free + 2 * blob);
    assert_eq!(ids(&catalog), ["c"]);
}

/// The limit is 30 days; the cases say when the entry was last staged and used.
#[rstest]
#[case::staged_and_used_long_ago(40, Some(31), true)]
#[case::used_since(40, Some(29), false)]
#[case::staged_since(29, None, false)]
#[case::staged_since_and_used_before(29, Some(31), false)]
#[case::never_used(31, None, true)]
fn what_was_idle_for_too_long_goes_though_there_is_room(
    #[case] staged_days_ago: u32,
    #[case] used_days_ago: Option<u32>,
    #[case] goes: bool,
) {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a");
    set_staged(catalog.root(), "a", ago(DAY * staged_days_ago));
    set(catalog.root(), "a", "last_used_ms", used_days_ago.map(|days| ago(DAY * days)));
    // The grace does not matter: it only protects from eviction for room.
    let policy = GcPolicy::default().with_max_idle(Some(DAY * 30));
    let plan = catalog.plan_gc(&policy).unwrap();
    assert_eq!(evicted(&plan), if goes { vec!["a"] } else { vec![] });
    assert!(plan.steps.iter().all(|step| step.reason == GcReason::IdleTooLong && !step.at_once));
}

#[rstest]
#[case::long_ago(Some(8), true)]
#[case::not_so_long_ago(Some(6), false)]
#[case::never(None, false)]
fn what_was_retired_for_too_long_goes_though_there_is_room(#[case] retired_days_ago: Option<u32>, #[case] goes: bool) {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a");
    if let Some(days) = retired_days_ago {
        catalog.set_state("a", LifecycleState::Retired).unwrap();
        set(catalog.root(), "a", "retired_ms", ago(DAY * days));
    }
    let policy = GcPolicy::default().with_retired_after(Some(DAY * 7));
    let plan = catalog.plan_gc(&policy).unwrap();
    assert_eq!(evicted(&plan), if goes { vec!["a"] } else { vec![] });
    if goes {
        // Retiring it again does not restart the period; activating it does.
        catalog.set_state("a", LifecycleState::Retired).unwrap();
        assert_eq!(evicted(&catalog.plan_gc(&policy).unwrap()), ["a"]);
        catalog.set_state("a", LifecycleState::Active).unwrap();
        assert_eq!(catalog.execute_gc(&plan).unwrap().skipped, 1);
        catalog.set_state("a", LifecycleState::Retired).unwrap();
        assert_eq!(evicted(&catalog.plan_gc(&policy).unwrap()), Vec::<&str>::new());
    }
}

/// A use is recorded to the hour, so it protects for the grace and one more hour.
#[rstest]
#[case::staged_just_now(HOUR / 2, None, true)]
#[case::staged_before(HOUR + HOUR / 10, None, false)]
#[case::perhaps_used_within_the_grace(DAY, Some(HOUR * 19 / 10), true)]
#[case::used_before(DAY, Some(HOUR * 21 / 10), false)]
fn what_was_used_within_the_grace_does_not_go_for_room(
    #[case] staged: Duration,
    #[case] used: Option<Duration>,
    #[case] is_young: bool,
) {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a");
    set_staged(catalog.root(), "a", ago(staged));
    set(catalog.root(), "a", "last_used_ms", used.map(ago));
    let plan = catalog.plan_gc(&room_for(0).with_grace(HOUR)).unwrap();
    if is_young {
        assert_eq!((evicted(&plan), kept(&plan)), (vec![], vec![("a", GcReason::Young)]));
        assert_eq!(plan.shortfall_bytes, SIZE as u64);
    } else {
        assert_eq!((evicted(&plan), kept(&plan), plan.shortfall_bytes), (vec!["a"], vec![], 0));
    }
}

#[test]
fn the_default_policy_takes_no_entry() {
    let host = Host::new();
    let catalog = catalog(&host);
    for id in ["a", "b"] {
        add(&host, &catalog, id);
        set_staged(catalog.root(), id, 0);
    }
    catalog.set_state("a", LifecycleState::Retired).unwrap();
    set(catalog.root(), "a", "retired_ms", 0);
    let report = catalog.gc(&GcPolicy::default()).unwrap();
    assert_eq!(format!("{report:?}"), format!("{:?}", catalog_core::GcReport::default()));
    assert_eq!(ids(&catalog), ["a", "b"]);
}
